"""Anthropic Messages, feature by feature: what is read, what is written, and what is said to be lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest

from proxy.dialects.base import DialectName, ReplyHead, Target, dialect
from proxy.dialects.blocks import Count, Finish, Opaque, Text
from proxy.dialects.events import (
    Answer,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Done,
    Failed,
    Finished,
    Kind,
    Laws,
    Started,
    fold,
    unfold,
)
from proxy.dialects.messages.models import ways_of
from proxy.dialects.request import BadRequest, Request
from tests.dialects.test_translation import behind, good
from tests.support.recorded import requests
from tests.support.sdk_params import MessagesJudge
from tests.support.speech import ANTHROPIC, CHAT

MESSAGES = dialect(DialectName.MESSAGES)
JUDGE = MessagesJudge()
ORIGIN = "anthropic@1"
OLD, MIDDLE, NEW, ALWAYS = "claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-4-8", "claude-opus-5-5"
USER = {"role": "user", "content": "hi"}


def written(body: dict[str, Any], model: str = OLD, home: DialectName = DialectName.CHAT) -> tuple[Any, list[str]]:
    """What a request of another dialect becomes, and what was lost."""
    request = dialect(home).read_request(body)
    said, losses = MESSAGES.write_request(request, Target(ORIGIN, model))
    said = json.loads(json.dumps(said))
    JUDGE.check(said)
    return said, [loss.what for loss in losses]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [USER], **fields}


def again(model: str = OLD, **fields: Any) -> Any:
    """A request in Messages, written in Messages."""
    body = {"model": "m", "max_tokens": 100, "messages": [USER], **fields}
    request = MESSAGES.read_request(body)
    said, losses = MESSAGES.write_request(request, Target(ORIGIN, model))
    assert not losses
    return json.loads(json.dumps(said))


# Of Anthropic's beta alone; the connection that answered had it.
BETA = {
    "anthropic-test-anthropic-advisor-tool-stream-0-b6f7ec3c": "the advisor tool",
    "anthropic-test-anthropic-lazy-advertisement-live-1-5090f17c": "tools that are added in between",
}


@pytest.mark.parametrize("model", [OLD, MIDDLE, NEW, ALWAYS, "another"])
def test_every_recorded_request_is_one_of_the_official_sdk(recordings: Path, model: str) -> None:
    seen = 0
    for ident, request in requests(recordings):
        body, _ = MESSAGES.write_request(request, Target(ORIGIN, model))
        seen += 1
        found = JUDGE.faults(json.loads(json.dumps(body)))
        assert bool(found) is (ident in BETA), f"{ident}: {found}"
    assert seen > 180


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 1, "model": "m", "messages": [{**USER, "name": "x"}]},
        {"max_tokens": 1, "model": "m", "messages": [USER], "seed": 1},
        {"max_tokens": 1, "model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]},
    ],
)
def test_the_judge_finds_what_is_wrong(wrong: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        JUDGE.check(wrong)


# -- thinking, by model ------------------------------------------------------------------------------------------------

THINKING: list[tuple[str, str, dict[str, Any], Any, Any, list[str]]] = [
    # model, effort, further fields -> thinking, effort that is sent, lost
    ("effort-old", OLD, {"reasoning_effort": "low"}, {"type": "enabled", "budget_tokens": 2048}, None, []),
    ("effort-4-5", "claude-opus-4-5", {"reasoning_effort": "xhigh"}, {"type": "enabled", "budget_tokens": 23_000},
     "high", ["reasoning_effort"]),
    ("effort-4-6", MIDDLE, {"reasoning_effort": "medium"}, {"type": "adaptive"}, "medium", []),
    ("effort-4-6-x", MIDDLE, {"reasoning_effort": "xhigh"}, {"type": "adaptive"}, "high", ["reasoning_effort"]),
    ("effort-new", NEW, {"reasoning_effort": "xhigh"}, {"type": "adaptive"}, "xhigh", []),
    ("minimal-new", NEW, {"reasoning_effort": "minimal"}, {"type": "adaptive"}, "low", ["reasoning_effort"]),
    ("none-new", NEW, {"reasoning_effort": "none"}, {"type": "disabled"}, None, []),
    ("none-always", ALWAYS, {"reasoning_effort": "none"}, None, "low", ["reasoning_effort"]),
    ("none-thinking", "claude-3-5-sonnet-latest", {"reasoning_effort": "high"}, None, None, ["reasoning_effort"]),
    ("other-maker", "kimi-k3", {"reasoning_effort": "high"}, {"type": "enabled", "budget_tokens": 16_384}, None, []),
    ("shrunk", OLD, {"reasoning_effort": "high", "max_tokens": 4000}, {"type": "enabled", "budget_tokens": 3000},
     None, []),
    ("no-room", OLD, {"reasoning_effort": "high", "max_tokens": 500}, None, None, ["reasoning_effort"]),
]  # fmt: skip


@pytest.mark.parametrize(("model", "fields", "thinking", "effort", "lost"), [r[1:] for r in THINKING],
                         ids=[r[0] for r in THINKING])  # fmt: skip
def test_effort_is_said_as_the_model_takes_it(
    model: str, fields: dict[str, Any], thinking: Any, effort: Any, lost: list[str]
) -> None:
    body, losses = written(chat(**fields), model)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert losses == lost
    budget = (thinking or {}).get("budget_tokens", 0)
    assert body["max_tokens"] > budget
    assert body["max_tokens"] == fields.get("max_tokens", body["max_tokens"]), "what the client allows is its limit"


LIMITS = {
    "claude-2.1": 4096, "claude-3-haiku-20240307": 4096, "claude-3-opus-latest": 4096,
    "claude-3-5-haiku-20241022": 8192, "anthropic.claude-3-5-sonnet-20241022-v2:0": 8192,
    "claude-3-7-sonnet-latest": 64_000, "claude-opus-4-20250514": 32_000, "claude-opus-4-1@20250805": 32_000,
    "claude-sonnet-4-0": 64_000, "claude-haiku-4-5": 64_000, "anthropic/claude-sonnet-4.5": 64_000,
    "claude-opus-4-5": 64_000, "claude-opus-4-6": 128_000, "claude-sonnet-4-6": 128_000, "claude-opus-4-8": 128_000,
    "claude-haiku-5-5": 128_000, "claude-sonnet-5": 128_000, "claude-opus-5-5": 128_000, "claude-fable-5-1": 128_000,
    "claude-haiku-7": 64_000, "kimi-k3": 8192,
}  # fmt: skip


@pytest.mark.parametrize(("model", "limit"), LIMITS.items())
def test_where_the_client_sets_no_limit_the_model_says_all_it_can(model: str, limit: int) -> None:
    assert written(chat(), model)[0]["max_tokens"] == limit
    assert written(chat(max_tokens=77), model)[0]["max_tokens"] == 77


@pytest.mark.parametrize(
    ("model", "budget", "limit", "sent"),
    [
        ("claude-sonnet-4-5", 40_000, 64_000, 40_000),
        ("claude-opus-4-1", 31_999, 32_000, 31_999),
        ("claude-opus-4-1", 32_000, 32_000, 24_000),
        ("kimi-k3", 32_000, 40_192, 32_000),
    ],
)
def test_thinking_has_room_in_what_the_model_can_say(model: str, budget: int, limit: int, sent: int) -> None:
    body, _ = written(chat(reasoning={"max_tokens": budget}), model)
    assert (body["max_tokens"], body["thinking"]["budget_tokens"]) == (limit, sent)


@pytest.mark.parametrize(
    ("model", "words", "limit"),
    [
        ("claude-sonnet-4-0", 50_000, 64_000),
        ("claude-sonnet-4-0", 320_000, 40_000),
        ("claude-sonnet-4-0", 500_000, 8192),
        ("claude-sonnet-4-5", 500_000, 64_000),
    ],
)
def test_a_long_question_leaves_old_models_less_to_say(model: str, words: int, limit: int) -> None:
    body, _ = written(chat(messages=[{"role": "user", "content": "x" * words}]), model)
    assert body["max_tokens"] == pytest.approx(limit, abs=100), "or it is refused: both have to fit into the window"


def test_a_budget_becomes_an_effort_where_no_budget_is_taken() -> None:
    google = {
        "contents": "hi",
        "generationConfig": {"thinkingConfig": {"thinkingBudget": 9000, "includeThoughts": True}},
    }
    body, lost = written(google, NEW, DialectName.GEMINI)
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {"effort": "medium"}
    assert lost == ["generationConfig.thinkingConfig"]
    body, lost = written(google, OLD, DialectName.GEMINI)
    assert (body["thinking"], lost) == ({"type": "enabled", "budget_tokens": 9000}, [])


@pytest.mark.parametrize("model", ["claude-opus-4-7@20260416", "us.anthropic.claude-opus-4-7-v1:0", "claude-opus-4.7"])
def test_clouds_spell_names_in_their_own_ways(model: str) -> None:
    assert ways_of(model) == ways_of("claude-opus-4-7")


def test_the_models_of_the_sdk_are_all_known() -> None:
    names = ("fable-5-2", "mythos-5-2", "haiku-5-5", "sonnet-5-5", "opus-5-5", "sonnet-5", "fable-5", "opus-5",
             "opus-4-8", "mythos-preview", "opus-4-7")  # fmt: skip
    assert not any(ways_of(f"claude-{name}").manual or ways_of(f"claude-{name}").sampling for name in names)
    assert all(ways_of(f"claude-{name}").manual for name in ("opus-4-6", "haiku-4-5-20251001", "opus-4-20250514"))


@pytest.mark.parametrize(
    ("model", "fields", "kept", "lost"),
    [
        (OLD, {"temperature": 0.3, "top_p": 0.9}, {"temperature": 0.3}, ["top_p"]),
        ("claude-sonnet-4-20250514", {"temperature": 0.3, "top_p": 0.9}, {"temperature": 0.3, "top_p": 0.9}, []),
        (MIDDLE, {"temperature": 0.3}, {"temperature": 0.3}, []),
        (MIDDLE, {"temperature": 0.3, "reasoning_effort": "low"}, {}, ["temperature"]),
        (OLD, {"top_p": 0.96, "reasoning_effort": "low"}, {"top_p": 0.96}, []),
        (OLD, {"top_p": 0.5, "reasoning_effort": "low"}, {}, ["top_p"]),
        (NEW, {"temperature": 0.3, "top_p": 0.9}, {}, ["temperature", "top_p"]),
        (NEW, {"temperature": 1, "top_p": 1}, {}, []),
        (OLD, {"temperature": 1.7}, {"temperature": 1}, ["temperature"]),
    ],
)
def test_sampling_goes_where_it_is_taken(
    model: str, fields: dict[str, Any], kept: dict[str, Any], lost: list[str]
) -> None:
    body, losses = written(chat(**fields), model)
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == kept
    assert losses == lost


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize(
    ("model", "thinks", "choice", "lost"),
    [
        (OLD, False, {"type": "any"}, ["reasoning_effort"]),
        (MIDDLE, False, {"type": "any"}, ["reasoning_effort"]),
        (NEW, True, {"type": "any"}, []),
        (ALWAYS, True, {"type": "auto"}, ["tool_choice"]),
    ],
)
def test_thinking_and_forced_calls(model: str, thinks: bool, choice: Any, lost: list[str]) -> None:
    body, losses = written(chat(tools=[TOOL], tool_choice="required", reasoning_effort="low"), model)
    assert (body["tool_choice"], losses) == (choice, lost)
    assert ("thinking" in body) is thinks


CALLED = [
    USER,
    {"role": "assistant", "tool_calls": [{"id": "functions.f:0", "type": "function",
                                          "function": {"name": "f", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "functions.f:0", "content": "done"},
]  # fmt: skip


@pytest.mark.parametrize(("model", "thinks"), [(OLD, False), (MIDDLE, True), (ALWAYS, True)])
def test_a_turn_that_called_tools_without_its_thinking(model: str, thinks: bool) -> None:
    """With a budget it would be refused; thinking as the model likes does not ask for it."""
    body, losses = written(chat(messages=CALLED, tools=[TOOL], reasoning_effort="low"), model)
    assert ("thinking" in body) is thinks
    assert losses == ([] if thinks else ["reasoning_effort"])


def test_with_its_own_thinking_it_goes_on_thinking() -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "x"}
    messages = [USER, {"role": "assistant", "content": [thinking, call]}, {"role": "user", "content": [result]}]
    body = again(messages=messages, max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 2000})
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert body["messages"][1]["content"][0] == thinking


def test_ids_of_calls_have_the_letters_that_are_taken() -> None:
    body, _ = written(chat(messages=CALLED, tools=[TOOL]))
    assert body["messages"][1]["content"][0]["id"] == "functions_f_0"
    assert body["messages"][2]["content"][0]["tool_use_id"] == "functions_f_0"


# -- the home dialect, written anew because of a foreign seal ----------------------------------------------------------

OWN: list[dict[str, Any]] = [
    {"context_management": {"edits": []}, "container": "c", "cache_control": {"type": "ephemeral"}},
    {"mcp_servers": [{"type": "url", "name": "a", "url": "https://a"}]},
    {"metadata": {"user_id": "u"}},
    {"output_config": {"effort": "high", "task_budget": {"type": "tokens", "total": 1}}},
    {"output_config": {"format": {"type": "json_schema", "schema": {"type": "integer", "minimum": 3}}}},
    {"thinking": {"type": "disabled"}},
    {"thinking": {"type": "between_tools"}},
    {"tools": [{"name": "f", "input_schema": {"type": "object"}, "allowed_callers": ["direct"]}]},
    {"tools": [{"type": "bash_20250124", "name": "bash"}, {"type": "memory_20250818", "name": "memory"}]},
    {"messages": [{"role": "user", "content": [{"type": "search_result", "source": "s", "title": "t",
                   "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                   "citations": {"enabled": True}, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "document", "title": "t", "source": {"type": "content",
                   "content": [{"type": "text", "text": "a"}]}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "file_1"}]}]},
    {"messages": [USER, {"role": "system", "content": "be brief"}]},
    {"messages": [USER, {"role": "system", "content": "be brief", "clear_at": "next_user_message"}]},
    {"messages": [USER, {"role": "assistant", "content": [{"type": "text", "text": "x", "citations": [
        {"type": "char_location", "cited_text": "q", "document_index": 0, "document_title": None,
         "start_char_index": 0, "end_char_index": 1}]}]}, USER]},
    {"messages": [USER, {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}}]},
                  {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "is_error": True,
                   "content": [{"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
                               {"type": "document", "source": {"type": "base64", "media_type": "application/pdf",
                                "data": "JVBERi0="}}]}]}]},
]  # fmt: skip


@pytest.mark.parametrize("fields", OWN, ids=lambda fields: str(sorted(fields)))
def test_at_home_everything_stays(fields: dict[str, Any]) -> None:
    body = again(MIDDLE, **fields)
    assert {name: body[name] for name in fields} == fields
    assert set(body) == {"model", "max_tokens", "messages", *fields}


def test_effort_alone_turns_no_thinking_on_at_home() -> None:
    body = again(MIDDLE, output_config={"effort": "low"})
    assert "thinking" not in body
    shown = again(NEW, thinking={"type": "adaptive", "display": "summarized"}, output_config={"effort": "max"})
    assert shown["thinking"] == {"type": "adaptive", "display": "summarized"}


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        ({"context_management": {"edits": []}}, ["context_management"]),
        ({"output_config": {"effort": "low", "task_budget": {}}}, ["output_config.task_budget"]),
        ({"metadata": {"user_id": "u", "team": "t"}}, ["metadata.team"]),
        ({"messages": [USER, {"role": "system", "content": "x", "clear_at": "never"}]}, ["messages[1].clear_at"]),
    ],
)
def test_abroad_what_is_anthropics_alone_is_named_and_the_rest_stays(fields: dict[str, Any], lost: list[str]) -> None:
    request = MESSAGES.read_request({"model": "m", "max_tokens": 9, "messages": [USER], **fields})
    body, losses = dialect(DialectName.CHAT).write_request(request, Target("o", "m"))
    assert [loss.what for loss in losses] == lost
    assert body.get("reasoning_effort") == fields.get("output_config", {}).get("effort")


@pytest.mark.parametrize(
    "block",
    [
        {"type": "container_upload", "file_id": "f"},
        {"type": "compaction", "content": "so far"},
        {"type": "document", "source": {"type": "content", "content": [{"type": "image", "source": {}}]}},
    ],
)
def test_what_the_question_depends_on_is_not_dropped_abroad(block: dict[str, Any]) -> None:
    request = MESSAGES.read_request({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [block]}]})
    _, losses = dialect(DialectName.CHAT).write_request(request, Target("o", "m"))
    assert any(loss.content for loss in losses)


def test_search_results_are_texts_abroad() -> None:
    block = {
        "type": "search_result",
        "source": "https://s",
        "title": "Title",
        "content": [{"type": "text", "text": "Words"}],
    }
    request = MESSAGES.read_request({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [block]}]})
    for there in (DialectName.CHAT, DialectName.GEMINI, DialectName.RESPONSES):
        body, losses = dialect(there).write_request(request, Target("o", "m"))
        assert not any(loss.content for loss in losses), there
        assert "Words" in json.dumps(body), there


# -- from other dialects -----------------------------------------------------------------------------------------------


def test_instructions_alone_are_the_question() -> None:
    body, _ = written(chat(messages=[{"role": "system", "content": "say hi"}]))
    assert (body["messages"], body.get("system")) == ([{"role": "user", "content": "say hi"}], None)


@pytest.mark.parametrize(
    ("model", "role"), [(OLD, "user"), ("claude-sonnet-5", "user"), (NEW, "system"), ("claude-opus-5", "system")]
)
def test_later_instructions_are_the_systems_where_that_may_be(model: str, role: str) -> None:
    body, _ = written(chat(messages=[USER, {"role": "developer", "content": "be brief"}]), model)
    assert body["messages"][-1]["role"] == role
    assert "be brief" in json.dumps(body["messages"])


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        ({"n": 1, "logprobs": False, "presence_penalty": 0, "frequency_penalty": 0.0, "store": False}, []),
        ({"modalities": ["text"], "logit_bias": {}, "verbosity": "medium"}, []),
        ({"n": 2, "logprobs": True, "seed": 7, "presence_penalty": 1}, ["n", "logprobs", "seed", "presence_penalty"]),
        ({"stop": ["\n", "END"]}, ["stop"]),
        ({"service_tier": "flex"}, ["service_tier"]),
        ({"response_format": {"type": "json_object"}}, ["response_format"]),
    ],
)
def test_only_what_asks_for_something_is_lost(fields: dict[str, Any], lost: list[str]) -> None:
    body, losses = written(chat(**fields))
    assert sorted(losses) == sorted(lost)
    assert body.get("stop_sequences") == (["END"] if "stop" in fields else None)


@pytest.mark.parametrize(
    ("schema", "wanted", "lost"),
    [
        (
            {"type": "object", "properties": {"a": {"type": ["string", "null"], "minLength": 2}}, "required": ["a"]},
            {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
             "required": ["a"], "additionalProperties": False},
            ["response_format"],
        ),
        (
            {"$ref": "#/definitions/A", "definitions": {"A": {"type": "object", "properties": {}}}},
            {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {}, "additionalProperties": False}}},
            [],
        ),
        (
            {"oneOf": [{"type": "string", "format": "uuid"}, {"type": "string", "format": "phone"}]},
            {"anyOf": [{"type": "string", "format": "uuid"}, {"type": "string"}]},
            ["response_format"],
        ),
    ],
)  # fmt: skip
def test_schemas_are_as_anthropic_compiles_them(schema: Any, wanted: Any, lost: list[str]) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body, losses = written(chat(response_format=form))
    assert body["output_config"]["format"] == {"type": "json_schema", "schema": wanted}
    assert losses == lost


def test_tools_begin_with_an_object_and_are_strict_only_where_that_can_be() -> None:
    def tool(name: str, schema: Any, **more: Any) -> Any:
        return {"type": "function", "function": {"name": name, "parameters": schema, **more}}

    tools = [
        tool("none", {}),
        tool("root", {"anyOf": [{"$ref": "#/$defs/A"}, {"properties": {"b": {}}, "required": ["b"]}],
                      "$defs": {"A": {"properties": {"a": {"type": "string"}}, "required": ["a"]}}}),
        tool("bound", {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}, strict=True),
        tool("plain", {"type": "object", "properties": {"a": {"type": "integer"}}}, strict=True),
    ]  # fmt: skip
    body, losses = written(chat(tools=tools))
    none, root, bound, plain = body["tools"]
    assert none["input_schema"]["type"] == "object"
    assert set(root["input_schema"]["properties"]) == {"a", "b"}
    assert "anyOf" not in root["input_schema"]
    assert bound["input_schema"]["properties"]["a"]["minimum"] == 1
    assert "strict" not in bound
    assert plain["strict"] is True
    assert plain["input_schema"]["additionalProperties"] is False
    assert losses == ["tools[1].parameters anyOf", "tools[2].strict"]


def test_marks_of_googles_tools_do_not_get_there() -> None:
    declared = {"name": "f", "behavior": "BLOCKING", "response": {"type": "STRING"}}
    body, lost = written({"contents": "x", "tools": [{"functionDeclarations": [declared]}]}, OLD, DialectName.GEMINI)
    assert set(body["tools"][0]) == {"name", "input_schema"}
    assert sorted(lost) == ["tools[0].behavior", "tools[0].response"]


def test_built_in_tools_keep_the_options_that_both_have() -> None:
    search = {"type": "web_search", "filters": {"allowed_domains": ["a.org"]}, "search_context_size": "high",
              "user_location": {"type": "approximate", "city": "Rome", "country": "IT"}}  # fmt: skip
    body, lost = written({"model": "m", "input": "x", "tools": [search]}, OLD, DialectName.RESPONSES)
    assert body["tools"] == [
        {"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["a.org"],
         "user_location": {"type": "approximate", "city": "Rome", "country": "IT"}}
    ]  # fmt: skip
    assert lost == ["tools[0].search_context_size"]
    google = {"contents": "x", "tools": [{"urlContext": {}}, {"codeExecution": {}}, {"googleSearch": {}}]}
    kinds = [tool["name"] for tool in written(google, OLD, DialectName.GEMINI)[0]["tools"]]
    assert kinds == ["web_fetch", "code_execution", "web_search"]
    body, lost = written(chat(web_search_options={}))
    assert (body["tools"][0]["name"], lost) == ("web_search", [])


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("data:image/jpg;base64,/9j/4AAQ", "image/jpeg"),
        ("data:;base64,iVBORw0KGgoAAAA", None),
        ("data:image/bmp;base64,Qk0=", None),
    ],
)
def test_pictures_are_of_the_kinds_that_are_taken(url: str, kind: str | None) -> None:
    content = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": url, "detail": "low"}}]
    request = dialect(DialectName.CHAT).read_request(chat(messages=[{"role": "user", "content": content}]))
    body, losses = MESSAGES.write_request(request, Target(ORIGIN, OLD))
    entries = body["messages"][0]["content"]
    if kind is None:
        assert any(loss.content for loss in losses)
    else:
        assert entries[1]["source"]["media_type"] == kind
    assert any(loss.what.endswith(".detail") for loss in losses)


def test_a_file_that_another_provider_keeps_is_not_asked_of_anthropic() -> None:
    content = [{"type": "file", "file": {"file_id": "file-abc"}}]
    request = dialect(DialectName.CHAT).read_request(chat(messages=[{"role": "user", "content": content}]))
    _, losses = MESSAGES.write_request(request, Target(ORIGIN, OLD))
    assert [loss.content for loss in losses] == [True]


# -- answers -----------------------------------------------------------------------------------------------------------


def head() -> ReplyHead:
    return ReplyHead("1", 0, Request(DialectName.MESSAGES, "m", ()), "m")


def events(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: ")]


def stream(*said: dict[str, Any]) -> Answer:
    parser = MESSAGES.parser(ORIGIN)
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in said)
    return fold([*parser.feed(data), *parser.close()])


START = {"type": "message_start", "message": {"id": "m1", "model": "m", "usage": {"input_tokens": 1}}}


def ended(reason: str, **delta: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    usage = {"output_tokens": 2}
    return {"type": "message_delta", "delta": {"stop_reason": reason, **delta}, "usage": usage}, {
        "type": "message_stop"
    }


def test_arguments_at_the_beginning_of_a_call_are_not_said_twice() -> None:
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    begun = {"type": "content_block_start", "index": 0, "content_block": block}
    more = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "input_json_delta", "partial_json": '{"a": 1}'},
    }
    stop = {"type": "content_block_stop", "index": 0}
    for said in ((begun, stop), (begun, more, stop), (begun,), (begun, more)):
        answer = stream(START, *said, *ended("tool_use"))
        assert [json.loads(piece.text) for piece in answer.pieces] == [{"a": 1}]


@pytest.mark.parametrize("start", [[], [START]], ids=["no start", "start"])
def test_a_provider_may_forget_a_beginning_or_an_end(start: list[Any]) -> None:
    begun = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "a"}}
    again_begun = {**begun, "content_block": {"type": "text", "text": "b"}}
    said = [*start, begun, again_begun, *ended("end_turn")]
    parser = MESSAGES.parser(ORIGIN)
    laws = Laws()
    out = parser.feed(b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in said))
    answer = fold([laws.see(event) for event in (*out, *parser.close())])
    assert [piece.text for piece in answer.pieces] == ["a", "b"]


def test_what_is_said_of_a_refusal_is_kept() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "No."}
    streamed = stream(START, *ended("refusal", stop_details=details))
    whole = fold(MESSAGES.read_answer(
        {"id": "m1", "model": "m", "content": [], "stop_reason": "refusal", "stop_details": details}, ORIGIN
    ))  # fmt: skip
    for answer in (streamed, whole):
        finish = answer.finishes[0]
        assert (finish.reason, finish.note) == (Finish.REFUSAL, "No.")
        assert MESSAGES.write_answer(answer, head())["stop_details"] == details
        renderer = MESSAGES.renderer(head())
        out = events(b"".join(renderer.event(event) for event in unfold(answer)))
        assert out[-2]["delta"]["stop_details"] == details


def test_what_another_provider_says_of_a_refusal_is_its_explanation() -> None:
    answer = Answer("a", "m", 0, [], {0: Finished(Finish.CONTENT_FILTER, "SAFETY", note="Unsafe.")}, Count())
    said = MESSAGES.write_answer(answer, head())
    assert said["stop_reason"] == "refusal"
    assert said["stop_details"] == {"type": "refusal", "category": None, "explanation": "Unsafe."}


def test_the_input_of_a_free_form_call_is_streamed_too() -> None:
    renderer = MESSAGES.renderer(head())
    deltas = [BlockDelta(0, 'a "b'), BlockDelta(0, "c\n")]
    begun = [Started("a", "m"), BlockStart(0, Kind.CUSTOM_CALL, "c", "patch")]
    said = [*begun, *deltas, BlockEnd(0), Finished(Finish.TOOL_CALLS), Done()]
    out = events(b"".join(renderer.event(event) for event in said))
    partial = "".join(event["delta"]["partial_json"] for event in out if event["type"] == "content_block_delta")
    assert json.loads(partial) == {"input": 'a "bc\n'}
    whole = MESSAGES.write_answer(fold(said), head())
    assert whole["content"][0]["input"] == {"input": 'a "bc\n'}


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", Finish.STOP), ("max_tokens", Finish.LENGTH), ("stop_sequence", Finish.STOP_SEQUENCE),
        ("tool_use", Finish.TOOL_CALLS), ("pause_turn", Finish.PAUSE), ("refusal", Finish.REFUSAL),
        ("model_context_window_exceeded", Finish.CONTEXT),
    ],
)  # fmt: skip
def test_every_reason_to_stop(reason: str, finish: Finish) -> None:
    answer = stream(START, *ended(reason))
    assert answer.finishes[0].reason is finish
    assert MESSAGES.write_answer(answer, head())["stop_reason"] == reason


def test_usage_tells_the_cache_apart() -> None:
    usage = {"input_tokens": 3, "output_tokens": 9, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 30,
             "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
             "output_tokens_details": {"thinking_tokens": 4}, "service_tier": "priority",
             "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0}}  # fmt: skip
    body = {"id": "a", "model": "m", "content": [], "stop_reason": "end_turn", "usage": usage}
    answer = fold(MESSAGES.read_answer(body, ORIGIN))
    assert answer.count == Count(133, 9, 100, 30, 20, 4, searches=2, tier="priority")
    assert MESSAGES.write_answer(answer, head())["usage"] == usage


def test_sources_of_other_providers_do_not_come_back_as_anthropics() -> None:
    cite = {"type": "web_search_result_location", "url": "https://a", "title": "t", "cited_text": "q"}
    text = {"type": "text", "text": "x", "citations": [{**cite, "encrypted_index": ""}]}
    messages = [USER, {"role": "assistant", "content": [text]}, USER]
    request = MESSAGES.read_request({"model": "m", "max_tokens": 9, "messages": messages})
    body, losses = MESSAGES.write_request(request, Target(ORIGIN, OLD))
    assert body["messages"][1]["content"] == "x"
    assert [loss.what for loss in losses] == ["messages[1].content[0] (citations)"]


def test_seals_stay_with_whom_they_are_of() -> None:
    sealed = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
    messages = [USER, {"role": "assistant", "content": [sealed, {"type": "text", "text": "x"}]}, USER]
    request = MESSAGES.read_request({"model": "m", "max_tokens": 9, "messages": messages})
    seal = request.turns[1].content[0].seal  # type: ignore[union-attr]
    assert seal == Opaque(DialectName.MESSAGES, "redacted_thinking", "ZGF0YQ==")
    assert isinstance(request.turns[1].content[1], Text)
    body, losses = MESSAGES.write_request(request, Target(ORIGIN, OLD))
    assert (body["messages"][1]["content"][0], losses) == (sealed, [])
    other, lost = dialect(DialectName.GEMINI).write_request(request, Target("g", "gemini-3.5-flash"))
    assert "ZGF0YQ" not in json.dumps(other)
    assert [loss.what for loss in lost] == ["messages[1].content[0] (thinking)"]


async def test_we_choose_the_version_that_keeps_sampling(redeo: Any, provider: Any) -> None:
    server, (up,) = await behind(redeo, provider, (ANTHROPIC, good(ANTHROPIC)))
    path, body = CHAT.asked(temperature=0.5)
    got = await server.request("POST", path, json=body, headers={"anthropic-version": "2026-10-21"})
    assert got.status == 200, got.body
    assert up.requests[0].header("anthropic-version") == "2023-06-01"
    assert up.requests[0].json["temperature"] == 0.5


ODD = [None, 0, -1, 1.5, True, "", [], {}, [None], ["a", {}], {"type": "x"}, "\ud800", 10**30]


async def test_clients_of_openai_get_anthropic_itself_not_its_layer_for_comparing(redeo: Any, provider: Any) -> None:
    up = await provider(good(ANTHROPIC))
    server = await redeo({"anthropic": {"base_url": up.base_url}})
    schema = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    body = chat(model="claude-opus-4-6", reasoning_effort="low", user="me", seed=7, response_format=form)
    answered = await server.request("POST", "/v1/chat/completions", json=body)
    assert json.loads(answered.body)["choices"][0]["message"]["content"] == "hello"
    asked = up.requests[0]
    assert asked.target == "/v1/messages"
    assert asked.json["output_config"]["format"]["schema"] == {**schema, "additionalProperties": False}
    assert (asked.json["output_config"]["effort"], asked.json["metadata"]) == ("low", {"user_id": "me"})
    assert answered.headers["x-redeo-dropped"] == "seed"


@pytest.mark.parametrize("there", [DialectName.MESSAGES, DialectName.GEMINI])
@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_no_request_makes_a_codec_fail(there: DialectName, odd: Any) -> None:
    """Each place of a full request in turn holds something odd: it is refused by name, or written."""
    for path in places(FULL):
        body = json.loads(json.dumps(FULL))
        spot = body
        for step in path[:-1]:
            spot = spot[step]
        spot[path[-1]] = odd
        try:
            request = MESSAGES.read_request(body)
        except BadRequest:
            continue
        for model in (OLD, ALWAYS, "gemini-2.5-pro"):
            dialect(there).write_request(request, Target("o", model))


FULL: Any = {
    "model": "m", "max_tokens": 9000, "temperature": 1, "top_p": 0.5, "top_k": 4, "stop_sequences": ["a"],
    "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "messages": [
        {"role": "user", "content": [
            {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "a"}]},
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "x", "citations": [{"type": "char_location", "cited_text": "q"}]},
            {"type": "tool_use", "id": "a", "name": "f", "input": {}, "caller": {"type": "direct"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "x"}], "is_error": True}]},
    ],
    "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "summarized"},
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {
        "type": "object", "required": ["a"], "allOf": [{"properties": {"b": {}}, "required": ["b"]}],
        "properties": {"a": {"$ref": "#/$defs/a", "description": "d"}}, "$defs": {"a": {"enum": ["", "x"]}}}}},
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "tools": [{"name": "f", "strict": True, "input_schema": {"type": "object", "anyOf": [{"$ref": "#/$defs/a"}]}},
              {"type": "web_search_20250305", "name": "web_search", "user_location": {"city": "x"}}],
    "metadata": {"user_id": "u", "team": "t"}, "service_tier": "auto",
}  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every way into a value."""
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in rows:
        yield (*path, step)
        yield from places(inner, (*path, step))


def test_a_call_that_another_message_cuts_off_is_not_made(recordings: Path) -> None:
    (path,) = recordings.glob("anthropic/*/*spliced-message-start*.json")
    parser = MESSAGES.parser(ORIGIN)
    events = [
        event for raw in json.loads(path.read_bytes())["response"]["events"] for event in parser.feed(raw.encode())
    ]
    assert isinstance([*events, *parser.close()][-1], Failed)
