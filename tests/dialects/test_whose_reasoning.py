"""Encrypted reasoning of a relayed answer: back to its maker as it came, and to nobody else unnoticed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.model import Operation
from proxy.dialects import sealed
from tests.support.speech import ANTHROPIC, CHAT, GEMINI, RESPONSES, Speech, wants_stream
from tests.support.upstream import Script, answer, event, stream

SEAL = "Z0FBQUFBQnBsYWluU2VjcmV0/+1234567890=="
ITEM = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": SEAL}
SAID = {
    "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
    "content": [{"type": "output_text", "text": "3", "annotations": []}],
}  # fmt: skip
THOUGHT = {"type": "thinking", "thinking": "let me see", "signature": SEAL}
HIDDEN = {"type": "redacted_thinking", "data": SEAL}
SIGNED = {"text": "3", "thoughtSignature": SEAL}


def named(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def _responses(_: bool) -> tuple[dict[str, Any], list[bytes], dict[str, Any]]:
    whole = {**RESPONSES.whole, "output": [ITEM, SAID]}
    first, *rest = RESPONSES.events("3")
    events = [first, named("response.output_item.done", output_index=0, item=ITEM, sequence_number=1), *rest]
    turns = [{"role": "user", "content": "1 + 2?"}, ITEM, SAID, {"role": "user", "content": "sure?"}]
    return whole, events, {"model": "auto", "input": turns, "store": False}


def _messages(redacted: bool) -> tuple[dict[str, Any], list[bytes], dict[str, Any]]:
    block = HIDDEN if redacted else THOUGHT
    said = [block, {"type": "text", "text": "3"}]
    opening = block if redacted else {"type": "thinking", "thinking": "", "signature": ""}
    events = ANTHROPIC.events("3")
    thought = [
        named("content_block_start", index=7, content_block=opening),
        named("content_block_delta", index=7, delta={"type": "signature_delta", "signature": SEAL}),
        named("content_block_stop", index=7),
    ]
    turns = [
        {"role": "user", "content": "1 + 2?"},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "sure?"},
    ]
    whole = {**ANTHROPIC.whole, "content": said}
    return whole, [events[0], *thought, *events[1:]], {**ANTHROPIC.body, "messages": turns}


def _gemini(_: bool) -> tuple[dict[str, Any], list[bytes], dict[str, Any]]:
    content = {"role": "model", "parts": [SIGNED]}
    whole = {**GEMINI.whole, "candidates": [{"content": content, "finishReason": "STOP", "index": 0}]}
    turns = [
        {"role": "user", "parts": [{"text": "1 + 2?"}]},
        content,
        {"role": "user", "parts": [{"text": "sure?"}]},
    ]
    return whole, [event(whole)], {"contents": turns}


KINDS: list[tuple[Speech, Any, bool, str, str]] = [
    (RESPONSES, _responses, False, "invalid_encrypted_content", "The encrypted content for item rs_1 is not valid."),
    (ANTHROPIC, _messages, False, "invalid_request_error", "messages.1: Invalid `signature` in `thinking` block"),
    (ANTHROPIC, _messages, True, "invalid_request_error", "messages.1: Invalid `data` in `redacted_thinking` block"),
    (GEMINI, _gemini, False, "INVALID_ARGUMENT", "Thought signature is not valid."),
]  # fmt: skip
NAMES = ["responses", "messages", "redacted", "gemini"]


def said(speech: Speech, whole: dict[str, Any], events: list[bytes]) -> Script:
    async def script(received: Any, wire: Any) -> None:
        await (stream(events) if wants_stream(received) else answer(whole))(received, wire)

    return script


async def ask(server: Any, speech: Speech, body: dict[str, Any], model: str, *, streamed: bool = False) -> Any:
    path, asked = speech.asked(**{**body, "model": model, "stream": streamed})
    return await server.request("POST", path, json=asked)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("speech", "make", "redacted", "code", "words"), KINDS, ids=NAMES)
async def test_what_one_connection_sealed_goes_back_to_it_and_to_no_other(
    redeo: Any, provider: Any, speech: Speech, make: Any, redacted: bool, code: str, words: str, streamed: bool
) -> None:
    whole, events, turns = make(redacted)
    ups = [await provider(said(speech, whole, events)), await provider(speech.good())]
    server = await redeo({"alpha": speech.entry(ups[0]), "beta": speech.entry(ups[1])})
    assert (await ask(server, speech, speech.body, "alpha/m", streamed=streamed)).status == 200
    back = await ask(server, speech, turns, "alpha/m")
    assert "x-redeo-dropped" not in back.headers
    if speech is not GEMINI:
        assert ups[0].requests[1].json == {**turns, "model": "m", "stream": False}
    assert SEAL in ups[0].requests[1].body.decode()
    other = await ask(server, speech, turns, "beta/m")
    assert other.status == 200
    assert SEAL not in ups[1].requests[0].body.decode()
    assert "thinking" in other.headers["x-redeo-dropped"] or "ignature" in other.headers["x-redeo-dropped"]
    for kept in ("1 + 2?", "sure?", "3"):
        assert kept in ups[1].requests[0].body.decode()


@pytest.mark.parametrize(("speech", "make", "redacted", "code", "words"), KINDS, ids=NAMES)
async def test_what_nobody_saw_made_is_left_out_once_where_it_is_refused(
    redeo: Any, provider: Any, speech: Speech, make: Any, redacted: bool, code: str, words: str
) -> None:
    _, _, turns = make(redacted)
    error: dict[str, Any] = {"type": code, "code": code, "message": words}
    if speech is GEMINI:
        error = {"code": 400, "status": code, "message": words}
    up = await provider(answer({"type": "error", "error": error}, 400), speech.good())
    server = await redeo({"alpha": speech.entry(up)})
    got = await ask(server, speech, turns, "alpha/m")
    assert (got.status, got.attempts) == (200, "alpha=400 alpha=200")
    assert SEAL in up.requests[0].body.decode()
    assert SEAL not in up.requests[1].body.decode()
    assert got.headers["x-redeo-dropped"]


async def test_it_is_left_out_once_and_not_again(redeo: Any, provider: Any) -> None:
    _, _, turns = _messages(False)
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": KINDS[1][4]}}
    up = await provider(answer(error, 400))
    server = await redeo({"alpha": ANTHROPIC.entry(up)})
    got = await ask(server, ANTHROPIC, turns, "alpha/m")
    assert (got.status, got.json, got.attempts) == (400, error, "alpha=400 alpha=400")


async def test_each_connection_may_be_asked_once_without_it(redeo: Any, provider: Any) -> None:
    _, _, turns = _messages(False)
    refused = answer({"type": "error", "error": {"type": "invalid_request_error", "message": KINDS[1][4]}}, 400)
    down = answer({"type": "error", "error": {"type": "api_error", "message": "it broke"}}, 500)
    ups = [await provider(refused, down), await provider(refused, ANTHROPIC.good())]
    server = await redeo({"alpha": ANTHROPIC.entry(ups[0]), "beta": ANTHROPIC.entry(ups[1])})
    got = await ask(server, ANTHROPIC, turns, "auto")
    assert (got.status, got.attempts) == (200, "alpha=400 alpha=500 beta=400 beta=200"), got.body
    assert SEAL not in ups[1].requests[1].body.decode()


async def test_another_mistake_is_told_at_once(redeo: Any, provider: Any) -> None:
    _, _, turns = _messages(False)
    up = await provider(answer({"type": "error", "error": {"type": "invalid_request_error", "message": "top_k"}}, 400))
    server = await redeo({"alpha": ANTHROPIC.entry(up)})
    assert (await ask(server, ANTHROPIC, turns, "alpha/m")).attempts == "alpha=400"


async def test_where_nothing_may_be_lost_the_refusal_stands(redeo: Any, provider: Any) -> None:
    _, _, turns = _responses(False)
    up = await provider(answer({"error": {"message": KINDS[0][4], "code": KINDS[0][3]}}, 400))
    server = await redeo({"alpha": {**RESPONSES.entry(up), "unsupported": "error"}})
    got = await ask(server, RESPONSES, turns, "alpha/m")
    assert (got.status, got.attempts) == (400, "alpha=400")
    assert got.json["error"]["message"] == KINDS[0][4]


async def test_a_fallback_in_the_same_request_leaves_it_out(redeo: Any, provider: Any) -> None:
    whole, events, turns = _responses(False)
    down = answer({"error": {"message": "it broke", "type": "server_error"}}, 500)
    ups = [await provider(said(RESPONSES, whole, events), down), await provider(RESPONSES.good())]
    server = await redeo({"alpha": RESPONSES.entry(ups[0]), "beta": RESPONSES.entry(ups[1])})
    await ask(server, RESPONSES, {**RESPONSES.body, "store": False}, "auto")
    got = await ask(server, RESPONSES, turns, "auto")
    assert (got.status, got.attempts) == (200, "alpha=500 beta=200")
    assert SEAL not in ups[1].requests[0].body.decode()
    assert "thinking" in got.headers["x-redeo-dropped"]


async def test_a_conversation_that_one_connection_made_short_is_asked_of_no_other(redeo: Any, provider: Any) -> None:
    """A compaction is what was said so far: without it the question is another."""
    item = {"type": "compaction", "id": "cmp_1", "encrypted_content": SEAL}
    first, *rest = RESPONSES.events("3")
    made = named("response.output_item.done", output_index=0, item=item, sequence_number=1)
    ups = [await provider(stream([first, made, *rest]), RESPONSES.good()), await provider(RESPONSES.good())]
    server = await redeo({"alpha": RESPONSES.entry(ups[0]), "beta": RESPONSES.entry(ups[1])})
    assert (await ask(server, RESPONSES, RESPONSES.body, "alpha/m", streamed=True)).status == 200
    turns = {"model": "auto", "input": [item, {"role": "user", "content": "sure?"}], "store": False}
    back = await ask(server, RESPONSES, turns, "alpha/m")
    assert (back.status, ups[0].requests[1].json["input"][0]) == (200, item)
    other = await ask(server, RESPONSES, turns, "beta/m")
    assert (other.status, ups[1].requests) == (400, [])
    assert other.json["error"]["code"] == "unsupported_parameter"
    assert other.json["error"]["param"].startswith("input[0]")


async def test_where_reasoning_is_refused_what_was_made_short_stays(redeo: Any, provider: Any) -> None:
    up = await provider(answer({"error": {"message": KINDS[0][4], "code": KINDS[0][3]}}, 400), RESPONSES.good())
    server = await redeo({"alpha": RESPONSES.entry(up)})
    short = {"type": "compaction", "id": "cmp_1", "encrypted_content": "x" * 40}
    turns = {"model": "auto", "input": [short, ITEM, {"role": "user", "content": "sure?"}], "store": False}
    got = await ask(server, RESPONSES, turns, "alpha/m")
    assert (got.status, got.attempts) == (200, "alpha=400 alpha=200")
    assert [item.get("type") for item in up.requests[1].json["input"]] == ["compaction", "message"]


@given(st.text("ABCxyz019+/=_-", min_size=16, max_size=200), st.booleans(), st.booleans())
def test_a_digest_is_of_the_text_however_json_spells_it(text: str, spaced: bool, escaped: bool) -> None:
    body = json.dumps({"input": [{"encrypted_content": text}]}, separators=(" , ", " : ") if spaced else (",", ":"))
    raw = body.replace("/", "\\/") if escaped else body
    assert sealed.digests(Operation.RESPONSES, raw.encode()) == [sealed.digest_of(text)]
    assert not sealed.digests(Operation.MESSAGES, raw.encode())


def test_media_are_not_looked_through() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 100}}
    assert not sealed.digests(Operation.MESSAGES, json.dumps([image]).encode())
    assert len(sealed.digests(Operation.MESSAGES, json.dumps([image, THOUGHT]).encode())) == 1
    assert CHAT.name == Operation.CHAT
