"""Clients that leave in the very turn of the loop in which their provider says more."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

import pytest

from tests.support.speech import ANTHROPIC, outcome
from tests.support.upstream import Received, Wire

HEAD = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize("named", ["asked", "provider"], ids=["renamed", "as it came"])
async def test_what_was_counted_by_then_stays_counted(bench: Any, named: str) -> None:
    client, heard, left = socket.socket(), asyncio.Event(), asyncio.Event()

    async def script(received: Received, wire: Wire) -> None:
        opening = ANTHROPIC.opening("one", "two")
        await wire.head(200, {"content-type": "text/event-stream"})
        await wire.chunk(b"".join(opening[:-1]))
        await heard.wait()
        await wire.chunk(opening[-1])
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        left.set()
        await received.gone.wait()

    b = await bench(script, speech=ANTHROPIC, routing={"answer_model": named})
    b.left = 1
    body = json.dumps({**ANTHROPIC.body, "stream": True}).encode()
    head = HEAD.format(b.server.key) + f"content-length: {len(body)}\r\n\r\n"
    client.connect(b.server.daemon.address)
    client.sendall(head.encode() + body)
    client.setblocking(False)
    got = b""
    while b"one" not in got:
        got += await asyncio.get_running_loop().sock_recv(client, 1 << 16)
    heard.set()
    await left.wait()
    await b.p.wait_closed()
    assert await b.server.metric(outcome("alpha", "client_gone")) == 1
    assert await b.server.metric('redeo_tokens_total{connection="alpha",kind="input"}') == 3
