"""However the network slices an answer: the same bytes arrive. And events too large for any answer end it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.support.speech import CHAT, RESPONSES, SPEECHES, Speech, parse
from tests.support.upstream import Received, Script, Wire, stream

MIB = 1024 * 1024
TEXTS = ("plain", "grüße", "日本語のテキスト", "👩‍👩‍👧‍👦 and \u2028 more", 'quotes " and \\ and \r\n')


def sliced(body: bytes, sizes: Any, framing: str = "chunked") -> Script:
    """The body in pieces of these sizes, each a write of its own."""

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream; charset=utf-8"}, framing=framing)
        at = 0
        while at < len(body):
            size = next(sizes)
            await (wire.chunk if framing == "chunked" else wire.send)(body[at : at + size])
            at += size
        await wire.end() if framing == "chunked" else wire.close()

    return script


def raw(speech: Speech, *texts: str) -> bytes:
    """A whole stream whose texts are not escaped."""
    spoken = b"".join(speech.events(*texts)).decode()
    return "".join(
        line if not line.startswith("data: {") else f"data: {json.dumps(json.loads(line[6:]), ensure_ascii=False)}\n"
        for line in spoken.splitlines(keepends=True)
    ).encode()


def _mixed(body: bytes, seed: int) -> bytes:
    """The same with each line end any of the three; CR and LF in a row would be one, so no CR stands before an LF."""
    dice = random.Random(seed)
    mixed = bytearray()
    for line in body.split(b"\n")[:-1]:
        ends = [b"\r\n", b"\r"] if not line and mixed.endswith(b"\r") else [b"\n", b"\r\n", b"\r"]
        mixed += line + dice.choice(ends)
    return bytes(mixed)


LINE_ENDS = {
    "lf": lambda body: body,
    "crlf": lambda body: body.replace(b"\n", b"\r\n"),
    "cr": lambda body: body.replace(b"\n", b"\r"),
    "lf-cr": lambda body: body.replace(b"\n\n", b"\n\r"),
    "bom": lambda body: b"\xef\xbb\xbf" + body,
    "mix 1": lambda body: _mixed(body, 1),
    "mix 2": lambda body: _mixed(body, 2),
    "mix 3": lambda body: _mixed(body, 3),
    "no space": lambda body: body.replace(b"data: ", b"data:"),
    "blank lines": lambda body: b"\n\n" + body.replace(b"\n\n", b"\n\n\n"),
    "comments and fields": lambda body: b": hello\n\nretry: 100\n\nid: 7\n\n" + body.replace(b"data:", b"id: 1\ndata:"),
}


def one() -> Any:
    while True:
        yield 1


@pytest.mark.parametrize("ends", LINE_ENDS)
@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_the_same_bytes_in_any_slices(bench: Any, speech: Speech, ends: str, framing: str) -> None:
    body = LINE_ENDS[ends](raw(speech, *TEXTS))
    dice = random.Random(7)

    def some() -> Any:
        while True:
            yield dice.choice([1, 2, 3, 17, 100, 1000])

    b = await bench(sliced(body, one(), framing), speech=speech)
    b.p.scripts += [sliced(body, some(), framing), sliced(body, iter([len(body)]), framing)]
    for _ in range(3):
        got = await b.ask(stream=True)
        if not body.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")) or ends == "blank lines":
            assert parse(got.body) == parse(body)  # line ends behind the terminator need not pass
        else:
            assert got.body == body
    assert len(b.p.requests) == 3


def big(speech: Speech, size: int) -> list[bytes]:
    """A stream with one event of about this size between others."""
    return speech.events("before", "x" * size, "after")


@pytest.mark.parametrize("size", [4 * MIB, 15 * MIB])
async def test_a_large_event_passes(bench: Any, speech: Speech, size: int) -> None:
    b = await bench(stream(big(speech, size)), speech=speech)
    got = await b.ask(stream=True)
    assert got.body == b"".join(big(speech, size))


def _large_first(speech: Speech) -> list[bytes]:
    events = speech.events("x" * (17 * MIB))
    return [*events[: len(speech.opening())], *events[len(speech.opening()) :]]


async def test_an_event_too_large_before_any_content_falls_back(bench: Any, speech: Speech) -> None:
    b = await bench(stream(_large_first(speech)), speech.good(), speech=speech)
    got = await b.ask(stream=True)
    assert got.attempts == "alpha=too_large beta=200"
    assert got.body == b"".join(speech.events("yes"))


async def test_an_event_too_large_after_content_ends_the_stream(bench: Any, speech: Speech) -> None:
    b = await bench(stream(big(speech, 17 * MIB)), speech.good(), speech=speech)
    got = await b.ask(stream=True)
    before = b"".join(speech.opening("before"))
    assert got.body.startswith(before)
    assert len(got.body) < len(before) + 2000
    assert speech.endings(got.body) == (0, 1)
    assert speech.error_of(got.body[len(before) :])["code"] == "event_too_large"
    assert not b.s.requests


async def test_a_line_without_end_is_cut_at_the_cap(bench: Any, speech: Speech) -> None:
    async def endless(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        await wire.chunk(b"data: ")
        while not received.gone.is_set():
            await wire.chunk(b"x" * 262144)

    b = await bench(endless, speech.good(), speech=speech)
    assert (await b.ask(stream=True)).attempts == "alpha=too_large beta=200"


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
