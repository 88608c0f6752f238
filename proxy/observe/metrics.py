"""Prometheus metrics of what the engine did: every label comes from a closed set, no model name, no content.

The names are documented in docs/metrics.md. Reads records; never alters a request. What a series is:
`proxy.observe.series`; what makes the text of them: `proxy.observe.registry`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from config.model import Connection, Snapshot
from proxy.fault import Attempt, Exchange, FaultKind, Start, Usage
from proxy.observe import series
from proxy.observe.series import Counts, Kept, Tally

if TYPE_CHECKING:
    from proxy.observe.registry import Later, Registry

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"  # set where several workers share what they count
_SETTLED: Final = 0.05  # seconds: longer than any worker keeps its numbers to itself
_IN_FLIGHT: Final = (series.IN_FLIGHT,)
_OVERHEAD: Final = (series.OVERHEAD,)


class Metrics:
    """Counts what happens. An Observer of the engine.

    One process keeps its numbers for itself, and loads what makes a text of them when the first one asks. Of several
    workers each puts them where all can read them, as soon as `load` was called.
    """

    def __init__(self) -> None:
        self._tally = Tally()
        self._kept = Kept() if FOLDER in os.environ else None
        self._counts: Counts = self._kept or self._tally
        self._registry: Registry | None = None
        self._loading: asyncio.Lock | None = None
        self._counts.set(1, (series.RELOAD_OK,))

    async def load(self) -> None:
        """Put what is counted where other workers read it, if there are any."""
        if self._kept is not None:
            await self._loaded()

    async def _loaded(self) -> Registry:
        if self._loading is None:
            self._loading = asyncio.Lock()
        async with self._loading:
            if self._registry is None:
                self._registry = await asyncio.to_thread(_open, asyncio.get_running_loop().call_later)
                if self._registry.shared is not None and self._kept is not None:
                    self._counts = self._registry.shared
                    self._kept.tell(self._counts)
            return self._registry

    def close(self) -> None:
        """Leave to the other workers what was counted here."""
        if self._registry is not None and self._registry.shared is not None:
            self._registry.shared.flush()

    def beat(self) -> None:
        """To be called now and then."""
        if self._registry is not None:
            self._registry.beat()

    async def scrape(self, snapshot: Snapshot, state: Callable[[Connection], str]) -> Callable[[], bytes]:
        """What makes the text of `/metrics` as it is now, to be called aside. `state`: of a connection's breaker."""
        registry = await self._loaded()
        if registry.shared is not None:
            await asyncio.sleep(_SETTLED)  # what was counted before this was asked is in the files then
            registry.shared.flush()
        self._counts.set(snapshot.generation, (series.GENERATION,))
        states = {c.provider: "disabled" if c.fault is not None else state(c) for c in snapshot.connections}
        tally = self._tally.copy()
        return lambda: registry.render(tally, states)

    def exchange_started(self, exchange: Exchange) -> None:
        """A request passed the guard."""
        self._counts.add(1, _IN_FLIGHT)

    def attempt_ended(self, exchange: Exchange, attempt: Attempt) -> None:
        """An attempt came to its end; if there was one before it, that was a fallback."""
        add = self._counts.add
        result = attempt.fault.kind.value if attempt.fault is not None else "ok"
        add(1, (series.ATTEMPTS, attempt.connection, result))
        if attempt.ended_for:
            add(1, (series.UNENDED, attempt.connection))
        if attempt is exchange.attempts[0]:
            return
        before = _before(exchange, attempt)
        if attempt.start is Start.RESCUE:
            add(1, (series.RESCUES, before.connection, attempt.connection, result))
            return
        failed = before.fault if attempt.start is Start.PLAIN else None
        reason = failed.kind.value if failed is not None else attempt.start.value
        add(1, (series.FALLBACKS, before.connection, attempt.connection, reason))

    def exchange_ended(self, exchange: Exchange) -> None:
        """The client has its answer, or is gone."""
        counts = self._counts
        counts.add(-1, _IN_FLIGHT)
        status = str(exchange.status) if exchange.status is not None else "client_gone"
        counts.add(1, (series.REQUESTS, exchange.operation, status))
        ended = exchange.ended if exchange.ended is not None else exchange.started
        counts.observe(ended - exchange.started, (series.DURATION, exchange.operation))
        first = None  # whose answer the client read first
        for attempt in exchange.attempts:
            if attempt.part and first is None:
                first = attempt.connection
            if attempt.usage is not None:
                self._count(attempt.connection, attempt.usage)
        if exchange.connection is None:
            return
        if exchange.first_content is not None:
            waited = exchange.first_content - exchange.started
            counts.observe(waited, (series.FIRST, first or exchange.connection))
            counts.observe(max(0.0, waited - exchange.upstream_seconds), _OVERHEAD)
            if exchange.fault is not None:
                counts.add(1, (series.INTERRUPTED, exchange.connection, exchange.fault.kind.value))

    def _count(self, connection: str, usage: Usage) -> None:
        add = self._counts.add
        if usage.input:
            add(usage.input, (series.TOKENS, connection, "input"))
        if usage.output:
            add(usage.output, (series.TOKENS, connection, "output"))
        if usage.cached_input:
            add(usage.cached_input, (series.TOKENS, connection, "cached_input"))
        if usage.cache_write:
            add(usage.cache_write, (series.TOKENS, connection, "cache_write"))
        if usage.reasoning:
            add(usage.reasoning, (series.TOKENS, connection, "reasoning"))

    def refused(self, code: str) -> None:
        """The daemon refused a request by itself."""
        self._counts.add(1, (series.REJECTED, code))

    def reloaded(self, ok: bool) -> None:
        """The configuration was read again; `ok`: and taken up."""
        self._counts.add(1, (series.RELOADS, "ok" if ok else "failed"))
        self._counts.set(1 if ok else 0, (series.RELOAD_OK,))
        if not ok:
            self._counts.add(1, (series.RELOAD_FAILURES,))


def _open(later: Later) -> Registry:
    from proxy.observe.registry import open_registry

    return open_registry(later)


def _before(exchange: Exchange, attempt: Attempt) -> Attempt:
    """After whose failure, silence or breaking off this one, which is not the first, was begun."""
    place = next(n for n, other in enumerate(exchange.attempts) if other is attempt)
    earlier = exchange.attempts[:place]
    if attempt.start is Start.RESCUE:
        return next((other for other in reversed(earlier) if other.part), earlier[-1])
    left = (other for other in reversed(earlier) if other.fault is None or other.fault.kind is not FaultKind.HEDGED)
    return next(left, earlier[-1])
