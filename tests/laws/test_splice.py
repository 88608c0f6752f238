"""Edits of a JSON body touch one value and nothing else, whatever stands around it."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects import multipart, splice

NAMES = st.sampled_from(["model", "mode1", "stream", "model\\", "a", "", "stream_options", '"model"', "modél"])
TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(["model", '"model":"x"', '\\"model\\"', "\ud83d", "{", "}]"]))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)
SPACES = st.sampled_from(["", " ", "\n", "\t ", " \r\n"])
MODELS = st.one_of(st.sampled_from(["gpt-4o", "a/b", 'q"uo\\te', "model"]), st.text(min_size=1, max_size=12))


def written(value: Any, draw: Any) -> str:
    """JSON text with white space and escapes as a client may write them."""
    space = draw(SPACES)
    if isinstance(value, dict):
        pairs = [f"{space}{json.dumps(k)}{draw(SPACES)}:{draw(SPACES)}{written(v, draw)}" for k, v in value.items()]
        return "{" + ",".join(pairs) + space + "}"
    if isinstance(value, list):
        return "[" + ",".join(f"{space}{written(v, draw)}" for v in value) + "]"
    return json.dumps(value, ensure_ascii=draw(st.booleans()) or has_surrogate(value))


def has_surrogate(value: Any) -> bool:
    return isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value)


@st.composite
def bodies(draw: Any) -> tuple[dict[str, Any], bytes]:
    """A request with a model somewhere among its fields, and a way to write it."""
    fields = draw(st.dictionaries(NAMES.filter(lambda n: n not in ("model", "stream")), VALUES, max_size=5))
    items = list(fields.items())
    items.insert(draw(st.integers(0, len(items))), ("model", draw(MODELS.filter(lambda m: not has_surrogate(m)))))
    body = dict(items)
    text = written(body, draw)
    return body, (draw(SPACES) + text + draw(SPACES)).encode("utf-8", "surrogatepass")


@given(bodies(), MODELS.filter(lambda m: not has_surrogate(m)))
def test_the_model_is_replaced_and_nothing_else(case: tuple[dict[str, Any], bytes], model: str) -> None:
    body, text = case
    head = splice.peek(text)
    assert head.model == body["model"]
    assert head.fields == frozenset(body)
    out = splice.with_model(text, model)
    at = splice.positions(text, "model")
    assert len(at) == 1
    assert out.startswith(text[: at[0]])
    rest = len(text) - at[0]
    common = next((n for n in range(1, rest + 1) if text[-n:] != out[-n:]), rest)
    assert common > 1, "what stands behind the value stays"
    assert json.loads(out) == {**body, "model": model}
    assert list(json.loads(out)) == list(body)


@given(bodies())
def test_asking_for_usage_adds_one_field_at_the_end(case: tuple[dict[str, Any], bytes]) -> None:
    body, text = case
    out = splice.with_usage_asked(text)
    asked = json.loads(out)["stream_options"]
    assert asked["include_usage"] is True
    left = {k: v for k, v in json.loads(out).items() if k != "stream_options"}
    assert left == {k: v for k, v in body.items() if k != "stream_options"}
    if "stream_options" not in body:
        end = text.rstrip(b" \r\n\t")
        assert out.startswith(end[:-1].rstrip(b" \r\n\t"))


@given(bodies(), MODELS)
def test_two_models_are_refused_wherever_they_stand(case: tuple[dict[str, Any], bytes], model: str) -> None:
    _, text = case
    end = text.rstrip(b" \r\n\t")
    twice = end[:-1] + b',"model":' + json.dumps(model).encode() + b"}"
    with pytest.raises(splice.BadBody) as caught:
        splice.peek(twice)
    assert caught.value.code == "duplicate_model"


def test_a_key_spelt_with_escapes_is_replaced_too() -> None:
    out = splice.with_model(b'{"a": 1, "mod\\u0065l": "x"}', "y")
    assert json.loads(out) == {"a": 1, "model": "y"}


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_a_bad_body(text: bytes) -> None:
    with contextlib.suppress(splice.BadBody):
        assert isinstance(splice.peek(text), splice.Head)


@given(
    st.lists(st.tuples(st.sampled_from(["file", "prompt", "n"]), st.binary(max_size=40)), max_size=4),
    st.text("abc-/.", min_size=1, max_size=12),
    st.text("xyz-/", min_size=1, max_size=12),
    st.integers(0, 4),
)
def test_a_forms_model_is_replaced_and_nothing_else(
    parts: list[tuple[str, bytes]], old: str, new: str, place: int
) -> None:
    mark = "X-boundary-7"
    parts = [(name, data.replace(mark.encode(), b"")) for name, data in parts]
    place = min(place, len(parts))

    def form(model: str) -> bytes:
        every = [*parts[:place], ("model", model.encode()), *parts[place:]]
        head = b"".join(
            f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + data + b"\r\n"
            for name, data in every
        )
        return head + f"--{mark}--\r\n".encode()

    kind = f"multipart/form-data; boundary={mark}"
    assert multipart.peek(form(old), kind).model == old
    assert multipart.with_model(form(old), kind, new) == form(new)
