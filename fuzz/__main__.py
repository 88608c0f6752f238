"""All campaigns one after the other: `python -m fuzz [--seconds 600] [--only PART ...]`. Exit 1 with a finding.

The seconds are shared between the parts that take any time (parsers, laws); kills, api and long take what they need.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import time

from fuzz import parsers
from fuzz.parsers import ROOT
from fuzz.report import Row, table

PARTS = ("parsers", "laws", "kills", "api", "long")
_SHARE = 0.7  # of the time, for the parsers


def main() -> int:
    """The parts that are asked for, and the table."""
    parser = argparse.ArgumentParser(
        prog="fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run")
    parser.add_argument("--targets", nargs="+", default=[], help="of the parsers, these alone")
    parser.add_argument("--rounds", type=int, default=0, help="of the laws, this many instead of a share of the time")
    given = parser.parse_args()
    rows: list[Row] = []
    for part in given.only:
        print(f"{part} ...", file=sys.stderr, flush=True)
        rows += _part(part, given)
    print(table(rows))
    return 1 if any(row.findings for row in rows) else 0


def _part(part: str, given: argparse.Namespace) -> list[Row]:
    if part == "parsers":
        share = _SHARE if "laws" in given.only else 1.0
        return parsers.run(given.seconds * share, given.jobs, given.targets)
    if part == "laws":
        share = 1 - _SHARE if "parsers" in given.only else 1.0
        return [_laws(given.seconds * share, given.rounds, given.jobs)]
    if part == "long":
        return [_pytest("long", "--long", "tests/security", "-n", str(given.jobs))]
    found: list[Row] = importlib.import_module(f"fuzz.{part}").run()
    return found


def _laws(seconds: float, rounds: int, jobs: int) -> Row:
    """Every property with many examples, another seed each round, until the time is over."""
    whole, end, number = Row("laws", "", 0), time.monotonic() + seconds, 0
    while number < rounds if rounds else not number or time.monotonic() < end:
        number += 1
        seed = ("--hypothesis-profile=campaign", f"--hypothesis-seed={number}", "-n", str(jobs))
        row = _pytest("laws", *seed, "tests/laws", "tests/rooms/routing", "tests/rooms/config")
        whole.seconds += row.seconds
        whole.more = row.did
        whole.findings += row.findings
        if row.findings:
            break
    whole.did = f"{number} rounds"
    return whole


def _pytest(name: str, *arguments: str) -> Row:
    began = time.monotonic()
    command = ["nice", "-n", "10", sys.executable, "-m", "pytest", "-q", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines() or [done.stderr.strip()[-300:]]
    findings = (
        [] if done.returncode == 0 else [line for line in lines if line.startswith(("FAILED", "ERROR"))] or lines[-1:]
    )
    return Row(name, lines[-1].strip("= "), time.monotonic() - began, "", findings)


if __name__ == "__main__":
    sys.exit(main())
