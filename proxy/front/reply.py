"""The answer on its way to one client: head, pieces, end; back-pressure and disconnects. An engine Reply."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from proxy.engine import ClientGone
from proxy.front.protocol import Protocol

_COMMENT: Final = b"3\r\n:\n\n\r\n"  # a chunk of an event stream that says nothing (WHATWG HTML, "Server-sent events")
_SLICE: Final = 256 * 1024  # what is larger goes out in pieces of that, so that no more waits in the socket's buffer


class HttpReply:
    """Writes to aiohttp; `response` is what the handler returns. A client that takes nothing is cut off by Protocol."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._stream: web.StreamResponse | None = None
        self.response: web.StreamResponse | None = None

    @property
    def begun(self) -> bool:
        """Whether the head is out."""
        return self._stream is not None

    async def whole(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """A whole answer; aiohttp sends a small one when the handler returns."""
        if len(body) <= _SLICE:
            self.response = web.Response(status=status, headers=CIMultiDict(headers), body=body)
            return
        await self._begin(status, headers, len(body))
        await self.write(body)
        await self.end()

    async def begin(self, status: int, headers: list[tuple[str, str]]) -> None:
        """The head of a stream."""
        stream = await self._begin(status, headers, None)
        if stream.content_type == "text/event-stream":
            self._protocol.sign_of_life = _COMMENT

    async def _begin(self, status: int, headers: list[tuple[str, str]], length: int | None) -> web.StreamResponse:
        self._stream = self.response = web.StreamResponse(status=status, headers=CIMultiDict(headers))
        if length is not None:
            self._stream.content_length = length
        try:
            await self._stream.prepare(self._request)
        except ConnectionError:
            raise ClientGone from None
        return self._stream

    async def write(self, data: bytes) -> None:
        """A piece of the stream, made of whole events; waits while the client's side is full."""
        assert self._stream is not None
        if len(data) <= _SLICE:
            await self._write(self._stream, data)
            return
        protocol, view = self._protocol, memoryview(data)
        sign, protocol.sign_of_life = protocol.sign_of_life, None  # it would stand in the middle of an event
        for start in range(0, len(data), _SLICE):
            await self._write(self._stream, bytes(view[start : start + _SLICE]))
        protocol.sign_of_life = sign

    async def _write(self, stream: web.StreamResponse, data: bytes) -> None:
        try:
            await stream.write(data)
            if self._protocol.writing_paused:  # aiohttp itself adds 64 KiB more before it waits
                await self._request.writer.drain()
        except ConnectionError:
            raise ClientGone from None

    async def end(self) -> None:
        """The stream is complete."""
        assert self._stream is not None
        self._protocol.sign_of_life = None
        try:
            await self._stream.write_eof()
        except ConnectionError:
            raise ClientGone from None

    def abort(self) -> None:
        """Reset the connection, so that a body cut short cannot pass for whole."""
        transport = self._request.transport
        if transport is not None:
            transport.abort()

    @property
    def _protocol(self) -> Protocol:
        protocol = self._request.protocol
        assert isinstance(protocol, Protocol)
        return protocol
