"""What the admin API needs from the rest of the daemon: it knows these, never the data plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from config.model import Connection


@dataclass(frozen=True, slots=True)
class TestResult:
    """What a real, cheap call to the provider gave. `error` names what is wrong and what to do, without secrets."""

    __test__ = False  # not a test class, whatever its name

    ok: bool
    latency_ms: float
    models: int
    error: str | None = None


class ConnectionStatus(Protocol):
    """How a connection fares: never configuration. Times are RFC 3339 in UTC; None: there is none to tell."""

    @property
    def state(self) -> str:
        """As the metric `redeo_breaker_state` names it."""

    @property
    def since(self) -> str | None:
        """When it came into this state; None: with the start of this process."""

    @property
    def last_error(self) -> str | None:
        """The class of the last failure."""

    @property
    def next_probe(self) -> str | None:
        """When it may be tried again, where that is not now."""

    @property
    def worker(self) -> int:
        """The process that has seen this."""


class LiveStatus(Protocol):
    """Knows how connections fare."""

    def status(self, connection: Connection) -> ConnectionStatus:
        """Just now, as far as this process has seen."""


class ConnectionTester(Protocol):
    """Makes that call."""

    async def test(self, connection: Connection) -> TestResult:
        """Never raises for what the provider does wrong."""
