"""What is measured: each measure is run on one subject and returns figures by the names of their rows.

A name with ` | load` or ` | provider` after it is what the load or the provider itself cost in the same run.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench_load import Wrk, at_rate
from bench_process import Fault, Process, used
from bench_provider import ANSWER, TEXT, Provider
from bench_requests import PATH, chat, stream
from bench_streams import Streams
from bench_subjects import Subject, call

Figures = dict[str, float]
CPU, RATE = "CPU a request", "requests a second"
CHUNK = "CPU a streamed chunk"
MEMORY: Final = "memory"  # the name of the measure, which is run in every second round alone: it is long
FIRST = "first 200 after exec"
IDLE, LOADED = "memory idle", "memory after load"
ADDED = "added latency"
COMPLETE = "streams at once, all ended rightly"
BUSIEST = " | busiest"


@dataclass
class Setting:
    """How long and how much."""

    folder: Path
    provider: Provider
    seconds: int = 4  # of each load
    rate: float = 200.0  # requests a second for latency
    streams: int = 200  # at once for what a chunk costs
    chunks: float = 10_000.0  # a second, over all of them
    held: tuple[int, ...] = (1000, 5000)  # streams open for what one takes of memory
    settle: float = 5.0  # seconds before memory is called idle


@dataclass
class Running:
    """A subject with the process that serves all measures but those that need a new one."""

    subject: Subject
    process: Process

    def streams(self, body: bytes, process: Process | None = None) -> Streams:
        """A client of streams with this request."""
        one = process or self.process
        return Streams(self.subject.name, one.port, self.subject.headers(), body)


Measure = Callable[[Setting, Running], Figures]


def measures() -> Iterator[tuple[str, Measure]]:
    """All of them in the order of the table, by name."""
    for label, size in (("1 kB", 942), ("100 kB", 100_000)):
        body = chat(size)
        for clients in (1, 64):
            name = f"{label}, {clients} client{'s' * (clients > 1)}"
            yield name, partial(requests, name=name, body=body, clients=clients)
    yield CHUNK, chunks
    yield ADDED, latency
    yield FIRST, first
    yield MEMORY, memory


def check(setting: Setting, running: Running) -> None:
    """One answer and one stream, whole and read: what is measured later is known to be right."""
    subject, port = running.subject, running.process.port
    status, said = call(port, "POST", PATH, subject.headers(), chat(942))
    if (
        status != 200
        or json.loads(said)["choices"][0]["message"]["content"] != ANSWER["choices"][0]["message"]["content"]
    ):
        raise Fault(f"{subject.name} answered {status}: {said[:400]}\n{running.process.tail()}")
    status, said = call(port, "POST", PATH, subject.headers(), stream(5, 1))
    events = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: {")]
    words = [choice["delta"].get("content") or "" for event in events for choice in event["choices"]]
    if (
        status != 200
        or "".join(words) != f"{TEXT},{TEXT}" * 2 + TEXT + ","
        or not said.rstrip().endswith("data: [DONE]")
    ):
        raise Fault(f"{subject.name} answered a stream with {status}: {said[:400]}\n{running.process.tail()}")


def _said(answer: dict[str, Any]) -> object:
    return answer["choices"][0]["message"]["content"]


def requests(setting: Setting, running: Running, *, name: str, body: bytes, clients: int) -> Figures:
    """CPU for each request, and how many a second."""
    wrk = Wrk(setting.folder, setting.provider)
    run = wrk.run(running.process, running.subject.headers(), body, clients, setting.seconds)
    figures = {f"{CPU}, {name}": run.cpu * 1e6}
    figures[f"{CPU}, {name} | load"] = run.load * 1e6
    figures[f"{CPU}, {name} | provider"] = run.provider * 1e6
    if clients > 1:
        figures[f"{CPU}, {name}{BUSIEST}"] = run.busiest * 1e6
        figures[f"{RATE}, {name}"] = run.rate
    return figures


def chunks(setting: Setting, running: Running) -> Figures:
    """CPU for each event of streams, without their beginnings and ends."""
    count = max(2, round(setting.streams * running.subject.share))
    pace = setting.streams / setting.chunks
    total = round((setting.seconds + 2) / pace)
    streams = running.streams(stream(total, round(pace * 1000)))
    try:
        streams.open(count, 30)
        first = _look(setting, running, streams)
        streams.run(lambda: time.perf_counter() > first[0] + setting.seconds or streams.ended > 0)
        last = _look(setting, running, streams)
        streams.finish(90)
        _complete(running, streams, count, total)
    finally:
        streams.close()
    between = last[1] - first[1]
    return {
        CHUNK: sum(used(first[2], last[2])) / between * 1e6,
        f"{CHUNK} | load": (last[3] - first[3]) / between * 1e6,
        f"{CHUNK} | provider": (last[4] - first[4]) / between * 1e6,
        "chunks a second": between / (last[0] - first[0]),
    }


def _look(setting: Setting, running: Running, streams: Streams) -> tuple[float, int, dict[int, float], float, float]:
    provider = sum(setting.provider.process.cpu().values())
    return time.perf_counter(), streams.chunks, running.process.cpu(), time.process_time(), provider


def _complete(running: Running, streams: Streams, count: int, total: int) -> None:
    if streams.ended != count or streams.chunks != count * total:
        got, name = f"{streams.chunks} chunks of {count * total}", running.subject.name
        raise Fault(f"{name}: {streams.ended} of {count} streams ended, with {got}")


def latency(setting: Setting, running: Running) -> Figures:
    """What a request takes more than without the subject, at a rate that nobody is strained by."""
    name, body = running.subject.name, chat(942)
    seconds = setting.seconds * 1.5
    direct = at_rate("the provider", setting.provider.port, {}, body, setting.rate, seconds)
    through = at_rate(name, running.process.port, running.subject.headers(), body, setting.rate, seconds)
    plain, with_it = statistics.quantiles(direct, n=100), statistics.quantiles(through, n=100)
    figures: Figures = {}
    for label, at in (("p50", 49), ("p99", 98)):
        figures[f"{ADDED} {label}"] = (with_it[at] - plain[at]) * 1e3
        figures[f"{ADDED} {label} | provider"] = plain[at] * 1e3
    return figures


def first(setting: Setting, running: Running) -> Figures:
    """From exec to the first 200, median of three starts."""
    times = []
    for _ in range(3):
        process = running.subject.fresh()
        try:
            times.append(process.first_200(running.subject.health, running.subject.well))
        finally:
            process.stop()
    return {FIRST: statistics.median(times) * 1e3}


def memory(setting: Setting, running: Running) -> Figures:
    """Of a new process: idle, for each open stream, and after load."""
    figures: Figures = {}
    process = running.subject.fresh()
    try:
        process.first_200(running.subject.health, running.subject.well)
        time.sleep(setting.settle)
        figures[IDLE] = process.resident() / 1e6
        check(setting, Running(running.subject, process))
        _held(setting, running, process, figures)
        Wrk(setting.folder, setting.provider).run(
            process, running.subject.headers(), chat(100_000), 64, setting.seconds
        )
        time.sleep(2)
        figures[LOADED] = process.resident() / 1e6
        return figures
    except Fault as fault:
        fault.figures = figures
        raise
    finally:
        process.stop()


def _held(setting: Setting, running: Running, process: Process, figures: Figures) -> None:
    base, open_now = process.resident(), 0
    streams = running.streams(stream(1, 0), process)
    setting.provider.hold()
    try:
        for count in setting.held:
            streams.open(count - open_now, 120)
            open_now = count
            until = time.perf_counter() + 2.5  # in which each has a chunk
            streams.run(lambda until=until: time.perf_counter() > until)  # type: ignore[misc]
            figures[f"memory a stream, {count:,} open"] = (process.resident() - base) / count / 1e3
        setting.provider.let_go()
        streams.finish(120)
        if streams.ended != open_now:
            raise Fault(f"{running.subject.name}: {streams.ended} of {open_now} streams ended")
        if open_now >= 5000:
            figures[COMPLETE] = streams.ended
    finally:
        setting.provider.let_go()
        streams.close()
