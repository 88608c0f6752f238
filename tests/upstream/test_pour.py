"""Pieces given to somebody as they come, from within the callback of the socket, and reading that is held meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from hashlib import sha256
from typing import Any

import pytest

from proxy.fault import FaultKind
from proxy.upstream.client import UpstreamError
from tests.support.peers import Peer, Script, whole

BOTH = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MIB = 1024 * 1024


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Steps:
    """A stream whose next piece goes out when the test says so; the last one is its end."""

    def __init__(self, *pieces: bytes, close: bool = False) -> None:
        self._pieces = pieces
        self._close = close
        self._go = asyncio.Semaphore(0)

    def go(self, count: int = 1) -> None:
        for _ in range(count):
            self._go.release()

    async def __call__(self, peer: Peer) -> None:
        while True:
            await peer.request()
            for piece in self._pieces:
                await self._go.acquire()
                await peer.send(piece)
            if self._close:
                return


class Taken:
    """A sink that keeps what it is given."""

    def __init__(self, *, enough: int = 1000) -> None:
        self.pieces: list[bytes] = []
        self._enough = enough
        self._more = asyncio.Event()

    def __call__(self, data: bytes) -> bool:
        self.pieces.append(data)
        self._more.set()
        return len(self.pieces) >= self._enough

    async def until(self, count: int) -> None:
        while len(self.pieces) < count:
            self._more.clear()
            await self._more.wait()


@BOTH
async def test_each_piece_is_given_as_it_comes(listen: Any, ask: Any, tls: bool) -> None:
    steps = Steps(HEAD, chunk(b"one"), chunk(b"two") + chunk(b"three"), b"0\r\n\r\n")
    listener = await listen(steps, tls=tls)
    for _ in range(2):
        steps.go()
        answer, taken = await ask(listener), Taken()
        pouring = asyncio.ensure_future(answer.pour(taken))
        for count in (1, 2):
            steps.go()
            await taken.until(count)
        assert not pouring.done()
        steps.go()
        await pouring
        assert taken.pieces == [b"one", b"twothree"]
        assert await answer.read() == b""
        answer.close()
    assert len(listener.peers) == 1


async def test_what_is_there_already_is_given_first(listen: Any, ask: Any) -> None:
    steps = Steps(HEAD + chunk(b"one"), chunk(b"two"), b"0\r\n\r\n")
    steps.go()
    answer, taken = await ask(await listen(steps)), Taken()
    pouring = asyncio.ensure_future(answer.pour(taken))
    await taken.until(1)
    steps.go(2)
    await pouring
    assert b"".join(taken.pieces) == b"onetwo"
    answer.close()


async def test_a_whole_answer_is_given_whole(listen: Any, ask: Any) -> None:
    steps = Steps(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    steps.go()
    answer, taken = await ask(await listen(steps)), Taken()
    await answer.pour(taken)
    await answer.pour(taken)
    assert taken.pieces == [b"ok"]
    answer.close()


async def test_nothing_is_given_once_who_pours_was_cancelled(listen: Any, ask: Any) -> None:
    """Its socket may be read in the very turn in which it is cancelled, before it can do anything about that."""
    steps = Steps(HEAD, chunk(b"one"), chunk(b"two"), b"0\r\n\r\n")
    listener = await listen(steps)
    steps.go()
    answer, taken = await ask(listener), Taken()
    pouring = asyncio.ensure_future(answer.pour(taken))
    steps.go()
    await taken.until(1)
    pouring.cancel()
    answer.arrived(b"and")  # as the wire does
    with pytest.raises(asyncio.CancelledError):
        await pouring
    assert taken.pieces == [b"one"]
    assert await answer.read() == b"and"
    answer.close()


@pytest.mark.parametrize("at_once", [True, False])
async def test_it_ends_when_the_sink_has_enough(listen: Any, ask: Any, at_once: bool) -> None:
    """What it was not given can be read, or poured to another."""
    steps = Steps(HEAD, chunk(b"one"), chunk(b"two"), chunk(b"three"), b"0\r\n\r\n")
    steps.go(2 if at_once else 1)
    answer, taken = await ask(await listen(steps)), Taken(enough=1)
    if not at_once:
        pouring = asyncio.ensure_future(answer.pour(taken))
        await asyncio.sleep(0)
        steps.go()
        await pouring
    else:
        await answer.pour(taken)
    assert taken.pieces == [b"one"]
    steps.go()
    assert await answer.read() == b"two"
    steps.go(2)
    other = Taken()
    await answer.pour(other)
    assert other.pieces == [b"three"]
    answer.close()


@pytest.mark.parametrize("number", [1, 2])
async def test_what_the_sink_raises_comes_out_of_it(listen: Any, ask: Any, number: int) -> None:
    class Full(Exception):
        """Of the sink."""

    seen = 0

    def sink(data: bytes) -> bool:
        nonlocal seen
        seen += 1
        if seen == number:
            raise Full
        return False

    steps = Steps(HEAD + chunk(b"one"), chunk(b"two"), chunk(b"three") + b"0\r\n\r\n")
    steps.go()
    answer = await ask(await listen(steps))
    pouring = asyncio.ensure_future(answer.pour(sink))
    while seen < 1:
        await asyncio.sleep(0)
    steps.go()
    with pytest.raises(Full):
        await pouring
    steps.go()
    assert (await whole(answer)).endswith(b"three")


@BOTH
async def test_a_stream_that_breaks_breaks_it(listen: Any, ask: Any, tls: bool) -> None:
    """Behind what came before."""
    steps = Steps(HEAD, chunk(b"one"), close=True)
    steps.go()
    answer, taken = await ask(await listen(steps, tls=tls)), Taken()
    pouring = asyncio.ensure_future(answer.pour(taken))
    await asyncio.sleep(0)
    steps.go()
    with pytest.raises(UpstreamError) as found:
        await pouring
    assert found.value.kind is FaultKind.INTERRUPTED
    assert taken.pieces == [b"one"]
    answer.close()


async def test_whoever_leaves_takes_the_sink_with_him(listen: Any, ask: Any) -> None:
    steps = Steps(HEAD, chunk(b"one"), chunk(b"two") + b"0\r\n\r\n")
    steps.go()
    answer, taken = await ask(await listen(steps)), Taken()
    pouring = asyncio.ensure_future(answer.pour(taken))
    steps.go()
    await taken.until(1)
    pouring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pouring
    steps.go()
    assert await whole(answer) == b"two"
    assert taken.pieces == [b"one"]


async def test_whoever_reads_on_after_one_that_left_learns_of_the_end(listen: Any, ask: Any) -> None:
    """Though that comes by itself, when he waits already."""
    steps = Steps(HEAD, chunk(b"one"), b"0\r\n\r\n")
    steps.go()
    answer, taken = await ask(await listen(steps)), Taken()
    pouring = asyncio.ensure_future(answer.pour(taken))
    steps.go()
    await taken.until(1)
    pouring.cancel()
    reading = asyncio.ensure_future(answer.read())
    await asyncio.wait({pouring})
    steps.go()
    assert await asyncio.wait_for(reading, 5) == b""


@BOTH
async def test_a_sink_may_close_what_it_is_given(listen: Any, ask: Any, tls: bool) -> None:
    """From within the callback."""
    steps = Steps(HEAD, chunk(b"one"), chunk(b"two"))
    steps.go()
    listener = await listen(steps, tls=tls)
    answer = await ask(listener)

    def sink(data: bytes) -> bool:
        answer.close()
        return True

    pouring = asyncio.ensure_future(answer.pour(sink))
    await asyncio.sleep(0)
    steps.go()
    await pouring
    await asyncio.wait_for(listener.peers[0].end(), 5)


def firehose(total: int, sent: list[int]) -> Script:
    """So many MiB as fast as they go; `sent` is how many have."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD)
        for number in range(total):
            await peer.send(chunk(bytes([number % 251]) * MIB))
            sent[0] = number + 1
        await peer.send(b"0\r\n\r\n")
        await peer.end()

    return script


async def standstill(sent: list[int]) -> int:
    """Until no more goes out; how much has."""
    before = -1
    while before != sent[0]:
        before = sent[0]
        await asyncio.sleep(0.05)
    return before


@BOTH
async def test_nobody_who_comes_for_it_means_nothing_is_read(listen: Any, ask: Any, tls: bool) -> None:
    sent = [0]
    answer = await ask(await listen(firehose(40, sent), tls=tls))
    assert await standstill(sent) < 30  # what stands in the buffers of two sockets
    assert answer._size < 128 * 1024 + 512 * 1024
    assert len(await whole(answer)) == 40 * MIB


async def test_one_that_never_pauses_leaves_others_their_turn(opened: None, ask: Any) -> None:
    """uvloop reads a socket that is full again and again before it looks at anything else."""
    loop, turn, in_turn = asyncio.get_running_loop(), 0, Counter[int]()
    listening = socket.create_server(("127.0.0.1", 0))

    def flood() -> None:
        peer, _ = listening.accept()
        with peer, contextlib.suppress(ConnectionError):
            peer.recv(65_536)
            peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                peer.sendall(b"x" * 1_000_000)

    def turns() -> None:
        nonlocal turn
        turn += 1
        if not pouring.done():
            loop.call_soon(turns)

    def sink(data: bytes) -> bool:
        for _ in range(4):
            sha256(data).digest()  # others can run meanwhile, the provider for one
        in_turn[turn] += len(data)
        return in_turn.total() > 50_000_000

    flooding = threading.Thread(target=flood)
    flooding.start()
    answer = await ask(f"http://127.0.0.1:{listening.getsockname()[1]}")
    pouring = asyncio.ensure_future(answer.pour(sink))
    turns()
    await pouring
    answer.close()
    await asyncio.to_thread(flooding.join)
    listening.close()
    assert max(in_turn.values()) <= 1 << 20
