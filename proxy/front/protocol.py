"""The server's side of a socket, hardened: a clock for the header block, and errors that echo nothing.

aiohttp writes the offending header of a malformed request into its 400 answer and its log (measured with 3.14.5);
a bearer token would stand in both. It has no clock for an unfinished header block either.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from proxy.dialects.envelope import Form, error_body

HEADER_SECONDS: Final = 10.0
KEEPALIVE_SECONDS: Final = 75.0
_log = logging.getLogger("redeo.http")


class Protocol(RequestHandler):
    """One connection of a client."""

    __slots__ = ("_header_timer", "_silent")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_timer: asyncio.TimerHandle | None = None
        self._silent = True  # nothing has come yet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._arm(KEEPALIVE_SECONDS)  # a connection opened in advance may wait like one that is kept

    def connection_lost(self, exc: BaseException | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        if self._silent:  # from here on the clock of a header block counts, once for all of it
            self._silent = False
            self._disarm()
        super().data_received(data)
        if self._request_count > before:
            self._disarm()
        elif self._current_request is None and not self._messages and self._header_timer is None:
            self._arm(HEADER_SECONDS)

    def _arm(self, seconds: float) -> None:
        self._header_timer = self._loop.call_later(seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _too_slow(self) -> None:
        self._header_timer = None
        self.force_close()

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """An answer that quotes nothing of the request; the connection is closed after it."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        if status >= 500:
            _log.error("a request failed", exc_info=exc)
        text = "the request is not well-formed HTTP" if status < 500 else "the daemon failed; its log says where"
        code = "malformed_request" if status < 500 else "internal_error"
        response = web.Response(
            status=status,
            body=error_body(Form.OPENAI, status, text, code, ""),
            content_type="application/json",
            headers={"x-should-retry": "false"},
        )
        response.force_close()
        return response


class Server(web.Server):
    """aiohttp's server with our protocol."""

    def __init__(self, handler: Any, *, request_factory: Any, **kwargs: Any) -> None:
        super().__init__(handler, request_factory=request_factory, **kwargs)
        self._protocol_arguments = kwargs

    def __call__(self) -> RequestHandler:
        arguments = {k: v for k, v in self._protocol_arguments.items() if k != "handler_cancellation"}
        return Protocol(self, loop=self._loop, **arguments)


class Runner(web.AppRunner):
    """An application runner whose connections are ours."""

    async def _make_server(self) -> web.Server:
        # The public AppRunner builds aiohttp's own Server; its two inputs are all that a Server needs.
        built = await super()._make_server()
        assert built.request_factory is not None
        return Server(
            built.request_handler,
            request_factory=built.request_factory,
            handler_cancellation=True,
            keepalive_timeout=KEEPALIVE_SECONDS,
            max_line_size=8190,
            max_field_size=8190,
            max_headers=100,
            access_log=None,
            logger=_log,
            auto_decompress=False,
            lingering_time=2.0,
        )


def quiet_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Let the loop's own complaints name places, never values."""

    def complain(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        exc = context.get("exception")
        _log.error("event loop: %s", str(context.get("message", ""))[:200], exc_info=exc)

    loop.set_exception_handler(complain)
