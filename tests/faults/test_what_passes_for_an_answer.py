"""Answers that look well and are none, framing that breaks, and keys that a provider's error repeats."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import aiohttp
import pytest

from tests.support.raw import get
from tests.support.speech import ANTHROPIC, CHAT
from tests.support.upstream import Received, Wire, answer, chat, error, stream


def broken_chunks(first: bytes, kind: str) -> Any:
    """A body whose next chunk has a header that is none; the connection stays open."""

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": kind})
        await wire.chunk(first)
        await asyncio.sleep(0.05)  # or both are read as one, and what came before the fault is gone with it
        await wire.send(b"hello\r\n")
        await received.gone.wait()

    return script


@pytest.mark.parametrize("streamed", [True, False])
async def test_broken_framing_is_noticed_at_once(bench: Any, streamed: bool) -> None:
    kind, first = ("text/event-stream", b": hi\n\n") if streamed else ("application/json", b'{"choices": [')
    b = await bench(broken_chunks(first, kind), CHAT.good(), routing={"timeouts": {"first_byte": 30, "total": 30}})
    begun = time.monotonic()
    got = await b.ask(stream=streamed)
    assert got.attempts == "alpha=interrupted beta=200"
    assert time.monotonic() - begun < 5


async def test_broken_framing_behind_content_ends_with_an_error(bench: Any) -> None:
    opening = b"".join(CHAT.opening("one"))
    b = await bench(broken_chunks(opening, "text/event-stream"), CHAT.good())
    got = await b.ask(stream=True)
    assert got.body.startswith(opening)
    assert CHAT.endings(got.body) == (0, 1)


async def test_a_terminator_alone_is_no_answer(bench: Any) -> None:
    b = await bench(stream([b"data: [DONE]\n\n"]), CHAT.good())
    assert (await b.ask(stream=True)).attempts == "alpha=bad_upstream beta=200"


async def test_an_encoding_that_nobody_asked_for_is_no_answer(bench: Any) -> None:
    b = await bench(answer(CHAT.whole, headers={"content-encoding": "gzip"}), CHAT.good())
    assert (await b.ask()).attempts == "alpha=bad_upstream beta=200"


async def test_of_several_choices_all_have_to_end(bench: Any) -> None:
    events = CHAT.events("one")[:-1]  # choice 0 has its finish reason, choice 1 never came
    b = await bench(stream(events, ending="whole"), CHAT.good())
    got = await b.ask(stream=True, n=2)
    assert CHAT.endings(got.body) == (0, 1)
    got = await b.ask(stream=True, n=1)
    assert CHAT.endings(got.body) == (1, 0)


async def test_a_transcription_may_ignore_that_a_stream_was_asked_for(redeo: Any, provider: Any) -> None:
    server = await redeo({"alpha": await provider(answer({"text": "hello"}))})
    form = b'--b\r\ncontent-disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    body = form % (b"model", b"alpha/whisper-1") + form % (b"stream", b"true") + form % (b"file", b"x") + b"--b--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=b"}
    got = await server.request("POST", "/v1/audio/transcriptions", data=body, headers=headers)
    assert got.status == 200
    assert got.json == {"text": "hello"}


async def test_a_page_is_no_sound(redeo: Any, provider: Any) -> None:
    async def page(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/html"})
        await wire.chunk(b"<html>")
        await wire.end()

    server = await redeo({"alpha": await provider(page)})
    got = await server.request("POST", "/v1/audio/speech", json={"model": "alpha/tts", "input": "hi", "voice": "a"})
    assert got.status == 502


@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_sound_that_breaks_off_is_not_whole(redeo: Any, provider: Any, framing: str) -> None:
    server = await redeo({"alpha": await provider(sound(framing))})
    got = await server.request("POST", "/v1/audio/speech", json={"model": "alpha/tts", "input": "hi", "voice": "a"})
    assert got.broken


async def ask_as_of_old(server: Any) -> socket.socket:
    """Ask for a sound by HTTP/1.0, where nothing but a reset tells a client that what it got is not all."""
    body = b'{"model":"alpha/tts","input":"hi","voice":"a"}'
    own = ["Host: localhost", f"Authorization: Bearer {server.key}", "Content-Type: application/json"]
    length = f"Content-Length: {len(body)}"
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, server.daemon.address)
    await loop.sock_sendall(sock, get("/v1/audio/speech", *own, length, method="POST", version="HTTP/1.0") + body)
    return sock


async def read_all(sock: socket.socket) -> bytes:
    got = b""
    with sock:
        while piece := await asyncio.get_running_loop().sock_recv(sock, 1 << 16):
            got += piece
    return got


async def test_sound_that_breaks_off_is_not_whole_without_framing_either(redeo: Any, provider: Any) -> None:
    sock = await ask_as_of_old(await redeo({"alpha": await provider(sound("chunked"))}))
    with pytest.raises(ConnectionResetError):
        await read_all(sock)


async def test_sound_that_was_taken_too_slowly_is_not_whole_without_framing_either(redeo: Any, provider: Any) -> None:
    async def long(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "audio/mpeg"})
        while not received.gone.is_set():
            await wire.chunk(b"x" * 50_000)

    up = await provider(long)
    sock = await ask_as_of_old(await redeo({"alpha": up}, limits={"client_idle_seconds": 0.5}))
    await up.wait_closed()
    with pytest.raises(ConnectionResetError):
        await read_all(sock)


def sound(framing: str) -> Any:
    """A part of a sound; then the connection is reset, once the daemon has read it."""

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "audio/mpeg"}, framing=framing)
        await (wire.chunk if framing == "chunked" else wire.send)(b"x" * 1000)
        await asyncio.sleep(0.05)
        wire.reset()

    return script


@pytest.mark.parametrize("status", [400, 401, 500])
async def test_a_key_that_the_provider_repeats_goes_no_further(redeo: Any, provider: Any, status: int) -> None:
    async def parrot(received: Received, wire: Wire) -> None:
        said = f"not with {received.header('authorization')}"
        await error(status, "invalid_request_error", said)(received, wire)

    server = await redeo({"alpha": await provider(parrot)}, connect=False)
    own = "Zq7mK2pX9vB4"  # short, and of no known form
    added = await server.request("POST", "/v1/providers", json={"provider": "alpha", "api_key": own})
    assert added.status == 201
    got = await server.chat()
    assert got.status in (400, 502)
    assert own.encode() not in got.body


async def test_a_key_repeated_in_a_stream_goes_no_further(redeo: Any, provider: Any) -> None:
    own = "Zq7mK2pX9vB4"
    events = [*CHAT.opening("one"), CHAT.failure("server_error", f"bad key {own}")]
    server = await redeo({"alpha": await provider(stream(events))}, connect=False)
    await server.request("POST", "/v1/providers", json={"provider": "alpha", "api_key": own})
    got = await server.chat(stream=True)
    assert CHAT.endings(got.body) == (0, 1)
    assert own.encode() not in got.body


async def test_an_alias_asks_a_failing_connection_once(redeo: Any, provider: Any) -> None:
    alpha, beta = await provider(error(500)), await provider(chat())
    models = {"smart": ["alpha/a", "alpha/b", "beta/c", "alpha/d"]}
    server = await redeo({"alpha": alpha, "beta": beta}, models=models)
    got = await server.chat(model="smart")
    assert got.headers["x-redeo-attempts"] == "alpha=500 beta=200"


async def test_an_alias_asks_again_for_another_model(redeo: Any, provider: Any) -> None:
    async def picky(received: Received, wire: Wire) -> None:
        missing = error(404, "model_not_found", "no such model")
        await (chat() if received.json["model"] == "b" else missing)(received, wire)

    server = await redeo({"alpha": await provider(picky)}, models={"smart": ["alpha/a", "alpha/b"]})
    assert (await server.chat(model="smart")).headers["x-redeo-attempts"] == "alpha=404 alpha=200"


async def test_a_probe_that_streams_does_not_hold_up_the_others(redeo: Any, provider: Any) -> None:
    release = asyncio.Event()

    async def slow(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        for event in CHAT.opening("one"):
            await wire.chunk(event)
        await release.wait()
        for event in CHAT.events("one")[len(CHAT.opening("one")) :]:
            await wire.chunk(event)
        await wire.end()

    up = await provider(*[error(500)] * 5, slow, chat())
    server = await redeo({"alpha": up})
    for _ in range(5):
        assert (await server.chat()).status == 502
    begun = asyncio.create_task(server.chat(stream=True))  # the only connection: tried before its time, as the probe
    while len(up.requests) < 6:
        await asyncio.sleep(0.005)
    while (got := await server.chat()).status == 502:
        await asyncio.sleep(0.005)
    assert got.status == 200
    assert not begun.done()
    release.set()
    assert CHAT.endings((await begun).body) == (1, 0)


async def test_what_was_counted_before_the_client_left_stays_counted(redeo: Any, provider: Any) -> None:
    up = await provider(stream(ANTHROPIC.opening("one"), ending="hang"))
    server = await redeo({"alpha": ANTHROPIC.entry(up)})
    headers = {"authorization": f"Bearer {server.key}", "anthropic-version": "2023-06-01"}
    url = f"{server.daemon.base_url}{ANTHROPIC.path}"
    body = {**ANTHROPIC.body, "stream": True}
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
        await response.content.readany()
    while server.daemon.front.active:
        await asyncio.sleep(0.005)
    assert await server.metric('redeo_tokens_total{connection="alpha",kind="input"}') > 0
    assert await server.metric('redeo_requests_total{operation="messages",status="client_gone"}') == 1


async def test_no_choice_is_no_answer(bench: Any) -> None:
    b = await bench(answer({"id": "c", "object": "chat.completion", "choices": []}), chat())
    assert (await b.ask()).attempts == "alpha=bad_upstream beta=200"


async def test_a_client_of_responses_reaches_a_server_that_speaks_chat_alone(redeo: Any, provider: Any) -> None:
    up = await provider(chat("hello"))
    server = await redeo({"lab": {"base_url": up.base_url, "speaks": ["chat"]}})
    got = await server.request("POST", "/v1/responses", json={"model": "auto", "input": "hi"})
    assert (got.status, got.json["output"][0]["content"][0]["text"]) == (200, "hello")
    assert up.requests[0].target.endswith("/chat/completions")
