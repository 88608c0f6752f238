"""Metrics that are loaded when the daemon serves already: prometheus_client takes 50 ms of the start to import.

Until then what happens is kept, and told in order once they are there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from proxy.fault import Attempt, Exchange

if TYPE_CHECKING:
    from proxy.observe.metrics import Metrics
    from proxy.observe.registry import Registry


class LateMetrics:
    """An Observer of the engine in front of Metrics."""

    def __init__(self) -> None:
        self._metrics: Metrics | None = None
        self._registry: Registry | None = None
        self._kept: list[Callable[[Metrics], None]] = []
        self._loading: asyncio.Lock | None = None

    def tell(self, say: Callable[[Metrics], None]) -> None:
        """Now, or as soon as there is somebody to tell."""
        if self._metrics is None:
            self._kept.append(say)
        else:
            say(self._metrics)

    def exchange_started(self, exchange: Exchange) -> None:
        """A request passed the guard."""
        if self._metrics is not None:
            self._metrics.exchange_started(exchange)
        else:
            self._kept.append(lambda metrics: metrics.exchange_started(exchange))

    def attempt_ended(self, exchange: Exchange, attempt: Attempt) -> None:
        """An attempt came to its end."""
        if self._metrics is not None:
            self._metrics.attempt_ended(exchange, attempt)
        else:
            self._kept.append(lambda metrics: metrics.attempt_ended(exchange, attempt))

    def exchange_ended(self, exchange: Exchange) -> None:
        """The client has its answer, or is gone."""
        if self._metrics is not None:
            self._metrics.exchange_ended(exchange)
        else:
            self._kept.append(lambda metrics: metrics.exchange_ended(exchange))

    def beat(self) -> None:
        """To be called now and then."""
        if self._registry is not None:
            self._registry.beat()

    async def load(self) -> tuple[Metrics, Callable[[], bytes]]:
        """The metrics and what renders them, loaded off the loop the first time."""
        if self._loading is None:
            self._loading = asyncio.Lock()
        async with self._loading:
            if self._metrics is not None and self._registry is not None:
                return self._metrics, self._registry.render
            metrics, registry = await asyncio.to_thread(_open)
            self._metrics, self._registry = metrics, registry
            kept, self._kept = self._kept, []
            for say in kept:
                say(metrics)
            return metrics, registry.render


def _open() -> tuple[Metrics, Registry]:
    from proxy.observe.metrics import Metrics
    from proxy.observe.registry import open_registry

    registry = open_registry()
    return Metrics(registry.kept, registry.asked), registry
