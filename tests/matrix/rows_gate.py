"""Rows 36 to 39: the breaker and its probe, a provider that flaps, too many requests, too few descriptors."""

from __future__ import annotations

import asyncio
import random
import resource
import time
from collections.abc import Callable
from itertools import cycle
from typing import Final

from tests.matrix.framework import CHAT, ONE, Case, Row
from tests.matrix.service import PATIENT, answers, crowd, held, places, service, until
from tests.support.upstream import Received, Wire, error, hang
from tests.support.visitor import Visitor

BREAKER: Final = Row(
    36, "five failures in a row", "the next one serves; after 30 s one probe of 100 requests; then back"
)
FLAPPING: Final = Row(37, "a provider that fails every second time", "at most 1.2 attempts per request over 1,000")
SHEDDING: Final = Row(38, "more requests than are served", "503 within 1.1 s, Retry-After: 1; admin and health answer")
DESCRIPTORS: Final = Row(39, "20 descriptors left", "who was taken is served, the others wait; back within 2 s")
ROOM: Final = 20


@BREAKER.case()
async def one_probe(case: Case) -> None:
    go, failing = asyncio.Event(), True

    async def script(received: Received, wire: Wire) -> None:
        if failing:
            await error(500)(received, wire)
            return
        await go.wait()
        await case.speech.good("back")(received, wire)

    bench = await case.bench(script, case.good, routing=PATIENT)
    for _ in range(5):
        await case.moves_on("500", "upstream_5xx")

    assert (await case.ask()).attempts == "beta=200"
    failing = False
    case.shift(30 * 0.8 - 1)
    assert (await case.ask()).attempts == "beta=200", "not yet"
    case.shift(30 * 0.4 + 1)
    asking = [asyncio.create_task(case.ask()) for _ in range(100)]
    await bench.p.wait_requests(6)
    await until(lambda: sum(task.done() for task in asking) == 99)
    assert len(bench.p.requests) == 6, "one probe"
    go.set()
    got = [answer.attempts for answer in await asyncio.gather(*asking)]
    assert sorted(got) == ["alpha=200"] + ["beta=200"] * 99
    assert await case.state() == "closed"
    assert (await case.ask()).attempts == "alpha=200"


@BREAKER.case(dialects=ONE)
async def a_probe_that_fails(case: Case) -> None:
    bench = await case.bench(error(500), case.good)
    for _ in range(5):
        await case.moves_on("500", "upstream_5xx")
    case.shift(30 * 1.2 + 1)
    await case.moves_on("500", "upstream_5xx")
    case.shift(60 * 0.8 - 1)
    assert (await case.ask()).attempts == "beta=200", "twice as long as before"
    assert len(bench.p.requests) == 6
    case.shift(60 * 0.4 + 1)
    await case.moves_on("500", "upstream_5xx")


def every_second() -> Callable[[], bool]:
    """Whether the provider fails now: every second time."""
    turns = cycle((True, False))
    return lambda: next(turns)


def half_of_the_time() -> Callable[[], bool]:
    """Whether the provider fails now: by chance."""
    chance = random.Random(37)
    return lambda: chance.random() < 0.5


@FLAPPING.case(dialects=ONE, stream=False, each={"in turn": every_second, "by chance": half_of_the_time})
async def flaps(case: Case, pattern: Callable[[], Callable[[], bool]]) -> None:
    fails, good, refuse = pattern(), case.good, error(503)

    async def script(received: Received, wire: Wire) -> None:
        await (refuse if fails() else good)(received, wire)

    up, other = await case.provider(script), await case.provider(good)
    server = await case.redeo({"alpha": up, "beta": other}, routing=PATIENT)
    health, passed = server.daemon.front.engine.health, 0.0
    now = health._now
    health._now = lambda: now() + passed
    attempts = 0
    for _ in range(1000):
        got = await server.request("POST", case.speech.path, json=case.speech.body)
        assert got.status == 200
        attempts += len(got.attempts.split())
        passed += 0.5
    assert 1000 < attempts <= 1200
    assert len(up.requests) + len(other.requests) == attempts
    assert len(up.requests) > 10, "it is probed again and again"


@SHEDDING.case()
async def is_full(case: Case) -> None:
    waits = 0.2 if case.streamed else 1.0
    limits = {"max_in_flight": 2, "max_queue": 2, "queue_seconds": waits}
    bench = await case.bench(hang(), routing=PATIENT, limits=limits)
    server, running = bench.server, [asyncio.create_task(case.ask()) for _ in range(2)]
    await bench.p.wait_requests(2)
    began = time.monotonic()
    path, body = case.speech.asked(stream=case.streamed, **case.prompt())
    refused = [asyncio.create_task(server.request("POST", path, json=body)) for _ in range(4)]
    for admin in ("/healthz", "/readyz", "/metrics", "/v1/providers", "/v1/providers/catalog"):
        assert (await server.request("GET", admin)).status == 200, admin
    assert (await server.request("PATCH", "/v1/providers/alpha", json={"priority": 3})).status == 200
    for got in await asyncio.gather(*refused):
        assert (got.status, got.json["error"].get("code", "gateway_overloaded")) == (503, "gateway_overloaded")
        assert got.headers["retry-after"] == "1"
        assert got.headers["x-should-retry"] == "true"
        case.judge(got)
    assert waits <= time.monotonic() - began < waits + 1, "1.1 s by the specification"
    assert await server.metric('redeo_rejected_total{reason="gateway_overloaded"}') == 4
    assert await case.state() == "closed"
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await until(lambda: not server.daemon.front.active)
    bench.left = 2


@DESCRIPTORS.case(mixed=True, whole=False)
async def runs_out_of_descriptors(case: Case) -> None:
    go = asyncio.Event()
    up = await case.provider(held(go))
    async with service(case, places(up)) as found:
        (_, first), *_ = visitors = await crowd(found, up, 3, stream=True)  # it has opened what it needs by now
        pid, soft = found.process.process.pid, resource.prlimit(found.process.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (found.files + ROOM, soft[1]))
        visitors += [(CHAT, await found.visit(stream=case.streamed)) for _ in range(3 * ROOM)]
        taken = -1
        while len(up.requests) != taken:  # until nobody is taken any more
            taken = len(up.requests)
            await asyncio.sleep(0.3)
        assert 3 < taken < len(visitors)
        go.set()
        for speech, visitor in visitors:
            await asyncio.wait_for(visitor.read_until(b"0\r\n\r\n" if b"chunked" in visitor.got else b"finish"), 15)
            visitor.half_close()
            case.judge(visitor.answer(), speech) if visitor is first else None
        for speech, answer in await answers(visitors):
            assert answer.status == 200
            assert not answer.broken
            case.judge(answer, speech)
        began = time.monotonic()
        assert (await found.request("GET", "/readyz"))[0] == 200
        assert time.monotonic() - began < 2
        assert len(up.requests) == len(visitors)
        lines = [line for line in found.process.log.splitlines() if '"redeo.request"' not in line]
        assert any("new connections have to wait" in line for line in lines)
        assert len(lines) < 20
        states = str((await found.request("GET", "/metrics"))[1])
        assert 'redeo_breaker_state{connection="chat",state="closed"} 1.0' in states


@DESCRIPTORS.case(dialects=ONE, stream=False)
async def others_are_idle(case: Case) -> None:
    """Connections on which nothing is asked give way; a head that has begun does not."""
    go = asyncio.Event()
    go.set()
    async with service(case, places(await case.provider(held(go)))) as found:
        begun = await Visitor.connect(found)
        await begun.send(b"GET /healthz HTTP/1.1\r\n")
        pid = found.process.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (found.files + ROOM, hard))
        idle = [await Visitor.connect(found) for _ in range(ROOM + 5)]
        for visitor in idle[::2]:
            await visitor.send(Visitor.request(found, "GET", "/healthz"))
        late = await found.visit(stream=False)
        await asyncio.wait_for(late.read_until(b'"finish_reason"'), 15)
        await begun.send(b"host: localhost\r\n\r\n")
        await begun.read_until(b'"ok"')
        for visitor in (begun, late, *idle):
            visitor.leave()
