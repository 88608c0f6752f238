"""How an attempt ends, and what it ends with: plain data, and the two sides that a relay stands between."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from enum import Enum
from typing import Final, Protocol

import msgspec

from proxy.engine.clocks import Watchdog
from proxy.fault import Fault, FaultKind, Phase, Usage
from proxy.upstream.client import UpstreamError

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
MAX_ERROR_BYTES: Final = 1024 * 1024


class Outcome(msgspec.Struct):
    """How an attempt ended: `fault` is None when the client has the whole answer. `committed`: its head is out."""

    fault: Fault | None = None
    committed: bool = False
    usage: Usage | None = None
    first_content: float | None = None
    refusal: Refusal | None = None
    made: object = None  # the id of what the provider keeps, as far as the answer has one
    sealed: Sequence[bytes] = ()  # digests of what only the provider can read
    ended_for: bool = False  # its terminator was missing, and was added: the answer was whole without it
    close: Close | None = None  # a broken stream that may be gone on with: ends it with its error, or with that given


class Then(Enum):
    """What follows from an attempt."""

    OVER = "over"  # the client has its answer
    NEXT = "next"
    BARE = "bare"  # once more the same one, without what it cannot read
    AS_SAID = "as_said"  # the provider's refusal is the answer
    UNCERTAIN = "uncertain"  # it must not be repeated
    OURS = "ours"  # the daemon itself is in want: another connection would not go better


class Close(Protocol):
    """Ends a stream that was left open."""

    def __call__(self, fault: Fault | None = None) -> Awaitable[None]: ...


class Follower(Protocol):
    """Follows what goes out to the client, for the case that it breaks off."""

    @property
    def text(self) -> str | None:
        """What has been said, if that can be gone on with."""

    def see(self, event: bytes) -> None:
        """One event, as it went out."""


class Refusal(msgspec.Struct, frozen=True):
    """An error answer as the provider gave it, its headers filtered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Incoming(Protocol):
    """A provider's answer as it comes in."""

    @property
    def status(self) -> int:
        """Its status."""

    def header(self, name: str) -> str:
        """The value of a header, or an empty text."""

    def forget_head(self) -> None:
        """The client's head is out: nobody asks for a header any more."""

    async def read(self) -> bytes:
        """More of the body; empty at its end. Raises UpstreamError."""

    def rest(self) -> bytes:
        """What can be said though nothing more comes: the end of a whole answer whose provider does not end it."""


async def read_body(response: Incoming, dog: Watchdog, seconds: float, limit: int) -> bytes:
    """The whole body within `seconds`. Raises UpstreamError (`too_large` beyond `limit`) and ClockExpired."""
    dog.arm(FaultKind.TIMEOUT, seconds)
    pieces: list[bytes] = []
    size = 0
    while piece := await response.read():
        size += len(piece)
        if size > limit:
            raise UpstreamError(FaultKind.TOO_LARGE, Phase.SENT, f"its answer is larger than {limit} bytes")
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
