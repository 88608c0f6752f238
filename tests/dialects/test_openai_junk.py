"""No input makes the codecs of OpenAI's dialects raise anything but their own errors: one value of a real exchange is
replaced by something else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.dialects.base import DialectName, ReplyHead, Target, Unreadable, dialect
from proxy.dialects.events import Broken, Event, Laws, fold
from proxy.dialects.request import BadRequest, Request
from tests.dialects.test_responses import CODEX

NAMES = {"openai.chat": DialectName.CHAT, "openai.responses": DialectName.RESPONSES}
JUNK: list[Any] = [
    None, True, False, 0, -1, 1.5, "", "x", "\ud83d", [], {}, [None], [1], ["a"], [{}], [[]], {"type": "x"}, {"a": {}},
    {"type": None}, {"type": []}, {"type": {}}, "data:;base64,", "redeo1.x",
]  # fmt: skip
FULL: dict[str, Any] = {
    "model": "m", "messages": [
        {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "x"}]}],
         "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"},
                         "extra_content": {"google": {"thought_signature": "redeo1.abc"}}}],
         "reasoning_details": [{"type": "reasoning.text", "text": "x", "signature": "redeo1.xx"}],
         "audio": {"id": "a"}, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "user", "content": [
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "x"}},
            {"type": "input_audio", "input_audio": {"data": "A", "format": "wav"}},
            {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"},
             "prompt_cache_breakpoint": {"mode": "explicit"}}]}],
    "tools": [{"type": "custom", "custom": {"name": "p", "format": {"type": "grammar", "grammar": {"syntax": "l"}}}}],
    "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [
        {"type": "custom", "custom": {"name": "p"}}]}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
    "thinking": {"type": "enabled", "budget_tokens": 5}, "reasoning": {"effort": "x"},
    "prompt_cache_options": {"mode": "explicit"}, "functions": [{"name": "f"}], "function_call": {"name": "f"},
    "web_search_options": {"user_location": {"approximate": {"city": "x"}}}, "stop": ["x"], "modalities": ["text"],
    "max_tokens": 5, "service_tier": "auto", "n": 1, "reasoning_effort": "low",
}  # fmt: skip
ASKED = [(DialectName.RESPONSES, CODEX), (DialectName.CHAT, FULL)]
MANY = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*at, key))


def spoilt(data: st.DataObject, value: dict[str, Any]) -> dict[str, Any]:
    """The value with something else in one place."""
    whole: dict[str, Any] = json.loads(json.dumps(value))
    *way, last = data.draw(st.sampled_from(list(places(whole))[1:]))
    at: Any = whole
    for key in way:
        at = at[key]
    at[last] = data.draw(st.sampled_from(JUNK))
    return whole


@cache
def exchanges(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_bytes()) for path in sorted(folder.glob("*/openai.*/*.json"))]
    return [x for x in found if x["dialect"] in NAMES]


@MANY
@given(data=st.data())
def test_no_question_breaks_a_codec(recordings: Path, data: st.DataObject) -> None:
    recorded = [(NAMES[x["dialect"]], x["request"].get("body")) for x in exchanges(recordings)]
    home, body = data.draw(st.sampled_from([*(row for row in recorded if isinstance(row[1], dict)), *ASKED * 20]))
    try:
        request = dialect(home).read_request(spoilt(data, body))
    except BadRequest:
        return
    for to in NAMES.values():
        dialect(to).write_request(request, Target("o", "m", reasoning_field="reasoning", call_id_length=9))


@MANY
@given(data=st.data())
def test_no_answer_breaks_a_codec(recordings: Path, data: st.DataObject) -> None:
    exchange = data.draw(st.sampled_from([x for x in exchanges(recordings) if x["response"]["status"] == 200]))
    try:
        events = [Laws.see(laws, event) for laws in (Laws(),) for event in heard(data, exchange)]
        answer = fold(events)
    except (Unreadable, Broken):
        return
    for client in NAMES.values():
        head = ReplyHead("r", 1, Request(client, "m", ()), "m")
        dialect(client).write_answer(answer, head)
        renderer = dialect(client).renderer(head)
        for event in events:
            renderer.event(event)


def heard(data: st.DataObject, exchange: dict[str, Any]) -> list[Event]:
    """The events of the answer, with something else in one place."""
    spoken, response = dialect(NAMES[exchange["dialect"]]), exchange["response"]
    if isinstance(response.get("body"), dict):
        return list(spoken.read_answer(spoilt(data, response["body"]), "o"))
    rows = list(response.get("events") or ())[:60]
    texts = {n: line for n, row in enumerate(rows) for line in row.split("\n") if line.startswith("data: {")}
    if texts:
        n = data.draw(st.sampled_from(sorted(texts)))
        rows[n] = "data: " + json.dumps(spoilt(data, json.loads(texts[n][6:]))) + "\n\n"
    parser = spoken.parser("o")
    return [*parser.feed("".join(rows).encode("utf-8", "surrogatepass")), *parser.close()]
