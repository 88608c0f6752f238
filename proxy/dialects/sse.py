"""Server-sent events on raw bytes: where one ends, and what its `data` says. Nothing is altered but for a BOM.

An event ends at the first empty line (WHATWG HTML, "Server-sent events", read 2026-11): two line ends in a
row, each CR, LF or CRLF. A stream may begin with a BOM, which the official SDKs do not know: they lose the first event
over it. What an event means is for `proxy.dialects.scan`.
"""

from __future__ import annotations

import re
from typing import Final

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
_END: Final = re.compile(rb"\n\n|\n\r\n|\r\r|\n\r(?=[^\n])")
_LINE: Final = re.compile(rb"\r\n|\n|\r")
_LONGEST: Final = 3  # bytes of what ends an event
_BOM: Final = b"\xef\xbb\xbf"
_BESIDE: Final = re.compile(rb":|(?:event|id|retry)(?::|$)|data:?[ ]?$")


class EventTooLarge(Exception):
    """One event went past the cap; the stream cannot be followed any further."""


class EventSplitter:
    """Cuts a byte stream into whole events, each with its end; joined again they are the very same bytes, without the
    BOM that may stand before them."""

    __slots__ = ("_begun", "_limit", "_pieces", "_size", "_tail")

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._pieces: list[bytes] | None = None  # of the event that is not whole yet
        self._size = 0
        self._tail = b""  # its last bytes, where its end may have begun
        self._begun = False
        self._limit = limit

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes. Raises EventTooLarge."""
        if not self._begun:
            chunk = self._begin(chunk)
        if self._pieces:
            if _END.search(self._tail + chunk) is None:
                self._keep(chunk)  # joined once, when it is whole: a large one comes in thousands of pieces
                return []
        elif _is_one_event(chunk) and len(chunk) <= self._limit:
            return [chunk]  # the usual case
        return self._cut(chunk)

    def _cut(self, chunk: bytes) -> list[bytes]:
        text = b"".join([*self._pieces, chunk]) if self._pieces else chunk
        searched = max(0, self._size - len(self._tail))
        self._pieces, self._size, self._tail = None, 0, b""
        events: list[bytes] = []
        start = 0
        for end in _END.finditer(text, searched):
            self._check(end.end() - start)
            events.append(text[start : end.end()])
            start = end.end()
        if start < len(text):
            self._keep(text[start:])
        return events

    def _keep(self, piece: bytes) -> None:
        if self._pieces is None:
            self._pieces = []
        self._pieces.append(piece)
        self._size += len(piece)
        self._tail = (self._tail + piece[-_LONGEST:])[-_LONGEST:]
        self._check(self._size)

    def _begin(self, chunk: bytes) -> bytes:
        """The first bytes without a BOM; held back as long as they may be the beginning of one."""
        chunk = self.rest() + chunk
        self._pieces, self._size, self._tail = None, 0, b""
        if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
            self._keep(chunk)
            return b""
        self._begun = True
        return chunk.removeprefix(_BOM)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise EventTooLarge(f"an event of more than {self._limit} bytes")

    def rest(self) -> bytes:
        """What stands after the last whole event: at the end of the stream, an event cut short or the last
        one without its empty line."""
        return b"".join(self._pieces or ())


def _is_one_event(chunk: bytes) -> bool:
    """Whether it ends where its first event does, and LF alone ends the lines.

    To look for one LF takes a fifth of the time that two in a row take, and hardly an event has more than two lines.
    """
    end = len(chunk) - 2
    if chunk[end:] != b"\n\n" or b"\r" in chunk:
        return False
    first = chunk.find(b"\n")
    if first == end:
        return True
    second = chunk.find(b"\n", first + 1)
    if second == first + 1:
        return False
    return second == end or chunk.find(b"\n\n", second) == end


def event_data(event: bytes) -> bytes:
    """The joined `data` lines of a raw event; empty for comments and for events without data."""
    if event[-2:] == b"\n\n" and b"\r" not in event:  # the usual case: one line of data, under a name or not
        start = event.find(b"\n") + 1 if event[:6] == b"event:" else 0
        data = event[start + 6 : -2]
        if event[start : start + 6] == b"data: " and b"\n" not in data:
            return data
    lines = [line for line in _LINE.split(event) if line.startswith(b"data:")]
    return b"\n".join(line[6:] if line[5:6] == b" " else line[5:] for line in lines)


def ended(rest: bytes) -> bytes | None:
    """The last event of a stream, given the empty line without which no client would read it; None where its last
    line is cut short. `[DONE]` is taken for the end with or without that line, and stays as it came."""
    data = event_data(rest)
    if not rest.endswith((b"\n", b"\r")) or not data:
        return None
    return rest if data == b"[DONE]" else rest + (b"\r" if rest.endswith(b"\r") else b"\n")


def says_nothing(event: bytes) -> bool:
    """Whether nothing but comments and the fields beside `data` stand in the event."""
    return all(not line or _BESIDE.match(line) for line in _LINE.split(event))


def frame(data: bytes, name: str | None = None) -> bytes:
    """One event that says `data` (a single line), under `name` if there is one."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + data + b"\n\n"
