"""How a connection fares, for people: what `proxy.routing.health` knows, with times of day instead of seconds.

It is what this process knows, by itself and from other workers; `worker` says which one it is.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import msgspec

from config.model import Connection
from proxy.routing import BreakerState, Health, Report


class Status(msgspec.Struct, frozen=True):
    """Times are RFC 3339 in UTC; None where there is none to tell."""

    state: str
    since: str | None
    last_error: str | None
    next_probe: str | None
    worker: int


class Live(msgspec.Struct, frozen=True):
    """What the admin API asks for one connection's status."""

    health: Health

    def status(self, connection: Connection) -> Status:
        """Just now."""
        report = self.health.report(connection)
        since = ago(report.since)
        return Status(state_of(connection, report), since, report.last_error, ahead(report.next_probe), os.getpid())


def state_of(connection: Connection, report: Report) -> str:
    """The state as the metrics have it: what cannot be used at all is disabled."""
    return report.state.value if connection.fault is None else BreakerState.DISABLED.value


def ahead(seconds: float | None) -> str | None:
    """The time of day in so many seconds; None for None."""
    if seconds is None:
        return None
    return (datetime.now(UTC) + timedelta(seconds=seconds + 0.5)).strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(seconds: float | None) -> str | None:
    """The time of day so many seconds ago; None for None."""
    return None if seconds is None else ahead(-seconds)
