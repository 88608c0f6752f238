"""The server's side of a socket, hardened: clocks for heads and for unread answers, and errors that echo nothing.

aiohttp writes the offending header of a malformed request into its 400 answer and its log (measured with 3.14.5);
a bearer token would stand in both. It has no clock for an unfinished header block, nor for a client that reads nothing.
A client that has sent all it wants to may close its side and still read (RFC 9112, 9.6); one that has left looks
the same until something is sent to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import socket
import struct
import sys
import termios
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from proxy.dialects.envelope import Form, error_body
from proxy.front.connection import Connection, Door
from proxy.front.errors import ID_HEADERS, Received, new_id
from proxy.outbox import Outbox

HEADER_SECONDS: Final = 10.0
KEEPALIVE_SECONDS: Final = 75.0
_LOOKS: Final = 8  # at a client that takes nothing, before it is given up
_PROBE_SECONDS: Final = 0.002  # from one sign of life to the next, then twice as long each time
_PROBE_MOST: Final = 10.0
_AT_ONCE: Final = struct.pack("ii", 1, 0)  # socket(7), SO_LINGER: a socket that is closed sends a reset
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"  # RFC 9110, 15.2: to be ignored where it was not expected
_log = logging.getLogger("redeo.http")


class Protocol(Connection):
    """One connection of a client, which `patience` says how many seconds to wait for when it takes nothing."""

    __slots__ = ("_header_timer", "_patience", "_probing", "_silent", "_unsent", "_wire", "sign_of_life")

    def __init__(self, manager: web.Server, *, patience: Callable[[], float], outbox: Outbox, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._patience = patience
        self.outbox = outbox
        self._header_timer: asyncio.TimerHandle | None = None
        self._silent = True  # nothing has come yet
        self._wire: asyncio.Transport | None = None  # kept by aiohttp only until it is to be closed
        self._unsent: asyncio.TimerHandle | None = None
        self._probing: asyncio.TimerHandle | None = None
        self.sign_of_life: bytes | None = None  # what may be sent between two pieces of the answer that is under way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._wire = self.transport
        self._arm(KEEPALIVE_SECONDS)  # a connection opened in advance may wait like one that is kept

    def connection_lost(self, exc: BaseException | None) -> None:
        self._disarm()
        for timer in (self._unsent, self._probing):
            if timer is not None:
                timer.cancel()
        self._wire = self._unsent = self._probing = None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_unsent()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unsent is not None:
            self._unsent.cancel()
            self._unsent = None

    def force_close(self) -> None:
        self.outbox.flush()
        super().force_close()
        self._watch_unsent()

    def hang_up(self) -> None:
        self.outbox.flush()
        super().hang_up()
        self._watch_unsent()

    def reset(self) -> None:
        """Cut the connection off so that the client sees it: where the end of an answer is that of the connection, a
        plain one would pass for it (RFC 9112, 8). What is still on its way may be lost. Unix sockets know no reset."""
        self.outbox.flush()
        wire = self._wire
        if wire is not None:
            with contextlib.suppress(OSError, AttributeError):
                wire.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            wire.abort()

    def give_way(self, seconds: float) -> None:
        """Close a connection on which nothing has been asked, answered or begun for so long."""
        waiting = self._waiter is not None and not self._waiter.done() and not self._messages
        begun = self._header_timer is not None and not self._silent
        idle_since = self._next_keepalive_close_time - self._keepalive_timeout
        if waiting and not begun and self._loop.time() - idle_since >= seconds:
            self.force_close()

    def _watch_unsent(self) -> None:
        """Where something is still to be sent, give the client up if it takes nothing of that for too long.

        While writing is paused nothing is added, so what is left says whether it took anything.
        """
        if self._wire is not None and self._unsent is None and self._wire.get_write_buffer_size():
            seconds = self._patience()
            every = seconds / _LOOKS
            self._unsent = self._loop.call_later(every, self._look, _untaken(self._wire), seconds, seconds)

    def _look(self, before: int, left: float, seconds: float) -> None:
        wire, self._unsent = self._wire, None
        if wire is None or not wire.get_write_buffer_size():
            return
        now, every = _untaken(wire), seconds / _LOOKS
        left = seconds if now < before else left - every
        if left <= every / 2:
            self.reset()
        else:
            self._unsent = self._loop.call_later(every, self._look, now, left, seconds)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # aiohttp returns None, asyncio takes either
        """The client sends no more. Whether the connection stays: as long as there is something to answer."""
        self.outbox.flush()  # what was answered a moment ago
        request = self._current_request
        if not (self._has_come() if request is None else _is_whole(request)):
            return False
        self._probe(_PROBE_SECONDS)
        return True

    def _has_come(self) -> bool:
        """Whether a request is there that nobody serves yet: its handler begins some turns of the loop later."""
        idle = self._waiter is not None and not self._waiter.done()
        return bool(self._messages) or (self._request_count > 0 and not idle)

    def _probe(self, seconds: float) -> None:
        """Find out whether the client is still there: what is sent to one that has left comes back as a reset."""
        self._probing = None
        self.outbox.flush()
        request, wire = self._current_request, self._wire
        if wire is None or wire.is_closing():
            return
        if not (self._has_come() if request is None else _is_whole(request)):
            wire.close()
            return
        if not self._messages:
            self.close()  # once the last one is answered
        sign = None if request is None else self.sign_of_life if request.writer.output_size else _CONTINUE
        if sign is not None:
            wire.write(sign)
        self._probing = self._loop.call_later(seconds, self._probe, min(seconds * 2, _PROBE_MOST))

    def data_received(self, data: bytes) -> None:
        if self._silent:  # from here on the clock of a header block counts, once for all of it
            self._silent = False
            self._disarm()
        if self.received(data):
            self._disarm()
        elif (
            self._header_timer is None and not self._messages and (self._waiter is not None or not self._request_count)
        ):
            self._arm(HEADER_SECONDS)  # else it may be what is left of a body that nobody has read

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
        if request.writer.output_size > 0 or isinstance(exc, ConnectionError):
            raise ConnectionError("the answer has begun already, or there is nobody to read one")
        ident = (request.ident if isinstance(request, Received) else "") or new_id()
        if status >= 500:
            _log.error("a request failed", exc_info=exc, extra={"redeo": {"request_id": ident}})
        text = "the request is not well-formed HTTP" if status < 500 else "the daemon failed; its log says where"
        code = "malformed_request" if status < 500 else "internal_error"
        response = web.Response(
            status=status,
            body=error_body(Form.OPENAI, status, text, code, ident),
            content_type="application/json",
            headers={"x-should-retry": "false", **dict.fromkeys(ID_HEADERS, ident)},
        )
        response.force_close()
        return response


def _is_whole(request: BaseRequest) -> bool:
    """Whether all of it has come, and its client may be waiting for the answer (HTTP/1.0 knows no such thing)."""
    return request.content.is_eof() and request.version >= (1, 1)


def _untaken(wire: asyncio.Transport) -> int:
    """Bytes that the client has not taken: here and in the kernel, which takes more only in large steps (tcp(7))."""
    queued = bytearray(4)
    with contextlib.suppress(OSError, AttributeError):
        fcntl.ioctl(wire.get_extra_info("socket").fileno(), termios.TIOCOUTQ, queued)
    return wire.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)


class Server(web.Server):
    """aiohttp's server with our protocol."""

    def __init__(self, handler: Any, *, request_factory: Any, patience: Callable[[], float], **kwargs: Any) -> None:
        super().__init__(handler, request_factory=request_factory, **kwargs)
        self._patience = patience
        self._outbox = Outbox(self._loop)
        self._protocol_arguments = kwargs
        self.lost: Callable[[], None] | None = None  # called once for each connection that has ended

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        if self.lost is not None:
            self.lost()

    def __call__(self) -> RequestHandler:
        arguments = {k: v for k, v in self._protocol_arguments.items() if k != "handler_cancellation"}
        return Protocol(self, loop=self._loop, patience=self._patience, outbox=self._outbox, **arguments)


class Runner(web.AppRunner):
    """An application runner whose connections are ours; `handler` serves all requests; `patience`: see Protocol."""

    __slots__ = ("_handler", "_patience")

    def __init__(
        self,
        app: web.Application,
        handler: Door,
        *,
        patience: Callable[[], float] = lambda: 120.0,
        shutdown_timeout: float = 1.0,
    ) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout)
        self._handler = handler
        self._patience = patience

    async def _make_server(self) -> web.Server:
        # The public AppRunner makes the application ready and builds aiohttp's own Server, which ours stands in for.
        await super()._make_server()
        loop, most = asyncio.get_running_loop(), self.app._client_max_size

        def receive(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> Received:
            return Received(message, payload, protocol, writer, task, loop, client_max_size=most)

        return Server(
            self._handler,
            request_factory=receive,
            patience=self._patience,
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
