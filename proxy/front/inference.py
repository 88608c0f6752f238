"""The one handler of all inference paths: request in, engine, reply out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote_plus

import msgspec.structs
from aiohttp import web

from config.model import Operation
from proxy.dialects import headers as passing
from proxy.dialects import multipart, splice
from proxy.dialects.envelope import Form
from proxy.engine import Call
from proxy.fault import Exchange
from proxy.front.coming import Coming
from proxy.front.context import Front
from proxy.front.door import Direct
from proxy.front.errors import Received, Refused, shutting_down
from proxy.front.gate import Gate
from proxy.front.reply import HttpReply
from proxy.front.upload import Passes, Uploads, is_there, take

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
_NOTHING: Final = splice.Head(None, False, None, frozenset())
NO_MODEL: Final = frozenset({Operation.FILES, Operation.BATCHES, Operation.MESSAGE_BATCHES})


def handler(operation: Operation, gate: Gate, uploads: Uploads) -> Direct:
    """The handler for the paths of one operation."""
    form = _FORMS.get(operation, Form.OPENAI)
    spoken, shaped = operation.value, form.value

    async def handle(request: Received, front: Front, match: Mapping[str, str]) -> web.StreamResponse:
        if "Expect" in request.headers and request.version == (1, 1):
            await _continue(request)
        if front.draining:
            raise shutting_down()
        snapshot = await front.snapshot() if front.stale() else front.current()
        limits = snapshot.settings.limits
        reply = HttpReply(request, front)
        front.began()
        passed = False
        body: bytes | Coming | None = None
        try:
            if gate.free(limits) and is_there(request):
                gate.pass_by()
                passed = True
                body = take(request, limits)
            else:
                with front.arriving():
                    async with uploads.body(request, limits, _passes(request, operation)) as body:
                        await gate.take(limits)
                        passed = True
            call = _call(request, operation, form, match, body)
            body = body if isinstance(body, Coming) else None  # bytes are the call's alone, which lets them go
            exchange = Exchange(call.id, spoken, shaped, call.stream, front.now())
            await front.engine.run(call, snapshot, reply, exchange)
        finally:
            if isinstance(body, Coming):
                body.close()
            if passed:
                gate.give()
            front.over()
        if reply.response is None:
            raise ConnectionResetError("the client left before its answer began")
        return reply.response

    return handle


async def _continue(request: Received) -> None:
    """A client that waits to be told to send its body is told so."""
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0


def _passes(request: Received, operation: Operation) -> Passes | None:
    """What tells whether a form can be passed on as it comes; None for what is none."""
    kind = request.headers.get("Content-Type", "")
    if request.method != "POST" or not kind.lower().startswith("multipart/"):
        return None

    def known(beginning: bytes) -> splice.Head | None:
        try:
            head = multipart.peek(beginning, kind, whole=False)
        except splice.BadBody:
            return None  # read whole, it is refused for that
        return head if operation in NO_MODEL or head.model is not None else None

    return known


def _call(
    request: Received, operation: Operation, form: Form, match: Mapping[str, str], body: bytes | Coming | None
) -> Call:
    kind = request.headers.get("Content-Type", "")
    tail = _tail(match["tail"]) if "tail" in match else ""
    known = request.known
    named = operation not in NO_MODEL and not tail and request.method == "POST"  # the body has to name a model
    upload = body if isinstance(body, Coming) else None
    body = None if isinstance(body, Coming) else body
    head = upload.head if upload else _head(body, kind, posted=request.method == "POST", named=named)
    if "verb" in match:
        head = _in_path(request, match, head)
    if named and head.model is None:
        raise Refused(400, "missing_model", "the body names no `model`", param="model")
    return Call(
        id=request.ident,
        operation=operation,
        form=form,
        method=request.method,
        tail=tail,
        query=_query(request.raw_path, match) if "?" in request.raw_path else "",
        headers=tuple(passing.to_upstream(request.headers.items())) if known is None else known.passing,
        body=body,
        content_type=kind,
        model=head.model,
        stream=head.stream,
        include_usage=head.include_usage,
        fields=head.fields,
        model_at=head.model_at,
        upload=upload,
    )


def _head(body: bytes | None, kind: str, *, posted: bool, named: bool) -> splice.Head:
    """What has to be known of the body. Raises Refused."""
    try:
        if body is not None and kind.lower().startswith("multipart/"):
            return multipart.peek(body, kind)
        if body is not None and (body or posted):
            return splice.peek(body)
        if named:
            raise splice.BadBody("the body is empty")
    except splice.BadBody as exc:
        raise Refused(400, exc.code, exc.message, param=exc.param) from None
    return _NOTHING


def _tail(tail: str) -> str:
    """What follows the path of the operation, and stays below it. Raises Refused."""
    if any(part.partition(";")[0] in (".", "..") for part in _SEPARATORS.split(tail)):
        raise Refused(404, "unknown_path", "a path with `.` or `..` in it leads nowhere here")
    return f"/{quote(tail, safe='/:@!$&()*+,;=~-._')}" if tail else ""


def _in_path(request: Received, match: Mapping[str, str], head: splice.Head) -> splice.Head:
    """Google's clients name model and streaming in the path. Raises Refused."""
    streamed = match["verb"] == "streamGenerateContent"
    if streamed and request.query.get("alt") != "sse":
        raise Refused(400, "unsupported_parameter", "streams come as events: ask for them with ?alt=sse", param="alt")
    model = match["model"].removeprefix("models/")
    return msgspec.structs.replace(head, model=model, stream=streamed, include_usage=None)


def _query(path: str, match: Mapping[str, str]) -> str:
    """The raw query without what looks like a credential, and without what the provider's path says itself."""
    raw = path.partition("?")[2]
    left_out = _CREDENTIALS | {"alt"} if "verb" in match else _CREDENTIALS
    return "&".join(part for part in raw.split("&") if unquote_plus(part.partition("=")[0]).lower() not in left_out)
