"""What happens to a provider's connection that is kept open for the next request."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.speech import CHAT
from tests.support.upstream import Received, Wire, chat


async def test_one_that_is_reset_while_idle_is_nobodys_fault(bench: Any) -> None:
    """Nothing is said of it (`settled` looks), and the next request goes over a fresh one."""
    told = asyncio.Event()

    async def resets_later(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        await asyncio.sleep(0.01)  # an answer whose head comes alone is still being read when its connection is known
        for event in CHAT.events("yes"):
            await wire.chunk(event)
        await wire.end()
        await told.wait()
        wire.reset()

    b = await bench(resets_later)
    b.p.scripts.append(chat())
    assert (await b.ask(stream=True)).attempts == "alpha=200"
    told.set()
    assert (await b.ask()).attempts == "alpha=200"
    assert len(b.p.requests) == 2
