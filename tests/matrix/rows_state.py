"""Rows 47, 48 and 50: the disk does not take a change, the wall clock jumps, two people change the same connection."""

from __future__ import annotations

import asyncio
import errno
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

from msgspec.structs import force_setattr

from tests.matrix.framework import ONE, Case, Row
from tests.rooms.config.disk import disk
from tests.support.speech import Bench
from tests.support.upstream import Received, Wire, answer, error

DISK: Final = Row(47, "the disk takes no change", "507 or 503; the old state in memory and on disk; inference goes on")
CLOCK: Final = Row(48, "the clock jumps by an hour", "who rests, rests as long as before")
WRITERS: Final = Row(50, "two admin writers", "of two with the same If-Match one gets 200, the other 412")

ERRORS: Final = {errno.errorcode[number]: number for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)}
CHANGES: Final[tuple[tuple[str, str, Any], ...]] = (
    ("PATCH", "/v1/providers/alpha", {"priority": 7}),
    ("DELETE", "/v1/providers/alpha", None),
)


@DISK.case(dialects=ONE, each=ERRORS)
async def takes_no_change(case: Case, number: int) -> None:
    """At every step of a change that touches the disk, one after the other."""
    bench = await case.bench(case.good, case.good)
    server = bench.server
    for method, where, body in CHANGES:
        with disk() as seen:
            assert (await server.request(method, where, json=body)).status == 200
        await again(bench)
        refusals = 0
        for at in range(len(seen.steps)):
            before = await state(bench)
            with disk(at=at, fault=number) as seen:
                got = await server.request(method, where, json=body)
            if got.status == 200:
                assert seen.failed in ("link", "unlink"), "what matters more is not passed over"
                await again(bench)
                continue
            assert got.status == (507 if number in (errno.ENOSPC, errno.EDQUOT) else 503), seen.failed
            assert "Nothing was changed" in got.json["error"]["message"]
            assert await state(bench) == before
            refusals += 1
        assert refusals >= 4, "it opens, writes, syncs and renames"
        assert (await case.ask()).attempts == "alpha=200"
    assert await case.state() == "closed"


async def state(bench: Bench) -> tuple[bytes, bytes]:
    """What is in force, as listed, and what stands on the disk."""
    listed = await bench.server.request("GET", "/v1/providers")
    return listed.body, (bench.server.state / "connections.yaml").read_bytes()


async def again(bench: Bench) -> None:
    """After a change that went well, the connection is there and first again."""
    assert (await bench.server.connect("alpha", priority=1)).status in (200, 201)


@DISK.case(dialects=ONE, stream=False)
async def takes_nothing_any_more(case: Case) -> None:
    """It fails behind the rename, and there is no way back either: what is said of it is true all the same."""
    bench = await case.bench(case.good, case.good)
    server, said = bench.server, set[object]()
    with disk() as seen:
        assert (await server.request("PATCH", "/v1/providers/alpha", json={"priority": 7})).status == 200
    for at in range(len(seen.steps)):
        await again(bench)
        before = await state(bench)
        with disk(at=at, fault=errno.EIO, lasting=True) as seen:
            got = await server.request("PATCH", "/v1/providers/alpha", json={"priority": 7})
        said.add(got.status)
        if got.status == 503 and "Nothing was changed" in got.json["error"]["message"]:
            assert await state(bench) == before
        elif got.status == 503:
            said.add("unsure")
            assert "Read the connection again" in got.json["error"]["message"]
            assert await server.daemon.store.reload() == []
            assert (await server.request("GET", "/v1/providers/alpha")).json["priority"] == 7
    assert said == {200, 503, "unsure"}


@DISK.case(dialects=ONE, whole=False)
async def while_streams_run(case: Case) -> None:
    go = asyncio.Event()

    async def script(received: Received, wire: Wire) -> None:
        events = case.speech.events("one", "two")
        await wire.head(200, {"content-type": "text/event-stream"})
        for event in events[:2]:
            await wire.chunk(event)
        await go.wait()
        for event in events[2:]:
            await wire.chunk(event)
        await wire.end()

    bench = await case.bench(script, routing={"timeouts": {"first_byte": 9, "idle": 9}})
    running = [asyncio.create_task(case.ask()) for _ in range(10)]
    await bench.p.wait_requests(10)
    with disk(at=0, fault=errno.ENOSPC, lasting=True):
        assert (await bench.server.request("PATCH", "/v1/providers/alpha", json={"priority": 9})).status == 507
    go.set()
    for got in await asyncio.gather(*running):
        assert case.speech.endings(got.body) == (1, 0)


# --- the wall clock


@CLOCK.case(each={"forward": 1, "back": -1})
async def jumps(case: Case, way: int) -> None:
    """While it rests, and while it says until when: its own `Date` stands beside that."""
    resting = datetime.now(UTC).replace(microsecond=0)
    until = format_datetime(resting + timedelta(seconds=60), usegmt=True)
    said = {"date": format_datetime(resting, usegmt=True), "retry-after": until}
    body = {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}
    bench = await case.bench(answer(body, 429, said), case.good)
    wall(bench, way)
    assert (await case.ask()).attempts == "alpha=429 beta=200"
    assert await case.state() == "cooling"
    bench.p.scripts = [case.good]
    for passed in (30, 29):
        case.shift(passed)
        assert (await case.ask()).attempts == "beta=200"
        wall(bench, -way)
        assert (await case.ask()).attempts == "beta=200"
    case.shift(1.5)
    assert (await case.ask()).attempts == "alpha=200"


@CLOCK.case(dialects=ONE, each={"forward": 1, "back": -1})
async def jumps_while_a_breaker_is_open(case: Case, way: int) -> None:
    bench = await case.bench(error(500), case.good)
    for _ in range(5):
        await case.moves_on("500", "upstream_5xx")
    wall(bench, way)
    assert (await case.ask()).attempts == "beta=200"
    bench.p.scripts = [case.good]
    case.shift(37)
    assert (await case.ask()).attempts == "alpha=200"


def wall(bench: Bench, way: int) -> None:
    """Let the daemon's wall clock be an hour ahead, or behind."""
    attempter = bench.server.daemon.front.engine.attempter
    force_setattr(attempter, "wall", lambda: datetime.now(UTC) + timedelta(hours=way))


# --- two writers


@WRITERS.case(dialects=ONE, whole=True, stream=False)
async def two_at_once(case: Case) -> None:
    server = await case.redeo({"alpha": await case.provider(case.good)})
    for number in range(20):
        shown = await server.request("GET", "/v1/providers/alpha")
        match = {"If-Match": shown.headers["etag"]}
        priorities = (2 * number, 2 * number + 1)
        got = await asyncio.gather(
            *(
                server.request("PATCH", "/v1/providers/alpha", json={"priority": priority}, headers=match)
                for priority in priorities
            )
        )
        assert sorted(answer.status for answer in got) == [200, 412]
        won = priorities[[answer.status for answer in got].index(200)]
        listed = (await server.request("GET", "/v1/providers")).json["data"]
        assert [entry["priority"] for entry in listed] == [won]
        assert server.daemon.store.current.connections[0].priority == won
        assert f"priority: {won}\n" in (server.state / "connections.yaml").read_text()


@WRITERS.case(dialects=ONE, whole=True, stream=False)
async def one_of_them_removes(case: Case) -> None:
    server = await case.redeo({"alpha": await case.provider(case.good)})
    for _ in range(5):
        match = {"If-Match": (await server.request("GET", "/v1/providers/alpha")).headers["etag"]}
        patch = server.request("PATCH", "/v1/providers/alpha", json={"priority": 3}, headers=match)
        got = await asyncio.gather(server.request("DELETE", "/v1/providers/alpha", headers=match), patch)
        statuses = [answer.status for answer in got]
        listed = (await server.request("GET", "/v1/providers")).json["data"]
        assert (statuses, len(listed)) in (([200, 404], 0), ([412, 200], 1))
        if not listed:
            await server.connect("alpha")
