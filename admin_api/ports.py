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


class ConnectionTester(Protocol):
    """Makes that call."""

    async def test(self, connection: Connection) -> TestResult:
        """Never raises for what the provider does wrong."""
