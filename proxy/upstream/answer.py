"""A provider's answer as it comes in. What reads the socket gives it piece by piece: `proxy.upstream.wire`.

Whoever wants it either asks for the next piece (`read`) or has each one given to him as it arrives (`pour`), from
within the callback of the socket: no task is woken for a piece then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from config.model import Secret
from proxy.upstream.errors import interrupted

if TYPE_CHECKING:
    from proxy.upstream.wire import Wire

_HIGH: Final = 128 * 1024  # bytes kept for whoever does not come for them; then the socket is not read
_UNANSWERED: Final = "it closed the connection without an answer"
_MOST_HEADS: Final = 128
_LONGEST: Final = 1024  # bytes of names, of a head that is remembered
_known: dict[bytes, tuple[str, ...]] = {}  # the names of a head as they are compared; a provider's hardly ever change

Sink = Callable[[bytes], bool]


class UpstreamResponse:
    """The head of an answer, and its body piece by piece. Must be closed or read to its end.

    `began`, `arrived` and `ended` are for the wire alone.
    """

    __slots__ = (
        "_error",
        "_headers",
        "_held",
        "_loop",
        "_names",
        "_over",
        "_pieces",
        "_secret",
        "_sink",
        "_size",
        "_until",
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
        self._names = self._values = b""  # of its headers, until these are asked for
        self._headers: Sequence[tuple[str, str]] | None = None
        self._pieces: list[bytes] | None = None
        self._size = 0
        self._over = False
        self._error: Exception | None = None
        self._sink: Sink | None = None
        self._until: asyncio.Future[None] | None = None  # the head is there, or the sink wants no more or gets no more
        self._held = False
        self._waiter: asyncio.Future[None] | None = None

    # --- for whoever wants it

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """Names in lower case with their values. One that holds the key that was sent is not among them."""
        headers = self._headers
        if headers is None:
            raw, names = self._values, _known.get(self._names) or _in_lower_case(self._names)
            values = raw.decode("utf-8", "surrogateescape").split("\n")
            # There is one value for each name, and one too many where there is no name.
            headers = [(name, value.rstrip(" \t")) for name, value in zip(names, values, strict=False)]
            secret = self._secret
            if secret is not None and _holds(raw, secret):
                lines = zip(headers, raw.split(b"\n"), strict=False)
                headers = [header for header, value in lines if not _holds(value, secret)]
            self._headers, self._names, self._values = headers, b"", b""
        return headers

    def forget_head(self) -> None:
        """Nobody asks for its headers any more, and its body may go on for long."""
        self._headers, self._names, self._values = (), b"", b""

    def header(self, name: str) -> str:
        """The first header of that (lower-case) name, or an empty text."""
        for key, value in self.headers:
            if key == name:
                return value
        return ""

    def begun(self) -> asyncio.Future[None]:
        """Done once the head is there. Awaited, it raises UpstreamError, and what the source of the request's body
        raised."""
        until = self._until = self._loop.create_future()
        if self.status:
            self._done(None)
        elif self._over:
            self._done(self._error or interrupted(_UNANSWERED))
        return until

    async def read(self) -> bytes:
        """The next piece of the body; empty at its end. Raises UpstreamError."""
        while not self._pieces:
            if self._over:
                if self._error is not None:
                    raise self._error
                return b""
            await self._wait()
        return self._taken()

    def pour(self, sink: Sink) -> asyncio.Future[None]:
        """Give every piece to `sink` as it comes; done at the end of the body, or once `sink` has returned True.

        Awaited, it raises UpstreamError as `read` does, and what `sink` raises. What was not given can be read
        afterwards; nothing is given once the task that pours was cancelled.
        """
        self._sink = sink
        until = self._until = self._loop.create_future()
        self._pour_on()
        return until

    def hold(self) -> None:
        """Read no more of the socket, and pour no more, until `go_on`."""
        self._held = True
        if self._wire is not None:
            self._wire.pause()

    def go_on(self) -> None:
        """Undo `hold`."""
        self._held = False
        self._pour_on()
        if self._wire is not None and not self._held and self._size < _HIGH:
            self._wire.resume()

    def rest(self) -> bytes:
        """What can be said though nothing more comes: nothing."""
        return b""

    def close(self) -> None:
        """Give the connection up: the provider sees it closed unless the answer had ended."""
        wire = self._wire
        if wire is not None:
            wire.give_up()  # which ends this
        self._pieces = None

    # --- for the wire

    def began(self, status: int, names: bytes, values: bytes) -> None:
        """The head: names and values as they came, each on a line."""
        self.status = status
        self._names = names
        self._values = values
        self._done(None)

    def arrived(self, data: bytes) -> None:
        """A piece of the body."""
        sink = self._sink
        if sink is not None and not self._held and not self._left():
            self._give(sink, data)
            return
        if self._pieces is None:
            self._pieces = []
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= _HIGH and self._wire is not None:
            self._wire.pause()
        self._wake()

    def ended(self, error: Exception | None) -> None:
        """Nothing more comes: all of it has come, or `error` says what kept it."""
        self._wire = None
        self._over = True
        self._error = error
        if not self.status:
            self._done(error or interrupted(_UNANSWERED))
        elif self._sink is not None:
            self._pour_on()
        else:
            self._wake()

    # ---

    def _taken(self) -> bytes:
        pieces = self._pieces or [b""]
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces = None
        if self._size >= _HIGH and self._wire is not None and not self._held:
            self._wire.resume()
        self._size = 0
        return data

    def _pour_on(self) -> None:
        """Give the sink what is there, and be done with it once that was all."""
        while self._pieces and self._sink is not None and not self._held and not self._left():
            self._give(self._sink, self._taken())
        if self._over and self._sink is not None and not self._pieces:
            self._done(self._error)

    def _left(self) -> bool:
        """Whether who pours has been told to stop, though he has not had his turn to do so since."""
        return self._until is not None and self._until.cancelled()

    def _give(self, sink: Sink, data: bytes) -> None:
        self._sink = None  # it may close this, which does not count if it wants no more
        try:
            enough = sink(data)
        except Exception as exc:  # it is raised where the pouring was asked for
            self._done(exc)
            return
        if enough:
            self._done(None)
            return
        self._sink = sink
        if self._over:
            self._pour_on()

    def _done(self, error: Exception | None) -> None:
        """Whoever waits for the head, or pours, goes on."""
        until, self._until, self._sink = self._until, None, None
        if until is None or until.done():
            return
        if error is None:
            until.set_result(None)
        else:
            until.set_exception(error)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _in_lower_case(lines: bytes) -> tuple[str, ...]:
    """The names of a head."""
    names = tuple(lines.decode("utf-8", "surrogateescape").lower().split("\n")) if lines else ()
    if len(_known) < _MOST_HEADS and len(lines) <= _LONGEST:
        _known[lines] = names
    return names


def _holds(raw: bytes, secret: Secret) -> bool:
    """Whether the key that was sent comes back in this."""
    return secret.scrub(raw) != raw
