"""No descriptor is left to open a connection with: that is the daemon's own trouble, and no provider's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.daemon import Redeo
from tests.support.settled import open_files
from tests.support.speech import CHAT, RESPONSES, Bench, Speech
from tests.support.streams import behind, spoken
from tests.support.upstream import Received, Wire, chat, error

LONG_WAIT = {"timeouts": {"connect": 5, "first_byte": 9, "idle": 9, "total": 20, "before_answer": 30}}


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """None can be opened; those that are open go on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.dup(0)
    os.close(next_one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def settled_in(server: Redeo) -> None:
    """It has opened what it opens soon after its start: its metrics, and the watch over its files."""
    await server.metrics()
    while not any("inotify" in name for name in open_files()):
        await asyncio.sleep(0.005)


def told(bench: Bench, got: Any) -> None:
    """It is our own trouble, it passes, and how it is mended."""
    assert got.status == 503, got.body
    assert b"gateway_overloaded" in got.body or bench.speech.name == "messages"
    assert b"limit of open files" in got.body
    assert (got.headers["retry-after"], got.headers["x-should-retry"]) == ("1", "true")
    assert got.attempts == "alpha=gateway"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
async def test_it_is_ours_and_no_failure_of_a_provider(bench: Any, speech: Speech, streamed: bool) -> None:
    made = await bench(speech.good(), speech.good(), speech=speech)
    await settled_in(made.server)
    with no_descriptors():
        for _ in range(6):  # one more than opens a breaker
            told(made, await made.ask(stream=streamed))
    assert not made.p.requests
    assert not made.s.requests
    assert 'redeo_breaker_state{connection="alpha",state="closed"} 1.0' in await made.server.metrics()
    got = await made.ask(stream=streamed)
    assert (got.status, got.attempts) == (200, "alpha=200")


async def test_what_leaves_something_behind_is_told_the_same(bench: Any) -> None:
    made = await bench(RESPONSES.good(), speech=RESPONSES)
    await settled_in(made.server)
    with no_descriptors():
        told(made, await made.ask(store=True))
    assert not made.p.requests


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_name_that_cannot_be_looked_up_for_want_of_one(bench: Any, scheme: str) -> None:
    made = await bench(f"{scheme}://localhost:9/v1")
    await settled_in(made.server)
    with no_descriptors():
        told(made, await made.ask())


async def test_a_connection_that_is_open_serves_on(bench: Any) -> None:
    made = await bench(chat(), chat())
    assert (await made.ask()).attempts == "alpha=200"
    await settled_in(made.server)
    with no_descriptors():
        assert (await made.ask()).attempts == "alpha=200"


async def test_behind_a_failure_of_a_provider(bench: Any) -> None:
    made = await bench(chat(), chat(), chat())
    assert (await made.ask()).status == 200
    await settled_in(made.server)
    made.p.scripts = [error(500)]
    with no_descriptors():
        got = await made.ask()
    assert (got.status, got.attempts) == (503, "alpha=500 beta=gateway")
    assert (got.json["error"]["code"], got.headers["retry-after"]) == ("gateway_overloaded", "1")


async def test_a_hedge_that_cannot_be_opened_leaves_the_first_alone(bench: Any) -> None:
    limit = contextlib.ExitStack()

    async def slow(received: Received, wire: Wire) -> None:
        limit.enter_context(no_descriptors())
        await made.server.daemon.front.engine.budget.changed()  # the hedge has begun, and ended
        await CHAT.good()(received, wire)

    made: Bench = await bench(slow, chat(), routing={**LONG_WAIT, "hedge_after": 0.05})
    await settled_in(made.server)
    with limit:
        got = await made.ask()
    assert (got.status, got.headers["x-redeo-provider"]) == (200, "alpha"), got.body
    assert not made.s.requests


async def test_a_stream_is_not_gone_on_with(redeo: Any, provider: Any) -> None:
    limit = contextlib.ExitStack()

    async def breaks(received: Received, wire: Wire) -> None:
        limit.enter_context(no_descriptors())
        await spoken(CHAT, CHAT.opening("Once "))(received, wire)

    places = [(CHAT, breaks), (CHAT, chat()), (CHAT, chat())]
    routing = {"rescue": True, **LONG_WAIT}
    server, _ = await behind(redeo, provider, *places, entry={"continues": "prefill"}, routing=routing)
    await settled_in(server)
    with limit:
        got = await server.chat(stream=True)
    assert CHAT.endings(got.body) == (0, 1)
    assert CHAT.error_of(got.body)["code"] == "upstream_stream_interrupted"
    assert await server.metric('redeo_attempts_total{connection="beta",result="gateway"}') == 1
    assert await server.metric('redeo_attempts_total{connection="gamma",result="gateway"}') == 0
