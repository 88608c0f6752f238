"""Where an answer begins and ends: read alike however it is cut into pieces, and never as whole where it is not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.model import Secret
from proxy.fault import FaultKind
from proxy.outbox import Outbox
from proxy.upstream import answer as answers_of
from proxy.upstream.answer import UpstreamResponse
from proxy.upstream.client import UpstreamError
from proxy.upstream.dial import Tls
from proxy.upstream.pool import Pool
from proxy.upstream.wire import Wire
from tests.support.peers import Peer, answered, whole

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def closes(raw: bytes, *, reset: bool = False) -> Any:
    """Say this to the first request, and go."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(raw)
        if reset:
            await asyncio.sleep(0.01)  # a reset discards what was not read yet
            peer.reset()

    return script


WHOLE = {
    "length": (answered(b"hello"), 200, b"hello"),
    "length 0": (answered(b""), 200, b""),
    "chunks": (CHUNKED + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", 200, b"hello"),
    "chunks with trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n", 200, b"hello"),
    "until it closes": (HEAD + b"\r\nhello", 200, b"hello"),
    "until it closes, coded as itself": (HEAD + b"Transfer-Encoding: identity\r\n\r\nhello", 200, b"hello"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", 200, b"hello"),
    "HTTP/1.0 with a length": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
    "close": (answered(b"hello", "Connection: close"), 200, b"hello"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "304 that says how long it would be": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b""),
    "100 first": (b"HTTP/1.1 100 Continue\r\n\r\n" + answered(b"hello"), 200, b"hello"),
    "103 twice": (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 2 + answered(b"hello"), 200, b"hello"),
    "lines that end in LF": (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", 200, b"hello"),
    "a blank behind a size": (CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n", 200, b"hello"),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
    "an offer to upgrade": (answered(b"hello", "Upgrade: h2c", "Connection: upgrade"), 200, b"hello"),
    "junk behind it": (answered(b"hello") + b"junk", 200, b"hello"),
    "another answer behind it": (answered(b"hello") + answered(b"other"), 200, b"hello"),
    "half of another behind it": (answered(b"hello") + b"HTTP/1.1 2", 200, b"hello"),
    "junk behind chunks": (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + b"\0" * 20, 200, b"hello"),
    "the longest line": (answered(b"hello", "X: " + "v" * 8187), 200, b"hello"),
    "the most lines": (answered(b"hello", *(f"X-{n}: v" for n in range(127))), 200, b"hello"),
}


@pytest.mark.parametrize("raw", WHOLE.values(), ids=WHOLE.keys())
async def test_what_is_whole(listen: Any, ask: Any, raw: tuple[bytes, int, bytes]) -> None:
    data, status, body = raw
    answer = await ask(await listen(closes(data)))
    assert (answer.status, await whole(answer)) == (status, body)


GARBAGE = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello",
    "101 of nothing": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "a status of its own": b"HTTP/1.1 99 Odd\r\nContent-Length: 0\r\n\r\n",
    "a length and chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "a list of lengths": HEAD + b"Content-Length: 5, 6\r\n\r\nhello",
    "less than nothing": HEAD + b"Content-Length: -1\r\n\r\n",
    "a length beyond all": HEAD + b"Content-Length: 99999999999999999999\r\n\r\n",
    "a coding that nobody asked for": HEAD + b"Transfer-Encoding: gzip\r\n\r\nhello",
    "coded behind the chunks": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "NUL": HEAD + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
    "CR": HEAD + b"X: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
    "a line too long": answered(b"hello", "X: " + "v" * 8188),
    "a name too long": answered(b"hello", "X" * 8190 + ": v"),
    "a first line too long": answered(b"hello", status="200 " + "v" * 8191),
    "a line without end": HEAD + b"X: " + b"v" * 100_000,
    "too many lines": answered(b"hello", *(f"X-{n}: v" for n in range(128))),
    "lines without end": HEAD + b"X: v\r\n" * 10_000,
    "interim answers without end": b"HTTP/1.1 103 Early Hints\r\nX: v\r\n\r\n" * 40_000,
    "100 in chunks": b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("raw", GARBAGE.values(), ids=GARBAGE.keys())
async def test_what_is_no_answer_is_refused_at_once(listen: Any, ask: Any, raw: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(raw)
        await peer.end()  # it is not the end of the connection that tells

    with pytest.raises(UpstreamError) as found:
        await ask(await listen(script))
    assert (found.value.kind, found.value.detail) == (FaultKind.BAD_UPSTREAM, "its answer is not HTTP")


CUT = {
    "before it": (b"", ""),
    "in its first line": (b"HTTP/1.1 20", ""),
    "in its head": (HEAD + b"Content-Le", ""),
    "in its length": (HEAD + b"Content-Length: 5\r\n\r\nhell", "hell"),
    "before a chunk": (CHUNKED, "-"),
    "in a chunk": (CHUNKED + b"5\r\nhell", "hell"),
    "behind a chunk": (CHUNKED + b"4\r\nhell\r\n", "hell"),
    "in the last chunk": (CHUNKED + b"4\r\nhell\r\n0\r\n", "hell"),
    "in its trailers": (CHUNKED + b"4\r\nhell\r\n0\r\nX: y\r\n", "hell"),
}


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("raw", CUT.values(), ids=CUT.keys())
async def test_what_is_cut_is_not_whole(listen: Any, ask: Any, raw: tuple[bytes, str], reset: bool) -> None:
    """What came before the cut is read all the same."""
    data, came = raw
    listener = await listen(closes(data, reset=reset))
    if not came:
        with pytest.raises(UpstreamError) as found:
            await ask(listener)
    else:
        answer = await ask(listener)
        if came != "-":
            assert await answer.read() == came.encode()
        with pytest.raises(UpstreamError) as found:
            await answer.read()
        answer.close()
    assert found.value.kind is FaultKind.INTERRUPTED


async def test_a_reset_is_not_the_end_of_what_has_no_other(listen: Any, ask: Any) -> None:
    answer = await ask(await listen(closes(HEAD + b"\r\nhello", reset=True)))
    assert await answer.read() == b"hello"
    with pytest.raises(UpstreamError):
        await answer.read()
    answer.close()


async def test_an_end_without_a_goodbye_is_an_end(listen: Any, ask: Any) -> None:
    """Not every server ends TLS as it should; what says its length is held against that, as ever."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + (b"Content-Length: 9\r\n" if peer.number else b"") + b"\r\nhello")
        sock = peer.writer.get_extra_info("socket")
        socket.socket.shutdown(sock if isinstance(sock, socket.socket) else sock._sock, socket.SHUT_WR)
        await peer.end()

    listener = await listen(script, tls=True)
    assert await whole(await ask(listener)) == b"hello"
    answer = await ask(listener)
    assert await answer.read() == b"hello"
    with pytest.raises(UpstreamError):
        await answer.read()
    answer.close()


BROKEN = {
    "a size that is none": CHUNKED + b"5\r\nhello\r\nzz\r\n",
    "more than its size": CHUNKED + b"5\r\nhello!\r\n",
    "trailers without end": CHUNKED + b"5\r\nhello\r\n0\r\nX: " + b"v" * 1_000_000,
    "many trailers": CHUNKED + b"5\r\nhello\r\n0\r\n" + b"X: v\r\n" * 200_000,
    "an extension without end": CHUNKED + b"5\r\nhello\r\n5;x=" + b"v" * 1_000_000,
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN.keys())
async def test_broken_framing_breaks_off_at_once(listen: Any, ask: Any, raw: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(raw)
        await peer.end()

    answer = await ask(await listen(script))
    assert await answer.read() == b"hello"
    with pytest.raises(UpstreamError) as found:
        await answer.read()
    assert found.value.kind is FaultKind.INTERRUPTED
    answer.close()


async def test_the_answer_to_head_has_no_body(listen: Any, ask: Any) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + b"Content-Length: 5\r\n\r\n")
        await peer.end()

    answer = await ask(await listen(script), None, method="HEAD")
    assert (answer.status, answer.header("content-length"), await whole(answer)) == (200, "5", b"")


async def test_headers_are_read_as_they_came(listen: Any, ask: Any) -> None:
    lines = b"X-Bytes: \xff\xc3\xa9 \t\r\nx-two: 1\r\nX-Two: 2\r\nX-Fold: a\r\n b\r\nX-Empty:\r\nContent-Length: 0\r\n"
    head = HEAD + lines + b"\r\n"
    answer = await ask(await listen(closes(head)))
    named = [("x-bytes", "\udcffé"), ("x-two", "1"), ("x-two", "2"), ("x-fold", "a b"), ("x-empty", "")]
    assert answer.headers == [*named, ("content-length", "0")]
    assert (answer.header("x-two"), answer.header("x-none")) == ("1", "")
    answer.close()


async def test_names_that_a_provider_makes_up_are_not_remembered(listen: Any, ask: Any) -> None:
    """What is remembered of names stays for good, so it is short."""
    answer = await ask(await listen(closes(answered(b"", *(f"{'X' * 4000}{n}: v" for n in range(100))))))
    assert len(answer.headers) == 101
    answer.close()
    assert max(map(len, answers_of._known)) <= 1024


async def test_what_stands_behind_a_body_is_no_header(listen: Any, ask: Any) -> None:
    answer = await ask(await listen(closes(CHUNKED + b"2\r\nok\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n")))
    assert await whole(answer) == b"ok"
    assert answer.headers == [("transfer-encoding", "chunked")]


async def test_a_header_that_repeats_the_key_is_not_there(listen: Any, ask: Any, canary: Any) -> None:
    key = canary("p")
    ask.secret = Secret(key)
    answer = await ask(await listen(closes(answered(b"", f"X-Echo: <{key}>", "X-Other: 1"))))
    assert [name for name, _ in answer.headers] == ["x-other", "content-length"]
    answer.close()


# --- however it is cut


class Fed:
    """`async with Fed() as fed`: a question was put over a socket, and the test says what comes from that. `pool`: one
    that others use as well."""

    def __init__(self, pool: Pool | None = None) -> None:
        self._given = pool

    async def __aenter__(self) -> Fed:
        self.pool = self._given or Pool("http://127.0.0.1:9", Tls(), Outbox(asyncio.get_running_loop()), private=True)
        self.wire = Wire(self.pool)
        ours, self._theirs = socket.socketpair()
        self.transport, _ = await asyncio.get_running_loop().create_connection(lambda: self.wire, sock=ours)
        self.answer = UpstreamResponse(self.wire, None)
        self.wire.begin(self.answer, b"GET / HTTP/1.1\r\n\r\n", None)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.answer.close()
        self._theirs.close()
        self.wire.give_up()
        await self.pool.close()
        await asyncio.sleep(0)


async def test_one_that_was_paused_at_the_end_is_read_again(opened: None, settled: Any) -> None:
    """An answer that is whole and large, in one piece: its connection is another's at once."""
    async with Fed() as fed:
        fed.wire.data_received(answered(b"x" * 200_000))
        assert fed.transport.is_reading()
        assert fed.pool.take() is fed.wire
        assert len(await whole(fed.answer)) == 200_000


async def test_what_comes_though_it_is_held_waits(opened: None, settled: Any) -> None:
    """A transport that was paused may have something left to give."""
    got: list[bytes] = []

    def sink(data: bytes) -> bool:
        got.append(data)
        return False

    async with Fed() as fed:
        fed.wire.data_received(CHUNKED)
        pouring = asyncio.ensure_future(fed.answer.pour(sink))
        await asyncio.sleep(0)
        fed.answer.hold()
        fed.wire.data_received(b"3\r\none\r\n")
        fed.wire.data_received(b"3\r\ntwo\r\n0\r\n\r\n")
        await asyncio.sleep(0)
        assert not got
        assert not pouring.done()
        fed.answer.go_on()
        await pouring
        assert got == [b"onetwo"]


async def test_answers_that_come_by_turns_do_not_mix(opened: None, settled: Any) -> None:
    """Those of one pool: what their parsers say goes through the same ear."""
    raw = CHUNKED.replace(b"\r\n\r\n", b"\r\nX-Who: %s\r\n\r\n") + b"3\r\n%s\r\n0\r\nX-Who: none\r\n\r\n"
    async with Fed() as fed, Fed(fed.pool) as other:
        for one, two in zip(raw % (b"one", b"ONE"), raw % (b"two", b"TWO"), strict=True):
            fed.wire.data_received(bytes([one]))
            other.wire.data_received(bytes([two]))
        for asked, who in ((fed, "one"), (other, "two")):
            assert asked.answer.headers == [("transfer-encoding", "chunked"), ("x-who", who)]
            assert await whole(asked.answer) == who.upper().encode()


async def test_the_head_can_be_let_go(opened: None, settled: Any) -> None:
    """Of a stream that goes on for long; its body comes as before."""
    async with Fed() as fed:
        fed.wire.data_received(CHUNKED)
        assert fed.answer.header("transfer-encoding") == "chunked"
        fed.answer.forget_head()
        assert not fed.answer.headers
        assert fed.answer.header("transfer-encoding") == ""
        fed.wire.data_received(b"2\r\nok\r\n0\r\n\r\n")
        assert await whole(fed.answer) == b"ok"


def read_in(pieces: list[bytes], *, then: str) -> tuple[object, bytes, Sequence[tuple[str, str]]]:
    """What is read when these are what comes from the socket, one after the other, and then its end."""

    async def read() -> tuple[object, bytes, Sequence[tuple[str, str]]]:
        body, end = b"", ""
        async with Fed() as fed:
            for piece in pieces:
                fed.wire.data_received(piece)
            if then == "fin":
                fed.wire.eof_received()
            try:
                await fed.answer.begun()
                while piece := await fed.answer.read():
                    body += piece
            except UpstreamError as exc:
                end = exc.kind.value
        return (end or fed.answer.status), body, fed.answer.headers

    return asyncio.run(read())


BODIES = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


@st.composite
def made(draw: st.DrawFn) -> tuple[bytes, bytes, str]:
    """An answer as bytes, its body, and how its end is told."""
    bodies = draw(BODIES)
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    interim = b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" * draw(st.integers(0, 2))
    head = interim + HEAD + b"X-A: 1\r\n" * draw(st.integers(0, 3))
    body = b"".join(bodies)
    if framing == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body, body, framing
    if framing == "close":
        return head + b"\r\n" + body, body, framing
    chunks = b"".join(b"%X\r\n%s\r\n" % (len(data), data) for data in bodies)
    ends = draw(st.sampled_from([b"0\r\n\r\n", b"0\r\nX-T: 1\r\n\r\n", b"000;e=f\r\n\r\n"]))
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + ends, body, framing


def cut_at(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


@given(made(), st.lists(st.integers(0, 10_000), max_size=12))
def test_it_is_the_same_however_it_is_cut(answer: tuple[bytes, bytes, str], places: list[int]) -> None:
    raw, body, framing = answer
    then = "fin" if framing == "close" else ""
    at_once = read_in([raw], then=then)
    assert at_once[:2] == (200, body)
    assert read_in(cut_at(raw, places), then=then) == at_once
    assert read_in([raw[n : n + 1] for n in range(len(raw))], then=then) == at_once


@given(made(), st.integers(0, 10_000))
def test_a_part_of_it_is_never_whole(answer: tuple[bytes, bytes, str], place: int) -> None:
    raw, body, framing = answer
    part = raw[: place % len(raw)]
    end, read, _ = read_in([part] if part else [], then="fin")
    assert body.startswith(read)
    if framing != "close" or raw[: len(raw) - len(body)] != part[: len(raw) - len(body)]:
        assert end == "interrupted"
