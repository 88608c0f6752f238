"""What can go wrong with a request, and the record of what was done for it: plain data, no behaviour.

The classes and what follows from each are the table of docs/what-fails-over.md. Who decides the class:
`proxy.routing.classify`; who acts on it: `proxy.engine.exchange` and `proxy.routing.health`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Protocol

import msgspec


class FaultKind(StrEnum):
    """The class of a failed attempt or request: the only thing that later decisions look at."""

    CLIENT_INVALID = "client_invalid"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTER = "content_filter"
    MODEL_MISSING = "model_missing"
    AUTH = "auth"
    QUOTA = "quota"
    RATE = "rate"
    OVERLOAD = "overload"
    UPSTREAM_5XX = "upstream_5xx"
    CONNECT = "connect"
    TLS = "tls"
    DNS = "dns"
    TIMEOUT = "timeout"  # no first content within its clock
    STALL = "stall"  # silence in the middle of an answer
    INTERRUPTED = "interrupted"  # the answer ended before its end
    BAD_UPSTREAM = "bad_upstream"  # an answer that is none
    TOO_LARGE = "too_large"  # an event or body beyond the caps
    REDIRECT = "redirect"
    SLOW = "slow"  # its text drips more slowly than the configuration allows
    HEDGED = "hedged"  # left, for another connection was asked as well and was faster
    CLIENT_GONE = "client_gone"
    GATEWAY = "gateway"  # our own: no usable connection, overload, shutting down


class Phase(StrEnum):
    """How far the attempt had come when it failed."""

    NOT_SENT = "not_sent"
    SENT = "sent"
    COMMITTED = "committed"


class Blame(StrEnum):
    """Whose fault it was, for the status the client sees."""

    CLIENT = "client"
    PROVIDER = "provider"
    GATEWAY = "gateway"


CLIENT_KINDS = frozenset(
    {FaultKind.CLIENT_INVALID, FaultKind.CONTEXT_LENGTH, FaultKind.CONTENT_FILTER, FaultKind.CLIENT_GONE}
)


class Fault(msgspec.Struct, frozen=True):
    """One failure. `public` may reach the client, `detail` may reach the log; neither holds a secret.

    `status` is the provider's, where it gave one; `retry_after` is in seconds; `code` is the provider's own
    (or ours) where it is worth passing on.
    """

    kind: FaultKind
    public: str
    phase: Phase = Phase.SENT
    status: int | None = None
    retry_after: float | None = None
    code: str | None = None
    detail: str = ""
    of_model: bool = False  # a quota that the provider counts for each model

    @property
    def blame(self) -> Blame:
        """Whose fault it was."""
        if self.kind in CLIENT_KINDS:
            return Blame.CLIENT
        return Blame.GATEWAY if self.kind in (FaultKind.GATEWAY, FaultKind.HEDGED) else Blame.PROVIDER

    @property
    def falls_back(self) -> bool:
        """Whether another connection may be tried (before the commit point)."""
        return self.blame is Blame.PROVIDER


SHUTTING_DOWN: Final = Fault(FaultKind.GATEWAY, "the daemon is shutting down", code="gateway_shutting_down")


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the provider counted them. `cached_input` and `cache_write` are parts of `input`
    for OpenAI dialects and beside it for Anthropic's: `input_includes_cache` says which."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    cache_write: int = 0
    reasoning: int = 0
    input_includes_cache: bool = True


class Start(StrEnum):
    """Why an attempt was begun."""

    PLAIN = "plain"  # it is the first, or the one before has failed
    HEDGE = "hedge"  # the one before is silent
    RESCUE = "rescue"  # the stream of the one before has broken off


class Attempt(msgspec.Struct):
    """One request to one connection. Times are seconds of the injected monotonic clock. `usage` is what its provider
    counted, as far as it said; `part`: what the client read is its answer, or a part of that; `ended_for`: the
    terminator of its stream was missing, and was added."""

    connection: str
    model: str
    started: float
    ended: float | None = None
    status: int | None = None
    fault: Fault | None = None
    usage: Usage | None = None
    start: Start = Start.PLAIN
    part: bool = False
    ended_for: bool = False

    @property
    def label(self) -> str:
        """`openai=429`, or the class where there was no status."""
        if self.fault is not None and (self.status is None or self.status < 300):
            return f"{self.connection}={self.fault.kind.value}"
        return f"{self.connection}={self.status}"


class Exchange(msgspec.Struct):
    """One request of a client from its arrival to its end; filled by the engine, never holding content."""

    id: str
    operation: str
    dialect: str
    stream: bool
    started: float
    attempts: list[Attempt] = msgspec.field(default_factory=list)
    status: int | None = None  # as the client saw it
    connection: str | None = None  # whose answer the client got
    model: str | None = None
    first_content: float | None = None
    ended: float | None = None
    upstream_seconds: float = 0.0  # waited for providers: the rest of the duration is the daemon's own
    usage: Usage | None = None
    usage_estimated: bool = False  # a part of it is no provider's count
    fault: Fault | None = None
    generation: int = 0

    @property
    def labels(self) -> str:
        """Of all attempts, in the order in which they began."""
        attempts = self.attempts
        return attempts[0].label if len(attempts) == 1 else " ".join([attempt.label for attempt in attempts])


class Observer(Protocol):
    """Hears what was done; never alters it."""

    def exchange_started(self, exchange: Exchange) -> None:
        """A request passed the guard."""

    def attempt_ended(self, exchange: Exchange, attempt: Attempt) -> None:
        """An attempt came to its end, well or not."""

    def exchange_ended(self, exchange: Exchange) -> None:
        """The client has its answer, or is gone."""
