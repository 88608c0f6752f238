"""What a soak has found, as figures, and whether that is good.

Memory: a straight line through the resident size against the requests done, over the second half of each process's
life (by its requests), the lowest samples of ten blocks: what comes and goes with large bodies is no growth. A process
that was sampled too seldom, or asked too little, is told but not judged. "Beyond noise" is beyond two standard errors
of the slope.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.soak_daemon import Life, Sample
from benchmarks.soak_load import Figures
from benchmarks.soak_providers import Providers

BLOCKS: Final = 10
MIN_SAMPLES: Final = 30
MIN_REQUESTS: Final = 1000
MAX_KILOBYTES: Final = 1.0  # of memory in 1,000 requests
SETTLED: Final = 50_000  # requests that a process has to have served before its memory is judged
MAX_FILES: Final = 0.1


@dataclass
class Slope:
    """By how much something grows in 1,000 requests, and the standard error of that."""

    value: float
    error: float

    def exceeds(self, limit: float) -> bool:
        return self.value - 2 * self.error >= limit

    def __str__(self) -> str:
        return f"{self.value:+.2f} ± {2 * self.error:.2f}"


def later(life: Life) -> list[Sample]:
    """The samples of the second half of a life, by its requests."""
    if not life.samples:
        return []
    first, last = life.samples[0].requests, life.samples[-1].requests
    return [one for one in life.samples if one.requests >= (first + last) / 2]


def slope(samples: list[Sample], of: Callable[[Sample], float]) -> Slope | None:
    """The line through the lowest of each block; None where there is too little to say."""
    if len(samples) < MIN_SAMPLES or samples[-1].requests - samples[0].requests < MIN_REQUESTS:
        return None
    size = len(samples) / BLOCKS
    blocks = [samples[int(n * size) : int((n + 1) * size)] for n in range(BLOCKS)]
    xs = [statistics.fmean(one.requests / 1000 for one in block) for block in blocks]
    ys = [min(of(one) for one in block) for block in blocks]
    line = statistics.linear_regression(xs, ys)
    left = sum((y - line.intercept - line.slope * x) ** 2 for x, y in zip(xs, ys, strict=True))
    middle = statistics.fmean(xs)
    spread = sum((x - middle) ** 2 for x in xs)
    return Slope(line.slope, (left / (BLOCKS - 2) / spread) ** 0.5)


def show_load(figures: Figures, providers: Providers, seconds: float) -> None:
    """Requests, failures, attempts, times."""
    print(f"{figures.done} requests in {seconds:.0f} s: {dict(figures.manners)}")
    failures = figures.explained.total() + figures.killed + len(figures.unexplained)
    print(
        f"{failures} failures: {figures.explained.total()} explained by a provider, {figures.killed} by kill -9, ",
        end="",
    )
    print(f"{len(figures.unexplained)} unexplained")
    for cause, count in figures.explained.most_common():
        print(f"  {count:6} {cause}")
    for text in figures.unexplained[:20]:
        print("  unexplained:", text[:700])
    per = figures.attempts / max(1, figures.told_attempts)
    print(f"{per:.3f} attempts a request; {providers.hits.total()} requests at providers: {dict(providers.hits)}")
    print(f"{providers.faults.total()} faults struck: {dict(providers.faults)}")
    for name, times in figures.times.items():
        if len(times) > 1:
            cuts = statistics.quantiles(times, n=100)
            print(f"until the {name}: p50 {cuts[49] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms")


def show_lives(lives: list[Life]) -> list[str]:
    """What each process used; what is wrong with that."""
    wrong = []
    for number, life in enumerate(lives):
        half = later(life)
        memory, files = slope(half, lambda one: one.kilobytes), slope(half, lambda one: one.files)
        served = life.samples[-1].requests - life.samples[0].requests if life.samples else 0
        drained = f" after draining {life.ended - life.told:.1f} s" if life.told else ""
        end = "killed" if life.killed else f"exit {life.code}"
        print(f"process {number}: {life.ended - life.began:.0f} s, {served} requests, {end}{drained}: ", end="")
        if memory is None or files is None:
            print("too short a life for a slope")
        else:
            span = f"{half[0].requests} to {half[-1].requests}"
            resident = f"{half[0].kilobytes} -> {half[-1].kilobytes} kB"
            print(f"{resident} from request {span}: {memory} kB and {files} open files in 1,000 requests")
            # A young process still fills its pools and buffers: of that nothing can be said.
            if served >= SETTLED and memory.exceeds(MAX_KILOBYTES):
                wrong.append(f"process {number}: memory grows by {memory} kB in 1,000 requests")
            if files.exceeds(MAX_FILES):
                wrong.append(f"process {number}: open files grow by {files} in 1,000 requests")
        if not life.killed and life.code:
            wrong.append(f"process {number} ended with {life.code}")
    return wrong
