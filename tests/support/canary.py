"""Unique fake keys and texts, and the search for them in everything the daemon lets out.

A canary is searched as it is, URL-encoded, JSON-escaped, in hex, in base64 at its three offsets, and by its pieces.
Of a key the first twelve characters may be shown (`key_prefix`), so pieces are taken behind them.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

SHOWN = 12
PIECE = 8


@dataclass
class Canaries:
    """All canaries of a test session and all that was let out in it."""

    keys: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    sinks: list[tuple[str, bytes]] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)

    def key(self, provider: str) -> str:
        """A fresh provider key that must never be seen anywhere but at that provider."""
        value = "sk-" + secrets.token_urlsafe(48).replace("-", "x").replace("_", "y")
        self.keys[value] = provider
        return value

    def text(self, name: str = "prompt") -> str:
        """A fresh piece of content that must never be seen in a log or a metric."""
        value = f"canary{secrets.token_hex(16)}"
        self.texts[value] = name
        return value

    def add(self, name: str, data: str | bytes) -> None:
        """Something that the daemon let out: a log, an answer, metrics."""
        self.sinks.append((name, data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data))

    def leaks(self) -> list[str]:
        """Where a canary was found and in which form."""
        sinks = list(self.sinks)
        for folder in self.folders:
            sinks += [(str(p), p.read_bytes()) for p in folder.rglob("*") if p.is_file()]
        found: list[str] = []
        for value in self.keys:
            found += [f"a key of {self.keys[value]} as {form} in {n}" for form, n in search(value, SHOWN, sinks)]
        logs = [(name, data) for name, data in sinks if name.startswith(("log", "metrics"))]
        for value in self.texts:
            found += [f"content ({self.texts[value]}) as {form} in {n}" for form, n in search(value, 6, logs)]
        return found


def forms(value: str, shown: int) -> dict[str, bytes]:
    """Every spelling of a canary that counts as a leak."""
    raw = value.encode()
    spelt = {
        "plain": raw,
        "url": quote(value, safe="").encode(),
        "json": json.dumps(value)[1:-1].encode(),
        "hex": raw.hex().encode(),
    }
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw)
        spelt[f"base64+{offset}"] = encoded[4 if offset else 0 : -4]
    for at in range(shown, len(raw) - PIECE + 1):
        spelt[f"piece@{at}"] = raw[at : at + PIECE]
    return spelt


def search(value: str, shown: int, sinks: list[tuple[str, bytes]]) -> list[tuple[str, str]]:
    """(form, sink) of every hit."""
    return [(form, name) for form, needle in forms(value, shown).items() for name, data in sinks if needle in data]
