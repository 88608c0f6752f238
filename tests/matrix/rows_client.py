"""Rows 32 to 35: the client leaves, in every phase of its request; reads slowly or not at all; half-closes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.matrix.framework import ONE, Case, Row
from tests.support.daemon import Redeo
from tests.support.speech import Bench
from tests.support.upstream import Received, Script, Upstream, Wire, chat_body, hang
from tests.support.visitor import Visitor

WAITING = Row(
    32, "the client closes while it waits", "in every phase the provider sees the close; nobody else is tried"
)
LEAVING = Row(33, "the client closes in the middle of a stream", "the provider sees the close; no failure of it")
SLOW = Row(
    34, "the client reads slowly or stops", "at most 1 MiB is kept, the provider waits; cut after 120 s of nothing"
)
HALF = Row(35, "the client closes its side alone", "the full answer")

WITHIN: Final = 0.5  # seconds; the specification says 50 ms, measured on a machine that does nothing else
PATIENT: Final = {"timeouts": {"connect": 9, "first_byte": 9, "idle": 9, "total": 9, "before_answer": 60}}
HOW: Final = ("fin", "rst")
took: list[tuple[str, float]] = []  # (phase, seconds) of every client that left


async def until(true: Callable[[], Any]) -> float:
    """Until it is so; when, by the loop's clock."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)
    return asyncio.get_running_loop().time()


async def visit(case: Case, server: Redeo, *, buffer: int | None = None, **fields: Any) -> Visitor:
    """A client that has asked, in the dialect and form of the case."""
    path, body = case.speech.asked(stream=case.streamed, **{**case.prompt(), **fields})
    return await Visitor.ask(server, path, body, buffer=buffer)


async def leaves(case: Case, server: Redeo, visitor: Visitor, how: str, gone: Callable[[], Any]) -> None:
    """It leaves: what waited for it ends at once, and it is counted as gone."""
    began = asyncio.get_running_loop().time()
    visitor.leave(how)
    seconds = await until(lambda: gone() and not server.daemon.front.active) - began
    took.append((f"{case.cell.name}", seconds))
    assert seconds < WITHIN
    assert await case.state(server) == "closed"


async def counted(bench: Bench) -> None:
    """One request whose client was gone, one attempt that its client left."""
    bench.left = 1
    assert await bench.metric_sum("redeo_requests_total", 'status="client_gone"') == 1
    assert await bench.metric_sum("redeo_attempts_total", 'connection="alpha"', 'result="client_gone"') == 1
    if len(bench.ups) > 1:
        assert not bench.s.requests


# --- while it waits


@WAITING.case(dialects=ONE, each=HOW)
async def in_the_queue(case: Case, how: str) -> None:
    up = await case.provider(hang())
    limits = {"max_in_flight": 1, "queue_seconds": 30}
    server = await case.redeo({"alpha": case.speech.entry(up)}, routing=PATIENT, limits=limits)
    first, second = await visit(case, server), None
    await up.wait_requests()
    second = await visit(case, server)
    await until(lambda: server.daemon.front.active == 2)
    began = asyncio.get_running_loop().time()
    second.leave(how)
    took.append((case.cell.name, await until(lambda: server.daemon.front.active == 1) - began))
    assert took[-1][1] < WITHIN
    assert len(up.requests) == 1
    assert await server.metric('redeo_rejected_total{reason="client_gone"}') == 1
    first.leave()
    await up.wait_closed()


@WAITING.case(dialects=ONE, stream=False, each=HOW)
async def while_its_body_comes(case: Case, how: str) -> None:
    up = await case.provider(hang())
    server = await case.redeo({"alpha": case.speech.entry(up)}, routing=PATIENT)
    visitor = await Visitor.connect(server)
    whole = Visitor.request(server, "POST", case.speech.path, json.dumps(case.speech.body).encode())
    await visitor.send(whole[:-5])
    await until(lambda: server.daemon.front.active)
    await leaves(case, server, visitor, how, lambda: True)
    assert not up.requests
    assert await server.metric('redeo_rejected_total{reason="client_gone"}') == 1


@dataclass
class Mute:
    """A listener that takes connections and says nothing."""

    sock: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    taken: list[asyncio.StreamWriter] = field(default_factory=list)
    gone: int = 0
    server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        return int(self.sock.getsockname()[1])

    async def start(self) -> Mute:
        self.server = await asyncio.start_server(self._take, sock=self.sock)
        return self

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken.append(writer)
        try:
            while await reader.read(65_536):
                pass
        except ConnectionError:
            pass
        self.gone += 1
        writer.close()

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        await until(lambda: self.gone == len(self.taken))


@WAITING.case(dialects=ONE, each=HOW)
async def while_model_lists_are_fetched(case: Case, how: str) -> None:
    mute = await Mute().start()
    server = await case.redeo({"alpha": case.speech.entry(f"http://127.0.0.1:{mute.port}/v1")}, routing=PATIENT)
    visitor = await visit(case, server, model="some-model")
    await until(lambda: mute.taken)
    await leaves(case, server, visitor, how, lambda: True)
    assert len(mute.taken) == 1, "the list alone, which serves others too, is still asked for"
    assert await server.metric('redeo_requests_total{operation="chat",status="client_gone"}') == 1
    assert "redeo_attempts_total{" not in await server.metrics()
    await server.daemon.lists.close()
    await mute.stop()


KEY: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


@WAITING.case(dialects=ONE, each=HOW)
async def while_an_access_token_is_fetched(case: Case, how: str) -> None:
    tokens, up = await case.provider(hang()), await case.provider(case.good)
    account = {"type": "service_account", "project_id": "p", "private_key_id": "1", "client_email": "a@p.example"}
    account |= {"private_key": KEY.decode(), "token_uri": f"http://127.0.0.1:{tokens.port}/token"}
    base = f"http://127.0.0.1:{up.port}/v1/projects/p/locations/global"
    server = await case.redeo({"vertex": {"base_url": base}}, connect=False, routing=PATIENT)
    added = {"provider": "vertex", "api_key": json.dumps(account)}
    assert (await server.request("POST", "/v1/providers", json=added)).status == 201
    visitor = await visit(case, server, model="vertex/gemini-x")
    await tokens.wait_requests()
    began = asyncio.get_running_loop().time()
    visitor.leave(how)
    took.append((case.cell.name, await tokens.wait_closed() - began))
    assert took[-1][1] < WITHIN
    await until(lambda: not server.daemon.front.active)
    assert not up.requests
    assert await server.metric('redeo_attempts_total{connection="vertex",result="client_gone"}') == 1
    assert await case.state(server, "vertex") == "closed"


@WAITING.case(dialects=ONE, each=HOW)
async def while_connecting(case: Case, how: str) -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):  # more than the backlog takes: whoever comes now gets no answer to its SYN
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        bench = await case.bench(f"http://127.0.0.1:{full.getsockname()[1]}/v1", case.good, routing=PATIENT)
        visitor = await visit(case, bench.server)
        await until(lambda: bench.server.daemon.front.engine.running)
        await leaves(case, bench.server, visitor, how, lambda: True)
        await counted(bench)


@WAITING.case(dialects=ONE, each=HOW)
async def during_the_tls_handshake(case: Case, how: str) -> None:
    mute = await Mute().start()
    bench = await case.bench(f"https://127.0.0.1:{mute.port}/v1", case.good, routing=PATIENT)
    visitor = await visit(case, bench.server)
    await until(lambda: mute.taken)
    await leaves(case, bench.server, visitor, how, lambda: mute.gone)
    await counted(bench)
    await mute.stop()


async def left_at_the_provider(case: Case, script: Script, how: str, reached: Callable[[Upstream], Any]) -> None:
    """The client leaves while the provider is at that point: it sees the close, and nobody else is tried."""
    bench = await case.bench(script, case.good, routing=PATIENT)
    visitor = await visit(case, bench.server)
    await bench.p.wait_requests()
    await until(lambda: reached(bench.p))
    await leaves(case, bench.server, visitor, how, bench.p.requests[0].gone.is_set)
    await counted(bench)


@WAITING.case(each=HOW)
async def waiting_for_the_head(case: Case, how: str) -> None:
    await left_at_the_provider(case, hang(), how, lambda up: up.requests)


@WAITING.case(dialects=ONE, each=HOW)
async def while_an_error_is_read(case: Case, how: str) -> None:
    said = asyncio.Event()

    async def half(received: Received, wire: Wire) -> None:
        await wire.head(500, {"content-type": "application/json", "content-length": "100"}, framing="length")
        await wire.send(b'{"error": ')
        said.set()
        await received.gone.wait()

    await left_at_the_provider(case, half, how, lambda _: said.is_set())


@WAITING.case(dialects=ONE, stream=False, each=HOW)
async def while_a_whole_answer_is_read(case: Case, how: str) -> None:
    said = asyncio.Event()

    async def half(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "application/json"})
        await wire.chunk(json.dumps(case.speech.whole).encode()[:20])
        said.set()
        await received.gone.wait()

    await left_at_the_provider(case, half, how, lambda _: said.is_set())


@WAITING.case(whole=False, each=HOW)
async def while_first_events_are_held(case: Case, how: str) -> None:
    said = asyncio.Event()

    async def opening(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        await wire.chunk(case.speech.opening()[0])
        said.set()
        await received.gone.wait()

    await left_at_the_provider(case, opening, how, lambda _: said.is_set())


# --- in the middle of a stream


@LEAVING.case(whole=False, each=HOW)
async def in_the_middle(case: Case, how: str) -> None:
    text = case.canaries.text("answer")

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        for event in case.speech.opening(text):
            await wire.chunk(event)
        await received.gone.wait()

    bench = await case.bench(script, case.good, routing=PATIENT)
    visitor = await visit(case, bench.server)
    await visitor.read_until(text.encode())
    await leaves(case, bench.server, visitor, how, bench.p.requests[0].gone.is_set)
    await counted(bench)


def endless(case: Case, sent: list[int], event: bytes | None = None) -> Script:
    """A stream that has no end; `sent` counts its bytes."""
    pieces = case.speech.opening("x" * 8000)

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        for piece in pieces[:-1]:
            await wire.chunk(piece)
        while not received.gone.is_set():
            await wire.chunk(event or pieces[-1])
            sent[0] += len(event or pieces[-1])

    return script


async def blocked(sent: list[int]) -> None:
    """Until nothing more goes out: every buffer between the provider and the client is full."""
    before = -1
    while sent[0] != before:
        before = sent[0]
        await asyncio.sleep(0.1)
    assert before > 0


def transports(server: Redeo, visitor: Visitor | None = None) -> list[asyncio.Transport]:
    """The daemon's ends of the connections of its clients, or of this one."""
    runner = server.daemon._runner
    assert runner is not None
    assert runner.server is not None
    found = [protocol.transport for protocol in runner.server.connections if protocol.transport is not None]
    mine = visitor.sock.getsockname() if visitor is not None else None
    return [transport for transport in found if mine in (None, transport.get_extra_info("peername"))]


def kept(server: Redeo) -> int:
    """What the daemon itself keeps for its clients, the kernel's buffers left out."""
    return sum(transport.get_write_buffer_size() for transport in transports(server))


@LEAVING.case(whole=False, dialects=ONE, each=HOW)
async def while_it_does_not_read(case: Case, how: str) -> None:
    sent = [0]
    bench = await case.bench(endless(case, sent), case.good, routing=PATIENT)
    visitor = await visit(case, bench.server, buffer=4096)
    await blocked(sent)
    await leaves(case, bench.server, visitor, how, bench.p.requests[0].gone.is_set)
    await counted(bench)


# --- it reads slowly, or stops


@SLOW.case(whole=False, dialects=ONE)
async def stops_reading(case: Case) -> None:
    sent = [0]
    bench = await case.bench(endless(case, sent), case.good, routing=PATIENT, limits={"client_idle_seconds": 0.5})
    visitor = await visit(case, bench.server, buffer=4096)
    await blocked(sent)
    assert 0 < kept(bench.server) <= 1 << 20
    await until(bench.p.requests[0].gone.is_set)
    assert (await visitor.read_all()).broken
    visitor.leave()
    await counted(bench)
    assert await case.state() == "closed"


@SLOW.case(stream=False, dialects=ONE)
async def stops_reading_what_is_large(case: Case) -> None:
    large = json.dumps(chat_body("x" * 12_000_000)).encode()

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "application/json", "content-length": str(len(large))}, framing="length")
        await wire.send(large)

    bench = await case.bench(script, case.good, routing=PATIENT, limits={"client_idle_seconds": 0.5})
    visitor = await visit(case, bench.server, buffer=4096)
    await until(lambda: kept(bench.server))
    assert kept(bench.server) <= 1 << 20
    await until(lambda: not bench.server.daemon.front.active)
    assert (await visitor.read_all()).broken
    visitor.leave()
    await counted(bench)


@SLOW.case(stream=False, dialects=ONE)
async def stops_reading_many_small_ones(case: Case) -> None:
    server = await case.redeo({}, limits={"client_idle_seconds": 0.5})
    visitor = await Visitor.connect(server, buffer=4096)
    asked = Visitor.request(server, "GET", "/openapi.json")
    sending = asyncio.create_task(visitor.send(asked * 1000))
    await until(lambda: kept(server))
    assert kept(server) <= 1 << 20
    await until(lambda: not kept(server))
    await asyncio.gather(sending, return_exceptions=True)
    visitor.leave()


@SLOW.case(dialects=ONE, fault_free=True)
async def reads_slowly(case: Case) -> None:
    """A little at a time, for twice as long as a client is given that takes nothing."""
    text = "x" * 2_400_000
    whole = json.dumps(case.speech.whole).replace("hello", text).encode()

    async def script(received: Received, wire: Wire) -> None:
        if not case.streamed:
            head = {"content-type": "application/json", "content-length": str(len(whole))}
            await wire.head(200, head, framing="length")
            await wire.send(whole)
            return
        await wire.head(200, {"content-type": "text/event-stream"})
        for event in case.speech.events(*[text[:8000]] * 300):
            await wire.chunk(event)
        await wire.end()

    bench = await case.bench(script, routing=PATIENT, limits={"client_idle_seconds": 0.6})
    visitor = await Visitor.connect(bench.server, buffer=65_536)
    await until(lambda: transports(bench.server, visitor))
    for transport in transports(bench.server, visitor):  # or the kernel takes all of it
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    path, body = case.speech.asked(stream=case.streamed, **case.prompt())
    await visitor.send(Visitor.request(bench.server, "POST", path, json.dumps(body).encode()))
    end = asyncio.get_running_loop().time() + 1.2
    while asyncio.get_running_loop().time() < end:
        assert await visitor.read(16_384)
        await asyncio.sleep(0.02)
    assert kept(bench.server), "it was waited for"
    visitor.half_close()
    got = await visitor.read_all()
    visitor.leave()
    assert got.status == 200
    bench.answers.append(got)


# --- it closes its side alone


@HALF.case(fault_free=True)
async def half_closes(case: Case) -> None:
    go, text = asyncio.Event(), case.canaries.text("answer")

    async def script(received: Received, wire: Wire) -> None:
        await go.wait()
        await case.speech.good(text)(received, wire)

    bench = await case.bench(script, routing=PATIENT)
    visitor = await visit(case, bench.server)
    await bench.p.wait_requests()
    visitor.half_close()
    await visitor.read_until(b"100 Continue\r\n\r\nHTTP/1.1 100")  # it was found to be there still, twice
    go.set()
    bench.answers.append(await visitor.read_all())
    visitor.leave()


@HALF.case(whole=False, fault_free=True)
async def half_closes_in_the_middle(case: Case) -> None:
    go, text = asyncio.Event(), case.canaries.text("answer")
    events = case.speech.events(text, "more")

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        for event in events:
            if b"more" in event and not go.is_set():
                await go.wait()
            await wire.chunk(event)
        await wire.end()

    bench = await case.bench(script, routing=PATIENT)
    visitor = await visit(case, bench.server)
    await visitor.read_until(text.encode())
    visitor.half_close()
    await visitor.read_until(b"3\r\n:\n\n\r\n3\r\n:\n\n\r\n")
    go.set()
    bench.answers.append(await visitor.read_all())
    visitor.leave()


@HALF.case(dialects=ONE)
async def half_closes_and_then_leaves(case: Case) -> None:
    bench = await case.bench(hang(), case.good, routing=PATIENT)
    visitor = await visit(case, bench.server)
    await bench.p.wait_requests()
    visitor.half_close()
    await visitor.read_until(b"100 Continue")
    visitor.leave()
    await bench.p.wait_closed()
    await until(lambda: not bench.server.daemon.front.active)
    await counted(bench)
