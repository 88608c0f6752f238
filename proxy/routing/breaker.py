"""One breaker: what is known of one connection, or of one model on it, and when it may be tried again.

A state machine without a clock of its own: every method is told the time (monotonic seconds). Who puts several of them
together into the health of a connection: `proxy.routing.health`.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Final
from weakref import ReferenceType, ref

import msgspec

from proxy.fault import FaultKind

_CONSECUTIVE: Final = 5
_OF_ONE_MODEL: Final = 3  # of these five, where the whole connection is in question
_WINDOW: Final = 30.0
_WINDOW_MIN: Final = 5
_OPEN: Final = 30.0
_OPEN_MAX: Final = 300.0
_ROW_MAX: Final = 8  # models told apart in a row: more change nothing

# The provider's own word when to come back: after that everybody may, without a probe.
PLAIN_WAITS: Final = frozenset({FaultKind.RATE, FaultKind.MODEL_MISSING})
# Nobody is let through before their time, whoever else is left.
FIRM: Final = frozenset({FaultKind.AUTH, FaultKind.QUOTA, *PLAIN_WAITS})


class BreakerState(StrEnum):
    """What a connection is in, for metrics and messages."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"
    COOLING = "cooling"
    QUOTA = "quota"
    DISABLED = "disabled"


_NAMED: Final = {FaultKind.QUOTA: BreakerState.QUOTA, FaultKind.RATE: BreakerState.COOLING}


class Ticket(msgspec.Struct, eq=False, weakref=True):
    """One attempt that was admitted. Its identity is what a breaker knows its probe by.

    `turn` places its beginning among the turns of the breakers; `own` is that of its model; `probes` are those that it
    finds out about; `heard`: its answer has begun. Who drops it without a word has let go of them.
    """

    turn: int = 0
    model: str | None = None
    own: Breaker | None = None
    probes: tuple[Breaker, ...] = ()
    heard: bool = False
    _cured: tuple[tuple[Breaker, int], ...] = ()

    def cured(self, breaker: Breaker) -> None:
        """It was the probe that closed this one: what becomes of it counts there, although it began before."""
        self._cured = (*self._cured, (breaker, breaker.turn))

    def is_news_of(self, breaker: Breaker) -> bool:
        """Whether it began after the last turn, so that it says something of now."""
        return self.turn >= breaker.turn or self.closed(breaker)

    def closed(self, breaker: Breaker) -> bool:
        """Whether it was this one that closed it last."""
        return (breaker, breaker.turn) in self._cured


class Breaker(msgspec.Struct, eq=False):
    """`kind` with `until`: not before then, and then one probe decides (none after a plain wait).

    `turn` is when it last opened or closed, in the counting of the tickets: what began before says nothing of now.
    """

    kind: FaultKind | None = None
    until: float = 0.0
    since: float | None = None
    turn: int = 0
    openings: int = 0
    out: ReferenceType[Ticket] | None = None  # the probe, as long as somebody holds it: cancelled tasks say nothing
    failures: int = 0  # in a row
    row: dict[str | None, int] = msgspec.field(default_factory=dict)  # the same, by model
    outcomes: deque[tuple[float, str | None, bool]] = msgspec.field(default_factory=lambda: deque(maxlen=64))
    last_error: FaultKind | None = None
    last_error_at: float = 0.0
    good: bool | None = None  # the latest outcome seen
    turned: float = 0.0  # for `proxy.routing.news`: when kind and until became what they are,
    told: tuple[FaultKind | None, float, int, float] = (None, 0.0, 0, 0.0)  # what other workers know of it,
    told_at: float = 0.0  # and since when

    @property
    def probe(self) -> Ticket | None:
        """Who is finding out."""
        return self.out() if self.out is not None else None

    def shut(self, now: float) -> bool:
        """Whether its time has not come."""
        return self.kind is FaultKind.AUTH or (self.kind is not None and self.until > now)

    def half_open(self, now: float) -> bool:
        """Whether its time has come, and one probe decides."""
        return self.kind is not None and self.kind not in PLAIN_WAITS and not self.shut(now)

    def admits(self, now: float) -> bool:
        """Whether an attempt may begin: an open breaker lets one through before its time, firm kinds do not."""
        if self.probe is not None or self.kind is FaultKind.AUTH:
            return False
        return not (self.kind in FIRM and self.shut(now))

    def probed_by(self, ticket: Ticket) -> None:
        """It has begun. Where there is something to find out, it is the probe."""
        if self.kind is not None and self.kind not in PLAIN_WAITS:
            self.out = ref(ticket)
            ticket.probes = (*ticket.probes, self)

    def wait(self, now: float) -> float | None:
        """Seconds until it may be tried; None: now, or never by waiting."""
        if self.kind is None or self.kind is FaultKind.AUTH:
            return None
        if self.until > now:
            return self.until - now
        return 1.0 if self.probe is not None else None

    def failed(self, kind: FaultKind, source: str | None, now: float) -> bool:
        """Count a failure; `source` is the model it was about, None: the whole. Whether that is too many."""
        self.note(kind, now)
        self.failures += 1
        if source in self.row or len(self.row) < _ROW_MAX:
            self.row[source] = self.row.get(source, 0) + 1
        self.outcomes.append((now, source, False))
        row = sum(count if name is None else min(count, _OF_ONE_MODEL) for name, count in self.row.items())
        return row >= _CONSECUTIVE or self._often(now)

    def _often(self, now: float) -> bool:
        """Half or more of five and more failed within 30 s; and of two and more most, without the worst model."""
        recent = [(source, good) for at, source, good in self.outcomes if now - at <= _WINDOW]
        if len(recent) < _WINDOW_MIN or _failed(recent) * 2 < len(recent):  # one that fails in turn is no use either
            return False
        counts: dict[str, int] = {}
        for source, good in recent:
            if source is not None and not good:
                counts[source] = counts.get(source, 0) + 1
        worst = max(counts, key=lambda name: counts[name], default=None)
        others = [entry for entry in recent if entry[0] != worst]
        return worst is None or (len(others) >= _WINDOW_MIN - _OF_ONE_MODEL and _failed(others) * 2 > len(others))

    def note(self, kind: FaultKind, now: float) -> None:
        """A failure that may or may not count, for those who ask."""
        self.last_error, self.last_error_at = kind, now

    def succeeded(self, source: str | None, now: float) -> None:
        """An attempt ended well: the row is over."""
        self.outcomes.append((now, source, True))
        self.failures = self.openings = 0
        if self.row:
            self.row.clear()

    def close(self, now: float, turn: int) -> None:
        """It is well again. The failures stay: should the probe break off yet, one is enough."""
        waited = self.kind in PLAIN_WAITS and not self.shut(now)
        if not waited:
            self.turn = turn
        self.since = self.until if waited else now
        self.kind, self.until, self.out = None, 0.0, None

    def forgive(self) -> None:
        """What failed before says nothing any more."""
        self.failures = 0
        self.row.clear()
        self.outcomes.clear()

    def open(self, kind: FaultKind, now: float, jitter: float, turn: int) -> None:
        """Too many failures, or the probe failed: longer each time."""
        self.openings += 1
        self.turn = turn
        self.rest(kind, min(_OPEN * self.openings, _OPEN_MAX) * jitter, now)

    def rest(self, kind: FaultKind, seconds: float, now: float) -> None:
        """Closed for that long."""
        if self.kind is not kind or not self.shut(now):
            self.since = now
        self.kind, self.until, self.out = kind, now + seconds, None

    def state(self, now: float) -> BreakerState:
        """For metrics and people."""
        if self.kind is None:
            return BreakerState.CLOSED
        if self.kind is FaultKind.AUTH:
            return BreakerState.DISABLED
        if self.until <= now:
            return BreakerState.CLOSED if self.kind in PLAIN_WAITS else BreakerState.HALF_OPEN
        return _NAMED.get(self.kind, BreakerState.OPEN)

    def in_state_for(self, now: float) -> float | None:
        """Seconds since it came into its state; None: it has been closed from the start."""
        if self.since is None:
            return None
        passed_on = self.kind is not None and self.kind is not FaultKind.AUTH and self.until <= now
        return max(0.0, now - (self.until if passed_on else self.since))


def _failed(outcomes: list[tuple[str | None, bool]]) -> int:
    return sum(not good for _, good in outcomes)
