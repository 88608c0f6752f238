"""Which beginnings of answers can be gone on with, how that is asked for, and where the halves meet."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.continuing import Way
from config.model import Operation
from proxy.dialects.base import DialectName, Target, dialect
from proxy.dialects.blocks import Text
from proxy.dialects.continuing import MAX_BYTES, Beginning, continuable, continued
from proxy.dialects.joint import Joint, NotMore
from proxy.dialects.request import Choice, Format, Param, Request, Role, Think, Turn
from tests.support.recorded import CLIENTS
from tests.support.upstream import chat_events, gemini_events, message_events, response_events

USER = Turn(Role.USER, (Text("Tell me."),))


def told(value: dict[str, Any], name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()


def chunk(delta: dict[str, Any], **choice: Any) -> bytes:
    return told({"id": "c1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None, **choice}]})


def block(kind: str, **fields: Any) -> bytes:
    return told({"type": kind, **fields}, kind)


def part(**fields: Any) -> bytes:
    return told({"candidates": [{"index": 0, "content": {"role": "model", "parts": [fields]}}]})


OPEN = {
    DialectName.CHAT: chat_events("So", done=False, finish=False),
    DialectName.MESSAGES: message_events("So", stop=False),
    DialectName.RESPONSES: response_events("So", stop=False),
    DialectName.GEMINI: gemini_events("So", stop=False),
}
WHERE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": []}
MORE: list[tuple[DialectName, str, bytes]] = [
    (DialectName.CHAT, "a call", chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]})),
    (DialectName.CHAT, "a call of old", chunk({"function_call": {"name": "f", "arguments": ""}})),
    (DialectName.CHAT, "thinking", chunk({"reasoning_content": "hm"})),
    (DialectName.CHAT, "thinking in rows", chunk({"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]})),
    (DialectName.CHAT, "thinking in parts", chunk({"content": [{"type": "thinking", "thinking": [{"text": "hm"}]}]})),
    (DialectName.CHAT, "a refusal", chunk({"refusal": "no"})),
    (DialectName.CHAT, "a sound", chunk({"audio": {"id": "a", "data": "AA=="}})),
    (DialectName.CHAT, "a picture", chunk({"images": [{"image_url": {"url": "data:image/png;base64,AA=="}}]})),
    (DialectName.CHAT, "a citation", chunk({"annotations": [{"url_citation": {"url": "https://a"}}]})),
    (DialectName.CHAT, "sources", told({"id": "c1", "citations": ["https://a"], "choices": []})),
    (DialectName.CHAT, "log probabilities", chunk({"content": "a"}, logprobs={"content": [{"token": "a"}]})),
    (DialectName.CHAT, "another choice", chunk({"content": "a"}, index=1)),
    (DialectName.CHAT, "a reason to end", chunk({}, finish_reason="stop")),
    (DialectName.CHAT, "the end", b"data: [DONE]\n\n"),
    (DialectName.CHAT, "an error", told({"error": {"message": "no"}})),
    (DialectName.CHAT, "no JSON", b"data: {\n\n"),
    (DialectName.CHAT, "no object", b"data: 1\n\n"),
    (DialectName.CHAT, "half of a character", b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n'),
    (DialectName.CHAT, "too much", chunk({"content": "a" * MAX_BYTES})),
    (DialectName.MESSAGES, "a call",
     block("content_block_start", index=1, content_block={"type": "tool_use", "id": "a", "name": "f", "input": {}})),
    (DialectName.MESSAGES, "thinking",
     block("content_block_start", index=1, content_block={"type": "thinking", "thinking": ""})),
    (DialectName.MESSAGES, "sealed thinking",
     block("content_block_start", index=1, content_block={"type": "redacted_thinking", "data": "x"})),
    (DialectName.MESSAGES, "a citation",
     block("content_block_delta", index=0, delta={"type": "citations_delta", "citation": {"type": "char_location"}})),
    (DialectName.MESSAGES, "a search", block("content_block_start", index=1,
     content_block={"type": "server_tool_use", "id": "a", "name": "web_search", "input": {}})),
    (DialectName.MESSAGES, "a reason to end", block("message_delta", delta={"stop_reason": "end_turn"}, usage={})),
    (DialectName.MESSAGES, "another message", message_events()[0]),
    (DialectName.RESPONSES, "a call", block("response.output_item.added", output_index=1,
     item={"type": "function_call", "id": "fc", "call_id": "a", "name": "f", "arguments": ""})),
    (DialectName.RESPONSES, "thinking", block("response.output_item.added", output_index=1, item=REASONING)),
    (DialectName.RESPONSES, "a refusal", block("response.refusal.delta", **WHERE, delta="no")),
    (DialectName.RESPONSES, "a citation", block("response.output_text.annotation.added", **WHERE,
     annotation={"type": "url_citation", "url": "https://a"})),
    (DialectName.RESPONSES, "the end", response_events("So")[-1]),
    (DialectName.RESPONSES, "another item in it", block("response.output_item.added", output_index=1,
     item={"type": "message", "id": "msg_2", "role": "assistant", "content": []})),
    (DialectName.RESPONSES, "words out of nowhere", block("response.output_text.done", **WHERE, text="So what")
     + block("response.content_part.done", **WHERE, part={"type": "output_text", "text": "So what"})),
    (DialectName.GEMINI, "a call", part(functionCall={"name": "f", "args": {}})),
    (DialectName.GEMINI, "thinking", part(text="hm", thought=True)),
    (DialectName.GEMINI, "a picture", part(inlineData={"mimeType": "image/png", "data": "AA=="})),
    (DialectName.GEMINI, "a reason to end", gemini_events("So")[-1]),
]  # fmt: skip


def begun(client: DialectName, *events: bytes) -> Beginning:
    beginning = Beginning(Operation(client.value))
    for event in events:
        beginning.see(event)
    return beginning


@pytest.mark.parametrize(("client", "what", "event"), MORE, ids=lambda value: value if isinstance(value, str) else "")
def test_only_words_alone_can_be_gone_on_with(client: DialectName, what: str, event: bytes) -> None:
    assert begun(client, *OPEN[client]).text == "So"
    assert begun(client, *OPEN[client], event).text is None, what
    assert begun(client, *OPEN[client], event, *OPEN[client][-1:]).text is None, "and never again"


@pytest.mark.parametrize("client", CLIENTS)
def test_nothing_but_white_space_is_no_beginning(client: DialectName) -> None:
    events = {
        DialectName.CHAT: chat_events(" \n", done=False, finish=False),
        DialectName.MESSAGES: message_events(" \n", stop=False),
        DialectName.RESPONSES: response_events(" \n", stop=False),
        DialectName.GEMINI: gemini_events(" \n", stop=False),
    }
    assert begun(client).text is None
    assert begun(client, *OPEN[client][:-1]).text is None
    assert begun(client, *events[client]).text is None


@pytest.mark.parametrize("client", CLIENTS)
def test_signs_of_life_change_nothing(client: DialectName) -> None:
    beginning = begun(client, b": ping\n\n", *OPEN[client], b": redeo\n\n", b"event: ping\ndata:\n\n")
    assert beginning.text == "So"


def test_what_a_provider_has_counted_is_known() -> None:
    usage = begun(DialectName.MESSAGES, *OPEN[DialectName.MESSAGES]).usage
    assert usage is not None
    assert usage.input == 3
    assert begun(DialectName.CHAT, *OPEN[DialectName.CHAT]).usage is None


# --- the question


def request(*turns: Turn, **fields: Any) -> Request:
    return Request("chat", "m", turns or (USER,), **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"params": {Param.N: 1, Param.LOGPROBS: False, Param.MODALITIES: ["text"], Param.STOP: ["x"]}},
        {"params": {Param.TOOL_CHOICE: Choice("auto"), Param.REASONING: Think("low")}},
        {"extras": {"background": False, "previous_response_id": None}},
        {"turns": (USER, Turn(Role.ASSISTANT, (Text("Well"),)))},
    ],
)
def test_an_answer_in_words_can_be_put_together(fields: dict[str, Any]) -> None:
    turns = fields.pop("turns", (USER,))
    assert continuable(request(*turns, **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"params": {Param.FORMAT: Format()}},
        {"params": {Param.N: 2}},
        {"params": {Param.LOGPROBS: True}},
        {"params": {Param.TOP_LOGPROBS: 3}},
        {"params": {Param.MODALITIES: ["text", "audio"]}},
        {"params": {Param.TOOL_CHOICE: Choice("required")}},
        {"params": {Param.TOOL_CHOICE: Choice("tool", ("f",))}},
        {"extras": {"previous_response_id": "resp_1"}},
        {"extras": {"conversation": "conv_1"}},
        {"extras": {"cachedContent": "cachedContents/1"}},
    ],
)
def test_what_two_cannot_answer_together_is_not_tried(fields: dict[str, Any]) -> None:
    assert not continuable(request(**fields))


@pytest.mark.parametrize("client", CLIENTS)
def test_what_clients_ask_for_is_understood(client: DialectName) -> None:
    bodies: dict[DialectName, tuple[dict[str, Any], dict[str, Any]]] = {
        DialectName.CHAT: (
            {"model": "m", "messages": [{"role": "user", "content": "x"}], "response_format": {"type": "text"}},
            {"response_format": {"type": "json_object"}},
        ),
        DialectName.MESSAGES: (
            {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]},
            {"tools": [{"name": "f", "input_schema": {}}], "tool_choice": {"type": "any"}},
        ),
        DialectName.RESPONSES: (
            {"model": "m", "input": "x", "text": {"format": {"type": "text"}}},
            {"text": {"format": {"type": "json_object"}}},
        ),
        DialectName.GEMINI: (
            {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
            {"generationConfig": {"responseMimeType": "application/json"}},
        ),
    }
    plain, more = bodies[client]
    assert continuable(dialect(client).read_request(plain))
    assert not continuable(dialect(client).read_request({**plain, **more}))


def test_a_turn_of_the_clients_own_that_is_no_text_is_not_gone_on_with() -> None:
    read = dialect(DialectName.CHAT).read_request
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "Well", "tool_calls": [call]}]
    assert not continuable(read({"model": "m", "messages": turns}))


def test_the_beginning_stands_behind_the_question_without_white_space() -> None:
    asked, cut = continued(request(), "Once upon \n ")
    assert asked.turns == (USER, Turn(Role.ASSISTANT, (Text("Once upon"),)))
    assert cut == " \n "


def test_what_the_client_began_itself_is_extended() -> None:
    asked, cut = continued(request(USER, Turn(Role.ASSISTANT, (Text("On"), Text("ce ")))), "upon ")
    assert asked.turns == (USER, Turn(Role.ASSISTANT, (Text("Once upon"),)))
    assert cut == " "


def test_it_is_asked_without_thinking_and_for_what_is_left() -> None:
    params = {Param.REASONING: Think("high"), Param.MAX_TOKENS: 100, Param.TEMPERATURE: 0.5}
    before = request(params=params, names={Param.REASONING: "reasoning_effort"})
    asked, _ = continued(before, "one two three four")
    assert asked.params == {Param.MAX_TOKENS: 96, Param.TEMPERATURE: 0.5}
    assert asked.names == {}
    assert before.params == params
    assert continued(request(params={Param.MAX_TOKENS: 2}), "one two three")[0].params == {Param.MAX_TOKENS: 1}
    body, _ = dialect(DialectName.CHAT).write_request(asked, Target("a", "m"))
    assert "reasoning_effort" not in body


def test_that_there_shall_be_no_thinking_is_said_still() -> None:
    params = {Param.REASONING: Think("none", enabled=False), Param.MAX_TOKENS: 9}
    before = request(params=params, names={Param.REASONING: "reasoning_effort"})
    asked, _ = continued(before, "one two")
    assert asked.params == {**params, Param.MAX_TOKENS: 7}
    assert before.params == params
    body, _ = dialect(DialectName.CHAT).write_request(asked, Target("a", "m"))
    assert body["reasoning_effort"] == "none"


@pytest.mark.parametrize(
    ("home", "body"),
    [
        (DialectName.MESSAGES, {"thinking": {"type": "enabled", "budget_tokens": 2048, "display_mode": "x"}}),
        (DialectName.MESSAGES, {"thinking": {"type": "between_tools"}}),
        (DialectName.MESSAGES, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        (DialectName.CHAT, {"reasoning": {"max_tokens": 9, "exclude": True}}),
        (DialectName.CHAT, {"thinking": {"type": "enabled", "keep": "all"}, "reasoning_effort": "high"}),
    ],
)
def test_nothing_of_thinking_goes_along(home: DialectName, body: dict[str, Any]) -> None:
    plain = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    read, write = dialect(home).read_request, dialect(home).write_request
    asked, _ = continued(read({**plain, **body}), "one two")
    without, _ = continued(read(plain), "one two")
    target = Target("a", "claude-sonnet-4-5")
    assert write(asked, target) == write(without, target)


@pytest.mark.parametrize(
    ("way", "message", "beside"),
    [
        (None, {}, {}),
        (Way.PREFILL, {}, {}),
        (Way.PREFIX, {"prefix": True}, {}),
        (Way.PARTIAL, {"partial": True}, {}),
        (Way.FINAL_MESSAGE, {}, {"continue_final_message": True, "add_generation_prompt": False}),
    ],
)
@pytest.mark.parametrize("home", [DialectName.CHAT, DialectName.MESSAGES])
def test_chat_completions_say_each_provider_in_its_way_to_go_on(
    home: DialectName, way: Way | None, message: dict[str, Any], beside: dict[str, Any]
) -> None:
    asked, _ = continued(Request(home, "m", (USER,)), "Once ")
    body, losses = dialect(DialectName.CHAT).write_request(asked, Target("a", "m", continues=way))
    assert body["messages"][-1] == {"role": "assistant", "content": "Once", **message}
    assert {name: value for name, value in body.items() if name not in ("model", "messages")} == beside
    assert losses == []


@pytest.mark.parametrize("there", [name for name in DialectName if name is not DialectName.RESPONSES])
def test_the_beginning_is_the_last_thing_that_every_dialect_says(there: DialectName) -> None:
    asked, _ = continued(Request(DialectName.CHAT, "m", (USER,)), "Once \n")
    body, losses = dialect(there).write_request(asked, Target("a", "claude-sonnet-4-5"))
    said = body["contents" if there is DialectName.GEMINI else "messages"]
    assert said[-1]["role"] == ("model" if there is DialectName.GEMINI else "assistant")
    assert '"Once"' in json.dumps(said[-1])
    assert losses == []


# --- where they meet


def joined(joint: Joint, pieces: list[str]) -> str:
    return "".join([*(joint.take(piece) for piece in pieces), joint.rest()])


@pytest.mark.parametrize(
    ("sent", "cut", "says", "hears"),
    [
        ("Once", " ", " upon", "upon"),
        ("Once", " ", "upon", "upon"),
        ("Once", "", " upon", " upon"),
        ("Once", "\n\n", "\n\nThen", "Then"),
        ("Once", "\n\n", "\nThen", "Then"),
        ("Once", "\n", "\n\nThen", "\nThen"),
        ("Once", " ", "\n\nThen", "\n\nThen"),
        ("def f():", "\n    ", "\n    return 1", "return 1"),
        ("Once", " \n", " \n ", " "),
        ("ha", "", "ha ha", "ha ha"),
    ],
)
def test_white_space_is_neither_doubled_nor_lost(sent: str, cut: str, says: str, hears: str) -> None:
    assert joined(Joint(sent, cut), [says]) == hears
    assert joined(Joint(sent, cut), [*says]) == hears


LONG = "It was a dark and stormy night; the rain fell in torrents, except at occasional intervals"


@pytest.mark.parametrize("echoes", [False, True])
def test_a_beginning_that_comes_back_is_said_once(echoes: bool) -> None:
    for says in (LONG + " — except", LONG, LONG[:70]):
        if says == LONG[:70]:
            with pytest.raises(NotMore):
                joined(Joint(LONG, " ", echoes=echoes), [says])
        else:
            assert joined(Joint(LONG, " ", echoes=echoes), [*says]) == says[len(LONG) :].lstrip(" ")
    assert joined(Joint("Hi", " ", echoes=True), [*"Hi there"]) == "there"
    assert joined(Joint("Hi", " ", echoes=True), [*"Hello"]) == "Hello"
    assert joined(Joint("Hi", " ", echoes=True), ["H"]) == "H"


def test_an_answer_begun_anew_is_not_put_behind_the_first() -> None:
    with pytest.raises(NotMore):
        joined(Joint(LONG, ""), [*(LONG[:66] + " and so it began")])
    assert joined(Joint(LONG, ""), ["It was", " another one"]) == "It was another one"


SIGNS = st.text(st.sampled_from(" \nab"), max_size=8)


@given(sent=SIGNS, cut=st.text(st.sampled_from(" \n"), max_size=3), says=SIGNS, at=st.lists(st.integers(0, 8)))
def test_how_it_is_split_makes_no_difference(sent: str, cut: str, says: str, at: list[int]) -> None:
    places = sorted({0, len(says), *(min(n, len(says)) for n in at)})
    pieces = [says[a:b] for a, b in pairwise(places)]
    for echoes in (False, True):
        assert joined(Joint(sent, cut, echoes=echoes), pieces) == joined(Joint(sent, cut, echoes=echoes), [says])
