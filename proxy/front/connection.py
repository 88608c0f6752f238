"""One connection of a client: aiohttp's, with a loop of our own that holds less for each request.

aiohttp answers each request in a task of its own beside that of the connection. Clocks and errors:
`proxy.front.protocol`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, cast

from aiohttp import web
from aiohttp.http_parser import HttpRequestParser
from aiohttp.http_writer import StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import ERROR, RequestHandler, RequestPayloadError, _ErrInfo
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.front.errors import Received
from proxy.front.heads import Head, Heads
from proxy.outbox import Outbox

_NO_HEADERS: Final = CIMultiDictProxy(CIMultiDict[str]())
_BREAK: Final = b"\r\n"  # before a request it is skipped (RFC 9112, 2.2), and may look like the end of a head
Handler = Callable[[BaseRequest], Awaitable[web.StreamResponse]]


class Door(Protocol):
    """Who answers the requests of a server, and knows heads of some."""

    heads: Heads

    def __call__(self, request: BaseRequest, /) -> Awaitable[web.StreamResponse]:
        """The answer to one. What it raises is for `failed`."""

    async def failed(self, request: BaseRequest, exc: Exception, /) -> web.StreamResponse:
        """The answer to one for which this was raised. Raises ConnectionError where the client is gone."""


class Sent:
    """What a handler returns once all is written: the part of a response that is looked at."""

    __slots__ = ("keep_alive",)
    prepared = True

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    async def prepare(self, request: BaseRequest) -> None:
        """It is."""

    async def write_eof(self) -> None:
        """It was."""


class Whole(StreamReader):
    """A body that is there: to be read like one that comes in, but by lines or till a separator."""

    __slots__ = ("_body",)

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._exception = None
        self.total_bytes = len(body)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        self._exception = exc

    def is_eof(self) -> bool:
        return True

    def at_eof(self) -> bool:
        return not self._body

    def set_read_chunk_size(self, n: int) -> None:
        return

    def read_nowait(self, n: int = -1) -> bytes:
        if self._exception is not None:
            raise self._exception
        body = self._body
        self._body = b"" if n < 0 else body[n:]
        return body if n < 0 else body[:n]

    async def read(self, n: int = -1) -> bytes:
        return self.read_nowait(n)

    async def readany(self) -> bytes:
        return self.read_nowait()

    async def readchunk(self) -> tuple[bytes, bool]:
        return self.read_nowait(), False


class Connection(RequestHandler):
    """See the module."""

    __slots__ = ("_body", "_due", "_head", "_heads", "_known", "outbox")
    outbox: Outbox
    ssl_context = peername = sockname = None  # of which aiohttp makes texts for each connection, and nobody reads them

    def __init__(self, manager: web.Server, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._heads = cast(Door, manager.request_handler).heads
        self._messages: list[Any] = []  # type: ignore[assignment]  # an empty deque takes 760 bytes
        self._body: StreamReader = EMPTY_PAYLOAD  # of the last request that was read by aiohttp's parser
        self._due = 0  # bytes of the last request that are still to come; less than 0 where that is not known
        self._head = b""  # that of the only request that waits, where it came in one piece
        self._known: Head | None = None  # what is known of that

    def received(self, data: bytes) -> bool:
        """Requests have come, or parts of one; whether the head of one was among them."""
        head = data.find(b"\r\n\r\n") + 4 if self._due == 0 and not self._messages else 0
        if head > 3 and self._is_again(data, head):
            return True
        if self._parser is None and self.transport is not None:
            self._parser = self._fresh_parser()
        before = self._request_count
        RequestHandler.data_received(self, data)
        came = self._request_count - before
        if came:
            self._due, self._body = -1, self._messages[-1][1]
            if came == 1 and head > 3 and data[0] not in _BREAK:
                self._due = _missing(self._messages[-1][0], head, len(data))
        else:
            self._due -= len(data)  # less than 0 where it was no part of a body
        if self._upgraded or self._body.is_eof() is not (self._due == 0):
            self._due = -1  # aiohttp's parser has found another end, or keeps what follows and reads that later
        if came:
            self._head = data[:head] if self._due >= 0 else b""
        return came > 0

    def _is_again(self, data: bytes, size: int) -> bool:
        """Whether this is a request with a known head, which has this size, and its whole body: it waits to be answered
        then."""
        self._known, length = self._heads.find(data[:size])
        if self._known is None or not 0 < length == len(data) - size <= self._read_bufsize:
            return False
        if self._close or self._force_close:
            return False
        self._head = data[:size]
        self._request_count += 1
        self._messages.append((self._known.message, Whole(data[size:])))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return True

    def resume_reading(self, resume_parser: bool = True) -> None:
        """A body has room again. Its reader says so each time that it is read, also where nothing was held back; behind
        chunks aiohttp's parser may hold something back without being paused."""
        if self._reading_paused or self._due < 0:
            super().resume_reading(resume_parser)

    def let_go(self, request: BaseRequest) -> None:
        """The answer has begun: nobody needs the head of the request any more, nor what it was read with, nor a clock
        for idle connections. Its method, version and id stay."""
        if not request.content.is_eof():
            return
        request._message, request._headers, request._rel_url = ERROR, _NO_HEADERS, ERROR.url
        if request.content is self._body:  # and not that of a request behind it
            self._body = EMPTY_PAYLOAD
        request._payload = EMPTY_PAYLOAD
        request._cache.clear()
        if self._due == 0 and not self._messages:
            self._parser = None  # which keeps the last head until the next one comes
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
            self._keepalive_handle = None

    def _fresh_parser(self) -> HttpRequestParser:
        return HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=self._max_msg_queue_size,
        )

    async def start(self) -> None:
        """Answer one request after the other, until the connection is to be closed."""
        while not self._force_close:
            if self._messages:
                self.outbox.flush()  # not every answer to what comes behind another goes through it
            else:
                await self._asked()
            try:
                if not await self._turn():
                    break
                self._stay()
            except Exception:
                self.logger.exception("a connection failed")
                self.force_close()
            except BaseException:
                self.force_close()
                raise
        if not self._force_close:
            self._task_handler = None
            self.hang_up()

    def hang_up(self) -> None:
        """Close the connection once all is sent."""
        if self.transport is not None:
            self.transport.close()

    async def _asked(self) -> None:
        """Return once there is a request."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _turn(self) -> bool:
        """Answer a request; whether another may follow."""
        request, handler = self._next()
        self._request_in_progress = True
        try:
            self._current_request = request
            try:
                answer = await handler(request)
            except Exception as exc:
                answer = await self._failed(request, exc)
            finally:
                self._current_request = None
            gone = False
            if not isinstance(answer, Sent) or self._upgraded:
                answer, gone = await self.finish_response(request, answer, None)
        except ConnectionError:
            return False  # there is nobody to be answered
        finally:
            request._task = None  # type: ignore[assignment]  # a cycle, where an exception holds its frame
            self._request_in_progress = False
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)
        self._keepalive = not gone and bool(answer.keep_alive)
        if not gone and not request.content.is_eof():
            await self._linger(request.content)
        if self._upgraded and not self._messages:  # since the body came to its end: what follows it is read by nobody
            return False
        return self._keepalive and not self._close and not self._force_close

    async def _failed(self, request: BaseRequest, exc: Exception) -> web.StreamResponse:
        """What answers in place of a handler that has raised this. Raises ConnectionError."""
        if isinstance(exc, ConnectionError) or self._request_handler is None:
            raise ConnectionResetError from None
        try:
            return await cast(Door, self._request_handler).failed(request, exc)
        except ConnectionError:
            raise
        except Exception as again:
            return self.handle_error(request, 500, again)

    def _next(self) -> tuple[BaseRequest, Handler]:
        """The next request, and who answers it."""
        message, payload = self._messages.pop(0)
        manager, receive, handler = self._manager, self._request_factory, self._request_handler
        assert manager is not None
        assert receive is not None
        assert handler is not None
        assert self._task_handler is not None
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        manager.requests_count += 1
        if isinstance(message, _ErrInfo):
            handler, message = self._make_error_handler(message), ERROR
        request = receive(message, payload, self, StreamWriter(self, self._loop), self._task_handler)
        if self._head and isinstance(request, Received):
            request.head, request.known = self._head, self._known
            self._head, self._known = b"", None
        return request, handler

    async def _linger(self, body: StreamReader) -> None:
        """Take for a moment what is left of a body that nobody has read: whoever is reset while sending may not get to
        see the answer (RFC 9112, 9.6)."""
        if not self._force_close:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._lingering_time):
                    while not body.is_eof():
                        await body.readany()
        if not body.is_eof():
            self.close()

    def _stay(self) -> None:
        """Wait for the next request, but not for ever."""
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)


def _missing(message: Any, head: int, came: int) -> int:
    """How much of the body of a request is still to come, of which so much came with its head of this length; less than
    0 where that is not known, or something stands behind it."""
    if isinstance(message, _ErrInfo) or message.chunked:
        return -1
    return head + int(message.headers.get("Content-Length", "0")) - came
