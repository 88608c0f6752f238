"""How a request goes out: what its head says, large bodies, those still to come, and answers that come early."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from proxy.fault import FaultKind, Phase
from proxy.upstream.client import UpstreamError
from tests.support.peers import Peer, answered, answers, whole

BOTH = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
MIB = 1024 * 1024
BODY = bytes(range(256)) * 4096 * 5  # 5 MiB


class Coming:
    """A body in pieces; `held` before the last, `fails` behind it."""

    def __init__(self, *pieces: bytes, sized: bool, fails: Exception | None = None) -> None:
        self.size = sum(map(len, pieces)) if sized else None
        self._pieces = list(pieces)
        self._fails = fails
        self.held = asyncio.Event()
        self.held.set()
        self.left = False

    async def next(self) -> bytes:
        try:
            if len(self._pieces) <= 1:
                await self.held.wait()
        except asyncio.CancelledError:
            self.left = True
            raise
        if not self._pieces and self._fails is not None:
            raise self._fails
        return self._pieces.pop(0) if self._pieces else b""

    def restart(self) -> bool:
        return False


async def echoes(peer: Peer) -> None:
    """Answer with the head and the size of what came."""
    while True:
        head, body = await peer.request()
        await peer.send(answered(head + (body if len(body) < 1000 else b"%d" % hash(body))))


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [("GET", None, None), ("POST", None, "0"), ("DELETE", None, "0"), ("POST", b"", "0"), ("POST", b"abc", "3")],
)
async def test_a_head_says_what_it_must_and_no_more(
    listen: Any, ask: Any, method: str, body: bytes | None, length: str | None
) -> None:
    listener = await listen(echoes)
    headers = [("Content-Type", "a/b"), ("X-Two", "1"), ("x-two", "2"), ("x-bytes", "é\udcff")]
    said = await whole(await ask(listener, body, method=method, headers=headers, path="/v1/x?a=%20&b#part"))
    lines = [b"%s /v1/x?a=%%20&b HTTP/1.1" % method.encode(), b"Host: 127.0.0.1:%d" % listener.port]
    lines += [b"Content-Type: a/b", b"X-Two: 1", b"x-two: 2", b"x-bytes: \xc3\xa9\xff"]
    lines += [b"Content-Length: " + length.encode()] if length is not None else []
    assert said == b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


@pytest.mark.parametrize(
    "header", [("x", "q!\r\nb: c"), ("x\n", "q!"), ("x", "q!\0"), ("x", "q!\x7f"), ("x", "q!\ud800")]
)
async def test_what_would_split_a_request_is_not_sent(listen: Any, ask: Any, header: tuple[str, str]) -> None:
    """And not told, for it may be a secret."""
    listener = await listen(answers())
    with pytest.raises(UpstreamError) as found:
        await ask(listener, headers=[header])
    assert found.value.phase is Phase.NOT_SENT
    assert "q!" not in found.value.detail
    assert not listener.peers


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "5/x", "@127.0.0.2/x"])
async def test_what_is_no_address_is_not_asked(listen: Any, ask: Any, path: str) -> None:
    listener = await listen(answers())
    with pytest.raises(UpstreamError) as found:
        await ask(listener, path=path)
    assert found.value.phase is Phase.NOT_SENT
    assert not listener.peers


@pytest.mark.parametrize("base", ["http://", "http://[::1", "http://127.0.0.1:99999", "ftp://127.0.0.1", "http://.a"])
async def test_what_is_no_base_url_is_not_asked(ask: Any, base: str) -> None:
    with pytest.raises(UpstreamError) as found:
        await ask(base)
    assert (found.value.kind, found.value.detail) == (FaultKind.CONNECT, "its address is not a URL")


async def test_the_host_is_told_without_its_usual_port(ask: Any) -> None:
    for base, host in (
        ("http://a.example", "a.example"),
        ("https://A.example:443/v1", "a.example"),
        ("https://a.example.:80", "a.example:80"),
        ("http://[::1]:8080", "[::1]:8080"),
    ):
        assert ask.client._found(ask.connection(base))[0].host == host


@BOTH
@pytest.mark.parametrize("size", [1, 32 * 1024, 32 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, MIB + 1])
async def test_a_body_arrives_whatever_its_size(listen: Any, ask: Any, size: int, tls: bool) -> None:
    listener = await listen(echoes, tls=tls)
    for _ in range(2):
        said = await whole(await ask(listener, BODY[:size]))
        assert said.endswith(BODY[:size] if size < 1000 else b"%d" % hash(BODY[:size]))
    assert len(listener.peers) == 1


def waiting(ask: Any) -> int:
    """What the transports of the client have in their buffers."""
    wires = [wire for pool in ask.client._pools.values() for wire in pool._all if wire._transport is not None]
    return sum(wire._transport.get_write_buffer_size() for wire in wires)


@BOTH
async def test_a_large_body_is_not_put_into_the_buffer_of_the_transport(listen: Any, ask: Any, tls: bool) -> None:
    most, begun = 0, asyncio.Event()

    async def slow(peer: Peer) -> None:
        nonlocal most
        head = await peer.head()
        begun.set()
        left = 4 * len(BODY)
        while left:
            most = max(most, waiting(ask))
            left -= len(await peer.reader.read(65536))
        await peer.send(answered(head))

    answer = await ask(await listen(slow, tls=tls), BODY * 4)
    assert b"Content-Length: %d\r\n" % (4 * len(BODY)) in await whole(answer)
    assert 0 < most <= 257 * 1024  # TLS puts some bytes around each of its records


@BOTH
async def test_a_refusal_that_comes_early_is_read_at_once(listen: Any, ask: Any, tls: bool) -> None:
    """What is left of the request goes to nobody, and its connection is not used again."""

    async def refuses(peer: Peer) -> None:
        await peer.head()
        await peer.send(answered(b"too large", status="413 Content Too Large"))
        await peer.end()

    listener = await listen(refuses, answers(), tls=tls)
    answer = await ask(listener, BODY * 4)
    assert (answer.status, await whole(answer)) == (413, b"too large")
    await listener.peers[0].gone.wait()
    assert await whole(await ask(listener)) == b"1"


async def test_behind_a_refusal_no_more_is_sent(listen: Any, ask: Any) -> None:
    got = 0

    async def refuses(peer: Peer) -> None:
        nonlocal got
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Content Too Large\r\nTransfer-Encoding: chunked\r\n\r\n")
        await known.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):  # no more comes, so this ends it
                while data := await peer.reader.read(65536):
                    got += len(data)
        await peer.send(b"2\r\nno\r\n0\r\n\r\n")
        await peer.end()

    known = asyncio.Event()
    answer = await ask(await listen(refuses), BODY * 8)
    known.set()
    assert (answer.status, await whole(answer)) == (413, b"no")
    assert got < 8 * len(BODY)


@BOTH
async def test_an_answer_that_begins_early_gets_the_rest_of_its_question(listen: Any, ask: Any, tls: bool) -> None:
    async def answers_while_it_listens(peer: Peer) -> None:
        head = await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        rest = await peer.body(head)
        await peer.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(b"%d" % hash(rest)), b"%d" % hash(rest)))
        await peer.end()

    answer = await ask(await listen(answers_while_it_listens, tls=tls), BODY)
    assert await whole(answer) == b"ok%d" % hash(BODY)


async def test_an_answer_that_ends_early_spoils_its_connection(listen: Any, ask: Any) -> None:
    async def hasty(peer: Peer) -> None:
        await peer.head()
        await peer.send(answered(b"ok"))
        await peer.end()

    listener = await listen(hasty)
    assert await whole(await ask(listener, BODY * 4)) == b"ok"
    await listener.peers[0].gone.wait()


@BOTH
async def test_whoever_leaves_while_it_is_sent_leaves_nothing_behind(listen: Any, ask: Any, tls: bool) -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.head()
        begun.set()
        await gone.wait()
        assert len(await peer.end()) < 20 * len(BODY)

    listener = await listen(slow, tls=tls)
    asking = asyncio.ensure_future(ask(listener, BODY * 20))
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    gone.set()
    await listener.peers[0].gone.wait()


# --- a body that is still coming


@BOTH
@pytest.mark.parametrize("sized", [True, False], ids=["sized", "chunked"])
async def test_a_body_is_sent_as_it_comes(listen: Any, ask: Any, sized: bool, tls: bool) -> None:
    pieces = [b"a", b"bc", BODY, b"d" * 300_000]
    listener = await listen(echoes, tls=tls)
    for _ in range(2):
        said = await whole(await ask(listener, Coming(*pieces, sized=sized)))
        assert said.endswith(b"%d" % hash(b"".join(pieces)))
        assert (b"Transfer-Encoding: chunked" in said) is not sized
        assert (b"Content-Length: %d" % sum(map(len, pieces)) in said) is sized
    assert len(listener.peers) == 1


@pytest.mark.parametrize("sized", [True, False], ids=["sized", "chunked"])
async def test_a_body_of_nothing(listen: Any, ask: Any, sized: bool) -> None:
    said = await whole(await ask(await listen(echoes), Coming(sized=sized)))
    assert said.endswith(b"\r\n\r\n")
    assert (b"Content-Length: 0" in said) is sized


@BOTH
async def test_what_its_source_raises_is_raised_and_the_request_is_not_ended(listen: Any, ask: Any, tls: bool) -> None:
    class Lost(Exception):
        """By the source."""

    ended = asyncio.Event()

    async def script(peer: Peer) -> None:
        head = await peer.head()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await peer.body(head)
        ended.set()

    for sized in (True, False):
        ended.clear()
        body = Coming(b"abc", sized=sized, fails=Lost())
        body.size = 5 if sized else None
        with pytest.raises(Lost):
            await ask(await listen(script, tls=tls), body, again=True)
        await ended.wait()


@pytest.mark.parametrize("said", [2, 4])
async def test_a_body_of_another_size_than_was_said_is_not_passed_on(listen: Any, ask: Any, said: int) -> None:
    body = Coming(b"ab", b"c", sized=True)
    body.size = said
    listener = await listen(answers())
    with pytest.raises(ValueError, match="than was said"):
        await ask(listener, body)
    await listener.peers[0].gone.wait()


@BOTH
async def test_its_source_is_left_when_a_refusal_comes(listen: Any, ask: Any, tls: bool) -> None:
    async def refuses(peer: Peer) -> None:
        await peer.head()
        await peer.reader.readexactly(6)  # the first chunk
        await peer.send(answered(b"no", status="401 Unauthorized"))
        await peer.end()

    body = Coming(b"a", b"b", sized=False)
    body.held.clear()
    listener = await listen(refuses, tls=tls)
    answer = await ask(listener, body)
    assert (answer.status, await whole(answer)) == (401, b"no")
    await listener.peers[0].gone.wait()
    assert body.left


async def test_its_source_is_left_when_the_answer_is_whole(listen: Any, ask: Any) -> None:
    """And the connection with it: the rest of the question might be taken for another."""

    async def hasty(peer: Peer) -> None:
        await peer.head()
        await peer.send(answered(b"ok"))
        await peer.end()

    body = Coming(b"a", b"b", sized=False)
    body.held.clear()
    listener = await listen(hasty, answers())
    assert await whole(await ask(listener, body)) == b"ok"
    await listener.peers[0].gone.wait()
    assert body.left
    assert await whole(await ask(listener)) == b"1"


async def test_its_source_is_left_when_whoever_asks_leaves(listen: Any, ask: Any) -> None:
    begun = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        begun.set()
        await peer.end()

    body = Coming(b"a", b"b", sized=False)
    body.held.clear()
    asking = asyncio.ensure_future(ask(await listen(script), body))
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0)
    assert body.left


async def test_it_is_asked_for_no_faster_than_it_goes(listen: Any, ask: Any) -> None:
    """A source that could give all at once is not emptied into memory."""
    asked = most = 0

    class Endless:
        size = 64 * MIB

        async def next(self) -> bytes:
            nonlocal asked
            asked += 1
            return BODY[:MIB] if asked <= 64 else b""

    async def slow(peer: Peer) -> None:
        nonlocal most
        await peer.head()
        for number in range(64):
            await peer.reader.readexactly(MIB)
            most = max(most, asked - number)
        await peer.send(answered(b"ok"))
        await peer.end()

    assert await whole(await ask(await listen(slow), Endless())) == b"ok"
    assert most < 40  # what stands in the buffers of two sockets


@BOTH
@pytest.mark.parametrize(
    "cuts",
    [(0, 0), (3, 5), (len(BODY) - 2, len(BODY)), (MIB, MIB + 1), (40_000, 80_000)],
    ids=["one", "name at the beginning", "name at the end", "name in the middle", "no small piece"],
)
async def test_a_body_in_pieces_is_sent_as_one(listen: Any, ask: Any, cuts: tuple[int, int], tls: bool) -> None:
    view = memoryview(BODY)
    pieces = tuple(piece for piece in (view[: cuts[0]], BODY[slice(*cuts)], view[cuts[1] :]) if piece)
    listener = await listen(echoes, tls=tls)
    for _ in range(2):
        said = await whole(await ask(listener, pieces))
        assert said.endswith(b"\r\nContent-Length: %d\r\n\r\n%d" % (len(BODY), hash(BODY)))
    assert len(listener.peers) == 1


async def test_pieces_are_put_again_over_a_fresh_connection(listen: Any, ask: Any) -> None:
    async def leaves(peer: Peer) -> None:
        await peer.request()
        await peer.send(answered(b"ok"))
        await peer.head()

    listener = await listen(leaves, echoes)
    assert await whole(await ask(listener)) == b"ok"
    said = await whole(await ask(listener, (b"ab", memoryview(BODY)[:MIB]), again=True))
    assert said.endswith(b"%d" % hash(b"ab" + BODY[:MIB]))
    assert len(listener.peers) == 2


async def test_what_was_begun_to_be_read_is_not_put_again(listen: Any, ask: Any) -> None:
    async def leaves(peer: Peer) -> None:
        await peer.request()
        await peer.send(answered(b"ok"))
        await peer.head()

    listener = await listen(leaves, answers())
    assert await whole(await ask(listener)) == b"ok"
    with pytest.raises(UpstreamError):
        await ask(listener, Coming(b"a", b"b", sized=True), again=True)
    assert len(listener.peers) == 1
