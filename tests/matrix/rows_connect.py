"""Rows 1 to 6: a provider that cannot be reached, or takes a request and says nothing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import trustme

from tests.matrix.framework import Case, Row
from tests.support.daemon import FAST
from tests.support.upstream import Received, Wire, drop, hang

REFUSED = Row(1, "connection refused", "the next connection answers, at most 10 ms later; a failure of the first")
BLACK_HOLE = Row(
    2, "SYN black hole", "the next one answers once the connect clock is over, at once when the breaker is open"
)
NO_NAME = Row(3, "the name does not resolve", "the next one answers; a failure of the first")
TLS = Row(
    4,
    "TLS: wrong host, unknown authority, expired, none at all",
    "the next one answers; not a byte of the request is sent; a failure of class `tls`",
)
DROPPED = Row(
    5,
    "connection closed instead of an answer",
    "the next one answers, two attempts; what may have left something behind is not repeated: 502 `upstream_uncertain`",
)
MUTE = Row(6, "accepts and never answers", "the next one answers once the clock of the first byte is over")

NOISE = 0.6  # what a busy machine may add to a clock


def closed_port() -> int:
    """A port of the loopback interface on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def took(least: float, most: float) -> Iterator[None]:
    """What is done within takes so many seconds."""
    begun = time.monotonic()
    yield
    assert least <= time.monotonic() - begun < most


@REFUSED.case()
async def refused(case: Case) -> None:
    await case.bench(f"http://127.0.0.1:{closed_port()}/v1", case.good)
    await case.moves_on("connect")


@REFUSED.case()
async def everywhere(case: Case) -> None:
    await case.bench(*(f"http://127.0.0.1:{closed_port()}/v1" for _ in range(3)))
    got = await case.ask()
    assert (got.status, got.json["error"]["code"]) == (502, "upstream_unreachable")
    assert got.headers["x-should-retry"] == "true"
    assert all(name in got.json["error"]["message"] for name in ("alpha", "beta", "gamma"))


@REFUSED.case()
async def with_something_kept(case: Case) -> None:
    """Nothing was sent, so what leaves something behind may go to the next one too."""
    await case.bench(f"http://127.0.0.1:{closed_port()}/v1", case.good)
    assert (await case.ask(store=True)).attempts == "alpha=connect beta=200"


@REFUSED.case()
async def costs_milliseconds(case: Case) -> None:
    alive = await case.bench(case.good)
    added: list[float] = []
    while not added or min(added) > 0.01:  # what else the machine does can only add to it
        assert len(added) < 20, added
        dead = await case.bench(f"http://127.0.0.1:{closed_port()}/v1", case.good)
        for _ in range(4):  # the fifth failure would open the breaker
            seconds = []
            for bench in (alive, dead):
                begun = time.perf_counter()
                assert (await case.ask(bench)).status == 200
                seconds.append(time.perf_counter() - begun)
            added.append(seconds[1] - seconds[0])


class Hole:
    """`with Hole() as hole`: at `hole.port` the kernel drops every SYN, because the queue of its listener is full."""

    def __enter__(self) -> Hole:
        self._socks = [socket.socket()]
        self._socks[0].bind(("127.0.0.1", 0))
        self._socks[0].listen(0)
        self.port = int(self._socks[0].getsockname()[1])
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(("127.0.0.1", self.port))
            self._socks.append(sock)
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._socks:
            sock.close()


@BLACK_HOLE.case()
async def no_syn_is_answered(case: Case) -> None:
    with Hole() as hole:
        await case.bench(f"http://127.0.0.1:{hole.port}/v1", case.good, routing={"timeouts": {**FAST, "connect": 0.2}})
        with took(0.2, 0.2 + NOISE):
            await case.moves_on("connect")


@BLACK_HOLE.case()
async def breaker_open(case: Case) -> None:
    with Hole() as hole:
        clocks = {**FAST, "connect": 0.05}
        await case.bench(f"http://127.0.0.1:{hole.port}/v1", case.good, routing={"timeouts": clocks})
        for _ in range(5):
            await case.moves_on("connect")
        assert await case.state() == "open"
        assert (await case.ask()).attempts == "beta=200"


@NO_NAME.case()
async def unknown(case: Case) -> None:
    await case.bench("http://provider.invalid/v1", case.good)
    await case.moves_on("dns")


@NO_NAME.case()
async def resolver_hangs(case: Case) -> None:
    plain, over = socket.getaddrinfo, threading.Event()

    def hanging(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "provider.invalid":
            over.wait(10)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return plain(host, *arguments, **options)

    case.monkeypatch.setattr(socket, "getaddrinfo", hanging)
    await case.bench("http://provider.invalid/v1", case.good, routing={"timeouts": {**FAST, "connect": 0.2}})
    try:
        with took(0.2, 0.2 + NOISE):
            await case.moves_on("connect")
    finally:
        over.set()


@cache
def authority() -> trustme.CA:
    """One that the daemon trusts in these rows."""
    return trustme.CA()


@cache
def certified(kind: str) -> ssl.SSLContext:
    """A server's side of TLS with a certificate that is good, or wrong in this way."""
    signer = trustme.CA() if kind == "unknown authority" else authority()
    name = "elsewhere.example" if kind == "wrong host" else "127.0.0.1"
    now = datetime.now(UTC)
    span = {"expired": (-2, -1), "not yet valid": (1, 2)}.get(kind, (-1, 1))
    begins, ends = (now + timedelta(days=days) for days in span)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signer.issue_cert(name, not_before=begins, not_after=ends).configure_cert(context)
    return context


def trusting(case: Case) -> None:
    """Have the daemon trust the authority of these rows beside those of the system."""
    plain = ssl.create_default_context

    def create(*arguments: Any, **options: Any) -> ssl.SSLContext:
        context = plain(*arguments, **options)
        authority().configure_trust(context)
        return context

    case.monkeypatch.setattr(ssl, "create_default_context", create)


@TLS.case(each=("wrong host", "unknown authority", "expired", "not yet valid"))
async def certificate(case: Case, kind: str) -> None:
    trusting(case)
    bad = await case.provider(case.good, tls=certified(kind))
    fine = await case.provider(case.good, tls=certified("good"))
    await case.bench(bad, fine)
    await case.moves_on("tls")
    assert not bad.requests
    assert len(fine.requests) == 1


@TLS.case()
async def spoken_to_a_server_without_it(case: Case) -> None:
    heard: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65536))
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        await case.bench(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", case.good)
        await case.moves_on("tls")
    assert len(heard) == 1
    assert b"POST" not in heard[0]


@TLS.case()
async def handshake_hangs(case: Case) -> None:
    """The handshake is part of connecting."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        await case.bench(url, case.good, routing={"timeouts": {**FAST, "connect": 0.2}})
        with took(0.2, 0.2 + NOISE):
            await case.moves_on("connect")


@DROPPED.case(each={"rst": True, "fin": False})
async def stateless(case: Case, reset: bool) -> None:
    b = await case.bench(drop(reset=reset), case.good)
    await case.moves_on("interrupted")
    assert (len(b.p.requests), len(b.s.requests)) == (1, 1)


@DROPPED.case(each={"rst": True, "fin": False})
async def stateful(case: Case, reset: bool) -> None:
    b = await case.bench(drop(reset=reset), case.good)
    got = await case.ask(store=True)
    assert (got.status, got.json["error"]["code"]) == (502, "upstream_uncertain")
    assert got.headers["x-should-retry"] == "false"
    assert got.attempts == "alpha=interrupted"
    assert (len(b.p.requests), len(b.s.requests)) == (1, 0)


@DROPPED.case()
async def pooled_socket_that_died(case: Case) -> None:
    """It is replaced, once, by a fresh one to the same provider: that is no failure."""

    async def answer_and_leave(received: Received, wire: Wire) -> None:
        await case.speech.good()(received, wire)
        wire.close()

    b = await case.bench(answer_and_leave, case.good)
    for _ in range(5):
        assert (await case.ask()).attempts == "alpha=200"
    b.resent = len(b.p.requests) - 5


@MUTE.case()
async def silence(case: Case) -> None:
    b = await case.bench(hang(), case.good)
    with took(0.4, 0.4 + NOISE):
        await case.moves_on("timeout")
    async with asyncio.timeout(1):
        await b.p.wait_closed()


@MUTE.case()
async def from_everybody(case: Case) -> None:
    await case.bench(hang(), hang())
    got = await case.ask()
    assert (got.status, got.json["error"]["code"]) == (504, "upstream_timeout")
    assert got.attempts == "alpha=timeout beta=timeout"
    assert got.headers["x-should-retry"] == "true"
