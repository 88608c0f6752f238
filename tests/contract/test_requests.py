"""Requests as real clients send them: big bodies, paths without /v1, odd JSON; and what goes upstream of them."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from tests.support.upstream import answer, chat, chat_body, chat_events, error, event, stream


async def test_exactly_the_allowed_headers_reach_the_provider(redeo: Any, provider: Any) -> None:
    up = await provider(chat())
    server = await redeo({"alpha": up})
    sent = {
        "Cookie": "sid=1",
        "X-Forwarded-For": "10.0.0.1",
        "Forwarded": "for=10.0.0.1",
        "x-api-key": server.key,
        "OpenAI-Beta": "x=1",
        "X-Custom": "no",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "User-Agent": "agent/1",
        "Idempotency-Key": "abc",
        "Connection": "keep-alive, idempotency-key",
        "Proxy-Authorization": "Basic eA==",
        "x-stainless-os": "Linux",
    }
    got = await server.request(
        "POST", "/v1/chat/completions?a=1&key=" + server.key, json={"model": "auto"}, headers=sent
    )
    assert got.status == 200
    received = up.requests[0]
    assert received.target == "/v1/chat/completions?a=1"
    assert sorted(name.lower() for name, _ in received.headers) == [
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "openai-beta",
        "traceparent",
        "user-agent",
    ]
    assert received.header("authorization") == f"Bearer {server.keys['alpha']}"
    assert received.header("accept-encoding") == "identity"
    assert received.header("user-agent") == "agent/1"
    assert server.key.encode() not in received.body


async def test_of_the_providers_headers_only_the_allowed_come_back(redeo: Any, provider: Any) -> None:
    hostile = {
        "set-cookie": "sid=A",
        "location": "http://evil.example",
        "server": "evil",
        "alt-svc": "h3",
        "www-authenticate": "x",
        "access-control-allow-origin": "*",
        "x-request-id": "theirs",
        "openai-processing-ms": "12",
        "x-ratelimit-remaining-requests": "9",
        "x-redeo-provider": "forged",
        "strict-transport-security": "x",
    }
    server = await redeo({"alpha": await provider(answer(chat_body(), headers=hostile))})
    for _ in range(2):
        got = await server.chat()
        names = {name.lower() for name in got.headers}
        assert not names & {
            "set-cookie",
            "location",
            "server",
            "alt-svc",
            "www-authenticate",
            "access-control-allow-origin",
        }
        assert got.headers["x-request-id"] == "theirs"
        assert got.headers["openai-processing-ms"] == "12"
        assert got.headers["x-ratelimit-remaining-requests"] == "9"
        assert got.headers.getall("x-redeo-provider") == ["alpha"]  # type: ignore[attr-defined]


async def test_the_same_model_name_sends_the_very_bytes(redeo: Any, provider: Any) -> None:
    up = await provider(chat(), models=["m-1"])
    server = await redeo({"alpha": up})
    said = b'[ {"role":"user","content":"\\ud83d \\u00e9 \xc3\xa9"} ]'
    body = b' {\n"messages" : ' + said + b',\t"model": "m-1" , "x": 1e400, "y": 12.00}'
    got = await server.request("POST", "/v1/chat/completions", data=body, headers={"content-type": "application/json"})
    assert got.status == 200, got.body
    assert up.requests[0].body == body


async def test_another_model_name_changes_that_alone(redeo: Any, provider: Any) -> None:
    up = await provider(chat())
    server = await redeo({"alpha": up})
    said = b'[{"content":"\\"model\\": \\"alpha/m\\" \\ud83d"}]'
    body = b'{"tools":[{"model":"x"}],  "model" : "alpha\\/m" ,"messages":' + said + b"}"
    got = await server.request("POST", "/v1/chat/completions", data=body, headers={"content-type": "application/json"})
    assert got.status == 200, got.body
    assert up.requests[0].body == body.replace(b'"alpha\\/m"', b'"m"')


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
async def test_bodies_of_an_agents_size(redeo: Any, provider: Any, path: str) -> None:
    up = await provider(chat())
    server = await redeo({"alpha": up})
    for size in (120_000, 3_000_000):
        body = {
            "model": "auto",
            "messages": [{"role": "user", "content": "x" * size}],
            "tools": [{"model": n} for n in range(99)],
        }
        data = io.BytesIO(json.dumps(body).encode())
        got = await server.request("POST", path, data=data, headers={"content-type": "application/json"})
        assert got.status == 200
        assert up.requests[-1].json == {**body, "model": "alpha-model"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'{"messages": []}', "missing_model"),
        (b'{"model": 5}', "invalid_model"),
        (b'{"model": ""}', "invalid_model"),
        (b'{"model": "a", "x": {"model": 1}, "model": "b"}', "duplicate_model"),
        (b'{"a":' * 100_000, "invalid_json"),
        (b"\xff\xfe{}", "invalid_json"),
        (b'{"model": "\xae"}', "invalid_json"),
        (b'{"model": "auto", "stream_options": {"\xae": 1}}', "invalid_json"),
        (b'{"model": "auto", "messages": [{"role": "user", "content": "\xae"}]}', "invalid_json"),
    ],
)
async def test_bad_bodies_are_the_clients_fault(redeo: Any, provider: Any, body: bytes, code: str) -> None:
    up = await provider(chat())
    server = await redeo({"alpha": up})
    got = await server.request("POST", "/v1/chat/completions", data=body, headers={"content-type": "application/json"})
    assert got.status == 400
    assert got.json["error"]["code"] == code
    assert got.json["error"]["type"] == "invalid_request_error"
    assert not up.requests


async def test_a_body_beyond_the_limit_is_413(redeo: Any, provider: Any) -> None:
    server = await redeo({"alpha": await provider()}, limits={"max_body_bytes": 1000})
    got = await server.chat(messages=[{"role": "user", "content": "x" * 2000}])
    assert got.status == 413
    assert got.json["error"]["code"] == "body_too_large"


async def test_names_are_resolved_in_their_order(redeo: Any, provider: Any) -> None:
    first = await provider(chat(), models=["vendor/shared-1.5", "only-first"])
    second = await provider(chat(), models=["shared-1-5", "shared-1-5-mini"])
    third = await provider(chat(), models=["other"])
    server = await redeo(
        {"alpha": first, "beta": second, "gamma": third}, models={"smart": ["gamma/other", "alpha/only-first"]}
    )
    cases = {
        "smart": "gamma=200",
        "alpha/anything": "alpha=200",
        "shared-1.5": "alpha=200",
        "shared-1-5-mini": "beta=200",
        "auto": "alpha=200",
        "only-first": "alpha=200",
    }
    for name, attempts in cases.items():
        assert (await server.chat(name)).attempts == attempts, name
    assert first.requests[1].json["model"] == "vendor/shared-1.5"
    missing = await server.chat("shared-1-5-nano")
    assert missing.status == 404
    assert missing.json["error"]["code"] == "model_not_found"


async def test_a_bare_name_falls_back_under_the_name_that_each_gives_it(redeo: Any, provider: Any) -> None:
    first, second = (
        await provider(error(503), models=["vendor/m-2.5"]),
        await provider(chat(), models=["m-2-5-20250101"]),
    )
    server = await redeo({"alpha": first, "beta": second})
    got = await server.chat("m-2.5")
    assert got.attempts == "alpha=503 beta=200"
    assert got.headers["x-redeo-model"] == "m-2-5-20250101"
    assert second.requests[0].json["model"] == "m-2-5-20250101"


async def test_nothing_connected_says_how_to_connect(redeo: Any) -> None:
    server = await redeo({})
    got = await server.chat()
    assert got.status == 503
    assert got.json["error"]["code"] == "no_usable_connection"
    assert "redeo providers add" in got.json["error"]["message"]


async def test_models_in_anthropics_form(redeo: Any, provider: Any) -> None:
    server = await redeo({"alpha": await provider(models=["a", "b", "c"])})
    got = await server.request("GET", "/v1/models?limit=2", headers={"anthropic-version": "2023-06-01"})
    assert [m["id"] for m in got.json["data"]] == ["a", "b"]
    assert got.json["has_more"] is True
    assert got.json["data"][0]["type"] == "model"
    rest = await server.request("GET", "/v1/models?after_id=b", headers={"anthropic-version": "2023-06-01"})
    assert [m["id"] for m in rest.json["data"]] == ["c", "auto"]


async def test_redirects_are_never_followed(redeo: Any, provider: Any) -> None:
    other = await provider(chat())
    for status in (301, 302, 303, 307, 308):
        first = await provider(answer({}, status, {"location": other.base_url + "/chat/completions"}))
        server = await redeo({"alpha": first})
        got = await server.chat()
        assert got.status == 502
        assert f"alpha={status}" in got.attempts
    assert not other.requests


async def test_metrics_add_up(redeo: Any, provider: Any) -> None:
    server = await redeo({"alpha": await provider(error(500)), "beta": await provider(chat())})
    for _ in range(3):
        assert (await server.chat()).status == 200
    assert await server.metric('redeo_requests_total{operation="chat",status="200"}') == 3
    assert await server.metric('redeo_attempts_total{connection="alpha",result="upstream_5xx"}') == 3
    assert await server.metric('redeo_fallbacks_total{reason="upstream_5xx",source="alpha",target="beta"}') == 3
    assert await server.metric('redeo_tokens_total{connection="beta",kind="input"}') == 9
    assert await server.metric('redeo_connection_up{connection="beta"}') == 1
    assert await server.metric("redeo_requests_in_flight") == 0
    assert await server.metric("redeo_overhead_seconds_count") == 3
    text = await server.metrics()
    assert json.dumps("beta-model") not in text, "no model names as labels"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
async def test_a_count_that_nobody_can_mean_breaks_no_scrape(redeo: Any, provider: Any, streamed: bool) -> None:
    usage = {"prompt_tokens": 10**400, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1 << 70}}
    last = event({"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": usage})
    body = stream([*chat_events("yes", done=False), last, b"data: [DONE]\n\n"])
    server = await redeo({"alpha": await provider(body if streamed else answer({**chat_body(), "usage": usage}))})
    got = await server.chat(stream=streamed)
    assert got.status == 200
    assert await server.metric('redeo_requests_total{operation="chat",status="200"}') == 1
    assert await server.metric('redeo_tokens_total{connection="alpha",kind="input"}') == 0
    assert await server.metric('redeo_tokens_total{connection="alpha",kind="output"}') == 5


async def test_a_hostile_model_name_cannot_write_headers(redeo: Any, provider: Any) -> None:
    up = await provider(chat())
    server = await redeo({"alpha": up})
    got = await server.chat(model="alpha/m\r\nSet-Cookie: a=1\x00é")
    assert got.status == 200
    assert got.headers["x-redeo-model"] == "m%0D%0ASet-Cookie:%20a=1%00%C3%A9"
    assert "set-cookie" not in got.headers
