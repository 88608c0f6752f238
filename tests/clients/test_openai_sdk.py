"""The official OpenAI SDK against the daemon, which falls back in front of it without the SDK noticing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.support.daemon import Redeo
from tests.support.upstream import (
    Upstream,
    answer,
    chat,
    chat_events,
    error,
    event,
    response_events,
    stream,
)

MESSAGES: Any = [{"role": "user", "content": "hello"}]
TOOLS: Any = [
    {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"model": {}}}}}
]


@pytest.fixture
async def sdk() -> AsyncIterator[Any]:
    """`sdk(server)`: a client of a daemon, without retries of its own."""
    clients: list[openai.AsyncOpenAI] = []

    def make(server: Redeo, **options: Any) -> openai.AsyncOpenAI:
        settings: dict[str, Any] = {"max_retries": 0, **options}
        clients.append(openai.AsyncOpenAI(base_url=server.base + "/v1", api_key=server.key, **settings))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


async def behind_a_failing_one(redeo: Any, provider: Any, *scripts: Any) -> tuple[Redeo, Upstream]:
    first, second = await provider(error(500)), await provider(*scripts)
    return await redeo({"alpha": first, "beta": second}), second


async def test_chat(redeo: Any, provider: Any, sdk: Any) -> None:
    server, _ = await behind_a_failing_one(redeo, provider, chat("good day"))
    raw = await sdk(server).chat.completions.with_raw_response.create(model="auto", messages=MESSAGES)
    assert raw.parse().choices[0].message.content == "good day"
    assert raw.headers["x-redeo-attempts"] == "alpha=500 beta=200"
    assert raw.headers["x-redeo-provider"] == "beta"
    assert raw.headers["x-redeo-model"] == "beta-model"
    assert raw.headers["x-request-id"] == raw.headers["x-redeo-request-id"]


async def test_chat_stream_without_asking_for_usage_shows_none(redeo: Any, provider: Any, sdk: Any) -> None:
    server, second = await behind_a_failing_one(redeo, provider, chat("words"))
    parts = await sdk(server).chat.completions.create(model="auto", messages=MESSAGES, stream=True)
    chunks = [chunk async for chunk in parts]
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "words"
    assert all(c.usage is None for c in chunks)
    assert second.requests[0].json["stream_options"] == {"include_usage": True}
    assert await server.metric('redeo_tokens_total{connection="beta",kind="output"}') == 5


async def test_chat_stream_with_usage_asked_for_shows_it(redeo: Any, provider: Any, sdk: Any) -> None:
    server, _ = await behind_a_failing_one(redeo, provider, chat("words"))
    parts = await sdk(server).chat.completions.create(
        model="auto", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in parts]
    assert chunks[-1].usage.total_tokens == 8


async def test_without_ask_usage_not_a_byte_is_added(redeo: Any, provider: Any, sdk: Any) -> None:
    up = await provider(chat("words"))
    server = await redeo({"alpha": up}, routing={"ask_usage": False})
    parts = await sdk(server).chat.completions.create(model="alpha/m", messages=MESSAGES, stream=True)
    assert [chunk async for chunk in parts]
    assert "stream_options" not in up.requests[0].json


async def test_tool_calls_in_a_stream(redeo: Any, provider: Any, sdk: Any) -> None:
    def delta(value: dict[str, Any], reason: str | None = None) -> bytes:
        return event(
            {
                "id": "c",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "m",
                "choices": [{"index": 0, "delta": value, "finish_reason": reason}],
            }
        )

    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
    events = [
        delta({"role": "assistant", "content": None}),
        delta({"tool_calls": [call]}),
        *(
            delta({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
            for piece in ('{"mo', 'del":', " 1}")
        ),
        delta({}, "tool_calls"),
        b"data: [DONE]\n\n",
    ]
    server, second = await behind_a_failing_one(redeo, provider, stream(events))
    parts = await sdk(server).chat.completions.create(model="auto", messages=MESSAGES, tools=TOOLS, stream=True)
    pieces = [c.choices[0].delta.tool_calls[0].function.arguments async for c in parts if c.choices[0].delta.tool_calls]
    assert "".join(pieces) == '{"model": 1}'
    assert second.requests[0].json["tools"] == TOOLS


async def test_responses_and_their_stream(redeo: Any, provider: Any, sdk: Any) -> None:
    server, _ = await behind_a_failing_one(redeo, provider, stream(response_events("a", "b")))
    async with sdk(server).responses.stream(model="auto", input="hi") as events:
        kinds = [item.type async for item in events]
        final = await events.get_final_response()
    assert final.output_text == "ab"
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


async def test_a_broken_responses_stream_raises(redeo: Any, provider: Any, sdk: Any) -> None:
    server, _ = await behind_a_failing_one(redeo, provider, stream(response_events("a", stop=False), ending="fin"))
    parts = await sdk(server).responses.create(model="auto", input="hi", stream=True)
    kinds = [item.type async for item in parts]
    assert kinds[-2:] == ["error", "response.failed"]


async def test_a_broken_chat_stream_raises(redeo: Any, provider: Any, sdk: Any) -> None:
    broken = stream(chat_events("a", "b", done=False, finish=False), ending="fin", framing="close")
    server, _ = await behind_a_failing_one(redeo, provider, broken)
    parts = await sdk(server).chat.completions.create(model="auto", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError, match="ended before its end"):
        _ = [chunk async for chunk in parts]


async def test_embeddings_as_base64(redeo: Any, provider: Any, sdk: Any) -> None:
    item = {"object": "embedding", "index": 0, "embedding": "AACAPwAAAEA="}
    body = {"object": "list", "model": "e", "data": [item], "usage": {"prompt_tokens": 2, "total_tokens": 2}}
    server, second = await behind_a_failing_one(redeo, provider, answer(body))
    made = await sdk(server).embeddings.create(model="beta/e", input="text")
    assert made.data[0].embedding == [1.0, 2.0]
    assert second.requests[0].json["encoding_format"] == "base64"
    assert second.requests[0].json["model"] == "e"


async def test_models(redeo: Any, provider: Any, sdk: Any) -> None:
    up = await provider(chat(), models=["one", "vendor/two"])
    server = await redeo({"alpha": up}, models={"smart": ["alpha/one"]})
    listed = {m.id: m async for m in sdk(server).models.list()}
    assert set(listed) == {"smart", "one", "vendor/two", "auto"}
    assert listed["one"].model_dump()["providers"] == ["alpha"]
    assert (await sdk(server).models.retrieve("vendor/two")).id == "vendor/two"
    with pytest.raises(openai.NotFoundError):
        await sdk(server).models.retrieve("three")


async def test_a_wrong_key_is_the_clients_own(redeo: Any, provider: Any, sdk: Any) -> None:
    up = await provider(chat())
    server = await redeo({"alpha": up})
    with pytest.raises(openai.AuthenticationError, match="redeo key"):
        await sdk(server).with_options(api_key="wrong").chat.completions.create(model="auto", messages=MESSAGES)
    assert not up.requests


async def test_refused_provider_keys_are_not_the_clients_fault(redeo: Any, provider: Any, sdk: Any) -> None:
    up = await provider(error(401, "invalid_api_key"))
    server = await redeo({"alpha": up})
    with pytest.raises(openai.InternalServerError) as caught:
        await sdk(server, max_retries=2).chat.completions.create(model="auto", messages=MESSAGES)
    assert caught.value.status_code == 502
    assert caught.value.code == "upstream_credentials_exhausted"
    assert len(up.requests) == 1, "x-should-retry: false keeps the SDK from trying again"


async def test_the_clients_own_mistake_comes_back_as_the_provider_said_it(redeo: Any, provider: Any, sdk: Any) -> None:
    first, second = await provider(error(400, "invalid_request_error", "no such field")), await provider(chat())
    server = await redeo({"alpha": first, "beta": second})
    with pytest.raises(openai.BadRequestError, match="no such field"):
        await sdk(server).chat.completions.create(model="auto", messages=MESSAGES)
    assert not second.requests


async def test_the_sdk_waits_as_it_is_told_and_succeeds(redeo: Any, provider: Any, sdk: Any) -> None:
    up = await provider(error(429, "rate_limit_error", retry_after="0.05"), chat("later"))
    server = await redeo({"alpha": up})
    made = await sdk(server, max_retries=1).chat.completions.create(model="auto", messages=MESSAGES)
    assert made.choices[0].message.content == "later"


async def test_audio_as_a_form(redeo: Any, provider: Any, sdk: Any) -> None:
    server, second = await behind_a_failing_one(redeo, provider, answer({"text": "spoken"}))
    made = await sdk(server).audio.transcriptions.create(model="beta/whisper", file=("a.wav", b"RIFF\x00\xff"))
    assert made.text == "spoken"
    assert b'name="model"\r\n\r\nwhisper\r\n' in second.requests[0].body
    assert b"RIFF\x00\xff" in second.requests[0].body


async def test_speech_as_bytes(redeo: Any, provider: Any, sdk: Any) -> None:
    server, _ = await behind_a_failing_one(
        redeo, provider, answer(b"\x00\x01audio", headers={"content-type": "audio/mpeg"})
    )
    made = await sdk(server).audio.speech.create(model="beta/tts", voice="alloy", input="hi")
    assert made.content == b"\x00\x01audio"
