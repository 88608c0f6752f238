"""JSON that is nested as deeply as can be read: it is refused, or told as the provider's fault, and breaks nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.dialects.test_translation import behind, good, spoken
from tests.support.speech import ANTHROPIC, CHAT, GEMINI, RESPONSES, Speech
from tests.support.upstream import answer, event

# As deep as is read at all; what translates goes down it step by step, and needs more than one frame for each.
DEPTHS = (300, 700, 880)


def schema(depth: int) -> Any:
    return json.loads('{"type": "array", "items":' * depth + "{}" + "}" * depth)


def _tools(speech: Speech, deep: Any) -> dict[str, Any]:
    if speech is CHAT:
        return {"tools": [{"type": "function", "function": {"name": "f", "parameters": deep}}]}
    if speech is RESPONSES:
        return {"tools": [{"type": "function", "name": "f", "parameters": deep}]}
    return {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {"a": deep}}}]}


@pytest.mark.parametrize("client", [CHAT, ANTHROPIC, RESPONSES], ids=lambda speech: speech.name)
async def test_a_deep_question_is_asked_or_refused(redeo: Any, provider: Any, client: Speech) -> None:
    server, _ = await behind(redeo, provider, (GEMINI, good(GEMINI)))
    for depth in DEPTHS:
        path, body = client.asked(**_tools(client, schema(depth)))
        got = await server.request("POST", path, data=json.dumps(body), headers={"content-type": "application/json"})
        assert got.status in (200, 400), got.body
        if got.status == 400:
            assert "deep" in got.json["error"]["message"]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("client", [CHAT, ANTHROPIC, RESPONSES], ids=lambda speech: speech.name)
async def test_a_deep_answer_ends_all_the_same(redeo: Any, provider: Any, client: Speech, streamed: bool) -> None:
    server, (up,) = await behind(redeo, provider, (GEMINI, good(GEMINI)))
    for depth in DEPTHS:
        server.daemon.front.engine.health._states.clear()
        call = {"functionCall": {"name": "f", "args": {"a": schema(depth)}}}
        candidate = {"content": {"role": "model", "parts": [{"text": "so"}, call]}, "finishReason": "STOP", "index": 0}
        whole = {"candidates": [candidate], "responseId": "r1"}
        opening = GEMINI.opening("so ")
        up.scripts[:] = [spoken(GEMINI, [*opening, event(whole)]) if streamed else answer(whole)]
        path, body = client.asked(stream=streamed)
        got = await server.request("POST", path, json=body)
        assert not got.broken
        if streamed:
            assert client.endings(got.body) in ((1, 0), (0, 1))
        else:
            assert got.status in (200, 502), got.body


@pytest.mark.parametrize("streamed", [False, True])
async def test_arguments_that_are_a_text_elsewhere_may_be_too_deep(redeo: Any, provider: Any, streamed: bool) -> None:
    server, (up,) = await behind(redeo, provider, (CHAT, good(CHAT)))
    for depth in range(900, 1000, 3):  # one of them can be read and not be written into an answer
        server.daemon.front.engine.health._states.clear()
        text = '{"a":' * depth + "1" + "}" * depth
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": text}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choice = {"index": 0, "finish_reason": "tool_calls", "delta" if streamed else "message": message}
        said = {"id": "c1", "model": "m", "choices": [choice]}
        up.scripts[:] = [spoken(CHAT, [*CHAT.opening("so "), event(said)]) if streamed else answer(said)]
        path, body = GEMINI.asked(stream=streamed)
        got = await server.request("POST", path, json=body)
        assert not got.broken
        if streamed:
            assert GEMINI.endings(got.body) in ((1, 0), (0, 1))
        else:
            assert got.status in (200, 502), got.body


@pytest.mark.parametrize("client", [CHAT, ANTHROPIC, RESPONSES], ids=lambda speech: speech.name)
async def test_a_number_of_any_size_is_asked_or_refused(redeo: Any, provider: Any, client: Speech) -> None:
    server, _ = await behind(redeo, provider, (GEMINI, good(GEMINI)))
    name = {"chat": "max_completion_tokens", "messages": "max_tokens"}.get(client.name, "max_output_tokens")
    path, body = client.asked(**{name: 10**400})
    got = await server.request("POST", path, json=body)
    assert got.status in (200, 400), got.body
