"""What else `routing.hedge_after` meets: other settings, other ends, other orders."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from config.model import Operation
from proxy.dialects.envelope import Form
from proxy.engine.call import Call
from proxy.engine.engine import Engine
from proxy.engine.job import Job
from proxy.engine.trial import Trial
from proxy.fault import Exchange, Fault, FaultKind, Start
from proxy.front.reply import HttpReply
from proxy.routing import Candidate
from tests.faults.test_hedging import HEDGED, SLOW_CLOCKS, held
from tests.support.daemon import FAST
from tests.support.speech import CHAT, outcome, total
from tests.support.upstream import answer, chat, chat_events, hang, stream

TOO_LONG = answer({"error": {"message": "too long", "code": "context_length_exceeded"}}, 400)


def sized(base: str, tokens: int) -> dict[str, Any]:
    return {"base_url": base, "context_tokens": tokens}


@pytest.mark.parametrize("first", [8, 32], ids=["the hedge is larger", "the first is larger"])
async def test_who_reads_more_and_is_asked_already_is_waited_for(redeo: Any, provider: Any, first: int) -> None:
    small_said, large = asyncio.Event(), asyncio.Event()
    scripts = {8: held(small_said, TOO_LONG), 32: held(large, chat("long"))}
    ups = {size: await provider(script) for size, script in scripts.items()}
    second = 40 - first
    entries = {"alpha": sized(ups[first].base_url, first), "beta": sized(ups[second].base_url, second)}
    server = await redeo(entries, **HEDGED)
    asking = asyncio.ensure_future(server.chat())
    await ups[second].wait_requests()
    small_said.set()
    while await server.metric("redeo_requests_in_flight") and not asking.done():
        attempts = total(await server.metrics(), "redeo_attempts_total")
        if attempts == 1:  # the smaller one has said so
            large.set()
        await asyncio.sleep(0.005)
    got = await asking
    assert got.status == 200, got.body


async def test_a_hedge_passes_over_the_connection_that_is_asked_already(redeo: Any, provider: Any) -> None:
    silent, second = await provider(hang()), await provider(chat("second"))
    models = {"both": ["alpha/one", "alpha/two", "beta/one"]}
    server = await redeo({"alpha": silent, "beta": second}, models=models, **HEDGED)
    got = await server.chat("both")
    assert (got.status, got.attempts) == (200, "alpha=hedged beta=200")
    assert len(silent.requests) == 1


async def test_the_wait_for_who_is_silent_is_no_overhead(bench: Any) -> None:
    b = await bench(hang(), CHAT.good(), routing={"hedge_after": 1.5, "timeouts": SLOW_CLOCKS})
    assert (await b.ask(stream=True)).attempts == "alpha=hedged beta=200"
    assert await b.server.metric("redeo_overhead_seconds_sum") < 1.5  # of these none was the daemon's


async def test_who_was_slower_goes_on_with_what_breaks_off(redeo: Any, provider: Any) -> None:
    gate = asyncio.Event()
    first = await provider(held(gate, stream(CHAT.opening("Once upon "), ending="fin")))

    async def second(received: Any, wire: Any) -> None:
        await (hang() if len(up.requests) == 1 else stream(chat_events("a time.")))(received, wire)

    up = await provider(second)
    entries = {n: {"base_url": u.base_url, "continues": "prefill"} for n, u in (("alpha", first), ("beta", up))}
    server = await redeo(entries, routing={"hedge_after": 0.05, "rescue": True, "timeouts": FAST | {"first_byte": 3}})
    asking = asyncio.ensure_future(server.chat(stream=True))
    await up.wait_requests()
    gate.set()
    got = await asking
    assert CHAT.endings(got.body) == (1, 0), got.body
    assert got.attempts == "alpha=200 beta=hedged"
    assert len(up.requests) == 2
    assert await server.metric('redeo_rescues_total{result="ok",source="alpha",target="beta"}') == 1


async def test_what_is_cancelled_before_it_ran_is_accounted(bench: Any) -> None:
    """A hedge that is let through in the very turn in which the first one speaks."""
    b = await bench(CHAT.good(), CHAT.good(), **HEDGED)
    engine: Engine = b.server.daemon.front.engine
    snapshot = b.server.daemon.store.current
    connection = snapshot.connection("beta")
    exchange = Exchange("req_1", "chat", "openai", False, engine.now())
    job = Job(engine, call(), snapshot, cast(HttpReply, None), exchange)
    ticket, place = engine.health.admit(connection, "m"), engine.budget.take()
    assert ticket is not None
    trial = Trial(job, Candidate(connection, "m"), None, ticket, place, start=Start.HEDGE)
    task = trial.begin()
    trial.attempt.fault = Fault(FaultKind.HEDGED, "another one was faster")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert trial.attempt.ended is not None
    places = [engine.budget.take() for _ in range(4)]
    assert [one is not None for one in places] == [True, True, True, False]
    for one in places[:3]:
        assert one is not None
        one.give()
    assert not b.s.requests
    assert await b.server.metric(outcome("beta", "hedged")) == 1
    b.beside = 1


def call() -> Call:
    body = b'{"model":"auto","messages":[]}'
    fields = frozenset({"model", "messages"})
    return Call(
        "req_1", Operation.CHAT, Form.OPENAI, "POST", "", "", (), body, "application/json", "auto", False, None, fields
    )
