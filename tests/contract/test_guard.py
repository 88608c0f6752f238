"""What the guard refuses before routing and authentication, over raw sockets: hosts, origins, framing, keys."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from proxy.front import protocol
from tests.support.daemon import Redeo
from tests.support.upstream import chat

ROUTES = [
    "/",
    "/healthz",
    "/metrics",
    "/v1/models",
    "/v1/providers",
    "/v1/providers/catalog",
    "/v1/routing/explain",
    "/nowhere",
]
GOOD_HOSTS = [
    *("127.0.0.1", "127.0.0.1:{port}", "localhost", "LOCALHOST:{port}", "[::1]", "[::1]:{port}"),
    *("redeo.lan", "desk.lan"),
]
BAD_HOSTS = [
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evil-localhost",
    "localhost.",
    "127.0.0.1.:{port}",
    "",
    ":{port}",
    "user@127.0.0.1",
    "127.0.0.1@evil.example",
    "127.0.0.1:",
    "localhost:x",
    "127.0.0.1:99999",
    "127.0.0.1:0",
    "127.1",
    "0x7f.1",
    "2130706433",
    "127.0.0.2",
    "0.0.0.0",
    "[::]",
    "::1",
    "[::1",
    "[::ffff:127.0.0.1]",
    "127.0.0.1/x",
    "127.0.0.1#",
    "127.0.0.1?x",
    "localhost evil.example",
    "redeo.lan.evil.example",
    "xredeo.lan",
    "127.0.0.1,evil.example",
    "%6cocalhost",
    "des\xe2\x84\xaa.lan",  # found by fuzzing: a Kelvin sign is a `k` in small letters
]


@pytest.fixture
async def server(redeo: Any, provider: Any) -> Redeo:
    up = await provider(chat())
    started: Redeo = await redeo(
        {"alpha": up}, allowed_hosts=["redeo.lan", "desk.lan"], allowed_origins=["http://app.local:3000"]
    )
    started.upstream = up  # type: ignore[attr-defined]  # for the tests below
    return started


async def raw(server: Redeo, request: bytes) -> tuple[int, bytes]:
    """Status and whole answer of raw bytes."""
    reader, writer = await asyncio.open_connection(*server.daemon.address)
    writer.write(request)
    await writer.drain()
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        length = next(
            (int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length")), 0
        )
        body = await asyncio.wait_for(reader.readexactly(length), 5) if length else b""
    finally:
        writer.close()
    server.canaries.add("raw answer", head + body)
    return int(head.split()[1]), head + body


def get(path: str, *headers: str) -> bytes:
    return ("\r\n".join([f"GET {path} HTTP/1.1", *headers]) + "\r\n\r\n").encode("latin-1")


@pytest.mark.parametrize("path", ROUTES)
async def test_foreign_hosts_are_refused_on_every_route(server: Redeo, path: str) -> None:
    port = server.daemon.address[1]
    for form in BAD_HOSTS:
        status, _ = await raw(
            server, get(path, "Host: " + form.format(port=port), f"Authorization: Bearer {server.key}")
        )
        assert status in (400, 421), form
    for form in GOOD_HOSTS:
        status, _ = await raw(
            server, get(path, "Host: " + form.format(port=port), f"Authorization: Bearer {server.key}")
        )
        assert status in (200, 404), form


async def test_none_or_two_hosts_and_other_targets_are_refused(server: Redeo) -> None:
    key = f"Authorization: Bearer {server.key}"
    assert (await raw(server, get("/healthz", key)))[0] == 400
    assert (await raw(server, get("/healthz", "Host: 127.0.0.1", "Host: evil.example")))[0] == 400
    assert (await raw(server, get("http://evil.example/healthz", "Host: 127.0.0.1", key)))[0] == 400
    assert (await raw(server, get("http://127.0.0.1/healthz", "Host: evil.example", key)))[0] in (400, 421)
    assert (await raw(server, b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))[0] == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Expect": "something-else"}, 417),
    ],
)
async def test_what_a_web_page_can_send_is_refused(server: Redeo, headers: dict[str, str], status: int) -> None:
    body = b'{"model": "auto", "messages": []}'
    sent = {"Content-Type": "application/json", **headers}
    for path in ("/v1/chat/completions", "/v1/providers"):
        got = await server.request("POST", path, data=body, headers=sent)
        assert got.status == status, (path, got.body)
        assert "access-control-allow-origin" not in {k.lower() for k in got.headers}
    assert not server.upstream.requests  # type: ignore[attr-defined]


async def test_preflight_is_answered_for_configured_origins_alone(server: Redeo) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    refused = await server.request("OPTIONS", "/v1/models", headers={"Origin": "http://evil.example", **asked})
    assert refused.status == 403
    allowed = await server.request("OPTIONS", "/v1/models", headers={"Origin": "http://app.local:3000", **asked})
    assert allowed.status == 204
    assert allowed.headers["Access-Control-Allow-Origin"] == "http://app.local:3000"
    got = await server.request("GET", "/v1/models", headers={"Origin": "http://app.local:3000"})
    assert got.status == 200


@pytest.mark.parametrize(
    ("wrong", "status"),
    [({"Authorization": "Bearer no"}, 401), ({"Upgrade": "h2c"}, 426), ({"Content-Type": "text/plain"}, 415)],
    ids=["key", "upgrade", "type"],
)
async def test_a_page_of_a_configured_origin_can_read_why_it_was_refused(
    server: Redeo, wrong: dict[str, str], status: int
) -> None:
    headers = {"Origin": "http://app.local:3000", "Content-Type": "application/json", **wrong}
    for path in ("/v1/chat/completions", "/v1/images/generations"):  # found at once, and by the router
        got = await server.request("POST", path, headers=headers, data=b"{}")
        assert got.status == status, got.body
        assert got.headers["Access-Control-Allow-Origin"] == "http://app.local:3000"
        assert got.headers["Vary"] == "Origin"


async def test_a_preflight_with_odd_bytes_in_it_is_answered(server: Redeo) -> None:
    asked = ("Origin: http://app.local:3000", "Access-Control-Request-Method: POST")
    request = get("/v1/models", "Host: 127.0.0.1", *asked, "Access-Control-Request-Headers: x-a")
    status, answer = await raw(server, request.replace(b"GET ", b"OPTIONS ").replace(b"x-a", b"x-\xff"))
    assert status == 204, answer
    assert b"http://app.local:3000" in answer


@pytest.mark.parametrize("name", ["Authorization", "x-api-key", "api-key", "x-goog-api-key"])
async def test_the_key_comes_in_any_of_four_headers(server: Redeo, name: str) -> None:
    value = f"Bearer {server.key}" if name == "Authorization" else server.key
    async with server.session.get(server.base + "/v1/models", headers={name: value}) as response:
        assert response.status == 200
    async with server.session.get(server.base + "/v1/models", headers={name: value + "x"}) as response:
        assert response.status == 401
        assert response.headers["x-should-retry"] == "false"


async def test_wrong_keys_are_slowed_down_and_a_right_one_never(server: Redeo) -> None:
    seen = []
    for _ in range(30):
        async with server.session.get(server.base + "/v1/models", headers={"x-api-key": "wrong"}) as response:
            seen.append(response.status)
            if response.status == 429:
                assert response.headers["Retry-After"] == "1"
    assert seen[0] == 401
    assert 429 in seen
    assert (await server.request("GET", "/v1/models")).status == 200


async def test_what_needs_no_key(server: Redeo) -> None:
    for path in ("/", "/healthz", "/readyz", "/livez", "/metrics", "/openapi.json", "/v1/providers/catalog"):
        async with server.session.get(server.base + path) as response:
            assert response.status == 200, path
    async with server.session.head(server.base + "/") as response:
        assert response.status == 200
    for method, path in (("GET", "/v1/providers"), ("POST", "/v1/providers/catalog"), ("GET", "/v1/models")):
        async with server.session.request(method, server.base + path) as response:
            assert response.status == 401, path


async def test_a_websocket_upgrade_gets_426(server: Redeo) -> None:
    upgrade = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ]
    for path in ("/v1/responses", "/responses"):
        status, _ = await raw(server, get(path, "Host: 127.0.0.1", f"Authorization: Bearer {server.key}", *upgrade))
        assert status == 426


async def test_what_stands_behind_an_upgrade_that_was_refused_is_answered(server: Redeo) -> None:
    reader, writer = await asyncio.open_connection(*server.daemon.address)
    writer.write(get("/v1/responses", "Host: 127.0.0.1", "Connection: Upgrade", "Upgrade: websocket"))
    writer.write(get("/healthz", "Host: 127.0.0.1", "Connection: close"))
    async with asyncio.timeout(20):
        assert re.findall(rb"HTTP/1.1 ([0-9]+)", await reader.read()) == [b"426", b"200"]
    writer.close()


async def test_nothing_waits_behind_an_upgrade_that_was_refused_before_its_body_came(
    server: Redeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows that body is for another protocol by then, and nobody reads it: the connection ends."""
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 600.0)
    own = ["Host: 127.0.0.1", f"Authorization: Bearer {server.key}", "Content-Length: 2"]
    upgrade = ["Connection: Upgrade", "Upgrade: websocket"]
    reader, writer = await asyncio.open_connection(*server.daemon.address)
    writer.write(get("/v1/responses", *own, *upgrade).replace(b"GET", b"POST", 1))
    async with asyncio.timeout(20):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 426")
        writer.write(b"{}" + get("/healthz", "Host: 127.0.0.1"))
        assert b"HTTP/1.1 200" not in await reader.read()
    writer.close()


async def test_malformed_requests_echo_nothing(server: Redeo) -> None:
    secret = server.canaries.key("a client")
    for request in (
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {secret}\x00\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization : Bearer {secret}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {secret}{'a' * 9000}\r\n\r\n",
        f"GET /{secret} HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
        f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nX: {secret}\r\n\r\n",
    ):
        status, answer = await raw(server, request.encode("latin-1"))
        assert status == 400
        assert secret[:16].encode() not in answer
        head = dict(line.split(": ", 1) for line in answer.decode("latin-1").lower().split("\r\n") if ": " in line)
        assert head["x-should-retry"] == "false"
        assert head["x-redeo-request-id"] == head["x-request-id"] == head["request-id"] != ""


async def test_a_doubled_v1_names_the_right_base_url(server: Redeo) -> None:
    got = await server.request("POST", "/v1/v1/messages", json={})
    assert got.status == 404
    assert "/v1` twice" in got.json["error"]["message"]


async def test_every_answer_carries_the_request_id(server: Redeo) -> None:
    for method, path in (("GET", "/"), ("GET", "/nowhere"), ("GET", "/v1/models"), ("PUT", "/v1/models")):
        got = await server.request(method, path)
        assert got.headers["x-redeo-request-id"] == got.headers["x-request-id"] == got.headers["request-id"]
        if got.status >= 400:
            assert got.headers["x-should-retry"] in ("true", "false")
            assert set(got.json["error"]) >= {"message", "type", "code"}


async def test_expect_100_continue(server: Redeo) -> None:
    body = b'{"model": "auto", "messages": []}'
    reader, writer = await asyncio.open_connection(*server.daemon.address)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    writer.write(head.encode())
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).startswith(b"HTTP/1.1 100")
    writer.write(body)
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).startswith(b"HTTP/1.1 200")
    writer.close()
