"""Heads of requests that come again: a client sends the same one each time, but for the length of its body.

What follows from such a head alone is kept: how it reads, that the guard lets it pass, and what of it goes on to
providers; of credentials only those that the guard asks for. It is found by its SHA-256, so that how long that takes
says nothing of how much of a key was right.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import msgspec
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.dialects import headers as passing

_MOST: Final = 64
_LONGEST: Final = 4096
_ONCE: Final = 1024
_LENGTH: Final = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
_DIGITS: Final = 15
_NOT_KEPT: Final = ("Content-Length", "Cookie", "Proxy-Authorization")  # the last two are nobody's business here


class Head(msgspec.Struct, frozen=True, gc=False):
    """What is known of one: how it reads but for the length, under what the guard let it pass, the origin of the page
    that it comes from, and the headers that the provider may see."""

    message: Any  # aiohttp's
    under: object
    origin: str | None
    passing: tuple[tuple[str, str], ...]


class Heads:
    """Those that one guard has let pass."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self._once: set[bytes] = set()  # many have an id in them, and do not come again

    def find(self, head: bytes) -> tuple[Head | None, int]:
        """What is known of the head of a request, and the length of its body."""
        begins, ends = _length(head)
        length = head[begins:ends]
        if not length.isdigit() or ends - begins > _DIGITS or len(head) > _LONGEST:
            return None, 0
        return self._known.get(_mark(head, begins, ends)), int(length)

    def keep(self, head: bytes, request: web.Request, origin: str | None, under: object) -> None:
        """The guard lets this request with a body pass, for the key in its head, and for what `under` stands for."""
        begins, ends = _length(head)
        if begins == ends or len(head) > _LONGEST:
            return
        mark = _mark(head, begins, ends)
        if mark not in self._once:
            if len(self._once) >= _ONCE:
                self._once.clear()
            self._once.add(mark)
            return
        if not _is_whole(head, request):
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        headers = tuple(passing.to_upstream(request.headers.items()))
        self._known[mark] = Head(_to_keep(request), under, origin, headers)

    def forget(self) -> None:
        """They may not pass any more."""
        self._known.clear()


def _length(head: bytes) -> tuple[int, int]:
    """Where the length of the body stands in a head; its end twice where it does not."""
    for name in _LENGTH:
        begins = head.find(name) + len(name)
        if begins >= len(name):
            return begins, head.find(b"\r\n", begins)
    return len(head), len(head)


def _mark(head: bytes, begins: int, ends: int) -> bytes:
    """What it is found by, whatever the length of its body, which stands there."""
    return sha256(head[:begins] + head[ends:]).digest()


def _is_whole(head: bytes, request: web.Request) -> bool:
    """Whether the head, as it came, is what was read of it, from its first byte to its last, and nothing else."""
    major, minor = request.version
    line = f"{request.method} {request.raw_path} HTTP/{major}.{minor}\r\n".encode("utf-8", "surrogateescape")
    return head == line + b"".join(b"%b: %b\r\n" % pair for pair in request.raw_headers) + b"\r\n"


def _to_keep(request: web.Request) -> Any:
    """The head of a request as aiohttp reads it, for bodies of any length."""
    headers = CIMultiDict(request.headers)
    for name in _NOT_KEPT:
        headers.popall(name, None)
    return request._message._replace(headers=CIMultiDictProxy(headers), raw_headers=())
