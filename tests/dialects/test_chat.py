"""Chat Completions in its four directions: what the API and its speakers have, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat import completion_create_params as params

from proxy.dialects import seals
from proxy.dialects.base import Dialect, DialectName, ReplyHead, Target, dialect
from proxy.dialects.blocks import (
    Audio,
    Cache,
    Count,
    Document,
    Finish,
    Foreign,
    Image,
    Opaque,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolResult,
)
from proxy.dialects.events import (
    Answer,
    BlockDelta,
    BlockEnd,
    BlockSeal,
    BlockStart,
    Counted,
    Done,
    Event,
    Failed,
    Finished,
    Kind,
    Laws,
    Piece,
    Started,
    fold,
    unfold,
)
from proxy.dialects.request import BadRequest, Choice, Format, Loss, Param, Request, Role, ServerTool, Think, Tool, Turn
from tests.support.recorded import requests
from tests.support.sdk_types import Judge
from tests.support.upstream import chat as scripted

CHAT, MESSAGES, RESPONSES = DialectName.CHAT, DialectName.MESSAGES, DialectName.RESPONSES
SPOKEN: Dialect = dialect(CHAT)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool("weather", "of a city", SCHEMA)
PATCH = Tool(
    "patch", "changes files", custom=True, grammar={"type": "grammar", "syntax": "lark", "definition": "start: x"}
)
NAMED = {"type": "function", "function": {"name": "weather"}}
TYPES = (params.CompletionCreateParamsNonStreaming, params.CompletionCreateParamsStreaming)
# What providers that speak this dialect have beside OpenAI, and clients of it write: it goes to the same dialect only.
EXTENSIONS = (
    *("cache_control", "document_url", "parameters", "provider", "reasoning", "reasoning_content"),
    *("reasoning_format", "thinking"),
)
WORDS = ("'document_url'", "'openrouter:", "'on_demand'", "'default'")  # OpenRouter, Mistral and Groq


def asked(home: DialectName = MESSAGES, *turns: Turn, **fields: Any) -> Request:
    return Request(home, "m", turns or (Turn(Role.USER, (Text("hi"),)),), **fields)


def sent(request: Request, **target: Any) -> tuple[dict[str, Any], list[str]]:
    """The body and the names of what was lost; the body is judged by the SDK."""
    body, losses = SPOKEN.write_request(request, Target("o", "m", **target))
    return body, [loss.what for loss in losses]


def good(body: dict[str, Any]) -> None:
    assert not Judge(*TYPES).faults(json.loads(json.dumps(body)))


def chat(**fields: Any) -> Request:
    return SPOKEN.read_request({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields})


def said(*messages: dict[str, Any], **fields: Any) -> Request:
    return SPOKEN.read_request({"model": "m", "messages": list(messages), **fields})


def frames(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: {")]


def stream(*chunks: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


def chunk(delta: dict[str, Any], finish: str | None = None, **beside: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **beside}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def parsed(*chunks: dict[str, Any]) -> list[Event]:
    laws, parser = Laws(), SPOKEN.parser("o")
    return [laws.see(event) for event in [*parser.feed(stream(*chunks)), *parser.close()]]


def heard(*chunks: dict[str, Any]) -> Answer:
    return fold(parsed(*chunks))


def whole(message: dict[str, Any], finish: str = "stop", **body: Any) -> list[Event]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return list(SPOKEN.read_answer({"id": "c", "model": "m", "created": 1, "choices": [choice], **body}, "o"))


def head(request: Request, **fields: Any) -> ReplyHead:
    return ReplyHead("req_1", 1_700_000_000, request, "m", **fields)


def told(request: Request, answer: Answer) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The whole answer, and the chunks of the same streamed; the SDK knows both."""
    body = json.loads(json.dumps(SPOKEN.write_answer(answer, head(request))))
    ChatCompletion.model_validate(body)
    renderer = SPOKEN.renderer(head(request))
    chunks = frames(b"".join(renderer.event(event) for event in unfold(answer)))
    for piece in chunks if all(p.kind is not Kind.CUSTOM_CALL for p in answer.pieces) else ():
        ChatCompletionChunk.model_validate(piece)  # which has no type for a streamed call of a free tool
    return body, chunks


def deltas(chunks: list[dict[str, Any]], name: str) -> list[Any]:
    return [c["delta"][name] for piece in chunks for c in piece["choices"] if name in c["delta"]]


def answer(*pieces: Piece, reason: Finish = Finish.STOP, count: Count | None = None) -> Answer:
    return Answer("a", "m", 1, list(pieces), {0: Finished(reason)}, count)


# The question in


@pytest.mark.parametrize(
    ("given", "param", "value"),
    [
        ({"max_tokens": 7}, Param.MAX_TOKENS, 7),
        ({"max_completion_tokens": 7}, Param.MAX_TOKENS, 7),
        ({"stop": "x"}, Param.STOP, ["x"]),
        ({"stop": ["x", "y"]}, Param.STOP, ["x", "y"]),
        ({"reasoning_effort": "low"}, Param.REASONING, Think("low")),
        ({"reasoning_effort": "none"}, Param.REASONING, Think("none", enabled=False)),
        ({"reasoning": {"max_tokens": 900}}, Param.REASONING, Think(budget=900)),
        ({"reasoning": {"effort": "high", "exclude": True}}, Param.REASONING, Think("high", summary="omitted")),
        ({"thinking": {"type": "enabled"}}, Param.REASONING, Think(enabled=True)),
        ({"thinking": {"type": "disabled"}}, Param.REASONING, Think(enabled=False)),
        ({"reasoning_effort": "max", "thinking": {"type": "enabled"}}, Param.REASONING, Think("max", enabled=True)),
        ({"tool_choice": "any"}, Param.TOOL_CHOICE, Choice("required")),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, Param.TOOL_CHOICE, Choice("tool", ("f",))),
        ({"tool_choice": {"type": "custom", "custom": {"name": "f"}}}, Param.TOOL_CHOICE, Choice("tool", ("f",))),
        ({"function_call": {"name": "f"}}, Param.TOOL_CHOICE, Choice("tool", ("f",))),
        ({"response_format": {"type": "json_object"}}, Param.FORMAT, Format()),
        ({"prompt_cache_options": {"mode": "explicit"}}, Param.CACHE_OPTIONS, {"mode": "explicit"}),
    ],
)
def test_a_parameter_is_read_under_each_of_its_names(given: dict[str, Any], param: Param, value: Any) -> None:
    request = chat(**given)
    assert request.params[param] == value
    assert not request.extras


def test_the_allowed_tools_may_be_of_both_kinds() -> None:
    rows = [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "p"}}]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": rows}}
    assert chat(tool_choice=choice).params[Param.TOOL_CHOICE] == Choice("required", ("f", "p"))


@pytest.mark.parametrize("given", [{"tool_choice": "some"}, {"tool_choice": {"type": "mcp"}}, {"reasoning_effort": 3}])
def test_a_value_that_is_not_known_is_kept_and_not_half_read(given: dict[str, Any]) -> None:
    request = chat(**given)
    assert not request.params
    assert request.extras == given


@pytest.mark.parametrize("prefix", [True, False])
def test_marks_on_a_message_are_not_lost_in_silence(prefix: bool) -> None:
    request = said({"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "prefix": prefix})
    _, losses = dialect(MESSAGES).write_request(request, Target("o", "m"))
    assert [loss.what for loss in losses] == (["messages[1].prefix"] if prefix else [])
    body, lost = sent(request)
    assert body["messages"][1] == {"role": "assistant", "content": "y", **({"prefix": True} if prefix else {})}
    assert not lost


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ({"type": "image_url", "image_url": "https://x/y.png"}, Image(Source(url="https://x/y.png"))),
        (
            {"type": "image_url", "image_url": {"url": "data:image/gif;base64,AAAA", "detail": "low"}},
            Image(Source(data="AAAA", media_type="image/gif"), "low"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "flac"}},
            Audio(Source(data="AAAA", media_type="audio/flac"), "flac"),
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, Document(Source(file_id="file-1"))),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "https://x/a.pdf"}},
            Document(Source(url="https://x/a.pdf"), "a.pdf"),
        ),
        ({"type": "document_url", "document_url": "https://x/a.pdf"}, Document(Source(url="https://x/a.pdf"))),
    ],
)
def test_media_are_read_and_written_back(part: dict[str, Any], block: Any) -> None:
    request = said({"role": "user", "content": [part]})
    assert request.turns[0].content == (block,)
    body, lost = sent(request)
    (back,) = body["messages"][0]["content"]
    assert not lost
    assert SPOKEN.read_request(body).turns == request.turns
    assert back["type"] == part["type"]


def test_what_a_user_says_in_an_unknown_form_is_content() -> None:
    part = {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}}
    request = said({"role": "user", "content": [part, {"type": "text", "text": "?"}]})
    assert request.turns[0].content[0] == Foreign(Opaque(CHAT, "video_url", part), content=True)
    assert sent(request)[0]["messages"][0]["content"][0] == part
    _, losses = dialect(RESPONSES).write_request(request, Target("o", "m"))
    assert [loss.content for loss in losses] == [True]


def test_calls_of_the_old_kind_find_their_results() -> None:
    def call(text: str) -> dict[str, Any]:
        return {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": text}}

    result = {"role": "function", "name": "f", "content": "1"}
    request = said(call("{}"), result, call('{"a":1}'), result, functions=[{"name": "f"}])
    ids = [block.id if isinstance(block, ToolCall) else block.call_id for t in request.turns for block in t.content]  # type: ignore[union-attr]
    assert ids[0] == ids[1] != ids[2] == ids[3]


def test_a_grammar_is_the_same_in_both_of_openais_dialects() -> None:
    form = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: x"}}
    request = chat(tools=[{"type": "custom", "custom": {"name": "patch", "format": form}}])
    assert request.tools == (Tool("patch", custom=True, grammar=PATCH.grammar),)
    body, _ = sent(request)
    assert body["tools"][0]["custom"]["format"] == form
    flat, _ = dialect(RESPONSES).write_request(request, Target("o", "m"))
    assert flat["tools"] == [{"type": "custom", "name": "patch", "format": PATCH.grammar}]


def test_a_search_of_the_web_is_a_built_in_tool() -> None:
    place = {"city": "Ulm", "country": "DE"}
    options = {"search_context_size": "low", "user_location": {"type": "approximate", "approximate": place}}
    request = chat(web_search_options=options)
    assert [tool.kind for tool in request.tools if isinstance(tool, ServerTool)] == ["web_search"]
    assert sent(request)[0]["web_search_options"] == options
    flat, losses = dialect(RESPONSES).write_request(request, Target("o", "m"))
    there = {"type": "approximate", **place}
    assert flat["tools"] == [{"type": "web_search", "search_context_size": "low", "user_location": there}]
    assert not losses


# The question out


def test_what_was_said_in_several_texts_is_one_string_that_every_provider_takes() -> None:
    system = Turn(Role.SYSTEM, (Text("be"), Text("brief")))
    user = Turn(Role.USER, (Text("a"), Text("b")))
    tool = Turn(Role.USER, (ToolResult("c1", (Text("1"), Text("2"))),))
    body, lost = sent(asked(MESSAGES, system, user, Turn(Role.ASSISTANT, (ToolCall("c1", "f", ""),)), tool))
    assert [m["content"] for m in body["messages"]] == ["be\n\nbrief", "a\n\nb", None, "1\n\n2"]
    assert body["messages"][2]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert not lost
    good(body)


def test_a_developer_is_a_system_for_whom_it_was_not_said_to() -> None:
    turns = (Turn(Role.DEVELOPER, (Text("be brief"),)), Turn(Role.USER, (Text("hi"),)))
    assert [m["role"] for m in sent(asked(RESPONSES, *turns))[0]["messages"]] == ["system", "user"]
    assert [m["role"] for m in sent(asked(CHAT, *turns))[0]["messages"]] == ["developer", "user"]


def test_a_turn_of_which_nothing_can_be_said_is_no_message() -> None:
    thought = Reasoning("hm", Opaque(MESSAGES, "thinking", "sig"))
    body, lost = sent(asked(MESSAGES, Turn(Role.USER, (Text("hi"),)), Turn(Role.ASSISTANT, (thought,))))
    assert [m["role"] for m in body["messages"]] == ["user"]
    assert lost == ["messages[1].content[0] (thinking)"]


def test_pictures_in_a_tools_result_follow_it() -> None:
    result = ToolResult("c1", (Text("see"), Image(Source(data="AAAA", media_type="image/png"))), error=True)
    turns = (Turn(Role.ASSISTANT, (ToolCall("c1", "f", "{}"),)), Turn(Role.USER, (result, Text("well?"))))
    body, lost = sent(asked(MESSAGES, *turns))
    assert [m["role"] for m in body["messages"]] == ["assistant", "tool", "user"]
    assert body["messages"][1]["content"] == "see"
    assert [p["type"] for p in body["messages"][2]["content"]] == ["image_url", "text"]
    assert lost == ["messages[1].content[0].is_error"]
    good(body)


def test_no_picture_stands_between_the_results_of_one_turn() -> None:
    calls = Turn(Role.ASSISTANT, (ToolCall("c1", "f", "{}"), ToolCall("c2", "f", "{}")))
    seen = ToolResult("c1", (Image(Source(data="AAAA", media_type="image/png")),))
    turns = (calls, Turn(Role.USER, (seen,)), Turn(Role.USER, (ToolResult("c2", (Text("2"),)),)))
    messages = sent(asked(RESPONSES, *turns))[0]["messages"]
    assert [(m["role"], m.get("tool_call_id")) for m in messages[1:]] == [
        ("tool", "c1"),
        ("tool", "c2"),
        ("user", None),
    ]


@pytest.mark.parametrize(
    ("param", "value", "body", "lost"),
    [
        (Param.MAX_TOKENS, 9, {"max_completion_tokens": 9}, []),
        (Param.SERVICE_TIER, "standard_only", {"service_tier": "default"}, []),
        (Param.SERVICE_TIER, "fast", {"service_tier": "fast"}, []),
        (Param.SERVICE_TIER, "ultrafast", {}, ["service_tier"]),
        (Param.REASONING, Think(budget=1024), {"reasoning_effort": "low"}, []),
        (Param.REASONING, Think(enabled=False), {"reasoning_effort": "none"}, []),
        (Param.REASONING, Think(enabled=True), {}, ["reasoning"]),
        (Param.REASONING, Think("default"), {}, ["reasoning"]),
        (Param.REASONING, Think(summary="omitted"), {}, []),
        (Param.FORMAT, Format(), {"response_format": {"type": "json_object"}}, []),
        (Param.CACHE_OPTIONS, {"ttl": "12h"}, {}, ["prompt_cache_options"]),
        (Param.CACHE_OPTIONS, {"mode": "explicit"}, {"prompt_cache_options": {"mode": "explicit"}}, []),
        (Param.MODALITIES, ["text", "image"], {"modalities": ["text"]}, ["modalities"]),
        (Param.TOOL_CHOICE, Choice("tool", ("weather",)), {"tool_choice": NAMED}, []),
    ],
)  # fmt: skip
def test_a_parameter_is_said_or_its_loss_is(param: Param, value: Any, body: dict[str, Any], lost: list[str]) -> None:
    written, losses = sent(asked(tools=(WEATHER,), params={param: value}))
    for name in ("model", "messages", "tools"):
        written.pop(name)
    assert (written, losses) == (body, lost)


def test_free_tools_are_functions_of_one_string_for_whom_the_client_did_not_name() -> None:
    call = Turn(Role.ASSISTANT, (ToolCall("c1", "patch", "*** x", custom=True),))
    result = Turn(Role.USER, (ToolResult("c1", (Text("done"),), custom=True),))
    request = asked(RESPONSES, call, result, tools=(PATCH,), params={Param.TOOL_CHOICE: Choice("tool", ("patch",))})
    body, lost = sent(request)
    assert body["tools"][0]["function"]["parameters"]["required"] == ["input"]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "patch"}}
    function = body["messages"][0]["tool_calls"][0]["function"]
    assert json.loads(function["arguments"]) == {"input": "*** x"}
    assert lost == ["tools[0].format"]
    good(body)


def test_a_client_of_this_dialect_keeps_its_free_tools_and_its_choice_of_them() -> None:
    rows = [{"type": "custom", "custom": {"name": "patch"}}, {"type": "function", "function": {"name": "weather"}}]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": rows}}
    tools = [{"type": "custom", "custom": {"name": "patch"}}, {"type": "function", "function": {"name": "weather"}}]
    body, lost = sent(chat(tools=tools, tool_choice=choice))
    assert body["tool_choice"] == choice
    assert [tool["type"] for tool in body["tools"]] == ["custom", "function"]
    assert not lost
    body, _ = sent(chat(tools=tools, tool_choice=rows[0]))
    assert body["tool_choice"] == rows[0]


@pytest.mark.parametrize(("model", "options"), [("gpt-5-search-api", {"search_context_size": "low"}), ("gpt-5", None)])
def test_a_search_is_asked_only_of_models_that_take_it(model: str, options: dict[str, Any] | None) -> None:
    tool = ServerTool("web_search", Opaque(RESPONSES, "web_search", {}), {"search_context_size": "low"})
    body, losses = SPOKEN.write_request(asked(RESPONSES, tools=(tool,)), Target("o", model))
    assert body.get("web_search_options") == options
    assert bool(losses) is (options is None)


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking": {"type": "enabled"}},
        {"thinking": {"type": "disabled"}, "max_tokens": 5},
        {"reasoning": {"effort": "high", "exclude": True}},
        {"reasoning_effort": "default", "service_tier": "on_demand"},
        {"provider": {"order": ["x"]}, "max_completion_tokens": 5, "logit_bias": {"1": 2}},
        {"n": 2, "seed": 1, "logprobs": True, "top_logprobs": 3, "user": "u", "safety_identifier": "s"},
        {"modalities": ["text", "image"], "prompt_cache_options": {"ttl": "30m"}, "prompt_cache_retention": "24h"},
        {"prediction": {"type": "content", "content": "x"}, "verbosity": "low", "store": True, "metadata": {"a": "b"}},
        {"moderation": {"model": "omni"}, "presence_penalty": 1, "frequency_penalty": 1, "temperature": 2, "top_p": 1},
    ],
)
def test_what_is_written_anew_for_its_own_dialect_is_the_same(fields: dict[str, Any]) -> None:
    body, lost = sent(chat(**fields))
    assert {name: body.get(name) for name in fields} == fields
    assert body.keys() == {"model", "messages", *fields}
    assert not lost


@pytest.mark.parametrize(
    ("mark", "home"),
    [
        ({"cache_control": {"type": "ephemeral", "ttl": "1h"}}, True),
        ({"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}, True),
        ({"prompt_cache_breakpoint": {"mode": "explicit"}}, False),
    ],
)
def test_marks_for_the_cache_stay_where_they_can_be_said(mark: dict[str, Any], home: bool) -> None:
    part = {"type": "text", "text": "x", **mark}
    request = said({"role": "user", "content": [part]})
    if not home:
        request.home = RESPONSES
    body, lost = sent(request)
    assert body["messages"][0]["content"] == [part]
    assert not lost


@pytest.mark.parametrize("home", [MESSAGES, RESPONSES])
def test_what_asks_for_nothing_is_no_loss_where_there_is_no_word_for_it(home: DialectName) -> None:
    request = chat(n=1, logprobs=False, logit_bias={}, modalities=["text"], store=False)
    _, losses = dialect(home).write_request(request, Target("o", "m"))
    assert not losses


ROWS = [
    {"type": "reasoning.summary", "summary": "short", "format": "openai-responses-v1", "index": 0},
    {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "format": "openai-responses-v1", "index": 0},
]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thinking_goes_back_in_the_field_that_the_provider_wants(field: str) -> None:
    call = ToolCall("c1", "f", "{}")
    turns = [Turn(Role.ASSISTANT, (Reasoning("let me see"), call)), Turn(Role.ASSISTANT, (call,))]
    turns += [Turn(Role.ASSISTANT, (Text("no thought"),))]
    body, lost = sent(asked(RESPONSES, *turns), reasoning_field=field)
    assert [m.get(field) for m in body["messages"]] == ["let me see", "", None]
    assert not lost


def test_thinking_goes_back_as_a_part_of_the_content() -> None:
    turn = Turn(Role.ASSISTANT, (Reasoning("hm"), Text("yes")))
    body, lost = sent(asked(MESSAGES, turn), reasoning_field="thinking")
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    assert body["messages"][0]["content"] == [thought, {"type": "text", "text": "yes"}]
    assert SPOKEN.read_request(body).turns[0].content == turn.content
    assert not lost


def test_rows_of_reasoning_go_back_unaltered_through_another_dialect() -> None:
    events = whole({"content": "yes", "reasoning_details": ROWS})
    there = dialect(MESSAGES)
    message = there.write_answer(fold(events), head(asked(MESSAGES)))
    back = there.read_request({"model": "m", "messages": [{"role": "assistant", "content": message["content"]}]})
    body, lost = sent(back)
    assert body["messages"][0]["reasoning_details"] == ROWS
    assert not lost
    other, losses = SPOKEN.write_request(back, Target("elsewhere", "m"))
    assert "reasoning_details" not in other["messages"][0]
    assert [loss.what for loss in losses] == ["messages[0].content[0] (thinking)", "messages[0].content[1] (thinking)"]


def test_streamed_rows_of_reasoning_are_kept_with_all_of_their_text() -> None:
    row = {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1"}
    texts = [{"reasoning_details": [{**row, "text": text}]} for text in ("ha", "ha", "!")]
    sealed = {"reasoning_details": [{**row, "text": None, "signature": "sig"}]}
    more = {"reasoning_details": [{**row, "index": 1, "text": "again", "signature": "sig2"}]}
    got = heard(*map(chunk, [*texts, sealed, more, {"content": "yes"}]), chunk({}, "stop"))
    assert [piece.text for piece in got.pieces] == ["haha!", "again", "yes"]
    first, second = (piece.seal.data for piece in got.pieces[:2] if piece.seal)
    assert first == {**row, "text": "haha!", "signature": "sig"}
    assert second == {**row, "index": 1, "text": "again", "signature": "sig2"}


@pytest.mark.parametrize("ident", ["call_abc", "a", "toolu_01" * 6, "é23456789"])
def test_ids_of_calls_are_made_to_fit(ident: str) -> None:
    turns = (Turn(Role.ASSISTANT, (ToolCall(ident, "f", "{}"),)), Turn(Role.USER, (ToolResult(ident, (Text("1"),)),)))
    body, _ = sent(asked(MESSAGES, *turns), call_id_length=9)
    made = body["messages"][0]["tool_calls"][0]["id"]
    assert len(made) == 9
    assert made.isascii()
    assert made.isalnum()
    assert body["messages"][1]["tool_call_id"] == made
    assert sent(asked(MESSAGES, *turns))[0]["messages"][1]["tool_call_id"] == ident


def test_an_id_that_fits_stays() -> None:
    turns = (Turn(Role.ASSISTANT, (ToolCall("aB3xK9mP2", "f", "{}"),)),)
    assert sent(asked(MESSAGES, *turns), call_id_length=9)[0]["messages"][0]["tool_calls"][0]["id"] == "aB3xK9mP2"


@pytest.mark.recordings
@pytest.mark.parametrize("home", list(DialectName))
def test_every_recorded_question_is_one_that_the_sdk_knows(recordings: Path, home: DialectName) -> None:
    judge = Judge(*TYPES, allowed=EXTENSIONS if home is CHAT else ())
    seen = 0
    for ident, request in requests(recordings, home):
        body, losses = SPOKEN.write_request(request, Target("o", "m"))
        faults = judge.faults(json.loads(json.dumps(body)))
        if home is CHAT:
            faults = [fault for fault in faults if not any(word in fault for word in WORDS)]
        assert not faults or any(loss.content for loss in losses), f"{ident}: {faults}"
        seen += 1
    assert seen >= {CHAT: 80, MESSAGES: 20, RESPONSES: 40}.get(home, 0)


# The answer in


@pytest.mark.parametrize(
    ("usage", "count"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2}}, Count(9, 4, 3, 2)),
        ({"prompt_cache_hit_tokens": 3, "prompt_cache_miss_tokens": 6}, Count(9, 4, 3)),
        ({"prompt_tokens_details": {"cached_tokens": None}, "prompt_cache_hit_tokens": 3}, Count(9, 4, 3)),
        ({"cached_tokens": 3}, Count(9, 4, 3)),
        ({"num_cached_tokens": 3}, Count(9, 4, 3)),
        ({"completion_tokens_details": {"reasoning_tokens": 2}}, Count(9, 4, reasoning=2)),
        ({"completion_tokens_details": {"audio_tokens": 1}}, Count(9, 4, audio_output=1)),
        ({"prompt_tokens_details": {"audio_tokens": 5}}, Count(9, 4, audio_input=5)),
    ],
)  # fmt: skip
def test_usage_is_counted_in_every_spelling(usage: dict[str, Any], count: Count) -> None:
    given = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, **usage}
    assert fold(whole({"content": "x"}, usage=given)).count == count
    assert heard(chunk({"content": "x"}), chunk({}, "stop", usage=given)).count == count


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", Finish.STOP), ("length", Finish.LENGTH), ("tool_calls", Finish.TOOL_CALLS), ("eos", Finish.STOP),
        ("function_call", Finish.TOOL_CALLS), ("content_filter", Finish.CONTENT_FILTER), ("max_tokens", Finish.LENGTH),
        ("sensitive", Finish.CONTENT_FILTER), ("model_length", Finish.CONTEXT), ("surprise", Finish.OTHER),
        ("model_context_window_exceeded", Finish.CONTEXT),
    ],
)  # fmt: skip
def test_every_word_for_the_end_is_known(word: str, reason: Finish) -> None:
    assert fold(whole({"content": "x"}, word)).finishes[0].reason is reason


@pytest.mark.parametrize("word", ["error", "network_error", "insufficient_system_resource"])
def test_an_answer_that_the_provider_could_not_finish_is_a_failure(word: str) -> None:
    assert isinstance(whole({"content": "x"}, word)[-1], Failed)
    assert isinstance(parsed(chunk({"content": "x"}), chunk({}, word))[-1], Failed)


def test_an_error_in_a_choice_is_the_error_of_the_answer() -> None:
    error = {"code": 502, "message": "upstream broke"}
    assert parsed(chunk({"content": "x"}), chunk({}, "error", error=error))[-1] == Failed(error)


@pytest.mark.parametrize("cut", range(1, 9))
def test_arguments_may_be_cut_anywhere(cut: int) -> None:
    text = '{"a":"é"}'
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": text[:cut]}}
    rest = {"index": 0, "function": {"arguments": text[cut:]}}
    got = heard(chunk({"tool_calls": [first]}), chunk({"tool_calls": [rest]}), chunk({}, "stop"))
    assert [(p.id, p.name, p.text) for p in got.pieces] == [("c1", "f", text)]
    assert got.finishes[0].reason is Finish.TOOL_CALLS


def test_calls_side_by_side_keep_their_arguments() -> None:
    def call(n: int, text: str, **more: Any) -> dict[str, Any]:
        return {"index": n, "function": {"arguments": text, **more.pop("name", {})}, **more}

    opening = [call(n, "", id=f"c{n}", name={"name": f"f{n}"}) for n in range(3)]
    pieces = [call(1, '{"b":'), call(0, '{"a":1}'), call(1, "2}")]
    got = heard(chunk({"tool_calls": opening}), *(chunk({"tool_calls": [p]}) for p in pieces), chunk({}, "tool_calls"))
    assert [(p.id, p.text) for p in got.pieces] == [("c0", '{"a":1}'), ("c1", '{"b":2}'), ("c2", "{}")]


def test_addresses_beside_the_answer_are_its_sources() -> None:
    cited = {"citations": ["https://a", "https://b"]}
    for got in (
        fold(whole({"content": "x [1]"}, **cited)),
        heard(chunk({"content": "x "}) | cited, chunk({"content": "[1]"}) | cited, chunk({}, "stop") | cited),
    ):
        assert [cite.url for cite in got.pieces[0].cites] == ["https://a", "https://b"]


def test_annotations_of_the_text_come_before_addresses_beside_it() -> None:
    spot = {"url": "https://a", "title": "A", "start_index": 0, "end_index": 1, "content": "quoted"}
    row = {"type": "url_citation", "url_citation": spot}
    got = fold(whole({"content": "x", "annotations": [row]}, citations=["https://b"]))
    assert [(c.url, c.quote) for c in got.pieces[0].cites] == [("https://a", "quoted")]
    body, _ = told(asked(CHAT), got)
    assert body["choices"][0]["message"]["annotations"] == [row]


def test_log_probabilities_of_a_refusal_are_its_own() -> None:
    tokens = [{"token": "No", "logprob": -0.1, "bytes": None, "top_logprobs": []}]
    choice = {"index": 0, "message": {"role": "assistant", "refusal": "No"}, "finish_reason": "stop"}
    choice["logprobs"] = {"content": None, "refusal": tokens}
    got = fold(SPOKEN.read_answer({"id": "c", "model": "m", "choices": [choice]}, "o"))
    body, chunks = told(asked(CHAT), got)
    assert body["choices"][0]["logprobs"] == {"content": None, "refusal": tokens}
    assert [c["logprobs"]["refusal"] for p in chunks for c in p["choices"] if c["logprobs"]] == [tokens]


def test_a_streamed_sound_comes_with_its_transcript_and_its_end() -> None:
    pieces = [{"id": "audio_1", "transcript": "He"}, {"transcript": "llo"}, {"data": "AAAA"}, {"expires_at": 5}]
    got = heard(*(chunk({"audio": piece}) for piece in pieces), chunk({}, "stop"))
    body, chunks = told(asked(CHAT), got)
    assert body["choices"][0]["message"]["audio"] == {
        "id": "audio_1", "transcript": "Hello", "data": "AAAA", "expires_at": 5,
    }  # fmt: skip
    assert "".join(d.get("transcript", "") for d in deltas(chunks, "audio")) == "Hello"


EXTRA = {"google": {"thought_signature": "AbCd"}}


def test_the_signature_of_a_call_goes_back_with_it() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": EXTRA}
    got = fold(whole({"tool_calls": [call]}, "tool_calls"))
    message = told(asked(CHAT), got)[0]["choices"][0]["message"]
    assert message["tool_calls"] == [call]
    body, _ = sent(said({"role": "user", "content": "x"}, message))
    assert body["messages"][1]["tool_calls"] == [call]


def test_the_signature_of_another_dialects_call_travels_with_it() -> None:
    seal = Opaque(DialectName.GEMINI, "thought_signature", "AbCd", "google@1")
    piece = Piece(Kind.TOOL_CALL, "c1", "f", text="{}", seal=seal)
    body, chunks = told(asked(CHAT), answer(piece, reason=Finish.TOOL_CALLS))
    message = body["choices"][0]["message"]
    back = said({"role": "user", "content": "x"}, message).turns[1].content[0]
    assert isinstance(back, ToolCall)
    assert back.seal == seal
    extra = [
        call["extra_content"] for calls in deltas(chunks, "tool_calls") for call in calls if "extra_content" in call
    ]
    assert extra[0]["google"]["thought_signature"].startswith(seals.MARK)


# The answer out


def test_a_stream_begins_with_the_role_and_ends_as_the_sdk_wants_it() -> None:
    events = list(unfold(answer(Piece(Kind.TEXT, text="yes"), count=Count(3, 1))))
    for asks in (True, False):
        renderer = SPOKEN.renderer(head(asked(CHAT), include_usage=asks))
        data = b"".join(renderer.event(event) for event in events)
        chunks = frames(data)
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        assert [c["finish_reason"] for p in chunks for c in p["choices"]] == [None, None, "stop"]
        assert [p["usage"]["total_tokens"] for p in chunks if p.get("usage")] == ([4] if asks else [])
        assert data.endswith(b"data: [DONE]\n\n")


def test_a_function_that_stands_for_a_free_tool_is_told_as_that_tool() -> None:
    piece = Piece(Kind.TOOL_CALL, "c1", "patch", text='{"input": "*** x\\n"}')
    request = asked(CHAT, tools=(PATCH,))
    body = SPOKEN.write_answer(answer(piece, reason=Finish.TOOL_CALLS), head(request))
    ChatCompletion.model_validate(body)
    (call,) = body["choices"][0]["message"]["tool_calls"]
    assert call == {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "*** x\n"}}
    renderer = SPOKEN.renderer(head(request))
    chunks = frames(b"".join(renderer.event(event) for event in unfold(answer(piece))))
    rows = [row for delta in deltas(chunks, "tool_calls") for row in delta]
    assert "".join(row["custom"].get("input", "") for row in rows) == "*** x\n"


def test_a_client_of_the_old_kind_is_told_of_a_call_in_the_old_way() -> None:
    request = chat(functions=[{"name": "f", "parameters": SCHEMA}])
    calls = [Piece(Kind.TOOL_CALL, f"c{n}", "f", text='{"city":"Ulm"}') for n in range(2)]
    body, chunks = told(request, answer(*calls, reason=Finish.TOOL_CALLS))
    choice = body["choices"][0]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"city":"Ulm"}'}
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "function_call"
    legacy = deltas(chunks, "function_call")
    assert "".join(d.get("arguments", "") for d in legacy) == '{"city":"Ulm"}'
    assert [d["name"] for d in legacy if "name" in d] == ["f"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call"


def test_a_sealed_thought_can_be_handed_back_from_a_stream() -> None:
    seal = Opaque(MESSAGES, "thinking", "c2ln", "anthropic@1")
    events: list[Event] = [
        Started("a", "m"), BlockStart(0, Kind.REASONING), BlockDelta(0, "let me "), BlockDelta(0, "see"),
        BlockSeal(0, seal), BlockEnd(0), BlockStart(1, Kind.TEXT), BlockDelta(1, "3"), BlockEnd(1),
        Finished(Finish.STOP), Counted(Count(1, 1)), Done(),
    ]  # fmt: skip
    renderer = SPOKEN.renderer(head(asked(CHAT)))
    chunks = frames(b"".join(renderer.event(event) for event in events))
    rows = [row for delta in deltas(chunks, "reasoning_details") for row in delta]
    back = said({"role": "assistant", "content": "3", "reasoning_details": rows})
    assert back.turns[0].content == (Reasoning("let me see", seal), Text("3"))
    assert "".join(deltas(chunks, "reasoning_content")) == "let me see"
    again = SPOKEN.parser("o")
    data = stream(*chunks)
    assert fold([*again.feed(data), *again.close()]).pieces[0].text == "let me see"


def test_what_was_lost_has_a_name_that_the_client_knows() -> None:
    _, losses = dialect(RESPONSES).write_request(chat(seed=1, top_k=3), Target("o", "m"))
    assert losses == [Loss(name, "there is no such parameter") for name in ("seed", "top_k")]


def test_a_picture_in_a_tools_message_stays_there_for_its_own_dialect() -> None:
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": parts},
    ]
    assert sent(said(*messages))[0]["messages"] == messages


@pytest.mark.parametrize(
    ("name", "value"), [("max_tokens", "5"), ("stop", 5), ("stop", [5]), ("service_tier", {}), ("n", True)]
)  # fmt: skip
def test_a_parameter_of_the_wrong_kind_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(BadRequest, match=name):
        chat(**{name: value})


def test_what_a_provider_refuses_is_left_out_and_named() -> None:
    request = said({"role": "user", "content": "x", "name": "Ann"}, n=1, store=True, user="u", max_tokens=5, seed=1)
    request.home = RESPONSES
    body, lost = sent(request, rejects=("n", "store", "user", "name"))
    message = {"role": "user", "content": "x"}
    assert body == {"model": "m", "messages": [message], "max_completion_tokens": 5, "seed": 1}
    assert lost == ["messages[0].name", "store", "user"]


async def test_a_provider_gets_ids_and_thinking_as_it_wants_them(redeo: Any, provider: Any) -> None:
    up = await provider(scripted("yes"))
    server = await redeo({"mistral": {"base_url": up.base_url}})
    turns = [
        {"role": "user", "content": "1 + 2?"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "let me see"}]},
        {"type": "function_call", "call_id": "call_0123456789", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_0123456789", "output": "3"},
    ]
    asks = {"model": "mistral/m", "input": turns, "max_output_tokens": 20, "store": False, "user": "u"}
    got = await server.request("POST", "/v1/responses", json=asks)
    assert got.status == 200
    assert got.headers["x-redeo-dropped"] == "user"
    assert up.requests[0].json.keys() == {"model", "messages", "max_tokens"}
    assistant, tool = up.requests[0].json["messages"][1:]
    assert assistant["content"] == [{"type": "thinking", "thinking": [{"type": "text", "text": "let me see"}]}]
    assert assistant["tool_calls"][0]["id"] == tool["tool_call_id"]
    assert len(tool["tool_call_id"]) == 9


def test_marks_for_the_prompt_cache_reach_a_provider_that_takes_them() -> None:
    turn = Turn(Role.USER, (Text("long", cache=Cache("1h")), Text("short")))
    body, lost = sent(asked(MESSAGES, turn), cache_marks=True)
    marked = {"type": "text", "text": "long", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert body["messages"][0]["content"] == [marked, {"type": "text", "text": "short"}]
    assert not lost
    assert sent(asked(MESSAGES, turn))[1] == ["messages[0].content[0].cache_control"]
