"""What questions and answers of generateContent have in common: field names, media, signatures."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from proxy.dialects import read, seals
from proxy.dialects.base import DialectName
from proxy.dialects.blocks import Audio, Block, Document, Foreign, Image, Opaque, Reasoning, Source
from proxy.dialects.json import encode
from proxy.dialects.read import camel

NAME: Final = DialectName.GEMINI
# Two strings that stand for a signature where there is none (Gemini API, "Thought signatures").
STAND_IN: Final = "skip_thought_signature_validator"
_STAND_INS: Final = frozenset({STAND_IN, "context_engineering_is_the_way_to_go"})
PLAIN: Final = str.maketrans("-_", "+/")  # Google takes both alphabets of base64, and its SDK sends the other
RESOLUTIONS: Final = {
    "low": "MEDIA_RESOLUTION_LOW",
    "auto": "MEDIA_RESOLUTION_MEDIUM",
    "high": "MEDIA_RESOLUTION_HIGH",
    "original": "MEDIA_RESOLUTION_ULTRA_HIGH",
}
_MEDIA: Final = frozenset({"inlineData", "fileData", "thoughtSignature"})
_FILES: Final = ("https://generativelanguage.googleapis.com/", "gs://")  # what Google alone can read, with a key


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


def carry(thoughts: Sequence[tuple[str, Opaque]]) -> str:
    """A signature that holds thinking of another dialect, texts and seals. Put onto a call it comes back also from
    clients that keep calls and no thoughts, as Gemini CLI does (seen in 0.61.0)."""
    first = thoughts[0][1]
    rows = [[text, seal.kind, seal.data] for text, seal in thoughts]
    return signature_for(Opaque(first.dialect, seals.CARRIED, rows, first.origin))


def carried(seal: Opaque | None) -> tuple[Reasoning, ...]:
    """The thinking that a signature holds; none where it is one of the usual kind."""
    if seal is None or seal.kind != seals.CARRIED or not isinstance(seal.data, list):
        return ()
    rows = [row for row in seal.data if isinstance(row, list) and len(row) == 3]
    return tuple(
        Reasoning(read.text(text), Opaque(seal.dialect, read.text(kind), data, seal.origin))
        for text, kind, data in rows
        if kind != seals.CARRIED and seals.may_be(seal.dialect, kind, data)
    )


def media_of(part: Mapping[str, Any]) -> Block | None:
    """The block that `inlineData` or `fileData` is; None where the part holds neither."""
    inline, file = part.get("inlineData"), part.get("fileData")
    if isinstance(inline, dict):
        given = camel(inline)
        kind = read.text(given.get("mimeType"))
        data = read.text(given.get("data")).translate(PLAIN)
        source = Source(data=data, media_type=kind or None)
        name = read.text(given.get("displayName")) or None
    elif isinstance(file, dict):
        given = camel(file)
        kind, uri = read.text(given.get("mimeType")), read.text(given.get("fileUri"))
        if uri.startswith(_FILES):
            return Foreign(Opaque(NAME, "file", dict(part)), content=True)
        source = Source(url=uri, media_type=kind or None)
        name = read.text(given.get("displayName")) or None
    else:
        return None
    family = kind.partition("/")[0]
    if family == "image":
        level = camel(read.table(part.get("mediaResolution"))).get("level")
        return Image(source, next((word for word, name in RESOLUTIONS.items() if name == level), None))
    if family == "audio" and source.data is not None:
        return Audio(source)
    if family in ("video", "audio"):
        return Foreign(Opaque(NAME, family, dict(part)), content=True)
    more = part.keys() - _MEDIA
    return Document(source, name, raw=Opaque(NAME, "part", dict(part)) if more else None)


def media_for(block: Image | Document | Audio) -> dict[str, Any] | None:
    """The part that says it; None where there is no way."""
    source = block.source
    kind = _kind(block)
    if isinstance(block, Document) and block.raw is not None and block.raw.dialect == NAME:
        return dict(block.raw.data)
    if source.words is not None and isinstance(block, Document):
        return {"text": source.words}
    if source.data is not None:
        return {"inlineData": {"mimeType": kind, "data": source.data}}
    uri = source.url or source.file_id
    if not uri or (source.file_id and not source.file_id.startswith(("https://", "gs://"))):
        return None
    return {"fileData": {"mimeType": kind, "fileUri": uri}}


_DEFAULTS: Final = {Image: "image/png", Document: "application/pdf", Audio: "audio/wav"}
_SOUNDS: Final = {"mp3": "audio/mpeg", "pcm16": "audio/pcm"}


def _kind(block: Image | Document | Audio) -> str:
    source = block.source
    if isinstance(block, Audio):
        form = block.format or "wav"
        return source.media_type or _SOUNDS.get(form, f"audio/{form}")
    return source.kind or _guessed(source.url or source.file_id or "") or _DEFAULTS[type(block)]


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
