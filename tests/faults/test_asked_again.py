"""A question that is asked once more without what another provider sealed, beside hedging and rescue."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.dialects.test_whose_reasoning import THOUGHT
from tests.faults.test_hedging import HEDGED, held
from tests.support.daemon import FAST, Answer, Redeo
from tests.support.speech import ANTHROPIC
from tests.support.streams import text_of
from tests.support.upstream import Received, Script, Wire, error, hang, stream

REFUSED = error(400, "invalid_request_error", "messages.1: Invalid `signature` in `thinking` block")
TURNS = [
    {"role": "user", "content": "1 + 2?"},
    {"role": "assistant", "content": [THOUGHT, {"type": "text", "text": "3"}]},
    {"role": "user", "content": "sure?"},
]


def in_turn(*scripts: Script) -> Script:
    """One after the other."""
    left = list(scripts)

    async def script(received: Received, wire: Wire) -> None:
        await left.pop(0)(received, wire)

    return script


async def ask(server: Redeo) -> Answer:
    return await server.request("POST", ANTHROPIC.path, json={**ANTHROPIC.body, "messages": TURNS, "stream": True})


async def test_who_was_left_meanwhile_answers_where_it_fails(redeo: Any, provider: Any) -> None:
    gate = asyncio.Event()
    first = await provider(in_turn(held(gate, REFUSED), error(500)))
    second = await provider(in_turn(hang(), ANTHROPIC.good("sure")))
    server = await redeo({"alpha": ANTHROPIC.entry(first), "beta": ANTHROPIC.entry(second)}, **HEDGED)
    asking = asyncio.ensure_future(ask(server))
    await second.wait_requests()
    gate.set()
    got = await asking
    assert (got.status, got.attempts) == (200, "alpha=400 beta=hedged alpha=500 beta=200")
    assert text_of(ANTHROPIC, got.body) == "sure"
    assert await server.metric('redeo_fallbacks_total{reason="hedge",source="alpha",target="beta"}') == 1
    assert await server.metric('redeo_fallbacks_total{reason="client_invalid",source="alpha",target="alpha"}') == 1
    assert await server.metric('redeo_fallbacks_total{reason="upstream_5xx",source="alpha",target="beta"}') == 1


async def test_its_answer_is_gone_on_with_where_it_breaks_off(redeo: Any, provider: Any) -> None:
    broken = stream(ANTHROPIC.opening("It is "), ending="fin")
    ups = await provider(in_turn(REFUSED, broken)), await provider(ANTHROPIC.good("three."))
    entries = {n: {**ANTHROPIC.entry(up), "continues": "prefill"} for n, up in zip(("alpha", "beta"), ups, strict=True)}
    server = await redeo(entries, routing={"rescue": True, "timeouts": FAST})
    got = await ask(server)
    assert ANTHROPIC.endings(got.body) == (1, 0), got.body
    assert text_of(ANTHROPIC, got.body) == "It is three."


async def test_the_first_content_is_that_of_the_first(redeo: Any, provider: Any) -> None:
    """What is said before it breaks off is neither a wait for the first content nor work of the daemon's."""

    async def long(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        for data in ANTHROPIC.opening("It ", "is "):
            await wire.chunk(data)
        await asyncio.sleep(1.2)
        wire.close()

    ups = await provider(long), await provider(ANTHROPIC.good("three."))
    entries = {n: {**ANTHROPIC.entry(up), "continues": "prefill"} for n, up in zip(("alpha", "beta"), ups, strict=True)}
    server = await redeo(entries, routing={"rescue": True, "timeouts": {**FAST, "idle": 5}})
    got = await ask(server)
    assert text_of(ANTHROPIC, got.body) == "It is three."
    assert await server.metric('redeo_time_to_first_token_seconds_count{connection="alpha"}') == 1
    assert await server.metric("redeo_time_to_first_token_seconds_sum") < 1.2
    assert await server.metric("redeo_overhead_seconds_sum") < 1.2
