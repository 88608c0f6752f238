"""Writes that wait for the end of a turn: in order, none lost, none kept longer, whatever is written between them."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from proxy.outbox import Outbox
from tests.support.upstream import Received, Script, Wire, chat

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

    def __init__(self, answers: Script | None = None) -> None:
        self._answers = answers or chat()
        self._gate = asyncio.Event()
        self._waiting = 0

    async def __call__(self, received: Received, wire: Wire) -> None:
        self._waiting += 1
        if self._waiting == CLIENTS:
            asyncio.get_running_loop().call_soon(self._gate.set)  # for the last one at the same time
        await self._gate.wait()
        await self._answers(received, wire)


def request(server: Any, *more: str, name: str = "") -> bytes:
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": name}]}).encode()
    own = ["host: localhost", f"authorization: Bearer {server.key}", "content-type: application/json"]
    lines = ["POST /v1/chat/completions HTTP/1.1", *own, *more, f"content-length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@pytest.mark.parametrize("leaves", ["half-closes", "asks to close", "asks for more"])
async def test_everybody_gets_the_whole_answer_before_the_connection_ends(
    redeo: Any, provider: Any, leaves: str
) -> None:
    server = await redeo({"alpha": await provider(Crowd())})
    asked = request(server, *["connection: close"] * (leaves == "asks to close"))
    behind = b"GET http://x/ HTTP/1.1\r\nhost: localhost\r\n\r\n" if leaves == "asks for more" else b""

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection(*server.daemon.address)
        writer.write(asked + behind)
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


async def test_who_has_to_be_told_to_send_his_body_has_the_answer_before_that_first(redeo: Any, provider: Any) -> None:
    server = await redeo({"alpha": await provider(Crowd())})

    async def ask() -> list[bytes]:
        reader, writer = await asyncio.open_connection(*server.daemon.address)
        writer.write(request(server) + request(server, "expect: 100-continue", "connection: close"))
        got = await reader.read()
        writer.close()
        return re.findall(rb"HTTP/1.1 ([0-9]+)", got)

    for statuses in await asyncio.gather(*(ask() for _ in range(CLIENTS))):
        assert statuses == [b"200", b"100", b"200"]


@pytest.mark.parametrize("later", range(8))
async def test_who_says_that_no_more_comes_while_he_is_answered_gets_all_of_it(
    redeo: Any, provider: Any, later: int
) -> None:
    """So many turns of the loop after the provider has answered."""
    crowd, writers = Crowd(), dict[str, asyncio.StreamWriter]()

    async def script(received: Received, wire: Wire) -> None:
        await crowd(received, wire)
        await turns(later)
        writers[received.json["messages"][0]["content"]].write_eof()

    server = await redeo({"alpha": await provider(script)})

    async def ask(name: str) -> bytes:
        reader, writer = await asyncio.open_connection(*server.daemon.address)
        writers[name] = writer
        writer.write(request(server, name=name))
        got = await reader.read()
        writer.close()
        return got

    for got in await asyncio.gather(*(ask(str(number)) for number in range(CLIENTS))):
        answer = got.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n" * got.count(b"HTTP/1.1 100 "))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["choices"]


async def test_what_came_of_an_answer_that_breaks_off_goes_out_before_the_connection_ends(
    redeo: Any, provider: Any
) -> None:
    async def breaks(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "audio/mpeg"})
        await wire.send(b"5\r\nsound\r\nno chunk\r\n")
        await received.gone.wait()

    server = await redeo({"alpha": await provider(Crowd(breaks))})
    asked = {"model": "alpha/tts", "input": "hi", "voice": "a"}
    answers = await asyncio.gather(*(server.request("POST", "/v1/audio/speech", json=asked) for _ in range(CLIENTS)))
    assert {(got.status, got.body, got.broken) for got in answers} == {(200, b"sound", True)}
