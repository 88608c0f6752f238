"""The properties of the tests with many examples: file by file, another seed each round, until the time is over."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzz.parsers import ROOT
from fuzz.report import Row

_FOLDERS = ("tests/laws", "tests/rooms", "tests/dialects")
_LEAST = 5.0  # seconds: with less left no file is begun


def files() -> list[str]:
    """The test files that have properties."""
    found = (path for folder in _FOLDERS for path in sorted(Path(ROOT, folder).rglob("test_*.py")))
    return [str(path.relative_to(ROOT)) for path in found if "@given" in path.read_text()]


def run(seconds: float, rounds: int, jobs: int) -> Row:
    """One row. `rounds`: seeds 1 to that number, whatever time they take; 0: seeds from anywhere, for `seconds`."""
    began, every = time.monotonic(), files()
    end = began + seconds if not rounds else None
    row = Row("laws", "", 0)
    units, taking = _units(every, rounds, end), threading.Lock()
    done: list[str] = []

    def work() -> None:
        while True:
            with taking:
                unit = next(units, None)
            if unit is None:
                return
            if _one(*unit, end, row):
                done.append(unit[0])

    with ThreadPoolExecutor(jobs) as pool:
        for working in [pool.submit(work) for _ in range(jobs)]:
            working.result()
    row.did = f"{len(done)} runs of a file"
    row.more = f"{len(set(done))} of {len(every)} files, up to 2,000 examples for each property"
    row.seconds = time.monotonic() - began
    return row


def _units(every: list[str], rounds: int, end: float | None) -> Iterator[tuple[str, int]]:
    dice = random.Random()
    for number in range(1, rounds + 1) if rounds else itertools.repeat(0):
        for name in every if rounds else dice.sample(every, len(every)):
            if end is not None and time.monotonic() > end - _LEAST:
                return
            yield name, number or dice.randrange(1, 1_000_000)


def _one(name: str, seed: int, end: float | None, row: Row) -> bool:
    """Whether the file was run to its end within the time."""
    left = None if end is None else end - time.monotonic()
    try:
        done = pytest("--hypothesis-profile=campaign", f"--hypothesis-seed={seed}", name, seconds=left)
    except subprocess.TimeoutExpired:
        return False
    row.findings += [f"{failed} (--hypothesis-seed={seed})" for failed in failures(done)]
    return True


def pytest(*arguments: str, seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    """pytest with these arguments, for at most so long. Raises TimeoutExpired."""
    command = ["nice", "-n", "10", sys.executable, "-m", "pytest", "-q", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """What it says of itself in the end."""
    lines = done.stdout.strip().splitlines()
    return lines[-1].strip("= ") if lines else done.stderr.strip()[-300:]


def failures(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What failed, by name; empty where nothing did."""
    if done.returncode == 0:
        return []
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines or [last_line(done)]
