"""Byte-exact edits at the top level of a JSON object: everything outside the edited value stays as it was.

How a key is found: the occurrences of `"model"` in the text, however its letters are spelt, are cut into a few pieces,
in each of which they are renamed to a marker of that piece, and the text is decoded once, values untouched; the markers
that are keys of the top level show which pieces have one. That piece is cut again until it holds one occurrence. So
nested keys, keys in strings and odd white space cannot deceive it, and many of them cost little more than a few.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice, pairwise
from string import ascii_letters, digits
from typing import Final

import msgspec

from proxy.dialects.json import decode, encode, is_text, top_level

MAX_MODEL: Final = 256
_SPACE: Final = b" \t\r\n"
_USAGE: Final = {"include_usage": True}
_ALPHABET: Final = digits + ascii_letters
_TRIES: Final = 200  # for a marker: of its 14 million beginnings a text of 64 MiB may hold half
_WINDOW: Final = 4096
_SMALL: Final = 4096  # bytes: up to here searching is faster than walking
_MODEL: Final = b'"model"'
_STEP: Final = re.compile(rb'[ \t\r\n]*[{,][ \t\r\n]*"([^"\\]*)"[ \t\r\n]*:[ \t\r\n]*')
_END: Final = re.compile(rb"[ \t\r\n]*}[ \t\r\n]*\Z")
_AFTER_KEY: Final = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SCALAR: Final = re.compile(rb"[^,}\]\s]+")

Edit = tuple[int, int, bytes]  # where a value begins and ends, and what stands there instead


class NotFound(Exception):
    """The key does not stand at the top level, or more than once."""


class Repeated(NotFound):
    """It does so more than once."""


class Head(msgspec.Struct, frozen=True):
    """What of a request body has to be known to send it on; the body itself stays bytes.

    `include_usage` is None where the client said nothing of it; `model_at` is where the value of `model` stands, as far
    as that was easily found.
    """

    model: str | None
    stream: bool
    include_usage: bool | None
    fields: frozenset[str]
    model_at: tuple[int, int] | None = None


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
    if not is_text(body):
        raise BadBody("the body is not UTF-8 text")
    at = _model_at(body, fields) if "model" in fields else None
    if at is None and _stands_twice(body, "model"):
        raise BadBody("the body names `model` twice; readers disagree which one counts", "model", "duplicate_model")
    model = decode(fields["model"]) if "model" in fields else None
    if model is not None and (not isinstance(model, str) or not model):
        raise BadBody("`model` must be a non-empty string", "model", "invalid_model")
    if model is not None and len(model) > MAX_MODEL:
        raise BadBody(f"`model` is longer than {MAX_MODEL} characters", "model", "invalid_model")
    stream = "stream" in fields and decode(fields["stream"]) is True
    options = decode(fields["stream_options"]) if "stream_options" in fields else None
    asked = options.get("include_usage") if isinstance(options, dict) else None
    return Head(model, stream, asked if isinstance(asked, bool) else None, frozenset(fields), at)


def _model_at(body: bytes, fields: Mapping[str, msgspec.Raw]) -> tuple[int, int] | None:
    """Where the value of `model` stands, for a body that has one; None where that is not easily found."""
    if len(body) > _SMALL:
        return _walked(body, fields, "model")
    key = body.find(_MODEL)
    if key < 0 or body.rfind(_MODEL) != key or (b"\\" in body and b"\\u00" in body):
        return None  # the only such text is the key, as long as none is spelt with escapes
    after = _AFTER_KEY.match(body, key + len(_MODEL))
    if after is None:
        return None
    value, start = bytes(fields["model"]), after.end()
    return (start, start + len(value)) if body.startswith(value, start) else None


def _walked(body: bytes, fields: Mapping[str, msgspec.Raw], key: str) -> tuple[int, int] | None:
    """Where the value of a key of the top level stands, found by going from key to key over the values in between.

    None where the way does not lead to the end: a key is there twice, or is written with escapes.
    """
    at, found = 0, None
    for name, value in fields.items():
        step = _STEP.match(body, at)
        if step is None or step[1] != name.encode("utf-8", "surrogatepass"):
            return None
        at = step.end() + memoryview(value).nbytes
        if name == key:
            found = step.end(), at
            if body[step.end() : at] != bytes(value):
                return None
    return found if _END.match(body, at) else None


def field(body: bytes, name: str) -> object:
    """The value of one field of a JSON object that was read before; None where it is not there."""
    found = top_level(body).get(name)
    return None if found is None else decode(found)


def _reason(body: bytes, exc: ValueError) -> str:
    """Why, without quoting the body."""
    if not body.strip():
        return "it is empty"
    text = str(exc)
    return text if len(text) < 100 and "byte" not in text else "it does not parse"


@cache
def _spellings(key: str) -> re.Pattern[bytes]:
    """Every way to write a string of ASCII letters in JSON (RFC 8259, section 7)."""
    ways = (f"(?:{re.escape(letter)}|\\\\u00{''.join(map(_digit, f'{ord(letter):02x}'))})" for letter in key)
    return re.compile(f'"{"".join(ways)}"'.encode())


def _digit(digit: str) -> str:
    return f"[{digit}{digit.upper()}]" if digit.isalpha() else digit


@cache
def _plain(key: str) -> re.Pattern[bytes]:
    return re.compile(re.escape(encode(key)))


def _spelt(body: bytes, key: str) -> re.Pattern[bytes]:
    """What finds the string, quotes included, be it a key or not. The plain spelling alone is searched faster."""
    return _spellings(key) if b"\\u00" in body else _plain(key)


def _stands_twice(body: bytes, key: str) -> bool:
    if len(list(islice(_spelt(body, key).finditer(body), 2))) < 2:
        return False
    try:
        _position(body, key)
    except NotFound as exc:
        return isinstance(exc, Repeated)
    return False


def _position(body: bytes, key: str) -> tuple[int, int]:
    """Where `key` stands as a key of the top level, quotes included. The key needs five letters or more. Raises
    NotFound."""
    spelt = _spelt(body, key)
    start, stop = 0, len(body)
    while True:
        found = _at_top(body, key, spelt, list(_pieces(body, spelt, start, stop, 6 * len(key) + 2)))
        if len(found) != 1:
            raise Repeated(key) if found else NotFound(key)
        start, stop = found[0]
        first, *more = islice(spelt.finditer(body, start, stop), 2)
        if not more:
            return first.span()


def _pieces(body: bytes, spelt: re.Pattern[bytes], start: int, stop: int, longest: int) -> Iterator[tuple[int, int]]:
    """Every occurrence from `start` to `stop` in one of a few pieces, which begin with one; few have each their own."""
    most = len(_ALPHABET)
    few = list(islice(spelt.finditer(body, start, stop), most + 1))
    if len(few) <= most:
        yield from (hit.span() for hit in few)
        return
    step = -(-(stop - start) // most)
    cuts: list[tuple[int, int]] = []
    for at in range(start, stop, step):
        if cuts and at <= cuts[-1][0]:
            continue
        hit = spelt.search(body, at, stop)
        if hit is None:
            break
        begins = hit.start()
        cuts.append((begins, at + ((begins - at) // step + 1) * step + longest))  # what begins in this step, ends there
    for (begins, ends), (other, _) in pairwise([*cuts, (stop, stop)]):
        yield begins, min(ends, other)


def _at_top(body: bytes, key: str, spelt: re.Pattern[bytes], pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those of the pieces that have the key at the top level."""
    if not pieces:
        return []
    prefix, plain = _absent(body, len(key) - 1), encode(key)
    marked, markers, end = [], {}, 0
    for letter, (start, stop) in zip(_ALPHABET, pieces, strict=False):
        marker = f'"{prefix}{letter}"'.encode()
        piece = body[start:stop].replace(plain, marker)
        marked += [body[end:start], piece if spelt is _plain(key) else spelt.sub(marker, piece)]
        markers[prefix + letter] = (start, stop)
        end = stop
    try:
        found = top_level(b"".join([*marked, body[end:]]))
    except ValueError:
        return []
    return [piece for marker, piece in markers.items() if marker in found]


def _absent(body: bytes, length: int) -> str:
    """So many letters with which no string of the body begins; drawn by lot, for bodies may be made to hold some."""
    for _ in range(_TRIES):
        prefix = "".join(secrets.choice(_ALPHABET) for _ in range(length))
        if f'"{prefix}'.encode() not in body:
            return prefix
    raise BadBody("the body is too large to be read", code="invalid_request")


def _value_span(body: bytes, key: str) -> tuple[int, int]:
    """Where the value of a top-level key with a string, scalar or object value stands."""
    after = _AFTER_KEY.match(body, _position(body, key)[1])
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


def replace_within(body: bytes, outer: str, key: str, value: object) -> bytes:
    """The body with one value replaced in the object that stands under a top-level key. Raises NotFound."""
    start, end = _value_span(body, outer)
    return body[:start] + replace_value(body[start:end], key, value) + body[end:]


def append_field(body: bytes, key: str, value: object) -> bytes:
    """The body with one more field before its closing brace. The key must not be there yet."""
    return b"".join(edited(body, appended(body, key, value)))


def appended(body: bytes, key: str, value: object) -> Edit:
    """The edit that does the same."""
    inner = _ends_before(body, _ends_before(body, len(body)) - 1)
    comma = b"" if body.startswith(b"{", inner - 1) else b","  # no value ends with it
    return inner, inner, comma + encode(key) + b":" + encode(value)


def _ends_before(body: bytes, end: int) -> int:
    """Where what stands before `end` ends, white space aside; the whole is not copied for it."""
    while end > 0:
        begins = max(0, end - _WINDOW)
        kept = len(body[begins:end].rstrip(_SPACE))
        if kept:
            return begins + kept
        end = begins
    return 0


def edited(body: bytes, *edits: Edit) -> tuple[bytes | memoryview, ...]:
    """The body with some of it replaced, as pieces of which it is made up: a large one is not copied for that."""
    view, at = memoryview(body), 0
    pieces: list[bytes | memoryview] = []
    for start, end, instead in sorted(edits):
        pieces += (view[at:start], instead)
        at = end
    pieces.append(view[at:])
    return tuple(piece for piece in pieces if len(piece))


def at_places(
    body: bytes, model: str | None, at: tuple[int, int] | None, *, usage: bool
) -> tuple[bytes | memoryview, ...]:
    """The pieces of the body that asks for another model, whose name stands at `at`, and for usage if it says nothing
    of that: what `with_model` and `with_usage_asked` make of it."""
    edits: list[Edit] = []
    if model is not None and at is not None:
        edits.append((*at, encode(model)))
    if usage:
        edits.append(appended(body, "stream_options", _USAGE))
    return edited(body, *edits)


def with_model(body: bytes, model: str, at: tuple[int, int] | None = None) -> bytes:
    """The body asking for another model; `at`: where the name stands, if that is known."""
    if at is not None:
        return b"".join((body[: at[0]], encode(model), body[at[1] :]))
    try:
        out = replace_value(body, "model", model)
        if decode(top_level(out)["model"]) == model:
            return out
    except NotFound:
        pass
    return _anew(body, "model", model)


def without_model(body: bytes, adds: Mapping[str, str]) -> bytes:
    """The body for a path that names the model itself, with the fields that it has to have."""
    if "model" not in top_level(body):
        return with_fields(body, adds)
    try:
        end = _value_span(body, "model")[1]
        key = _position(body, "model")[0]
        before, after = body[:key].rstrip(_SPACE), body[end:].lstrip(_SPACE)
        if after.startswith(b","):
            out = before + after[1:]
        else:
            out = before.removesuffix(b",") + after
        if "model" in top_level(out):
            raise NotFound("model")
    except (NotFound, ValueError):
        out = json.dumps({k: v for k, v in decode(body).items() if k != "model"}).encode()
    return with_fields(out, adds)


def with_fields(body: bytes, adds: Mapping[str, str]) -> bytes:
    """The body with these fields, where it has none of that name."""
    for name, value in adds.items():
        if name not in top_level(body):
            body = append_field(body, name, value)
    return body


def renamed(body: bytes, old: str, new: str) -> bytes:
    """The body with another name for one top-level field, if it has it and not the other."""
    if new in top_level(body):
        return body
    try:
        start, end = _position(body, old)
    except NotFound:
        return body
    return body[:start] + encode(new) + body[end:]


def with_usage_asked(body: bytes) -> bytes:
    """The body asking for a usage chunk at the end of a chat stream (OpenAI's `stream_options`)."""
    if "stream_options" not in top_level(body):
        return append_field(body, "stream_options", _USAGE)
    try:
        start, end = _value_span(body, "stream_options")
    except NotFound:
        return _anew(body, "stream_options", _USAGE)
    return body[:start] + _options_asking(body[start:end]) + body[end:]


def _options_asking(options: bytes) -> bytes:
    if not options.startswith(b"{"):
        return b'{"include_usage":true}'
    if "include_usage" not in top_level(options):
        return append_field(options, "include_usage", True)
    try:
        return replace_value(options, "include_usage", True)
    except NotFound:
        return _anew(options, "include_usage", True)


def _anew(body: bytes, key: str, value: object) -> bytes:
    """For texts that cannot be edited in place, as those that name a key twice: written anew, the last one counting."""
    return json.dumps({**decode(body), key: value}).encode()
