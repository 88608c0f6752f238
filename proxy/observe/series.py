"""The series of `/metrics` as data, and how they are counted in this process: in plain numbers, without a library.

prometheus_client takes 3 MB and 60 ms to import and ten times as long for an increment as a dictionary: who is never
scraped never loads it. What makes the text, and what several workers share instead: `proxy.observe.registry`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Final, Protocol

_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 600)
_OVERHEAD: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)


class Series:
    """One name in `/metrics`. `mode`: of a gauge, what becomes of those of several workers; `bounds`: of a histogram's
    buckets, in seconds, without the one that takes the rest."""

    __slots__ = ("bounds", "labels", "mode", "name", "text")

    def __init__(
        self, name: str, text: str, *labels: str, mode: str | None = None, bounds: tuple[float, ...] = ()
    ) -> None:
        self.name = name
        self.text = text
        self.labels = labels
        self.mode = mode
        self.bounds = bounds


REQUESTS: Final = Series("redeo_requests", "Requests answered", "operation", "status")
ATTEMPTS: Final = Series("redeo_attempts", "Requests sent to providers", "connection", "result")
FALLBACKS: Final = Series("redeo_fallbacks", "Moves from one connection to the next", "source", "target", "reason")
TOKENS: Final = Series("redeo_tokens", "Tokens as the providers counted them", "connection", "kind")
INTERRUPTED: Final = Series("redeo_streams_interrupted", "Answers that broke off", "connection", "reason")
RESCUES: Final = Series("redeo_rescues", "Broken streams gone on with", "source", "target", "result")
UNENDED: Final = Series("redeo_streams_unended", "Whole streams whose terminator was missing", "connection")
RELOADS: Final = Series("redeo_config_reloads", "Reloads of the configuration", "result")
RELOAD_FAILURES: Final = Series("redeo_config_reload_failures", "Reloads that kept the old configuration")
REJECTED: Final = Series("redeo_rejected", "Requests refused before any attempt", "reason")
DURATION: Final = Series("redeo_request_duration_seconds", "Arrival to end", "operation", bounds=_SECONDS)
FIRST: Final = Series("redeo_time_to_first_token_seconds", "Arrival to first content", "connection", bounds=_SECONDS)
OVERHEAD: Final = Series(
    "redeo_overhead_seconds", "Arrival to first content, less the wait for providers", bounds=_OVERHEAD
)
IN_FLIGHT: Final = Series("redeo_requests_in_flight", "Requests being served", mode="livesum")
GENERATION: Final = Series("redeo_config_generation", "Counts the configurations taken up", mode="max")
RELOAD_OK: Final = Series("redeo_config_last_reload_ok", "1 if the last reload was taken up", mode="livemin")

COUNTED: Final = (
    REQUESTS, ATTEMPTS, FALLBACKS, TOKENS, INTERRUPTED, RESCUES, UNENDED, RELOADS, RELOAD_FAILURES, REJECTED,
    DURATION, FIRST, OVERHEAD, IN_FLIGHT, GENERATION, RELOAD_OK,
)  # fmt: skip


Key = tuple[Series, *tuple[str, ...]]  # with the values of its labels


class Counts(Protocol):
    """Where numbers go."""

    def add(self, number: float, key: Key) -> None:
        """To a counter, or to a gauge."""

    def observe(self, value: float, key: Key) -> None:
        """One value, in a histogram."""

    def set(self, value: float, key: Key) -> None:
        """A gauge is now so much."""


class Histogram:
    """How many values lay in each bucket, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0


class Tally:
    """Counts of this process alone, by series and labels."""

    __slots__ = ("histograms", "numbers")

    def __init__(self) -> None:
        self.numbers: dict[Key, float] = {(series,): 0 for series in COUNTED if not series.labels and not series.bounds}
        self.histograms: dict[Key, Histogram] = {
            (series,): Histogram(series.bounds) for series in COUNTED if not series.labels and series.bounds
        }

    def add(self, number: float, key: Key) -> None:
        """To a counter, or to a gauge."""
        numbers = self.numbers
        numbers[key] = numbers.get(key, 0) + number

    def observe(self, value: float, key: Key) -> None:
        """One value, in a histogram."""
        found = self.histograms.get(key)
        if found is None:
            found = self.histograms[key] = Histogram(key[0].bounds)
        found.total += value
        found.counts[bisect_left(found.bounds, value)] += 1

    def set(self, value: float, key: Key) -> None:
        """A gauge is now so much."""
        self.numbers[key] = value

    def copy(self) -> Tally:
        """As it is now, for another thread to read."""
        tally = Tally()
        tally.numbers = dict(self.numbers)
        for key, kept in self.histograms.items():
            histogram = tally.histograms[key] = Histogram(kept.bounds)
            histogram.counts, histogram.total = list(kept.counts), kept.total
        return tally


class Kept:
    """What is to be counted as soon as there is where to."""

    def __init__(self) -> None:
        self._said: list[Callable[[Counts], None]] = []

    def add(self, number: float, key: Key) -> None:
        """To a counter, or to a gauge."""
        self._said.append(lambda counts: counts.add(number, key))

    def observe(self, value: float, key: Key) -> None:
        """One value, in a histogram."""
        self._said.append(lambda counts: counts.observe(value, key))

    def set(self, value: float, key: Key) -> None:
        """A gauge is now so much."""
        self._said.append(lambda counts: counts.set(value, key))

    def tell(self, counts: Counts) -> None:
        """All of it, in order, and once."""
        said, self._said = self._said, []
        for say in said:
            say(counts)
