"""One provider's stream fails before its content, one of another dialect answers: the client sees one stream."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.support.speech import ALL, ANTHROPIC, CHAT, GEMINI, PROVIDERS_ONLY, RESPONSES, Speech, parse
from tests.support.upstream import stream

PROVIDERS = (*ALL, *PROVIDERS_ONLY)
TYPES = {"converse": "application/vnd.amazon.eventstream", "ollama_chat": "application/x-ndjson"}
# Each provider fails once and each answers once, for every client.
PAIRS = [
    (client, first, PROVIDERS[(n + 1 + shift) % len(PROVIDERS)])
    for shift, client in enumerate(ALL)
    for n, first in enumerate(PROVIDERS)
]
IDS = [f"{client.name}-from-{second.name}-after-{first.name}" for client, first, second in PAIRS]


def beginnings(speech: Speech, body: bytes) -> int:
    """How often the stream begins, in the word of its dialect."""
    events = [json.loads(data) for _, data in parse(body)[0] if data != "[DONE]"]
    if speech is CHAT:
        return sum(1 for e in events for c in e["choices"] if c["delta"].get("role"))
    if speech is ANTHROPIC:
        return sum(1 for e in events if e["type"] == "message_start")
    if speech is RESPONSES:
        return sum(1 for e in events if e["type"] == "response.created")
    return len({e["responseId"] for e in events})


def numbered(speech: Speech, body: bytes) -> None:
    """What counts or names events does so from the beginning and without a gap."""
    events = [json.loads(data) for _, data in parse(body)[0] if data != "[DONE]"]
    if speech is RESPONSES:
        assert [e["sequence_number"] for e in events] == list(range(len(events)))
        assert len({e["response"]["id"] for e in events if "response" in e}) == 1
    elif speech is ANTHROPIC:
        assert [e["index"] for e in events if e["type"] == "content_block_start"] == [0]
        assert events[0]["type"] == "message_start"
    elif speech is CHAT:
        assert len({e["id"] for e in events}) == 1
        assert [c["finish_reason"] for e in events for c in e["choices"] if c["finish_reason"]] == ["stop"]


def text_of(speech: Speech, body: bytes) -> str:
    events = [json.loads(data) for _, data in parse(body)[0] if data != "[DONE]"]
    if speech is CHAT:
        return "".join(c["delta"].get("content") or "" for e in events for c in e["choices"])
    if speech is ANTHROPIC:
        return "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta")
    if speech is RESPONSES:
        return "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
    return "".join(part["text"] for e in events for part in e["candidates"][0]["content"]["parts"])


def spoken(speech: Speech, events: list[bytes], **options: Any) -> Any:
    return stream(events, headers={"content-type": TYPES.get(speech.name, "text/event-stream")}, **options)


async def behind(redeo: Any, provider: Any, *speakers: tuple[Speech, Any]) -> tuple[Any, list[Any]]:
    """A daemon in front of these, each speaking one dialect alone."""
    ups = [await provider(script) for _, script in speakers]
    names = ("alpha", "beta", "gamma")[: len(ups)]
    entries = {name: speech.entry(up) for name, up, (speech, _) in zip(names, ups, speakers, strict=True)}
    server = await redeo(entries)
    for name, (speech, _) in zip(names, speakers, strict=True):
        spec = server.daemon.store.current.connection(name).spec
        speaks = {op: route for op, route in spec.speaks.items() if op.value in (speech.name, "models")}
        msgspec.structs.force_setattr(spec, "speaks", speaks)
    return server, ups


async def ask(server: Any, client: Speech) -> Any:
    path, body = client.asked(stream=True)
    got = await server.request("POST", path, json=body)
    assert not got.broken
    return got


@pytest.mark.parametrize(("client", "first", "second"), PAIRS, ids=IDS)
@pytest.mark.parametrize("greeted", [False, True])
async def test_the_client_sees_one_stream_of_its_own(
    redeo: Any, provider: Any, client: Speech, first: Speech, second: Speech, greeted: bool
) -> None:
    failure = first.failure("overloaded_error", "it is overloaded")
    failing = [*(first.opening()[:2] if greeted else []), failure]
    server, ups = await behind(
        redeo, provider, (first, spoken(first, failing)), (second, spoken(second, second.events("good ", "day")))
    )
    got = await ask(server, client)
    assert (got.status, got.attempts) == (200, "alpha=overload beta=200"), got.body
    assert got.headers["content-type"].startswith("text/event-stream")
    assert got.headers["x-redeo-provider"] == "beta"
    assert client.endings(got.body) == (1, 0)
    assert beginnings(client, got.body) == 1
    numbered(client, got.body)
    assert text_of(client, got.body) == "good day"
    assert b"overloaded" not in got.body
    assert [len(up.requests) for up in ups] == [1, 1]


@pytest.mark.parametrize("client", ALL, ids=lambda speech: speech.name)
@pytest.mark.parametrize("ending", ["fin", "reset"])
async def test_a_stream_that_breaks_off_before_its_content_falls_back_too(
    redeo: Any, provider: Any, client: Speech, ending: str
) -> None:
    first = ANTHROPIC if client is not ANTHROPIC else GEMINI
    cut = spoken(first, ANTHROPIC.opening()[:1] if first is ANTHROPIC else [b": wait\n\n"], ending=ending)
    server, _ = await behind(redeo, provider, (first, cut), (CHAT, spoken(CHAT, CHAT.events("good ", "day"))))
    got = await ask(server, client)
    assert got.status == 200
    assert got.attempts.endswith(" beta=200")
    assert (client.endings(got.body), beginnings(client, got.body)) == ((1, 0), 1)
    assert text_of(client, got.body) == "good day"


@pytest.mark.parametrize("client", ALL, ids=lambda speech: speech.name)
async def test_after_content_nobody_else_is_asked(redeo: Any, provider: Any, client: Speech) -> None:
    first = ANTHROPIC if client is not ANTHROPIC else GEMINI
    failing = [*first.opening("good "), first.failure("overloaded_error", "it is overloaded")]
    server, ups = await behind(
        redeo, provider, (first, spoken(first, failing)), (CHAT, spoken(CHAT, CHAT.events("never")))
    )
    got = await ask(server, client)
    assert got.headers["x-redeo-attempts"] == "alpha=200"
    assert (client.endings(got.body), beginnings_before_the_error(client, got.body)) == ((0, 1), 1)
    assert b"never" not in got.body
    assert not ups[1].requests


def beginnings_before_the_error(client: Speech, body: bytes) -> int:
    kept = [data for _, data in parse(body)[0] if data != "[DONE]" and "overloaded" not in data]
    return beginnings(client, b"".join(b"data: " + data.encode() + b"\n\n" for data in kept))


async def test_three_dialects_one_after_the_other(redeo: Any, provider: Any) -> None:
    refused = spoken(ANTHROPIC, [ANTHROPIC.events()[0], ANTHROPIC.failure("overloaded_error", "it is overloaded")])
    broken = spoken(GEMINI, [b": nothing\n\n"], ending="fin")
    answers = spoken(RESPONSES, RESPONSES.events("good ", "day"))
    server, _ = await behind(redeo, provider, (ANTHROPIC, refused), (GEMINI, broken), (RESPONSES, answers))
    got = await ask(server, CHAT)
    assert got.attempts.split()[0] == "alpha=overload"
    assert got.attempts.split()[2] == "gamma=200"
    assert (CHAT.endings(got.body), beginnings(CHAT, got.body)) == ((1, 0), 1)
    numbered(CHAT, got.body)
    assert text_of(CHAT, got.body) == "good day"
