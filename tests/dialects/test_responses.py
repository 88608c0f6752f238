"""OpenAI Responses in its four directions: what its clients say, Codex before all, and what becomes of it elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses import response_create_params as params
from pydantic import TypeAdapter

from proxy.dialects.base import Dialect, DialectName, ReplyHead, Target, dialect
from proxy.dialects.blocks import (
    Audio,
    Cite,
    Count,
    Document,
    Finish,
    Foreign,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    Source,
    Text,
    ToolCall,
    ToolResult,
)
from proxy.dialects.events import (
    Answer,
    BlockCite,
    BlockDelta,
    BlockEnd,
    BlockSeal,
    BlockStart,
    Counted,
    Done,
    Event,
    Finished,
    Kind,
    Laws,
    Piece,
    Started,
    fold,
    unfold,
)
from proxy.dialects.request import (
    BadRequest,
    Choice,
    Format,
    Param,
    Request,
    Role,
    ServerTool,
    Space,
    Think,
    Tool,
    Turn,
)
from tests.support.recorded import requests
from tests.support.sdk_types import Judge
from tests.support.upstream import stream as scripted_stream

CHAT, MESSAGES, RESPONSES = DialectName.CHAT, DialectName.MESSAGES, DialectName.RESPONSES
SPOKEN: Dialect = dialect(RESPONSES)
OTHERS = [CHAT, MESSAGES, DialectName.GEMINI, DialectName.CONVERSE]
TYPES = (params.ResponseCreateParamsNonStreaming, params.ResponseCreateParamsStreaming)
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
SEALED = ["reasoning.encrypted_content"]
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: x"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

# As Codex asks with a model that it knows (CLIENTS.md, item 4).
CODEX: dict[str, Any] = {
    "model": "gpt-5-codex",
    "stream": True,
    "store": False,
    "input": [
        {"type": "additional_tools", "role": "developer", "tools": [
            {"type": "namespace", "name": "mcp__docs__", "description": "documents", "tools": [
                {"type": "function", "name": "find", "description": "finds", "parameters": SCHEMA, "strict": False},
            ]},
            {"type": "namespace", "name": "shell", "description": "the shell", "tools": [
                {"type": "custom", "name": "patch", "description": "changes files", "format": GRAMMAR},
            ]},
            {"type": "custom", "name": "js", "description": "runs"},
            {"type": "web_search", "external_web_access": True},
            {"type": "local_shell"},
        ]},
        {"type": "configuration_update", "reasoning": {"effort": "low"}},
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "be brief"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "message", "role": "assistant", "phase": "commentary",
         "content": [{"type": "output_text", "text": "looking", "annotations": []}]},
        {"type": "function_call", "call_id": "c1", "name": "find", "namespace": "mcp__docs__", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "namespace": "shell", "input": "*** x"},
        {"type": "function_call_output", "call_id": "c1", "output": [
            {"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
        ]},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "done"},
        {"type": "local_shell_call", "id": "ls_1", "call_id": "c3", "status": "completed",
         "action": {"type": "exec", "command": ["ls"], "env": {}}},
        {"type": "from_the_future", "id": "x"},
        {"type": "configuration_update", "reasoning": {"effort": "high"}},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "thread",
    "client_metadata": {"x": "y"},
}  # fmt: skip


def read(*items: dict[str, Any], **fields: Any) -> Request:
    return SPOKEN.read_request({"model": "m", "input": list(items), **fields})


def asked(home: DialectName = MESSAGES, *turns: Turn, **fields: Any) -> Request:
    return Request(home, "m", turns or (Turn(Role.USER, (Text("hi"),)),), **fields)


def sent(request: Request, to: DialectName = RESPONSES, origin: str = "o") -> tuple[dict[str, Any], list[str]]:
    body, losses = dialect(to).write_request(request, Target(origin, "m"))
    return body, [loss.what for loss in losses]


def good(body: dict[str, Any]) -> None:
    assert not Judge(*TYPES).faults(json.loads(json.dumps(body)))


def head(request: Request) -> ReplyHead:
    return ReplyHead("req_1", 1_700_000_000, request, "m")


def answer(*pieces: Piece, reason: Finish = Finish.STOP, count: Count | None = None) -> Answer:
    return Answer("a", "m", 1, list(pieces), {0: Finished(reason)}, count)


def streamed(request: Request, events: list[Event]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the SDK's stream helper makes of the answer, and its events, each of which the SDK knows."""
    renderer = SPOKEN.renderer(head(request))
    data = b"".join(renderer.event(event) for event in events)
    rows = [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: {")]
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    for row in rows:
        state.handle_event(EVENT.validate_python(row))
    assert [row["sequence_number"] for row in rows] == list(range(len(rows)))
    return rows[-1]["response"], rows


def told(request: Request, given: Answer) -> list[dict[str, Any]]:
    """The items of the answer, which are the same whole and streamed."""
    body = json.loads(json.dumps(SPOKEN.write_answer(given, head(request))))
    Response.model_validate(body)
    last, _ = streamed(request, list(unfold(given)))
    assert last == body
    output: list[dict[str, Any]] = body["output"]
    return output


def kinds(rows: list[dict[str, Any]]) -> list[str]:
    return [row["type"].removeprefix("response.") for row in rows]


# The question in


@pytest.mark.parametrize("to", OTHERS)
def test_what_codex_asks_can_be_asked_of_every_provider(to: DialectName) -> None:
    body, losses = dialect(to).write_request(SPOKEN.read_request(CODEX), Target("o", "m"))
    text = json.dumps(body)
    for name in ("mcp__docs__find", "shell__patch", "js", "looking", "be brief"):
        assert name in text
    assert "namespace" not in text
    assert not [loss for loss in losses if loss.content]
    named = {loss.what for loss in losses}
    assert {"client_metadata", "input.phase"} <= named
    assert len([name for name in named if "content[" in name]) >= 2, "the call of the local shell, and the unknown"


def test_what_codex_asks_is_read_whole() -> None:
    request = SPOKEN.read_request(CODEX)
    assert [(t.name, t.space) for t in request.tools if isinstance(t, Tool)] == [
        ("mcp__docs__find", Space("mcp__docs__", "find", "documents")),
        ("shell__patch", Space("shell", "patch", "the shell")),
        ("js", None),
    ]
    assert [tool.kind for tool in request.tools if isinstance(tool, ServerTool)] == ["web_search", "local_shell"]
    assert request.params[Param.REASONING] == Think("high", summary="auto")
    calls = [
        (block.name, block.custom) for turn in request.turns for block in turn.content if isinstance(block, ToolCall)
    ]
    assert calls == [("mcp__docs__find", False), ("shell__patch", True)]


def test_what_codex_asks_is_written_anew_with_its_namespaces_and_phases() -> None:
    body, lost = sent(SPOKEN.read_request(CODEX))
    assert body["tools"] == CODEX["input"][0]["tools"]
    kept = [item for item in CODEX["input"] if item["type"] not in ("additional_tools", "configuration_update")]
    assert [item["type"] for item in body["input"]] == [item["type"] for item in kept]
    assert body["input"][2] == kept[2]
    calls = [item for item in body["input"] if item["type"] in ("function_call", "custom_tool_call")]
    assert calls == kept[3:5]
    assert body["reasoning"] == {"effort": "high", "summary": "auto"}
    assert not lost


def test_a_later_format_replaces_the_first() -> None:
    form = {"type": "json_schema", "name": "n", "schema": SCHEMA}
    update = {"type": "configuration_update", "text": {"format": form}}
    assert read(update).params[Param.FORMAT] == Format(SCHEMA, "n")
    plain = {"type": "configuration_update", "text": {"format": {"type": "text"}}}
    assert Param.FORMAT not in read(update, plain, text={"format": form}).params


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "msg_1"},
        {"id": "msg_1"},
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"},
        {"type": "compaction_trigger"},
    ],
)
def test_what_only_its_maker_can_read_is_content(item: dict[str, Any]) -> None:
    request = read({"role": "user", "content": "hi"}, item)
    assert isinstance(request.turns[1].content[0], Foreign)
    for to in OTHERS:
        assert [loss.content for loss in dialect(to).write_request(request, Target("o", "m"))[1]] == [True], to
    body, lost = sent(request)
    assert body["input"][1] == {"type": "item_reference", **item}
    assert not lost


ITEMS: list[dict[str, Any]] = [
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
    {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": ["x"]},
    {"type": "mcp_list_tools", "id": "m1", "server_label": "s", "tools": []},
    {"type": "mcp_approval_request", "id": "m2", "server_label": "s", "name": "f", "arguments": "{}"},
    {"type": "mcp_approval_response", "approval_request_id": "m2", "approve": True},
    {"type": "mcp_call", "id": "m3", "server_label": "s", "name": "f", "arguments": "{}"},
    {"type": "image_generation_call", "id": "ig_1", "status": "failed", "result": None},
    {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "container_id": "c", "code": "1",
     "outputs": []},
    {"type": "local_shell_call_output", "id": "lso_1", "output": "x"},
    {"type": "shell_call", "call_id": "c1", "action": {"commands": ["ls"]}},
    {"type": "shell_call_output", "call_id": "c1", "output": []},
    {"type": "apply_patch_call_output", "call_id": "c1", "status": "completed"},
    {"type": "tool_search_call", "arguments": {}},
    {"type": "program_output", "id": "p_1", "call_id": "c1", "result": "x", "status": "completed"},
]  # fmt: skip


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item["type"])
def test_an_item_of_a_built_in_tool_stays_here_and_is_named_elsewhere(item: dict[str, Any]) -> None:
    request = read({"role": "user", "content": "hi"}, item)
    body, lost = sent(request)
    assert body["input"][1] == item
    assert not lost
    good(body)
    for to in OTHERS:
        losses = dialect(to).write_request(request, Target("o", "m"))[1]
        assert [loss.content for loss in losses] == [False], to


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ({"type": "input_image", "image_url": "x://y", "detail": "low"}, Image(Source(url="x://y"), "low")),
        ({"type": "input_image", "file_id": "file-1", "detail": "auto"}, Image(Source(file_id="file-1"), "auto")),
        ({"type": "input_file", "file_url": "https://x/a.pdf"}, Document(Source(url="https://x/a.pdf"))),
        ({"type": "input_file", "file_id": "file-1"}, Document(Source(file_id="file-1"))),
        (
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
            Document(Source(data="AAAA", media_type="application/pdf"), "a.pdf"),
        ),
    ],
)  # fmt: skip
def test_media_are_read_and_written_back(part: dict[str, Any], block: Any) -> None:
    for item in (
        {"role": "user", "content": [part]},
        {"type": "function_call_output", "call_id": "c", "output": [part]},
    ):
        request = read(item)
        (found,) = request.turns[0].content
        assert found == (ToolResult("c", (block,)) if "output" in item else block)
        body, lost = sent(request)
        back = body["input"][0]
        assert back.get("output", back.get("content")) == [part]
        assert not lost
        good(body)


@pytest.mark.parametrize(
    ("given", "param", "value"),
    [
        ({"max_output_tokens": 20}, Param.MAX_TOKENS, 20),
        ({"reasoning": {"effort": "none"}}, Param.REASONING, Think("none", enabled=False)),
        ({"reasoning": {"generate_summary": "auto"}}, Param.REASONING, Think(summary="auto")),
        ({"include": ["message.output_text.logprobs"]}, Param.LOGPROBS, True),
        ({"text": {"verbosity": "low"}}, Param.VERBOSITY, "low"),
        ({"tool_choice": {"type": "custom", "name": "p"}}, Param.TOOL_CHOICE, Choice("tool", ("p",))),
        ({"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}},
         Param.TOOL_CHOICE, Choice("required", ("f",))),
        ({"prompt_cache_options": {"ttl": "12h"}}, Param.CACHE_OPTIONS, {"ttl": "12h"}),
    ],
)  # fmt: skip
def test_a_parameter_is_read(given: dict[str, Any], param: Param, value: Any) -> None:
    request = read({"role": "user", "content": "hi"}, **given)
    assert request.params[param] == value
    assert not request.extras


@pytest.mark.parametrize(
    "given",
    [
        {"tool_choice": "some"},
        {"tool_choice": {"type": "web_search"}},
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "server_label": "s"}]}},
        {"include": ["web_search_call.action.sources"]},
        {"truncation": "auto"},
        {"max_tool_calls": 3},
        {"context_management": [{"type": "compaction"}]},
    ],
)
def test_what_only_this_dialect_has_is_kept_for_it_and_named_elsewhere(given: dict[str, Any]) -> None:
    tools = [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": True}]
    request = read({"role": "user", "content": "hi"}, tools=tools, **given)
    body, lost = sent(request)
    assert {name: body[name] for name in given} == given
    assert not lost
    for to in OTHERS:
        assert set(given) <= set(sent(request, to)[1]), to


@pytest.mark.parametrize(
    "bad", [{"role": "nobody", "content": "x"}, {"role": "user", "content": [{"type": "input_text"}]}]
)
def test_what_is_plainly_wrong_is_refused_by_name(bad: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"input\[0\]"):
        read(bad)


# The question out


def test_what_is_written_anew_for_its_own_dialect_is_the_same() -> None:
    fields: dict[str, Any] = {
        "reasoning": {"effort": "high", "summary": "auto", "context": "all_turns"}, "max_output_tokens": 5,
        "service_tier": "ultrafast", "text": {"verbosity": "low"}, "top_logprobs": 2, "temperature": 1, "top_p": 0.5,
        "safety_identifier": "s", "user": "u", "metadata": {"a": "b"}, "store": True, "prompt_cache_retention": "24h",
        "prompt_cache_options": {"ttl": "12h", "prewarm": True}, "moderation": {"model": "omni"}, "max_tool_calls": 2,
        "include": ["reasoning.encrypted_content"],
    }  # fmt: skip
    body, lost = sent(read({"role": "user", "content": "hi"}, **fields))
    assert {name: body.get(name) for name in fields} == fields
    assert body.keys() == {"model", "input", *fields}
    assert not lost
    good(body)


@pytest.mark.parametrize(
    ("param", "value", "body", "lost"),
    [
        (Param.MAX_TOKENS, 5, {"max_output_tokens": 16}, ["max_tokens"]),
        (Param.MAX_TOKENS, 50, {"max_output_tokens": 50}, []),
        (Param.SERVICE_TIER, "standard_only", {"service_tier": "default"}, []),
        (Param.SERVICE_TIER, "on_demand", {}, ["service_tier"]),
        (Param.STOP, ["x"], {}, ["stop"]),
        (Param.N, 1, {}, []),
        (Param.N, 2, {}, ["n"]),
        (Param.LOGPROBS, True, {"include": ["message.output_text.logprobs"]}, []),
        (Param.VERBOSITY, "low", {"text": {"verbosity": "low"}}, []),
        (Param.FORMAT, Format(), {"text": {"format": {"type": "json_object"}}}, []),
        (Param.REASONING, Think(enabled=False), {"reasoning": {"effort": "none"}}, []),
        (Param.REASONING, Think("low"), {"reasoning": {"effort": "low"}, "include": SEALED}, []),
        (Param.REASONING, Think("default"), {"include": SEALED}, ["reasoning"]),
    ],
)  # fmt: skip
def test_a_parameter_is_said_or_its_loss_is(param: Param, value: Any, body: dict[str, Any], lost: list[str]) -> None:
    written, losses = sent(asked(params={param: value}))
    good(written)
    for name in ("model", "input", "store"):
        written.pop(name)
    assert (written, losses) == (body, lost)


def test_what_the_assistant_said_elsewhere_is_one_text() -> None:
    turn = Turn(Role.ASSISTANT, (Text("a"), Text("b"), ToolCall("c1", "f", "")))
    body, lost = sent(asked(CHAT, turn))
    assert body["input"][0] == {"type": "message", "role": "assistant", "content": "ab"}
    assert body["input"][1] == {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    assert not lost
    good(body)


@pytest.mark.parametrize(
    "block",
    [Audio(Source(data="AAAA"), "wav"), Image(Source()), Document(Source()), Image(Source(text="x"))],
)
def test_what_cannot_stand_in_a_message_is_a_loss_of_content(block: Any) -> None:
    body, losses = SPOKEN.write_request(asked(CHAT, Turn(Role.USER, (block, Text("?")))), Target("o", "m"))
    assert [loss.content for loss in losses] == [True]
    good(body)


def test_a_picture_that_the_assistant_made_is_shown_by_the_user() -> None:
    turn = Turn(Role.ASSISTANT, (Image(Source(data="AAAA", media_type="image/png")), Text("see")))
    body, losses = SPOKEN.write_request(asked(MESSAGES, turn), Target("o", "m"))
    assert losses == []
    good(body)
    assert [(item["role"], item["content"]) for item in body["input"]] == [
        ("assistant", "see"),
        ("user", [{"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,AAAA"}]),
    ]


def test_sealed_reasoning_goes_back_only_where_it_can_be_read() -> None:
    item = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAA"}
    bare = {"id": "rs_2", "type": "reasoning", "summary": []}
    blocks = tuple(Reasoning(seal=Opaque(RESPONSES, "reasoning", data, "o")) for data in (item, bare))
    body, lost = sent(asked(CHAT, Turn(Role.ASSISTANT, (*blocks, Text("x")))))
    assert body["input"][0] == item
    assert len(body["input"]) == 2
    assert lost == ["messages[0].content[1] (thinking)"]
    assert sent(asked(CHAT, Turn(Role.ASSISTANT, blocks)), origin="p")[0]["input"] == []
    assert sent(read(item, bare))[0]["input"] == [item, bare]


def test_a_search_keeps_its_options_and_names_what_it_has_not() -> None:
    options = {"allowed_domains": ["a.de"], "max_uses": 2, "user_location": {"type": "approximate", "city": "Ulm"}}
    tool = ServerTool("web_search", Opaque(MESSAGES, "web_search_20250305", {}), options)
    body, lost = sent(asked(tools=(tool,)))
    assert body["tools"] == [
        {"type": "web_search", "filters": {"allowed_domains": ["a.de"]}, "user_location": options["user_location"]}
    ]
    assert lost == ["tools[0].max_uses"]
    good(body)


def test_a_choice_names_tools_as_they_were_given() -> None:
    inner = {"type": "custom", "name": "patch"}
    tools = [{"type": "namespace", "name": "shell", "description": "", "tools": [inner]}]
    body, _ = sent(read({"role": "user", "content": "hi"}, tools=tools, tool_choice={**inner, "namespace": "shell"}))
    assert body["tool_choice"] == inner
    assert sent(read({"role": "user", "content": "x"}, tools=[inner], tool_choice=inner))[0]["tool_choice"] == inner


@pytest.mark.recordings
@pytest.mark.parametrize("home", list(DialectName))
def test_every_recorded_question_is_one_that_the_sdk_knows(recordings: Path, home: DialectName) -> None:
    judge = Judge(*TYPES, allowed=("provider",) if home is RESPONSES else ())  # OpenRouter's
    seen = 0
    for ident, request in requests(recordings, home):
        body, losses = SPOKEN.write_request(request, Target("o", "m"))
        faults = judge.faults(json.loads(json.dumps(body)))
        assert not faults or any(loss.content for loss in losses), f"{ident}: {faults}"
        seen += 1
    assert seen >= {CHAT: 80, MESSAGES: 20, RESPONSES: 40}.get(home, 0)


# The answer in


def heard(*rows: dict[str, Any]) -> Answer:
    laws, parser = Laws(), SPOKEN.parser("o")
    data = b"".join(b"data: " + json.dumps(row).encode() + b"\n\n" for row in rows)
    return fold([laws.see(event) for event in [*parser.feed(data), *parser.close()]])


RESPONSE = {"id": "resp_1", "model": "m", "created_at": 1, "status": "completed", "output": []}


def test_a_sign_of_life_is_no_beginning() -> None:
    got = heard(
        {"type": "keepalive", "sequence_number": 0},
        {"type": "response.created", "response": {**RESPONSE, "status": "in_progress"}},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "i", "delta": "x"},
        {"type": "response.completed", "response": RESPONSE},
    )
    assert (got.id, got.model, got.pieces[0].text) == ("resp_1", "m", "x")


def test_a_call_in_a_namespace_has_the_name_that_the_client_knows() -> None:
    item = {"type": "function_call", "call_id": "c1", "name": "find", "namespace": "docs", "arguments": "{}"}
    got = heard({"type": "response.completed", "response": {**RESPONSE, "output": [item]}})
    assert (got.pieces[0].name, got.finishes[0].reason) == ("docs__find", Finish.TOOL_CALLS)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("max_output_tokens", Finish.LENGTH), ("content_filter", Finish.CONTENT_FILTER), ("steered", Finish.OTHER)],
)
def test_an_answer_that_is_not_whole_says_why(reason: str, finish: Finish) -> None:
    response = {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": reason}}
    assert heard({"type": "response.incomplete", "response": response}).finishes[0].reason is finish


# The answer out


def test_a_stream_has_every_event_in_its_order() -> None:
    cite = Cite("https://a", "A", start=0, end=1)
    events: list[Event] = [
        Started("a", "m"),
        BlockStart(0, Kind.SUMMARY), BlockDelta(0, "hm"), BlockEnd(0),
        BlockStart(1, Kind.TEXT), BlockDelta(1, "y"), BlockDelta(1, "es"), BlockCite(1, cite), BlockEnd(1),
        BlockStart(2, Kind.TOOL_CALL, "c1", "f"), BlockDelta(2, "{}"), BlockEnd(2),
        Finished(Finish.TOOL_CALLS), Counted(Count(9, 4, 3, 2, reasoning=1)), Done(),
    ]  # fmt: skip
    last, rows = streamed(asked(RESPONSES), events)
    assert kinds(rows) == [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.annotation.added", "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert [item["type"] for item in last["output"]] == ["reasoning", "message", "function_call"]
    assert last["usage"] == {
        "input_tokens": 9, "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 13,
    }  # fmt: skip


def test_thinking_that_is_shown_and_sealed_is_one_item() -> None:
    seal = Opaque(MESSAGES, "thinking", "c2ln", "anthropic@1")
    events: list[Event] = [
        Started("a", "m"), BlockStart(0, Kind.REASONING), BlockDelta(0, "hm"), BlockSeal(0, seal), BlockEnd(0),
        BlockStart(1, Kind.REASONING), BlockSeal(1, seal), BlockEnd(1),
        BlockStart(2, Kind.REFUSAL), BlockDelta(2, "no"), BlockEnd(2), Finished(Finish.STOP), Done(),
    ]  # fmt: skip
    last, _ = streamed(asked(RESPONSES), events)
    back = read(*last["output"])
    assert back.turns[0].content == (Reasoning("hm", seal), Reasoning("", seal), Refusal("no"))


@pytest.mark.parametrize(
    ("text", "told_as"),
    [('{"input": "*** x\\n"}', "*** x\n"), ('{"input": ""}', ""), ("{}", ""), ("*** raw", "*** raw")],
)
def test_functions_that_stand_for_codexs_tools_are_told_as_these(text: str, told_as: str) -> None:
    request = SPOKEN.read_request(CODEX)
    pieces = [
        Piece(Kind.TOOL_CALL, "c1", "mcp__docs__find", text='{"city":"Ulm"}'),
        Piece(Kind.TOOL_CALL, "c2", "shell__patch", text=text),
        Piece(Kind.TOOL_CALL, "c3", "js", text=text),
    ]
    output = told(request, answer(*pieces, reason=Finish.TOOL_CALLS))
    assert [(i["type"], i["name"], i.get("namespace"), i.get("arguments", i.get("input"))) for i in output] == [
        ("function_call", "find", "mcp__docs__", '{"city":"Ulm"}'),
        ("custom_tool_call", "patch", "shell", told_as),
        ("custom_tool_call", "js", None, told_as),
    ]
    back = read(*output)
    calls = [block for turn in back.turns for block in turn.content if isinstance(block, ToolCall)]
    assert [call.name for call in calls] == ["mcp__docs__find", "shell__patch", "js"]


@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        (Finish.STOP, "completed", None), (Finish.TOOL_CALLS, "completed", None), (Finish.PAUSE, "completed", None),
        (Finish.LENGTH, "incomplete", "max_output_tokens"), (Finish.CONTEXT, "incomplete", "max_output_tokens"),
        (Finish.CONTENT_FILTER, "incomplete", "content_filter"), (Finish.REFUSAL, "incomplete", "content_filter"),
    ],
)  # fmt: skip
def test_the_end_says_whether_the_answer_is_whole(reason: Finish, status: str, why: str | None) -> None:
    given = answer(Piece(Kind.TEXT, text="x"), reason=reason)
    body = SPOKEN.write_answer(given, head(asked(RESPONSES)))
    assert body["status"] == body["output"][0]["status"] == status
    assert (body["incomplete_details"] or {}).get("reason") == why
    _, rows = streamed(asked(RESPONSES), list(unfold(given)))
    assert rows[-1]["type"] == f"response.{status}"


def test_another_dialects_search_is_told_with_its_query() -> None:
    raw = Opaque(
        MESSAGES, "server_tool_use", {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
    )
    piece = Piece(Kind.SERVER_CALL, "s1", "web_search", text='{"query":"weather"}', raw=raw)
    (item,) = told(asked(RESPONSES), answer(piece))
    assert (item["type"], item["status"]) == ("web_search_call", "completed")
    assert item["action"] == {"type": "search", "query": "weather"}
    assert item["id"].startswith("ws_")


def test_a_response_repeats_its_question() -> None:
    request = read({"role": "user", "content": "hi"}, instructions="be brief", max_output_tokens=99, temperature=1)
    body = SPOKEN.write_answer(answer(Piece(Kind.TEXT, text="x")), head(request))
    assert (body["instructions"], body["max_output_tokens"], body["temperature"]) == ("be brief", 99, 1)
    Response.model_validate(body)


async def test_codex_gets_its_tools_called_by_a_provider_of_chat(redeo: Any, provider: Any) -> None:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        return b"data: " + json.dumps(body).encode() + b"\n\n"

    def call(n: int, text: str, **fields: Any) -> dict[str, Any]:
        named = {"name": fields.pop("name")} if "name" in fields else {}
        return {"tool_calls": [{"index": n, "function": {"arguments": text, **named}, **fields}]}

    pieces = [
        chunk({"role": "assistant", "reasoning_content": "hm"}),
        chunk(call(0, '{"inp', id="c1", type="function", name="shell__patch")), chunk(call(0, 'ut":"*** x"}')),
        chunk(call(1, '{"city":', id="c2", type="function", name="mcp__docs__find")), chunk(call(1, '"Ulm"}')),
        chunk({}, "tool_calls"), b"data: [DONE]\n\n",
    ]  # fmt: skip
    up = await provider(scripted_stream(pieces))
    server = await redeo({"mistral": {"base_url": up.base_url}})
    got = await server.request("POST", "/v1/responses", json={**CODEX, "model": "mistral/m"})
    assert got.status == 200, got.body
    rows = [json.loads(line[6:]) for line in got.body.decode().split("\n") if line.startswith("data: {")]
    done = [row["item"] for row in rows if row["type"] == "response.output_item.done"]
    assert [(i["type"], i.get("name"), i.get("namespace"), i.get("input", i.get("arguments"))) for i in done] == [
        ("reasoning", None, None, None),
        ("custom_tool_call", "patch", "shell", "*** x"),
        ("function_call", "find", "mcp__docs__", '{"city":"Ulm"}'),
    ]
    assert rows[-1]["type"] == "response.completed"
    assert "input.phase" in got.headers["x-redeo-dropped"]
    asked_for = up.requests[0].json
    assert [tool["function"]["name"] for tool in asked_for["tools"]] == ["mcp__docs__find", "shell__patch", "js"]
    assert asked_for["messages"][0] == {"role": "system", "content": "be brief"}


@pytest.mark.parametrize("ids", [("fc_1", "fc_1"), ("fc_1", "fc_other")], ids=["same-id", "ids-change"])
def test_an_item_that_stands_elsewhere_in_the_whole_response_comes_once(ids: tuple[str, str]) -> None:
    """Its number in the stream counts items that are not handed out; some providers change even the ids."""
    added, whole = (
        {"type": "function_call", "id": ident, "call_id": "c1", "name": "f", "arguments": text}
        for ident, text in zip(ids, ("", '{"a":1}'), strict=True)
    )
    answer = heard(
        {"type": "response.created", "response": {"id": "r", "model": "m"}},
        {"type": "response.output_item.added", "output_index": 1, "item": added},
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": '{"a":1}'},
        {"type": "response.output_item.done", "output_index": 1, "item": {**whole, "id": ids[0]}},
        {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [whole]}},
    )
    assert [(piece.id, piece.text) for piece in answer.pieces] == [("c1", '{"a":1}')]
