"""Workers that die, hang, come and go: nothing is lost that need not be, and what is counted stays counted."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.canary import Canaries
from tests.support.crew import Crew, crew
from tests.support.process import Process
from tests.support.upstream import Received, Script, Wire, chat, chat_events, hang

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
REQUESTS = 'redeo_requests_total{operation="chat",status="200"}'
MANY, AT_ONCE = 64, 16
METRICS = Path("/dev/shm")


async def series(team: Crew, where: int | aiohttp.ClientSession, name: str, value: float) -> bool:
    """Whether this series has that value."""
    return (await team.metrics(where)).get(name) == value


@pytest.mark.parametrize("workers", [2, 4])
async def test_connections_are_shared_out(tmp_path: Path, canaries: Canaries, workers: int) -> None:
    async with crew(tmp_path, canaries, workers=workers) as team:
        sessions = [team.session() for _ in range(MANY)]
        had: Counter[int] = Counter()
        for some in range(0, MANY, AT_ONCE):  # one that has no processor this moment has its share a moment later
            asked = (team.ask(s, "GET", "/v1/routing/explain") for s in sessions[some : some + AT_ONCE])
            had.update(answer.json["worker"] for answer in await asyncio.gather(*asked))
        for session in sessions:
            await session.close()
    fair = MANY // workers
    assert [number for worker in had if (number := had[worker]) < fair // 4] == []
    assert len(had) == workers


async def test_what_was_counted_survives_a_worker_and_what_it_held_does_not(
    tmp_path: Path, canaries: Canaries, provider: Any
) -> None:
    up = await provider(*[chat()] * 10, hang())
    async with crew(tmp_path, canaries, {"openai": up}) as team:
        one, other = team.at
        for number in range(10):
            assert (await team.chat((one, other)[number % 2])).status == 200
        stuck = asyncio.create_task(team.chat(one))
        await up.wait_requests(11)
        assert (await team.metrics(other))["redeo_requests_in_flight"] == 1
        before = await team.metrics(other)
        await team.kill(one)
        with pytest.raises(aiohttp.ClientError):
            await stuck
        await team.gather(2)
        up.scripts[:] = [chat()]
        for worker in team.at:
            assert (await team.chat(worker)).status == 200
        for worker in team.at:
            await team.until(lambda worker=worker: series(team, worker, REQUESTS, 12))  # said after the answer is sent
            shown = await team.metrics(worker)
            assert shown['redeo_request_duration_seconds_count{operation="chat"}'] == 12
            assert shown['redeo_attempts_total{connection="openai",result="ok"}'] == 12
            assert shown["redeo_requests_in_flight"] == 0
            assert shown["redeo_config_generation"] >= before["redeo_config_generation"]
            assert shown["redeo_process_cpu_seconds_total"] >= before["redeo_process_cpu_seconds_total"]


async def test_the_same_series_as_of_one_worker(tmp_path: Path, canaries: Canaries, provider: Any) -> None:
    async with crew(tmp_path, canaries, {"openai": await provider(), "groq": await provider()}) as team:
        one, other = team.at
        assert (await team.ask(one, "DELETE", "/v1/providers/groq")).status == 200
        text = (await team.ask(other, "GET", "/metrics")).body.decode()
        kinds = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
        documented = set(re.findall(r"`(redeo_\w+)`", DOCS.read_text()))
        assert kinds <= documented
        assert {name for name in documented if name.startswith("redeo_process_")} <= kinds
        shown = await team.metrics(other)
        assert shown["redeo_process_open_fds"] > 20
        assert shown["redeo_process_resident_memory_bytes"] > 30e6
        assert [name for name in shown if name.startswith("redeo_connection_up")] == [
            'redeo_connection_up{connection="openai"}'
        ]


def held(going_on: asyncio.Event) -> Script:
    """A stream that waits for this after its first piece."""

    async def slow(_: Received, wire: Wire) -> None:
        await wire.head(headers={"content-type": "text/event-stream"})
        first, *rest = chat_events("one", "two")
        await wire.chunk(first)
        await going_on.wait()
        for piece in rest:
            await wire.chunk(piece)
        await wire.end()

    return slow


async def test_reloads_lose_nothing_and_a_stop_waits(tmp_path: Path, canaries: Canaries, provider: Any) -> None:
    going_on, stop = asyncio.Event(), asyncio.Event()
    providers = {"openai": await provider(held(going_on)), "groq": await provider(chat())}
    async with crew(tmp_path, canaries, providers) as team:
        streams = [asyncio.create_task(team.chat(worker, "openai/m", stream=True)) for worker in team.at]

        async def asking() -> int:
            count = 0
            async with team.session() as session:
                while not stop.is_set():
                    assert (await team.chat(session, "groq/m")).status == 200
                    count += 1
            return count

        askers = [asyncio.create_task(asking()) for _ in range(4)]
        for number in range(8):
            team.edit(models={f"m{number}": ["groq/m"]})
            team.daemon.signal(signal.SIGHUP)
            async with team.session() as session:
                await team.until(lambda number=number, session=session: named(team, session, f"m{number}"))
        stop.set()
        assert min(await asyncio.gather(*askers)) > 0
        team.end()
        await team.until(lambda: draining(team))
        going_on.set()
        for stream in streams:
            assert (await stream).body.endswith(b"data: [DONE]\n\n")


async def named(team: Crew, session: aiohttp.ClientSession, model: str) -> bool:
    listed = (await team.ask(session, "GET", "/v1/models")).json["data"]
    return model in {entry["id"] for entry in listed}


async def draining(team: Crew) -> bool:
    return (await team.anybody("GET", "/readyz")).status == 503


async def test_more_and_fewer_workers_by_a_reload(tmp_path: Path, canaries: Canaries, provider: Any) -> None:
    going_on = asyncio.Event()
    async with crew(tmp_path, canaries, {"openai": await provider(held(going_on))}) as team:
        team.edit(workers=4)
        await team.gather(4)
        streams = [asyncio.create_task(team.chat(worker, stream=True)) for worker in team.at]
        async with team.session() as session:
            await team.until(lambda: series(team, session, "redeo_requests_in_flight", 4))
        team.edit(workers=1)
        await team.until(lambda: only_one_takes(team))
        going_on.set()
        for stream in streams:
            assert (await stream).body.endswith(b"data: [DONE]\n\n")
        async with team.session() as session:
            await team.until(lambda: series(team, session, REQUESTS, 4))


async def only_one_takes(team: Crew) -> bool:
    answers = [await team.anybody("GET", "/v1/routing/explain") for _ in range(8)]
    return len({answer.json["worker"] for answer in answers}) == 1


async def test_one_that_stands_still_keeps_nobody_waiting(tmp_path: Path, canaries: Canaries) -> None:
    async with crew(tmp_path, canaries) as team:
        one, other = team.at
        os.kill(one, signal.SIGSTOP)
        try:
            for _ in range(4):
                assert (await team.anybody("GET", "/v1/routing/explain")).json["worker"] == other
        finally:
            os.kill(one, signal.SIGCONT)


async def test_a_worker_that_is_just_born_does_not_spoil_the_metrics(tmp_path: Path, canaries: Canaries) -> None:
    async with crew(tmp_path, canaries) as team:
        one, _ = team.at
        (folder,) = METRICS.glob(f"redeo-metrics-{team.daemon.process.pid}-*")
        (folder / "counter_99999999.db").touch()  # as a file is before its worker has given it a size
        assert (await team.metrics(one))["redeo_requests_in_flight"] == 0


def test_a_worker_that_is_killed_while_it_writes_leaves_no_lock(tmp_path: Path, canaries: Canaries) -> None:
    with Process(tmp_path, canaries, config="workers: 2\n") as daemon:
        stop, broken = threading.Event(), (OSError, http.client.HTTPException, json.JSONDecodeError)

        def write() -> None:
            while not stop.is_set():
                with contextlib.suppress(*broken):
                    daemon.request("POST", "/v1/providers", {"provider": "openai", "api_key": canaries.key("openai")})

        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(5):
            worker = daemon.request("GET", "/v1/routing/explain")[1]["worker"]
            os.kill(worker, signal.SIGKILL)
            while True:
                with contextlib.suppress(*broken):
                    if daemon.request("PATCH", "/v1/providers/openai", {"priority": 5})[0] in (200, 404):
                        break
        stop.set()
        writer.join()
        assert daemon.request("PATCH", "/v1/providers/openai", {"priority": 6})[0] == 200
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0


def test_what_a_terminal_sends_to_all_processes_counts_once(tmp_path: Path, canaries: Canaries) -> None:
    with Process(tmp_path, canaries, config="workers: 2\n") as daemon:
        workers = {daemon.request("GET", "/v1/routing/explain")[1]["worker"] for _ in range(10)}
        assert {os.getpgid(worker) for worker in workers}.isdisjoint({os.getpgid(daemon.process.pid)})
        daemon.signal(signal.SIGINT)
        assert daemon.wait() == 0
        left = [folder for folder in METRICS.glob("redeo-metrics-*") if f"-{daemon.process.pid}-" in folder.name]
        assert left == []


def test_as_many_as_there_are_processors(tmp_path: Path, canaries: Canaries) -> None:
    with Process(tmp_path, canaries, config="workers: auto\n") as daemon:
        assert daemon.request("GET", "/healthz")[0] == 200
        worker = daemon.request("GET", "/v1/routing/explain")[1]["worker"]
        assert (worker == daemon.process.pid) == (len(os.sched_getaffinity(0)) == 1)


def test_one_process_says_that_more_need_a_restart(tmp_path: Path, canaries: Canaries) -> None:
    with Process(tmp_path, canaries, config="workers: 1\n") as daemon:
        daemon.config.write_text("workers: 3\n")
        daemon.signal(signal.SIGHUP)
        waited = threading.Event()
        for _ in range(500):
            if "needs a restart" in daemon.log:
                break
            waited.wait(0.02)
        assert "`workers` is 3 now, which needs a restart" in daemon.log
