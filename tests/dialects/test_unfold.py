"""Fold and unfold are inverse, and no input makes a codec raise anything but its own errors."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects import sse
from proxy.dialects.base import DialectName, ReplyHead, Target, Unreadable, dialect
from proxy.dialects.events import Broken, fold, unfold
from proxy.dialects.request import BadRequest, Request

WORDS = st.sampled_from(
    (
        *("type", "text", "content", "role", "user", "assistant", "messages", "input", "tools", "function", "name"),
        *("id", "delta", "index", "choices", "output", "item", "message_start", "content_block_delta", "response"),
        *("response.output_text.delta", "response.output_item.done", "response.completed", "reasoning", "thinking"),
        *("tool_calls", "arguments", "finish_reason", "usage", "message", "content_block", "tool_result", "custom"),
    )
)
JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats(allow_nan=False) | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=6),
    max_leaves=25,
)
OBJECTS: Any = st.dictionaries(WORDS, JSON, max_size=8)
NAMES = st.sampled_from(list(DialectName))


@settings(deadline=None)
@given(name=NAMES, there=NAMES, body=OBJECTS)
def test_a_request_is_written_or_refused(name: DialectName, there: DialectName, body: dict[str, Any]) -> None:
    try:
        request = dialect(name).read_request(body)
    except BadRequest:
        return
    written, losses = dialect(there).write_request(request, Target("o", "m"))
    json.dumps(written)
    assert all(loss.what and loss.why for loss in losses)


@settings(deadline=None)
@given(name=NAMES, there=NAMES, events=st.lists(OBJECTS, max_size=6))
def test_a_stream_is_read_or_refused(name: DialectName, there: DialectName, events: list[Any]) -> None:
    parser = dialect(name).parser("o")
    renderer = dialect(there).renderer(ReplyHead("req_1", 1, Request(there, "m", ()), "m"))
    try:
        for value in events:
            for event in parser.feed(b"data: " + json.dumps(value).encode() + b"\n\n"):
                renderer.event(event)
        for event in parser.close():
            renderer.event(event)
    except (Unreadable, sse.EventTooLarge):
        return


@settings(deadline=None)
@given(name=NAMES, there=NAMES, body=OBJECTS)
def test_an_answer_is_read_or_refused(name: DialectName, there: DialectName, body: dict[str, Any]) -> None:
    try:
        answer = fold(dialect(name).read_answer(body, "o"))
    except (Unreadable, Broken):
        return
    assert fold(unfold(answer)) == answer
    json.dumps(dialect(there).write_answer(answer, ReplyHead("req_1", 1, Request(there, "m", ()), "m")))
