"""The official google-genai SDK against the daemon, in front of providers of its own dialect and of others."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from tests.support.daemon import Redeo
from tests.support.speech import ANTHROPIC, CHAT, GEMINI
from tests.support.upstream import answer, stream

SIGNED = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"functionCall": {"id": "c1", "name": "add", "args": {"a": 1}}, "thoughtSignature": "c2lnbmVk"}
                ],
            },
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5, "totalTokenCount": 8},
    "responseId": "r1",
    "modelVersion": "m",
}
CALLED = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "c2VhbGVk"},
        {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}},
    ],
    "usage": {"input_tokens": 3, "output_tokens": 5},
}  # fmt: skip
ADD = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="add",
            description="adds",
            parameters=types.Schema(type=types.Type.OBJECT, properties={"a": types.Schema(type=types.Type.INTEGER)}),
        )
    ]
)


pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # the SDK's, of aiohttp


@pytest.fixture
async def sdk() -> AsyncIterator[Any]:
    clients: list[Any] = []

    def make(server: Redeo, key: str | None = None) -> Any:
        options = types.HttpOptions(base_url=server.base, api_version="v1beta")
        clients.append(genai.Client(api_key=key or server.key, http_options=options).aio)
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


async def test_bytes_pass_between_equals(redeo: Any, provider: Any, sdk: Any) -> None:
    up = await provider(GEMINI.good("good ", "day"))
    server = await redeo({"alpha": GEMINI.entry(up)})
    client = sdk(server)
    got = await client.models.generate_content(model="auto", contents="hello")
    assert (got.text, got.usage_metadata.total_token_count) == ("hello", 8)
    pieces = [c.text async for c in await client.models.generate_content_stream(model="auto", contents="hello")]
    assert "".join(piece or "" for piece in pieces) == "good day"
    assert [r.target for r in up.requests] == [
        "/v1beta/models/alpha-model:generateContent",
        "/v1beta/models/alpha-model:streamGenerateContent?alt=sse",
    ]
    assert up.requests[0].header("x-goog-api-key") == server.keys["alpha"]


@pytest.mark.parametrize("speech", [CHAT, ANTHROPIC], ids=lambda s: s.name)
async def test_other_providers_answer_too(redeo: Any, provider: Any, sdk: Any, speech: Any) -> None:
    up = await provider(speech.good("good ", "day"))
    client = sdk(await redeo({"alpha": speech.entry(up)}))
    assert (await client.models.generate_content(model="auto", contents="hello")).text == "hello"
    pieces = [c.text async for c in await client.models.generate_content_stream(model="auto", contents="hello")]
    assert "".join(piece or "" for piece in pieces) == "good day"


async def test_errors_have_googles_form(redeo: Any, provider: Any, sdk: Any) -> None:
    up = await provider(answer({"error": {"type": "overloaded_error", "message": "Overloaded"}}, 529))
    server = await redeo({"alpha": ANTHROPIC.entry(up)})
    with pytest.raises(errors.ServerError) as caught:
        await sdk(server).models.generate_content(model="auto", contents="hello")
    assert (caught.value.code, caught.value.status) == (503, "UNAVAILABLE")
    assert "alpha" in str(caught.value.message)
    with pytest.raises(errors.ClientError) as refused:
        await sdk(server, "wrong").models.generate_content(model="auto", contents="hello")
    assert (refused.value.code, refused.value.status) == (401, "UNAUTHENTICATED")


async def test_a_cut_stream_raises(redeo: Any, provider: Any, sdk: Any) -> None:
    up = await provider(stream(ANTHROPIC.opening("good ", "day")))
    client = sdk(await redeo({"alpha": ANTHROPIC.entry(up)}))
    said: list[str] = []

    async def listen() -> None:
        async for chunk in await client.models.generate_content_stream(model="auto", contents="hello"):
            said.append(chunk.text)

    with pytest.raises(errors.APIError):
        await listen()
    assert "".join(said) == "good day"


async def test_signed_calls_go_back_to_google_through_other_dialects(redeo: Any, provider: Any, sdk: Any) -> None:
    up = await provider(answer(SIGNED))
    server = await redeo({"alpha": GEMINI.entry(up)})
    tools = [{"name": "add", "input_schema": {"type": "object", "properties": {"a": {"const": 1}}}}]
    asked = {**ANTHROPIC.body, "tools": tools}
    content = json.loads((await server.request("POST", "/v1/messages", json=asked)).body)["content"]
    assert content[-1] == {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": "3"}
    turns = [*asked["messages"], {"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    await server.request("POST", "/v1/messages", json={**asked, "messages": turns})
    sent = up.requests[1].json
    assert sent["contents"][1]["parts"] == SIGNED["candidates"][0]["content"]["parts"]  # type: ignore[index]  # JSON
    assert sent["contents"][2]["parts"] == [
        {"functionResponse": {"id": "c1", "name": "add", "response": {"output": "3"}}}
    ]
    declared = sent["tools"][0]["functionDeclarations"][0]
    assert declared["parametersJsonSchema"]["properties"] == {"a": {"enum": [1]}}


async def test_signed_thinking_of_others_goes_back_through_google(redeo: Any, provider: Any, sdk: Any) -> None:
    up = await provider(answer(CALLED))
    client = sdk(await redeo({"alpha": ANTHROPIC.entry(up)}))
    config = types.GenerateContentConfig(
        tools=[ADD], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )
    question = types.Content(role="user", parts=[types.Part(text="1?")])
    got = await client.models.generate_content(model="auto", contents=[question], config=config)
    call = got.function_calls[0]
    reply = types.Part(function_response=types.FunctionResponse(id=call.id, name="add", response={"output": "3"}))
    turns = [question, got.candidates[0].content, types.Content(role="user", parts=[reply])]
    await client.models.generate_content(model="auto", contents=turns, config=config)
    assert up.requests[1].json["messages"][1]["content"] == CALLED["content"]
    assert up.requests[0].json["tools"][0]["input_schema"] == {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
    }


THOUGHT = {"type": "thinking", "thinking": "hm, hm", "signature": "c2VhbGVk"}
REDACTED = {"type": "redacted_thinking", "data": "aGlkZGVu"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}}
WORDS = {"type": "text", "text": "let me see"}


def streamed(content: list[dict[str, Any]]) -> list[bytes]:
    """Anthropic's stream that says this, in several deltas."""
    events = [event for event in ANTHROPIC.opening() if b"content_block" not in event]

    def named(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    for n, block in enumerate(content):
        opening = {**block, "thinking": "", "signature": "", "text": "", "input": {}}
        deltas: list[dict[str, Any]] = []
        if "thinking" in block:
            deltas = [{"type": "thinking_delta", "thinking": letter} for letter in block["thinking"]]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        elif "text" in block:
            deltas = [{"type": "text_delta", "text": word} for word in (block["text"][:3], block["text"][3:])]
        elif "input" in block:
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        events.append(named("content_block_start", index=n, content_block={k: opening[k] for k in block}))
        events += [named("content_block_delta", index=n, delta=delta) for delta in deltas]
        events.append(named("content_block_stop", index=n))
    called = any(block["type"] == "tool_use" for block in content)
    delta = {"stop_reason": "tool_use" if called else "end_turn", "stop_sequence": None}
    return [*events, named("message_delta", delta=delta, usage={"output_tokens": 5}), named("message_stop")]


@pytest.mark.parametrize("thoughtless", [False, True], ids=["all-parts", "without-thoughts"])
@pytest.mark.parametrize(
    "content",
    [
        [THOUGHT, CALL],
        [THOUGHT, WORDS, CALL],
        [REDACTED, THOUGHT, WORDS, CALL, {**CALL, "id": "toolu_2"}],
        [THOUGHT, {**THOUGHT, "thinking": "and then", "signature": "b3RoZXI"}, CALL],
        [THOUGHT, WORDS],
        [REDACTED, WORDS],
    ],
    ids=lambda content: "-".join(block["type"] for block in content),
)
async def test_streamed_thinking_comes_back_where_it_was(
    redeo: Any, provider: Any, sdk: Any, content: list[dict[str, Any]], thoughtless: bool
) -> None:
    """Some clients, Gemini CLI among them, hand back all but the thoughts: then calls bring these."""
    called = content[-1]["type"] == "tool_use"
    up = await provider(stream(streamed(content)), ANTHROPIC.good())
    client = sdk(await redeo({"alpha": ANTHROPIC.entry(up)}))
    question = types.Content(role="user", parts=[types.Part(text="1?")])
    chunks = [c async for c in await client.models.generate_content_stream(model="auto", contents=[question])]
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    kept = [part for part in parts if not (thoughtless and part.thought)]
    again = types.Part(text="go on")
    if called:
        again = types.Part(function_response=types.FunctionResponse(id="toolu_1", name="add", response={"output": "3"}))
    turns = [question, types.Content(role="model", parts=kept), types.Content(role="user", parts=[again])]
    await client.models.generate_content(model="auto", contents=turns)
    sent = up.requests[1].json["messages"][1]["content"]
    sent = [{"type": "text", "text": sent}] if isinstance(sent, str) else sent
    texts = [block["text"] for block in sent if block["type"] == "text"]
    assert "".join(texts) == "".join(block.get("text", "") for block in content)
    thoughts = [block for block in content if "thinking" in block["type"]]
    if thoughtless and not called:
        thoughts = []
    assert [block for block in sent if "thinking" in block["type"]] == thoughts
    assert sent[: len(thoughts)] == thoughts
    assert [block for block in sent if block["type"] == "tool_use"] == [b for b in content if b["type"] == "tool_use"]


async def test_models_are_listed_in_googles_form(redeo: Any, provider: Any, sdk: Any) -> None:
    client = sdk(await redeo({"alpha": GEMINI.entry(await provider())}))
    names = [model.name async for model in await client.models.list()]
    assert "models/auto" in names
