"""The body of a request on its way in: how slowly it may come, and how much of all of them is held at once.

A body is read before its request takes a place at the gate, so that a slow sender holds up nobody; what is held in the
meantime has a bound of its own. Owns that count.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import StreamReader, web

from config.model import Limits
from proxy.front.errors import Refused

_SLOWEST: Final = 4096  # bytes a second, over the whole body: slower ones would come in for hours
_BODIES: Final = 4  # as many of the largest bodies are held at once before their requests are served


class Uploads:
    """One per process; the limits are looked at anew for each request."""

    def __init__(self) -> None:
        self.held = 0  # bytes of requests that have no place yet
        self._waiting: set[asyncio.Event] = set()

    @contextlib.asynccontextmanager
    async def body(self, request: web.Request, limits: Limits) -> AsyncIterator[bytes | None]:
        """The whole body, at most `max_body_bytes`; None where there is none. It counts as held until the block ends.

        Raises Refused, HTTPRequestEntityTooLarge.
        """
        if not request.body_exists:
            yield None
            return
        if (request.content_length or 0) > limits.max_body_bytes:
            raise _too_large(limits, request.content_length or 0)
        upload = _Upload(self, limits)
        try:
            yield await upload.read(request)
        finally:
            self._give(upload.size)

    async def take(self, size: int, limits: Limits) -> None:
        """Count so many bytes more, perhaps after waiting until others are served. Raises Refused."""
        room = limits.max_body_bytes * _BODIES
        if self.held + size > room:
            await self._wait(size, limits, room)
        self.held += size

    async def _wait(self, size: int, limits: Limits, room: int) -> None:
        given = asyncio.Event()
        self._waiting.add(given)
        try:
            async with asyncio.timeout(limits.queue_seconds):
                while self.held + size > room:
                    given.clear()
                    await given.wait()
        except TimeoutError:
            what = f"the bodies of waiting requests fill {room} bytes already"
            raise Refused(503, "gateway_overloaded", what, retry_after=1) from None
        finally:
            self._waiting.discard(given)

    def _give(self, size: int) -> None:
        self.held -= size
        for given in self._waiting:
            given.set()


def is_there(request: web.Request) -> bool:
    """Whether all of the body has come, or there is none."""
    return not request.body_exists or (request.content.is_eof() and request.content.exception() is None)


def take(request: web.Request, limits: Limits) -> bytes | None:
    """The body of a request whose whole body has come. Raises HTTPRequestEntityTooLarge."""
    if not request.body_exists:
        return None
    body = request.content.read_nowait()
    if len(body) > limits.max_body_bytes:
        raise _too_large(limits, len(body))
    return body


class _Upload:
    """One body while it comes in."""

    def __init__(self, uploads: Uploads, limits: Limits) -> None:
        self._uploads = uploads
        self._limits = limits
        self._waited = 0.0  # seconds, for the client alone
        self._as_it_comes = False
        self.size = 0

    async def read(self, request: web.Request) -> bytes:
        pieces: list[bytes] = []
        content = request.content
        self._as_it_comes = request.content_length is not None
        while not content.at_eof():
            piece = await self._next(content)
            if self.size + len(piece) > self._limits.max_body_bytes:
                raise _too_large(self._limits, self.size + len(piece))
            await self._uploads.take(len(piece), self._limits)
            self.size += len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _next(self, content: StreamReader) -> bytes:
        if content.total_bytes > self.size:  # it is there: no clock is needed
            return await self._take(content)
        idle = self._limits.body_idle_seconds
        left = idle + self.size / _SLOWEST - self._waited
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(min(idle, max(left, 0.0))):
                piece = await self._take(content)
        except TimeoutError:
            said = f"nothing of the body came for {idle:g} s"
            slow = f"the body came slower than {_SLOWEST} bytes a second"
            raise Refused(408, "body_timeout", said if left > idle else slow) from None
        self._waited += loop.time() - began
        return piece

    async def _take(self, content: StreamReader) -> bytes:
        """What is there: as it came, where the client's chunks may not be many and tiny, so that it is copied once."""
        return (await content.readchunk())[0] if self._as_it_comes else await content.readany()


def _too_large(limits: Limits, size: int) -> web.HTTPRequestEntityTooLarge:
    return web.HTTPRequestEntityTooLarge(max_size=limits.max_body_bytes, actual_size=size)
