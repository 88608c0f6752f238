"""The time to drain is over, whatever a request is about just then: its client hears one end, and a true one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.daemon import FAST
from tests.support.speech import ANTHROPIC, Speech
from tests.support.upstream import hang, stream


class Ear:
    """Hears an answer as it comes."""

    def __init__(self) -> None:
        self.body = b""
        self._heard = asyncio.Event()

    def __call__(self, piece: bytes) -> None:
        self.body += piece
        self._heard.set()

    async def until(self, words: bytes) -> None:
        """Until these have come."""
        while words not in self.body:
            self._heard.clear()
            await self._heard.wait()


async def test_an_answer_that_was_whole_stays_whole(bench: Any, speech: Speech) -> None:
    events = speech.events("all of it")
    b = await bench(stream(events, ending="hang"), speech=speech)
    ear = Ear()
    asking = asyncio.ensure_future(b.ask(stream=True, heard=ear))
    await ear.until(events[-1])  # its provider does not hang up, and may say more for a moment
    b.server.daemon.front.engine.interrupt()
    got = await asking
    assert got.body == b"".join(events)
    assert speech.endings(got.body) == (1, 0)


async def test_nobody_is_asked_to_go_on_after_it(redeo: Any, provider: Any, speech: Speech) -> None:
    gate = asyncio.Event()
    events = speech.opening("Once ", "upon ")
    first = await provider(stream(events, ending="fin", pause=(len(events) - 1, gate)))
    second = await provider(speech.good("a time"))
    entries = {n: {**speech.entry(up), "continues": "prefill"} for n, up in (("alpha", first), ("beta", second))}
    server = await redeo(entries, routing={"rescue": True, "timeouts": {**FAST, "idle": 5}})
    ear = Ear()
    path, body = speech.asked(stream=True)
    asking = asyncio.ensure_future(server.request("POST", path, heard=ear, json=body))
    await ear.until(b"Once")
    server.daemon.front.engine.attempter.interrupt.requested = True  # as this stream was told, which breaks off instead
    gate.set()
    got = await asking
    assert speech.endings(got.body) == (0, 1)
    assert not second.requests
    if speech is not ANTHROPIC:
        assert speech.error_of(got.body)["code"] == "gateway_shutting_down"


@pytest.mark.parametrize("hedged", [False, True])
async def test_who_was_still_being_asked_is_not_said_to_have_lost_its_client(bench: Any, hedged: bool) -> None:
    routing = {"timeouts": {**FAST, "first_byte": 5}, **({"hedge_after": 0.05} if hedged else {})}
    b = await bench(hang(), hang(), routing=routing)
    asking = asyncio.ensure_future(b.ask())
    await (b.s if hedged else b.p).wait_requests()
    b.server.daemon.front.engine.interrupt()
    got = await asking
    assert (got.status, got.json["error"]["code"]) == (503, "gateway_shutting_down")
    assert await b.metric_sum("redeo_attempts_total", 'result="gateway"') == 1 + hedged
    assert await b.metric_sum("redeo_attempts_total", 'result="client_gone"') == 0
