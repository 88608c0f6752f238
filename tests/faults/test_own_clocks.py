"""Clocks of one connection and of one of its models, beside those of all."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.daemon import FAST
from tests.support.upstream import Received, Upstream, Wire, chat, chat_events, hang, stream

WIDE = {**FAST, "first_byte": 30, "idle": 30, "total": 30, "before_answer": 60}


def late(seconds: float) -> Any:
    """Answers after so long."""

    async def script(received: Received, wire: Wire) -> None:
        await asyncio.sleep(seconds)
        await chat("late")(received, wire)

    return script


async def asked(redeo: Any, first: Upstream, second: Upstream, clocks: dict[str, Any], base: dict[str, Any]) -> Any:
    return await redeo(
        {"alpha": {"base_url": first.base_url, **clocks}, "beta": {"base_url": second.base_url}},
        routing={"timeouts": base},
    )


async def test_a_connection_has_a_shorter_clock(redeo: Any, provider: Any) -> None:
    server = await asked(redeo, await provider(hang()), await provider(chat()), {"timeouts": {"first_byte": 0.2}}, WIDE)
    assert (await server.chat()).attempts == "alpha=timeout beta=200"


async def test_a_model_has_a_longer_clock_than_all_attempts_together(redeo: Any, provider: Any) -> None:
    clocks = {"model_timeouts": {"slow-*": {"first_byte": 5}}}
    base = {**FAST, "first_byte": 0.2, "before_answer": 0.3}
    server = await asked(redeo, await provider(late(0.6)), await provider(chat()), clocks, base)
    assert (await server.chat("alpha/slow-thinker")).attempts == "alpha=200"
    assert (await server.chat("alpha/other")).attempts == "alpha=timeout"


async def test_the_models_clock_counts_before_the_connections(redeo: Any, provider: Any) -> None:
    clocks = {"timeouts": {"first_byte": 0.1}, "model_timeouts": {"slow-*": {"first_byte": 5}}}
    server = await asked(redeo, await provider(late(0.3)), await provider(chat()), clocks, WIDE)
    assert (await server.chat("alpha/slow-thinker")).attempts == "alpha=200"


async def test_the_clock_between_two_pieces(redeo: Any, provider: Any) -> None:
    first = await provider(stream(chat_events("be", done=False, finish=False), ending="hang"))
    server = await asked(redeo, first, await provider(chat()), {"timeouts": {"idle": 0.2}}, WIDE)
    got = await server.chat("alpha/m", stream=True)
    assert b"upstream_stalled" in got.body


async def test_who_was_given_hardly_any_time_is_not_blamed_for_it(bench: Any) -> None:
    """The first took nearly all of the time: that the second was silent for the rest says little of it."""
    b = await bench(hang(), hang(), routing={"timeouts": {**FAST, "before_answer": 0.5}})
    for _ in range(5):
        assert (await b.ask()).attempts == "alpha=timeout beta=timeout"
    assert await b.server.metric('redeo_breaker_state{connection="alpha",state="open"}') == 1
    assert await b.server.metric('redeo_breaker_state{connection="beta",state="closed"}') == 1
