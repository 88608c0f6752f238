"""Large prompts and uploads: what goes upstream is what the client sent, whole, whichever way it was carried."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import Any

import pytest

from tests.support.upstream import Received, Wire, answer, chat, chat_body, chat_events, stream

LONG = "x" * 300_000


@pytest.mark.parametrize("first", ["model", "messages"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
async def test_of_a_large_prompt_the_model_alone_is_changed(
    redeo: Any, provider: Any, first: str, streamed: bool
) -> None:
    up = await provider(stream(chat_events("yes", usage=True)) if streamed else chat())
    server = await redeo({"alpha": up})
    fields: dict[str, Any] = {"model": "alpha/some-model", "messages": [{"role": "user", "content": LONG}]}
    fields = {first: fields[first], **fields, "stream": streamed}
    body = json.dumps(fields).encode()
    headers = {"Content-Type": "application/json"}
    got = await server.request("POST", "/v1/chat/completions", data=body, headers=headers)
    assert got.status == 200
    sent = up.requests[0].body
    edited = body.replace(b'"alpha/some-model"', b'"some-model"')
    assert sent == (edited[:-1] + b',"stream_options":{"include_usage":true}}' if streamed else edited)


async def test_a_large_prompt_falls_back_in_pieces(redeo: Any, provider: Any) -> None:
    async def breaks_off(_: Received, wire: Wire) -> None:
        wire.reset()

    first, second = await provider(breaks_off), await provider(answer(chat_body()))
    server = await redeo({"alpha": first, "beta": second})
    got = await server.chat("auto", messages=[{"role": "user", "content": LONG}])
    assert (got.status, got.attempts) == (200, "alpha=interrupted beta=200")
    assert first.requests[0].json == {**second.requests[0].json, "model": "alpha-model"}
    assert second.requests[0].json["model"] == "beta-model"


async def test_a_prompt_is_let_go_once_its_answer_has_begun(redeo: Any) -> None:
    size, count = 512 * 1024, 16

    async def discards(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) if head[:4] == b"POST" else 0
        while left:
            left -= len(await reader.read(left))
        if head[:4] == b"POST":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + chat_events("yes")[1])
            await reader.read()
        writer.close()

    place = await asyncio.start_server(discards, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{place.sockets[0].getsockname()[1]}/v1"
    server = await redeo({"alpha": {"base_url": base}, "beta": {"base_url": base}}, routing={"timeouts": {"idle": 60}})
    prompt = json.dumps({"model": "auto", "stream": True, "messages": [{"role": "user", "content": "x" * size}]})
    headers = {"Content-Type": "application/json"}
    begun = asyncio.Event()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    running: list[asyncio.Task[Any]] = []
    for _ in range(count):
        begun.clear()
        asked = server.request(
            "POST", "/v1/chat/completions", data=prompt.encode(), headers=headers, heard=lambda _: begun.set()
        )
        running.append(asyncio.create_task(asked))
        async with asyncio.timeout(10):
            await begun.wait()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    place.close()
    assert held < 1.5 * count * size  # what the clients hold of their own, and no second time as much
