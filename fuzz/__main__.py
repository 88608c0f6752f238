"""All campaigns one after the other: `python -m fuzz [--seconds 600] [--only PART ...]`. Exit 1 with a finding.

The seconds are shared between the parts that take any time (parsers, laws); kills, api and long take what they need.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time

from fuzz import laws, parsers
from fuzz.laws import failures, last_line, pytest
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
        try:
            rows += _part(part, given)
        except KeyboardInterrupt:
            rows.append(Row(part, "interrupted", 0, "", ["interrupted"]))
            break
    print(table(rows))
    return 1 if any(row.findings for row in rows) else 0


def _part(part: str, given: argparse.Namespace) -> list[Row]:
    if part == "parsers":
        share = _SHARE if "laws" in given.only else 1.0
        return parsers.run(given.seconds * share, given.jobs, given.targets)
    if part == "laws":
        share = 1 - _SHARE if "parsers" in given.only else 1.0
        return [laws.run(given.seconds * share, given.rounds, given.jobs)]
    if part == "long":
        return [_long(given.jobs)]
    found: list[Row] = importlib.import_module(f"fuzz.{part}").run()
    return found


def _long(jobs: int) -> Row:
    """The long variants of the security tests."""
    began = time.monotonic()
    done = pytest("--long", "tests/security", "-n", str(jobs))
    return Row("long", last_line(done), time.monotonic() - began, "", failures(done))


if __name__ == "__main__":
    sys.exit(main())
