"""`routing.rescue`: a text that breaks off is gone on with by another connection; its client reads one stream."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.dialects.base import DialectName
from tests.support.daemon import FAST, Answer, Redeo
from tests.support.judges import JUDGES
from tests.support.speech import ALL, ANTHROPIC, CHAT, GEMINI, PROVIDERS_ONLY, Speech, parse
from tests.support.streams import beginnings, behind, numbered, spoken, text_of
from tests.support.upstream import Received, Script, Upstream, Wire, chat_events, error, event, hang, stream

BEGUN, REST = ("Once upon ", "a time "), ("there was ", "a proxy.")
WHOLE = "Once upon a time there was a proxy."
ABLE = tuple(speech for speech in (*ALL, *PROVIDERS_ONLY) if speech.name not in ("responses", "cohere_chat"))
# Each provider breaks off once and each that can goes on, for every client.
PAIRS = [
    (client, first, ABLE[(n + shift) % len(ABLE)])
    for shift, client in enumerate(ALL)
    for n, first in enumerate((*ALL, *PROVIDERS_ONLY))
]
TOOL = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}}]}


def broken(speech: Speech, ending: str = "fin", *more: bytes) -> Script:
    """Says the beginning and breaks off."""
    return spoken(speech, [*speech.opening(*BEGUN), *more], ending=ending)


def more(speech: Speech, *texts: str) -> Script:
    """Says the rest."""
    said = texts or REST
    return spoken(speech, chat_events(*said, usage=True) if speech is CHAT else speech.events(*said))


class Rescued:
    """A daemon in front of providers, each with its dialect; a client of one dialect."""

    def __init__(self, server: Redeo, ups: list[Upstream], client: Speech) -> None:
        self.server = server
        self.ups = ups
        self.client = client

    async def ask(self, **fields: Any) -> Answer:
        path, body = self.client.asked(stream=True, **fields)
        return await self.server.request("POST", path, json=body)


@pytest.fixture
def rescued(redeo: Any, provider: Any) -> Any:
    """`await rescued(client, (dialect, script), ...)`."""

    async def start(
        client: Speech, *places: tuple[Speech, Script], on: bool = True, continues: str = "prefill"
    ) -> Rescued:
        routing = {"rescue": on, "timeouts": FAST}
        server, ups = await behind(redeo, provider, *places, entry={"continues": continues}, routing=routing)
        return Rescued(server, ups, client)

    return start


def as_one(client: Speech, got: Answer, text: str = WHOLE) -> None:
    """The stream is one, whole, with this text, also to the official SDK."""
    assert got.status == 200
    assert client.endings(got.body) == (1, 0), got.body.decode()
    assert beginnings(client, got.body) == 1
    numbered(client, got.body)
    assert text_of(client, got.body) == text
    told = JUDGES[DialectName(client.name)](got.body, True)
    assert (told.text, told.finish) == (text, "stop")


def refused_error(client: Speech, got: Answer, code: str = "upstream_stream_interrupted") -> None:
    """It ended with its error, and nothing was added."""
    assert client.endings(got.body) == (0, 1), got.body.decode()
    assert code in str(client.error_of(got.body)) or client in (ANTHROPIC, GEMINI)


@pytest.mark.parametrize(("client", "first", "second"), PAIRS, ids=lambda s: s.name)
async def test_another_goes_on(rescued: Any, client: Speech, first: Speech, second: Speech) -> None:
    r = await rescued(client, (first, broken(first)), (second, more(second)))
    got = await r.ask()
    as_one(client, got)
    assert got.attempts == "alpha=200"  # the head was out when it broke
    assert b"Once upon a time" in r.ups[1].requests[0].body
    trail = b"" if client is GEMINI else b": redeo-rescued: alpha -> beta; usage is the sum of both"
    assert trail in got.body.splitlines(keepends=True)[-2 if trail else -1]
    assert await r.server.metric('redeo_rescues_total{result="ok",source="alpha",target="beta"}') == 1
    assert await r.server.metric('redeo_attempts_total{connection="alpha",result="interrupted"}') == 1
    assert await r.server.metric('redeo_tokens_total{connection="beta",kind="output"}') == 5


@pytest.mark.parametrize("client", ALL, ids=lambda s: s.name)
@pytest.mark.parametrize("how", ["reset", "stall", "error", "half"])
async def test_however_it_broke(rescued: Any, client: Speech, how: str) -> None:
    first = {
        "reset": broken(client, "reset"),
        "stall": broken(client, "hang"),
        "error": broken(client, "whole", client.failure("overloaded_error", "too many")),
        "half": broken(client, "fin", b'data: {"half'),
    }[how]
    r = await rescued(client, (client, first), (CHAT, more(CHAT)))
    got = await r.ask()
    as_one(client, got)
    assert b"too many" not in got.body


async def test_it_is_off_unless_it_is_switched_on(rescued: Any) -> None:
    r = await rescued(CHAT, (CHAT, broken(CHAT)), (CHAT, more(CHAT)), on=False)
    refused_error(CHAT, await r.ask())
    assert not r.ups[1].requests


@pytest.mark.parametrize("client", ALL, ids=lambda s: s.name)
async def test_nobody_is_asked_who_is_not_known_to_go_on(rescued: Any, client: Speech) -> None:
    r = await rescued(client, (client, broken(client)), (CHAT, more(CHAT)), continues="no")
    refused_error(client, await r.ask())
    assert not r.ups[1].requests


@pytest.mark.parametrize("client", ALL, ids=lambda s: s.name)
@pytest.mark.parametrize("second", [error(503), hang(), broken(CHAT, "reset"), stream([event(TOOL)])], ids=range(4))
async def test_where_the_others_fail_it_ends_with_its_error(rescued: Any, client: Speech, second: Script) -> None:
    r = await rescued(client, (client, broken(client)), (CHAT, second))
    got = await r.ask()
    refused_error(client, got)
    assert text_of_broken(client, got).startswith("Once upon a time ")


def text_of_broken(client: Speech, got: Answer) -> str:
    """The text in front of the error."""
    told = [data for _, data in parse(got.body)[0] if '"error"' not in data and "failed" not in data]
    return text_of(client, b"".join(f"data: {data}\n\n".encode() for data in told))


async def test_the_third_goes_on_where_the_second_does_not(rescued: Any, speech: Speech) -> None:
    r = await rescued(speech, (speech, broken(speech)), (CHAT, error(500)), (CHAT, more(CHAT)))
    as_one(speech, await r.ask())


async def test_the_third_goes_on_where_the_second_breaks_off_too(rescued: Any, speech: Speech) -> None:
    there = stream(CHAT.opening("there "), ending="fin")
    r = await rescued(speech, (speech, broken(speech)), (CHAT, there), (ANTHROPIC, more(ANTHROPIC, "was ", "a proxy.")))
    got = await r.ask()
    as_one(speech, got)
    assert b"Once upon a time there" in r.ups[2].requests[0].body
    assert b"alpha -> beta -> gamma" in got.body


@pytest.mark.parametrize(
    "fields",
    [{"response_format": {"type": "json_object"}}, {"n": 2}, {"logprobs": True}, {"store": True}],
    ids=str,
)
async def test_what_is_more_than_words_is_not_gone_on_with(rescued: Any, fields: dict[str, Any]) -> None:
    r = await rescued(CHAT, (CHAT, broken(CHAT)), (CHAT, more(CHAT)))
    refused_error(CHAT, await r.ask(**fields))
    assert not r.ups[1].requests


async def test_a_call_that_was_begun_is_not_gone_on_with(rescued: Any) -> None:
    r = await rescued(CHAT, (CHAT, broken(CHAT, "fin", event(TOOL))), (CHAT, more(CHAT)))
    refused_error(CHAT, await r.ask())
    assert not r.ups[1].requests


async def test_a_client_that_leaves_meanwhile_ends_it(rescued: Any) -> None:
    r = await rescued(CHAT, (CHAT, broken(CHAT)), (CHAT, hang()))
    asking = asyncio.ensure_future(r.ask())
    await r.ups[1].wait_requests()
    asking.cancel()
    await r.ups[1].wait_closed()
    while r.server.daemon.front.engine.running:
        await asyncio.sleep(0.005)
    assert await r.server.metric('redeo_attempts_total{connection="beta",result="client_gone"}') == 1


async def test_the_end_of_the_drain_ends_it(rescued: Any, speech: Speech) -> None:
    r = await rescued(speech, (speech, broken(speech)), (CHAT, hang()))
    asking = asyncio.ensure_future(r.ask())
    await r.ups[1].wait_requests()
    r.server.daemon.front.engine.interrupt()
    refused_error(speech, await asking, "gateway_shutting_down")


async def test_its_clocks_count_anew(rescued: Any, redeo: Any, provider: Any) -> None:
    """A stream that has run longer than all attempts together may take, before it breaks."""

    async def long(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        for data in CHAT.opening(*BEGUN, *("." * 8)):
            await wire.chunk(data)
            await asyncio.sleep(0.1)
        wire.close()

    clocks = {**FAST, "before_answer": 0.5}
    entries = {
        name: {"base_url": up.base_url, "continues": "prefill"}
        for name, up in (("alpha", await provider(long)), ("beta", await provider(more(CHAT))))
    }
    server = await redeo(entries, routing={"rescue": True, "timeouts": clocks})
    got = await server.chat(stream=True)
    assert text_of(CHAT, got.body) == "Once upon a time ........there was a proxy."


async def test_usage_is_the_sum(rescued: Any) -> None:
    r = await rescued(ANTHROPIC, (ANTHROPIC, broken(ANTHROPIC)), (CHAT, more(CHAT)))
    got = await r.ask()
    told = JUDGES[DialectName.MESSAGES](got.body, True)
    assert told.usage is not None
    assert told.usage[0] == 3 + 3  # as both said
    assert told.usage[1] > 5  # the second's, and an estimate for what the first had said
    assert b"the first part estimated" in got.body
