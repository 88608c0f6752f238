"""A request as it goes out: what it says, and the bytes of its head (RFC 9112 section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from proxy.fault import FaultKind, Phase
from proxy.upstream.errors import UpstreamError, unaddressed

# RFC 9110 5.5: a value that holds one of these would say something else on the wire.
_CONTROL: Final = bytes(code for code in (*range(32), 127) if code != 9)
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # the others say how long theirs is, even if none


class Body(Protocol):
    """A body that is still coming."""

    @property
    def size(self) -> int | None:
        """Its bytes; None where nobody knows yet."""

    async def next(self) -> bytes:
        """More of it; empty at its end. What it raises is raised by whoever sends it."""

    def restart(self) -> bool:
        """Begin anew, so that it can be sent a second time; whether that can be done."""


Pieces = tuple[bytes | memoryview, ...]  # which make up a body, none of them empty


class Heading(msgspec.Struct):
    """What a request to one connection says beside its body. One that is said again is not written again."""

    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    lines: bytes = b""  # as they go out, once they are written

    def __repr__(self) -> str:
        return f"Heading({self.method})"  # a credential is not to be printed by accident


class UpstreamRequest(msgspec.Struct, frozen=True):
    """One request, ready to go: `connect_seconds` bounds name look-up, connection and TLS together."""

    heading: Heading
    body: bytes | Pieces | Body | None
    connect_seconds: float


def head_of(request: UpstreamRequest, prefix: str, host: str) -> bytes:
    """The head with its empty line. `prefix` is what the URL begins with before its path. Raises UpstreamError."""
    heading, body = request.heading, request.body
    lines = heading.lines
    if not lines:
        lines = heading.lines = _lines(heading, prefix, host)
    if isinstance(body, bytes):
        return b"%bContent-Length: %d\r\n\r\n" % (lines, len(body))
    if body is not None:
        size = sum(map(len, body)) if isinstance(body, tuple) else body.size
        framing = b"Transfer-Encoding: chunked" if size is None else b"Content-Length: %d" % size
        return b"%b%b\r\n\r\n" % (lines, framing)
    return lines + (b"\r\n" if heading.method in _WITHOUT_BODY else b"Content-Length: 0\r\n\r\n")


def _lines(heading: Heading, prefix: str, host: str) -> bytes:
    lines = [f"{heading.method} {_target(heading.url, prefix)} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in heading.headers]
    try:
        head = "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n"
    except UnicodeEncodeError:
        raise _unspeakable() from None
    # Between the lines is all that is allowed, a CR and an LF for each of them.
    if len(head) - len(head.translate(None, _CONTROL)) != 2 * len(lines):
        raise _unspeakable()
    return head


def _target(url: str, prefix: str) -> str:
    """The path and the query of the URL."""
    target = url[len(prefix) :]
    if not url.startswith(prefix) or " " in target:
        raise unaddressed()
    if "#" in target:
        target = target[: target.index("#")]
    if target.startswith("/"):
        return target
    if target and target[0] != "?":
        raise unaddressed()
    return "/" + target


def _unspeakable() -> UpstreamError:
    what = "the request was not sent: a header or the address holds a character that HTTP has no place for"
    return UpstreamError(FaultKind.BAD_UPSTREAM, Phase.NOT_SENT, what)
