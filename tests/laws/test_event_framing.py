"""Server-sent events: however a stream is cut into chunks, it holds the same events and no byte but a BOM is lost.

The reader that the splitter is held against reads line by line as WHATWG HTML says ("Interpreting an event stream").
"""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.dialects.sse import EventSplitter, EventTooLarge, event_data, frame, says_nothing

BOM = b"\xef\xbb\xbf"
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
TEXT = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20).map(str.encode)
FIELD = st.sampled_from([b"data: ", b"data:", b"event: ", b"id: ", b"retry: ", b":", b": ", b"other: "])
LINES = st.lists(st.tuples(FIELD, TEXT).map(b"".join), max_size=5)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Events of any lines; the line ends are of one kind, or mixed."""
    end = draw(st.none() | ENDS)
    out = draw(st.sampled_from([b"", BOM]))
    for lines in draw(st.lists(LINES, max_size=6)):
        for line in [*lines, b""]:
            out += line + (end or draw(ENDS))
    return out + draw(st.sampled_from([b"", b"data: cut sho", b"data: no empty line\n", b"\r"]))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in chunks, cut at these places."""
    edges = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(edges)]


def split(chunks: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter = EventSplitter()
    return [event for chunk in chunks for event in splitter.feed(chunk)], splitter.rest()


def dispatched(stream: bytes) -> list[bytes]:
    """The data of every event that a browser would dispatch."""
    found: list[bytes] = []
    data: list[bytes] = []
    for line in re.split(rb"\r\n|\n|\r", stream.removeprefix(BOM))[:-1]:
        if not line and data:
            found.append(b"\n".join(data))
        if not line:
            data = []
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
    return found


@given(streams() | st.binary(max_size=300), st.lists(st.integers(0, 10_000), max_size=12))
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", list(range(30)))
@example(b"data: a\r\r\ndata: b\r\r", list(range(30)))
@example(BOM + b"data: a\n\n", list(range(30)))
@example(BOM[:2], [1])
def test_any_cut_gives_the_same_events_and_every_byte(stream: bytes, places: list[int]) -> None:
    events, rest = split(cut(stream, places))
    assert b"".join(events) + rest == stream.removeprefix(BOM)
    assert (events, rest) == split([stream] if stream else [])
    assert (events, rest) == split([bytes([byte]) for byte in stream])


@given(streams())
@example(b"data: a\n\rdata: b\n\r")
@example(b"data: a\r\n\rdata: b\r\n\r\n")
def test_the_events_are_those_of_the_specification(stream: bytes) -> None:
    # What a browser would dispatch, it dispatches when a line has ended: a lone CR at the end may yet become CRLF.
    events, rest = split([stream, b"\n"] if stream.endswith(b"\r") else [stream])
    assert [data for event in events if (data := event_data(event))] == [data for data in dispatched(stream) if data]
    assert not [data for data in dispatched(rest) if data]


@given(st.lists(TEXT.map(lambda text: b":" + text), max_size=3), ENDS)
def test_comments_say_nothing(lines: list[bytes], end: bytes) -> None:
    event = b"".join(line + end for line in [*lines, b""])
    assert says_nothing(event)
    assert event_data(event) == b""


@given(TEXT, st.none() | st.from_regex(r"[a-z._]{1,20}", fullmatch=True))
def test_a_framed_event_says_what_it_was_given(data: bytes, name: str | None) -> None:
    events, rest = split([frame(data, name)])
    assert (len(events), rest) == (1, b"")
    assert event_data(events[0]) == data
    assert says_nothing(events[0]) is (not data)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_an_event_beyond_the_cap_is_refused_and_one_at_it_is_not(size: int) -> None:
    event = b"data: " + b"x" * 92 + b"\n\n"
    for limit, fits in ((100, True), (99, False)):
        splitter = EventSplitter(limit)
        chunks = [event[at : at + size] for at in range(0, 100, size)]
        if fits:
            assert [e for chunk in chunks for e in splitter.feed(chunk)] == [event]
        else:
            with pytest.raises(EventTooLarge):
                [splitter.feed(chunk) for chunk in chunks]


def test_one_byte_at_a_time_costs_no_more_than_its_length() -> None:
    """Looking again at what was looked at already would take hours for one event of 16 MiB."""
    splitter = EventSplitter()
    event = b"data: " + b"x" * 300_000 + b"\n\n"
    assert [e for at in range(len(event)) for e in splitter.feed(event[at : at + 1])] == [event]
