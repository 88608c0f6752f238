"""The one handler of all inference paths: request in, engine, reply out."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote, unquote_plus

from aiohttp import web

from config.model import Operation, Snapshot
from proxy.dialects import headers as passing
from proxy.dialects import multipart, splice
from proxy.dialects.envelope import Form
from proxy.engine import Call
from proxy.fault import Exchange
from proxy.front.context import FRONT, Front
from proxy.front.errors import REQUEST_ID, Refused, shutting_down
from proxy.front.gate import Gate
from proxy.front.reply import HttpReply
from proxy.front.upload import Uploads

_CREDENTIALS: Final = frozenset({"key", "api_key", "api-key", "apikey", "access_token", "token"})
_FORMS: Final = {
    Operation.MESSAGES: Form.ANTHROPIC,
    Operation.COUNT_TOKENS: Form.ANTHROPIC,
    Operation.RESPONSES: Form.RESPONSES,
    Operation.MESSAGE_BATCHES: Form.ANTHROPIC,
    Operation.GEMINI: Form.GOOGLE,
    Operation.GEMINI_COUNT: Form.GOOGLE,
    Operation.RESPONSES_COUNT: Form.RESPONSES,
    Operation.GEMINI_EMBED: Form.GOOGLE,
    Operation.GEMINI_EMBED_ONE: Form.GOOGLE,
}
_SEPARATORS: Final = re.compile(r"[/\\]")  # some servers take a backslash for one
NO_MODEL: Final = frozenset({Operation.FILES, Operation.BATCHES, Operation.MESSAGE_BATCHES})


def handler(
    operation: Operation, gate: Gate, uploads: Uploads
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The handler for the paths of one operation."""

    async def handle(request: web.Request) -> web.StreamResponse:
        front = request.app[FRONT]
        if front.draining:
            raise shutting_down()
        snapshot = await front.snapshot()
        with front.serving():
            reply = await serve(request, front, snapshot)
        if reply.response is None:
            raise ConnectionResetError("the client left before its answer began")
        return reply.response

    async def serve(request: web.Request, front: Front, snapshot: Snapshot) -> HttpReply:
        limits = snapshot.settings.limits
        async with contextlib.AsyncExitStack() as place:
            with front.arriving():
                async with uploads.body(request, limits) as body:
                    await place.enter_async_context(gate.enter(limits))
            call = _call(request, operation, body)
            exchange = Exchange(call.id, operation.value, call.form.value, call.stream, front.now())
            reply = HttpReply(request)
            await front.engine.run(call, snapshot, reply, exchange)
        return reply

    return handle


def _call(request: web.Request, operation: Operation, body: bytes | None) -> Call:
    kind = request.headers.get("Content-Type", "")
    tail = _tail(request)
    head = splice.Head(None, False, None, frozenset())
    try:
        if body is not None and kind.lower().startswith("multipart/"):
            head = multipart.peek(body, kind)
        elif body is not None and (body or request.method == "POST"):
            head = splice.peek(body)
        elif request.method == "POST" and operation not in NO_MODEL and not tail:
            raise splice.BadBody("the body is empty")
    except splice.BadBody as exc:
        raise Refused(400, exc.code, exc.message, param=exc.param) from None
    if "verb" in request.match_info:
        head = _in_path(request, head)
    if request.method == "POST" and head.model is None and operation not in NO_MODEL and not tail:
        raise Refused(400, "missing_model", "the body names no `model`", param="model")
    return Call(
        id=request[REQUEST_ID],
        operation=operation,
        form=_FORMS.get(operation, Form.OPENAI),
        method=request.method,
        tail=f"/{quote(tail, safe='/:@!$&()*+,;=~-._')}" if tail else "",
        query=_query(request),
        headers=tuple(passing.to_upstream(request.headers.items())),
        body=body,
        content_type=kind,
        model=head.model,
        stream=head.stream,
        include_usage=head.include_usage,
        fields=head.fields,
    )


def _tail(request: web.Request) -> str:
    """What follows the path of the operation, and stays below it. Raises Refused."""
    tail = request.match_info.get("tail", "")
    if any(part.partition(";")[0] in (".", "..") for part in _SEPARATORS.split(tail)):
        raise Refused(404, "unknown_path", "a path with `.` or `..` in it leads nowhere here")
    return tail


def _in_path(request: web.Request, head: splice.Head) -> splice.Head:
    """Google's clients name model and streaming in the path. Raises Refused."""
    streamed = request.match_info["verb"] == "streamGenerateContent"
    if streamed and request.query.get("alt") != "sse":
        raise Refused(400, "unsupported_parameter", "streams come as events: ask for them with ?alt=sse", param="alt")
    model = request.match_info["model"].removeprefix("models/")
    return splice.Head(model, streamed, None, head.fields)


def _query(request: web.Request) -> str:
    """The raw query without what looks like a credential, and without what the provider's path says itself."""
    raw = request.raw_path.partition("?")[2]
    left_out = _CREDENTIALS | {"alt"} if "verb" in request.match_info else _CREDENTIALS
    return "&".join(part for part in raw.split("&") if unquote_plus(part.partition("=")[0]).lower() not in left_out)
