"""Errors of the daemon's own as HTTP answers, in the dialect that the path speaks. Messages come from the callers."""

from __future__ import annotations

import random
from typing import Final

from aiohttp import web

from proxy.dialects.envelope import Form, error_body
from proxy.front.heads import Head

ID_HEADERS: Final = ("x-redeo-request-id", "x-request-id", "request-id")


class Received(web.Request):
    """A request with what it is called in answers and logs, and the origin of the page that it comes from, if any.

    `head`: its head as it came, until the guard has looked, where it stood first in what came; `known`: what is known
    of that from an earlier one.
    """

    ATTRS = web.Request.ATTRS | {"head", "ident", "known", "origin"}
    head: bytes = b""
    ident: str = ""
    known: Head | None = None
    origin: str | None = None


def new_id() -> str:
    """What one request is called in answers and logs."""
    return f"req_{random.getrandbits(96):024x}"


class Refused(Exception):
    """A request that ends here: `status`, `code` and `message` as the client will see them."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.headers = headers or {}


def shutting_down() -> Refused:
    """The refusal of a request that the daemon has no time left for."""
    return Refused(503, "gateway_shutting_down", "the daemon is shutting down", retry_after=1)


def form_of(path: str) -> Form:
    """The shape of errors that clients of this path read."""
    if path.startswith("/v1beta/") or ("/models/" in path and ":" in path):
        return Form.GOOGLE
    bare = path.removeprefix("/v1")
    if bare == "/messages" or bare.startswith("/messages/"):
        return Form.ANTHROPIC
    return Form.OPENAI


def error_response(request: web.BaseRequest, refused: Refused) -> web.Response:
    """The whole answer to a refused request."""
    ident = request.ident if isinstance(request, Received) else ""
    form = form_of(request.path)
    headers = dict(refused.headers)
    headers["x-should-retry"] = "true" if refused.retry_after is not None else "false"
    if refused.retry_after is not None:
        headers["retry-after"] = str(refused.retry_after)
    wait = refused.retry_after
    body = error_body(form, refused.status, refused.message, refused.code, ident, refused.param, wait)
    return web.Response(status=refused.status, body=body, content_type="application/json", headers=headers)
