"""What makes the text of `/metrics`: of one process out of its own numbers, of several workers out of files they share.

Loaded when somebody asks, for prometheus_client is not small; where there are several workers, before they count.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from glob import glob
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client import generate_latest as text_of
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from proxy.observe.metrics import FOLDER
from proxy.observe.series import COUNTED, Key, Series, Tally

HELD_SECONDS: Final = 0.02  # for which a worker keeps numbers to itself: so much may be lost with one that is killed
_EVERY: Final = 10.0  # seconds
STATES: Final = ("closed", "half_open", "open", "cooling", "quota", "disabled")
_GAUGES: Final[dict[str, tuple[str, Any]]] = {
    "redeo_process_resident_memory_bytes": ("Memory held", "livesum"),
    "redeo_process_virtual_memory_bytes": ("Addresses in use", "livesum"),
    "redeo_process_open_fds": ("Open descriptors", "livesum"),
    "redeo_process_max_fds": ("The most that may be open", "livemin"),
    "redeo_process_start_time_seconds": ("When it was started", "min"),
}
_CPU: Final = "redeo_process_cpu_seconds"

Render = Callable[[Tally, Mapping[str, str]], bytes]
Later = Callable[[float, Callable[[], None]], object]


class Registry(NamedTuple):
    """`render` gives the text of `/metrics`, of this process's own numbers and what its connections are in; `shared`:
    where a worker counts instead, for all to read; `beat`: to be called now and then."""

    render: Render
    shared: Shared | None = None
    beat: Callable[[], None] = lambda: None


def open_registry(later: Later) -> Registry:
    """With several workers `PROMETHEUS_MULTIPROC_DIR` is set before the first worker starts; whichever worker is asked
    then sums up all of them."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, of no use here
    shown = _Shown()
    if FOLDER not in os.environ:
        return _of_one(shown)
    kept, summed = CollectorRegistry(), CollectorRegistry()
    _Files(summed)  # type: ignore[no-untyped-call]  # the library has no types here
    summed.register(shown)
    own = _Process(kept)

    def render(_: Tally, states: Mapping[str, str]) -> bytes:
        own.measure()
        shown.states = states
        return text_of(summed)

    return Registry(render, Shared(kept, later), own.beat)


def _of_one(shown: _Shown) -> Registry:
    registry, counted = CollectorRegistry(), _Counted()
    for collector in (counted, shown):
        registry.register(collector)
    ProcessCollector(namespace="redeo", registry=registry)

    def render(tally: Tally, states: Mapping[str, str]) -> bytes:
        counted.tally, shown.states = tally, states
        return text_of(registry)

    return Registry(render)


@cache
def _version() -> str:
    """The installed version, from the name of its folder (PyPA, "Recording installed projects"): `importlib.metadata`
    takes more than a megabyte to say the same."""
    for place in sys.path:
        for folder in Path(place).glob("redeo_proxy-*.dist-info"):
            return folder.name.removeprefix("redeo_proxy-").removesuffix(".dist-info")
    return "unknown"


class _Shown(Collector):
    """The gauges of the connections, made anew for each scrape: of one that is gone nothing stays.

    Not kept in files that workers share: what workers know of connections they tell each other, and the one that is
    asked says what is so now, where the others would have left what was so when they were asked last.
    """

    def __init__(self) -> None:
        self.states: Mapping[str, str] = {}

    def collect(self) -> Iterator[Metric]:
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


class _Counted(Collector):
    """What one process has counted."""

    def __init__(self) -> None:
        self.tally = Tally()

    def collect(self) -> Iterator[Metric]:
        for series in COUNTED:
            yield self._family(series)

    def _family(self, series: Series) -> Metric:
        labels = list(series.labels)
        if series.bounds:
            values = HistogramMetricFamily(series.name, series.text, labels=labels)
            for (of, *where), kept in self.tally.histograms.items():
                if of is series:
                    values.add_metric(where, _buckets(kept.bounds, kept.counts), kept.total)
            return values
        kind = CounterMetricFamily if series.mode is None else GaugeMetricFamily
        family = kind(series.name, series.text, labels=labels)
        for (of, *where), number in self.tally.numbers.items():
            if of is series:
                family.add_metric(where, number)
        return family


def _buckets(bounds: Iterable[float], counts: list[int]) -> list[tuple[str, float]]:
    """As the text has them: how many values lay below each bound."""
    below, out = 0, []
    for bound, count in zip((*bounds, float("inf")), counts, strict=True):
        below += count
        out.append((floatToGoString(bound), float(below)))  # type: ignore[no-untyped-call]  # as all of it
    return out


class Shared:
    """Counts in the files that all workers can read: what comes within a moment together, for one number there costs
    as much as ten here. `later` calls something in so many seconds, as a loop's `call_later` does."""

    def __init__(self, registry: CollectorRegistry, later: Later) -> None:
        self._all = {series: _made(series, registry) for series in COUNTED}
        self._kept: dict[Key, Any] = {}
        self._later = later
        self._held = Tally()
        self._due = False

    def _child(self, key: Key) -> Any:
        """Looking one up anew costs three times as much."""
        child = self._kept.get(key)
        if child is None:
            metric, labels = self._all[key[0]], key[1:]
            child = self._kept[key] = metric.labels(*labels) if labels else metric
        return child

    def add(self, number: float, key: Key) -> None:
        """To a counter, or to a gauge to which only that is done."""
        if not self._due:
            self._soon()
        self._held.add(number, key)

    def observe(self, value: float, key: Key) -> None:
        """One value, in a histogram."""
        if not self._due:
            self._soon()
        self._held.observe(value, key)

    def set(self, value: float, key: Key) -> None:
        """A gauge is now so much."""
        self._child(key).set(value)

    def _soon(self) -> None:
        self._due = True
        self._later(HELD_SECONDS, self.flush)

    def flush(self) -> None:
        """Let the others read all that was counted by now."""
        held, self._held, self._due = self._held, Tally(), False
        for key, number in held.numbers.items():
            if number:
                self._child(key).inc(number)
        for key, kept in held.histograms.items():
            if any(kept.counts):
                child = self._child(key)
                child._sum.inc(kept.total)  # as its `observe` does with each value
                for bucket, count in zip(child._buckets, kept.counts, strict=True):
                    if count:
                        bucket.inc(count)


def _made(series: Series, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if series.bounds:
        return Histogram(series.name, series.text, series.labels, buckets=series.bounds, registry=registry)
    if series.mode is None:
        return Counter(series.name, series.text, series.labels, registry=registry)
    return Gauge(series.name, series.text, series.labels, registry=registry, multiprocess_mode=cast(Any, series.mode))


class _Files(MultiProcessCollector):
    """The library's, but for files that a worker has just made: those hold nothing yet, and it would fail on them."""

    def collect(self) -> Iterable[Metric]:
        paths = [path for path in glob(os.path.join(os.environ[FOLDER], "*.db")) if _holds_something(path)]
        merged: Iterable[Metric] = self.merge(paths)  # type: ignore[no-untyped-call]  # as above, without types
        return merged


def _holds_something(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except FileNotFoundError:  # a worker has ended just now
        return False


class _Process:
    """What `ProcessCollector` says of one process, as series that can be summed over the workers, dead ones too."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._source = ProcessCollector(namespace="redeo", registry=None)
        self._cpu = Counter(_CPU, "Processor time used", registry=registry)
        self._counted = 0.0
        self._gauges = {
            name: Gauge(name, text, registry=registry, multiprocess_mode=mode) for name, (text, mode) in _GAUGES.items()
        }
        self._next = 0.0

    def beat(self) -> None:
        """Measure, unless that was done a moment ago."""
        if time.monotonic() >= self._next:
            self.measure()

    def measure(self) -> None:
        """Bring the series of this process up to now."""
        self._next = time.monotonic() + _EVERY
        for family in self._source.collect():
            value = family.samples[0].value
            if family.name == _CPU:
                self._cpu.inc(max(0.0, value - self._counted))
                self._counted = value
            else:
                self._gauges[family.name].set(value)
