"""The Prometheus registry of this process: plain for one worker, files shared between several."""

from __future__ import annotations

import os
from collections.abc import Callable

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector


def open_registry() -> tuple[CollectorRegistry, Callable[[], bytes]]:
    """The registry to put series into, and what renders the text of `/metrics`.

    With several workers `PROMETHEUS_MULTIPROC_DIR` is set before the first worker starts; whichever worker is asked
    then sums up all of them.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, of no use here
    registry = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        ProcessCollector(namespace="redeo", registry=registry)
        return registry, lambda: generate_latest(registry)

    def render() -> bytes:
        summed = CollectorRegistry()
        MultiProcessCollector(summed)  # type: ignore[no-untyped-call]  # the library has no types here
        return generate_latest(summed)

    return registry, render
