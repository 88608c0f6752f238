"""Where every request enters: it gets its id, passes the guard, and goes to who serves it.

What clients ask most stands in a table of its own, by method and path as they came; all else is for aiohttp's router.
Every failure becomes an answer in the dialect of the path. What is checked: `proxy.front.guard`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from aiohttp import web

from proxy.front.context import FRONT, Front
from proxy.front.errors import Received, Refused, error_response, new_id
from proxy.front.guard import Guard, is_preflight
from proxy.front.reply import write_response

# What the router found in the path is empty for those that do not need it.
Direct = Callable[[Received, Front, Mapping[str, str]], Awaitable[web.StreamResponse]]
# Handlers that need nothing of the router; keys are method and raw path.
DIRECT: Final = web.AppKey("direct", dict[tuple[str, str], Direct])
_NO_MATCH: Final[Mapping[str, str]] = MappingProxyType({})
_MALFORMED: Final = frozenset({"bad_target", "bad_version", "bad_host", "bad_framing"})
_log = logging.getLogger("redeo.guard")


class Door:
    """The handler of a server: of all that `app` serves, sub-applications included."""

    def __init__(self, app: web.Application) -> None:
        self._front: Front = app[FRONT]
        self._direct = app.get(DIRECT, {})
        self._guard = Guard(self._front)
        self.heads = self._guard.heads
        self._routed: Callable[[Any], Awaitable[web.StreamResponse]] = app._handle

    def __call__(self, request: Any) -> Awaitable[web.StreamResponse]:
        """The answer to a request. Raises ConnectionError where the client is gone, or what is for `failed`."""
        request.ident = new_id()
        path = request.raw_path
        if "?" in path:
            path = path.partition("?")[0]
        direct = self._direct.get((request.method, path))
        if direct is not None:
            self._guard.check(request, path)
            return direct(request, self._front, _NO_MATCH)
        self._guard.check(request, request.path)
        return self._other(request)

    async def _other(self, request: Received) -> web.StreamResponse:
        answer = _preflight(request) if is_preflight(request) else await self._routed(request)
        return await write_response(request, answer, self._front)

    async def failed(self, request: Any, exc: Exception) -> web.StreamResponse:
        """The answer to a request for which this was raised. Raises ConnectionError where the client is gone."""
        if isinstance(exc, ConnectionError):
            raise exc
        if isinstance(exc, web.HTTPException):
            exc = self._from_http(request, exc)
        if not isinstance(exc, Refused):
            _log.error("a handler failed", exc_info=exc, extra={"redeo": {"request_id": request.ident}})
            exc = Refused(500, "internal_error", "the daemon failed; its log says where")
        return await write_response(request, self._refused(request, exc), self._front)

    def _refused(self, request: Received, refused: Refused) -> web.Response:
        self._front.rejected(refused.code)
        answer = error_response(request, refused)
        if refused.code in _MALFORMED:
            answer.force_close()  # what comes next on this connection is not to be trusted either
        return answer

    def _from_http(self, request: Received, exc: web.HTTPException) -> Refused:
        if exc.status == 405:
            allow = exc.headers.get("Allow", "")
            return Refused(405, "method_not_allowed", f"this path takes {allow}", headers={"Allow": allow})
        if exc.status == 413:
            limit = self._front.current().settings.limits.max_body_bytes
            return Refused(413, "body_too_large", f"the body is larger than {limit} bytes (limits.max_body_bytes)")
        if exc.status == 404:
            return Refused(404, "unknown_path", _where_instead(request.path))
        return Refused(exc.status, "refused", exc.reason or "refused")


def _preflight(request: Received) -> web.Response:
    """For the configured origins alone: any other was refused already."""
    headers = {
        "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE",
        "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", ""),
        "Access-Control-Max-Age": "600",
    }
    return web.Response(status=204, headers=headers)


def _where_instead(path: str) -> str:
    if path.startswith("/v1/v1"):
        return (
            "the base URL has `/v1` twice: OpenAI clients take http://HOST:PORT/v1, Anthropic clients http://HOST:PORT"
        )
    if path.endswith("/") and len(path) > 1:
        return "there is nothing at this path; it is served without the slash at its end"
    return "there is nothing at this path; /openapi.json lists what there is"
