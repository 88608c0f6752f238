"""What can be told of the health of one connection: plain data."""

from __future__ import annotations

import msgspec

from proxy.fault import FaultKind
from proxy.routing.breaker import BreakerState


class ModelReport(msgspec.Struct, frozen=True):
    """A model of a connection that is not well just now."""

    model: str
    state: BreakerState
    last_error: FaultKind | None
    next_probe: float | None


class Report(msgspec.Struct, frozen=True):
    """What is known of one connection, for people and metrics; in seconds.

    `since`: how long ago it came into this state (None: closed from the start). `last_error`: class of the last
    failure that counted, whatever came after. `next_probe`: until it may be tried again (None: now, or waiting does
    not help). `models`: those that are not well.
    """

    state: BreakerState = BreakerState.CLOSED
    since: float | None = None
    last_error: FaultKind | None = None
    last_error_ago: float | None = None
    failures: int = 0  # in a row
    next_probe: float | None = None
    models: tuple[ModelReport, ...] = ()
