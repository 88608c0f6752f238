"""Google's generateContent, feature by feature: what is read, what is written, and what is said to be lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydantic
import pytest

from proxy.dialects.base import DialectName, ReplyHead, Target, dialect
from proxy.dialects.blocks import Count, Finish, Image
from proxy.dialects.events import Answer, Broken, Finished, Kind, Piece, fold, unfold
from proxy.dialects.gemini.models import ways_of
from proxy.dialects.gemini.schemas import json_schema, mended
from proxy.dialects.request import Param, Request
from tests.support.recorded import requests
from tests.support.sdk_params import GenerateContent

GEMINI = dialect(DialectName.GEMINI)
ORIGIN = "google@1"
PRO_25, FLASH_25, PRO_3, FLASH = "gemini-2.5-pro", "gemini-2.5-flash", "gemini-3-pro-preview", "gemini-3.5-flash"
USER = {"role": "user", "content": "hi"}


def written(body: dict[str, Any], model: str = FLASH, home: DialectName = DialectName.CHAT) -> tuple[Any, list[str]]:
    """What a request of another dialect becomes, and what was lost."""
    request = dialect(home).read_request(body)
    said, losses = GEMINI.write_request(request, Target(ORIGIN, model))
    said = json.loads(json.dumps(said))
    GenerateContent.model_validate(said)
    return said, [loss.what for loss in losses]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [USER], **fields}


def again(**fields: Any) -> Any:
    """A request in generateContent, written in generateContent."""
    request = GEMINI.read_request({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **fields})
    said, losses = GEMINI.write_request(request, Target(ORIGIN, "a-model"))
    assert not losses
    return json.loads(json.dumps(said))


# What differs from the SDK's types, and why that is right or not this dialect's doing.
ALLOWED = {
    "gemini-testimagegenerationcapability-test-image-generation-local-3ed8de5b": "imageConfig: the SDK sends it itself",
    "openrouter-test-openrouter-document-url-no-force-download-0-53e544aa": "an address where Chat has base64",
}


@pytest.mark.parametrize("model", [FLASH_25, PRO_3, FLASH, "another"])
def test_every_recorded_request_is_one_of_the_official_sdk(recordings: Path, model: str) -> None:
    seen = 0
    for ident, request in requests(recordings):
        body, _ = GEMINI.write_request(request, Target(ORIGIN, model))
        seen += 1
        if ident not in ALLOWED:
            try:
                GenerateContent.model_validate(json.loads(json.dumps(body)))
            except pydantic.ValidationError as exc:
                pytest.fail(f"{ident}: {exc}")
    assert seen > 180


@pytest.mark.parametrize(
    "wrong",
    [
        {"contents": []},
        {"contents": [{"parts": [{"txt": "x"}]}]},
        {"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"n": 1}},
        {"contents": [{"parts": [{"text": "x"}]}], "tools": [{"web_search": {}}]},
    ],
)
def test_the_judge_finds_what_is_wrong(wrong: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        GenerateContent.model_validate(wrong)


# -- thinking, by model ------------------------------------------------------------------------------------------------

SHOWN = {"includeThoughts": True}


@pytest.mark.parametrize(
    ("model", "effort", "spec", "lost"),
    [
        ("gemini-2.0-flash", "high", None, True),
        ("gemini-2.0-flash", "none", None, False),
        (FLASH_25, "none", {"thinkingBudget": 0}, False),
        (PRO_25, "none", {"thinkingBudget": 128}, True),
        (FLASH_25, "low", {"thinkingBudget": 1024, **SHOWN}, False),
        ("gemini-2.5-flash-lite", "low", {"thinkingBudget": 1024, **SHOWN}, False),
        (PRO_3, "low", {"thinkingLevel": "LOW", **SHOWN}, False),
        (PRO_3, "medium", {"thinkingLevel": "LOW", **SHOWN}, True),
        (PRO_3, "none", {"thinkingLevel": "LOW"}, True),
        (FLASH, "minimal", {"thinkingLevel": "MINIMAL", **SHOWN}, False),
        ("gemini-3.8-flash", "minimal", {"thinkingLevel": "LOW", **SHOWN}, True),
        ("gemini-3.8-flash", "xhigh", {"thinkingLevel": "HIGH", **SHOWN}, True),
        ("gemini-4-argon", "xhigh", {"thinkingLevel": "XHIGH", **SHOWN}, False),
    ],
)
def test_effort_is_said_as_the_model_takes_it(model: str, effort: str, spec: Any, lost: bool) -> None:
    body, losses = written(chat(reasoning_effort=effort), model)
    assert body.get("generationConfig", {}).get("thinkingConfig") == spec
    assert losses == (["reasoning_effort"] if lost else [])


@pytest.mark.parametrize(("model", "budget", "lost"), [(PRO_25, 31_999, []), (FLASH_25, 24_576, ["thinking"])])
def test_a_budget_is_within_what_the_model_takes(model: str, budget: int, lost: list[str]) -> None:
    asked = {"max_tokens": 32_000, "messages": [USER], "thinking": {"type": "enabled", "budget_tokens": 31_999}}
    body, losses = written(asked, model, DialectName.MESSAGES)
    assert body["generationConfig"]["thinkingConfig"]["thinkingBudget"] == budget
    assert losses == lost


def test_claude_code_reaches_gemini() -> None:
    asked = {
        "model": "m", "max_tokens": 32_000, "stream": True,
        "system": [{"type": "text", "text": "attribution"},
                   {"type": "text", "text": "be", "cache_control": {"type": "ephemeral"}}],
        "messages": [USER, {"role": "system", "content": "now"}],
        "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"},
        "context_management": {"edits": []}, "metadata": {"user_id": "{}"},
        "tools": [{"name": "Bash", "input_schema": {"$schema": "x", "type": "object", "additionalProperties": False,
                   "properties": {"n": {"type": "integer", "exclusiveMinimum": 0}}}}],
    }  # fmt: skip
    body, losses = written(asked, FLASH, DialectName.MESSAGES)
    assert [part["text"] for part in body["systemInstruction"]["parts"]] == ["attribution", "be"]
    assert body["contents"][-1] == {"role": "user", "parts": [{"text": "now"}]}
    assert body["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "HIGH", "includeThoughts": True}
    schema = body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"]
    assert schema == {"type": "object", "additionalProperties": False,
                      "properties": {"n": {"type": "integer", "minimum": 1}}}  # fmt: skip
    assert sorted(losses) == ["context_management", "messages[0].content[1].cache_control", "metadata.user_id"]


# -- schemas -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "wanted", "lost"),
    [
        ({"const": "a"}, {"enum": ["a"]}, set()),
        ({"type": "string", "enum": []}, {"type": "string"}, set()),
        ({"type": "string", "enum": ["", "a"]}, {"type": "string", "enum": ["a"]}, {"enum ''"}),
        ({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 9},
         {"type": "integer", "minimum": 4, "maximum": 8}, set()),
        ({"type": "number", "exclusiveMinimum": 3}, {"type": "number"}, {"exclusiveMinimum"}),
        ({"type": ["string", "null"], "format": "uri"}, {"type": ["string", "null"], "format": "uri"}, set()),
        ({"$ref": "#/definitions/A", "definitions": {"A": True}}, {"$ref": "#/$defs/A", "$defs": {"A": {}}}, set()),
        ({"$ref": "#/$defs/A", "description": "x"}, {"description": "x", "anyOf": [{"$ref": "#/$defs/A"}]}, set()),
        ({"oneOf": [{"type": "string"}, {"not": {}}]}, {"anyOf": [{"type": "string"}, {}]}, {"not"}),
        ({"allOf": [{"properties": {"a": {}}, "required": ["a"]}, {"properties": {"b": {}}, "required": ["a", "b"]}]},
         {"properties": {"a": {}, "b": {}}, "required": ["a", "b"]}, set()),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, {"type": "string"}, {"allOf"}),
        ({"properties": {"not": {"type": "string"}}, "additionalProperties": {"const": 1}},
         {"properties": {"not": {"type": "string"}}, "additionalProperties": {"enum": [1]}}, set()),
        ({"items": True, "uniqueItems": True, "$comment": "c"}, {"items": {}}, {"uniqueItems"}),
    ],
)  # fmt: skip
def test_what_gemini_refuses_in_a_schema_is_mended_or_named(schema: Any, wanted: Any, lost: set[str]) -> None:
    told: set[str] = set()
    assert mended(schema, told) == wanted
    assert told == lost


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"type": "STRING", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "STRING", "format": "enum", "enum": ["a"], "nullable": True},
         {"type": ["string", "null"], "enum": ["a", None]}),
        ({"anyOf": [{"type": "STRING"}], "nullable": True}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": "OBJECT", "properties": {"b": {"type": "TYPE_UNSPECIFIED"}, "a": {"ref": "#/$defs/x"}},
          "property_ordering": ["a", "b"], "max_items": "3"},
         {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}, "b": {}}, "maxItems": 3}),
        ({"type": "INTEGER", "example": 3}, {"type": "integer", "examples": [3]}),
    ],
)  # fmt: skip
def test_googles_own_schemas_are_read_as_json_schema(schema: Any, wanted: Any) -> None:
    got = json_schema(schema)
    assert got == wanted
    assert list(got.get("properties", {})) == list(wanted.get("properties", {}))


# -- the home dialect, written anew because of a foreign seal ----------------------------------------------------------

OWN: list[dict[str, Any]] = [
    {"generationConfig": {"thinkingConfig": {"thinkingLevel": "XHIGH", "includeThoughts": True}}},
    {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}},
    {"generationConfig": {"thinkingConfig": {"thinkingBudget": -1, "includeThoughts": False}}},
    {"generationConfig": {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}}},
    {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": {"const": 1}}},
    {"generationConfig": {"speechConfig": {"languageCode": "de"}, "mediaResolution": "MEDIA_RESOLUTION_LOW"}},
    {"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}], "labels": {"a": "b"}},
    {"cachedContent": "cachedContents/1", "serviceTier": "flex"},
    {"tools": [{"googleSearch": {}}, {"functionDeclarations": [
        {"name": "f", "parametersJsonSchema": {"const": 1}, "behavior": "BLOCKING"}]}],
     "toolConfig": {"includeServerSideToolInvocations": True,
                    "functionCallingConfig": {"mode": "AUTO", "streamFunctionCallArguments": True}}},
    {"toolConfig": {"retrievalConfig": {"languageCode": "de"}}, "tools": [{"googleMaps": {}}, {"urlContext": {}}]},
    {"contents": [{"role": "user", "parts": [
        {"fileData": {"fileUri": "https://youtu.be/x", "mimeType": "video/mp4"}, "videoMetadata": {"fps": 1}},
        {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"},
         "mediaResolution": {"level": "MEDIA_RESOLUTION_HIGH"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}, "partMetadata": {"a": 1}}]}]},
    {"contents": [{"role": "user", "parts": [{"text": "x"}]}, {"role": "model", "parts": [
        {"text": "hm", "thought": True}, {"text": "a", "thoughtSignature": "AAAA"},
        {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "BBBB"},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": "DDDD"},
        {"functionCall": {"id": "1", "name": "f", "args": {}}, "thoughtSignature": "CCCC"},
        {"functionCall": {"id": "2", "name": "f", "args": {"a": 1}}}]},
        {"role": "user", "parts": [{"functionResponse": {"id": "1", "name": "f", "response": {"a": 1}}},
                                   {"functionResponse": {"id": "2", "name": "f", "response": {"error": "no"}}}]}]},
]  # fmt: skip


@pytest.mark.parametrize("fields", OWN, ids=lambda fields: str(sorted(fields)))
def test_at_home_everything_stays(fields: dict[str, Any]) -> None:
    body = again(**fields)
    assert {name: body[name] for name in fields} == fields
    assert set(body) == {"contents", *fields}


def test_other_resolutions_are_read() -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    request = GEMINI.read_request(
        {"contents": [{"parts": [{**part, "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}}]}]}
    )
    image = request.turns[0].content[0]
    assert isinstance(image, Image)
    assert image.detail == "low"
    assert GEMINI.read_request({"contents": "x", "serviceTier": "unspecified"}).params[Param.SERVICE_TIER] == "auto"


# -- from other dialects -----------------------------------------------------------------------------------------------

FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}}}


def test_instructions_alone_are_the_question() -> None:
    body, _ = written(chat(messages=[{"role": "system", "content": "say hi"}]))
    assert body == {"contents": [{"role": "user", "parts": [{"text": "say hi"}]}]}


def test_empty_texts_are_left_out() -> None:
    body, _ = written(chat(messages=[{"role": "assistant", "content": ""}, USER]))
    assert body["contents"] == [{"role": "user", "parts": [{"text": "hi"}]}]


@pytest.mark.parametrize(
    ("fields", "config", "lost"),
    [
        ({"n": 2, "seed": 7, "logprobs": True, "top_logprobs": 3, "presence_penalty": 0.5},
         {"candidateCount": 2, "seed": 7, "responseLogprobs": True, "logprobs": 3, "presencePenalty": 0.5}, []),
        ({"logprobs": False, "presence_penalty": 0, "frequency_penalty": 0, "store": False}, None, []),
        ({"seed": 2**40}, None, ["seed"]),
        ({"stop": ["a"], "temperature": 1.5, "top_p": 0.5, "max_tokens": 5},
         {"stopSequences": ["a"], "temperature": 1.5, "topP": 0.5, "maxOutputTokens": 5}, []),
        ({"user": "u", "verbosity": "low"}, None, ["user", "verbosity"]),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}, []),
    ],
)  # fmt: skip
def test_parameters_are_said_or_named(fields: dict[str, Any], config: Any, lost: list[str]) -> None:
    body, losses = written(chat(**fields))
    assert body.get("generationConfig") == config
    assert losses == lost


def test_more_stop_sequences_than_can_be() -> None:
    asked = {"max_tokens": 9, "messages": [USER], "stop_sequences": list("abcdefg")}
    body, losses = written(asked, FLASH, DialectName.MESSAGES)
    assert body["generationConfig"]["stopSequences"] == list("abcde")
    assert losses == ["stop_sequences"]


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "f"}}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [FUNCTION]}},
         {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
    ],
)  # fmt: skip
def test_tool_choice_in_all_forms(choice: Any, config: Any) -> None:
    body, losses = written(chat(tools=[FUNCTION], tool_choice=choice))
    assert (body["toolConfig"]["functionCallingConfig"], losses) == (config, [])


def test_there_is_no_choice_among_built_in_tools() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    asked = {"max_tokens": 9, "messages": [USER], "tools": [search], "tool_choice": {"type": "auto"}}
    body, losses = written(asked, FLASH, DialectName.MESSAGES)
    assert body["tools"] == [{"googleSearch": {}}]
    assert "toolConfig" not in body
    assert losses == ["tools[0].max_uses"]
    _, losses = written({**asked, "tool_choice": {"type": "any"}}, FLASH, DialectName.MESSAGES)
    assert losses == ["tools[0].max_uses", "tool_choice"]


def test_built_in_tools_give_way_to_functions() -> None:
    asked = {"model": "m", "input": "x", "tools": [{"type": "web_search"}, {"type": "function", "name": "f"}]}
    body, losses = written(asked, FLASH, DialectName.RESPONSES)
    assert [list(entry) for entry in body["tools"]] == [["functionDeclarations"]]
    assert losses == ["tools[0]"]
    body, losses = written(chat(tools=[FUNCTION], web_search_options={}))
    assert losses == ["tools[1]"], "which the client is told as `web_search_options`"


@pytest.mark.parametrize(("model", "kept"), [(FLASH_25, False), (FLASH, True)])
def test_older_models_give_no_json_beside_functions(model: str, kept: bool) -> None:
    body, losses = written(chat(tools=[FUNCTION], response_format=FORMAT), model)
    assert ("responseJsonSchema" in body.get("generationConfig", {})) is kept
    assert losses == ([] if kept else ["response_format"])


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
CALLED = {
    "max_tokens": 9,
    "messages": [
        USER,
        {"role": "assistant", "content": [{"type": "tool_use", "id": c, "name": "f", "input": {}} for c in "ab"]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "see"}, IMAGE]},
            {"type": "tool_result", "tool_use_id": "b", "content": "no", "is_error": True},
            {"type": "text", "text": "go on"}]},
    ],
}  # fmt: skip


def test_results_with_images_and_errors() -> None:
    data = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    first = {"id": "a", "name": "f", "response": {"output": "see"}}
    second = {"functionResponse": {"id": "b", "name": "f", "response": {"error": "no"}}}
    body, losses = written(CALLED, FLASH, DialectName.MESSAGES)
    calls = body["contents"][1]["parts"]
    assert ["thoughtSignature" in part for part in calls] == [True, False], "the first call of a step has one"
    assert body["contents"][2:] == [
        {"role": "user", "parts": [{"functionResponse": {**first, "parts": [data]}}, second, {"text": "go on"}]}
    ]
    old, _ = written(CALLED, FLASH_25, DialectName.MESSAGES)
    assert old["contents"][2:] == [
        {"role": "user", "parts": [{"functionResponse": first}, second, {"text": "go on"}]},
        {"role": "user", "parts": [data]},
    ]
    assert not losses
    assert "thoughtSignature" not in json.dumps(old)


def test_results_of_chat_stay_together_for_older_models() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": ""}}
    asked = chat(messages=[
        USER,
        {"role": "assistant", "tool_calls": [{"id": "a", **call}, {"id": "b", **call}]},
        {"role": "tool", "tool_call_id": "a", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,/9j/"}}]},
        {"role": "tool", "tool_call_id": "b", "content": "x"},
    ])  # fmt: skip
    contents = written(asked, FLASH_25)[0]["contents"][2:]
    assert [[next(iter(part)) for part in content["parts"]] for content in contents] == [
        ["functionResponse", "functionResponse"], ["inlineData"],
    ]  # fmt: skip
    assert contents[1]["parts"][0]["inlineData"]["mimeType"] == "image/jpeg"


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}, "audio/mp3"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "flac"}}, "audio/flac"),
    ],
)
def test_sound_has_its_type(part: Any, kind: str) -> None:
    for home, body in (
        (DialectName.CHAT, chat(messages=[{"role": "user", "content": [part]}])),
        (DialectName.RESPONSES, {"model": "m", "input": [{"role": "user", "content": [part]}]}),
    ):
        said, _ = written(body, FLASH, home)
        got = said["contents"][0]["parts"][0]["inlineData"]["mimeType"]
        assert got in {kind, kind.replace("mp3", "mpeg")}, home


def test_what_stands_beside_media_is_named() -> None:
    document = {"type": "document", "title": "T", "citations": {"enabled": True},
                "source": {"type": "text", "media_type": "text/plain", "data": "words"}}  # fmt: skip
    asked = {"max_tokens": 9, "messages": [{"role": "user", "content": [document]}]}
    body, losses = written(asked, FLASH, DialectName.MESSAGES)
    assert body["contents"][0]["parts"] == [{"text": "words"}]
    assert losses == ["messages[0].content[0].citations", "messages[0].content[0].title"]


# -- answers -----------------------------------------------------------------------------------------------------------


def head() -> ReplyHead:
    return ReplyHead("1", 0, Request(DialectName.GEMINI, "m", ()), "m")


def heard(*chunks: dict[str, Any]) -> Answer:
    parser = GEMINI.parser(ORIGIN)
    data = b"".join(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks)
    return fold([*parser.feed(data), *parser.close()])


def candidate(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **fields}]}


REASONS = {
    Finish.STOP: ["STOP"],
    Finish.LENGTH: ["MAX_TOKENS", "CONTINUATION"],
    Finish.CONTENT_FILTER: [
        "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION", "MODEL_ARMOR", "ESCALATION", "PUP_LIMITED_DISABLED",
    ],
    Finish.OTHER: ["LANGUAGE", "OTHER", "IMAGE_OTHER", "A_NEW_ONE"],
}  # fmt: skip
FAILED = ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE", "NO_IMAGE",
          "MISSING_THOUGHT_SIGNATURE"]  # fmt: skip


@pytest.mark.parametrize(("finish", "reason"), [(key, word) for key, words in REASONS.items() for word in words])
def test_every_reason_to_finish(finish: Finish, reason: str) -> None:
    answer = heard(candidate({"text": "x"}, finishReason=reason))
    assert (answer.finishes[0].reason, answer.finishes[0].raw) == (finish, reason)


@pytest.mark.parametrize("reason", FAILED)
@pytest.mark.parametrize("parts", [(), ({"text": "hm", "thought": True},)], ids=["nothing", "thoughts"])
def test_an_answer_that_failed_is_none_though_it_was_thought_about(reason: str, parts: Any) -> None:
    with pytest.raises(Broken) as broken:
        heard(candidate(*parts, finishReason=reason, finishMessage="why"))
    assert broken.value.error == {"status": "INTERNAL", "message": "why"}


def test_what_was_blocked_says_why() -> None:
    blocked = heard({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": "No."}})
    assert blocked.finishes[0] == Finished(Finish.CONTENT_FILTER, "PROHIBITED_CONTENT", note="No.")
    filtered = heard(candidate({"text": "x"}, finishReason="SAFETY", finishMessage="Unsafe."))
    assert filtered.finishes[0].note == "Unsafe."
    assert GEMINI.write_answer(filtered, head())["candidates"][0]["finishMessage"] == "Unsafe."
    called = heard(candidate({"functionCall": {"name": "f"}}, finishReason="STOP", finishMessage="Model called."))
    assert called.finishes[0] == Finished(Finish.TOOL_CALLS, "STOP")


def test_quotations_are_sources() -> None:
    quote = {"startIndex": 3, "endIndex": 6, "uri": "https://a", "title": "A", "license": "mit"}
    for name in ("citations", "citationSources"):
        answer = heard(candidate({"text": "é abc"}, citationMetadata={name: [quote]}, finishReason="STOP"))
        (cite,) = answer.pieces[0].cites
        assert (cite.url, cite.title, cite.quote, cite.start, cite.end) == ("https://a", "A", "abc", 2, 5)
        said = GEMINI.write_answer(answer, head())["candidates"][0]
        assert said["citationMetadata"] == {"citations": [quote]}
        assert "groundingMetadata" not in said
        renderer = GEMINI.renderer(head())
        assert b'"license":"mit"' in b"".join(renderer.event(event) for event in unfold(answer))


def test_usage_counts_thoughts_tools_and_sound() -> None:
    usage = {
        "promptTokenCount": 100, "toolUsePromptTokenCount": 20, "candidatesTokenCount": 30, "thoughtsTokenCount": 5,
        "cachedContentTokenCount": 40, "totalTokenCount": 155,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 90}, {"modality": "AUDIO", "tokenCount": 10}],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 7}],
    }  # fmt: skip
    answer = heard({**candidate({"text": "x"}, finishReason="STOP"), "usageMetadata": usage})
    assert answer.count == Count(120, 35, 40, reasoning=5, audio_input=10, audio_output=7)
    said = GEMINI.write_answer(answer, head())["usageMetadata"]
    assert said["totalTokenCount"] == said["promptTokenCount"] + said["candidatesTokenCount"] + 5 == 155


def test_pictures_and_code_are_kept_whole() -> None:
    parts = [
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": "BBBB"},
    ]
    answer = heard(candidate(*parts, finishReason="STOP"))
    assert [piece.kind for piece in answer.pieces] == [Kind.SERVER_CALL, Kind.FOREIGN, Kind.IMAGE, Kind.REASONING]
    assert GEMINI.write_answer(answer, head())["candidates"][0]["content"]["parts"] == parts


def test_names_that_others_do_not_take_come_back_as_they_were() -> None:
    declared = [{"name": "files.read"}, {"name": "plain"}]
    asked = {
        "contents": [
            {"role": "user", "parts": [{"text": "x"}]},
            {"role": "model", "parts": [{"functionCall": {"id": "1", "name": "files.read", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"id": "1", "name": "files.read", "response": {}}}]},
        ],
        "tools": [{"functionDeclarations": declared}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["files.read"]}},
    }
    request = GEMINI.read_request(asked)
    body, losses = dialect(DialectName.MESSAGES).write_request(request, Target("o", "claude-sonnet-4-5"))
    assert not losses
    assert [tool["name"] for tool in body["tools"]] == ["files_read", "plain"]
    assert body["tool_choice"] == {"type": "tool", "name": "files_read"}
    assert body["messages"][1]["content"][0]["name"] == "files_read"
    answer = Answer(
        "a", "m", 0, [Piece(Kind.TOOL_CALL, "t", "files_read", text="{}")], {0: Finished(Finish.TOOL_CALLS)}
    )
    known = ReplyHead("1", 0, request, "m")
    said = GEMINI.write_answer(answer, known)["candidates"][0]["content"]["parts"]
    assert said == [{"functionCall": {"id": "t", "name": "files.read", "args": {}}}]
    renderer = GEMINI.renderer(known)
    assert b'"name":"files.read"' in b"".join(renderer.event(event) for event in unfold(answer))


def test_the_models_of_old_are_told_from_the_new() -> None:
    assert all(ways_of(name).old for name in ("models/gemini-1.5-pro", "gemini-2.0-flash-001", FLASH_25, PRO_25))
    assert not any(ways_of(name).old for name in (PRO_3, FLASH, "gemini-flash-latest", "gemini-4-argon"))
