"""`routing.hedge_after`: a second connection is asked when the first is silent; whoever speaks first answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.daemon import FAST
from tests.support.speech import CHAT, Speech, outcome
from tests.support.upstream import Received, Wire, chat, chat_events, drop, error, hang, stream

SLOW_CLOCKS = {**FAST, "first_byte": 3, "idle": 3, "before_answer": 6}
HEDGED = {"routing": {"hedge_after": 0.05, "timeouts": SLOW_CLOCKS}}
STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])


def held(gate: asyncio.Event, script: Any) -> Any:
    """The script once the gate is open."""

    async def held_back(received: Received, wire: Wire) -> None:
        await gate.wait()
        await script(received, wire)

    return held_back


@STREAMED
async def test_the_second_answers_where_the_first_is_silent(bench: Any, speech: Speech, streamed: bool) -> None:
    b = await bench(hang(), speech.good(), speech=speech, **HEDGED)
    got = await b.ask(stream=streamed)
    assert got.status == 200, got.body
    assert got.attempts == "alpha=hedged beta=200"
    assert got.headers["x-redeo-provider"] == "beta"
    assert len(b.p.requests) == len(b.s.requests) == 1
    await b.p.wait_closed()
    assert await b.server.metric(outcome("alpha", "hedged")) == 1
    assert await b.server.metric(outcome("beta", "ok")) == 1
    assert await b.server.metric('redeo_fallbacks_total{reason="hedge",source="alpha",target="beta"}') == 1


@STREAMED
async def test_the_first_answers_where_it_is_faster_after_all(bench: Any, streamed: bool) -> None:
    gate = asyncio.Event()
    b = await bench(held(gate, chat("first")), hang(), **HEDGED)
    asking = asyncio.ensure_future(b.ask(stream=streamed))
    await b.s.wait_requests()
    gate.set()
    got = await asking
    assert got.attempts == "alpha=200 beta=hedged"
    assert got.headers["x-redeo-provider"] == "alpha"
    await b.s.wait_closed()


async def test_nobody_else_is_asked_where_the_first_answers_at_once(bench: Any) -> None:
    b = await bench(chat("first"), chat("second"), **HEDGED)
    for streamed in (False, True):
        assert (await b.ask(stream=streamed)).attempts == "alpha=200"
    assert not b.s.requests


async def test_who_has_begun_to_answer_is_not_overtaken(bench: Any) -> None:
    gate = asyncio.Event()
    b = await bench(stream(chat_events("be", "gun"), pause=(2, gate)), chat("second"), **HEDGED)
    asking = asyncio.ensure_future(b.ask(stream=True))
    await b.p.wait_requests()
    await asyncio.sleep(0.15)  # three times as long as it takes to hedge: nothing tells that nothing happens
    gate.set()
    assert (await asking).attempts == "alpha=200"
    assert not b.s.requests


async def test_a_failure_of_one_leaves_the_other_to_answer(bench: Any) -> None:
    gate, second = asyncio.Event(), asyncio.Event()
    b = await bench(held(gate, error(500)), held(second, chat("second")), **HEDGED)
    asking = asyncio.ensure_future(b.ask())
    await b.s.wait_requests()
    gate.set()
    await b.p.wait_closed() if not b.p.requests else None
    second.set()
    got = await asking
    assert got.status == 200
    assert got.headers["x-redeo-provider"] == "beta"
    assert got.attempts in ("alpha=500 beta=200", "alpha=hedged beta=200")


async def test_when_both_fail_the_third_is_asked(bench: Any) -> None:
    b = await bench(held(asyncio.Event(), chat()), drop(), chat("third"), **HEDGED)
    got = await b.ask()
    assert got.status == 200
    assert got.headers["x-redeo-provider"] == "gamma"


async def test_the_clients_own_mistake_ends_it(bench: Any) -> None:
    wrong = error(400, "invalid_request_error", "wrong")
    b = await bench(hang(), wrong, chat("third"), **HEDGED)
    got = await b.ask()
    assert (got.status, got.attempts) == (400, "alpha=hedged beta=400")
    await b.p.wait_closed()
    assert not b.ups["gamma"].requests


async def test_what_acts_is_not_asked_twice(bench: Any) -> None:
    gate = asyncio.Event()
    b = await bench(held(gate, chat("first")), chat("second"), **HEDGED)
    asking = asyncio.ensure_future(b.ask(store=True))
    await b.p.wait_requests()
    await asyncio.sleep(0.15)
    gate.set()
    assert (await asking).attempts == "alpha=200"
    assert not b.s.requests


async def test_a_client_that_leaves_ends_both(bench: Any) -> None:
    b = await bench(hang(), hang(), speech=CHAT, **HEDGED)
    asking = asyncio.ensure_future(b.ask())
    await b.s.wait_requests()
    asking.cancel()
    await b.p.wait_closed()
    await b.s.wait_closed()
    b.left, b.beside = 1, 1
    while b.server.daemon.front.engine.running:
        await asyncio.sleep(0.005)
    assert await b.server.metric(outcome("alpha", "client_gone")) == 1
    assert await b.server.metric(outcome("beta", "client_gone")) == 1


async def test_a_stream_that_hedged_ends_with_our_error_when_the_drain_is_over(bench: Any) -> None:
    b = await bench(hang(), stream(chat_events("be")[:2], ending="hang"), **HEDGED)
    asking = asyncio.ensure_future(b.ask(stream=True))
    while await b.server.metric(outcome("alpha", "hedged")) != 1:
        await asyncio.sleep(0.005)
    b.server.daemon.front.engine.interrupt()
    got = await asking
    assert CHAT.error_of(got.body)["code"] == "gateway_shutting_down"


async def test_extra_attempts_are_few(bench: Any) -> None:
    b = await bench(hang(), hang(), routing={"hedge_after": 0.05, "timeouts": {**FAST, "before_answer": 1}})
    got = await asyncio.gather(*(b.ask() for _ in range(12)))
    assert {one.status for one in got} == {504}
    assert len(b.s.requests) <= 12
