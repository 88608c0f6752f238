"""A whole answer that is relayed is judged as by who decodes all of it, though hardly any of it is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.model import Operation
from proxy.dialects.scan import anthropic_usage, google_usage, openai_usage
from proxy.dialects.whole import judge_whole

OPERATIONS = (Operation.CHAT, Operation.MESSAGES, Operation.RESPONSES, Operation.GEMINI, Operation.EMBEDDINGS)
NEEDED = {
    Operation.CHAT: ("choices",),
    Operation.MESSAGES: ("content",),
    Operation.RESPONSES: ("object", "output", "id"),
    Operation.GEMINI: ("candidates", "promptFeedback"),
    Operation.EMBEDDINGS: ("data", "embeddings"),
}
SCALARS: Any = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["failed", "\ud800"])
)
KEYS = st.sampled_from(["prompt_tokens", "input_tokens", "output_tokens", "promptTokenCount", "message", "", "\u00e9"])
VALUES: Any = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=5
)
FIELDS = st.sampled_from(
    [*(name for names in NEEDED.values() for name in names), "error", "status", "usage", "usageMetadata", "x"]
)
EVERY = pytest.mark.parametrize("operation", OPERATIONS, ids=str)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """The text of an object, in any of the ways to write it; or with one byte of it changed, lost or doubled."""
    value = draw(st.dictionaries(FIELDS, VALUES, max_size=5))
    ways = {"ensure_ascii": draw(st.booleans()), "indent": draw(st.sampled_from([None, 1]))}
    text = json.dumps(value, **ways).encode("utf-8", "surrogatepass")
    if draw(st.booleans()):
        at, byte = draw(st.integers(0, len(text) - 1)), draw(st.sampled_from(b'"\\{}[],:0-.eEnu\n\x00 \xff\xc3'))
        text = draw(st.sampled_from([text[:at] + bytes([byte]) + text[at + n :] for n in (0, 1, 2)] + [text[:at]]))
    return text


def decoded(operation: Operation, body: bytes) -> tuple[Any, Any, Any, bool]:
    """Usage, id, error and whether it is no answer, by whoever reads all of it."""
    try:
        value = json.loads(body.decode())
    except (ValueError, RecursionError):
        return None, None, None, True
    if not isinstance(value, dict):
        return None, None, None, True
    error, whole = value.get("error"), any(value.get(name) is not None for name in NEEDED[operation])
    failed = operation is Operation.RESPONSES and value.get("status") == "failed"
    if error and (failed or not whole):
        return None, None, error if isinstance(error, dict) else {"message": str(error)[:300]}, False
    if not whole or (operation is Operation.CHAT and value.get("choices") == []):
        return None, None, None, True
    if operation is Operation.GEMINI:
        return google_usage(value.get("usageMetadata")), value.get("id"), None, False
    count = anthropic_usage if operation is Operation.MESSAGES else openai_usage
    return count(value.get("usage")), value.get("id"), None, False


@EVERY
@given(texts())
@example(b'{"choices": [{"x": "\\q"}]}')
@example(b'{"choices": [01]}')
@example(b'{"choices": [1.]}')
@example(b'{"choices": ["a\nb"]}')
@example(b'{"choices": [nul]}')
@example(b'{"choices": ["\\ud800"], "usage": {"prompt_tokens": 1}}')
@example(b'{"choices": [NaN], "usage": {"prompt_tokens": 1}}')
@example(b'{"choices": [1], "usage": {"prompt_tokens": 1e3}}')
@example(b'{"choices": [ ]}')
@example(b'{"choices": [], "choices": [1]}')
@example(b'{"choices": [1], "choices": null}')
@example(b'{"\\u0063hoices": [1], "usage": {"prompt_tokens": 7}, "\\u0075sage": {"prompt_tokens": 8}}')
@example(b'\xef\xbb\xbf{"choices": [1]}')
@example(b'{"choices": [1], "error": {"message": "\\ud800"}}')
@example(b'{"choices": null, "error": "no"}')
@example(b'{"choices": [' + b"[" * 3_000 + b"]" * 3_000 + b"]}")
@example(b'{"choices": ["\xed\xa0\x80"]}')
@example(b'{"choices": [1]}\x00')
@example(b" \x0c")
def test_it_is_judged_as_by_who_reads_all_of_it(operation: Operation, body: bytes) -> None:
    found = judge_whole(operation, body)
    usage, made, error, wrong = decoded(operation, body)
    assert (found.wrong is not None) == wrong
    assert repr((found.usage, found.made, found.error)) == repr((usage, made, error))
