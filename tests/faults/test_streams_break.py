"""What no row of the fault matrix has of streams that break: pings without end, a last event without its empty line."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.matrix.rows_streams import cut
from tests.support.speech import CHAT, Speech, outcome, parse
from tests.support.upstream import Wire


async def test_pings_alone_do_not_keep_it_alive_for_ever(
    bench: Any, speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.engine.pump._PING_LIFE", 0.5)

    async def pings(received: Any, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        for event in speech.opening("one"):
            await wire.chunk(event)
        while not received.gone.is_set():
            await wire.chunk(speech.ping)
            await asyncio.sleep(0.02)

    b = await bench(pings, speech.good(), speech=speech)
    got = await b.ask(stream=True)
    whole = b"".join(speech.opening("one"))
    assert got.body.startswith(whole)
    assert speech.error_of(got.body[len(whole) :])["code"] == "upstream_stalled"
    assert await b.server.metric(outcome("alpha", "stall")) == 1


@pytest.mark.parametrize("ending", ["in order", "fin, framed by the close"])
async def test_a_last_event_without_its_empty_line_is_made_whole(bench: Any, speech: Speech, ending: str) -> None:
    ways = [b"".join(speech.events("one")).replace(b"\n", line_end) for line_end in (b"\n", b"\r\n", b"\r")]
    lacking = [way[: -2 if way.endswith(b"\r\n") else -1] for way in ways]
    b = await bench(speech.good(), speech=speech)
    b.p.scripts = [cut([plain], ending) for plain in lacking]
    for plain, short in zip(ways, lacking, strict=True):
        got = await b.ask(stream=True)
        if speech is CHAT:  # `[DONE]` is understood as it is, so it stays as it is
            assert got.body == short
        else:
            assert parse(got.body) == parse(plain)
