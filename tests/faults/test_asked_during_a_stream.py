"""What a client sends on a connection while a stream is open there: its next requests, which wait for their turn.

What the daemon held for reading the request is let go by then.
"""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from typing import Any

import pytest

from tests.support.daemon import FAST, Redeo
from tests.support.speech import CHAT
from tests.support.upstream import Received, Wire, chat, stream

PATIENT: dict[str, Any] = {"timeouts": {**FAST, "first_byte": 30, "idle": 30, "total": 60, "before_answer": 60}}


def asked(server: Redeo, text: str, *, streamed: bool = False, chunked: bool = False, head: str = "") -> bytes:
    """A whole request, as bytes."""
    body = json.dumps({**CHAT.body, "stream": streamed, "user": text}).encode()
    length = "transfer-encoding: chunked" if chunked else f"content-length: {len(body)}"
    lines = f"POST {CHAT.path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {server.key}\r\n{head}"
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    return f"{lines}content-type: application/json\r\n{length}\r\n\r\n".encode() + framed


async def one_answer(reader: asyncio.StreamReader) -> bytes:
    """The next answer on a connection: its head and its body, chunks as they came."""
    head = await reader.readuntil(b"\r\n\r\n")
    if b"chunked" in head:
        return head + await reader.readuntil(b"\r\n0\r\n\r\n")
    size = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return head + await reader.readexactly(int(size.partition(b":")[2]))


@pytest.mark.parametrize("next_cut", ["nowhere", "in its head", "behind its head"])
@pytest.mark.parametrize("first_cut", ["nowhere", "in its head", "behind its head", "in chunks", "in the next"])
async def test_the_next_request_is_answered_after_it(redeo: Any, provider: Any, first_cut: str, next_cut: str) -> None:
    more = asyncio.Event()
    up = await provider(stream(CHAT.events("yes"), pause=(2, more)), chat("again"), chat("at last"))
    server = await redeo({"alpha": up}, routing=PATIENT)
    reader, writer = await asyncio.open_connection(*server.daemon.address)
    chunked = first_cut == "in chunks"
    first, second = asked(server, "first", streamed=True, chunked=chunked), asked(server, "second")
    third = asked(server, "third")
    cuts = {"in its head": 20, "behind its head": first.index(b"\r\n\r\n") + 4}
    cut = cuts.get(first_cut, len(first))
    early = 30 if first_cut == "in the next" else 0  # bytes of the second one that come with the first
    try:
        async with asyncio.timeout(20):
            writer.write(first[:cut])
            if cut < len(first):
                await _taken()
            writer.write(first[cut:] + second[:early])
            begun = await reader.readuntil(b"\r\n\r\n")
            assert begun.startswith(b"HTTP/1.1 200")
            begun += await reader.readuntil(b"yes")
            cut = {"in its head": early + 40, "behind its head": second.index(b"\r\n\r\n") + 4}.get(next_cut, early)
            if cut > early:
                writer.write(second[early:cut])
                await writer.drain()
                await _taken()
            writer.write(second[cut:] + third)
            await writer.drain()
            more.set()
            assert b"[DONE]" in await reader.readuntil(b"\r\n0\r\n\r\n")
            answers = [await one_answer(reader), await one_answer(reader)]
    finally:
        writer.close()
    assert [b"again" in answers[0], b"at last" in answers[1]] == [True, True]
    assert [json.loads(received.body)["user"] for received in up.requests] == ["first", "second", "third"]


async def _taken() -> None:
    """Let the daemon, which runs on the same loop, take what was sent before more comes."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_client_that_says_no_more_gets_all_of_it(redeo: Any, provider: Any) -> None:
    more = asyncio.Event()
    up = await provider(stream(CHAT.events("yes"), pause=(2, more)))
    server = await redeo({"alpha": up}, routing=PATIENT)
    reader, writer = await asyncio.open_connection(*server.daemon.address)
    try:
        async with asyncio.timeout(20):
            writer.write(asked(server, "first", streamed=True))
            await reader.readuntil(b"yes")
            writer.write_eof()
            more.set()
            assert b"[DONE]" in await reader.read()
    finally:
        writer.close()


async def test_the_head_of_a_request_is_not_held_by_its_stream(redeo: Any, provider: Any) -> None:
    """Each has 32 kB of headers that nobody needs; held they would be there several times."""
    streams, more = 10, asyncio.Event()

    async def script(received: Received, wire: Wire) -> None:
        await stream(CHAT.events("yes"), pause=(2, more))(received, wire)

    up = await provider(*[script] * (streams + 1))
    server = await redeo({"alpha": up}, routing=PATIENT)
    head = "".join(f"x-mark-{number}: {number:04000}\r\n" for number in range(8))
    opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def open_one() -> None:
        reader, writer = await asyncio.open_connection(*server.daemon.address)
        opened.append((reader, writer))
        writer.write(asked(server, "first", streamed=True, head=head))
        await reader.readuntil(b"yes")

    await open_one()  # what is loaded and learned with the first is not counted
    tracemalloc.start()
    try:
        async with asyncio.timeout(20):
            for _ in range(streams):
                await open_one()
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
            more.set()
            for reader, writer in opened:
                await reader.readuntil(b"\r\n0\r\n\r\n")
                writer.close()
    finally:
        tracemalloc.stop()
    assert held < streams * 64 * 1024
