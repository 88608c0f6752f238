"""Streams of providers: where an event ends, what it says, and what it means."""

from __future__ import annotations

import struct
from zlib import crc32

from config.model import Operation
from fuzz.draw import Draw
from proxy.dialects import aws_events
from proxy.dialects.scan import MalformedEvent, Progress, scanner
from proxy.dialects.sse import EventSplitter, EventTooLarge, ended, event_data, says_nothing

_BOM = b"\xef\xbb\xbf"


def dispatched(stream: bytes) -> list[bytes]:
    """The data of each event that a browser would dispatch: the standard's own algorithm, a line after the other.

    A second implementation (WHATWG HTML, "Server-sent events"), byte by byte and without a pattern.
    """
    found: list[bytes] = []
    data: list[bytes] = []
    line = bytearray()
    at = len(_BOM) if stream.startswith(_BOM) else 0
    while at < len(stream):
        byte = stream[at]
        at += 1
        if byte not in b"\r\n":
            line.append(byte)
            continue
        if byte == 13 and stream[at : at + 1] == b"\n":
            at += 1
        if not line:
            if any(data) or len(data) > 1:
                found.append(b"\n".join(data))
            data = []
        elif line.startswith(b"data:"):
            value = bytes(line[5:])
            data.append(value[1:] if value[:1] == b" " else value)
        line.clear()
    return found


def sse(data: bytes) -> None:
    """Any cut gives the same events; all bytes but a BOM's come out; the events are a browser's."""
    draw = Draw(data)
    seed = draw.take(25)
    stream = draw.rest()
    pieces = Draw(seed).cut(stream)
    splitter = EventSplitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    rest = splitter.rest()
    assert b"".join(events) + rest == stream.removeprefix(_BOM)
    single = EventSplitter()
    assert [event for byte in stream for event in single.feed(bytes((byte,)))] == events
    assert single.rest() == rest
    # A lone CR at the end may yet become CRLF: a browser waits for what follows.
    whole = stream + b"\n" if stream.endswith(b"\r") else stream
    last = EventSplitter()
    assert [said for event in last.feed(whole) if (said := event_data(event))] == dispatched(whole)
    assert not dispatched(last.rest())
    for event in events:
        assert not (says_nothing(event) and event_data(event))
    end = ended(rest)
    assert end is None or end.startswith(rest)


def frames(stream: bytes) -> tuple[list[tuple[dict[str, str], bytes]], bool]:
    """The frames up to the first that is damaged, and whether one is: a second implementation."""
    found: list[tuple[dict[str, str], bytes]] = []
    while len(stream) >= 12:
        total, size, check = struct.unpack(">III", stream[:12])
        if crc32(stream[:8]) != check or total < 16 + size or total > 24 << 20:
            return found, True
        if len(stream) < total:
            break
        frame, stream = stream[:total], stream[total:]
        headers = _headers(frame[12 : 12 + size])
        if crc32(frame[:-4]) != struct.unpack(">I", frame[-4:])[0] or headers is None:
            return found, True
        found.append((headers, frame[12 + size : -4]))
    return found, False


def _headers(data: bytes) -> dict[str, str] | None:
    found = {}
    sizes = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
    while data:
        size, data = data[0], data[1:]
        if len(data) < size + 1:
            return None
        name, kind, data = data[:size], data[size], data[size + 1 :]
        if kind in (6, 7):
            if len(data) < 2:
                return None
            length, data = int.from_bytes(data[:2], "big"), data[2:]
        elif kind in sizes:
            length = sizes[kind]
        else:
            return None
        if len(data) < length:
            return None
        value, data = data[:length], data[length:]
        try:
            text = name.decode()
            if kind == 7:
                found[text] = value.decode()
        except UnicodeDecodeError:
            return None
    return found


def _split(stream: bytes, pieces: list[bytes]) -> tuple[list[tuple[dict[str, str], bytes]], bool, bool]:
    """What the daemon's own splitter makes of the pieces: frames, whether one was damaged, whether one is pending."""
    splitter = aws_events.FrameSplitter()
    found: list[tuple[dict[str, str], bytes]] = []
    try:
        for piece in pieces:
            for frame in splitter.feed(piece):
                found.append((frame.headers, frame.payload))
    except aws_events.BadFrame:
        return found, True, False
    return found, False, splitter.pending


def _made(draw: Draw) -> bytes:
    """A stream of frames, some of them good: random bytes never have the right checksum."""
    out = b""
    while draw.left and len(out) < 4000:
        way = draw.number(8)
        if way == 0:
            out += draw.line()
        elif way == 1:  # raw headers under a right checksum
            headers, payload = draw.line(), draw.line()
            start = struct.pack(">II", 16 + len(headers) + len(payload), len(headers) + draw.number(3))
            body = start + crc32(start).to_bytes(4, "big") + headers + payload
            out += body + crc32(body).to_bytes(4, "big")
        else:
            name, value = draw.text()[:100], draw.text()
            frame = aws_events.frame(draw.line(), {name: value, ":event-type": "x"})
            if way == 2:
                at = draw.number(65_536) % len(frame)
                frame = frame[:at] + bytes((frame[at] ^ 1 + draw.number(255),)) + frame[at + 1 :]
            out += frame
    return out


def amazon(data: bytes) -> None:
    """Any cut gives the same frames, which are those of a second reader; damage is named."""
    draw = Draw(data)
    seed = draw.take(25)
    stream = _made(draw)
    found, bad, pending = _split(stream, Draw(seed).cut(stream))
    assert (found, bad, pending) == _split(stream, [stream[n : n + 1] for n in range(len(stream))])
    wanted, damaged = frames(stream)
    assert found == wanted
    assert bad == damaged


def scanners(data: bytes) -> None:
    """A scanner says what an event means or that it is malformed; what it keeps has the types that it says."""
    draw = Draw(data)
    operation = draw.pick(tuple(Operation))
    follows = scanner(operation, hide_usage=bool(draw.number(2)), choices=1 + draw.number(3))
    splitter = EventSplitter(65_536)
    stream = draw.rest()
    try:
        for event in splitter.feed(stream):
            progress = follows.see(event)
            assert isinstance(progress, Progress)
            assert (progress is not Progress.ERROR) or isinstance(follows.error, dict)
            assert (progress is not Progress.TERMINAL) or follows.complete
            assert isinstance(follows.sequence, int)
            usage = follows.usage
            assert usage is None or min(usage.input, usage.output, usage.cached_input, usage.cache_write) >= 0
    except (MalformedEvent, EventTooLarge):
        return
