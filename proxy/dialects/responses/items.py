"""What the items of an answer in OpenAI Responses are made of."""

from __future__ import annotations

from typing import Any, Final

from proxy.dialects.base import DialectName
from proxy.dialects.blocks import Cite
from proxy.dialects.events import Piece
from proxy.dialects.json import decode_object, encode

NAME: Final = DialectName.RESPONSES


def own(piece: Piece) -> bool:
    """Whether this dialect's provider made it."""
    return piece.raw is not None and piece.raw.dialect == NAME


def drawn(piece: Piece) -> dict[str, Any]:
    """What is said of a picture when it is whole."""
    if piece.raw is not None and own(piece):
        return {**piece.raw.data, "result": piece.text}
    return {"status": "completed", "output_format": piece.media_type.partition("/")[2], "result": piece.text}


def beside_call(piece: Piece) -> dict[str, Any]:
    """What its maker wrote beside the arguments of a call."""
    seal = piece.seal
    return seal.data if seal is not None and seal.dialect == NAME and isinstance(seal.data, dict) else {}


def server_call(piece: Piece) -> dict[str, Any] | None:
    """Another dialect's search, as this dialect tells of one. What came of it is in the text and its citations."""
    if piece.name not in ("web_search", "google_search"):
        return None
    given = decode_object(encode((piece.raw.data if piece.raw else {}).get("input") or {})) or {}
    action = {"type": "search", "query": str(given.get("query") or "")}
    return {"type": "web_search_call", "status": "in_progress", "action": action}


def cite_out(cite: Cite) -> dict[str, Any] | None:
    """An annotation of a text; None for a source without an address: a `file_citation` is of a file kept here."""
    if cite.raw is not None and cite.raw.dialect == NAME:
        return dict(cite.raw.data)
    if not cite.url:
        return None
    start, end = cite.start or 0, cite.end or 0
    return {"type": "url_citation", "url": cite.url, "title": cite.title, "start_index": start, "end_index": end}
