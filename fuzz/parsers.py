"""Every target under atheris for a share of the time; inputs that showed something new are the next run's seeds."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzz.report import Row

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / ".fuzz"
MOST_BYTES = 2000  # of one input
_SLOWEST = 20  # seconds for one input: a hang
_NUMBERS = re.compile(rb"stat::number_of_executed_units: (\d+)")
_COVERED = re.compile(rb"cov: (\d+)")


def run(seconds: float, jobs: int, only: list[str]) -> list[Row]:
    """A row for each target (or for those named), `jobs` of them at a time."""
    from fuzz.targets import TARGETS

    names = [name for name in TARGETS if not only or name in only]
    each = max(1.0, seconds * jobs / len(names))
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda name: _one(name, each), names))


def _one(name: str, seconds: float) -> Row:
    from fuzz.seeds import seeds

    corpus, found = KEPT / "corpus" / name, KEPT / "found"
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(exist_ok=True)
    for failed in found.glob(f"{name}-*-*"):  # of an earlier run: it is tried first of all
        failed.rename(corpus / failed.name)
    for seed in seeds(name):
        seed = seed[:MOST_BYTES]
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    began = time.monotonic()
    prefix = found / f"{name}-"
    command = [
        *("nice", "-n", "10", sys.executable, "-m", "fuzz.engine", name, f"-max_total_time={round(seconds)}"),
        *(f"-max_len={MOST_BYTES}", f"-timeout={_SLOWEST}", f"-artifact_prefix={prefix}", "-print_final_stats=1"),
        *("-rss_limit_mb=2048", "-reload=0", str(corpus)),
    ]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    took = time.monotonic() - began
    (found / f"{name}.log").write_bytes(done.stdout[-20_000:])
    count, covered = _NUMBERS.search(done.stdout), _COVERED.findall(done.stdout)
    findings = [] if done.returncode == 0 else [_finding(done.stdout)]
    did = f"{int(count[1]) if count else 0:,} inputs"
    return Row(name, did, took, f"{covered[-1].decode() if covered else '?'} branches", findings)


def _finding(said: bytes) -> str:
    text = said.decode("utf-8", "replace")
    where = re.search(r"Test unit written to (\S+)", text)
    error = re.search(r"Uncaught Python exception: ===\n(.*\n.*)", text)
    return f"{' '.join(error[1].split())[:200] if error else text[-300:]} ({where[1] if where else 'no input kept'})"
