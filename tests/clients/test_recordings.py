"""Every recorded exchange of the OpenAI and Anthropic dialects passes through byte for byte.

One daemon with one connection per exchange; the client sends what the recorded one sent, under `provider/model`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.engine.makers import Makers
from tests.support.daemon import Redeo
from tests.support.replay import Replay

PATHS = {
    "openai.chat": "/v1/chat/completions",
    "openai.completions": "/v1/completions",
    "openai.responses": "/v1/responses",
    "openai.embeddings": "/v1/embeddings",
    "anthropic.messages": "/v1/messages",
    "anthropic.count_tokens": "/v1/messages/count_tokens",
}
# Exchanges of `*.other`, by the path below /v1 that they have here; the daemon answers model lists itself.
OWN_ANSWER = ("/v1/models", "/available-models")

# What is deliberately not the provider's answer: it failed, and the daemon says so (RELIABILITY: error classes).
FAULTS = {
    "openai-openai-error-1-json-9049be93": 402,  # 429 insufficient_quota
    "openai-openai-error-1-stream-85bc66be": 402,  # the same inside a 200 stream, before any content
    "openrouter-test-openrouter-errors-raised-0-913fd603": 429,
}


@pytest.fixture
async def replay(recordings: Path) -> AsyncIterator[Replay]:
    async with Replay(recordings) as found:
        yield found


def of_our_dialects(replay: Replay) -> dict[str, dict[str, Any]]:
    found = {i: x for i, x in replay.exchanges.items() if x["dialect"].startswith(("openai.", "anthropic."))}
    assert len(found) > 250
    return found


def provider_id(number: int) -> str:
    return f"recorded{number}"


async def start(redeo: Any, replay: Replay, exchanges: dict[str, dict[str, Any]], **routing: Any) -> Redeo:
    providers = {
        provider_id(n): {
            "base_url": replay.base(ident),
            "dialect": x["dialect"].partition(".")[0],
            "credential": "none",
        }
        for n, (ident, x) in enumerate(exchanges.items())
    }
    connections = "connections:\n" + "".join(f"  {p}: {{priority: 500}}\n" for p in providers)
    server: Redeo = await redeo(providers, connect=False, routing=routing)
    path = server.state / "connections.yaml"
    path.touch(mode=0o600)
    path.write_text(connections)
    assert await server.daemon.store.reload() == []
    return server


def request_of(exchange: dict[str, Any], provider: str) -> tuple[str, str, dict[str, Any]]:
    """Method, path and arguments of the client's request, its model named for this provider."""
    recorded = exchange["request"]
    path = PATHS.get(exchange["dialect"]) or recorded["path"]
    query = recorded.get("query")
    target = path + (f"?{query}" if isinstance(query, str) and query else "")
    body = sent_body(exchange)
    if body is None:
        return recorded["method"], target, {}
    named = {**body, "model": f"{provider}/{body.get('model') or 'm'}"}
    text = json.dumps(named, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return recorded["method"], target, {"data": text, "headers": {"content-type": "application/json"}}


def sent_body(exchange: dict[str, Any]) -> dict[str, Any] | None:
    """The recorded request body; a least one where the source kept the answer alone."""
    body = exchange["request"].get("body")
    if isinstance(body, dict):
        return body
    return {"model": "m", "stream": exchange["stream"]} if exchange["request"]["method"] == "POST" else None


def is_multipart(exchange: dict[str, Any]) -> bool:
    return exchange["request"]["path"].endswith(("/audio/transcriptions", "/images/edits"))


def expected(replay: Replay, ident: str, asked_by_us: bool) -> bytes:
    """The recorded bytes, less what the daemon hides, up to an error that ends the stream."""
    response = replay.exchanges[ident]["response"]
    if "events" not in response or replay.exchanges[ident]["dialect"] not in ("openai.chat", "openai.completions"):
        return replay.answer(ident)
    out = b""
    for event in replay.module.event_bytes(response):
        data = event.removeprefix(b"data:").strip()
        value = json.loads(data) if data.startswith(b"{") else {}
        if asked_by_us and value.get("choices") == [] and value.get("usage"):
            continue
        out += event
        if value.get("error") and value.get("object") == "chat.completion.chunk":
            return out  # an error ends the stream: no `[DONE]` behind it
    return out


@pytest.mark.recordings
@pytest.mark.parametrize("ask_usage", [False, True])
async def test_every_recorded_exchange_passes_byte_for_byte(redeo: Any, replay: Replay, ask_usage: bool) -> None:
    exchanges = of_our_dialects(replay)
    server = await start(redeo, replay, exchanges, ask_usage=ask_usage)
    seen = 0
    wrong: list[str] = []
    for number, (ident, exchange) in enumerate(exchanges.items()):
        if exchange["request"]["path"] in OWN_ANSWER or is_multipart(exchange) or ident in FAULTS:
            continue
        provider = provider_id(number)
        method, path, arguments = request_of(exchange, provider)
        if not arguments:
            continue  # without a model the request does not name this connection: see the test of stored objects
        # What one recording holds sealed stands in the next one's request; here each is a connection of its own.
        server.daemon.front.engine.makers = Makers()
        got = await server.request(method, path, **arguments)
        body = sent_body(exchange)
        assert body is not None
        asked = bool((body.get("stream_options") or {}).get("include_usage"))
        chat = exchange["dialect"] in ("openai.chat", "openai.completions")
        want = expected(replay, ident, ask_usage and chat and bool(body.get("stream")) and not asked)
        if (got.status, got.body) != (exchange["response"]["status"], want):
            wrong.append(f"{ident}: {got.status} for {exchange['response']['status']}, {got.body[-200:]!r}")
        sent = replay.server.received[ident][-1]["body"]
        allowed = [{**body, "model": body.get("model") or "m"}]
        if ask_usage:
            options = {**(body.get("stream_options") or {}), "include_usage": True}
            allowed.append({**allowed[0], "stream_options": options})
        if sent not in allowed:
            wrong.append(f"{ident}: the provider was sent something else")
        seen += 1
    assert not wrong, "\n".join(wrong)
    assert seen > 250


@pytest.mark.recordings
async def test_what_the_recordings_mark_as_failed_is_told_as_a_failure(redeo: Any, replay: Replay) -> None:
    exchanges = {ident: replay.exchanges[ident] for ident in FAULTS}
    server = await start(redeo, replay, exchanges)
    for number, (ident, exchange) in enumerate(exchanges.items()):
        method, path, arguments = request_of(exchange, provider_id(number))
        got = await server.request(method, path, **arguments)
        assert got.status == FAULTS[ident], (ident, got.body)
        assert provider_id(number) in got.json["error"]["message"]


@pytest.mark.recordings
async def test_stored_objects_and_files_pass_too(redeo: Any, replay: Replay) -> None:
    chosen = {
        ident: x
        for ident, x in of_our_dialects(replay).items()
        if x["request"]["method"] in ("GET", "DELETE") and x["request"]["path"] not in OWN_ANSWER
    }
    assert len(chosen) == 2
    for ident, exchange in chosen.items():
        server = await start(redeo, replay, {ident: exchange})
        method, path, arguments = request_of(exchange, provider_id(0))
        got = await server.request(method, path, **arguments)
        assert (got.status, got.body) == (exchange["response"]["status"], replay.answer(ident))


@pytest.mark.recordings
async def test_forms_pass_with_their_model_replaced(redeo: Any, replay: Replay) -> None:
    chosen = {i: x for i, x in of_our_dialects(replay).items() if is_multipart(x)}
    assert len(chosen) == 2
    for ident, exchange in chosen.items():
        server = await start(redeo, replay, {ident: exchange})
        form = (
            b'--b0\r\nContent-Disposition: form-data; name="model"\r\n\r\nrecorded0/a-model\r\n'
            b'--b0\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
            b"Content-Type: application/octet-stream\r\n\r\n\x00\xff\r\n--b0--\r\n"
        )
        headers = {"content-type": "multipart/form-data; boundary=b0"}
        got = await server.request("POST", exchange["request"]["path"], data=form, headers=headers)
        assert (got.status, got.body) == (exchange["response"]["status"], replay.answer(ident)), got.body
