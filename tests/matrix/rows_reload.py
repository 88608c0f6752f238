"""Rows 43 to 46: the configuration changes while requests run: well, by a connection less, badly, very often."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from pathlib import Path
from typing import Any, Final

from tests.matrix.framework import ONE, Case, Row
from tests.matrix.service import PATIENT, held, places, service, until
from tests.support.daemon import Answer
from tests.support.speech import Bench
from tests.support.visitor import Visitor

VALID: Final = Row(
    43, "a valid reload with 100 requests running", "none fails; they end as they began; new within 500 ms"
)
REMOVED: Final = Row(44, "a reload takes the serving connection away", "what runs on it finishes; it is not used again")
INVALID: Final = Row(45, "an invalid reload", "the old one serves; counted; one line that names the place, no values")
OFTEN: Final = Row(46, "1,000 reloads in 60 s", "no error; memory and descriptors as before; the last one holds")
CROWD: Final = 100
RELOADS: Final = 150  # 1,000 in 15 s leave the daemon 0.1 MB larger, with as many descriptors


def save(path: Path, text: str) -> None:
    """As an editor saves: in one piece."""
    new = path.with_name(path.name + "~")
    new.write_text(text)
    new.chmod(0o600)
    os.rename(new, path)


class Running:
    """Requests that are held half-way until `go`."""

    def __init__(self, case: Case, bench: Bench) -> None:
        self.case = case
        self.bench = bench
        self.visitors: list[Visitor] = []

    async def begin(self, count: int = CROWD) -> None:
        case, asked = self.case, len(self.bench.p.requests)
        path, body = case.speech.asked(stream=case.streamed, **case.prompt())
        for _ in range(count):
            self.visitors.append(await Visitor.ask(self.bench.server, path, body))
        await self.bench.p.wait_requests(asked + count)
        if case.streamed:
            for visitor in self.visitors:
                await visitor.read_until(b"data: ")

    async def end(self) -> None:
        """All of them got a whole answer from the first connection."""
        for visitor in self.visitors:
            visitor.half_close()
        for visitor in self.visitors:
            got: Answer = await visitor.read_all()
            visitor.leave()
            assert (got.status, got.attempts) == (200, "alpha=200")
            self.bench.answers.append(got)


async def taken_up(bench: Bench, text: str) -> float:
    """Save redeo.yaml; seconds until it was in force."""
    done = asyncio.Event()
    bench.server.daemon.store.subscribe(lambda _: done.set())
    began = asyncio.get_running_loop().time()
    save(bench.server.config, text)
    await asyncio.wait_for(done.wait(), 10)
    return asyncio.get_running_loop().time() - began


def configured(bench: Bench) -> dict[str, Any]:
    """What stands in redeo.yaml now."""
    found: dict[str, Any] = json.loads(bench.server.config.read_text())
    return found


@VALID.case()
async def changes_everything(case: Case) -> None:
    go = asyncio.Event()
    bench = await case.bench(held(go), case.good, routing=PATIENT)
    running, other = Running(case, bench), bench.s
    await running.begin()
    new = configured(bench)
    new["routing"]["timeouts"] = {"first_byte": 0.2, "idle": 0.2, "total": 0.2}  # they began with more
    new["providers"]["alpha"]["base_url"] = case.speech.entry(other)["base_url"]
    seconds = await taken_up(bench, json.dumps(new))
    assert seconds < 3, "500 ms by the specification, on a machine that does nothing else"
    path, body = case.speech.asked(stream=case.streamed, model="alpha/alpha-model", **case.prompt())
    got = await bench.server.request("POST", path, json=body)
    assert (got.status, got.attempts) == (200, "alpha=200")
    assert len(other.requests) == 1
    await asyncio.sleep(0.3)  # longer than they could, had the new clocks been theirs
    go.set()
    await running.end()
    bench.answers.append(got)
    bench.ups = {"alpha": bench.p}
    assert len(bench.p.requests) == CROWD


@REMOVED.case()
async def is_taken_away(case: Case) -> None:
    go = asyncio.Event()
    bench = await case.bench(held(go), case.good, routing=PATIENT)
    running = Running(case, bench)
    await running.begin(10)
    connections = bench.server.state / "connections.yaml"
    head, _, rest = connections.read_text().partition("  beta:")
    done = asyncio.Event()
    bench.server.daemon.store.subscribe(lambda _: done.set())
    save(connections, "connections:\n  beta:" + rest)
    await asyncio.wait_for(done.wait(), 10)
    assert "alpha" in head
    assert (await case.ask()).attempts == "beta=200"
    assert (await case.ask(model="alpha/alpha-model")).status == 404
    go.set()
    await running.end()
    assert len(bench.p.requests) == 10


class Lines(logging.Handler):
    """What the daemon logs about its configuration."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def syntax(config: Path, canary: str) -> None:
    save(config, f'routing: {{max_attempts: 3, x: "{canary}"\n')


def schema(config: Path, canary: str) -> None:
    save(config, json.dumps({"routing": {"max_attempts": canary}}))


def unreadable(config: Path, _: str) -> None:
    config.unlink()
    config.mkdir()


def half(config: Path, _: str) -> None:
    save(config, config.read_text()[:-40])


def unknown(config: Path, canary: str) -> None:
    save(config, json.dumps({canary: 1}))


KINDS: Final = {f.__name__: f for f in (syntax, schema, unreadable, half, unknown)}


@INVALID.case(dialects=ONE, each=KINDS)
async def is_invalid(case: Case, spoil: Any) -> None:
    bench = await case.bench(case.good, routing=PATIENT)
    server, before = bench.server, bench.server.daemon.store.current
    told: asyncio.Queue[bool] = asyncio.Queue()
    server.daemon.store.on_reload(lambda status: told.put_nowait(status.ok))
    good, lines, canary = server.config.read_text(), Lines(), case.canaries.text("value")
    logger = logging.getLogger("redeo.config")
    logger.addHandler(lines)
    try:
        spoil(server.config, canary)
        assert not await asyncio.wait_for(told.get(), 10)
        assert server.daemon.store.current is before
        assert (await case.ask()).attempts == "alpha=200"
        assert await server.metric("redeo_config_last_reload_ok") == 0
        assert await server.metric("redeo_config_reload_failures_total") == 1
        assert len(lines.said) == 1, lines.said
        assert str(server.config) in lines.said[0]
        assert canary not in lines.said[0]
    finally:
        logger.removeHandler(lines)
    if server.config.is_dir():
        server.config.rmdir()
    save(server.config, good)
    assert await asyncio.wait_for(told.get(), 10)
    assert await server.metric("redeo_config_last_reload_ok") == 1
    assert (await case.ask()).attempts == "alpha=200"


@OFTEN.case(dialects=ONE, whole=False)
async def very_often(case: Case) -> None:
    go = asyncio.Event()
    go.set()
    up = await case.provider(held(go))
    async with service(case, places(up)) as found:
        stop, statuses = asyncio.Event(), list[int]()

        async def client() -> None:
            while not stop.is_set():
                visitor = await found.visit(stream=case.streamed)
                await visitor.read_until(b"0\r\n\r\n" if case.streamed else b'"finish_reason"')
                statuses.append(visitor.answer().status)
                visitor.leave()

        settings = json.loads(found.process.config.read_text())

        async def reloads(first: int, count: int) -> None:
            for number in range(first, first + count):
                settings["models"] = {f"name-{number}": ["chat/m"]}
                settings["limits"] = {"max_in_flight": 100 + number}
                await reloaded(number)

        async def reloaded(number: int) -> None:
            generation = await found.metric("redeo_config_generation")
            save(found.process.config, json.dumps(settings))
            found.signal(signal.SIGHUP)
            while await found.metric("redeo_config_generation") == generation:
                pass

        asking = asyncio.create_task(client())
        await reloads(0, RELOADS // 3)
        memory, files = found.memory, found.files
        await reloads(RELOADS // 3, RELOADS - RELOADS // 3)
        assert found.memory - memory < 2 << 20
        stop.set()
        await asking
        await until(lambda: found.files <= files)
        assert len(statuses) > 20
        assert set(statuses) == {200}
        assert await found.metric("redeo_config_last_reload_ok") == 1
        assert await found.metric('redeo_config_reloads_total{result="failed"}') == 0
        models = [model["id"] for model in (await found.request("GET", "/v1/models"))[1]["data"]]
        assert [name for name in models if name.startswith("name-")] == [f"name-{RELOADS - 1}"]
