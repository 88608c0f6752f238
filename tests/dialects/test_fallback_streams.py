"""One provider's stream fails before its content, one of another dialect answers: the client sees one stream."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.speech import ALL, ANTHROPIC, CHAT, GEMINI, PROVIDERS_ONLY, RESPONSES, Speech, parse
from tests.support.streams import beginnings, behind, numbered, spoken, text_of

PROVIDERS = (*ALL, *PROVIDERS_ONLY)
# Each provider fails once and each answers once, for every client.
PAIRS = [
    (client, first, PROVIDERS[(n + 1 + shift) % len(PROVIDERS)])
    for shift, client in enumerate(ALL)
    for n, first in enumerate(PROVIDERS)
]
IDS = [f"{client.name}-from-{second.name}-after-{first.name}" for client, first, second in PAIRS]


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
