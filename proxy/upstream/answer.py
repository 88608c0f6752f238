"""A provider's answer as it comes in. What reads the socket gives it piece by piece: `proxy.upstream.wire`.

Whoever wants it either asks for the next piece (`read`) or has each one given to him as it arrives (`pour`), from
within the callback of the socket: no task is woken for a piece then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from config.model import Secret
from proxy.upstream.errors import interrupted

if TYPE_CHECKING:
    from proxy.upstream.wire import Wire

_HIGH: Final = 128 * 1024  # bytes kept for whoever does not come for them; then the socket is not read
_MOST_NAMES: Final = 512
_LONGEST_NAME: Final = 64  # that is remembered
_names: dict[bytes, str] = {}  # of headers, as they are compared; those of the first providers suffice

Sink = Callable[[bytes], bool]


class UpstreamResponse:
    """The head of an answer, and its body piece by piece. Must be closed or read to its end.

    `began`, `arrived` and `ended` are for the wire alone.
    """

    __slots__ = (
        "_enough",
        "_error",
        "_headers",
        "_held",
        "_loop",
        "_over",
        "_pieces",
        "_raised",
        "_raw",
        "_secret",
        "_sink",
        "_size",
        "_values",
        "_waiter",
        "_wire",
        "status",
    )

    def __init__(self, wire: Wire, secret: Secret | None) -> None:
        self.status = 0  # until its head is there
        self._wire: Wire | None = wire  # while more can come
        self._loop = wire.loop
        self._secret = secret
        self._raw: list[tuple[bytes, bytes]] = []
        self._values = b""
        self._headers: list[tuple[str, str]] | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._over = False
        self._error: Exception | None = None
        self._sink: Sink | None = None
        self._enough = False  # the sink wants no more
        self._raised: Exception | None = None  # by the sink
        self._held = False
        self._waiter: asyncio.Future[None] | None = None

    # --- for whoever wants it

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names in lower case with their values. One that holds the key that was sent is not among them."""
        if self._headers is None:
            self._headers = [
                (_names.get(name) or _named(name), value.rstrip(b" \t").decode("utf-8", "surrogateescape"))
                for name, value in self._raw
            ]
            secret = self._secret
            if secret is not None and _holds(self._values, secret):
                self._headers = [
                    known for known, (_, raw) in zip(self._headers, self._raw, strict=True) if not _holds(raw, secret)
                ]
        return self._headers

    def header(self, name: str) -> str:
        """The first header of that (lower-case) name, or an empty text."""
        for key, value in self.headers:
            if key == name:
                return value
        return ""

    async def begun(self) -> None:
        """Return once the head is there. Raises UpstreamError, and what the source of the request's body raised."""
        while not self.status:
            if self._over:
                raise self._error or interrupted("it closed the connection without an answer")
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def read(self) -> bytes:
        """The next piece of the body; empty at its end. Raises UpstreamError."""
        while not self._pieces:
            if self._over:
                if self._error is not None:
                    raise self._error
                return b""
            await self._wait()
        return self._taken()

    async def pour(self, sink: Sink) -> None:
        """Give every piece to `sink` as it comes, until the end of the body or until `sink` returns True.

        Raises UpstreamError as `read` does, and what `sink` raises. What was not given can be read afterwards; nothing
        is given once the task that pours was cancelled.
        """
        while self._pieces and not self._held:
            if sink(self._taken()):
                return
        self._sink, self._enough = sink, False
        try:
            while not self._enough and (self._pieces or not self._over):
                await self._wait()
        finally:
            self._sink = None
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised
        if self._error is not None and not self._enough:
            raise self._error

    def hold(self) -> None:
        """Read no more of the socket, and pour no more, until `go_on`."""
        self._held = True
        if self._wire is not None:
            self._wire.pause()

    def go_on(self) -> None:
        """Undo `hold`."""
        self._held = False
        while self._pieces and self._sink is not None and not self._held and not self._cancelled():
            self._give(self._sink, self._taken())
        if self._over:
            self._wake()
        elif self._wire is not None and not self._held and self._size < _HIGH:
            self._wire.resume()

    def rest(self) -> bytes:
        """What can be said though nothing more comes: nothing."""
        return b""

    def close(self) -> None:
        """Give the connection up: the provider sees it closed unless the answer had ended."""
        wire = self._wire
        if wire is not None:
            wire.give_up()  # which ends this
        self._pieces.clear()

    # --- for the wire

    def began(self, status: int, raw: list[tuple[bytes, bytes]], values: bytes) -> None:
        """The head: names and values as they came, and all values in one."""
        self.status = status
        self._raw = raw
        self._values = values
        self._wake()

    def arrived(self, data: bytes) -> None:
        """A piece of the body."""
        sink = self._sink
        if sink is not None and not self._held and not self._cancelled():
            self._give(sink, data)
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= _HIGH and self._wire is not None:
            self._wire.pause()
        if sink is None:
            self._wake()

    def ended(self, error: Exception | None) -> None:
        """Nothing more comes: all of it has come, or `error` says what kept it."""
        self._wire = None
        self._over = True
        self._error = error
        self._wake()

    # ---

    def _taken(self) -> bytes:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._size >= _HIGH and self._wire is not None and not self._held:
            self._wire.resume()
        self._size = 0
        return data

    def _cancelled(self) -> bool:
        """Whether who pours has been told to stop, though he has not had his turn to do so since."""
        return self._waiter is not None and self._waiter.cancelled()

    def _give(self, sink: Sink, data: bytes) -> None:
        try:
            enough = sink(data)
        except Exception as exc:  # it is raised where the pouring was asked for
            self._raised = exc
            enough = True
        if enough:
            self._sink, self._enough = None, True
            self._wake()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _named(name: bytes) -> str:
    known = name.decode("utf-8", "surrogateescape").lower()
    if len(_names) < _MOST_NAMES and len(name) <= _LONGEST_NAME:
        _names[name] = known
    return known


def _holds(raw: bytes, secret: Secret) -> bool:
    """Whether the key that was sent comes back in this."""
    return secret.scrub(raw) != raw
