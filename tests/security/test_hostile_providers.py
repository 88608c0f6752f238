"""A provider that wants more than the request: its redirects, headers, cookies and bombs reach nobody."""

from __future__ import annotations

import asyncio
import json
import random
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from yarl import URL

from tests.support.daemon import Redeo
from tests.support.speech import ANTHROPIC, CHAT, GEMINI, RESPONSES, Speech
from tests.support.upstream import Received, Script, Wire, answer, chat, chat_body

REDIRECTS = (301, 302, 303, 307, 308)
KEYS = ("bearer", "header:x-api-key", "header:api-key", "header:x-goog-api-key")
MIB = 1024 * 1024


def redirect(status: int, location: str) -> Script:
    return answer({}, status, {"location": location})


# --- redirects


@pytest.mark.parametrize("auth", KEYS)
@pytest.mark.parametrize("status", REDIRECTS)
async def test_a_redirect_takes_no_key_to_another_host(redeo: Any, provider: Any, status: int, auth: str) -> None:
    thief = await provider(chat(), models=["m"])
    up = await provider(redirect(status, f"http://127.0.0.1:{thief.port}/v1/chat/completions"))
    server = await redeo({"alpha": {"base_url": up.base_url, "auth": auth}})
    for streamed in (False, True):
        got = await server.chat(stream=streamed)
        assert (got.status, got.attempts) == (502, f"alpha={status}"), got.body
        assert "location" not in got.headers
        server.daemon.front.engine.health._states.clear()
    name = "authorization" if auth == "bearer" else auth.removeprefix("header:")
    assert [server.keys["alpha"] in str(received.header(name)) for received in up.requests] == [True, True]
    assert not thief.requests
    assert not thief.list_requests


@pytest.mark.parametrize("status", REDIRECTS)
async def test_no_call_of_the_daemons_own_follows_one(redeo: Any, provider: Any, status: int) -> None:
    """Lists of models, test calls, and those for who has no list; to the same host neither."""
    thief = await provider(chat(), models=["m"])
    for where in (f"http://127.0.0.1:{thief.port}/v1/models", "/v1/elsewhere"):
        calls: list[str] = []

        async def script(received: Received, wire: Wire, where: str = where, calls: list[str] = calls) -> None:
            calls.append(received.target)
            await redirect(status, where)(received, wire)

        up = await provider(script)
        up._list = script  # its list of models is asked for apart
        server = await redeo({"alpha": up, "anthropic": up})
        for name in ("alpha", "anthropic"):
            tested = (await server.request("POST", f"/v1/providers/{name}/test")).json
            assert (tested["ok"], str(status) in tested["error"]) == (False, True), tested
        assert (await server.request("GET", "/v1/models")).status == 200
        assert "/v1/elsewhere" not in calls
    assert not thief.requests
    assert not thief.list_requests


async def test_the_sign_in_to_google_follows_none(redeo: Any, provider: Any, canary: Any) -> None:
    thief = await provider(answer({"access_token": "t", "expires_in": 3600}))
    google = await provider(redirect(307, f"http://127.0.0.1:{thief.port}/token"))
    pem = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    account = {
        "client_email": "a@b.c",
        "private_key": pem.decode(),
        "token_uri": f"http://127.0.0.1:{google.port}/token",
    }
    server = await redeo({}, connect=False)
    sent = {
        "provider": "vertex",
        "api_key": json.dumps(account),
        "endpoint": "https://aiplatform.googleapis.com/v1/projects/p/locations/global",
    }
    added = await server.request("POST", "/v1/providers", json=sent)
    assert added.status == 201, added.body
    got = await server.chat("vertex/gemini-2.5-flash")
    assert got.status in (502, 503), got.body
    assert len(google.requests) == 1
    assert not thief.requests


# --- headers out


@pytest.mark.parametrize(
    ("speech", "provider_id", "own"),
    [
        (CHAT, "alpha", {"authorization"}),
        (RESPONSES, "openai", {"authorization"}),
        (ANTHROPIC, "anthropic", {"x-api-key", "anthropic-version"}),
        (GEMINI, "gemini", {"x-goog-api-key"}),
    ],
    ids=["chat", "responses", "messages", "gemini"],
)
async def test_a_provider_is_sent_exactly_the_headers_that_are_its_business(
    redeo: Any, provider: Any, speech: Speech, provider_id: str, own: set[str]
) -> None:
    up = await provider(speech.good())
    entry = {**speech.entry(up), "default_model": "m"}
    server: Redeo = await redeo({provider_id: entry})
    key = server.key
    mine = {
        "Authorization": f"Bearer {key}",
        "x-api-key": key,
        "api-key": key,
        "x-goog-api-key": key,
        "Cookie": f"session={key}",
        "Proxy-Authorization": f"Basic {key}",
        "X-Forwarded-For": "10.0.0.1",
        "X-Real-IP": "10.0.0.1",
        "Forwarded": "for=10.0.0.1",
        "Via": "1.1 me",
        "Origin": server.base,
        "Referer": f"{server.base}/?key={key}",
        "X-Anything": key,
        "TE": "trailers",
        "Keep-Alive": "timeout=5",
        "Connection": "keep-alive, x-anything",
    }
    query = "&".join(f"{name}={key}" for name in ("key", "%6Bey", "api_key", "API%2DKEY", "access_token", "Token"))
    asked = URL(f"{server.base}{speech.path}?{query}&a=1", encoded=True)
    async with server.session.post(asked, json=speech.body, headers=mine) as got:
        assert got.status == 200
    [received] = up.requests
    assert received.target.endswith("?a=1")
    always = {"host", "content-length", "content-type", "accept", "accept-encoding", "user-agent"}
    assert sorted(name.lower() for name, _ in received.headers) == sorted(always | own)
    assert key.encode() not in received.raw
    assert received.header("host") == f"127.0.0.1:{up.port}"


# --- headers back

ALLOWED = re.compile(
    rb"(?:cache-control|content-(?:type|length|disposition|language)|retry-after(?:-ms)?|(?:x-)?request-id|x-should-retry"
    rb"|inference-id|mistral-correlation-id|(?:anthropic|openai|x-ratelimit|x-redeo)-[a-z0-9-]+|transfer-encoding|date"
    rb"|connection|x-content-type-options)",
    re.IGNORECASE,
)
NAMES = [
    b"Set-Cookie", b"Location", b"Server", b"Alt-Svc", b"WWW-Authenticate", b"Access-Control-Allow-Origin", b"Refresh",
    b"Access-Control-Allow-Credentials", b"Strict-Transport-Security", b"Clear-Site-Data", b"Link", b"X-Redeo-Provider",
    b"X-Redeo-Request-Id", b"X-Redeo-Attempts", b"Connection", b"Upgrade", b"Trailer", b"Via", b"Content-Encoding-",
    b"Proxy-Authenticate", b"X-RateLimit-Remaining", b"OpenAI-Organization", b"Anthropic-Ratelimit", b"X-Request-Id",
    b"Retry-After", b"Cache-Control", b"Content-Type", b"X-Should-Retry", b"Content-Disposition", b"Keep-Alive",
]  # fmt: skip
VALUES = [
    b"a", b"", b"a; Path=/; HttpOnly", b"http://evil.example/", b"a\tb", b"\x1b[31mred\x1b[0m", b"\xc3\xa9", b"\xff",
    b"a\x00b", b"a\rSet-Cookie: b", b"a\x0bb", b"a\x85b", b"a\r\n folded", b"x" * 3000, b"%0d%0aSet-Cookie: b", b"*",
    b"text/html", b"keep-alive, set-cookie", b"\xe2\x80\xa8", b"1e999", b"text/event-stream", b"chunked",
]  # fmt: skip
REASONS = [b"OK", b"", b"<script>", b"\x1b[2J", b"OK\tX", b"\xff", b"Set-Cookie: a=b"]


def hostile(seed: int) -> Script:
    """An answer with a set of headers of its own, as raw bytes."""
    rng = random.Random(seed)
    lines = [rng.choice(NAMES) + b": " + rng.choice(VALUES) for _ in range(rng.randint(3, 14))]
    body = b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
    body += b'"message":{"role":"assistant","content":"hi"}}]}'
    lines.append(b"content-length: %d" % len(body))
    if rng.random() < 0.8:
        lines.insert(0, b"content-type: application/json")
    rng.shuffle(lines)
    head = b"HTTP/1.1 200 " + rng.choice(REASONS) + b"\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"

    async def script(received: Received, wire: Wire) -> None:
        await wire.send(head + body)
        wire.close()

    return script


async def raw_answer(server: Redeo, body: bytes) -> bytes:
    """The bytes that come back for one request."""
    reader, writer = await asyncio.open_connection(*server.daemon.address)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.key}\r\n"
    head += f"Content-Type: application/json\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    raw = await reader.read()
    writer.close()
    return raw


async def test_of_200_hostile_sets_of_headers_only_clean_ones_come_back(redeo: Any, provider: Any) -> None:
    served = 0
    up = await provider(chat())
    server = await redeo({"alpha": up})
    for seed in range(200):
        server.daemon.front.engine.health._states.clear()
        up.scripts[:] = [hostile(seed)]
        raw = await raw_answer(server, b'{"model":"alpha/m","messages":[]}')
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        assert first in (b"HTTP/1.1 200 OK", b"HTTP/1.1 502 Bad Gateway"), (seed, first)
        served += first.endswith(b"OK")
        names = [line.partition(b":")[0].lower() for line in lines]
        for line in lines:
            assert re.fullmatch(rb"[A-Za-z0-9-]+: [\x20-\x7e\xa0-\xff]*", line), (seed, line)
            assert ALLOWED.fullmatch(line.partition(b":")[0]), (seed, line)
        for name in (b"x-redeo-provider", b"x-redeo-request-id", b"x-redeo-attempts", b"content-length", b"connection"):
            assert names.count(name) <= 1, (seed, name)
        assert body.startswith(b"{")
        assert body.endswith(b"}"), "one answer, and nothing behind it"
    assert served > 40, "many of them are an answer all the same"


async def test_cookies_are_neither_kept_nor_passed(redeo: Any, provider: Any) -> None:
    up = await provider(answer(chat_body(), headers={"set-cookie": "sid=A; Path=/"}), models=["m"])
    server = await redeo({"alpha": up})
    for _ in range(3):
        got = await server.chat("alpha/m")
        assert "set-cookie" not in got.headers
    assert len(up.requests) == 3
    assert not any(received.header("cookie") for received in up.requests + up.list_requests)


# --- bombs


def peak() -> int:
    """The most memory this process held since the last call, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    Path("/proc/self/clear_refs").write_text("5")
    return int(found[1]) * 1024


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """200 MiB of nothing, in less than a thousandth of that."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(200)), packer.flush()])


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_a_bomb_is_not_inflated(redeo: Any, provider: Any, bomb: bytes, encoding: str, kind: str) -> None:
    headers = {"content-encoding": encoding, "content-type": kind}
    server = await redeo({"alpha": await provider(answer(bomb, headers=headers))})
    peak()
    before = peak()
    got = await server.chat(stream=kind != "application/json")
    assert (got.status, got.attempts) == (502, "alpha=bad_upstream"), got.body
    assert peak() - before <= 20 * MIB


async def test_a_body_without_end_is_cut_at_its_cap(redeo: Any, provider: Any) -> None:
    sent = 0

    async def endless(received: Received, wire: Wire) -> None:
        nonlocal sent
        await wire.head(200, {"content-type": "application/json"})
        while True:
            await wire.chunk(b" " * MIB)
            sent += MIB

    slow = {"timeouts": {"connect": 5, "first_byte": 60, "idle": 60, "total": 60, "before_answer": 60}}
    server = await redeo({"alpha": await provider(endless)}, routing=slow)
    got = await server.chat()
    assert (got.status, got.attempts) == (502, "alpha=too_large"), got.body
    assert 60 * MIB < sent < 80 * MIB


async def test_a_list_of_models_without_end_is_cut_at_its_cap(redeo: Any, provider: Any) -> None:
    sent = 0

    async def endless(received: Received, wire: Wire) -> None:
        nonlocal sent
        await wire.head(200, {"content-type": "application/json"})
        while True:
            await wire.chunk(b" " * (MIB // 4))
            sent += MIB // 4

    up = await provider(chat())
    up._list = endless
    server = await redeo({"alpha": up})
    tested = (await server.request("POST", "/v1/providers/alpha/test")).json
    assert (tested["ok"], "too large" in tested["error"]) == (False, True)
    assert sent < 12 * MIB  # with what stands in the buffers of two sockets


async def test_a_list_of_models_of_endless_pages_has_an_end(redeo: Any, provider: Any) -> None:
    pages = 0

    async def page(received: Received, wire: Wire) -> None:
        nonlocal pages
        pages += 1
        listed = [{"id": f"m{pages}-{n}" + "x" * 1000} for n in range(1000)]
        await answer({"data": listed, "has_more": True, "last_id": f"m{pages}"})(received, wire)

    up = await provider(page)
    up._list = page
    server = await redeo({"alpha": up})
    await server.request("POST", "/v1/providers/alpha/test")
    assert 1 < pages <= 20
    assert len((await server.request("GET", "/v1/models")).body) < 8 * MIB


async def test_a_key_that_stands_in_a_list_of_models_goes_no_further(redeo: Any, provider: Any) -> None:
    async def mirror(received: Received, wire: Wire) -> None:
        key = str(received.header("authorization")).removeprefix("Bearer ")
        await answer({"data": [{"id": f"m-{key}", "owned_by": key}, {"id": "m", "note": [key]}]})(received, wire)

    up = await provider(chat())
    up._list = mirror
    server = await redeo({"alpha": up})
    for path in ("/v1/models", "/v1beta/models", "/v1/models/m"):
        got = await server.request("GET", path)
        assert got.status == 200
        assert server.keys["alpha"][12:].encode() not in got.body
    assert (await server.request("POST", "/v1/providers/alpha/test")).status == 200


async def test_a_key_that_stands_in_a_header_goes_no_further(redeo: Any, provider: Any) -> None:
    async def mirror(received: Received, wire: Wire) -> None:
        key = str(received.header("authorization")).removeprefix("Bearer ")
        told = {"x-request-id": key, "openai-organization": f"org {key}", "x-ratelimit-limit-requests": "7"}
        await answer(chat_body(), headers=told)(received, wire)

    server = await redeo({"alpha": await provider(mirror)})
    got = await server.chat()
    assert got.status == 200
    assert server.keys["alpha"][12:] not in repr(dict(got.headers))
    assert got.headers["x-ratelimit-limit-requests"] == "7"


@pytest.mark.parametrize("depth", [12, 100, 800, 920, 930, 940, 950, 960, 2000])
async def test_a_list_of_models_as_deep_as_can_be_read_breaks_nobodys_list(
    redeo: Any, provider: Any, depth: int
) -> None:
    """What can be decoded in one place may be too deep to be written in another."""

    async def deep(received: Received, wire: Wire) -> None:
        inner = b"[" * depth + b"]" * depth
        await answer(b'[{"id": "x", "deep": ' + inner + b', "flat": [1]}]')(received, wire)

    up, other = await provider(chat()), await provider(chat(), models=["m"])
    up._list = deep
    server = await redeo({"alpha": up, "beta": other})
    for path in ("/v1/models", "/v1beta/models"):
        for headers in ({}, {"anthropic-version": "2023-06-01"}):
            got = await server.request("GET", path, headers=headers)
            assert got.status == 200, got.body
            assert b'"m"' in got.body or b'"models/m"' in got.body
    if depth < 900:
        listed = {entry["id"]: entry for entry in (await server.request("GET", "/v1/models")).json["data"]}
        assert listed["x"]["flat"] == [1]
        assert ("deep" in listed["x"]) is (depth == 12)


@pytest.mark.parametrize(
    "when",
    ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", 10**400, -1, True, {}, "99999999999999999999", []],
)
async def test_no_date_of_a_model_breaks_the_list(redeo: Any, provider: Any, when: Any) -> None:
    odd = {"id": "m", "created": when, "created_at": when, "owned_by": when, "display_name": when}
    server = await redeo({"alpha": await provider(chat(), models=[odd])})
    for headers in ({}, {"anthropic-version": "2023-06-01"}):
        assert (await server.request("GET", "/v1/models", headers=headers)).status == 200


async def test_early_hints_without_end_are_no_answer(redeo: Any, provider: Any) -> None:
    async def hints(received: Received, wire: Wire) -> None:
        while True:
            await wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 20)
            await asyncio.sleep(0)

    server = await redeo({"alpha": await provider(hints), "beta": await provider(chat())})
    assert (await server.chat()).attempts == "alpha=bad_upstream beta=200"


async def test_an_answer_that_nobody_asked_for_answers_nobody(redeo: Any, provider: Any) -> None:
    """A second one behind the first, on a connection that could be used again."""
    body = json.dumps(chat_body("one")).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    two = head % len(body) + body + head % 13 + b'{"evil":true}'

    async def twice(received: Received, wire: Wire) -> None:
        await wire.send(two)

    server = await redeo({"alpha": await provider(twice)})
    for _ in range(6):
        got = await server.chat()
        assert (got.status, got.json["choices"][0]["message"]["content"]) == (200, "one")
