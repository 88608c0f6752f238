"""`routing.min_chars_per_second`: a stream that drips is left for the next connection before anything is sent on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.daemon import FAST
from tests.support.speech import ANTHROPIC, CHAT, RESPONSES, Speech, outcome, parse
from tests.support.upstream import Received, Script, Wire, chat, error, stream

BRISK = {"routing": {"min_chars_per_second": 20, "timeouts": FAST}}  # 8 characters within the 0.4 s of `first_byte`


def dripping(speech: Speech, *, ending: str = "hang") -> Script:
    """One character each 100 ms."""

    async def script(received: Received, wire: Wire) -> None:
        first = len(speech.opening())
        events = speech.events(*("drip" * 4), stop=ending == "whole")
        await wire.head(200, {"content-type": "text/event-stream"})
        await wire.chunk(b"".join(events[:first]))
        for data in events[first:]:
            if received.gone.is_set():
                return
            await wire.chunk(data)
            await asyncio.sleep(0.1)
        if ending == "whole":
            await wire.end()
        else:
            await received.gone.wait()

    return script


async def test_it_is_left_for_the_next(bench: Any, speech: Speech) -> None:
    b = await bench(dripping(speech), speech.good("brisk enough"), speech=speech, **BRISK)
    got = await b.ask(stream=True)
    assert got.attempts == "alpha=slow beta=200"
    assert b"drip" not in got.body
    assert await b.server.metric(outcome("alpha", "slow")) == 1
    await b.p.wait_closed()


async def test_where_there_is_no_next_it_is_passed_on(bench: Any) -> None:
    b = await bench(dripping(CHAT, ending="whole"), **BRISK)
    got = await b.ask(stream=True)
    assert got.attempts == "alpha=200"
    assert got.body.endswith(b"data: [DONE]\n\n")


async def test_without_the_setting_it_is_passed_on(bench: Any) -> None:
    b = await bench(dripping(ANTHROPIC, ending="whole"), ANTHROPIC.good(), speech=ANTHROPIC)
    assert (await b.ask(stream=True)).attempts == "alpha=200"


@pytest.mark.parametrize("texts", [["h", "i"], ["enough text", " for", " all"], ["no more"]], ids=str)
async def test_what_is_short_or_brisk_arrives_as_it_is(bench: Any, speech: Speech, texts: list[str]) -> None:
    b = await bench(stream(speech.events(*texts)), chat(), speech=speech, **BRISK)
    got = await b.ask(stream=True)
    assert got.attempts == "alpha=200"
    assert got.body == b"".join(speech.events(*texts))


async def test_what_was_brisk_once_may_drip_later(bench: Any) -> None:
    gate = asyncio.Event()
    b = await bench(stream(CHAT.events("enough text", "!"), pause=(2, gate)), chat(), **BRISK)
    asking = asyncio.ensure_future(b.ask(stream=True))
    await b.p.wait_requests()
    while await b.server.metric("redeo_requests_in_flight") != 1:
        await asyncio.sleep(0.005)
    gate.set()
    got = await asking
    assert got.attempts == "alpha=200"
    assert len(parse(got.body)[0]) == len(CHAT.events("enough text", "!"))


async def test_the_first_that_breaks_while_it_is_measured_is_left(bench: Any) -> None:
    b = await bench(stream(CHAT.opening("cut"), ending="fin"), chat("whole"), **BRISK)
    got = await b.ask(stream=True)
    assert got.attempts == "alpha=interrupted beta=200"
    assert b"cut" not in got.body


async def test_another_model_of_the_same_connection_is_no_next(redeo: Any, provider: Any) -> None:
    up = await provider(dripping(CHAT, ending="whole"))
    server = await redeo({"alpha": up}, models={"both": ["alpha/one", "alpha/two"]}, **BRISK)
    got = await server.chat("both", stream=True)
    assert got.attempts == "alpha=200"
    assert CHAT.endings(got.body) == (1, 0)


async def test_where_the_next_has_failed_meanwhile_it_is_passed_on(bench: Any) -> None:
    """The next one was asked beside it, and says at once that it cannot."""
    asked, later = asyncio.Event(), asyncio.Event()

    async def slow(received: Received, wire: Wire) -> None:
        await asked.wait()
        await stream(CHAT.events("d", "rip"), pause=(2, later))(received, wire)

    async def fails(received: Received, wire: Wire) -> None:
        await error(500)(received, wire)
        asked.set()

    clocks = {**FAST, "first_byte": 1, "idle": 3}
    b = await bench(slow, fails, routing={"min_chars_per_second": 20, "hedge_after": 0.05, "timeouts": clocks})
    got = await b.ask(stream=True, heard=lambda piece: later.set())  # it goes on once its client has something
    assert got.headers["x-redeo-provider"] == "alpha"
    assert CHAT.endings(got.body) == (1, 0)


async def test_much_that_was_held_back_is_passed_on_at_once(bench: Any) -> None:
    """More than goes out in one piece: what the provider repeats of the request stands in front of its first word."""
    asked, said, heard = asyncio.Event(), asyncio.Event(), asyncio.Event()
    opening, whole = RESPONSES.opening("d"), RESPONSES.events("d", "rip")
    long = "x" * 400_000
    repeated = opening[0].replace(b'"output": []', b'"output": [], "instructions": "%b"' % long.encode())

    async def slow(received: Received, wire: Wire) -> None:
        await asked.wait()
        await wire.head(200, {"content-type": "text/event-stream"})
        await wire.chunk(b"".join([repeated, *opening[1:]]))
        said.set()
        await heard.wait()
        await wire.chunk(b"".join(whole[len(opening) :]))
        await wire.end()

    async def fails(received: Received, wire: Wire) -> None:
        asked.set()
        await said.wait()
        await error(500)(received, wire)

    def hear(piece: bytes) -> None:
        if b"output_text.delta" in piece:
            heard.set()

    clocks = {**FAST, "first_byte": 1, "idle": 3}
    settings = {"min_chars_per_second": 20, "hedge_after": 0.05, "timeouts": clocks}
    b = await bench(slow, fails, speech=RESPONSES, routing=settings)
    got = await b.ask(stream=True, instructions=long, heard=hear)
    assert got.headers["x-redeo-provider"] == "alpha"
    assert RESPONSES.endings(got.body) == (1, 0)
