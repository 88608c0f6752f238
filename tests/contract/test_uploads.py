"""Large forms are passed on while they come in: what falls back, who is blamed for what, and what is never held."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.daemon import Redeo
from tests.support.peers import Listener, Peer, answered

KIB, MIB = 1024, 1024 * 1024
MARK = "--------------------------form"
TEXT = answered(b'{"text":"spoken"}', "Content-Type: application/json")
FILE = answered(b'{"id":"file-1","object":"file"}', "Content-Type: application/json")
PATIENT = {"timeouts": {"first_byte": 20, "before_answer": 30}}
Serve = Callable[[Peer, bytes], Awaitable[Any]]


def form(size: int, model: str = "auto", *, model_first: bool = True) -> bytes:
    """A form with a model and a file of that size."""
    named = f'--{MARK}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n'.encode()
    head = f'--{MARK}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'.encode()
    content = (bytes(range(256)) * (size // 256 + 1))[:size] + b"\r\n"
    parts = (named, head, content) if model_first else (head, content, named)
    return b"".join(parts) + f"--{MARK}--\r\n".encode()


@dataclass
class Upload:
    """A request whose body goes out as the test sends it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, str, dict[str, Any]]:
        """Status, head and body."""
        async with asyncio.timeout(20):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            body = await self.reader.readexactly(length)
        return int(head.split()[1]), head.decode().lower(), json.loads(body)


@asynccontextmanager
async def upload(server: Redeo, length: int | None, path: str = "/v1/audio/transcriptions") -> AsyncIterator[Upload]:
    """One of which the head is sent."""
    reader, writer = await asyncio.open_connection(*server.daemon.address)
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    one = Upload(reader, writer)
    lines = [f"POST {path} HTTP/1.1", "host: localhost", f"authorization: Bearer {server.key}", framing]
    await one.send("\r\n".join([*lines, f"content-type: multipart/form-data; boundary={MARK}", "", ""]).encode())
    try:
        yield one
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


class Provider(Listener):
    """`serve` answers what is posted; `begun` once a post has come, `bodies` are those that came whole."""

    def __init__(self, serve: Serve) -> None:
        super().__init__([self._script])
        self._serve = serve
        self.begun = asyncio.Event()
        self.posts: list[Peer] = []
        self.bodies: list[bytes] = []

    async def _script(self, peer: Peer) -> None:
        while head := await peer.head():
            if head.startswith(b"GET"):
                await peer.send(answered(b"{}", "Content-Type: application/json", status="404 No"))
                continue
            self.posts.append(peer)
            self.begun.set()
            await self._serve(peer, head)

    def says(self, raw: bytes) -> Provider:
        """One that reads all of the body, and answers so."""

        async def serve(peer: Peer, head: bytes) -> None:
            self.bodies.append(await peer.body(head))
            await peer.send(raw)

        self._serve = serve
        return self


@pytest.fixture
async def place(settled: Any) -> AsyncIterator[Any]:
    """`await place(raw answer or a script of a posted head)`: a provider, and its entry in redeo.yaml."""
    started: list[tuple[Provider, asyncio.Server]] = []

    async def start(said: bytes | Serve) -> tuple[Provider, dict[str, Any]]:
        provider = Provider(said if not isinstance(said, bytes) else _never)
        if isinstance(said, bytes):
            provider.says(said)
        server = await asyncio.start_server(provider.serve, "127.0.0.1", 0, limit=1 << 26)
        provider.port = server.sockets[0].getsockname()[1]
        started.append((provider, server))
        return provider, {"base_url": f"http://127.0.0.1:{provider.port}/v1"}

    yield start
    for provider, server in started:
        server.close()
        await provider.stop()


async def _never(_: Peer, __: bytes) -> None:
    raise AssertionError


def refusing(status: str) -> bytes:
    return answered(b'{"error":{"message":"no"}}', "Content-Type: application/json", status=status)


async def closed(peer: Peer) -> None:
    """Until the daemon has closed the connection."""
    async with asyncio.timeout(10):
        await peer.gone.wait()


@pytest.mark.parametrize(
    ("path", "said"), [("/v1/audio/transcriptions", TEXT), ("/v1/images/edits", TEXT), ("/v1/files", FILE)]
)
async def test_it_is_passed_on_while_it_comes_in(redeo: Any, place: Any, path: str, said: bytes) -> None:
    body, came = form(2 * MIB, "alpha/whisper"), asyncio.Event()
    renamed = body.replace(b"alpha/whisper", b"whisper")
    whole: list[bytes] = []

    async def reads(peer: Peer, head: bytes) -> None:
        assert b"content-length: %d\r\n" % len(renamed) in head.lower()
        beginning = await peer.reader.readexactly(300 * KIB)
        came.set()
        whole.append(beginning + await peer.reader.readexactly(len(renamed) - len(beginning)))
        await peer.send(said)

    _, entry = await place(reads)
    server = await redeo({"alpha": entry})
    async with upload(server, len(body), path) as one:
        await one.send(body[: 400 * KIB])
        async with asyncio.timeout(10):
            await came.wait()
        await one.send(body[400 * KIB :])
        assert (await one.answer())[0] == 200
        assert whole == [renamed]


async def test_a_file_needs_no_model(redeo: Any, place: Any) -> None:
    body, came = form(2 * MIB).partition(b"auto\r\n")[2], asyncio.Event()
    whole: list[bytes] = []

    async def reads(peer: Peer, head: bytes) -> None:
        came.set()
        whole.append(await peer.body(head))
        await peer.send(FILE)

    _, entry = await place(reads)
    server = await redeo({"alpha": entry})
    async with upload(server, len(body), "/v1/files") as one:
        await one.send(body[:MIB])
        async with asyncio.timeout(10):
            await came.wait()
        await one.send(body[MIB:])
        assert (await one.answer())[2]["id"] == "file-1"
    assert whole == [body]


@pytest.mark.parametrize("case", ["model behind the file", "chunked", "few places"])
async def test_else_it_is_read_whole_first(redeo: Any, place: Any, case: str) -> None:
    body = form(2 * MIB, model_first=case != "model behind the file")
    provider, entry = await place(TEXT)
    server = await redeo({"alpha": entry}, limits={"max_in_flight": 3 if case == "few places" else 256})
    async with upload(server, None if case == "chunked" else len(body)) as one:
        sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if case == "chunked" else body
        await one.send(sent[:-20])
        assert (await server.request("GET", "/v1/providers")).status == 200
        assert not provider.begun.is_set()
        await one.send(sent[-20:])
        assert (await one.answer())[0] == 200
    assert provider.bodies == [body.replace(b"auto", b"alpha-model")]


@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("/v1/audio/transcriptions", refusing("500 Broken")),
        ("/v1/audio/transcriptions", refusing("429 Slow down")),
        ("/v1/files", refusing("401 Who")),
        ("/v1/files", None),
    ],
)
async def test_what_is_kept_falls_back(redeo: Any, place: Any, path: str, first: bytes | None) -> None:
    body = form(3 * MIB)
    provider, entry = await place(first or b"")
    second, other = await place(TEXT)
    if first is None:
        entry = {"base_url": "http://127.0.0.1:9/v1"}
    server = await redeo({"alpha": entry, "beta": other})
    async with upload(server, len(body), path) as one:
        await one.send(body)
        status, head, _ = await one.answer()
    assert status == 200
    assert "beta=200" in head
    assert provider.bodies == ([body.replace(b"auto", b"alpha-model")] if first else [])
    assert second.bodies == [body.replace(b"auto", b"beta-model")]


async def test_a_refusal_in_the_middle_falls_back_with_what_is_still_to_come(redeo: Any, place: Any) -> None:
    body = form(3 * MIB)

    async def refuses(peer: Peer, head: bytes) -> None:
        await peer.reader.readexactly(300 * KIB)
        await peer.send(refusing("401 Who"))

    _, entry = await place(refuses)
    second, other = await place(TEXT)
    server = await redeo({"alpha": entry, "beta": other})
    async with upload(server, len(body)) as one:
        await one.send(body[:MIB])
        async with asyncio.timeout(10):
            await second.begun.wait()
        await one.send(body[MIB:])
        assert (await one.answer())[0] == 200
    assert second.bodies == [body.replace(b"auto", b"beta-model")]


async def test_what_is_too_large_to_be_kept_does_not_and_that_is_said(redeo: Any, place: Any) -> None:
    body = form(17 * MIB)
    provider, entry = await place(refusing("503 Busy"))
    second, other = await place(TEXT)
    server = await redeo({"alpha": entry, "beta": other}, routing=PATIENT)
    async with upload(server, len(body)) as one:
        await one.send(body)
        status, head, said = await one.answer()
        assert (status, said["error"]["code"]) == (503, "upload_not_kept")
        assert "x-should-retry: true" in head
        assert "retry-after: 1" in head
        assert "alpha" in said["error"]["message"]
        assert (len(provider.bodies), second.bodies) == (1, [])
    provider.says(refusing("429 Slow down"))
    server = await redeo({"alpha": entry}, routing=PATIENT)
    async with upload(server, len(body)) as one:  # nobody else is there: what is said is why
        await one.send(body)
        status, head, said = await one.answer()
    assert (status, said["error"]["code"]) == (429, "rate_limit_exceeded")


async def test_a_refusal_is_heard_at_once(redeo: Any, place: Any) -> None:
    async def refuses(peer: Peer, head: bytes) -> None:
        await peer.send(refusing("413 Too much"))

    first, entry = await place(refuses)
    second, other = await place(TEXT)
    server = await redeo({"alpha": entry, "beta": other})
    body = form(40 * MIB)
    async with upload(server, len(body)) as one:
        await one.send(body[:MIB])
        status, _, _ = await one.answer()
    assert status == 413
    await closed(first.posts[0])
    assert not second.posts


async def test_a_second_model_behind_the_file_is_refused(redeo: Any, place: Any) -> None:
    async def reads(peer: Peer, head: bytes) -> None:
        await peer.reader.read()

    first, entry = await place(reads)
    second, other = await place(TEXT)
    server = await redeo({"alpha": entry, "beta": other})
    one_model, two = form(2 * MIB), form(MIB, "alpha/other", model_first=False)
    body = one_model.removesuffix(f"--{MARK}--\r\n".encode()) + two
    async with upload(server, len(body)) as one:
        await one.send(body)
        status, _, said = await one.answer()
    assert (status, said["error"]["code"]) == (400, "duplicate_model")
    await closed(first.posts[0])
    assert not second.posts


async def test_a_client_that_breaks_off_is_nobody_elses_fault(redeo: Any, place: Any) -> None:
    async def reads(peer: Peer, head: bytes) -> None:
        if b"chat" in head:
            await peer.send(answered(b'{"choices":[{"message":{}}]}', "Content-Type: application/json"))
        await peer.reader.read()

    first, entry = await place(reads)
    second, other = await place(TEXT)
    server = await redeo({"alpha": entry, "beta": other})
    body = form(2 * MIB)
    for number in range(6):  # five in a row would open the breaker
        async with upload(server, len(body)) as one:
            await one.send(body[:MIB])
            while len(first.posts) <= number:
                first.begun.clear()
                await first.begun.wait()
        await closed(first.posts[number])
    got = await server.chat()
    assert (got.status, got.attempts) == (200, "alpha=200")
    assert not second.posts
    assert await server.metric('redeo_breaker_state{connection="alpha"}') == 0


async def test_a_client_that_stalls_is_told_and_nobody_else_blamed(redeo: Any, place: Any) -> None:
    async def reads(peer: Peer, head: bytes) -> None:
        await peer.reader.read()

    first, entry = await place(reads)
    second, other = await place(TEXT)
    server = await redeo({"alpha": entry, "beta": other}, limits={"body_idle_seconds": 0.3})
    body = form(2 * MIB)
    for number in range(6):
        async with upload(server, len(body)) as one:
            await one.send(body[:MIB])
            status, _, said = await one.answer()
        assert (status, said["error"]["code"]) == (408, "body_timeout")
        assert said["error"]["message"] == "nothing of the body came for 0.3 s"
        await closed(first.posts[number])
    assert len(first.posts) == 6
    assert not second.posts


async def test_the_clients_time_is_not_the_providers(redeo: Any, place: Any) -> None:
    first, entry = await place(TEXT)
    server = await redeo({"alpha": entry}, routing={"timeouts": {"first_byte": 0.3, "before_answer": 5}})
    body = form(2 * MIB)
    async with upload(server, len(body)) as one:
        await one.send(body[:MIB])
        await first.begun.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(first.posts[0].gone.wait(), 0.7)
        await one.send(body[MIB:])
        status, head, _ = await one.answer()
    assert status == 200
    assert "alpha=200" in head


async def test_nor_is_it_of_those_who_are_asked_next(redeo: Any, place: Any) -> None:
    first, entry = await place(refusing("503 Busy"))
    _, other = await place(TEXT)
    timeouts = {"first_byte": 0.3, "before_answer": 0.5}
    server = await redeo({"alpha": entry, "beta": other}, routing={"timeouts": timeouts})
    body = form(2 * MIB)
    async with upload(server, len(body)) as one:
        await one.send(body[:MIB])
        await first.begun.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(first.posts[0].gone.wait(), 0.7)
        await one.send(body[MIB:])
        status, head, _ = await one.answer()
    assert status == 200
    assert "alpha=503 beta=200" in head


async def test_the_providers_time_is_its_own(redeo: Any, place: Any) -> None:
    async def silent(peer: Peer, head: bytes) -> None:
        await peer.body(head)
        await peer.end()

    _, entry = await place(silent)
    _, other = await place(TEXT)
    server = await redeo({"alpha": entry, "beta": other}, routing={"timeouts": {"first_byte": 0.3, "before_answer": 5}})
    body = form(2 * MIB)
    async with upload(server, len(body)) as one:
        await one.send(body)
        status, head, _ = await one.answer()
    assert status == 200
    assert "alpha=timeout beta=200" in head


async def test_at_the_end_of_the_drain_it_is_told(redeo: Any, place: Any) -> None:
    async def reads(peer: Peer, head: bytes) -> None:
        await peer.reader.read()

    first, entry = await place(reads)
    server = await redeo({"alpha": entry}, limits={"drain_seconds": 0.3})
    body = form(2 * MIB)
    async with upload(server, len(body)) as one:
        await one.send(body[:MIB])
        await first.begun.wait()
        stopping = asyncio.create_task(server.daemon.stop())
        status, _, said = await one.answer()
        assert (status, said["error"]["code"]) == (503, "gateway_shutting_down")
    await closed(first.posts[0])
    await stopping


async def test_few_at_a_time_so_that_others_have_their_places(redeo: Any, place: Any) -> None:
    async def reads(peer: Peer, head: bytes) -> None:
        if b"chat" in head:
            await peer.body(head)
            await peer.send(answered(b'{"choices":[{"message":{}}]}', "Content-Type: application/json"))
        else:
            await peer.body(head)
            await peer.send(TEXT)

    first, entry = await place(reads)
    server = await redeo({"alpha": entry}, limits={"max_in_flight": 4, "max_queue": 1, "queue_seconds": 0.2})
    body = form(2 * MIB)
    async with upload(server, len(body)) as one, upload(server, len(body)) as two, upload(server, len(body)) as three:
        await one.send(body[:MIB])
        await first.begun.wait()
        for other in (two, three):
            await other.send(body[:MIB])
        assert [(await server.chat()).status for _ in range(3)] == [200, 200, 200]
        for each in (one, two, three):
            await each.send(body[MIB:])
            assert (await each.answer())[0] == 200


async def test_uploads_at_once_fill_little(redeo: Any, place: Any) -> None:
    async def discards(peer: Peer, head: bytes) -> None:
        left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while left:
            left -= len(await peer.reader.read(min(left, 256 * KIB)))
        await peer.send(TEXT)

    _, entry = await place(discards)
    server = await redeo({"alpha": entry}, routing=PATIENT)
    body = form(20 * MIB)

    async def one() -> int:
        async with upload(server, len(body)) as sent:
            for start in range(0, len(body), 128 * KIB):
                await sent.send(body[start : start + 128 * KIB])
            return (await sent.answer())[0]

    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    statuses = await asyncio.gather(*(one() for _ in range(4)))
    most = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert statuses == [200] * 4
    assert most < 40 * MIB  # of 80, whatever the sockets on both sides hold included
