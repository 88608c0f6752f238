"""The table of paths: method and path to operation, each with and without `/v1`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from config.model import Operation
from proxy.front import explain, models, ops
from proxy.front.gate import Gate
from proxy.front.inference import NO_MODEL, handler

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


async def _continue(request: web.Request) -> None:
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0


def _invited(handle: Handler) -> Handler:
    """The handler, with the client told to go on if it waits for that."""

    async def invite(request: web.Request) -> web.StreamResponse:
        if "Expect" in request.headers and request.version == (1, 1):
            await _continue(request)
        return await handle(request)

    return invite


def add(app: web.Application, metrics: Handler, openapi: bytes) -> None:
    """Every route but the admin API's, which is an application of its own."""
    router = app.router
    gate = Gate()
    for methods, path, operation in _INFERENCE:
        handle = _invited(handler(operation, gate))
        for method in methods.split(","):
            for prefix in ("/v1", ""):
                router.add_route(method, prefix + path, handle, expect_handler=_after_the_guard)
    cohere = _invited(handler(Operation.COHERE_EMBED, gate))
    router.add_post("/v2/embed", cohere, expect_handler=_after_the_guard)
    for verb, operation in _GOOGLE.items():
        google = _invited(handler(operation, gate))
        for prefix in ("/v1beta", "/v1", ""):
            path = f"{prefix}/models/{{model:.+}}:{{verb:{verb}}}"
            router.add_post(path, google, expect_handler=_after_the_guard)
    explaining = explain.handler(_OPERATIONS, NO_MODEL)
    router.add_get("/v1beta/models", models.list_models)
    router.add_get("/v1beta/models/{id:[^:]+(?::[^/]*)?}", models.one_model)
    for prefix in ("/v1", ""):
        router.add_get(prefix + "/routing/explain", explaining)
        router.add_get(prefix + "/models", models.list_models)
        router.add_get(prefix + "/models/{id:[^:]+(?::[^/]*)?}", models.one_model)
    router.add_get("/", ops.root)
    router.add_get("/healthz", ops.healthz)
    router.add_get("/livez", ops.healthz)
    router.add_get("/readyz", ops.readyz)
    router.add_get("/metrics", metrics)
    router.add_get("/openapi.json", ops.document(openapi))
