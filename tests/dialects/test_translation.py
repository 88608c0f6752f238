"""One dialect in, another out, over real sockets: what arrives upstream, what the client sees, and how it fails."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.support import streams
from tests.support.speech import (
    ALL,
    ANTHROPIC,
    CHAT,
    CONVERSE,
    GEMINI,
    PROVIDERS_ONLY,
    RESPONSES,
    Speech,
    parse,
    wants_stream,
)
from tests.support.upstream import answer, message_events, stream

PAIRS = [(client, provider) for client in ALL for provider in (*ALL, *PROVIDERS_ONLY) if client is not provider]
IDS = [f"{client.name}-from-{provider.name}" for client, provider in PAIRS]
BASE_PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}
BASE_PATHS["gemini"] = "/v1beta/models/alpha-model:generateContent"
TYPES = {"converse": "application/vnd.amazon.eventstream", "ollama_chat": "application/x-ndjson"}
REPLIES: dict[str, Any] = {
    "responses": {
        "id": "resp_1", "object": "response", "status": "completed", "model": "m", "created_at": 1,
        "output": [
            {
                "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "hello", "annotations": []}],
            }
        ],
        "usage": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8},
    }
}  # fmt: skip


async def behind(redeo: Any, provider: Any, *speakers: tuple[Speech, Any], **settings: Any) -> tuple[Any, list[Any]]:
    """A daemon with these settings in front of these, each speaking one dialect alone."""
    ups = [await provider(script) for _, script in speakers]
    names = ("alpha", "beta")[: len(ups)]
    entries = {name: speech.entry(up) for name, up, (speech, _) in zip(names, ups, speakers, strict=True)}
    server = await redeo(entries, **settings)
    snapshot = server.daemon.store.current
    for name, (speech, _) in zip(names, speakers, strict=True):
        if speech not in (
            ANTHROPIC,
            GEMINI,
        ):  # what a catalogue row says; a base URL alone is asked in Chat and Responses
            _only(snapshot, name, speech)
    return server, ups


def _only(snapshot: Any, name: str, speech: Speech) -> None:
    connection = snapshot.connection(name)
    speaks = {op: route for op, route in connection.spec.speaks.items() if op.value in (speech.name, "models")}

    msgspec.structs.force_setattr(connection.spec, "speaks", speaks)


def text_of(speech: Speech, body: bytes, *, streamed: bool) -> str:
    if not streamed:
        value = json.loads(body)
        if speech is CHAT:
            return str(value["choices"][0]["message"]["content"])
        if speech is ANTHROPIC:
            return "".join(block.get("text", "") for block in value["content"])
        if speech is GEMINI:
            return "".join(part["text"] for part in value["candidates"][0]["content"]["parts"])
        return "".join(part["text"] for item in value["output"] for part in item["content"])
    return streams.text_of(speech, body)


def good(speech: Speech, *texts: str) -> Any:
    async def script(received: Any, wire: Any) -> None:
        if wants_stream(received):
            await spoken(speech, speech.events(*texts))(received, wire)
        else:
            await answer(REPLIES.get(speech.name, speech.whole))(received, wire)

    return script


def spoken(speech: Speech, events: list[bytes]) -> Any:
    """A stream with the type that such a provider gives it."""
    return stream(events, headers={"content-type": TYPES.get(speech.name, "text/event-stream")})


async def ask(server: Any, speech: Speech, **fields: Any) -> Any:
    path, body = speech.asked(**fields)
    got = await server.request("POST", path, json=body)
    assert not got.broken
    return got


@pytest.mark.parametrize(("client", "provider_speech"), PAIRS, ids=IDS)
async def test_a_whole_answer_arrives(redeo: Any, provider: Any, client: Speech, provider_speech: Speech) -> None:
    server, (up,) = await behind(redeo, provider, (provider_speech, good(provider_speech)))
    got = await ask(server, client)
    assert got.status == 200, got.body
    assert text_of(client, got.body, streamed=False) == "hello"
    assert up.requests[0].target == BASE_PATHS.get(provider_speech.name, provider_speech.path)
    assert got.headers["x-redeo-provider"] == "alpha"
    assert "hello" in json.dumps(up.requests[0].json)


@pytest.mark.parametrize(("client", "provider_speech"), PAIRS, ids=IDS)
async def test_a_streamed_answer_arrives(redeo: Any, provider: Any, client: Speech, provider_speech: Speech) -> None:
    server, _ = await behind(redeo, provider, (provider_speech, good(provider_speech, "good ", "day")))
    got = await ask(server, client, stream=True)
    assert text_of(client, got.body, streamed=True) == "good day"
    assert client.endings(got.body) == (1, 0)


@pytest.mark.parametrize(("client", "provider_speech"), PAIRS, ids=IDS)
async def test_a_cut_stream_ends_with_an_error(
    redeo: Any, provider: Any, client: Speech, provider_speech: Speech
) -> None:
    cut = spoken(provider_speech, provider_speech.opening("good ", "day"))
    server, _ = await behind(redeo, provider, (provider_speech, cut))
    got = await ask(server, client, stream=True)
    assert client.endings(got.body) == (0, 1)
    error = client.error_of(got.body)
    code = error["details"][0]["reason"] if client is GEMINI else error["code"]
    assert code == "upstream_stream_interrupted"


@pytest.mark.parametrize(("client", "provider_speech"), PAIRS, ids=IDS)
async def test_an_error_in_the_stream_is_said_in_the_clients_dialect(
    redeo: Any, provider: Any, client: Speech, provider_speech: Speech
) -> None:
    failing = spoken(
        provider_speech, [*provider_speech.opening("good "), provider_speech.failure("server_error", "it broke")]
    )
    server, _ = await behind(redeo, provider, (provider_speech, failing))
    got = await ask(server, client, stream=True)
    assert client.endings(got.body) == (0, 1)
    assert "it broke" in str(client.error_of(got.body)["message"])


@pytest.mark.parametrize(("client", "provider_speech"), PAIRS, ids=IDS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_it_falls_back_across_dialects(
    redeo: Any, provider: Any, client: Speech, provider_speech: Speech, streamed: bool
) -> None:
    overloaded = answer({"error": {"type": "server_error", "message": "Overloaded"}}, 503)
    server, _ = await behind(redeo, provider, (client, overloaded), (provider_speech, good(provider_speech, "hello")))
    got = await ask(server, client, stream=streamed)
    assert text_of(client, got.body, streamed=streamed) == "hello"
    assert got.attempts == "alpha=503 beta=200"


@pytest.mark.parametrize(("client", "provider_speech"), PAIRS, ids=IDS)
async def test_a_refusal_arrives_in_the_clients_dialect(
    redeo: Any, provider: Any, client: Speech, provider_speech: Speech
) -> None:
    refused = answer({"error": {"type": "invalid_request_error", "message": "temperature is off the scale"}}, 400)
    server, _ = await behind(redeo, provider, (provider_speech, refused))
    got = await ask(server, client)
    assert got.status == 400
    error = json.loads(got.body)["error"]
    if client is GEMINI:
        assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    else:
        assert error["type"] == "invalid_request_error"
    assert "temperature is off the scale" in error["message"]
    assert (json.loads(got.body).get("type") == "error") is (client is ANTHROPIC)


async def test_what_is_dropped_is_named(redeo: Any, provider: Any) -> None:
    server, (up,) = await behind(redeo, provider, (ANTHROPIC, good(ANTHROPIC)))
    got = await ask(server, CHAT, seed=7, logit_bias={"50256": -100}, temperature=0.5)
    assert got.status == 200
    assert got.headers["x-redeo-dropped"] == "seed, logit_bias"
    assert up.requests[0].json["temperature"] == 0.5
    assert "seed" not in up.requests[0].json


async def test_where_nothing_may_be_lost_it_is_refused(redeo: Any, provider: Any) -> None:
    up = await provider(good(ANTHROPIC))
    server = await redeo({"alpha": {**ANTHROPIC.entry(up), "unsupported": "error"}})
    got = await ask(server, CHAT, seed=7)
    assert (got.status, json.loads(got.body)["error"]["code"]) == (400, "unsupported_parameter")
    assert json.loads(got.body)["error"]["param"] == "seed"
    assert "alpha" in json.loads(got.body)["error"]["message"]
    assert not up.requests


async def test_the_next_connection_is_asked_where_nothing_may_be_lost(redeo: Any, provider: Any) -> None:
    ups = [await provider(good(ANTHROPIC)), await provider(good(CHAT))]
    entries = {"alpha": {**ANTHROPIC.entry(ups[0]), "unsupported": "error"}, "beta": CHAT.entry(ups[1])}
    got = await ask(await redeo(entries), CHAT, seed=7)
    assert (got.status, got.attempts) == (200, "beta=200")
    assert not ups[0].requests


async def test_a_picture_by_its_address_goes_to_who_can_fetch_it(redeo: Any, provider: Any) -> None:
    picture = {"type": "image", "source": {"type": "url", "url": "https://a.example/a.png"}}
    turn = {"role": "user", "content": [{"type": "text", "text": "what is this?"}, picture]}
    server, ups = await behind(redeo, provider, (CONVERSE, good(CONVERSE)), (CHAT, good(CHAT)))
    got = await ask(server, ANTHROPIC, messages=[turn])
    assert (got.status, got.headers["x-redeo-provider"]) == (200, "beta")
    assert not ups[0].requests
    assert "https://a.example/a.png" in ups[1].requests[0].body.decode()
    server, (up,) = await behind(redeo, provider, (CONVERSE, good(CONVERSE)))
    got = await ask(server, ANTHROPIC, messages=[turn])
    assert (got.status, up.requests) == (400, [])
    assert "messages[0].content[1]" in got.json["error"]["message"]


async def test_what_another_provider_keeps_is_not_asked_of_this_one(redeo: Any, provider: Any) -> None:
    server, (up,) = await behind(redeo, provider, (ANTHROPIC, good(ANTHROPIC)))
    got = await ask(server, RESPONSES, previous_response_id="resp_1")
    assert got.status == 404
    assert not up.requests


async def test_a_call_of_a_tool_and_its_result_travel(redeo: Any, provider: Any) -> None:
    calls: list[bytes] = []

    def said(kind: str, **fields: Any) -> None:
        calls.append(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode())

    said("message_start", message={"id": "msg_1", "model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}})
    block = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {}}
    said("content_block_start", index=0, content_block=block)
    for piece in ('{"a"', ': 1, "b', '": 2}'):
        said("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": piece})
    said("content_block_stop", index=0)
    said("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 7})
    said("message_stop")
    server, (up,) = await behind(redeo, provider, (ANTHROPIC, stream(calls)))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
    tools = [{"type": "function", "function": {"name": "add", "parameters": schema}}]
    got = await ask(server, CHAT, stream=True, tools=tools, stream_options={"include_usage": True})
    events = [json.loads(data) for _, data in parse(got.body)[0] if data != "[DONE]"]
    deltas = [call for e in events for c in e["choices"] for call in c["delta"].get("tool_calls", [])]
    assert deltas[0]["id"] == "toolu_1"
    assert json.loads("".join(d["function"].get("arguments", "") for d in deltas)) == {"a": 1, "b": 2}
    assert [c["finish_reason"] for e in events for c in e["choices"] if c["finish_reason"]] == ["tool_calls"]
    usage = next(e["usage"] for e in events if e.get("usage"))
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (9, 7)
    assert up.requests[0].json["tools"] == [{"name": "add", "input_schema": schema}]
    call = {"id": "toolu_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
    told = [
        {"role": "user", "content": "1 + 2?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "3"},
    ]
    await ask(server, CHAT, stream=True, tools=tools, messages=told)
    assert up.requests[1].json["messages"] == [
        {"role": "user", "content": "1 + 2?"},
        {"role": "assistant", "content": [{**block, "input": {"a": 1, "b": 2}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "3"}]},
    ]


THINKING = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
    "content": [
        {"type": "thinking", "thinking": "let me see", "signature": "c2lnbmVk"},
        {"type": "text", "text": "3"},
    ],
    "usage": {"input_tokens": 3, "output_tokens": 5},
}  # fmt: skip


async def test_signed_thinking_goes_back_unaltered_to_whom_it_came_from_and_to_nobody_else(
    redeo: Any, provider: Any
) -> None:
    server, ups = await behind(redeo, provider, (ANTHROPIC, answer(THINKING)), (CHAT, good(CHAT)))
    got = await ask(server, RESPONSES, model="alpha/m")
    output = json.loads(got.body)["output"]
    assert output[0]["type"] == "reasoning"
    turns = [{"role": "user", "content": "1 + 2?"}, *output, {"role": "user", "content": "sure?"}]
    await ask(server, RESPONSES, model="alpha/m", input=turns)
    assert ups[0].requests[1].json["messages"][1]["content"] == THINKING["content"]
    other = await ask(server, RESPONSES, model="beta/m", input=turns)
    assert "c2lnbmVk" not in json.dumps(ups[1].requests[0].json)
    assert "redeo1." not in json.dumps(ups[1].requests[0].json)
    assert "thinking" in other.headers["x-redeo-dropped"]


async def test_what_another_dialect_sealed_is_taken_out_of_a_relayed_request(redeo: Any, provider: Any) -> None:
    server, ups = await behind(redeo, provider, (ANTHROPIC, answer(THINKING)), (RESPONSES, good(RESPONSES)))
    output = json.loads((await ask(server, RESPONSES, model="alpha/m")).body)["output"]
    turns = [{"role": "user", "content": "1 + 2?"}, *output, {"role": "user", "content": "sure?"}]
    got = await ask(server, RESPONSES, model="beta/m", input=turns)
    assert got.status == 200
    assert "redeo1." not in json.dumps(ups[1].requests[0].json)
    assert "thinking" in got.headers["x-redeo-dropped"]


async def test_usage_is_counted_as_the_provider_said(redeo: Any, provider: Any) -> None:
    server, _ = await behind(redeo, provider, (ANTHROPIC, stream(message_events("hi"))))
    got = await ask(server, CHAT, stream=True)
    assert b'"usage":{' not in got.body, "the client did not ask for it"
    assert "redeo_tokens_total{" in await server.metrics()


SEARCHED = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
    "content": [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "weather"}},
        {"type": "text", "text": "hello"},
    ],
    "usage": {"input_tokens": 3, "output_tokens": 5},
}  # fmt: skip


async def test_what_an_answer_cannot_be_told_is_named_beside_what_the_question_could_not_say(
    redeo: Any, provider: Any
) -> None:
    server, _ = await behind(redeo, provider, (ANTHROPIC, answer(SEARCHED)))
    got = await ask(server, CHAT, seed=7)
    assert got.headers["x-redeo-dropped"] == "seed, searches"
    assert "x-redeo-dropped" not in (await ask(server, RESPONSES)).headers, "that has a word for searches"


async def test_what_a_stream_cannot_tell_is_named_before_its_end(redeo: Any, provider: Any) -> None:
    call = {"type": "content_block_start", "index": 0, "content_block": SEARCHED["content"][0]}
    begun, *rest = message_events("hello")
    searched = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in (
        call, {"type": "content_block_stop", "index": 0}
    )]  # fmt: skip
    later = [event.replace(b'"index": 0', b'"index": 1') for event in rest]
    server, _ = await behind(redeo, provider, (ANTHROPIC, spoken(ANTHROPIC, [begun, *searched, *later])))
    got = await ask(server, CHAT, stream=True)
    assert text_of(CHAT, got.body, streamed=True) == "hello"
    assert got.body.endswith(b": redeo-dropped: searches\n\ndata: [DONE]\n\n")
    asked = await ask(server, GEMINI, stream=True)
    assert b"redeo-dropped" not in asked.body, "Google's own client fails on comments"


@pytest.mark.parametrize("client", ALL, ids=lambda speech: speech.name)
async def test_a_parameter_of_the_wrong_type_is_the_clients_mistake_and_named(
    redeo: Any, provider: Any, client: Speech
) -> None:
    other = ANTHROPIC if client is not ANTHROPIC else CHAT
    server, (up,) = await behind(redeo, provider, (other, good(other)))
    wrong = {"generationConfig": {"temperature": "warm"}} if client is GEMINI else {"temperature": "warm"}
    got = await ask(server, client, **wrong)
    assert got.status == 400
    error = json.loads(got.body)["error"]
    assert "temperature` must be a number" in error["message"]
    if client is not GEMINI:
        assert error["code"] == "invalid_request"
    assert not up.requests
