"""What is known of each connection's health: breakers, cool-downs, refused keys, missing models.

The only mutable state of the room. Keyed by Connection.identity (id, address, key), so that it survives a reload that
changes nothing and ends with a new key. The clock is monotonic seconds, injected.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final

import msgspec

from config.model import Connection
from proxy.fault import Fault, FaultKind

_CONSECUTIVE: Final = 5
_WINDOW: Final = 30.0
_WINDOW_MIN: Final = 5
_OPEN: Final = 30.0
_OPEN_MAX: Final = 300.0
_QUOTA: Final = 3600.0
_RATE: Final = 10.0
_RATE_MAX: Final = 900.0
_MODEL: Final = 600.0
_FORGET: Final = 600.0
_MAX_MODELS: Final = 256


class BreakerState(StrEnum):
    """What a connection is in, for metrics and messages."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"
    COOLING = "cooling"
    QUOTA = "quota"
    DISABLED = "disabled"


_REASONS: Final = {
    FaultKind.AUTH: "its key was refused",
    FaultKind.QUOTA: "its quota is used up",
    FaultKind.RATE: "it asked to wait",
    FaultKind.MODEL_MISSING: "it does not have the model",
}


class Verdict(msgspec.Struct, frozen=True):
    """Whether a connection may be tried, and if not, why and for how many seconds."""

    usable: bool
    kind: FaultKind | None = None
    reason: str = ""
    retry_in: float | None = None
    probing: bool = False  # another request is finding out


_FINE: Final = Verdict(True)


class Ticket:
    """One attempt that was admitted. Its identity is all there is to it."""


class _State(msgspec.Struct):
    """One connection's. `closed_until` with its kind: not before then, and then one probe decides."""

    failures: int = 0
    outcomes: deque[tuple[float, bool]] = msgspec.field(default_factory=lambda: deque(maxlen=64))
    kind: FaultKind | None = None
    closed_until: float = 0.0
    openings: int = 0
    probe: Ticket | None = None
    models: dict[str, float] = msgspec.field(default_factory=dict)
    unused_since: float | None = None


def _spread() -> float:
    return random.uniform(0.8, 1.2)  # noqa: S311 - it spreads load, it guards nothing


class Health:
    """See the module. Every method is quick and none waits."""

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float] = _spread) -> None:
        self._now = clock
        self._jitter = jitter
        self._states: dict[str, _State] = {}

    def check(self, connection: Connection, model: str | None) -> Verdict:
        """Whether it may be tried now. Changes nothing."""
        state = self._states.get(connection.identity)
        if state is None:
            return _FINE
        now = self._now()
        if model is not None and state.models.get(model, 0.0) > now:
            left = state.models[model] - now
            return Verdict(False, FaultKind.MODEL_MISSING, _REASONS[FaultKind.MODEL_MISSING], left)
        if state.kind is None:
            return _FINE
        reason = _REASONS.get(state.kind, f"it failed repeatedly (last: {state.kind.value})")
        if state.kind is FaultKind.AUTH:
            return Verdict(False, state.kind, reason, None)
        if state.closed_until > now:
            return Verdict(False, state.kind, reason, state.closed_until - now, state.probe is not None)
        if state.probe is not None:
            return Verdict(False, state.kind, f"{reason}; a probe is under way", 1.0, True)
        return _FINE

    def admit(self, connection: Connection) -> Ticket | None:
        """Call right before an attempt: None where a probe is under way already, or was refused since `check`.

        An open breaker alone admits before its time: the plan may have nobody better. The ticket goes with what is
        said of the attempt later, so that an older request cannot pass for the probe.
        """
        state = self._states.get(connection.identity)
        if state is None or state.kind is None:
            return Ticket()
        if state.probe is not None or state.kind is FaultKind.AUTH:
            return None
        if state.kind in (FaultKind.QUOTA, FaultKind.RATE) and state.closed_until > self._now():
            return None
        ticket = Ticket()
        if state.kind is not FaultKind.RATE:
            state.probe = ticket
        return ticket

    def answering(self, connection: Connection, ticket: Ticket) -> None:
        """The attempt has said its first content: if it is the probe, others need not wait for its end."""
        state = self._states.get(connection.identity)
        if state is not None and state.probe is ticket:  # the failures stay: should it break off, one is enough
            state.probe, state.kind, state.closed_until = None, None, 0.0

    def succeeded(self, connection: Connection, model: str | None, ticket: Ticket) -> None:
        """An attempt ended well. One that began before the connection was closed does not open it again."""
        state = self._states.setdefault(connection.identity, _State())
        now = self._now()
        state.outcomes.append((now, True))
        if model is not None:
            state.models.pop(model, None)
        probed = state.probe is ticket
        if state.kind is FaultKind.AUTH or (not probed and (state.closed_until > now or state.probe is not None)):
            return
        state.failures, state.kind, state.probe, state.openings = 0, None, None, 0
        state.closed_until = 0.0

    def failed(self, connection: Connection, model: str | None, fault: Fault, ticket: Ticket) -> None:
        """An attempt failed by the provider's fault; other faults change nothing."""
        if not fault.falls_back:
            self.released(connection, ticket)
            return
        state = self._states.setdefault(connection.identity, _State())
        probed = state.probe is ticket
        if probed:
            state.probe = None
        now = self._now()
        match fault.kind:
            case FaultKind.MODEL_MISSING:
                if model is not None:
                    self._miss(state, model, now)
            case FaultKind.AUTH:
                state.kind = FaultKind.AUTH
            case FaultKind.QUOTA:
                self._close(state, FaultKind.QUOTA, now + _QUOTA, probed)
            case FaultKind.RATE:
                wait = fault.retry_after if fault.retry_after is not None else _RATE
                self._close(state, FaultKind.RATE, now + min(wait, _RATE_MAX), probed)
            case _:
                self._count(state, fault.kind, now, probed)

    def _miss(self, state: _State, model: str, now: float) -> None:
        if len(state.models) >= _MAX_MODELS:
            state.models = {name: until for name, until in state.models.items() if until > now}
        if len(state.models) < _MAX_MODELS:
            state.models[model] = now + _MODEL

    def _close(self, state: _State, kind: FaultKind, until: float, probed: bool) -> None:
        """Closed until then. Many requests fail at once: a late one never shortens what an earlier one found."""
        if state.kind is FaultKind.AUTH or (state.closed_until > until and not probed):
            return
        state.kind, state.closed_until = kind, until

    def _count(self, state: _State, kind: FaultKind, now: float, probed: bool) -> None:
        """A breaker failure: open after five in a row, or half of five and more within 30 s."""
        state.failures += 1
        state.outcomes.append((now, False))
        recent = [good for at, good in state.outcomes if now - at <= _WINDOW]
        often = len(recent) >= _WINDOW_MIN and recent.count(False) * 2 >= len(recent)
        if state.kind is FaultKind.AUTH or (state.closed_until > now and not probed):
            return  # closed already: requests that were under way then are no further openings
        if probed or state.failures >= _CONSECUTIVE or often:
            state.openings += 1
            until = now + min(_OPEN * state.openings, _OPEN_MAX) * self._jitter()
            self._close(state, kind, until, probed)

    def released(self, connection: Connection, ticket: Ticket) -> None:
        """The attempt ended without saying anything of the provider (the client left, or erred)."""
        state = self._states.get(connection.identity)
        if state is not None and state.probe is ticket:
            state.probe = None

    def retain(self, connections: Iterable[Connection]) -> None:
        """Forget what belongs to no connection any more, ten minutes later (a removal may be undone)."""
        now, wanted = self._now(), {c.identity for c in connections}
        for identity, state in list(self._states.items()):
            if identity in wanted:
                state.unused_since = None
            elif state.unused_since is None:
                state.unused_since = now
            elif now - state.unused_since > _FORGET:
                del self._states[identity]

    def state(self, connection: Connection) -> BreakerState:
        """For metrics."""
        state = self._states.get(connection.identity)
        if state is None or state.kind is None:
            return BreakerState.CLOSED
        if state.kind is FaultKind.AUTH:
            return BreakerState.DISABLED
        if state.closed_until <= self._now():
            return BreakerState.CLOSED if state.kind is FaultKind.RATE else BreakerState.HALF_OPEN
        named = {FaultKind.QUOTA: BreakerState.QUOTA, FaultKind.RATE: BreakerState.COOLING}
        return named.get(state.kind, BreakerState.OPEN)
