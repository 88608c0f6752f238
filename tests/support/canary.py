"""Unique fake keys and texts, and the search for them in everything the daemon lets out.

A sink is looked through from end to end when it is added, a folder when the session ends. A canary counts as leaked
when any 8 bytes of it are found: as they are, URL-encoded, JSON-escaped, in hex, or in base64 at any offset. What is
encoded is decoded first, so that a piece of an encoded key is found too, and chance is not: 8 bytes are 47 random
bits here. Of a key the first twelve characters may be shown (`key_prefix`).
"""

from __future__ import annotations

import base64
import re
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_letters, digits
from typing import Final
from urllib.parse import unquote_to_bytes

SHOWN: Final = {"key": 12, "text": len("canary"), "own": len("rd-")}  # characters in front that are no secret
PIECE: Final = 8
_TOKEN: Final = re.compile(rb"[\x21-\x7e]{8,}")
_HEX: Final = re.compile(rb"[0-9a-fA-F]{16,}")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{11,}")
_ESCAPE: Final = re.compile(rb'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_SHORT: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_LONG: Final = 10_000
_SAME: Final = re.compile(rb"(.{1,3}?)\1{64,}", re.DOTALL)
_REMEMBERED: Final = 200_000


@dataclass
class Canaries:
    """All canaries of a test session, and where they were found."""

    folders: list[Path] = field(default_factory=list)  # looked through when the session ends
    searched: int = 0  # bytes
    _pieces: dict[bytes, tuple[str, str]] = field(default_factory=dict)  # piece -> kind and whose
    _clean: set[bytes] = field(default_factory=set)  # what is said again and again is looked at once
    _found: dict[str, None] = field(default_factory=dict)

    def key(self, provider: str) -> str:
        """A fresh provider key that must never be seen anywhere but at that provider."""
        value = "sk-" + _letters(64)
        self.register("key", value, provider)
        return value

    def text(self, name: str = "prompt") -> str:
        """A fresh piece of content that must never be seen in a log, a metric or a file."""
        value = "canary" + _letters(32)
        self.register("text", value, name)
        return value

    def own(self, value: str) -> None:
        """The daemon's own key: its file may hold it, but no log, metric, answer or provider."""
        self.register("own", value, "the daemon")

    def register(self, kind: str, value: str, whose: str) -> None:
        """A secret as a canary; `kind` is key, text or own. Its characters have to be random."""
        raw = value.encode()
        for at in range(SHOWN[kind], len(raw) - PIECE + 1):
            self._pieces[raw[at : at + PIECE]] = (kind, whose)

    def add(self, name: str, data: str | bytes) -> None:
        """Something that was let out. Its name begins with log, metrics, answer, upstream, or else what it is."""
        raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        self.searched += len(raw)
        self._look(name, raw)
        if b"%" in raw:
            self._look(name, unquote_to_bytes(raw))
        if b"\\" in raw:
            self._look(name, _ESCAPE.sub(_unescaped, raw))

    def leaks(self) -> list[str]:
        """Where a canary was found, and which. The folders are looked through now."""
        for path in dict.fromkeys(p for folder in self.folders for p in folder.rglob("*") if p.is_file()):
            self.add(f"file {path}", path.read_bytes())
        self.folders.clear()
        return list(self._found)

    def _look(self, name: str, raw: bytes) -> None:
        for token in _TOKEN.findall(raw):
            if token in self._clean:
                continue
            token = _unfilled(token)  # before it is decoded in six ways
            hits = {hit for plain in _spellings(token) for hit in self._hits(plain)}
            for kind, whose in hits:
                if _forbidden(kind, name):
                    self._found[f"{kind} of {whose} in {name}"] = None
            if not hits and len(token) < 200:
                self._remember(token)

    def _hits(self, plain: bytes) -> Iterator[tuple[str, str]]:
        pieces = self._pieces
        plain = _unfilled(plain)
        for at in range(len(plain) - PIECE + 1):
            if plain[at : at + PIECE] in pieces:
                yield pieces[plain[at : at + PIECE]]

    def _remember(self, token: bytes) -> None:
        """A canary made later is random, so what is clean now stays clean."""
        if len(self._clean) >= _REMEMBERED:
            self._clean.clear()
        self._clean.add(token)


def _letters(count: int) -> str:
    return "".join(secrets.choice(ascii_letters + digits) for _ in range(count))


def _unfilled(plain: bytes) -> bytes:
    """Without the repetitions of a long filling, which no random piece looks like: one of them stays."""
    if len(plain) <= _LONG:
        return plain
    most = bytes([Counter(plain[:: len(plain) // 1000]).most_common(1)[0][0]])
    plain = re.sub(re.escape(most) + rb"{65,}", lambda _: most, plain)  # a known character is found far faster
    return _SAME.sub(rb"\1", plain)


def _forbidden(kind: str, name: str) -> bool:
    """Whether a canary of this kind has no business in a sink of this name."""
    if kind == "key":
        return not name.startswith("upstream")
    if kind == "text":
        return name.startswith(("log", "metrics", "file"))
    return not name.startswith("file")


def _unescaped(found: re.Match[bytes]) -> bytes:
    """What one of JSON's escapes stands for."""
    if found[1]:
        return chr(int(found[1], 16)).encode("utf-8", "surrogatepass")
    return _SHORT.get(found[2], found[2])


def _spellings(token: bytes) -> Iterator[bytes]:
    """The token, and what the runs in it say that may be hex or base64."""
    yield token
    for run in _HEX.findall(token):
        for start in (0, 1):
            yield bytes.fromhex(run[start : len(run) - (len(run) - start) % 2].decode())
    for run in _BASE64.findall(token):
        standard = run.replace(b"-", b"+").replace(b"_", b"/")
        for start in range(4):
            part = standard[start:]
            whole = part[: -1 if len(part) % 4 == 1 else None]
            yield base64.b64decode(whole + b"=" * (-len(whole) % 4))
