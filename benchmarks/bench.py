"""What the daemon costs, beside nginx and peers: one table from one interleaved run (benchmarks/README.md).

    python benchmarks/bench.py [--rounds N] [--quick] [--only REGEX] [--json FILE] [--workers N]
        [--redeo NAME=FOLDER ...] [--litellm-python PATH] [--portkey FOLDER] [--peer 'NAME=COMMAND' ...]

Each round runs each measure on one subject after the other. Exit code 1 where something is missing or an answer was
not what it had to be.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench_measures import FIRST, MEMORY, Measure, Running, Setting, check, measures
from bench_process import LOAD, Fault, hold_to, many_files
from bench_provider import Provider, needed
from bench_subjects import Bare, Nginx, Peer, Redeo, Subject, litellm, own_python, portkey
from bench_table import Results, derive, table

ROOT = Path(__file__).resolve().parents[1]


def options() -> argparse.Namespace:
    """What stands on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--rounds", type=int, help="how often each measure is run on each subject (5; with --quick 2)")
    add("--quick", action="store_true", help="short loads and few rounds: two minutes, to see how it is done")
    add("--only", metavar="REGEX", default="", help="only the measures whose name has this in it (--list)")
    add("--list", action="store_true", help="the names of the measures")
    add("--json", type=Path, metavar="FILE", help="all figures of all rounds, as JSON")
    add("--redeo", action="append", metavar="NAME=FOLDER", help="measure the daemon of this source tree; several")
    add("--redeo-python", metavar="PATH", help="the Python that runs it (FOLDER/.venv/bin/python)")
    add("--workers", type=int, metavar="N", help="the daemon once more with so many workers")
    add("--nginx-again", action="store_true", help="nginx twice: the ratio 1.0 shows what the figures are worth")
    add("--no-nginx", action="store_true", help="without it, for comparing source trees with each other")
    add("--litellm-python", metavar="PATH", help="LiteLLM of the environment of this Python")
    add("--portkey", metavar="FOLDER", help="Portkey's gateway, from the folder where npm put it")
    add("--peer", action="append", metavar="NAME=COMMAND", help="anything else; {port} and {upstream} are put in")
    add("--rate", type=float, default=200.0, help="requests a second for latency (%(default)s)")
    add("--free", action="store_true", help="let the scheduler place all processes (else load and subject are apart)")
    return parser.parse_args()


def subjects(args: argparse.Namespace, provider: Provider, folder: Path, files: int) -> Iterator[Subject]:
    """Who is to be measured, in the order of their turns."""
    for pair in args.redeo or [f"redeo={ROOT}"]:
        name, place = named(pair)
        root = Path(place).resolve()
        if not (root / "proxy" / "__main__.py").is_file():
            raise Fault(f"--redeo {pair}: no source tree of the daemon there")
        python = args.redeo_python or own_python(root)
        yield Redeo(name, provider, folder / name, root, python)
        if args.workers:
            more = f"{name} x{args.workers}"
            yield Redeo(more, provider, folder / more.replace(" ", "-"), root, python, args.workers)
    if not args.no_nginx:
        yield Nginx("nginx", provider, folder / "nginx", files)
    if args.nginx_again:
        yield Nginx("nginx again", provider, folder / "nginx-again", files)
    if args.litellm_python:
        yield litellm(provider, folder / "litellm", args.litellm_python)
    if args.portkey:
        yield portkey(provider, folder / "portkey", args.portkey)
    for pair in args.peer or []:
        name, line = named(pair)
        peer = Peer(name, provider, folder / re.sub(r"\W", "-", name), line)
        peer.well = 499  # where it says that it serves is not known
        yield peer


def named(pair: str) -> tuple[str, str]:
    """NAME=VALUE."""
    name, equals, value = pair.partition("=")
    if not equals or not name or not value:
        raise Fault(f"{pair!r}: say NAME=VALUE")
    return name, value


def setting(args: argparse.Namespace, folder: Path, provider: Provider) -> Setting:
    """How long and how much."""
    if args.quick:
        return Setting(folder, provider, seconds=2, rate=args.rate, held=(1000,), settle=2.0)
    return Setting(folder, provider, rate=args.rate)


def run(args: argparse.Namespace, results: Results) -> None:
    """All rounds; what a peer cannot do is noted, what one of ours or nginx cannot do ends the run."""
    files = many_files()
    hold_to(LOAD)
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="redeo-bench-")))
        provider = Provider(folder / "provider", files - 100)
        ends.callback(provider.process.stop)
        how = setting(args, folder, provider)
        chosen = [(name, measure) for name, measure in measures() if re.search(args.only, name)]
        if not chosen:
            raise Fault(f"--only {args.only}: no measure has that in its name (--list)")
        turns = [ends.enter_context(serving(subject)) for subject in subjects(args, provider, folder, files - 100)]
        results.ours = {
            turn.subject.name for turn in turns if isinstance(turn.subject, Redeo) and turn.subject.workers == 1
        }
        for turn in turns:
            check(how, turn)
        bare = Running(
            Bare("bare aiohttp", provider, folder / "bare", args.redeo_python or own_python(ROOT)), turns[0].process
        )
        for number in range(args.rounds or (2 if args.quick else 5)):
            for name, measure in chosen:
                if name == MEMORY and number % 2:
                    continue
                for turn in [*turns, bare] if name == FIRST else turns:
                    progress(f"round {number + 1}: {name}: {turn.subject.name}")
                    one(results, name, measure, how, turn)
        progress("")


def progress(said: str) -> None:
    """Tells a person what is going on."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{said}", end="", file=sys.stderr, flush=True)


def one(results: Results, name: str, measure: Measure, how: Setting, turn: Running) -> None:
    """One measure on one subject."""
    failed = f"{turn.subject.name}, {name}: "
    if any(said.startswith(failed) for said in results.failed):
        return
    try:
        results.add(turn.subject.name, measure(how, turn))
    except Fault as fault:
        if not isinstance(turn.subject, Peer):
            raise
        results.add(turn.subject.name, fault.figures)
        results.failed.append(failed + str(fault).splitlines()[0])


@contextmanager
def serving(subject: Subject) -> Iterator[Running]:
    """The subject with a process that is ready, until the end of the run."""
    subject.folder.mkdir(parents=True, exist_ok=True)
    process = subject.ready("main")
    try:
        yield Running(subject, process)
    finally:
        process.stop()


def say(results: Results, began: float, busy: float) -> None:
    """Prints the table, and what has to be known of it."""
    print(table(results))
    minutes, where = (time.monotonic() - began) / 60, f"Python {platform.python_version()}, Linux {platform.release()}"
    print(f"\n{minutes:.1f} minutes, {where}, {os.cpu_count()} cores, load average before: {busy:.1f}")
    for said in results.failed:
        print(f"failed: {said}")


def main() -> int:
    args = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if args.list:
        print(*(name for name, _ in measures()), sep="\n")
        return 0
    if missing := needed():
        print(missing, file=sys.stderr)
        return 1
    began, busy = time.monotonic(), os.getloadavg()[0]
    results, broke = Results(), ""
    try:
        run(args, results)
    except (Fault, KeyboardInterrupt) as fault:
        broke = str(fault) or "interrupted"
    derive(results)
    if results.rounds:
        say(results, began, busy)
    if args.json and results.rounds:
        args.json.write_text(json.dumps({"rounds": results.rounds, "failed": results.failed}, indent=1))
    if broke:
        print(f"\nbench: not to its end: {broke}", file=sys.stderr)
    return 1 if broke else 0


if __name__ == "__main__":
    sys.exit(main())
