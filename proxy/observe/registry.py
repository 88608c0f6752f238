"""The Prometheus registry of this process: plain for one worker, files shared between several."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from glob import glob
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client import generate_latest as text_of
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_EVERY: Final = 10.0  # seconds
_GAUGES: Final[dict[str, tuple[str, Any]]] = {
    "redeo_process_resident_memory_bytes": ("Memory held", "livesum"),
    "redeo_process_virtual_memory_bytes": ("Addresses in use", "livesum"),
    "redeo_process_open_fds": ("Open descriptors", "livesum"),
    "redeo_process_max_fds": ("The most that may be open", "livemin"),
    "redeo_process_start_time_seconds": ("When it was started", "min"),
}
_CPU: Final = "redeo_process_cpu_seconds"


class Registry(NamedTuple):
    """`kept`: for series that are counted as things happen. `asked`: for collectors that say what is so when somebody
    asks. `beat`: to be called now and then, and before `render`, which gives the text of `/metrics`."""

    kept: CollectorRegistry
    asked: CollectorRegistry
    beat: Callable[[], None]
    render: Callable[[], bytes]


def open_registry() -> Registry:
    """With several workers `PROMETHEUS_MULTIPROC_DIR` is set before the first worker starts; whichever worker is asked
    then sums up all of them."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, of no use here
    registry = CollectorRegistry()
    if FOLDER not in os.environ:
        ProcessCollector(namespace="redeo", registry=registry)
        return Registry(registry, registry, lambda: None, lambda: text_of(registry))
    summed = CollectorRegistry()
    _Files(summed)  # type: ignore[no-untyped-call]  # the library has no types here
    own = _Process(registry)

    def render() -> bytes:
        own.measure()
        return text_of(summed)

    return Registry(registry, summed, own.beat, render)


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
