"""The official Anthropic SDK against the daemon, in front of providers that speak Anthropic's dialect."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from tests.support.daemon import Redeo
from tests.support.upstream import answer, message_events, stream

MESSAGES: Any = [{"role": "user", "content": "hello"}]
WHOLE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "content": [{"type": "text", "text": "good day"}],
    "usage": {"input_tokens": 3, "output_tokens": 5},
}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


@pytest.fixture
async def sdk() -> AsyncIterator[Any]:
    clients: list[anthropic.AsyncAnthropic] = []

    def make(server: Redeo, **options: Any) -> anthropic.AsyncAnthropic:
        settings: dict[str, Any] = {"max_retries": 0, "auth_token": server.key, "api_key": None, **options}
        clients.append(anthropic.AsyncAnthropic(base_url=server.base, **settings))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


async def two(redeo: Any, provider: Any, first: Any, second: Any) -> tuple[Redeo, Any]:
    ups = [await provider(first), await provider(second)]
    entries = {
        name: {"base_url": up.base_url.removesuffix("/v1"), "dialect": "anthropic"}
        for name, up in zip(("alpha", "beta"), ups, strict=True)
    }
    return await redeo(entries), ups


async def test_messages_fall_back_from_an_overloaded_one(redeo: Any, provider: Any, sdk: Any) -> None:
    server, ups = await two(redeo, provider, answer(OVERLOADED, 529), answer(WHOLE))
    raw = await sdk(server).messages.with_raw_response.create(model="auto", max_tokens=9, messages=MESSAGES)
    assert (await raw.parse()).content[0].text == "good day"
    assert raw.headers["x-redeo-attempts"] == "alpha=529 beta=200"
    sent = ups[1].requests[0]
    assert sent.target == "/v1/messages"
    assert sent.header("x-api-key") == server.keys["beta"]
    assert sent.header("authorization") is None, "the client's own key stays here"
    assert sent.header("anthropic-version"), "the client's version goes on unchanged"


async def test_an_overload_inside_a_stream_falls_back_before_any_content(redeo: Any, provider: Any, sdk: Any) -> None:
    events = [*message_events(stop=False)[:2], b"event: error\ndata: " + json.dumps(OVERLOADED).encode() + b"\n\n"]
    server, _ = await two(redeo, provider, stream(events), stream(message_events("good ", "day")))
    async with sdk(server).messages.stream(model="auto", max_tokens=9, messages=MESSAGES) as parts:
        text = "".join([piece async for piece in parts.text_stream])
        final = await parts.get_final_message()
    assert text == "good day"
    assert final.usage.output_tokens == 5
    assert await server.metric('redeo_attempts_total{connection="alpha",result="overload"}') == 1


async def test_a_broken_stream_raises(redeo: Any, provider: Any, sdk: Any) -> None:
    server, _ = await two(
        redeo,
        provider,
        answer(OVERLOADED, 529),
        stream(message_events("half", stop=False), ending="fin", framing="close"),
    )
    with pytest.raises(anthropic.APIError, match="ended before its end"):
        async with sdk(server).messages.stream(model="auto", max_tokens=9, messages=MESSAGES) as parts:
            _ = [piece async for piece in parts.text_stream]


async def test_count_tokens_and_models(redeo: Any, provider: Any, sdk: Any) -> None:
    server, _ = await two(redeo, provider, answer({"input_tokens": 42}), answer(WHOLE))
    counted = await sdk(server).messages.count_tokens(model="alpha/m", messages=MESSAGES)
    assert counted.input_tokens == 42
    listed = [m.id async for m in sdk(server).models.list()]
    assert listed == ["auto"] or "auto" in listed


async def test_errors_have_anthropics_form(redeo: Any, provider: Any, sdk: Any) -> None:
    server, _ = await two(redeo, provider, answer(OVERLOADED, 529), answer(OVERLOADED, 529))
    with pytest.raises(anthropic.APIStatusError) as caught:
        await sdk(server).messages.create(model="auto", max_tokens=9, messages=MESSAGES)
    body: Any = caught.value.body
    assert caught.value.status_code == 503
    assert body["type"] == "error"
    assert "alpha" in body["error"]["message"]
    assert "beta" in body["error"]["message"]
    assert body["request_id"] == caught.value.response.headers["x-redeo-request-id"]
    with pytest.raises(anthropic.AuthenticationError):
        await sdk(server, auth_token="wrong").messages.create(model="auto", max_tokens=9, messages=MESSAGES)


async def test_tokens_are_estimated_where_nobody_counts_them(redeo: Any, provider: Any, sdk: Any) -> None:
    up = await provider(answer({"error": {"message": "no such route", "type": "invalid_request_error"}}, 404))
    server = await redeo({"alpha": up})
    got = await sdk(server).messages.with_raw_response.count_tokens(model="auto", messages=MESSAGES)
    assert got.headers["x-redeo-estimated"] == "true"
    assert 3 <= (await got.parse()).input_tokens <= 15
    with pytest.raises(anthropic.BadRequestError, match="role"):
        await sdk(server).messages.count_tokens(model="auto", messages=[{"role": "nobody", "content": "hi"}])
    with pytest.raises(anthropic.NotFoundError, match="message_batches"):
        await sdk(server).messages.batches.create(requests=[])
    assert [r.target for r in up.requests] == ["/v1/responses/input_tokens"]
