"""Providers that cannot be reached, or take a request and say nothing: the next one answers instead."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme

from tests.support.daemon import FAST
from tests.support.speech import Bench, Speech, outcome
from tests.support.upstream import chat, drop, hang

STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])


@pytest.fixture
def closed_port() -> int:
    """A port of the loopback interface on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
async def mute() -> AsyncIterator[Any]:
    """A TCP server that takes connections and never says a word; it keeps what was sent to it."""
    heard = bytearray()
    open_ones: list[asyncio.StreamWriter] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.append(writer)
        try:
            while data := await reader.read(65536):
                heard.extend(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], heard
    server.close()
    for writer in open_ones:
        writer.close()


async def served_by_the_second(bench: Bench, streamed: bool, kind: str) -> None:
    got = await bench.ask(stream=streamed)
    assert got.status == 200, got.body
    assert got.attempts == f"alpha={kind} beta=200"
    assert got.headers["x-redeo-provider"] == "beta"
    assert await bench.server.metric(outcome("alpha", kind)) == 1
    assert await bench.server.metric(outcome("beta", "ok")) == 1
    moved = f'redeo_fallbacks_total{{reason="{kind}",source="alpha",target="beta"}}'
    assert await bench.server.metric(moved) == 1


@STREAMED
async def test_a_refused_connection(bench: Any, speech: Speech, closed_port: int, streamed: bool) -> None:
    b = await bench(f"http://127.0.0.1:{closed_port}/v1", speech.good(), speech=speech)
    await served_by_the_second(b, streamed, "connect")


async def test_a_refused_connection_costs_milliseconds(bench: Any, closed_port: int) -> None:
    b = await bench(f"http://127.0.0.1:{closed_port}/v1", chat())
    took = []
    for _ in range(4):  # the fifth would open the breaker
        begun = time.monotonic()
        assert (await b.ask()).status == 200
        took.append(time.monotonic() - begun)
    assert min(took) < 0.1


async def test_nobody_reachable_says_so(bench: Any, speech: Speech, closed_port: int) -> None:
    b = await bench(f"http://127.0.0.1:{closed_port}/v1", speech=speech)
    got = await b.ask(stream=True)
    assert got.status == 502
    assert got.headers["x-should-retry"] == "true"
    assert got.attempts == "alpha=connect"
    assert "alpha" in got.json["error"]["message"]
    assert got.json["error"].get("code") == "upstream_unreachable"


@STREAMED
async def test_a_connection_that_is_never_made_ends_at_its_clock(bench: Any, mute: Any, streamed: bool) -> None:
    port, heard = mute  # the TLS handshake is part of connecting, and it never comes
    b = await bench(f"https://127.0.0.1:{port}/v1", chat(), routing={"timeouts": {**FAST, "connect": 0.2}})
    begun = time.monotonic()
    await served_by_the_second(b, streamed, "connect")
    assert 0.2 <= time.monotonic() - begun < 0.6
    assert b.server.keys["alpha"].encode() not in bytes(heard)


@STREAMED
async def test_an_open_breaker_does_not_wait_for_the_clock(bench: Any, mute: Any, streamed: bool) -> None:
    b = await bench(f"https://127.0.0.1:{mute[0]}/v1", chat(), routing={"timeouts": {**FAST, "connect": 0.05}})
    for _ in range(5):
        assert (await b.ask(stream=streamed)).attempts == "alpha=connect beta=200"
    begun = time.monotonic()
    assert (await b.ask(stream=streamed)).attempts == "beta=200"
    assert time.monotonic() - begun < 0.05


@STREAMED
async def test_a_name_that_does_not_resolve(bench: Any, speech: Speech, streamed: bool) -> None:
    b = await bench("http://provider.invalid/v1", speech.good(), speech=speech)
    await served_by_the_second(b, streamed, "dns")


def _tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@STREAMED
async def test_a_certificate_of_an_unknown_authority(bench: Any, provider: Any, speech: Speech, streamed: bool) -> None:
    stranger = await provider(speech.good(), tls=_tls(trustme.CA(), "127.0.0.1"))
    b = await bench(stranger, speech.good(), speech=speech)
    await served_by_the_second(b, streamed, "tls")
    assert not stranger.requests


async def test_a_certificate_for_another_host(bench: Any, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    plain = ssl.create_default_context

    def trusting(*arguments: Any, **options: Any) -> ssl.SSLContext:
        context = plain(*arguments, **options)
        authority.configure_trust(context)
        return context

    monkeypatch.setattr(ssl, "create_default_context", trusting)
    wrong = await provider(chat(), tls=_tls(authority, "elsewhere.example"))
    right = await provider(chat(), tls=_tls(authority, "127.0.0.1"))
    b = await bench(wrong, right)
    await served_by_the_second(b, False, "tls")
    assert not wrong.requests
    assert len(right.requests) == 1


async def test_tls_spoken_to_a_server_without_it(bench: Any) -> None:
    heard: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65536))
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        b = await bench(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", chat())
        await served_by_the_second(b, False, "tls")
    assert len(heard) == 1
    assert b"POST" not in heard[0]


@STREAMED
@pytest.mark.parametrize("reset", [True, False], ids=["rst", "fin"])
async def test_a_connection_closed_instead_of_an_answer(
    bench: Any, speech: Speech, reset: bool, streamed: bool
) -> None:
    b = await bench(drop(reset=reset), speech.good(), speech=speech)
    await served_by_the_second(b, streamed, "interrupted")
    assert len(b.p.requests) == 1


@STREAMED
@pytest.mark.parametrize("reset", [True, False], ids=["rst", "fin"])
async def test_what_may_have_left_something_behind_is_not_sent_again(
    bench: Any, speech: Speech, reset: bool, streamed: bool
) -> None:
    b = await bench(drop(reset=reset), speech.good(), speech=speech)
    got = await b.ask(stream=streamed, store=True)
    assert got.status == 502
    assert got.json["error"]["code"] == "upstream_uncertain"
    assert got.headers["x-should-retry"] == "false"
    assert got.attempts == "alpha=interrupted"
    assert not b.s.requests


async def test_what_leaves_something_behind_falls_back_when_nothing_was_sent(
    bench: Any, speech: Speech, closed_port: int
) -> None:
    b = await bench(f"http://127.0.0.1:{closed_port}/v1", speech.good(), speech=speech)
    assert (await b.ask(store=True)).attempts == "alpha=connect beta=200"


@STREAMED
async def test_no_answer_at_all_ends_at_the_clock_of_the_first_byte(bench: Any, speech: Speech, streamed: bool) -> None:
    b = await bench(hang(), speech.good(), speech=speech)
    begun = time.monotonic()
    await served_by_the_second(b, streamed, "timeout")
    assert 0.4 <= time.monotonic() - begun < 0.8
    async with asyncio.timeout(1):
        await b.p.requests[0].gone.wait()


async def test_no_answer_from_anybody_is_a_504(bench: Any, speech: Speech) -> None:
    b = await bench(hang(), hang(), speech=speech)
    got = await b.ask()
    assert got.status == 504
    assert got.attempts == "alpha=timeout beta=timeout"
    assert got.headers["x-should-retry"] == "true"


async def test_a_pooled_connection_that_died_is_replaced(bench: Any) -> None:
    async def answer_and_leave(received: Any, wire: Any) -> None:
        await chat()(received, wire)
        wire.close()

    b = await bench(answer_and_leave, chat())
    for _ in range(5):
        assert (await b.ask()).attempts == "alpha=200"
    b.resent = len(b.p.requests) - 5
