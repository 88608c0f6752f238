"""Writes that wait for the end of a turn: in order, none lost, none kept longer, whatever is written between them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from proxy.outbox import Outbox
from tests.support.upstream import Received, Wire, chat

LOOPS: list[Any] = [asyncio.new_event_loop, uvloop.new_event_loop]
AHEAD = 16  # writes that follow one without company


def on(loop: Callable[[], asyncio.AbstractEventLoop], body: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(body)


@asynccontextmanager
async def pairs(number: int) -> AsyncIterator[list[tuple[asyncio.Transport, socket.socket]]]:
    """Transports, each with what is at its other end."""
    made: list[tuple[asyncio.Transport, socket.socket]] = []
    for _ in range(number):
        ours, theirs = socket.socketpair()
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        theirs.setblocking(False)
        made.append((transport, theirs))
    try:
        yield made
    finally:
        for transport, theirs in made:
            transport.abort()
            theirs.close()


def there(theirs: socket.socket) -> bytes:
    """What has come by now."""
    try:
        return theirs.recv(1 << 20)
    except BlockingIOError:
        return b""


async def turns(number: int = 2) -> None:
    """Let the loop come round."""
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_is_written_in_one_turn_goes_out_at_its_end(loop: Any) -> None:
    async def body() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        async with pairs(2) as ((first, at_first), (second, at_second)):
            for data in (b"a", b"b"):
                outbox.write(first, data)
                outbox.write(second, data * 2)
            assert (there(at_first), there(at_second)) == (b"", b"")
            await turns()
            assert (there(at_first), there(at_second)) == (b"ab", b"aabb")

    on(loop, body())


@pytest.mark.parametrize("loop", LOOPS)
def test_what_had_no_company_teaches_not_to_wait(loop: Any) -> None:
    async def body() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        async with pairs(1) as ((transport, theirs),):
            outbox.write(transport, b"alone")
            await turns()
            assert there(theirs) == b"alone"
            for _ in range(AHEAD):
                outbox.write(transport, b"now")
                assert there(theirs) == b"now"
            outbox.write(transport, b"later")
            assert there(theirs) == b""
            await turns()
            assert there(theirs) == b"later"

    on(loop, body())


@pytest.mark.parametrize("loop", LOOPS)
def test_who_has_left_keeps_nobody_from_his_answer(loop: Any) -> None:
    async def body() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        async with pairs(3) as ((first, at_first), (gone, _), (last, at_last)):
            for transport in (first, gone, last):
                outbox.write(transport, b"x")
            gone.abort()
            await turns()
            assert (there(at_first), there(at_last)) == (b"x", b"x")

    on(loop, body())


asked = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 2), st.sampled_from([1, 10, 16 * 1024, 16 * 1024 + 1, 40_000])),
    st.tuples(st.sampled_from(["flush", "turn"]), st.just(0), st.just(0)),
    st.tuples(st.just("past"), st.integers(0, 2), st.just(5)),
)


@given(st.lists(asked, max_size=150))
def test_each_gets_all_of_his_in_order(steps: list[tuple[str, int, int]]) -> None:
    async def body() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        async with pairs(3) as made:
            wanted, got = [b"", b"", b""], [b"", b"", b""]

            def look() -> None:
                for n, (_, theirs) in enumerate(made):
                    while more := there(theirs):
                        got[n] += more

            for number, (what, which, size) in enumerate(steps):
                data = (b"%d " % number * size)[:size]
                if what in ("flush", "past"):
                    outbox.flush()
                    look()
                    assert got == wanted
                if what == "turn":
                    await turns()
                elif what != "flush":
                    write = made[which][0].write if what == "past" else lambda d, t=made[which][0]: outbox.write(t, d)
                    write(data)
                    wanted[which] += data
                look()
            await turns()
            look()
            assert got == wanted

    on(uvloop.new_event_loop, body())


def test_a_crowd_is_not_kept_to_the_end_of_the_turn() -> None:
    async def body() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        async with pairs(1) as ((transport, theirs),):
            for _ in range(64):
                outbox.write(transport, b"x")
            assert there(theirs) == b"x" * 64

    on(uvloop.new_event_loop, body())


CLIENTS = 40


class Crowd:
    """A provider that answers all of them at once."""

    def __init__(self) -> None:
        self._gate = asyncio.Event()
        self._waiting = 0

    async def __call__(self, received: Received, wire: Wire) -> None:
        self._waiting += 1
        if self._waiting == CLIENTS:
            self._gate.set()
        await self._gate.wait()
        await chat()(received, wire)


@pytest.mark.parametrize("leaves", ["half-closes", "asks to close", "asks for more"])
async def test_everybody_gets_the_whole_answer_before_the_connection_ends(
    redeo: Any, provider: Any, leaves: str
) -> None:
    server = await redeo({"alpha": await provider(Crowd())})
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}).encode()
    close = "connection: close\r\n" if leaves == "asks to close" else ""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {server.key}\r\n{close}"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    behind = b"GET http://x/ HTTP/1.1\r\nhost: localhost\r\n\r\n" if leaves == "asks for more" else b""

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection(*server.daemon.address)
        writer.write(head.encode() + body + behind)
        if leaves == "half-closes":
            writer.write_eof()
        got = await reader.read()
        writer.close()
        return got

    for got in await asyncio.gather(*(ask() for _ in range(CLIENTS))):
        answers = [part for part in got.split(b"HTTP/1.1 ") if part and not part.startswith(b"100")]
        statuses = [part[:3] for part in answers]
        assert statuses == [b"200", b"400"][: 1 + bool(behind)]
        text, _, whole = answers[0].partition(b"\r\n\r\n")
        size = int(next(line for line in text.lower().split(b"\r\n") if line.startswith(b"content-length:"))[15:])
        assert len(whole) == size
        assert json.loads(whole)["choices"]
