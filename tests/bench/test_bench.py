"""What the benchmark says is so: a wrong answer ends it, and its ratios are those of one round."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bench_load import at_rate
from bench_measures import BUSIEST, CPU
from bench_process import Fault, Process, used
from bench_provider import TEXT
from bench_requests import chat
from bench_streams import Streams
from bench_table import Results, derive, table

from tests.support.upstream import Received, Script, Upstream, Wire, answer, chat_body, chat_events

BENCH = Path(__file__).resolve().parents[2] / "benchmarks" / "bench.py"
SMALL = f"{CPU}, 1 kB, 64 clients"


def streamed(*pieces: bytes) -> Script:
    """Answers with these pieces, each in a chunk and a packet of its own."""

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(headers={"content-type": "text/event-stream"})
        for piece in pieces:
            await wire.chunk(piece)
        await wire.end()

    return script


async def read(script: Script, count: int = 3) -> Streams:
    """So many streams of it, read to their ends."""
    async with Upstream(*[script] * count) as upstream:
        streams = Streams("it", upstream.port, {}, b"{}")

        def run() -> None:
            try:
                streams.open(count, 30)
                streams.finish(30)
            finally:
                streams.close()

        try:
            await asyncio.to_thread(run)
        finally:
            await upstream.wait_requests(count)  # or the server ends before it has taken all of them
    return streams


async def test_the_chunks_of_whole_streams_are_counted_however_they_are_cut() -> None:
    events = b"".join(chat_events(*[TEXT] * 4))
    text, end = events.index(TEXT.encode()) + 5, events.index(b"[DONE]") + 3
    for pieces in ([events], [events[:text], events[text:]], [events[:end], events[end:]]):
        streams = await read(streamed(*pieces))
        assert (streams.ended, streams.chunks) == (3, 12)


@pytest.mark.parametrize("events", [chat_events(TEXT, done=False), []])
async def test_a_stream_without_its_end_is_a_fault(events: list[bytes]) -> None:
    with pytest.raises(Fault, match="broke off"):
        await read(streamed(b": \n\n", *events))


async def test_a_stream_that_is_refused_is_a_fault() -> None:
    with pytest.raises(Fault, match="503"):
        await read(answer({"error": {}}, 503))


@pytest.mark.parametrize(("status", "fault"), [(200, None), (429, "429"), (502, "502")])
async def test_at_a_rate_every_answer_is_judged(status: int, fault: str | None) -> None:
    body = chat(942)
    async with Upstream(*[answer(chat_body(), status)] * 20) as upstream:
        run = asyncio.to_thread(at_rate, "it", upstream.port, {}, body, 200.0, 0.1)
        if fault is None:
            assert len(await run) == 18  # the first tenth is for the connections
            assert all(one.body == body for one in upstream.requests)
        else:
            with pytest.raises(Fault, match=fault):
                await run


def results(**subjects: list[float]) -> Results:
    """Figures of the row of small requests."""
    found = Results(ours={"redeo"})
    for name, figures in subjects.items():
        for figure in figures:
            found.add(name, {SMALL: figure, SMALL + BUSIEST: figure / 2})
    return found


def cells(found: Results, subject: str) -> list[str]:
    """What the table says of a subject's first row."""
    lines = [[cell.strip() for cell in line.split("|")] for line in table(found).splitlines()]
    return next(line[3:7] for line in lines if line[2] == subject)


def test_the_ratio_is_that_of_each_round() -> None:
    found = results(redeo=[50, 600, 90], nginx=[10, 100, 30])  # once the machine was ten times as slow
    assert cells(found, "redeo") == ["90.0", "50.0 … 600", "5.00 (3.00 … 6.00)", "≤ 6 ×: yes"]
    assert cells(results(redeo=[70, 71], nginx=[10, 10]), "redeo")[3] == "≤ 6 ×: NO"


def test_a_second_worker_is_judged_by_the_one_that_does_most() -> None:
    found = results(redeo=[100, 100])
    for most in (50.0, 100.0):  # the work lies evenly; all of it lies on one
        found.add("redeo x2", {SMALL: 100.0, SMALL + BUSIEST: most})
    derive(found)
    assert found.of("redeo x2", "second worker: times one, by CPU") == [2.0, 1.0]


def test_the_cpu_of_all_processes_of_the_tree_is_read(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\nimport sys; sys.stdin.read()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}], stdin=0)"
    read_end, write_end = os.pipe()
    with (tmp_path / "log").open("wb") as log:
        popen = subprocess.Popen([sys.executable, "-c", code], stdin=read_end, stdout=log)
    os.close(read_end)
    process = Process("it", popen, 0, tmp_path / "log", time.perf_counter())
    try:
        while not (tmp_path / "log").stat().st_size:
            assert popen.poll() is None
        assert len(process.cpu()) == 2
        assert sum(process.cpu().values()) >= 0.3
        assert process.resident() > 5_000_000
        assert sum(used(process.cpu(), process.cpu())) < 0.3
    finally:
        os.close(write_end)
        popen.wait()


def test_without_its_tools_it_says_what_to_install(tmp_path: Path) -> None:
    ran: Any = subprocess.run([sys.executable, BENCH], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "wrk" in ran.stderr
    assert "apt-get install" in ran.stderr
    assert "Traceback" not in ran.stderr
