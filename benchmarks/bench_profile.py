"""Where the daemon's time goes under one load of `bench.py`, as py-spy samples it.

    python benchmarks/bench_profile.py --py-spy PATH [--streams] [--size N] [--clients N] [--root FOLDER]

py-spy is from PyPI and nothing that the project needs: benchmarks/README.md. Own time is that of a function and of
what it calls in C: parsing, system calls, the event loop. Of the thread that serves alone: py-spy takes others, which
wait, for busy.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench_load import Wrk
from bench_measures import Running, Setting, check, chunks
from bench_process import LOAD, Fault, Process, hold_to, many_files
from bench_provider import Provider, needed
from bench_requests import chat
from bench_subjects import Redeo, own_python

_FRAME = re.compile(r"(?P<function>.+) \((?P<file>[^()]*?)(?::\d+)?\)$")
_ROOT = Path(__file__).resolve().parents[1]


def stacks(raw: str) -> Iterator[tuple[list[str], int]]:
    """Each stack of py-spy's raw format, outermost first, as `file function`, with how often it was seen."""
    for line in raw.splitlines():
        frames, _, count = line.rpartition(" ")
        found = [_FRAME.match(frame) for frame in frames.split(";")]
        yield [f"{place(match['file'])} {match['function']}" for match in found if match], int(count)


def place(file: str) -> str:
    """A file without what stands before its package."""
    return re.sub(r"^.*/(?:site-packages|lib/python3\.\d+)/", "", file).removeprefix(f"{_ROOT}/")


def room(function: str) -> str:
    """The package to which a function belongs: of the daemon's own, the room."""
    file = function.split(" ")[0]
    parts = file.split("/")
    return "/".join(parts[:2]) if parts[0] == "proxy" and len(parts) > 2 else parts[0]


def report(raw: str, most: int) -> None:
    """Prints own time by room, and own and whole time of the functions that have most."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for stack, count in stacks(raw):
        if any(frame.startswith("proxy/__main__.py ") for frame in stack):
            own[stack[-1]] += count
            whole.update(dict.fromkeys(stack, count))
    total = own.total() or 1
    rooms: Counter[str] = Counter()
    for function, count in own.items():
        rooms[room(function)] += count
    print("| room | own |\n| --- | ---: |")
    for name, count in rooms.most_common(15):
        print(f"| {name} | {count / total:.1%} |")
    print("\n| function | own | with what it calls |\n| --- | ---: | ---: |")
    for function, count in own.most_common(most):
        print(f"| {function} | {count / total:.1%} | {whole[function] / total:.1%} |")


def ticks(process: Process) -> tuple[int, int]:
    """The process's time in user mode and in the kernel, in clock ticks."""
    fields = Path(f"/proc/{process.popen.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def sampled(args: argparse.Namespace, how: Setting, running: Running) -> str:
    """Runs the load and, in the middle of it, py-spy; its output in the raw format."""
    out = how.folder / "stacks"
    spy = [args.py_spy, "record", "--function", "--format", "raw", "--rate", "400", "--duration", str(how.seconds - 1)]
    with (how.folder / "py-spy.log").open("wb") as log:
        command = [*spy, "--output", str(out), "--pid", str(running.process.popen.pid)]
        sampling = subprocess.Popen(command, stdout=log, stderr=log)
        before, began = ticks(running.process), time.monotonic()
        if args.streams:
            chunks(how, running)
        else:
            wrk = Wrk(how.folder, how.provider)
            headers = running.subject.headers()
            wrk.run(running.process, headers, chat(args.size), args.clients, how.seconds + 1)
        user, kernel = (after - at for after, at in zip(ticks(running.process), before, strict=True))
        if sampling.wait(30):
            raise Fault(f"py-spy failed: {(how.folder / 'py-spy.log').read_text()[-500:]}")
    busy = (user + kernel) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - began)
    print(f"{busy:.0%} of a core, {kernel / (user + kernel):.0%} of that in the kernel\n")
    return out.read_text()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--py-spy", required=True, metavar="PATH")
    add("--streams", action="store_true", help="streams at 10,000 chunks a second instead of requests")
    add("--size", type=int, default=942, help="bytes of a request (%(default)s)")
    add("--clients", type=int, default=64, help="how many at once (%(default)s)")
    add("--root", type=Path, default=_ROOT, help="the source tree of the daemon (this one)")
    add("--seconds", type=int, default=8)
    add("--most", type=int, default=30, help="how many functions are shown (%(default)s)")
    args = parser.parse_args()
    if missing := needed():
        print(missing, file=sys.stderr)
        return 1
    files = many_files()
    hold_to(LOAD)
    with tempfile.TemporaryDirectory(prefix="redeo-bench-") as name:
        folder = Path(name)
        provider = Provider(folder / "provider", files - 100)
        try:
            subject = Redeo("redeo", provider, folder / "redeo", args.root.resolve(), own_python(args.root.resolve()))
            process = subject.ready("main")
            try:
                running = Running(subject, process)
                how = Setting(folder, provider, seconds=args.seconds)
                check(how, running)
                report(sampled(args, how, running), args.most)
            finally:
                process.stop()
        except Fault as fault:
            print(f"bench: {fault}", file=sys.stderr)
            return 1
        finally:
            provider.process.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
