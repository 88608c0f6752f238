"""What questions and answers of generateContent have in common: field names, media, signatures, schemas."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from proxy.dialects import read, seals
from proxy.dialects.base import DialectName
from proxy.dialects.blocks import Audio, Block, Document, Foreign, Image, Opaque, Source
from proxy.dialects.json import encode

NAME: Final = DialectName.GEMINI
# Two strings that stand for a signature where there is none (Gemini API, "Thought signatures").
STAND_IN: Final = "skip_thought_signature_validator"
_STAND_INS: Final = frozenset({STAND_IN, "context_engineering_is_the_way_to_go"})
_SNAKE: Final = re.compile(r"_([a-z0-9])")
_FILES: Final = "https://generativelanguage.googleapis.com/"


def camel(value: Mapping[str, Any]) -> dict[str, Any]:
    """The object with its own field names in lowerCamelCase."""
    return {_SNAKE.sub(lambda m: m[1].upper(), key) if "_" in key else key: item for key, item in value.items()}


def signature_of(part: Mapping[str, Any], kind: str, origin: str | None = None) -> Opaque | None:
    """The seal of a part. One of another dialect's travels as base64 of its mark: the field is bytes."""
    text = read.text(part.get("thoughtSignature"))
    if not text or text in _STAND_INS:
        return None
    if text.startswith(seals.MARK_64):
        try:
            inner = b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
            return seals.unwrap(inner.decode(), NAME, kind)
        except ValueError:
            pass
    return Opaque(NAME, kind, text, origin)


def signature_for(seal: Opaque) -> str:
    """The text that stands for a seal."""
    wrapped = seals.wrap(seal, NAME)
    return wrapped if not wrapped.startswith(seals.MARK) else b64encode(wrapped.encode()).decode()


def media_of(part: Mapping[str, Any]) -> Block | None:
    """The block that `inlineData` or `fileData` is; None where the part holds neither."""
    inline, file = part.get("inlineData"), part.get("fileData")
    if isinstance(inline, dict):
        given = camel(inline)
        kind = read.text(given.get("mimeType"))
        source = Source(data=read.text(given.get("data")), media_type=kind or None)
        name = read.text(given.get("displayName")) or None
    elif isinstance(file, dict):
        given = camel(file)
        kind, uri = read.text(given.get("mimeType")), read.text(given.get("fileUri"))
        kept = uri.startswith(_FILES)
        source = Source(file_id=uri if kept else None, url=None if kept else uri, media_type=kind or None)
        name = read.text(given.get("displayName")) or None
    else:
        return None
    family = kind.partition("/")[0]
    if family == "image":
        return Image(source)
    if family == "audio" and source.data is not None:
        return Audio(source)
    if family in ("video", "audio"):
        return Foreign(Opaque(NAME, family, dict(part)), content=True)
    return Document(source, name)


def media_for(block: Image | Document | Audio) -> dict[str, Any] | None:
    """The part that says it; None where there is no way."""
    source = block.source
    default = {Image: "image/png", Document: "application/pdf", Audio: "audio/wav"}[type(block)]
    kind = source.media_type or (_guessed(source.url or source.file_id or "") or default)
    if source.words is not None and isinstance(block, Document):
        return {"text": source.words}
    if source.data is not None:
        return {"inlineData": {"mimeType": kind, "data": source.data}}
    uri = source.url or source.file_id
    if not uri or (source.file_id and not source.file_id.startswith(("https://", "gs://"))):
        return None
    return {"fileData": {"mimeType": kind, "fileUri": uri}}


def _guessed(url: str) -> str | None:
    ending = url.partition("?")[0].rpartition(".")[2].lower()
    return {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif",
            "pdf": "application/pdf", "mp3": "audio/mpeg", "wav": "audio/wav"}.get(ending)  # fmt: skip


def response_text(response: Any) -> tuple[str, bool]:
    """What a function said, as text, and whether it failed; `output` and `error` are the keys the API names."""
    if isinstance(response, dict) and len(response) == 1:
        key, value = next(iter(response.items()))
        if key in ("output", "result") and isinstance(value, str) and not value.startswith("{"):
            return value, False
        if key == "error":
            return value if isinstance(value, str) else encode(value).decode(), True
    return encode(response if response is not None else {}).decode(), False


_KEPT: Final = frozenset(
    {
        "$id", "$ref", "$anchor", "type", "format", "title", "description", "enum", "minItems", "maxItems", "minimum",
        "maximum", "required", "propertyOrdering", "minLength", "maxLength", "pattern", "nullable", "default",
        "minProperties", "maxProperties",
    }
)  # fmt: skip
_NAMED: Final = frozenset({"properties", "$defs", "definitions"})
_NESTED: Final = {
    name: name for name in ("properties", "$defs", "items", "additionalProperties", "anyOf", "prefixItems")
} | {
    "definitions": "$defs",
    "oneOf": "anyOf",
}
_META: Final = frozenset({"$schema", "$comment"})  # says nothing about the value


def mended(schema: Any, lost: set[str]) -> Any:
    """A JSON schema without what Gemini refuses; what had to go is put into `lost`.

    `const` is an enum of one, `oneOf` is read as `anyOf`, `definitions` are `$defs`; a single `allOf` is what it holds.
    """
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "const":
            out["enum"] = [value]
        elif key == "$ref" and isinstance(value, str):
            out[key] = value.replace("#/definitions/", "#/$defs/")
        elif key in _KEPT:
            out[key] = value
        elif key == "allOf" and isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            out |= mended(value[0], lost)
        elif key in _NESTED:
            out[_NESTED[key]] = _inner(value, lost, named=key in _NAMED)
        elif key not in _META:
            lost.add(str(key))
    return out


def _inner(value: Any, lost: set[str], *, named: bool) -> Any:
    """Schemas within a schema: by name, in a list, or one."""
    if named and isinstance(value, dict):
        return {name: mended(item, lost) for name, item in value.items()}
    if isinstance(value, list):
        return [mended(item, lost) for item in value]
    return mended(value, lost)


def json_schema(schema: Any) -> Any:
    """A schema in Google's OpenAPI form as JSON schema: types in lower case, `nullable` as a second type."""
    if isinstance(schema, list):
        return [json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {
        "$defs" if key == "defs" else key: _json_value(key, value)
        for key, value in camel(schema).items()
        if key != "nullable"
    }
    if schema.get("nullable") is True and isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
    return out


def _json_value(key: str, value: Any) -> Any:
    if key == "type" and isinstance(value, str):
        return value.lower()
    if key in ("properties", "defs", "$defs") and isinstance(value, dict):
        return {name: json_schema(item) for name, item in value.items()}
    if key in ("items", "anyOf", "additionalProperties"):
        return json_schema(value)
    if key in ("minItems", "maxItems", "minLength", "maxLength") and isinstance(value, str) and value.isdigit():
        return int(value)  # int64 is a string in ProtoJSON
    return value


def in_bytes(text: str, places: Iterable[int]) -> dict[int, int]:
    """Where each of these places of a text is in its UTF-8."""
    found: dict[int, int] = {}
    at = size = 0
    for place in sorted(set(places)):
        end = max(at, place)
        size += len(text[at:end].encode("utf-8", "surrogatepass"))
        at = end
        found[place] = size
    return found


def in_text(data: bytes, places: Iterable[int]) -> dict[int, int]:
    """Where each of these places of UTF-8 is in the text; one within a character is before it."""
    found: dict[int, int] = {}
    at = size = 0
    for place in sorted(set(places)):
        end = min(place, len(data))
        while at < end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        size += len(data[at:end].decode("utf-8", "surrogatepass"))
        at = max(at, end)
        found[place] = size
    return found


def content_parts(content: object) -> Iterator[dict[str, Any]]:
    """The parts of one content, each with its fields in lowerCamelCase."""
    if isinstance(content, str):
        yield {"text": content}
        return
    for part in read.rows(read.table(content).get("parts")):
        yield camel(part)
