"""How many attempts beyond the first are made at the same time, at connections that are not known to be well."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.daemon import UNHURRIED
from tests.support.upstream import Received, Wire, chat, error

PATIENT = {"timeouts": UNHURRIED}
MANY = 40
SHARE = MANY // 5


class Crowd:
    """A provider that answers when it is told, and counts how many wait for it at the same time."""

    def __init__(self, script: Any) -> None:
        self._script = script
        self.gate = asyncio.Event()
        self.now = self.most = 0

    async def __call__(self, received: Received, wire: Wire) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.gate.wait()
        self.now -= 1
        await self._script(received, wire)


def failing() -> Any:
    return error(500, "server_error", "it failed")


async def test_a_connection_of_which_nothing_is_known_is_tried_by_a_few_first(bench: Any) -> None:
    crowd = Crowd(chat())
    b = await bench(failing(), crowd, routing=PATIENT)
    asking = [asyncio.ensure_future(b.ask()) for _ in range(MANY)]
    await b.s.wait_requests(SHARE)
    await asyncio.sleep(0.1)  # whoever does not wait comes now
    assert crowd.now == SHARE
    crowd.gate.set()
    got = await asyncio.gather(*asking)
    assert {one.status for one in got} == {200}  # nobody fails for want of a place


async def test_one_that_has_answered_takes_whatever_comes(bench: Any) -> None:
    crowd = Crowd(chat())
    b = await bench(failing(), crowd, routing=PATIENT)
    crowd.gate.set()
    assert (await b.ask()).attempts == "alpha=500 beta=200"
    crowd.gate.clear()
    asking = [asyncio.ensure_future(b.ask()) for _ in range(MANY)]
    await b.s.wait_requests(1 + MANY)
    crowd.gate.set()
    assert {one.status for one in await asyncio.gather(*asking)} == {200}


async def test_where_all_fail_each_is_told_soon(bench: Any) -> None:
    b = await bench(failing(), failing(), routing=PATIENT)
    got = await asyncio.gather(*(b.ask() for _ in range(MANY)))
    assert {one.status for one in got} == {502}
    assert len(b.s.requests) <= 2 * SHARE  # its breaker opens meanwhile


async def test_a_client_that_leaves_while_it_waits_is_not_asked_for(bench: Any) -> None:
    first, crowd = Crowd(failing()), Crowd(chat())
    b = await bench(first, crowd, routing=PATIENT)
    asking = {str(n): asyncio.ensure_future(b.ask(user=str(n))) for n in range(MANY)}
    await b.p.wait_requests(MANY)  # all of them, before its breaker opens
    first.gate.set()
    await b.s.wait_requests(SHARE)
    while await b.metric_sum("redeo_attempts_total", 'connection="alpha"') < MANY:
        await asyncio.sleep(0.005)
    asked = [asking.pop(received.json["user"]) for received in b.s.requests]
    for task in asking.values():
        task.cancel()
    while len(b.server.daemon.front.engine.running) > SHARE:  # that a client has left shows a moment later
        await asyncio.sleep(0.005)
    crowd.gate.set()
    assert {one.status for one in await asyncio.gather(*asked)} == {200}
    assert len(b.s.requests) == SHARE
    b.left = MANY - SHARE
