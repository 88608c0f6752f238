"""The answer on its way to one client: head, pieces, end; back-pressure and disconnects. An engine Reply."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from proxy.engine import ClientGone

_PROGRESS_SECONDS: Final = 120.0  # a client that takes nothing for so long is given up


class HttpReply:
    """Writes to aiohttp; `response` is what the handler returns."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._stream: web.StreamResponse | None = None
        self.response: web.StreamResponse | None = None

    @property
    def begun(self) -> bool:
        """Whether the head is out."""
        return self._stream is not None

    async def whole(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """A whole answer; aiohttp sends it when the handler returns."""
        self.response = web.Response(status=status, headers=CIMultiDict(headers), body=body)

    async def begin(self, status: int, headers: list[tuple[str, str]]) -> None:
        """The head of a stream."""
        self._stream = self.response = web.StreamResponse(status=status, headers=CIMultiDict(headers))
        try:
            await self._stream.prepare(self._request)
        except ConnectionError:
            raise ClientGone from None

    async def write(self, data: bytes) -> None:
        """A piece of the stream; waits while the client's side is full."""
        assert self._stream is not None
        try:
            async with asyncio.timeout(_PROGRESS_SECONDS):
                await self._stream.write(data)
        except (ConnectionError, TimeoutError):
            raise ClientGone from None

    async def end(self) -> None:
        """The stream is complete."""
        assert self._stream is not None
        try:
            async with asyncio.timeout(_PROGRESS_SECONDS):
                await self._stream.write_eof()
        except (ConnectionError, TimeoutError):
            raise ClientGone from None

    def abort(self) -> None:
        """Reset the connection, so that a body cut short cannot pass for whole."""
        transport = self._request.transport
        if transport is not None:
            transport.abort()
