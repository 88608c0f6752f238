"""What stands for a connection as a whole, of the breakers that it has: its own, and one for each model."""

from __future__ import annotations

import msgspec

from proxy.fault import FaultKind
from proxy.routing.breaker import Breaker, BreakerState


class State(msgspec.Struct):
    """One connection's: of the whole, and of each model."""

    whole: Breaker = msgspec.field(default_factory=Breaker)
    models: dict[str, Breaker] = msgspec.field(default_factory=dict)  # used last comes last
    unused_since: float | None = None
    stood: Breaker | None = None  # for the connection, when it was last unwell


def standing(state: State, now: float) -> Breaker:
    """What stands for the connection: where each model that was asked for is unwell, the one that is back soonest."""
    if state.whole.state(now) is not BreakerState.CLOSED:
        return state.whole
    models = [own for own in state.models.values() if own.kind is not FaultKind.MODEL_MISSING]
    if not models or any(own.state(now) is BreakerState.CLOSED for own in models):
        return state.whole
    return min(models, key=lambda own: own.wait(now) or 0.0)


def fallen(state: State, now: float) -> None:
    """After a failure: keep what stands for the connection if that is unwell."""
    stands = standing(state, now)
    if stands.state(now) is not BreakerState.CLOSED:
        state.stood = stands


def settle(state: State, now: float) -> None:
    """Before anything changes or is told: where the connection is well again by now, say so of the whole, since when.

    Either what stood for it is well, or a model has been asked for just now of which nothing bad is known.
    """
    stood, whole = state.stood, state.whole
    if stood is None or standing(state, now).state(now) is not BreakerState.CLOSED:
        return
    state.stood = None
    seconds = stood.in_state_for(now) if stood.state(now) is BreakerState.CLOSED else 0.0
    if whole.kind is None and seconds is not None:
        whole.since = max(now - seconds, whole.since or 0.0)
