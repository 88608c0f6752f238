"""What astray memory costs a process that runs for months."""

from __future__ import annotations

import asyncio
import gc
import platform
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from proxy import upkeep

ROOT = Path(__file__).parents[2]
SECONDS = 10.0


class Astray:
    """Something that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def left_alone() -> Iterator[None]:
    """Nothing is collected but by what is tested."""
    gc.disable()
    yield
    gc.enable()


@asynccontextmanager
async def tidied(idle: list[bool], asked: asyncio.Event) -> AsyncIterator[None]:
    """While it is tidied all the time. `asked` is set when the last of `idle` is told, which then holds for good."""

    def is_idle() -> bool:
        if len(idle) == 1:
            asked.set()
            return idle[0]
        return idle.pop(0)

    task = asyncio.create_task(upkeep.keep_tidy(is_idle, every=0.001))
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_what_went_astray_is_collected_when_nobody_waits(left_alone: None) -> None:
    freed, asked = asyncio.Event(), asyncio.Event()
    lost = Astray()
    gone = weakref.ref(lost, lambda _: freed.set())
    del lost
    async with tidied([False, False, False, True], asked):
        await asyncio.wait_for(freed.wait(), SECONDS)
    assert gone() is None
    assert asked.is_set(), "not before"


async def test_nothing_is_collected_while_somebody_waits(left_alone: None) -> None:
    asked = asyncio.Event()
    lost = Astray()
    gone = weakref.ref(lost)
    del lost
    async with tidied([False] * 5, asked):
        await asyncio.wait_for(asked.wait(), SECONDS)
        assert gone() is not None


def test_a_daemon_that_has_settled_collects_still() -> None:
    """What is there at the start is left out, and what comes later is not."""
    code = """
import gc, weakref
from proxy import upkeep
gc.disable()
class Astray: pass
before = gc.get_threshold()
upkeep.settle()
assert gc.isenabled() and gc.get_freeze_count() and gc.get_threshold()[0] > before[0]
lost = Astray(); lost.itself = lost
gone = weakref.ref(lost); del lost
kept = [[] for _ in range(2 * gc.get_threshold()[0])]
assert gone() is None
upkeep.give_back()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


FAULTS = """
import resource, sys
from proxy import upkeep
if sys.argv[1] == "settled":
    upkeep.settle()
for turn in range(200):
    if turn == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bodies = [b"x" * 100_000 for _ in range(40)]
    del bodies
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no other C library has the call")
def test_memory_of_bodies_is_not_asked_for_again_and_again() -> None:
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, how], cwd=ROOT, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("settled") < 2_000 < 20_000 < faults("as it comes")
