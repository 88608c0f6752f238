"""The table of paths: method and path to operation, each with and without `/v1`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, cast

from aiohttp import web

from config.model import Operation
from proxy.front import explain, models, ops
from proxy.front.context import FRONT
from proxy.front.door import DIRECT, Direct
from proxy.front.errors import Received
from proxy.front.gate import Gate, beside
from proxy.front.inference import NO_MODEL, handler
from proxy.front.upload import Uploads

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Methods, path below the prefix, operation. `{tail}` goes upstream behind the operation's own path.
_INFERENCE: Final = (
    ("POST", "/chat/completions", Operation.CHAT),
    ("POST", "/completions", Operation.COMPLETIONS),
    ("POST", "/responses", Operation.RESPONSES),
    ("POST", "/responses/input_tokens", Operation.RESPONSES_COUNT),
    ("POST,GET,DELETE", "/responses/{tail:.+}", Operation.RESPONSES),
    ("POST", "/embeddings", Operation.EMBEDDINGS),
    ("POST", "/messages", Operation.MESSAGES),
    ("POST", "/messages/count_tokens", Operation.COUNT_TOKENS),
    ("POST", "/images/{tail:.+}", Operation.IMAGES),
    ("POST", "/audio/{tail:.+}", Operation.AUDIO),
    ("POST", "/moderations", Operation.MODERATIONS),
    ("POST", "/rerank", Operation.RERANK),
    ("POST,GET", "/files", Operation.FILES),
    ("GET,DELETE", "/files/{tail:.+}", Operation.FILES),
    ("POST,GET", "/batches", Operation.BATCHES),
    ("POST,GET", "/batches/{tail:.+}", Operation.BATCHES),
    ("POST,GET", "/messages/batches", Operation.MESSAGE_BATCHES),
    ("POST,GET,DELETE", "/messages/batches/{tail:.+}", Operation.MESSAGE_BATCHES),
)
# What Google's clients call, by the last word of the path.
_GOOGLE: Final = {
    "generateContent": Operation.GEMINI,
    "streamGenerateContent": Operation.GEMINI,
    "countTokens": Operation.GEMINI_COUNT,
    "embedContent": Operation.GEMINI_EMBED_ONE,
    "batchEmbedContents": Operation.GEMINI_EMBED,
}
# What clients can ask for.
_OPERATIONS: Final = frozenset({Operation.COHERE_EMBED, *_GOOGLE.values(), *(entry[2] for entry in _INFERENCE)})


async def _after_the_guard(request: web.Request) -> None:
    """`Expect: 100-continue` is answered when the handler reads the body, not before the guard has looked."""


def _routed(handle: Direct) -> Handler:
    """The handler as aiohttp's router calls it."""

    async def enter(request: web.Request) -> web.StreamResponse:
        return await handle(cast(Received, request), request.app[FRONT], request.match_info)

    return enter


def _gated(handle: Handler, gate: Gate) -> Handler:
    """The handler, behind the gate."""

    async def enter(request: web.Request) -> web.StreamResponse:
        async with gate.enter(request.app[FRONT].current().settings.limits):
            return await handle(request)

    return enter


def add(app: web.Application, metrics: Handler, openapi: bytes) -> None:
    """Every route but the admin API's, which is an application of its own."""
    router = app.router
    gate, uploads = Gate(), Uploads()
    others: set[Handler] = {ops.root, ops.healthz, ops.readyz}
    direct = app[DIRECT] = {}

    def inference(operation: Operation) -> tuple[Direct, Handler]:
        handle = handler(operation, gate, uploads)
        others.add(routed := _routed(handle))
        return handle, routed

    def listing(handle: Handler) -> Handler:  # clients ask for it, and it may ask providers
        others.add(gated := _gated(handle, gate))
        return gated

    list_models, one_model = listing(models.list_models), listing(models.one_model)
    for methods, path, operation in _INFERENCE:
        handle, routed = inference(operation)
        for method in methods.split(","):
            for prefix in ("/v1", ""):
                router.add_route(method, prefix + path, routed, expect_handler=_after_the_guard)
                if "{" not in path:
                    direct[method, prefix + path] = handle
    _, cohere = inference(Operation.COHERE_EMBED)
    router.add_post("/v2/embed", cohere, expect_handler=_after_the_guard)
    for verb, operation in _GOOGLE.items():
        _, google = inference(operation)
        for prefix in ("/v1beta", "/v1", ""):
            path = f"{prefix}/models/{{model:.+}}:{{verb:{verb}}}"
            router.add_post(path, google, expect_handler=_after_the_guard)
    explaining = explain.handler(_OPERATIONS, NO_MODEL)
    router.add_get("/v1beta/models", list_models)
    router.add_get("/v1beta/models/{id:[^:]+(?::[^/]*)?}", one_model)
    for prefix in ("/v1", ""):
        router.add_get(prefix + "/routing/explain", explaining)
        router.add_get(prefix + "/models", list_models)
        router.add_get(prefix + "/models/{id:[^:]+(?::[^/]*)?}", one_model)
    router.add_get("/", ops.root)
    router.add_get("/healthz", ops.healthz)
    router.add_get("/livez", ops.healthz)
    router.add_get("/readyz", ops.readyz)
    router.add_get("/metrics", metrics)
    router.add_get("/openapi.json", ops.document(openapi))
    app.middlewares.append(beside(others))
