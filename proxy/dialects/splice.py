"""Byte-exact edits at the top level of a JSON object: everything outside the edited value stays as it was.

How a key is found: every literal occurrence of `"model"` in the text is renamed to a marker of the same length
and the text is decoded once, values untouched; the markers that are keys of the top level show which occurrences
stand there. So nested keys, keys in strings and odd white space cannot deceive it. A key spelt with escapes
is not found, and the caller is told so.
"""

from __future__ import annotations

import re
from itertools import product
from string import ascii_letters, digits
from typing import Final

import msgspec

from proxy.dialects.json import decode, encode, top_level

_SPACE: Final = b" \t\r\n"
_ALPHABET: Final = digits + ascii_letters
_AFTER_KEY: Final = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SCALAR: Final = re.compile(rb"[^,}\]\s]+")


class NotFound(Exception):
    """The key does not stand at the top level in plain letters."""


class Head(msgspec.Struct, frozen=True):
    """What of a request body has to be known to send it on; the body itself stays bytes.

    `include_usage` is None where the client said nothing of it.
    """

    model: str | None
    stream: bool
    include_usage: bool | None
    fields: frozenset[str]


class BadBody(Exception):
    """A body that cannot be sent on as what it claims to be: the parameter and what is wrong with it."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_json") -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


def peek(body: bytes) -> Head:
    """What has to be known of a JSON request. Raises BadBody."""
    try:
        fields = top_level(body)
    except ValueError as exc:
        raise BadBody(f"the body is not a JSON object: {_reason(body, exc)}") from None
    if body.count(b'"model"') > 1 and len(positions(body, "model")) > 1:
        raise BadBody("the body names `model` twice; readers disagree which one counts", "model", "duplicate_model")
    model = decode(fields["model"]) if "model" in fields else None
    if model is not None and (not isinstance(model, str) or not model):
        raise BadBody("`model` must be a non-empty string", "model", "invalid_model")
    stream = "stream" in fields and decode(fields["stream"]) is True
    options = decode(fields["stream_options"]) if "stream_options" in fields else None
    asked = options.get("include_usage") if isinstance(options, dict) else None
    return Head(model, stream, asked if isinstance(asked, bool) else None, frozenset(fields))


def _reason(body: bytes, exc: ValueError) -> str:
    """Why, without quoting the body."""
    if not body.strip():
        return "it is empty"
    text = str(exc)
    return text if len(text) < 100 and "byte" not in text else "it does not parse"


def positions(body: bytes, key: str) -> list[int]:
    """Offsets of the opening quote of `key` at the top level, in plain spelling. The key needs five letters or more."""
    needle = encode(key)
    hits = [m.start() for m in re.finditer(re.escape(needle), body)]
    if not hits:
        return []
    markers = dict(zip(_markers(body, len(key), len(hits)), hits, strict=True))
    marked = bytearray(body)
    for marker, hit in markers.items():
        marked[hit + 1 : hit + 1 + len(key)] = marker.encode()
    try:
        found = top_level(bytes(marked))
    except ValueError:
        return []
    return sorted(markers[name] for name in found if name in markers)


def _markers(body: bytes, length: int, count: int) -> list[str]:
    """`count` names of `length` letters that begin no string of the body."""
    places = 1
    while len(_ALPHABET) ** places < count:
        places += 1
    for letters in product(_ALPHABET, repeat=length - places):
        prefix = "".join(letters)
        if f'"{prefix}'.encode() not in body:
            endings = product(_ALPHABET, repeat=places)
            return [prefix + "".join(next(endings)) for _ in range(count)]
    raise BadBody("the body repeats `model` too often to be read", "model", "invalid_model")


def _value_span(body: bytes, key: str) -> tuple[int, int]:
    """Where the value of a top-level key with a string, scalar or object value stands."""
    found = positions(body, key)
    if len(found) != 1:
        raise NotFound(key)
    after = _AFTER_KEY.match(body, found[0] + len(encode(key)))
    if after is None:
        raise NotFound(key)
    start = after.end()
    value = _STRING.match(body, start) if body[start : start + 1] == b'"' else _SCALAR.match(body, start)
    if body[start : start + 1] in (b"{", b"["):
        return start, _closing(body, start)
    if value is None:
        raise NotFound(key)
    return start, value.end()


def _closing(body: bytes, start: int) -> int:
    """One past the bracket that closes the one at `start`, strings skipped."""
    depth = 0
    for token in re.finditer(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', body[start:], re.DOTALL):
        text = token.group()
        if text in (b"{", b"["):
            depth += 1
        elif text in (b"}", b"]"):
            depth -= 1
            if not depth:
                return start + token.end()
    raise NotFound("end")


def replace_value(body: bytes, key: str, value: object) -> bytes:
    """The body with the value of one top-level key replaced, all else untouched. Raises NotFound."""
    start, end = _value_span(body, key)
    return body[:start] + encode(value) + body[end:]


def append_field(body: bytes, key: str, value: object) -> bytes:
    """The body with one more field before its closing brace. The key must not be there yet."""
    end = body.rstrip(_SPACE)
    inner = end[:-1].rstrip(_SPACE)
    comma = b"" if inner.endswith(b"{") else b","
    return inner + comma + encode(key) + b":" + encode(value) + body[len(inner) :]


def with_model(body: bytes, model: str) -> bytes:
    """The body asking for another model. Where the key is spelt with escapes, the whole text is written anew."""
    try:
        out = replace_value(body, "model", model)
        if decode(top_level(out)["model"]) == model:
            return out
    except NotFound:
        pass
    return encode({**decode(body), "model": model})


def with_usage_asked(body: bytes) -> bytes:
    """The body asking for a usage chunk at the end of a chat stream (OpenAI's `stream_options`)."""
    fields = top_level(body)
    if "stream_options" not in fields:
        return append_field(body, "stream_options", {"include_usage": True})
    try:
        start, end = _value_span(body, "stream_options")
    except NotFound:  # spelt with escapes: the whole text is written anew
        return encode({**decode(body), "stream_options": {"include_usage": True}})
    return body[:start] + _options_asking(body[start:end]) + body[end:]


def _options_asking(options: bytes) -> bytes:
    if not options.startswith(b"{"):
        return b'{"include_usage":true}'
    if "include_usage" in top_level(options):
        return replace_value(options, "include_usage", True)
    return append_field(options, "include_usage", True)
