"""What no row of the fault matrix has of a stream's bytes: events without data, and what is no event."""

from __future__ import annotations

from typing import Any

import pytest

from tests.matrix.rows_bytes import LINE_ENDS, SLICES, TEXTS, raw, sliced
from tests.support.speech import CHAT, RESPONSES, SPEECHES, Speech, parse
from tests.support.upstream import stream


async def test_events_of_other_fields_pass_as_they_came(bench: Any, speech: Speech) -> None:
    """No row of the matrix, for OpenAI's SDK cannot read them, from the provider itself neither."""
    body = b": hello\n\nretry: 100\n\nid: 7\n\n" + raw(speech, *TEXTS).replace(b"data:", b"id: 1\ndata:")
    scripts = [sliced(body, sizes(), "text/event-stream") for sizes in SLICES.values()]
    b = await bench(scripts[0], speech=speech)
    b.p.scripts += scripts[1:]
    for _ in scripts:
        assert (await b.ask(stream=True)).body == body


async def test_an_event_may_come_without_data(bench: Any) -> None:
    events = [b": note\nid: 3\n\n", *CHAT.opening("a"), b": note\nevent: keepalive\n\n", *CHAT.events()[-2:]]
    b = await bench(stream(events), CHAT.good())
    got = await b.ask(stream=True)
    assert got.attempts == "alpha=200"
    assert got.body == b"".join(events)


@pytest.mark.parametrize(
    "junk",
    [b"data: not json\n\n", b'data: {"choices": [{"delta": {"content": "x"}}\n\n', b"data: [1, 2]\n\n", b"hello\n\n"],
)
async def test_what_is_no_event_ends_the_stream(bench: Any, speech: Speech, junk: bytes) -> None:
    events = speech.opening("one")
    b = await bench(stream([*events, junk, *speech.events("one")[len(events) :]]), speech.good(), speech=speech)
    got = await b.ask(stream=True)
    assert got.body.startswith(b"".join(events))
    assert junk not in got.body
    assert speech.endings(got.body) == (0, 1)
    assert not b.s.requests


def test_the_reader_of_these_tests_knows_the_format() -> None:
    for speech in SPEECHES:
        plain = b"".join(speech.events("one"))
        for change in LINE_ENDS.values():
            assert [data for _, data in parse(change(plain))[0]] == [data for _, data in parse(plain)[0]]
    assert parse(b"data: a")[1] == "data: a"
    assert parse(b"data: a\n")[1]
    assert parse(b"data: a\ndata: b\r\n\r\n") == ([("", "a\nb")], "")
    assert RESPONSES.endings(b"".join(RESPONSES.events("x"))) == (1, 0)
