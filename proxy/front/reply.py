"""The answer on its way to one client: head, pieces, end; back-pressure and disconnects. An engine Reply.

Written by itself instead of by aiohttp's responses, which take a third of what a small answer costs (measured with
3.14). Framing: RFC 9112, sections 6 and 7.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from email.utils import formatdate
from functools import cache
from http import HTTPStatus
from typing import Final, cast

from aiohttp import web

from proxy.engine import ClientGone
from proxy.front.connection import Sent
from proxy.front.context import Front
from proxy.front.errors import ID_HEADERS, Received
from proxy.front.protocol import Protocol

_COMMENT: Final = b"3\r\n:\n\n\r\n"  # a chunk of an event stream that says nothing (WHATWG HTML, "Server-sent events")
_SLICE: Final = 256 * 1024  # what is larger goes out in pieces of that, so that no more waits in the socket's buffer
_JOINED: Final = 16 * 1024  # up to here a copy is cheaper than a second piece
_LAST: Final = b"0\r\n\r\n"
_NO_BODY: Final = frozenset({204, 304})  # RFC 9110, 6.4.1
_EVENTS: Final = "text/event-stream"


_GOES_ON: Final = cast(web.StreamResponse, Sent(keep_alive=True))
_ENDS: Final = cast(web.StreamResponse, Sent(keep_alive=False))


class HttpReply:
    """Writes to one client; `response` is what the handler returns. Who takes nothing is cut off by Protocol.

    `keep_alive`: the connection goes on after this answer, unless the daemon stops by then.
    """

    __slots__ = ("_chunked", "_events", "_front", "_keep_alive", "_left", "_protocol", "_request", "begun", "response")

    def __init__(self, request: Received, front: Front, *, keep_alive: bool = True) -> None:
        self._request = request
        self._front = front
        self._protocol = cast(Protocol, request.protocol)
        self._keep_alive = keep_alive and request.keep_alive
        self._chunked = False
        self._events = False
        self._left: list[memoryview] = []  # of what was larger than a slice
        self.begun = False
        self.response: web.StreamResponse | None = None

    async def whole(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """A whole answer."""
        bare = status in _NO_BODY
        head = self._head(status, headers, None if bare else f"Content-Length: {len(body)}", bool(body))
        if bare or self._request.method == "HEAD":
            body = b""
        if len(body) > _JOINED:
            self._write(head)
            self._put(body)
        else:
            self._write(head + body)
        if self.full:
            await self.drain()
        self._sent()

    def begin(self, status: int, headers: list[tuple[str, str]]) -> None:
        """The head of a stream."""
        self._chunked = self._request.version >= (1, 1)
        self._keep_alive = self._keep_alive and self._chunked  # else its end is that of the connection
        self._write(self._head(status, headers, "Transfer-Encoding: chunked" if self._chunked else None, True))
        kinds = (value for name, value in headers if name == "content-type")
        self._events = self._chunked and next(kinds, "").startswith(_EVENTS)
        self._quiet()
        self._protocol.let_go(self._request)

    @property
    def full(self) -> bool:
        """Whether the client's side has no room left."""
        return self._protocol.writing_paused or bool(self._left)

    def put(self, data: bytes) -> None:
        """A piece of the stream, made of whole events."""
        if not self._chunked or not data:  # an empty chunk would be the end
            self._put(data)
        elif len(data) <= _SLICE and not self._left:
            self._write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._put(b"%x\r\n" % len(data))
            self._put(data)
            self._put(b"\r\n")

    async def drain(self) -> None:
        """Return once there is room; what is larger than a slice goes out on the way."""
        while self.full:
            if self._protocol.writing_paused:
                try:
                    await self._protocol._drain_helper()
                except ConnectionError:
                    raise ClientGone from None
            if self._left and not self._protocol.writing_paused:
                self._write(bytes(self._left.pop(0)))
                self._quiet()

    async def end(self) -> None:
        """The stream is complete."""
        if self._chunked:
            self._put(_LAST)
        self._events = False
        self._quiet()
        await self.drain()
        self._sent()

    def abort(self) -> None:
        """Cut the connection off, so that a body cut short cannot pass for whole."""
        self._keep_alive = False
        self._sent()
        transport = self._protocol.transport
        if not self._chunked:
            self._protocol.reset()
        elif transport is not None:  # its last chunk is missed
            self._protocol.outbox.flush()
            transport.abort()

    def _sent(self) -> None:
        self.response = _GOES_ON if self._keep_alive else _ENDS

    def _put(self, data: bytes) -> None:
        """At once, as far as that goes."""
        if len(data) <= _SLICE and not self._left:
            if data:
                self._write(data)
            return
        view = memoryview(data)
        self._left += [view[start : start + _SLICE] for start in range(0, len(data), _SLICE)]
        self._quiet()

    def _quiet(self) -> None:
        """Only between two events may a sign of life be sent."""
        self._protocol.sign_of_life = _COMMENT if self._events and not self._left else None

    def _write(self, data: bytes) -> None:
        transport = self._protocol.transport
        if transport is None or transport.is_closing():
            raise ClientGone
        self.begun = True
        self._request.writer.output_size += len(data)  # aiohttp and Protocol ask whether something is out
        self._protocol.outbox.write(transport, data)

    def _head(self, status: int, headers: Iterable[tuple[str, str]], framing: str | None, full: bool) -> bytes:
        if self.begun:  # a second one would be taken for that to the next request
            raise RuntimeError("an answer has begun already")
        request = self._request
        self._keep_alive = self._keep_alive and not self._front.closing
        lines = [_status_line(status)]
        untyped = full
        for name, value in headers:
            lines.append(f"{name}: {value}")
            if untyped and name.lower() == "content-type":
                untyped = False
        if untyped:
            lines.append("content-type: application/octet-stream")
        if framing is not None:
            lines.append(framing)
        old = request.version < (1, 1)
        if self._keep_alive is old:  # what is not said by the version itself (RFC 9112, 9.3)
            lines.append("Connection: keep-alive" if old else "Connection: close")
        origin = request.origin
        if origin is not None:
            lines += (f"Access-Control-Allow-Origin: {origin}", "Vary: Origin")
        lines.append(_ending(int(time.time())))
        head = "\r\n".join(lines)
        breaks = len(lines) + _ENDING_BREAKS
        if head.count("\n") != breaks or head.count("\r") != breaks or "\0" in head:
            raise ValueError("a header of an answer holds a line break")  # no value is named
        return head.encode("utf-8", "replace")


async def write_response(request: Received, answer: web.StreamResponse, front: Front) -> web.StreamResponse:
    """What a handler made as aiohttp's response, written as all others are: with the ids of the request."""
    if not isinstance(answer, web.Response) or not isinstance(answer.body, bytes | None):
        cast(Protocol, request.protocol).outbox.flush()  # aiohttp writes this one itself
        return answer
    if request.writer.output_size:
        cast(Protocol, request.protocol).reset()
        raise ConnectionResetError("an answer has begun already")
    headers = list(answer.headers.items())
    given = {name.lower() for name, _ in headers}
    headers += [(name, request.ident) for name in ID_HEADERS if name not in given]
    reply = HttpReply(request, front, keep_alive=answer.keep_alive is not False)
    try:
        await reply.whole(answer.status, headers, answer.body or b"")
    except ClientGone:
        raise ConnectionResetError("the client left before its answer") from None
    assert reply.response is not None
    return reply.response


@cache
def _status_line(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}"


_last_ending: tuple[int, str] = (0, "")


_ENDING_BREAKS: Final = 2  # in it, beside the one before it


def _ending(now: int) -> str:
    """What every head ends with in this second."""
    global _last_ending
    if _last_ending[0] != now:
        date = formatdate(now, usegmt=True)
        _last_ending = (now, f"Date: {date}\r\nx-content-type-options: nosniff\r\n\r\n")
    return _last_ending[1]
