"""What questions and answers of Converse have in common: content blocks and media."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Any, Final

from proxy.dialects import read, seals
from proxy.dialects.base import DialectName
from proxy.dialects.blocks import Audio, Block, Cite, Document, Foreign, Image, Opaque, Reasoning, Source
from proxy.dialects.json import encode

NAME: Final = DialectName.CONVERSE
_DOCUMENTS: Final = {
    "pdf": "application/pdf",
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "html": "text/html",
    "txt": "text/plain",
    "md": "text/markdown",
}
_FORMATS: Final = {kind: form for form, kind in _DOCUMENTS.items()}
_TEXTS: Final = frozenset({"application/json", "application/xml", "application/yaml", "application/x-ndjson"})
_SOUNDS: Final = {"mp3": "audio/mpeg", "wav": "audio/wav"}
_HEARD: Final = frozenset(
    {"mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm"}
)
_SEEN: Final = frozenset({"png", "jpeg", "gif", "webp"})


def media_of(entry: Mapping[str, Any]) -> Block | None:
    """The block that an image, a document or a sound is; None for what else there is."""
    for kind in ("image", "document", "audio"):
        if isinstance(entry.get(kind), dict):
            given = entry[kind]
            source = read.table(given.get("source"))
            form = read.text(given.get("format"))
            data = read.text(source.get("bytes"))
            place = read.text(read.table(source.get("s3Location")).get("uri"))
            if not data and not place and "text" not in source:
                return Foreign(Opaque(NAME, kind, dict(entry)), content=True)
            if kind == "image":
                return Image(_source(data, place, f"image/{form or 'png'}"))
            if kind == "audio":
                return Audio(_source(data, place, _SOUNDS.get(form, f"audio/{form or 'wav'}")), form or None)
            found = _source(data, place, _DOCUMENTS.get(form, "application/octet-stream"))
            if isinstance(source.get("text"), str):
                found = Source(text=source["text"], media_type="text/plain")
            cited = read.table(given.get("citations")).get("enabled") is True
            return Document(found, read.text(given.get("name")) or None, read.text(given.get("context")) or None, cited)
    return None


def _source(data: str, place: str, kind: str) -> Source:
    return Source(data=data or None, url=place or None, media_type=kind)


def media_for(block: Image | Document | Audio, names: set[str]) -> dict[str, Any] | None:
    """The entry that says it; None where there is no way: only bytes and S3 are taken. `names` are taken already."""
    source = block.source
    kind = source.kind or ""
    place: dict[str, Any]
    if source.data is not None:
        place = {"bytes": source.data}
    elif source.url is not None and source.url.startswith("s3://"):
        place = {"s3Location": {"uri": source.url}}
    elif source.text is not None and isinstance(block, Document):
        place = {"bytes": b64encode(source.text.encode("utf-8", "surrogatepass")).decode()}
    else:
        return None
    form = _form(block, kind)
    if form is None:
        return None
    if isinstance(block, Image | Audio):
        return {"image" if isinstance(block, Image) else "audio": {"format": form, "source": place}}
    said: dict[str, Any] = {"format": form, "name": _named(block.name or "document", names), "source": place}
    if block.context:
        said["context"] = block.context
    if block.cited:
        said["citations"] = {"enabled": True}
    return {"document": said}


def _form(block: Image | Document | Audio, kind: str) -> str | None:
    """The word for its format; None for one that is not taken."""
    form = kind.partition(";")[0].partition("/")[2]
    if isinstance(block, Image):
        form = {"": "png", "jpg": "jpeg"}.get(form, form)
        return form if form in _SEEN else None
    if isinstance(block, Audio):
        form = block.format or {"": "wav", "mpeg": "mp3", "x-wav": "wav", "wave": "wav"}.get(form, form)
        return form if form in _HEARD else None
    plain = kind.partition(";")[0]
    if plain in _FORMATS:
        return _FORMATS[plain]
    if plain.startswith("text/") or plain in _TEXTS or block.source.text is not None:
        return "txt"
    end = (block.name or "").rpartition(".")[2].lower()
    return end if end in _DOCUMENTS else None if plain else "pdf"


def _named(name: str, names: set[str]) -> str:
    """A document's name in the letters that are allowed, once each."""
    plain = re.sub(r"\s+", " ", re.sub(r"[^A-Za-z0-9\s\-()\[\]]", " ", name)).strip()[:180] or "document"
    found, number = plain, 1
    while found in names:
        number += 1
        found = f"{plain} {number}"
    names.add(found)
    return found


def thinking_of(content: Mapping[str, Any], origin: str | None = None) -> Reasoning:
    """`reasoningContent`: a text with its signature, or what is redacted."""
    said = read.table(content.get("reasoningText"))
    redacted = read.text(content.get("redactedContent"))
    if redacted:
        return Reasoning(seal=redacted_of(redacted, origin))
    signature = read.text(said.get("signature"))
    seal = seals.unwrap(signature, NAME, "signature") if signature else None
    return Reasoning(read.text(said.get("text")), _made_by(seal, origin))


def redacted_of(text: str, origin: str | None = None) -> Opaque | None:
    """The seal that redacted thinking is; it is bytes, so that another dialect's mark is in base64."""
    if text.startswith(seals.MARK_64):
        try:
            return seals.unwrap(b64decode(text, validate=True).decode(), NAME, "redacted")
        except ValueError:
            pass
    return Opaque(NAME, "redacted", text, origin)


def _made_by(seal: Opaque | None, origin: str | None) -> Opaque | None:
    if seal is None or seal.dialect != NAME:
        return seal
    return Opaque(seal.dialect, seal.kind, seal.data, seal.origin or origin)


def thinking_for(block: Reasoning) -> dict[str, Any]:
    """The entry that says it."""
    seal = block.seal
    if seal is not None and not block.text and (seal.dialect != NAME or seal.kind == "redacted"):
        text = seals.wrap(seal, NAME)
        plain = seal.dialect == NAME
        return {"reasoningContent": {"redactedContent": text if plain else b64encode(text.encode()).decode()}}
    said = {"text": block.text, **({} if seal is None else {"signature": seals.wrap(seal, NAME)})}
    return {"reasoningContent": {"reasoningText": said}}


def result_text(entry: Mapping[str, Any]) -> str:
    """What a tool said, where it is text or JSON."""
    return entry["text"] if isinstance(entry.get("text"), str) else encode(entry.get("json")).decode()


def cite_of(row: Mapping[str, Any], origin: str | None = None) -> Cite:
    """One citation."""
    web = read.table(read.table(row.get("location")).get("web"))
    quote = "".join(read.text(r.get("text")) for r in read.rows(row.get("sourceContent")))
    url = read.text(web.get("url")) or read.text(row.get("source"))
    return Cite(url, read.text(row.get("title")), quote, raw=Opaque(NAME, "citation", dict(row), origin))


def cite_for(cite: Cite) -> dict[str, Any]:
    """The entry that says it, as its maker wrote it where that was this dialect."""
    if cite.raw is not None and cite.raw.dialect == NAME:
        return dict(cite.raw.data)
    said: dict[str, Any] = {"title": cite.title, "sourceContent": [{"text": cite.quote}]}
    return {**said, "location": {"web": {"url": cite.url}}} if cite.url else said


def cited_for(text: str, cites: Iterable[Cite]) -> dict[str, Any]:
    """The entry that is a text with its sources."""
    return {"citationsContent": {"content": [{"text": text}], "citations": [cite_for(cite) for cite in cites]}}
