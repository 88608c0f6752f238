"""Heads of requests that come again: a client sends the same one each time, but for the length of its body.

What follows from such a head alone is kept: that the guard lets it pass, and what of it goes on to providers. The head
itself is not, for the daemon's key stands in it: it is found by its SHA-256, so that how long that takes says nothing
of how much of a key was right.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import msgspec

from config.model import Settings
from proxy.dialects import headers as passing
from proxy.front.errors import Received

_MOST: Final = 64
_LONGEST: Final = 4096
_ONCE: Final = 1024
_LENGTH: Final = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")


class Head(msgspec.Struct, frozen=True, gc=False):
    """What is known of one: the origin of the page that it comes from, and the headers that the provider may see."""

    origin: str | None
    passing: tuple[tuple[str, str], ...]


class Heads:
    """Those that one guard has let pass. What it knew by then must not have changed: else they are forgotten."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self._once: set[bytes] = set()  # many have an id in them, and do not come again
        self._settings: Settings | None = None
        self._key = b""

    def find(self, head: bytes, settings: Settings, key: bytes) -> Head | None:
        """What is known of a head under these settings and this digest of the key."""
        if self._settings is not settings or self._key is not key:
            self._known.clear()
            self._settings, self._key = settings, key
        return self._known.get(_mark(head))

    def keep(self, head: bytes, request: Received) -> None:
        """The guard lets this request with a body pass, for the key in its head, which was not found just before."""
        if len(head) > _LONGEST or not _is_whole(head, request):
            return
        mark = _mark(head)
        if mark in self._once:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[mark] = Head(request.origin, tuple(passing.to_upstream(request.headers.items())))
            return
        if len(self._once) >= _ONCE:
            self._once.clear()
        self._once.add(mark)


def _mark(head: bytes) -> bytes:
    """What it is found by, whatever the length of its body."""
    for name in _LENGTH:
        begins = head.find(name) + len(name)
        if begins >= len(name):
            return sha256(head[:begins] + head[head.find(b"\r\n", begins) :]).digest()
    return sha256(head).digest()


def _is_whole(head: bytes, request: Received) -> bool:
    """Whether the head, as it came, is what was read of it, from its first byte to its last, and nothing else."""
    major, minor = request.version
    line = f"{request.method} {request.raw_path} HTTP/{major}.{minor}\r\n".encode("utf-8", "surrogateescape")
    return head == line + b"".join(b"%b: %b\r\n" % pair for pair in request.raw_headers) + b"\r\n"
