"""Bodies of clients: what is read of them, and edits that touch nothing else."""

from __future__ import annotations

import json
from typing import Any

from admin_api import bodies
from admin_api.errors import ApiError
from fuzz.draw import Draw
from proxy.dialects import multipart, splice
from proxy.dialects.splice import BadBody

_MODELS = ("gpt-5", "a/b", 'a"b\\c', "ü\u2028", "\U0001f600", "m" * 256)


def _read(body: bytes) -> dict[str, Any]:
    """The object as the standard library reads it, bytes that are no text among the strings left aside."""
    value = json.loads(body.decode("utf-8", "replace"))
    assert isinstance(value, dict)
    return value


def _names(body: bytes) -> list[str]:
    """The names of the top level in their order, the same name twice too."""
    found: list[list[str]] = []
    json.loads(body, object_pairs_hook=lambda pairs: found.append([name for name, _ in pairs]))
    return found[-1]


def _plain(value: Any) -> Any:
    """NaN is not equal to itself, its text is."""
    return json.dumps(value)


def splice_target(data: bytes) -> None:
    """A body that is taken is taken as the standard library reads it; renamed, the new model alone is different."""
    draw = Draw(data)
    model = draw.pick(_MODELS)
    body = draw.rest()
    try:
        head = splice.peek(body)
    except BadBody as exc:
        assert exc.message
        assert len(exc.message) < 300
        return
    names, value = _names(body), _read(body)
    assert names.count("model") < 2
    assert head.fields == value.keys()
    assert head.model == value.get("model")
    assert head.stream is (value.get("stream") is True)
    asked = splice.with_usage_asked(body)
    told = _read(asked)
    assert told["stream_options"]["include_usage"] is True
    assert _plain({k: v for k, v in told.items() if k != "stream_options"}) == _plain(
        {k: v for k, v in value.items() if k != "stream_options"}
    )
    without = _read(splice.without_model(body, {"x_model": "y"}))
    assert "model" not in without
    assert _plain({k: v for k, v in without.items() if k in value}) == _plain(
        {k: v for k, v in value.items() if k != "model"}
    )
    if head.model is None:
        return
    out = splice.with_model(body, model)
    assert _plain(_read(out)) == _plain({**value, "model": model})
    if len(value) == len(names):  # no name stands twice: then it is an edit in place
        start, end = _common(body, out)
        assert len(body) - start - end <= 6 * 256 + 2 + (body.count(b"\\") and 12 * 256)
        assert b"," not in body[start : len(body) - end] or "," in head.model


def _common(a: bytes, b: bytes) -> tuple[int, int]:
    """How many bytes at the beginning and at the end are the same."""
    size = min(len(a), len(b))
    start = next((n for n in range(size) if a[n] != b[n]), size)
    end = next((n for n in range(size - start) if a[-1 - n] != b[-1 - n]), size - start)
    return start, end


_TYPES = ("multipart/form-data; boundary=XX", 'multipart/form-data; boundary="XX"', "multipart/form-data")


def multipart_form(data: bytes) -> None:
    """A form is read or refused; with another model every other byte is the same, and it is read again."""
    draw = Draw(data)
    kind = draw.pick(_TYPES) if draw.number(4) else draw.text()
    body = draw.rest()
    try:
        head = multipart.peek(body, kind)
    except BadBody:
        return
    if "model" not in head.fields:
        return
    out = multipart.with_model(body, kind, "new/model")
    start, end = _common(body, out)
    assert start + end + len("new/model") >= len(out)
    assert multipart.peek(out, kind).model == "new/model"
    assert multipart.peek(out, kind).fields == head.fields


def admin_body(data: bytes) -> None:
    """A body of the admin API is taken or refused with 400; what is taken is what the standard library reads."""
    draw = Draw(data)
    parse = bodies.parse_new if draw.number(2) else bodies.parse_change
    body = draw.rest()
    try:
        taken = parse(body)
    except ApiError as exc:
        assert exc.status == 400
        assert exc.message.isprintable()
        assert len(exc.message) < 400
        assert exc.response().status == 400
        return
    value = json.loads(body)
    assert {name: getattr(taken, name) for name in value} == value
