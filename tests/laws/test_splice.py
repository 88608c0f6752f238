"""Edits of a request body change what they name at the top level, and not one byte besides."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import islice, product
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from proxy.dialects.json import top_level
from proxy.dialects.splice import BadBody, append_field, at_places, peek, with_model, with_usage_asked, without_model

SPACE = st.sampled_from(["", "", " ", "\n\t", "  \r\n"])
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
MODELS = NAMES | st.sampled_from(["gpt-5", "anthropic/claude-sonnet-4-5", '"model"', "a\\b", "ü\u2028", "\U0001f600"])
KEYS = st.sampled_from(["model", "stream", "stream_options", "messages", "mod\u00e9l", '"model"', "x", ""])
TRAPS = st.sampled_from(['"model":', '{"model":"x"}', '","model":"no', "model", "\\", '\\"model\\":'])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8) | TRAPS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


def spelt(draw: st.DrawFn, text: str) -> str:
    """A JSON string, its characters as they are or escaped."""
    return json.dumps(text, ensure_ascii=draw(st.booleans()))


def written(draw: st.DrawFn, value: Any) -> str:
    """A value as JSON, with white space and escapes as somebody might have written them."""
    space = lambda: draw(SPACE)  # noqa: E731 - a word for what stands on every line below
    if isinstance(value, dict):
        items = [f"{space()}{spelt(draw, k)}{space()}:{space()}{written(draw, v)}{space()}" for k, v in value.items()]
        return "{" + (",".join(items) or space()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(f"{space()}{written(draw, v)}{space()}" for v in value) + "]"
    return spelt(draw, value) if isinstance(value, str) else json.dumps(value)


@st.composite
def bodies(draw: st.DrawFn, *, model: bool = True) -> tuple[bytes, bytes, bytes]:
    """A body in three parts: up to the value of its model, that value, and the rest."""
    before, after = (draw(st.dictionaries(KEYS.filter(lambda k: k != "model"), VALUES, max_size=3)) for _ in range(2))
    for key in before.keys() & after.keys():
        del after[key]
    head, tail = written(draw, before)[:-1], written(draw, after)[1:]
    lead, trail = draw(SPACE), draw(SPACE)
    if not model:
        return f"{lead}{written(draw, before)}{trail}".encode(), b"", b""
    name = spelt(draw, draw(MODELS))
    start = f'{lead}{head}{"," if before else ""}{draw(SPACE)}"model"{draw(SPACE)}:{draw(SPACE)}'
    rest = f"{draw(SPACE)}{',' if after else ''}{tail}{trail}"
    return start.encode(), name.encode(), rest.encode()


@given(bodies(), MODELS)
def test_exactly_the_model_changes(body: tuple[bytes, bytes, bytes], model: str) -> None:
    before, old, after = body
    out = with_model(before + old + after, model)
    assert out.startswith(before)
    assert out.endswith(after)
    value = out[len(before) : len(out) - len(after)]
    assert json.loads(value) == model


@given(bodies(), st.none() | MODELS, st.booleans())
def test_pieces_of_a_body_are_the_body_that_is_made_of_it(
    body: tuple[bytes, bytes, bytes], model: str | None, usage: bool
) -> None:
    whole = b"".join(body)
    head = peek(whole)
    assume(head.model_at is not None and not (usage and "stream_options" in head.fields))
    made = with_model(whole, model, head.model_at) if model is not None else whole
    made = with_usage_asked(made) if usage else made
    pieces = at_places(whole, model, head.model_at, usage=usage)
    assert b"".join(pieces) == made
    assert all(pieces)
    assert sum(len(piece) for piece in pieces if isinstance(piece, bytes)) < 300  # the rest is not copied


@given(bodies())
def test_the_head_is_what_a_full_reader_sees(body: tuple[bytes, bytes, bytes]) -> None:
    whole = b"".join(body)
    value = json.loads(whole)
    head = peek(whole)
    options = value.get("stream_options")
    asked = options.get("include_usage") if isinstance(options, dict) else None
    assert head.model == value["model"]
    assert head.stream is (value.get("stream") is True)
    assert head.include_usage == (asked if isinstance(asked, bool) else None)
    assert head.fields == value.keys()


@given(bodies(), MODELS)
def test_there_and_back_is_the_same_body(body: tuple[bytes, bytes, bytes], model: str) -> None:
    before, old, after = body
    canonical = json.dumps(json.loads(old), ensure_ascii=False, separators=(",", ":")).encode()
    start = before + canonical + after
    assert with_model(with_model(start, model), json.loads(old)) in (start, start.replace(canonical, old, 1)) or (
        json.loads(with_model(with_model(start, model), json.loads(old))) == json.loads(start)
    )


@given(bodies(), MODELS, st.integers(0, 2**32))
def test_two_models_are_refused(body: tuple[bytes, bytes, bytes], model: str, seed: int) -> None:
    before, old, after = body
    second = f'"model":{json.dumps(model)}'.encode()
    twice = (
        before
        + old
        + (b"," + second + after if seed % 2 else after.rstrip()[:-1].rstrip(b" \r\n\t") + b"," + second + b"}")
    )
    with pytest.raises(BadBody) as found:
        peek(twice)
    assert found.value.code == "duplicate_model"


@given(bodies(), MODELS)
@example((b'{"mod\\u0065l": ', b'"a"', b', "model2": "model"}'), "b")
@example((b'{"model":', b'"0"', b',"stream":Infinity}'), "0")
def test_a_key_spelt_with_escapes_is_found_too(body: tuple[bytes, bytes, bytes], model: str) -> None:
    before, old, after = body
    at = before.rfind(b'"model"')
    escaped = before[:at] + b'"mod\\u0065l"' + before[at + 7 :] if at >= 0 else before
    whole = escaped + old + after
    out = with_model(whole, model)
    assert json.loads(out) == {**json.loads(whole), "model": model}
    assert (out[: len(escaped)], out[len(out) - len(after) :]) == (escaped, after)
    assert peek(out).model == model


def test_a_model_named_twice_is_refused_however_it_is_spelt() -> None:
    assert refusal(b'{"model": "a", "\\u006Dod\\u0065l": "b"}') is not None
    assert refusal(b'{"model": "a", "x": {"\\u006dodel": "b"}}') is None


LOOKALIKES = [
    '"model"',
    '{"model":1}',
    '{"mod\\u0065l" :"x"}',
    '"\\"model\\":"',
    '{"a":{"model":{"model":[]}}}',
    '"' + "x" * 900 + '"',
]


@st.composite
def crowded(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """What stands before and behind the model of a body: lists of many things that look like it, in clusters."""
    parts = []
    for name in "ab":
        clusters = draw(st.lists(st.tuples(st.sampled_from(LOOKALIKES), st.integers(0, 300)), max_size=4))
        listed = ",".join(part for part, times in clusters for _ in range(times))
        parts.append(f'"{name}":[{listed}]')
    return f"{{{parts[0]},".encode(), f",{parts[1]}}}".encode()


@given(crowded(), st.sampled_from(['"model"', '"\\u006dodel"']))
def test_it_is_found_among_any_number_that_look_like_it(around: tuple[bytes, bytes], key: str) -> None:
    before, after = around
    body = before + key.encode() + b': "a"' + after
    assert peek(body).model == "a"
    assert with_model(body, "b") == before + key.encode() + b': "b"' + after
    assert json.loads(without_model(body, {})) == {k: v for k, v in json.loads(body).items() if k != "model"}
    twice = refusal(body[:-1] + b"," + key.encode() + b':"c"}')
    assert twice is not None
    assert twice.code == "duplicate_model"


def processor_seconds(of: Callable[[], object]) -> float:
    before = time.process_time()
    of()
    return time.process_time() - before


def test_many_that_look_like_it_cost_little() -> None:
    """A body of a few megabytes of them held every other request up for a second."""
    body = b'{"model":"a","x":[' + b",".join([b'{"model":1}'] * 240_000) + b"]}"
    alone = min(processor_seconds(lambda: top_level(body)) for _ in range(5))
    assert min(processor_seconds(lambda: peek(body)) for _ in range(5)) < 40 * max(alone, 0.001)


def test_a_body_cannot_hold_every_marker() -> None:
    """Markers were tried in order, so 400 kB that held the first of them took 14 seconds."""
    letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    held = ["".join(name) for name in islice(product(letters, repeat=4), 60_000)]
    body = json.dumps({"model": "a", "x": {"model": held}}).encode()
    assert processor_seconds(lambda: peek(body)) < 2


def test_options_that_ask_twice_are_written_anew() -> None:
    body = b'{"stream_options": {"include_usage": false, "include_usag\\u0065": false}, "x": 1}'
    assert json.loads(with_usage_asked(body)) == {"stream_options": {"include_usage": True}, "x": 1}


@given(bodies(model=False) | bodies())
def test_usage_is_asked_for_and_nothing_else_changes(body: tuple[bytes, bytes, bytes]) -> None:
    whole = b"".join(body)
    value = json.loads(whole)
    assume("stream_options" not in value)
    out = with_usage_asked(whole)
    assert json.loads(out) == {**value, "stream_options": {"include_usage": True}}
    added = b'"stream_options":{"include_usage":true}'
    assert out.count(added) == whole.count(added) + 1
    at = out.rfind(added)
    assert (out[:at] + out[at + len(added) :]) in (whole, whole[: at - 1] + b"," + whole[at - 1 :])


@given(bodies(), st.dictionaries(st.sampled_from(["include_usage", "include_obfuscation"]), st.booleans()) | VALUES)
def test_other_stream_options_stay(body: tuple[bytes, bytes, bytes], options: Any) -> None:
    value = json.loads(b"".join(body))
    value["stream_options"] = options
    out = json.loads(with_usage_asked(json.dumps(value).encode()))
    kept = options if isinstance(options, dict) else {}
    assert out == {**value, "stream_options": {**kept, "include_usage": True}}


@given(bodies(model=False))
@example((b'{"x": {"a": 1, "a": 2}, "\xc3\xbc": "model"}', b"", b""))
def test_where_there_is_no_model_nothing_is_taken_away(body: tuple[bytes, bytes, bytes]) -> None:
    """Found by fuzzing: the whole body was written anew."""
    assert without_model(b"".join(body), {}) == b"".join(body)


@given(bodies(model=False))
def test_an_appended_field_is_the_last_one(body: tuple[bytes, bytes, bytes]) -> None:
    whole = b"".join(body)
    value = json.loads(whole)
    out = append_field(whole, "added", [1])
    assert json.loads(out) == {**value, "added": [1]}
    assert list(json.loads(out))[-1] == "added"


@given(st.binary(max_size=60) | VALUES.map(lambda v: json.dumps(v).encode()))
def test_whatever_comes_is_read_or_refused_in_words(body: bytes) -> None:
    said = refusal(body)
    if said is None:
        assert peek(body).fields == json.loads(body).keys()
    else:
        assert said.message
        assert said.code in ("invalid_json", "invalid_model", "duplicate_model")


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "\xae"}',
        b'{"model": "a", "stream_options": {"\xae": 1}}',
        b'{"model": "a", "messages": [{"content": "\xed\xa0\x80"}]}',
        b'{"model": "a", "x": "' + "\u20ac".encode() * 40_000 + b'\xe2\x82"}',
    ],
    ids=["model", "options", "deeper", "cut short"],
)
def test_bytes_that_are_no_text_are_refused_in_words(body: bytes) -> None:
    """Found by fuzzing: what is nested is not looked at before it is decoded."""
    said = refusal(body)
    assert said is not None
    assert (said.message, said.code) == ("the body is not UTF-8 text", "invalid_json")


def refusal(body: bytes) -> BadBody | None:
    """Why a body is refused, if it is."""
    try:
        peek(body)
    except BadBody as exc:
        return exc
    return None


@pytest.mark.parametrize("cut", ["\\ud83d", "\\ude00", "\\ud83d\\ud83d"])
def test_half_an_emoji_passes_as_it_came(cut: str) -> None:
    """Agents that shorten text in the middle of an emoji send lone surrogates."""
    body = f'{{"messages": [{{"content": "{cut}"}}], "model": "a", "stream": true}}'.encode()
    assert peek(body).model == "a"
    assert peek(body).stream
    assert with_model(body, "b") == body.replace(b'"a"', b'"b"')
    assert with_usage_asked(body) == body[:-1] + b',"stream_options":{"include_usage":true}}'
