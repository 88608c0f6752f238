"""The body of a request on its way in: how slowly it may come, and how much of all of them is held at once.

A body is read before its request takes a place at the gate, so that a slow sender holds up nobody; what is held in the
meantime has a bound of its own. A large form whose sender is quick is passed on while it comes in (see
`proxy.front.coming`): a few at a time, for each of them holds a place. Owns these counts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from aiohttp import web

from config.model import Limits
from proxy.dialects.splice import Head
from proxy.engine import ClientGone
from proxy.front.coming import Coming
from proxy.front.errors import Refused

_SLOWEST: Final = 4096  # bytes a second, over the whole body: slower ones would come in for hours
_BODIES: Final = 4  # as many of the largest bodies are held at once before their requests are served
_BEGINNING: Final = 256 * 1024  # of a form: what is read before anybody is asked
_PASSED_ON: Final = 1024 * 1024  # bytes: one that is larger need not be read whole
_QUICK: Final = 1.0  # seconds for its beginning; who is slower would hold a place for too long
_MOST: Final = 16  # forms at a time, and no more than a quarter of all places
_KEPT: Final = 16 * 1024 * 1024  # of all of them together, for a second attempt; at least `_PASSED_ON` of each

Passes = Callable[[bytes], Head | None]


class Uploads:
    """One per process; the limits are looked at anew for each request."""

    def __init__(self) -> None:
        self.held = 0  # bytes of requests that have no place yet
        self._passing = 0  # forms that are passed on
        self._kept = 0  # bytes that may be kept of them
        self._waiting: set[asyncio.Event] = set()

    @contextlib.asynccontextmanager
    async def body(
        self, request: web.Request, limits: Limits, passes: Passes | None = None
    ) -> AsyncIterator[bytes | Coming | None]:
        """The whole body, at most `max_body_bytes`; None where there is none. It counts as held until the block ends.

        `passes`: says of the beginning of a large one what has to be known of it to pass it on as it comes, or that
        this cannot be done. Whoever is given it so has to `close` it. Raises Refused, HTTPRequestEntityTooLarge.
        """
        if not request.body_exists:
            yield None
            return
        if (request.content_length or 0) > limits.max_body_bytes:
            raise _too_large(limits, request.content_length or 0)
        upload = _Upload(self, limits, request)
        try:
            large = (request.content_length or 0) > _PASSED_ON
            yield await upload.read(passes if large and self._passing < min(_MOST, limits.max_in_flight // 4) else None)
        finally:
            self._give(upload.held)

    async def take(self, size: int, limits: Limits) -> None:
        """Count so many bytes more, perhaps after waiting until others are served. Raises Refused."""
        room = limits.max_body_bytes * _BODIES
        if self.held + size > room:
            await self._wait(size, limits, room)
        self.held += size

    def passed_on(self, size: int) -> int:
        """A form of this size is passed on; how much of it may be kept. What is counted for it: `forgotten`, `over`."""
        keep = size if self._kept + size <= _KEPT else _PASSED_ON
        self._passing += 1
        self._kept += keep
        return keep

    def forgotten(self, keep: int) -> None:
        """So much is kept no more."""
        self._kept -= keep

    def over(self) -> None:
        """A form is passed on no more."""
        self._passing -= 1

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

    def __init__(self, uploads: Uploads, limits: Limits, request: web.Request) -> None:
        self._uploads = uploads
        self._limits = limits
        self._request = request
        self._content = request.content
        self._length = request.content_length
        self._waited = 0.0  # seconds, for the client alone
        self._size = 0  # bytes that have come
        self.held = 0

    async def read(self, passes: Passes | None) -> bytes | Coming:
        pieces: list[bytes] = []
        while not self._content.at_eof():
            piece = await self._next()
            if self._size > self._limits.max_body_bytes:
                raise _too_large(self._limits, self._size)
            await self._uploads.take(len(piece), self._limits)
            self.held = self._size
            pieces.append(piece)
            if passes is not None and self._size >= _BEGINNING:
                pieces = [b"".join(pieces)]
                head = passes(pieces[0]) if self._waited <= _QUICK else None
                if head is not None:
                    return self._coming(pieces[0], head)
                passes = None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _coming(self, beginning: bytes, head: Head) -> Coming:
        kind = self._request.headers.get("Content-Type", "")
        return Coming(beginning, self._length or 0, kind, head, self._rest, self._uploads)

    async def _rest(self) -> bytes:
        """More of a body that is passed on; empty at its end. Raises Refused, ClientGone."""
        try:
            while not self._content.at_eof():
                if piece := await self._next():
                    return piece
        except (OSError, web.RequestPayloadError, RuntimeError):  # the last is aiohttp's for a closed connection
            raise ClientGone from None
        return b""

    async def _next(self) -> bytes:
        if self._content.total_bytes > self._size:  # it is there: no clock is needed
            return await self._take()
        idle = self._limits.body_idle_seconds
        left = idle + self._size / _SLOWEST - self._waited
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(min(idle, max(left, 0.0))):
                piece = await self._take()
        except TimeoutError:
            said = f"nothing of the body came for {idle:g} s"
            slow = f"the body came slower than {_SLOWEST} bytes a second"
            raise Refused(408, "body_timeout", said if left > idle else slow) from None
        self._waited += loop.time() - began
        return piece

    async def _take(self) -> bytes:
        """What is there: as it came, where the client's chunks may not be many and tiny, so that it is copied once."""
        content = self._content
        piece = (await content.readchunk())[0] if self._length is not None else await content.readany()
        self._size += len(piece)
        return piece


def _too_large(limits: Limits, size: int) -> web.HTTPRequestEntityTooLarge:
    return web.HTTPRequestEntityTooLarge(max_size=limits.max_body_bytes, actual_size=size)
