"""Prometheus metrics of what the engine did: every label comes from a closed set, no model name, no content.

The names are documented in docs/metrics.md. Reads records; never alters a request.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from config.model import Connection, Snapshot
from proxy.fault import Attempt, Exchange, FaultKind, Start, Usage

_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 600)
_OVERHEAD: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)
STATES: Final = ("closed", "half_open", "open", "cooling", "quota", "disabled")


def _version() -> str:
    """The installed version, from the name of its folder (PyPA, "Recording installed projects"): `importlib.metadata`
    takes more than a megabyte to say the same."""
    for place in sys.path:
        for folder in Path(place).glob("redeo_proxy-*.dist-info"):
            return folder.name.removeprefix("redeo_proxy-").removesuffix(".dist-info")
    return "unknown"


class _Standing(Collector):
    """The gauges of the connections, made anew for each scrape: of one that is gone nothing stays.

    Not kept in files that workers share: what workers know of connections they tell each other, and the one that is
    asked says what is so now, where the others would have left what was so when they were asked last.
    """

    def __init__(self) -> None:
        self.states: dict[str, str] = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily("redeo_connection_up", "1 if the connection may be tried now", labels=["connection"])
        state = GaugeMetricFamily("redeo_breaker_state", "1 for the state it is in", labels=["connection", "state"])
        for connection, current in self.states.items():
            up.add_metric([connection], 1 if current in ("closed", "half_open") else 0)
            for name in STATES:
                state.add_metric([connection, name], 1 if name == current else 0)
        yield up
        yield state
        build = GaugeMetricFamily("redeo_build_info", "Always 1", labels=["version"])
        build.add_metric([_version()], 1)
        yield build


class Metrics:
    """All series of one process: counted ones in `registry`, what is so when somebody asks in `asked`.

    An Observer of the engine.
    """

    def __init__(self, registry: CollectorRegistry, asked: CollectorRegistry) -> None:
        self.registry = registry
        self._kept: dict[tuple[str, ...], Callable[[float], None]] = {}
        c = self._counter
        self.requests = c("redeo_requests", "Requests answered", "operation", "status")
        self.attempts = c("redeo_attempts", "Requests sent to providers", "connection", "result")
        self.fallbacks = c("redeo_fallbacks", "Moves from one connection to the next", "source", "target", "reason")
        self.tokens = c("redeo_tokens", "Tokens as the providers counted them", "connection", "kind")
        self.interrupted = c("redeo_streams_interrupted", "Answers that broke off", "connection", "reason")
        self.rescues = c("redeo_rescues", "Broken streams gone on with", "source", "target", "result")
        self.unended = c("redeo_streams_unended", "Whole streams whose terminator was missing", "connection")
        self.reloads = c("redeo_config_reloads", "Reloads of the configuration", "result")
        self.reload_failures = c("redeo_config_reload_failures", "Reloads that kept the old configuration")
        self.rejected = c("redeo_rejected", "Requests refused before any attempt", "reason")
        h = self._histogram
        self.duration = h("redeo_request_duration_seconds", "Arrival to end", _SECONDS, "operation")
        self.first = h("redeo_time_to_first_token_seconds", "Arrival to first content", _SECONDS, "connection")
        self.overhead = h("redeo_overhead_seconds", "Arrival to first content, less the wait for providers", _OVERHEAD)
        g = self._gauge
        self.in_flight = g("redeo_requests_in_flight", "Requests being served", "livesum")
        self.generation = g("redeo_config_generation", "Counts the configurations taken up", "max")
        self.reload_ok = g("redeo_config_last_reload_ok", "1 if the last reload was taken up", "livemin")
        self.reload_ok.set(1)
        self._standing = _Standing()
        asked.register(self._standing)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def _gauge(self, name: str, text: str, mode: Any, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry, multiprocess_mode=mode)

    def _inc(self, metric: Counter, *labels: str) -> Callable[[float], None]:
        """What adds to the series of these labels, kept: looking one up anew costs three times as much."""
        key = (metric._name, *labels)
        return self._kept.get(key) or self._kept.setdefault(key, _adding(metric.labels(*labels)))

    def _observe(self, metric: Histogram, *labels: str) -> Callable[[float], None]:
        """The same of a histogram."""
        key = (metric._name, *labels)
        return self._kept.get(key) or self._kept.setdefault(
            key, _observing(metric.labels(*labels) if labels else metric)
        )

    def exchange_started(self, exchange: Exchange) -> None:
        """A request passed the guard."""
        self.in_flight.inc()

    def attempt_ended(self, exchange: Exchange, attempt: Attempt) -> None:
        """An attempt came to its end; if there was one before it, that was a fallback."""
        result = attempt.fault.kind.value if attempt.fault is not None else "ok"
        self._inc(self.attempts, attempt.connection, result)(1)
        if attempt.ended_for:
            self._inc(self.unended, attempt.connection)(1)
        before = _before(exchange, attempt)
        if before is None:
            return
        if attempt.start is Start.RESCUE:
            self._inc(self.rescues, before.connection, attempt.connection, result)(1)
            return
        failed = before.fault if attempt.start is Start.PLAIN else None
        reason = failed.kind.value if failed is not None else attempt.start.value
        self._inc(self.fallbacks, before.connection, attempt.connection, reason)(1)

    def exchange_ended(self, exchange: Exchange) -> None:
        """The client has its answer, or is gone."""
        self.in_flight.dec()
        status = str(exchange.status) if exchange.status is not None else "client_gone"
        self._inc(self.requests, exchange.operation, status)(1)
        ended = exchange.ended if exchange.ended is not None else exchange.started
        self._observe(self.duration, exchange.operation)(ended - exchange.started)
        for attempt in exchange.attempts:
            if attempt.usage is not None:
                self._count(attempt.connection, attempt.usage)
        if exchange.connection is None:
            return
        if exchange.first_content is not None:
            waited = exchange.first_content - exchange.started
            first = next((attempt.connection for attempt in exchange.attempts if attempt.part), exchange.connection)
            self._observe(self.first, first)(waited)
            self._observe(self.overhead)(max(0.0, waited - exchange.upstream_seconds))
            if exchange.fault is not None:
                self._inc(self.interrupted, exchange.connection, exchange.fault.kind.value)(1)

    def _count(self, connection: str, usage: Usage) -> None:
        kinds = (
            ("input", usage.input),
            ("output", usage.output),
            ("cached_input", usage.cached_input),
            ("cache_write", usage.cache_write),
            ("reasoning", usage.reasoning),
        )
        for kind, number in kinds:
            if number:
                self._inc(self.tokens, connection, kind)(number)

    def refused(self, code: str) -> None:
        """The daemon refused a request by itself."""
        self._inc(self.rejected, code)(1)

    def reloaded(self, ok: bool) -> None:
        """The configuration was read again; `ok`: and taken up."""
        self._inc(self.reloads, "ok" if ok else "failed")(1)
        self.reload_ok.set(1 if ok else 0)
        if not ok:
            self.reload_failures.inc()

    def show(self, snapshot: Snapshot, state: Callable[[Connection], str]) -> None:
        """Bring the gauges of the connections up to now; called before each scrape."""
        self.generation.set(snapshot.generation)
        self._standing.states = {
            c.provider: "disabled" if c.fault is not None else state(c) for c in snapshot.connections
        }


def _before(exchange: Exchange, attempt: Attempt) -> Attempt | None:
    """After whose failure, silence or breaking off this one was begun."""
    if attempt is exchange.attempts[0]:
        return None
    place = next(n for n, other in enumerate(exchange.attempts) if other is attempt)
    earlier = exchange.attempts[:place]
    if attempt.start is Start.RESCUE:
        return next((other for other in reversed(earlier) if other.part), earlier[-1])
    left = (other for other in reversed(earlier) if other.fault is None or other.fault.kind is not FaultKind.HEDGED)
    return next(left, earlier[-1])


def _adding(child: Any) -> Callable[[float], None]:
    """What adds to a series, past the library's looking at labels and signs, which costs as much again.

    It keeps a series in `_value`, and a histogram's in `_sum` and `_buckets` (0.22 to 0.26); where it no longer does,
    its own methods are as good.
    """
    add = getattr(getattr(child, "_value", None), "inc", None)
    return cast("Callable[[float], None]", add if callable(add) else child.inc)


def _observing(child: Any) -> Callable[[float], None]:
    bounds, buckets = getattr(child, "_upper_bounds", None), getattr(child, "_buckets", None)
    if not bounds or not buckets or len(bounds) != len(buckets) or not hasattr(child, "_sum"):
        return cast("Callable[[float], None]", child.observe)
    add, counts = child._sum.inc, [bucket.inc for bucket in buckets]

    def observe(value: float) -> None:
        add(value)
        counts[bisect_left(bounds, value)](1)

    return observe
