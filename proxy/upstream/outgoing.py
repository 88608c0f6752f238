"""How a request goes out over one connection to a provider: no more at a time than its transport takes.

What comes back: `proxy.upstream.wire`.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.outbox import Outbox
    from proxy.upstream.request import Body, Pieces

_JOINED: Final = 32 * 1024  # a body up to this is copied behind its head, for that costs less than a second write
_SLICE: Final = 192 * 1024  # of a larger one at a time, so that the loop is not held up
ENOUGH: Final = 64 * 1024  # for the transport: with a slice on top it never has more than 256 KiB


class Outgoing(asyncio.Protocol):
    """The half of a connection that writes. `drawn`: the body of the last request was begun to be read."""

    __slots__ = ("_after", "_body", "_drained", "_full", "_sender", "_transport", "drawn", "loop", "outbox")

    def __init__(self, loop: asyncio.AbstractEventLoop, outbox: Outbox) -> None:
        self.loop = loop
        self.outbox = outbox
        self.drawn = False
        self._transport: asyncio.Transport | None = None
        self._body: memoryview | None = None  # what is still to be written
        self._after: list[memoryview] | None = None  # and what follows it, last things first
        self._full = False
        self._drained: asyncio.Future[None] | None = None
        self._sender: asyncio.Task[None] | None = None

    @property
    def said_all(self) -> bool:
        """Whether nothing of the request is left to be written."""
        return self._body is None and (self._sender is None or self._sender.done())

    def say(self, head: bytes, body: bytes | Pieces | Body | None) -> None:
        """Write a request."""
        transport = self._transport
        assert transport is not None
        self.drawn = False
        if not body:
            transport.write(head)
        elif isinstance(body, tuple):
            self._write_pieces(head, body)
        elif not isinstance(body, bytes):
            transport.write(head)
            self._sender = self.loop.create_task(self._send(body))
        elif len(body) <= _JOINED:
            self.outbox.write(transport, head + body)
        else:
            self._write_pieces(head, (body,))

    def stop(self) -> None:
        """Write no more of it."""
        self._body = self._after = None
        if self._sender is not None:
            self._sender.cancel()

    @abstractmethod
    def failed(self, error: Exception) -> None:
        """The source of a body has failed."""

    def pause_writing(self) -> None:
        """The transport has enough."""
        self._full = True

    def resume_writing(self) -> None:
        """It takes more."""
        self._full = False
        self._drain()
        if self._body is not None:
            self._write_on()

    def _write_pieces(self, head: bytes, pieces: Pieces) -> None:
        """The head with the first slice, in one system call on uvloop and without a copy; the rest as it is taken."""
        first: list[bytes | memoryview] = [head]
        room, left = _SLICE, [memoryview(piece) for piece in reversed(pieces)]
        while left and room > 0:
            piece = left.pop()
            first.append(piece[:room])
            if len(piece) > room:
                left.append(piece[room:])
            room -= len(piece)
        self._body, self._after = left.pop() if left else None, left
        assert self._transport is not None
        self._transport.writelines(first)
        self._write_on()

    def _write_on(self) -> None:
        """Write until the transport has enough."""
        transport, body = self._transport, self._body
        while body is not None and transport is not None and not self._full:
            if len(body) > _SLICE:
                self._body = body[_SLICE:]
            else:
                self._body = self._after.pop() if self._after else None
            transport.write(body[:_SLICE])
            body = self._body

    async def _send(self, body: Body) -> None:
        """Write a body as it comes; what its source raises is what the exchange ends with."""
        try:
            await self._sent(body)
        except Exception as exc:
            self.failed(exc)

    async def _sent(self, body: Body) -> None:
        left = body.size
        self.drawn = True
        while piece := await body.next():
            if left is not None:
                left -= len(piece)
                if left < 0:
                    raise ValueError("the body of a request is longer than was said")
            for start in range(0, len(piece), _SLICE):
                await self._put(memoryview(piece)[start : start + _SLICE], chunked=left is None)
        if left:
            raise ValueError("the body of a request is shorter than was said")
        if left is None and self._transport is not None:
            self._transport.write(b"0\r\n\r\n")

    async def _put(self, data: memoryview, *, chunked: bool) -> None:
        if self._transport is None:
            return
        if chunked:
            self._transport.writelines([b"%x\r\n" % len(data), data, b"\r\n"])
        else:
            self._transport.write(data)
        if self._full:
            self._drained = self.loop.create_future()
            await self._drained

    def _drain(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
