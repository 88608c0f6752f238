"""At the edges of a connection's and of the daemon's life: slow heads, stopping, odd addresses, odd model lists."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from proxy import listen
from proxy.daemon import running
from proxy.front import protocol
from tests.support.daemon import Redeo
from tests.support.upstream import Received, Upstream, Wire, answer, chat

HEAD = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
HEAD += "content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"


async def connect(server: Redeo) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*server.daemon.address)


async def test_a_head_that_never_ends_is_cut_off(redeo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.2)
    reader, writer = await connect(await redeo({}))

    async def drip() -> None:
        while True:
            writer.write(b"G")
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                await reader.read()  # until it is closed
    finally:
        dripping.cancel()
        writer.close()


async def test_stopping_waits_for_a_body_that_is_still_coming(redeo: Any, provider: Any) -> None:
    server = await redeo({"alpha": await provider(chat())}, limits={"drain_seconds": 20})
    reader, writer = await connect(server)
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "hi"}]}).encode()
    writer.write(HEAD.format(key=server.key, length=len(body)).encode() + body[:10])
    await writer.drain()
    while not server.daemon.front.active:
        await asyncio.sleep(0.002)
    stopping = asyncio.create_task(server.daemon.stop())
    while not server.daemon.front.closing:
        await asyncio.sleep(0.002)
    writer.write(body[10:])
    got = await reader.read()
    assert got.startswith(b"HTTP/1.1 200")
    await stopping
    writer.close()


async def test_the_address_listened_on_is_a_good_host(tmp_path: Path) -> None:
    (tmp_path / "redeo.yaml").write_text("{}")
    async with running(config=tmp_path / "redeo.yaml", state_dir=tmp_path / "state", listen="127.0.0.2:0") as daemon:
        for host, status in ((f"127.0.0.2:{daemon.address[1]}", b"200"), ("127.0.0.3", b"421")):
            reader, writer = await asyncio.open_connection(*daemon.address)
            writer.write(f"GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
            assert (await reader.read()).split()[1] == status
            writer.close()


def test_a_socket_that_is_handed_over_obeys_the_same_rule() -> None:
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))
        listen.refuse_remote([sock], allow_remote=True)
        with pytest.raises(listen.ListenError, match="allow_remote"):
            listen.refuse_remote([sock], allow_remote=False)


async def test_odd_lists_of_models_do_not_break_ours(redeo: Any, provider: Any) -> None:
    listed = [{"id": "m-1", "object": "model", "created": 1_700_000_000_000}]
    server = await redeo({"alpha": await provider(chat(), models=listed)})
    headers = {"anthropic-version": "2023-06-01"}
    for query in ("", "?limit=" + "9" * 5000, "?limit=0", "?limit=x"):
        got = await server.request("GET", f"/v1/models{query}", headers=headers)
        assert got.status == 200, got.body


async def test_a_model_name_has_an_end(redeo: Any, provider: Any) -> None:
    up = await provider(chat())
    server = await redeo({"alpha": up})
    got = await server.chat(model="alpha/" + "m" * 300)
    assert (got.status, got.json["error"]["code"]) == (400, "invalid_model")
    assert not up.requests


async def test_what_is_refused_is_counted(redeo: Any) -> None:
    server = await redeo({})
    assert (await server.request("GET", "/nowhere")).status == 404
    assert (await server.request("PUT", "/v1/models")).status == 405
    assert (await server.request("POST", "/v1/chat/completions", json={"messages": []})).status == 400
    for reason in ("unknown_path", "method_not_allowed", "missing_model"):
        assert await server.metric(f'redeo_rejected_total{{reason="{reason}"}}') == 1, reason


async def said_at_once(server: Redeo, data: bytes) -> bytes:
    """What comes back for bytes behind which the client closes its side: all of it is there before it is looked at."""
    loop, sock = asyncio.get_running_loop(), socket.socket()
    with contextlib.closing(sock):
        sock.connect(server.daemon.address)  # the listening socket takes it by itself
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        sock.setblocking(False)
        got = bytearray()
        async with asyncio.timeout(5):
            while piece := await loop.sock_recv(sock, 1 << 16):
                got += piece
    server.canaries.add("raw answer", bytes(got))
    return bytes(got)


def asked(server: Redeo, body: bytes) -> bytes:
    head = HEAD.format(key=server.key, length=len(body)).replace("connection: close\r\n", "")
    return head.encode() + body


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
async def test_who_says_all_at_once_and_closes_his_side_is_answered(redeo: Any, provider: Any, streamed: bool) -> None:
    server = await redeo({"alpha": await provider(chat())})
    body = json.dumps({"model": "auto", "stream": streamed, "messages": []}).encode()
    got = await said_at_once(server, asked(server, body))
    assert b"HTTP/1.1 200 OK" in got
    assert got.endswith(b"0\r\n\r\n" if streamed else b"}"), got[-100:]


async def test_so_are_all_his_requests(redeo: Any, provider: Any) -> None:
    server = await redeo({"alpha": await provider(chat())})
    healthz = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    got = await said_at_once(server, asked(server, b'{"model":"auto","messages":[]}') + healthz + healthz)
    assert got.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize("cut", [0, 10, -1], ids=["nothing", "half a head", "half a body"])
async def test_who_closes_his_side_too_early_is_let_go(redeo: Any, provider: Any, cut: int) -> None:
    up = await provider(chat())
    server = await redeo({"alpha": up})
    assert b"200 OK" not in await said_at_once(server, asked(server, b'{"model":"auto","messages":[]}')[:cut])
    assert not up.requests


async def test_who_leaves_as_his_answer_is_written_is_no_failure_of_ours(
    redeo: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The provider's answer and the end of the client's connection are there in the same turn of the loop."""
    client = socket.socket()
    said = asyncio.Event()

    class Leaving(Upstream):
        async def _list(self, received: Received, wire: Wire) -> None:
            await answer({"object": "list", "data": [{"id": "m"}]})(received, wire)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            said.set()

    async with Leaving() as up:
        server = await redeo({"alpha": up})
        client.connect(server.daemon.address)
        head = HEAD.format(key=server.key, length=2).replace("/v1/chat/completions", "/v1/providers/alpha/test")
        client.sendall(head.encode() + b"{}")
        await said.wait()
        assert (await server.request("GET", "/healthz")).status == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
