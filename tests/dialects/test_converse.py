"""What Amazon Bedrock's Converse can be asked. botocore's model of the service is the judge."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from botocore.validate import ParamValidator

from proxy.dialects.base import DialectName, Target, dialect
from proxy.dialects.request import Loss
from tests.support.amazon import amazons, service
from tests.support.recorded import DIALECTS, requests

CONVERSE = dialect(DialectName.CONVERSE)
CLAUDE, NOVA, GPT = (
    "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "us.amazon.nova-2-lite-v1:0",
    "openai.gpt-oss-120b-1:0",
)
NEW_CLAUDE, COMMAND, LLAMA = (
    "global.anthropic.claude-opus-4-6-v1",
    "cohere.command-r-plus-v1:0",
    "us.meta.llama4-x-v1:0",
)
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
PIXEL = "data:image/png;base64,aGk="


def asked(home: DialectName, body: dict[str, Any], model: str = CLAUDE) -> tuple[dict[str, Any], list[Loss]]:
    return CONVERSE.write_request(dialect(home).read_request(body), Target("o", model))


def chat(*messages: Any, model: str = CLAUDE, **fields: Any) -> tuple[dict[str, Any], list[Loss]]:
    given = messages or ({"role": "user", "content": "hi"},)
    return asked(DialectName.CHAT, {"model": "m", "messages": list(given), **fields}, model)


def messages(*turns: Any, model: str = CLAUDE, **fields: Any) -> tuple[dict[str, Any], list[Loss]]:
    given = turns or ({"role": "user", "content": "hi"},)
    return asked(DialectName.MESSAGES, {"model": "m", "max_tokens": 99, "messages": list(given), **fields}, model)


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def tool(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}, **fields}}


def lost(losses: list[Loss]) -> list[str]:
    return [loss.what for loss in losses]


def hold(body: dict[str, Any], operation: str = "Converse") -> None:
    shape = service().operation_model(operation).input_shape
    report = ParamValidator().validate(amazons({"modelId": "m", **body}, shape), shape)
    assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize("model", [CLAUDE, NEW_CLAUDE, NOVA, GPT, COMMAND, PROFILE])
@pytest.mark.parametrize("home", DIALECTS.values())
def test_every_recorded_request_is_one_that_amazon_knows(recordings: Path, home: DialectName, model: str) -> None:
    read = 0
    for name, request in requests(recordings, home):
        body, losses = CONVERSE.write_request(request, Target("o", model))
        if any(loss.content for loss in losses):
            continue
        try:
            hold(body)
            hold(body, "ConverseStream")
        except AssertionError as exc:
            raise AssertionError(f"{name}: {exc}") from None
        read += 1
    assert read > (1 if home is DialectName.COHERE else 15)


# --- media


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "image_url", "image_url": {"url": PIXEL}}, {"image": {"format": "png", "source": {"bytes": "aGk="}}}),
        ({"type": "image_url", "image_url": {"url": "data:image/jpg;base64,aGk="}},
         {"image": {"format": "jpeg", "source": {"bytes": "aGk="}}}),
        ({"type": "image_url", "image_url": {"url": "s3://bucket/a.png"}},
         {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://bucket/a.png"}}}}),
        ({"type": "image_url", "image_url": {"url": "https://a.example/a.png"}}, None),
        ({"type": "image_url", "image_url": {"url": "data:image/bmp;base64,aGk="}}, None),
        ({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
         {"audio": {"format": "wav", "source": {"bytes": "aGk="}}}),
        ({"type": "file", "file": {"filename": "a_b.pdf", "file_data": "data:application/pdf;base64,aGk="}},
         {"document": {"format": "pdf", "name": "a b pdf", "source": {"bytes": "aGk="}}}),
        ({"type": "file", "file": {"filename": "a.json", "file_data": "data:application/json;base64,aGk="}},
         {"document": {"format": "txt", "name": "a json", "source": {"bytes": "aGk="}}}),
        ({"type": "file", "file": {"filename": "a.docx", "file_data": "data:application/octet-stream;base64,aGk="}},
         {"document": {"format": "docx", "name": "a docx", "source": {"bytes": "aGk="}}}),
        ({"type": "file", "file": {"filename": "a.zip", "file_data": "data:application/zip;base64,aGk="}}, None),
        ({"type": "file", "file": {"file_id": "file-1"}}, None),
    ],
)  # fmt: skip
def test_media_are_bytes_or_lie_in_s3_and_another_connection_takes_the_rest(part: Any, said: Any) -> None:
    body, losses = chat(user({"type": "text", "text": "look"}, part))
    if said is None:
        assert [(loss.what, loss.content) for loss in losses] == [("messages[0].content[1]", True)]
        return
    assert body["messages"] == [{"role": "user", "content": [{"text": "look"}, said]}]
    assert not losses
    hold(body)


def test_the_alphabet_of_googles_sdk_becomes_that_of_everybody_else() -> None:
    part = {"inline_data": {"mime_type": "image/png", "data": "-_8="}}
    body, losses = asked(DialectName.GEMINI, {"contents": [{"role": "user", "parts": [part]}]})
    assert body["messages"][0]["content"] == [{"image": {"format": "png", "source": {"bytes": "+/8="}}}]
    assert not losses


def test_a_file_by_its_address_is_no_base64() -> None:
    part = {"type": "file", "file": {"filename": "a.pdf", "file_data": "https://a.example/a.pdf"}}
    _, losses = chat(user({"type": "text", "text": "read"}, part))
    assert [(loss.what, loss.content) for loss in losses] == [("messages[0].content[1]", True)]


def test_documents_have_names_of_their_own_and_words_beside_them() -> None:
    files = [{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}}] * 2
    body, losses = chat(user({"type": "text", "text": "read"}, *files))
    assert [e["document"]["name"] for e in body["messages"][0]["content"][1:]] == ["a pdf", "a pdf 2"]
    assert not losses
    _, losses = chat(user(files[0]))
    assert [(loss.what, loss.content) for loss in losses] == [("messages.content (document)", True)]


def test_pictures_stand_in_the_users_turns_alone() -> None:
    picture = [{"type": "image_url", "image_url": {"url": PIXEL}}]
    body, losses = chat({"role": "system", "content": picture}, {"role": "user", "content": "hi"})
    assert any(loss.content for loss in losses)
    assert "image" not in json.dumps(body)
    body, losses = chat({"role": "assistant", "content": picture}, {"role": "user", "content": "hi"})
    assert not losses, "the user shows what the model drew"
    assert [message["role"] for message in body["messages"]] == ["user"]


def test_a_sound_cannot_be_what_a_tool_said() -> None:
    call = {"role": "model", "parts": [{"functionCall": {"id": "c", "name": "f", "args": {}}}]}
    part = {"inlineData": {"mimeType": "audio/wav", "data": "aGk="}}
    said = {
        "role": "user",
        "parts": [{"functionResponse": {"id": "c", "name": "f", "response": {"a": 1}, "parts": [part]}}],
    }
    body, losses = asked(DialectName.GEMINI, {"contents": [call, said]})
    assert "audio" not in json.dumps(body)
    assert any(loss.content for loss in losses)


# --- tools


def test_results_come_first_whatever_stood_before_them() -> None:
    call = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    result = {
        "type": "tool_result",
        "tool_use_id": "c",
        "content": "x",
        "is_error": True,
        "cache_control": {"type": "ephemeral"},
    }
    body, _ = messages(
        {"role": "assistant", "content": [call]}, user({"type": "text", "text": "and"}, result),
        tools=[{"name": "f", "input_schema": {"type": "object"}}],
    )  # fmt: skip
    assert body["messages"][1]["content"] == [
        {"toolResult": {"toolUseId": "c", "content": [{"text": "x"}], "status": "error"}},
        {"cachePoint": {"type": "default"}},
        {"text": "and"},
    ]


@pytest.mark.parametrize(("model", "known"), [(CLAUDE, True), (NOVA, True), (PROFILE, True), (GPT, False)])
def test_models_that_know_it_are_told_that_a_tool_failed(model: str, known: bool) -> None:
    call = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": "x", "is_error": True}
    body, losses = messages({"role": "assistant", "content": [call]}, user(result), model=model)
    said = body["messages"][1]["content"][0]["toolResult"]
    assert said.get("status") == ("error" if known else None)
    assert lost(losses) == ([] if known else ["messages[1].content[0].is_error"])


def test_ids_are_in_the_letters_that_are_allowed_and_still_belong_together() -> None:
    ids = ["call|1", "call|2", "c" * 90, "call_ok"]
    calls = [{"id": ident, "type": "function", "function": {"name": "f", "arguments": ""}} for ident in ids]
    results = [{"role": "tool", "tool_call_id": ident, "content": ident} for ident in ids]
    body, _ = chat({"role": "assistant", "tool_calls": calls}, *results, tools=[tool("f")])
    hold(body)
    called, said = (m["content"] for m in body["messages"])
    assert [e["toolUse"]["toolUseId"] for e in called] == [e["toolResult"]["toolUseId"] for e in said]
    assert len({e["toolUse"]["toolUseId"] for e in called}) == 4
    assert called[3]["toolUse"]["toolUseId"] == "call_ok"


def test_tools_that_were_called_are_named_also_where_they_are_no_longer_offered() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    turns = [{"role": "assistant", "tool_calls": calls}, {"role": "tool", "tool_call_id": "c", "content": "x"}]
    body, losses = chat(*turns)
    assert body["toolConfig"] == {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]}
    assert not losses
    assert "toolConfig" not in chat()[0]


def test_a_name_that_amazon_refuses_is_for_another_connection() -> None:
    _, losses = chat(tools=[tool("mcp.server.f")])
    assert [(loss.what, loss.content) for loss in losses] == [("tools[0].name", True)]


def test_a_schema_says_that_it_is_an_object() -> None:
    body, _ = chat(
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"properties": {}}, "strict": False}}]
    )
    assert body["toolConfig"]["tools"] == [
        {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}}}
    ]


@pytest.mark.parametrize(
    ("choice", "model", "names", "said", "dropped"),
    [
        ("auto", CLAUDE, ["f", "g"], None, []),
        ("required", CLAUDE, ["f", "g"], {"any": {}}, []),
        ("none", CLAUDE, None, None, []),
        ({"type": "function", "function": {"name": "g"}}, CLAUDE, ["f", "g"], {"tool": {"name": "g"}}, []),
        ({"type": "function", "function": {"name": "g"}}, NOVA, ["f", "g"], {"tool": {"name": "g"}}, []),
        ({"type": "function", "function": {"name": "g"}}, "mistral.mistral-large-2407-v1:0", ["g"], {"any": {}}, []),
        ({"type": "function", "function": {"name": "g"}}, LLAMA, ["g"], None, ["tool_choice"]),
        ("required", LLAMA, ["f", "g"], None, ["tool_choice"]),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [tool("g")]}}, CLAUDE,
         ["g"], {"any": {}}, []),
    ],
)  # fmt: skip
def test_tool_choice(choice: Any, model: str, names: Any, said: Any, dropped: list[str]) -> None:
    body, losses = chat(tools=[tool("f"), tool("g")], tool_choice=choice, model=model)
    config = body.get("toolConfig")
    assert (config and [t["toolSpec"]["name"] for t in config["tools"]]) == names
    assert (config or {}).get("toolChoice") == said
    assert lost(losses) == dropped
    hold(body)


def test_tools_that_were_called_cannot_be_held_back() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    turns = [{"role": "assistant", "tool_calls": calls}, {"role": "tool", "tool_call_id": "c", "content": "x"}]
    body, losses = chat(*turns, tools=[tool("f")], tool_choice="none")
    assert len(body["toolConfig"]["tools"]) == 1
    assert lost(losses) == ["tool_choice"]


def test_a_mark_behind_a_tool_stays_with_it() -> None:
    tools = [{"name": n, "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}} for n in "fg"]
    body, _ = messages(tools=tools, tool_choice={"type": "any"})
    assert [next(iter(t)) for t in body["toolConfig"]["tools"]] == ["toolSpec", "cachePoint"] * 2
    again = CONVERSE.read_request(body)
    assert [t.cache is not None for t in again.tools] == [True, True]  # type: ignore[union-attr]


# --- parameters


MODELS_OF_TOP_K: list[tuple[str, Any]] = [
    (CLAUDE, {"top_k": 5}),
    (NOVA, {"inferenceConfig": {"topK": 5}}),
    (COMMAND, {"k": 5}),
    (LLAMA, None),
    (PROFILE, None),
]


@pytest.mark.parametrize(("model", "said"), MODELS_OF_TOP_K)
def test_top_k_stands_where_the_model_has_it(model: str, said: Any) -> None:
    body, losses = messages(top_k=5, model=model)
    assert body.get("additionalModelRequestFields") == said
    assert lost(losses) == ([] if said else ["top_k"])


def test_common_parameters() -> None:
    pairs = {"team": "a b", "long": "x" * 300, "odd": "ä{}"}
    body, losses = chat(
        max_completion_tokens=7, temperature=1.5, top_p=0.5, stop="END", seed=1, service_tier="flex",
        metadata=pairs, user="u", logprobs=True, n=1, parallel_tool_calls=False,
    )  # fmt: skip
    assert body["inferenceConfig"] == {"maxTokens": 7, "temperature": 1, "stopSequences": ["END"]}
    assert body["serviceTier"] == {"type": "flex"}
    assert body["requestMetadata"] == {"team": "a b"}
    assert body["additionalModelResponseFieldPaths"] == ["/stop_sequence", "/delta/stop_sequence"]
    assert sorted(lost(losses)) == [
        "logprobs", "metadata", "parallel_tool_calls", "seed", "temperature", "top_p", "user",
    ]  # fmt: skip
    hold(body)


def test_a_schema_for_the_answer() -> None:
    spec = {"name": "city", "description": "d", "schema": {"type": "object"}, "strict": True}
    body, _ = chat(response_format={"type": "json_schema", "json_schema": spec})
    form = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert form == {"name": "city", "description": "d", "schema": '{"type":"object"}'}
    hold(body)
    assert lost(chat(response_format={"type": "json_object"})[1]) == ["response_format"]


EFFORTS: list[tuple[str, str, Any, list[str]]] = [
    (CLAUDE, "medium", {"thinking": {"type": "enabled", "budget_tokens": 8192}}, []),
    (CLAUDE, "none", {"thinking": {"type": "disabled"}}, []),
    (NEW_CLAUDE, "high", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, []),
    (
        NEW_CLAUDE,
        "minimal",
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ["reasoning_effort"],
    ),
    (GPT, "low", {"reasoning_effort": "low"}, []),
    (GPT, "none", None, ["reasoning_effort"]),
    (NOVA, "low", {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}, []),
    (NOVA, "none", {"reasoningConfig": {"type": "disabled"}}, []),
    ("amazon.nova-pro-v1:0", "low", None, ["reasoning_effort"]),
    (PROFILE, "low", None, ["reasoning_effort"]),
    (LLAMA, "low", None, ["reasoning_effort"]),
]


@pytest.mark.parametrize(("model", "effort", "said", "dropped"), EFFORTS)
def test_effort_in_the_words_of_each_maker(model: str, effort: str, said: Any, dropped: list[str]) -> None:
    body, losses = chat(reasoning_effort=effort, model=model)
    assert body.get("additionalModelRequestFields") == said
    assert lost(losses) == dropped


@pytest.mark.parametrize(("budget", "sent"), [(16_000, 16_000), (32_000, 24_000)])
def test_without_a_limit_bedrock_takes_what_the_model_can_say_and_thinking_fits_into_it(budget: int, sent: int) -> None:
    body, losses = chat(reasoning={"max_tokens": budget}, model="us.anthropic.claude-opus-4-1-20250805-v1:0")
    assert "inferenceConfig" not in body
    assert body["additionalModelRequestFields"]["thinking"]["budget_tokens"] == sent
    assert not losses


def test_novas_highest_effort_goes_with_no_limit() -> None:
    body, losses = chat(reasoning_effort="high", max_tokens=9, model=NOVA)
    assert body["additionalModelRequestFields"]["reasoningConfig"]["maxReasoningEffort"] == "medium"
    assert lost(losses) == ["reasoning_effort"]
    body, losses = chat(reasoning_effort="high", model=NOVA)
    assert body["additionalModelRequestFields"]["reasoningConfig"]["maxReasoningEffort"] == "high"
    assert not losses


@pytest.mark.parametrize("order", [1, -1])
def test_there_is_room_to_answer_behind_the_thinking_in_whatever_order_they_were_named(order: int) -> None:
    fields = {
        "max_tokens": 2000,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "temperature": 0.5,
        "top_k": 4,
    }
    body, losses = asked(
        DialectName.MESSAGES, dict([*fields.items(), ("messages", [user({"type": "text", "text": "x"})])][::order])
    )
    assert body["inferenceConfig"] == {"maxTokens": 2000}
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": 1500}}
    assert sorted(lost(losses)) == ["temperature", "top_k"]


THINKING = {"type": "enabled", "budget_tokens": 1024}
OFFERED = [{"name": "f", "input_schema": {"type": "object"}}]


def test_newer_claudes_sample_as_they_like_and_may_not_be_forced() -> None:
    body, losses = chat(
        temperature=0.5, tools=[tool("f")], tool_choice="required", model="us.anthropic.claude-opus-5-5"
    )
    assert "inferenceConfig" not in body
    assert list(body["toolConfig"]) == ["tools"]
    assert sorted(lost(losses)) == ["temperature", "tool_choice"]
    hold(body)


def test_thinking_gives_way_where_claude_would_refuse_it() -> None:
    body, losses = messages(thinking=THINKING, tools=OFFERED, tool_choice={"type": "any"})
    assert body["toolConfig"]["toolChoice"] == {"any": {}}
    assert "additionalModelRequestFields" not in body
    assert lost(losses) == ["thinking"]
    thought = {"type": "thinking", "thinking": "t", "signature": "made elsewhere"}
    call = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    result = user({"type": "tool_result", "tool_use_id": "c", "content": "x"})
    body, losses = messages({"role": "assistant", "content": [thought, call]}, result, thinking=THINKING, tools=OFFERED)
    assert "additionalModelRequestFields" not in body
    assert lost(losses) == ["messages[0].content[0] (thinking)", "thinking"]


@pytest.mark.parametrize(
    ("model", "places", "dropped"),
    [
        (CLAUDE, ["tool 1h", "system 1h", "message 1h"], []),
        (NOVA, ["system", "message"], ["tools[0].cache_control", "ttl", "ttl"]),
        (GPT, [], ["tools[0].cache_control", "cache_control", "cache_control"]),
        ("anthropic.claude-3-haiku-20240307-v1:0", [], ["tools[0].cache_control", "cache_control", "cache_control"]),
        (PROFILE, ["tool 1h", "system 1h", "message 1h"], []),
    ],
)
def test_marks_of_the_cache_go_to_models_that_know_them(model: str, places: list[str], dropped: list[str]) -> None:
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    text = {"type": "text", "text": "x", **mark}
    body, losses = messages(user(text), system=[text], tools=[{**OFFERED[0], **mark}], model=model)
    found = [
        f"{place} {entry['cachePoint'].get('ttl', '')}".strip()
        for place, entries in (
            ("tool", body["toolConfig"]["tools"]),
            ("system", body["system"]),
            ("message", body["messages"][0]["content"]),
        )
        for entry in entries
        if "cachePoint" in entry
    ]
    assert found == places
    named = [what if "tools" in what else re.sub(r".*(cache_control|ttl)$", r"\1", what) for what in lost(losses)]
    assert sorted(named) == sorted(dropped)
    hold(body)


# --- and read again


def test_what_stands_in_a_request_of_its_own_is_read_and_written_again() -> None:
    point = {"cachePoint": {"type": "default"}}
    body: dict[str, Any] = {
        "messages": [
            user({"image": {"format": "png", "source": {"bytes": "aGk="}}}, point, {"text": "x"}),
            {"role": "assistant", "content": [
                {"citationsContent": {"content": [{"text": "so"}], "citations": [{"title": "t", "source": "s"}]}},
            ]},
        ],
        "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}, point]},
        "outputConfig": {"effort": "high"},
        "performanceConfig": {"latency": "optimized"},
        "guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "1"},
    }  # fmt: skip
    request = CONVERSE.read_request(body)
    again, losses = CONVERSE.write_request(request, Target("o", NEW_CLAUDE))
    assert not losses
    more = again.pop("additionalModelRequestFields")
    assert more["output_config"] == body.pop("outputConfig")
    assert again == body
    text = request.turns[1].content[0]
    assert (text.text, text.cites[0].title) == ("so", "t")  # type: ignore[union-attr]
