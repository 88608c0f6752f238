"""Cohere's Chat: what it can be asked and what its answers mean. The types of Cohere's own SDK are the judge."""

from __future__ import annotations

import json
import typing
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cohere.v2.raw_client import RawV2Client
from cohere.v2.types import V2ChatResponse, V2ChatStreamResponse
from pydantic import BaseModel, TypeAdapter

from proxy.dialects.base import DialectName, ReplyHead, Target, dialect
from proxy.dialects.blocks import Count, Finish
from proxy.dialects.events import Broken, Failed, Laws, fold, unfold
from proxy.dialects.request import Loss, Request
from tests.support.recorded import DIALECTS, folded, requests

COHERE = dialect(DialectName.COHERE)
WORDS = {"tool_choice": {"REQUIRED", "NONE"}, "detail": {"auto", "low", "high"}}
PIXEL = "data:image/png;base64,aGk="


# --- against the SDK


@cache
def fields(method: str) -> dict[str, Any]:
    """What the SDK can send, each with its type."""
    hints = typing.get_type_hints(getattr(RawV2Client, method), include_extras=True)
    return {name: TypeAdapter(hint) for name, hint in hints.items() if name not in ("return", "request_options")}


def unknown(value: Any, at: str = "") -> list[str]:
    """The fields that the SDK's types do not know, and words that they do not list."""
    if isinstance(value, BaseModel):
        wrong = [f"{at}.{name}" for name in value.model_extra or {}]
        for name in type(value).model_fields:
            inner = getattr(value, name)
            if name in WORDS and inner is not None and inner not in WORDS[name]:
                wrong.append(f"{at}.{name}: {inner}")
            wrong += unknown(inner, f"{at}.{name}")
        return wrong
    if isinstance(value, list):
        return [found for n, item in enumerate(value) for found in unknown(item, f"{at}[{n}]")]
    return []


def hold(body: dict[str, Any]) -> None:
    given = dict(body)
    known = fields("chat_stream" if given.pop("stream") else "chat")
    assert set(given) <= set(known), set(given) - set(known)
    assert {"model", "messages"} <= set(given)
    assert given.get("tool_choice", "NONE") in WORDS["tool_choice"]
    for name, value in given.items():
        assert not (wrong := unknown(known[name].validate_python(value), name)), wrong


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("home", DIALECTS.values())
def test_every_recorded_request_is_one_that_the_sdk_knows(recordings: Path, home: DialectName, streamed: bool) -> None:
    read = 0
    for _, request in requests(recordings, home):
        request.stream = streamed
        body, losses = COHERE.write_request(request, Target("o", "command-a-03-2025"))
        if not any(loss.content for loss in losses):
            hold(body)
            read += 1
    assert read > (1 if home is DialectName.COHERE else 12)


@pytest.mark.parametrize("home", DIALECTS.values())
def test_every_recorded_answer_is_one_that_the_sdk_reads(recordings: Path, home: DialectName) -> None:
    events = TypeAdapter(V2ChatStreamResponse)
    read = 0
    for exchange, answer in folded(recordings, home):
        name = exchange["id"]
        head = ReplyHead("r", 1, Request(DialectName.COHERE, "m", ()), "m")
        body = json.loads(json.dumps(COHERE.write_answer(answer, head)))
        whole = V2ChatResponse.model_validate(body)
        assert unknown(whole) == [], name
        renderer = COHERE.renderer(head)
        lines = (
            b"".join(renderer.event(event) for event in unfold(answer)).decode("utf-8", "surrogatepass").splitlines()
        )
        told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
        found = [events.validate_python(value) for value in told]
        assert [event.type for event in found] == [value["type"] for value in told], name
        wrong = [w for event in found if event.type != "message-start" for w in unknown(event)]
        assert wrong == [], name  # `message-start` has more than the SDK knows, in the recordings as well
        texts = "".join(e.delta.message.content.text or "" for e in found if e.type == "content-delta")
        assert texts == "".join(part.text for part in whole.message.content or () if part.type == "text"), name
        assert [e.delta.message.tool_calls.id for e in found if e.type == "tool-call-start"] == [
            call.id for call in whole.message.tool_calls or ()
        ], name
        assert [e.index for e in found if e.type == "tool-call-start"] == list(
            range(len(whole.message.tool_calls or ()))
        )
        read += 1
    assert read > 2


# --- questions


def chat(*messages: Any, **more: Any) -> tuple[dict[str, Any], list[Loss]]:
    given = messages or ({"role": "user", "content": "hi"},)
    request = dialect(DialectName.CHAT).read_request({"model": "m", "messages": list(given), **more})
    body, losses = COHERE.write_request(request, Target("o", "command-a-03-2025"))
    hold(body)
    return body, losses


def asked(home: DialectName, body: dict[str, Any]) -> tuple[dict[str, Any], list[Loss]]:
    written, losses = COHERE.write_request(dialect(home).read_request(body), Target("o", "command-a-03-2025"))
    hold(written)
    return written, losses


def lost(losses: list[Loss]) -> list[str]:
    return [loss.what for loss in losses]


def tool(name: str, *, required: bool = True, **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"] if required else []}
    return {"type": "function", "function": {"name": name, "parameters": schema, **more}}


PARAMETERS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"max_completion_tokens": 5, "temperature": 0.5, "seed": 3}, {"max_tokens": 5, "temperature": 0.5, "seed": 3}, []),
    ({"stop": "END"}, {"stop_sequences": ["END"]}, []),
    ({"stop": list("abcdef")}, {"stop_sequences": list("abcde")}, ["stop"]),
    ({"top_p": 0.5}, {"p": 0.5}, []),
    ({"top_p": 1}, {"p": 0.99}, ["top_p"]),
    ({"presence_penalty": -1, "frequency_penalty": 1.5}, {"presence_penalty": 0, "frequency_penalty": 1},
     ["presence_penalty", "frequency_penalty"]),
    ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True}, ["top_logprobs"]),
    ({"n": 1}, {}, []),
    ({"n": 2}, {}, ["n"]),
    ({"user": "u", "metadata": {"a": "b"}, "service_tier": "flex"}, {}, ["user", "metadata", "service_tier"]),
    ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}, []),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
     {"response_format": {"type": "json_object", "json_schema": {"type": "object"}}}, []),
    ({"reasoning_effort": "high"}, {}, ["reasoning_effort"]),
    ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}, []),
]  # fmt: skip


@pytest.mark.parametrize(("given", "said", "dropped"), PARAMETERS)
def test_parameters(given: Any, said: Any, dropped: list[str]) -> None:
    body, losses = chat(**given)
    rest = {k: v for k, v in body.items() if k not in ("model", "messages", "stream")}
    assert (rest, lost(losses)) == (said, dropped)


def test_a_budget_to_think() -> None:
    turn = {"role": "user", "content": "hi"}
    thinking = {"type": "enabled", "budget_tokens": 2000}
    body, _ = asked(DialectName.MESSAGES, {"model": "m", "max_tokens": 9, "messages": [turn], "thinking": thinking})
    assert body["thinking"] == {"type": "enabled", "token_budget": 2000}


CHOICES: list[tuple[Any, list[str], Any]] = [
    ("auto", ["f", "g"], None),
    ("required", ["f", "g"], "REQUIRED"),
    ("none", ["f", "g"], "NONE"),
    ({"type": "function", "function": {"name": "g"}}, ["g"], "REQUIRED"),
]


@pytest.mark.parametrize(("choice", "names", "word"), CHOICES)
def test_tool_choice(choice: Any, names: list[str], word: Any) -> None:
    body, losses = chat(tools=[tool("f"), tool("g")], tool_choice=choice)
    assert [t["function"]["name"] for t in body["tools"]] == names
    assert body.get("tool_choice") == word
    assert not losses


def test_strict_are_all_tools_or_none_and_only_those_that_want_something() -> None:
    body, losses = chat(tools=[tool("f", strict=True), tool("g", strict=True)])
    assert body["strict_tools"] is True
    assert not losses
    for other in (tool("g"), tool("g", strict=True, required=False)):
        body, losses = chat(tools=[tool("f", strict=True), other])
        assert "strict_tools" not in body
        assert "tools[0].strict" in lost(losses)


def test_a_form_for_the_answer_does_not_go_with_tools() -> None:
    body, losses = chat(tools=[tool("f")], response_format={"type": "json_object"})
    assert "response_format" not in body
    assert lost(losses) == ["response_format"]


def test_tools_of_free_text_take_an_object_of_one_string() -> None:
    call = {"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}
    body, losses = chat(
        {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "y"},
        tools=[{"type": "custom", "custom": {"name": "f"}}],
    )  # fmt: skip
    assert body["messages"][0]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"input":"x"}'}
    assert body["tools"][0]["function"]["parameters"]["required"] == ["input"]
    assert not losses


IMAGE = {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}


def test_pictures_stand_in_the_users_turns_alone() -> None:
    body, losses = chat({"role": "user", "content": [{"type": "text", "text": "x"}, IMAGE]})
    assert body["messages"][0]["content"][1] == IMAGE
    assert not losses
    source = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]}
    result = {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "image", "source": source}]}
    turns = [call, {"role": "user", "content": [result]}]
    body, losses = asked(DialectName.MESSAGES, {"model": "m", "max_tokens": 9, "messages": turns})
    assert [message["role"] for message in body["messages"]] == ["assistant", "tool", "user"]
    assert body["messages"][2]["content"][0]["image_url"]["url"] == "data:image/png;base64,aGk="
    assert not losses
    _, losses = chat({"role": "system", "content": [IMAGE]})
    assert [loss.content for loss in losses] == [True]


def test_what_a_document_loses_as_a_text_is_named() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "words"}
    block = {"type": "document", "source": source, "title": "t", "citations": {"enabled": True}}
    turn = {"role": "user", "content": [block, {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}
    body, losses = asked(DialectName.MESSAGES, {"model": "m", "max_tokens": 9, "messages": [turn]})
    assert body["messages"][0]["content"][0] == {"type": "text", "text": "words"}
    where = "messages[0].content"
    assert lost(losses) == [f"{where}[0].title", f"{where}[0].citations", f"{where}[1].cache_control"]


def test_a_turn_of_anothers_thinking_alone_is_left_out() -> None:
    thought = {"type": "thinking", "thinking": "t", "signature": "s"}
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [thought]},
        {"role": "user", "content": "b"},
    ]
    body, losses = asked(DialectName.MESSAGES, {"model": "m", "max_tokens": 9, "messages": turns})
    assert [m["role"] for m in body["messages"]] == ["user", "user"]
    assert lost(losses) == ["messages[1].content[0] (thinking)"]


def test_a_request_of_its_own_is_read_and_written_again() -> None:
    sources = [{"type": "document", "id": "d1", "document": {"title": "t", "url": "https://a.example"}},
               {"type": "document", "id": "d2", "document": {"title": "u"}}]  # fmt: skip
    said = {
        "role": "assistant", "content": "so it is",
        "citations": [{"start": 0, "end": 2, "text": "so", "sources": sources, "type": "TEXT_CONTENT"}],
    }  # fmt: skip
    body = {
        "model": "command-a-03-2025", "messages": [{"role": "user", "content": "x"}, said], "logprobs": True,
        "documents": [{"id": "d1", "data": {"a": 1}}], "safety_mode": "STRICT", "priority": 3, "stream": False,
        "citation_options": {"mode": "FAST"},
    }  # fmt: skip
    request = COHERE.read_request(body)
    assert [cite.title for cite in request.turns[1].content[0].cites] == ["t", "u"]  # type: ignore[union-attr]
    assert COHERE.write_request(request, Target("o", "command-a-03-2025")) == (body, [])


# --- answers


def answered(message: dict[str, Any], **more: Any) -> Any:
    body = {"id": "a", "finish_reason": "COMPLETE", "message": {"role": "assistant", **message}, **more}
    return fold(map(Laws().see, COHERE.read_answer(body, "o")))


def heard(*events: dict[str, Any]) -> list[Any]:
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    parser, laws = COHERE.parser("o"), Laws()
    return [laws.see(event) for event in [*parser.feed(data), *parser.close()]]


def delta(kind: str, at: int, **message: Any) -> dict[str, Any]:
    return {"type": kind, "index": at, "delta": {"message": message}}


END = {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}
FINISHES = {
    "COMPLETE": Finish.STOP,
    "STOP_SEQUENCE": Finish.STOP_SEQUENCE,
    "MAX_TOKENS": Finish.LENGTH,
    "TOOL_CALL": Finish.TOOL_CALLS,
    "ERROR": None,
    "TIMEOUT": None,
}


def test_every_reason_to_stop_is_known() -> None:
    literal = typing.get_args(V2ChatResponse.model_fields["finish_reason"].annotation)[0]
    assert set(typing.get_args(literal)) == set(FINISHES)


@pytest.mark.parametrize(("word", "reason"), FINISHES.items())
def test_reasons_to_stop(word: str, reason: Finish | None) -> None:
    start = delta("content-start", 0, content={"type": "text", "text": "x"})
    events = heard(start, {"type": "message-end", "delta": {"finish_reason": word, "error": "why"}})
    if reason is None:
        assert events[-1] == Failed({"type": "api_error", "message": "why"})
        with pytest.raises(Broken):
            answered({"content": [{"type": "text", "text": "x"}]}, finish_reason=word)
    else:
        assert fold(events).finishes[0].reason is reason
        assert answered({"content": []}, finish_reason=word).finishes[0].reason is reason


def test_tokens_count_not_what_is_billed() -> None:
    tokens, billed = {"input_tokens": 500.0, "output_tokens": 5}, {"input_tokens": 11, "search_units": 2.0}
    assert answered({}, usage={"tokens": tokens, "billed_units": billed, "cached_tokens": 448.0}).count == Count(
        500, 5, 448, searches=2
    )
    assert answered({}, usage={"billed_units": {"input_tokens": 11, "output_tokens": 3}}).count == Count(11, 3)


def test_each_source_of_a_citation_is_told_and_stands_with_its_text() -> None:
    sources = [{"type": "document", "id": n, "document": {"title": n}} for n in "pq"]
    row = {"start": 0, "end": 1, "text": "o", "sources": sources}
    parts = [{"type": "text", "text": "one"}, {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "two"}]
    answer = answered({"content": parts, "citations": [{**row, "content_index": 0}, row]})
    assert [(p.text, [c.title for c in p.cites]) for p in answer.pieces] == [
        ("one", ["p", "q"]), ("hm", []), ("two", ["p", "q"]),
    ]  # fmt: skip
    head = ReplyHead("r", 1, Request(DialectName.COHERE, "m", ()), "m")
    assert COHERE.write_answer(answer, head)["message"]["citations"] == [{**row, "content_index": 0}, row]
    text = delta("content-start", 0, content={"type": "text", "text": "one"})
    streamed = fold(heard(text, delta("citation-start", 0, citations=row), {"type": "citation-end", "index": 0}, END))
    assert [c.title for c in streamed.pieces[0].cites] == ["p", "q"]


def test_how_probable_the_text_was() -> None:
    item = {"text": "so", "token_ids": [1, 2], "logprobs": [-0.5, -1.0]}
    token = {"token": "so", "logprob": -1.5, "bytes": [115, 111], "top_logprobs": []}
    assert answered({"content": [{"type": "text", "text": "so"}]}, logprobs=[item]).pieces[0].logprobs == [token]
    start = delta("content-start", 0, content={"type": "text", "text": ""})
    more = {**delta("content-delta", 0, content={"text": "so"}), "logprobs": item}
    assert fold(heard(start, more, END)).pieces[0].logprobs == [token]


def test_parallel_calls_in_fragments() -> None:
    events: list[Any] = []
    for at, (name, pieces) in enumerate([("f", ['{"a"', ":1}"]), ("g", []), ("h", ["null"])]):
        call = {"id": name, "type": "function", "function": {"name": name, "arguments": ""}}
        events.append(delta("tool-call-start", at, tool_calls=call))
        events += [delta("tool-call-delta", at, tool_calls={"function": {"arguments": piece}}) for piece in pieces]
        events.append({"type": "tool-call-end", "index": at})
    assert [(p.id, p.text) for p in fold(heard(*events, END)).pieces] == [("f", '{"a":1}'), ("g", "{}"), ("h", "{}")]


def test_a_stream_without_its_end_is_cut() -> None:
    start = delta("content-start", 0, content={"type": "text", "text": "x"})
    assert heard(start)[-1] == Failed(None)
    assert heard(start, {"message": "overloaded"})[-1] == Failed({"type": "api_error", "message": "overloaded"})
