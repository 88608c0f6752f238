"""docs/fault-matrix.md, made of a run of the fault matrix: `python -m tests.matrix.report [arguments of pytest]`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from tests.matrix.framework import SPEECHES, Row, load
from tests.support.gates import ROOT

SUITE = Path(__file__).with_name("test_fault_matrix.py")
PAGE = ROOT / "docs" / "fault-matrix.md"
TOP = """\
<!-- made by `make fault-matrix` from a run of tests/matrix; do not edit -->
# The fault matrix

What goes wrong, what the client gets all the same, and whether it does: each row is asked of a running daemon in front
of scripted providers on real sockets, in each dialect, for whole answers and for streams. Clocks are scaled down.
`make fault-matrix` runs it and writes this page; a test fails when a row is missing here.

After every case this holds too:

1. each stream has exactly one terminator or one error event, and the official SDK of its dialect reads it so: what is
   whole as whole, with its text; what broke as an error;
2. no connection is tried twice for one request, and only one where nothing went wrong;
3. once content is on its way, nobody else is tried;
4. tasks, sockets and open files are as they were before, within two seconds;
5. no key, prompt or answer stands in a log, a metric, a file or anywhere else where it has no business;
6. nothing is said of exceptions or connections that nobody looked after;
7. the counters add up to the requests that were sent.

The columns are dialects, each *whole answer / stream*: **ok**, **FAILED**, or **-** where the row does not apply: what
depends on no dialect is asked in one.

| row | fault | chat | messages | responses | cases | what is required |
| --- | --- | --- | --- | --- | --- | --- |
"""


def outcomes(xml: Path) -> dict[str, bool]:
    """Which cells came out well, by their names, from a report in JUnit's form. What was skipped shows nothing."""
    fine: dict[str, bool] = {}
    for case in ElementTree.parse(xml).iter("testcase"):
        name = case.get("name", "").partition("[")[2].removesuffix("]")
        bad = any(case.find(kind) is not None for kind in ("failure", "error", "skipped"))
        fine[name] = fine.get(name, True) and not bad
    return fine


def page(fine: Mapping[str, bool]) -> str:
    """The page, from what each cell came to; one that did not run has not shown anything."""
    return TOP + "".join(_line(row, fine) for row in load().values())


def _line(row: Row, fine: Mapping[str, bool]) -> str:
    columns = []
    for speech in SPEECHES:
        forms = [[str(c) for c in row.cells if speech in c.dialects and c.streamed is form] for form in (False, True)]
        columns.append(" / ".join(_mark(names, fine) for names in forms))
    return f"| {row.number} | {row.fault} | {' | '.join(columns)} | {len(row.cells)} | {row.required} |\n"


def _mark(names: list[str], fine: Mapping[str, bool]) -> str:
    if not names:
        return "-"
    return "ok" if all(fine.get(name, False) for name in names) else "FAILED"


def main(arguments: list[str]) -> int:
    """Run the matrix and write the page; 0 if every cell came out well."""
    with TemporaryDirectory() as folder:
        xml = Path(folder) / "matrix.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={xml}", *arguments, str(SUITE)]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        PAGE.write_text(page(outcomes(xml) if xml.exists() else {}))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["-n", "3"]))
