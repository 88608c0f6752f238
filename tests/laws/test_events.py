"""Streams: any split of the bytes gives the same events, and the same progress, for every dialect."""

from __future__ import annotations

import contextlib
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.model import Operation
from proxy.dialects import sse
from proxy.dialects.scan import MalformedEvent, Progress, scanner
from tests.support.upstream import chat_events, message_events, response_events

ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@st.composite
def streams(draw: Any) -> bytes:
    """Events with one kind of line end each, comments and odd fields between them."""
    out = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    for _ in range(draw(st.integers(0, 6))):
        end = draw(ENDS)
        lines = draw(
            st.lists(
                st.one_of(
                    st.sampled_from(
                        [b"data: x", b"data:", b": ping", b"event: e", b"id: 1", b"retry: 5", b"data: \xc3\xa9"]
                    ),
                    st.binary(min_size=1, max_size=8).filter(lambda b: b"\n" not in b and b"\r" not in b),
                ),
                min_size=1,
                max_size=3,
            )
        )
        out += end.join(lines) + end + end
    return out + draw(st.sampled_from([b"", b"data: half", b"data: half\n"]))


def split(data: bytes, at: list[int]) -> list[bytes]:
    cuts = sorted({0, len(data), *(n % (len(data) + 1) for n in at)})
    return [data[a:b] for a, b in pairwise(cuts)]


@given(streams(), st.lists(st.integers(0, 400), max_size=12))
def test_events_joined_are_the_bytes_at_any_split(data: bytes, at: list[int]) -> None:
    splitter = sse.EventSplitter()
    events = [event for piece in split(data, at) for event in splitter.feed(piece)]
    assert b"".join(events) + splitter.rest() == data.removeprefix(b"\xef\xbb\xbf")


@given(streams(), st.lists(st.integers(0, 400), max_size=12))
def test_what_the_events_say_does_not_depend_on_the_split(data: bytes, at: list[int]) -> None:
    whole, cut = sse.EventSplitter(), sse.EventSplitter()
    once = [sse.event_data(event) for event in whole.feed(data)]
    pieces = [sse.event_data(event) for piece in split(data, at) for event in cut.feed(piece)]
    assert [d for d in once if d] == [d for d in pieces if d]


@pytest.mark.parametrize(
    ("operation", "events"),
    [
        (Operation.CHAT, chat_events("a", "b", usage=True)),
        (Operation.MESSAGES, message_events("a", "b")),
        (Operation.RESPONSES, response_events("a", "b")),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_progress_and_usage_are_seen_whatever_the_line_ends(
    operation: Operation, events: list[bytes], end: bytes
) -> None:
    for size in (1, 2, 3, 7, 100_000):
        seen = scanner(operation)
        splitter = sse.EventSplitter()
        data = b"".join(events).replace(b"\n", end)
        progress = [
            seen.see(event) for at in range(0, len(data), size) for event in splitter.feed(data[at : at + size])
        ]
        assert progress[0] is Progress.LIFECYCLE
        assert progress.count(Progress.TERMINAL) == 1
        assert progress.count(Progress.CONTENT) >= 2
        assert seen.complete
        assert seen.usage is not None
        assert (seen.usage.input, seen.usage.output) == (3, 5)


@pytest.mark.parametrize(
    ("operation", "events"),
    [
        (Operation.CHAT, chat_events("a", "b")),
        (Operation.MESSAGES, message_events("a", "b")),
        (Operation.RESPONSES, response_events("a", "b")),
    ],
)
def test_no_beginning_of_a_stream_counts_as_whole(operation: Operation, events: list[bytes]) -> None:
    """Cut after any event before the one that says how it ended, the stream is not complete."""
    last = {Operation.CHAT: 2, Operation.MESSAGES: 2, Operation.RESPONSES: 1}[operation]
    for count in range(len(events) - last + 1):
        seen = scanner(operation)
        for event in events[:count]:
            seen.see(event)
        assert not seen.complete


@given(st.binary(max_size=100))
def test_any_event_is_understood_or_malformed(data: bytes) -> None:
    for operation in (Operation.CHAT, Operation.RESPONSES, Operation.MESSAGES, Operation.AUDIO):
        with contextlib.suppress(MalformedEvent):
            assert isinstance(scanner(operation).see(b"data: " + data + b"\n\n"), Progress)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda i: (
            st.lists(i, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "choices",
                        "delta",
                        "usage",
                        "error",
                        "type",
                        "response",
                        "message",
                        "content_block",
                        "index",
                        "prompt_tokens_details",
                        "finish_reason",
                    ]
                ),
                i,
                max_size=4,
            )
        ),
        max_leaves=10,
    )
)
def test_any_json_is_understood_or_malformed(value: Any) -> None:
    for operation in (Operation.CHAT, Operation.RESPONSES, Operation.MESSAGES, Operation.AUDIO):
        with contextlib.suppress(MalformedEvent):
            assert isinstance(scanner(operation).see(b"data: " + json.dumps(value).encode() + b"\n\n"), Progress)


@pytest.mark.parametrize("end", [chat_events("a")[-1], b"data: {}\n\n", b": hello\n\n"])
def test_a_byte_order_mark_is_one_at_the_beginning_alone(end: bytes) -> None:
    """Found by fuzzing: behind it no client reads the line, so what it says is not said."""
    seen, (first, *_) = scanner(Operation.CHAT), chat_events("a")
    seen.see(first)
    with pytest.raises(MalformedEvent):
        seen.see(b"\xef\xbb\xbf" + end)
    assert not seen.complete


def test_an_event_beyond_the_cap_is_told() -> None:
    splitter = sse.EventSplitter(limit=1000)
    splitter.feed(b"data: " + b"x" * 900)
    with pytest.raises(sse.EventTooLarge):
        splitter.feed(b"x" * 100)
