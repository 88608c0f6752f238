"""Who waits for whom: inference, admin and health do not hold each other up, nor do slow bodies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from tests.support.daemon import Redeo
from tests.support.upstream import chat, hang

HEAD = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
HEAD += "content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
BODY = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "hi"}]}).encode()
FULL = {"max_in_flight": 1, "max_queue": 1, "queue_seconds": 0.2}


class Upload:
    """A request whose body comes as the test sends it."""

    def __init__(self, server: Redeo, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, Any]]:
        """Status and body."""
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            body = await self.reader.readexactly(length)
        return int(head.split()[1]), json.loads(body)


@asynccontextmanager
async def upload(server: Redeo, length: int) -> AsyncIterator[Upload]:
    """A request of which the head is sent."""
    reader, writer = await asyncio.open_connection(*server.daemon.address)
    try:
        one = Upload(server, reader, writer)
        await one.send(HEAD.format(key=server.key, length=length).encode())
        yield one
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_full_of_inference_model_lists_wait_too(redeo: Any, provider: Any) -> None:
    up = await provider(hang())
    server = await redeo({"alpha": up}, limits=FULL, routing={"timeouts": {"first_byte": 60}})
    running = asyncio.create_task(server.chat())
    await up.wait_requests()
    refused = await server.request("GET", "/v1/models")
    assert (refused.status, refused.json["error"]["code"]) == (503, "gateway_overloaded")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_full_of_admin_the_rest_is_answered(redeo: Any, provider: Any) -> None:
    waiting: list[asyncio.StreamWriter] = []

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting.append(writer)

    place = await asyncio.start_server(silent, "127.0.0.1", 0)
    mute = {"base_url": f"http://127.0.0.1:{place.sockets[0].getsockname()[1]}/v1"}
    server = await redeo({"mute": mute, "alpha": await provider(chat())})
    tests = [asyncio.create_task(server.request("POST", "/v1/providers/mute/test")) for _ in range(8)]
    while len(waiting) < 8:
        await asyncio.sleep(0.002)
    refused = await server.request("GET", "/v1/providers")
    assert (refused.status, refused.json["error"]["code"]) == (503, "gateway_overloaded")
    assert (await server.chat("alpha/m")).status == 200
    for path in ("/healthz", "/livez", "/readyz"):
        assert (await server.request("GET", path)).status == 200, path
    for task in tests:
        task.cancel()
    await asyncio.gather(*tests, return_exceptions=True)
    assert (await server.request("GET", "/v1/providers")).status == 200
    place.close()
    for writer in waiting:
        writer.close()


async def test_a_body_still_coming_holds_no_place(redeo: Any, provider: Any) -> None:
    server = await redeo({"alpha": await provider(chat())}, limits=FULL)
    async with upload(server, len(BODY)) as slow:
        await slow.send(BODY[:10])
        while not server.daemon.front.active:
            await asyncio.sleep(0.002)
        assert [(await server.chat()).status for _ in range(3)] == [200, 200, 200]
        await slow.send(BODY[10:])
        assert (await slow.answer())[0] == 200


async def test_a_body_that_stops_coming_is_refused(redeo: Any, provider: Any) -> None:
    up = await provider(chat())
    server = await redeo({"alpha": up}, limits={"body_idle_seconds": 0.2})
    async with upload(server, len(BODY)) as silent:
        await silent.send(BODY[:10])
        status, body = await silent.answer()
    assert (status, body["error"]["code"]) == (408, "body_timeout")
    assert body["error"]["message"] == "nothing of the body came for 0.2 s"
    assert not up.requests


async def test_a_body_that_trickles_is_refused(redeo: Any, provider: Any) -> None:
    server = await redeo({"alpha": await provider(chat())}, limits={"body_idle_seconds": 0.5})
    async with upload(server, 100_000) as slow:

        async def trickle() -> None:
            while True:
                await slow.send(b" ")
                await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        status, body = await slow.answer()
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)
    assert (status, body["error"]["code"]) == (408, "body_timeout")
    assert body["error"]["message"] == "the body came slower than 4096 bytes a second"


async def test_bodies_that_are_still_coming_fill_no_more_than_so_much(redeo: Any, provider: Any) -> None:
    limits = {"max_body_bytes": 100_000, "queue_seconds": 0.2}
    server = await redeo({"alpha": await provider(chat())}, limits=limits)
    padded = BODY[:-1] + b" " * (99_999 - len(BODY)) + b"}"
    async with upload(server, 99_999) as one, upload(server, 99_999) as two, upload(server, 99_999) as three:
        async with upload(server, 99_999) as four:
            for slow in (one, two, three, four):
                await slow.send(padded[:-1])
            async with upload(server, 99_999) as fifth:
                await fifth.send(padded[:-1])
                status, body = await fifth.answer()
            assert (status, body["error"]["code"]) == (503, "gateway_overloaded")
            assert "400000 bytes" in body["error"]["message"]
            await four.send(padded[-1:])
            assert (await four.answer())[0] == 200
        async with upload(server, 99_999) as fifth:
            await fifth.send(padded)
            assert (await fifth.answer())[0] == 200
        for slow in (one, two, three):
            await slow.send(padded[-1:])
            assert (await slow.answer())[0] == 200


async def test_who_leaves_before_the_turn_is_counted(redeo: Any, provider: Any) -> None:
    up = await provider(hang())
    limits = {**FULL, "queue_seconds": 60}
    server = await redeo({"alpha": up}, limits=limits, routing={"timeouts": {"first_byte": 60}})
    running = asyncio.create_task(server.chat())
    await up.wait_requests()
    queued = asyncio.create_task(server.chat())
    while server.daemon.front.active < 2:
        await asyncio.sleep(0.002)
    async with upload(server, 1000) as third:
        await third.send(b"{")
        while server.daemon.front.active < 3:
            await asyncio.sleep(0.002)
    queued.cancel()
    while server.daemon.front.active > 1:
        await asyncio.sleep(0.002)
    assert await server.metric('redeo_rejected_total{reason="client_gone"}') == 2
    assert len(up.requests) == 1
    running.cancel()
    await asyncio.gather(running, queued, return_exceptions=True)


async def test_at_the_deadline_those_still_coming_are_told(redeo: Any, provider: Any) -> None:
    up = await provider(hang())
    limits = {**FULL, "queue_seconds": 60, "drain_seconds": 0.3}
    server = await redeo({"alpha": up}, limits=limits, routing={"timeouts": {"first_byte": 60}})
    running = [asyncio.create_task(server.chat()) for _ in range(2)]
    async with upload(server, 1000) as third:
        await third.send(b"{")
        while server.daemon.front.active < 3:
            await asyncio.sleep(0.002)
        stopping = asyncio.create_task(server.daemon.stop())
        status, body = await third.answer()
        assert (status, body["error"]["code"]) == (503, "gateway_shutting_down")
    for got in await asyncio.gather(*running):
        assert (got.status, got.json["error"]["code"]) == (503, "gateway_shutting_down")
    await stopping
