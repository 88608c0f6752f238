"""Connections that are kept open for the next request, a provider's and a client's."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.support.daemon import FAST
from tests.support.speech import CHAT
from tests.support.upstream import Received, Wire, chat, stream


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


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_after_the_stop_says_that_its_connection_closes(bench: Any, streamed: bool) -> None:
    """A client that is not told sends its next request into the closed connection."""
    b = await bench(CHAT.good())
    assert "connection" not in (await b.ask(stream=streamed)).headers
    b.server.daemon.front.closing = True
    assert (await b.ask(stream=streamed)).headers["connection"] == "close"


async def test_a_connection_whose_answer_began_before_the_stop_may_ask_again(
    redeo: Any, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not told; with a socket that was handed over, nobody is to be refused."""
    monkeypatch.setattr("proxy.daemon._LINGER", 1.0)
    more = asyncio.Event()
    up = await provider(stream(CHAT.events("yes"), pause=(2, more)), chat())
    server = await redeo({"alpha": up}, routing={"timeouts": {**FAST, "idle": 20}})
    daemon = server.daemon
    daemon.inherited = daemon.front.inherited = True
    url, headers = f"{daemon.base_url}{CHAT.path}", {"Authorization": f"Bearer {daemon.api_key}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        async with session.post(url, json={**CHAT.body, "stream": True}, headers=headers) as response:
            await response.content.readany()
            stopping = asyncio.create_task(daemon.stop())
            while not daemon.front._waiting:  # for the running stream
                await asyncio.sleep(0.005)
            more.set()
            await response.read()
        await asyncio.wait({stopping}, timeout=0.1)  # it thinks before it asks again
        async with session.post(url, json=CHAT.body, headers=headers) as again:
            assert again.status == 200
            assert again.headers["connection"] == "close"
    await stopping
