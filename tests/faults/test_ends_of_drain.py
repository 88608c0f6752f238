"""The time to drain is over, whatever a request is about just then: its client hears one end, and a true one."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.speech import Speech
from tests.support.upstream import stream


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
