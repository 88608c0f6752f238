"""Citations of Cohere's: which part of a text comes from which documents and results of tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from proxy.dialects import read
from proxy.dialects.base import DialectName
from proxy.dialects.blocks import Cite, Opaque

NAME: Final = DialectName.COHERE


def cites_of(row: Mapping[str, Any], origin: str | None = None) -> list[Cite]:
    """One for each source of a citation; without any it is one all the same."""
    start, end = row.get("start"), row.get("end")
    raw = Opaque(NAME, "citation", dict(row), origin)
    found = []
    for source in read.rows(row.get("sources")) or [{}]:
        document = read.table(source.get("document") or source.get("tool_output"))
        found.append(
            Cite(
                read.text(document.get("url")),
                read.text(document.get("title")) or read.text(source.get("id")),
                read.text(row.get("text")),
                start if isinstance(start, int) else None,
                end if isinstance(end, int) else None,
                raw,
            )
        )
    return found


def rows_for(cites: Iterable[Cite], last: Opaque | None = None) -> list[dict[str, Any]]:
    """The entries that say them, as their maker wrote them where that was this dialect; `last` has been said."""
    rows = []
    for cite in cites:
        if cite.raw is None or cite.raw.dialect != NAME:
            document = {"url": cite.url, "title": cite.title} if cite.url else {"title": cite.title}
            sources = [{"type": "document", "id": cite.url or cite.title, "document": document}]
            rows.append({"start": cite.start or 0, "end": cite.end or 0, "text": cite.quote, "sources": sources})
        elif cite.raw != last:  # a citation with several sources comes once for each
            rows.append(dict(cite.raw.data))
            last = cite.raw
    return rows
