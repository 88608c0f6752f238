"""A page in the user's browser: under a name of its own (DNS rebinding) or as another site (CSRF) it gets nowhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.daemon import Redeo
from tests.support.raw import RawClient, every_route, get
from tests.support.upstream import Upstream, chat

FOREIGN = [
    "evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example:{port}", "evil-localhost",
    "localhost.", "127.0.0.1.:{port}", "", ":{port}", "user@127.0.0.1", "127.0.0.1@evil.example", "127.0.0.1:",
    "localhost:x", "127.0.0.1:99999", "127.0.0.1:0", "127.1", "0x7f.1", "2130706433", "127.0.0.2", "0.0.0.0", "[::]",
    "::1", "[::1", "[::ffff:127.0.0.1]", "127.0.0.1/x", "127.0.0.1#", "localhost evil.example", "xredeo.lan",
    "redeo.lan.evil.example", "127.0.0.1,evil.example", "%6cocalhost", "localhost\t.evil.example", "loc\xe5lhost",
    "[::1%25lo]", "127.0.0.1\\.evil.example", "localhost:{port}:{port}",
]  # fmt: skip
OWN = ["127.0.0.1", "127.0.0.1:{port}", "localhost", "LOCALHOST:{port}", "[::1]", "[::1]:{port}", "redeo.lan"]


@pytest.fixture
async def up(provider: Any) -> Upstream:
    made: Upstream = await provider(chat(), models=["m"])
    return made


@pytest.fixture
async def server(redeo: Any, up: Upstream) -> Redeo:
    started: Redeo = await redeo({"alpha": up}, allowed_hosts=["redeo.lan"])
    return started


@pytest.fixture
def client(server: Redeo) -> Any:
    made = RawClient(server)
    yield made
    made.close()


def quiet(server: Redeo, up: Upstream) -> bool:
    """Whether nobody was called and nothing changed."""
    names = [connection.provider for connection in server.daemon.store.current.connections]
    return names == ["alpha"] and not up.requests and not up.list_requests


async def test_under_a_foreign_name_no_route_answers(server: Redeo, client: RawClient, up: Upstream) -> None:
    """With the right key and without: whether it was right is not to be learnt either."""
    port, key = server.daemon.address[1], f"Authorization: Bearer {server.key}"
    for method, path in every_route(server):
        for number, form in enumerate(FOREIGN):
            keys = [key] if number % 2 else []
            got = await client.ask(get(path, "Host: " + form.format(port=port), *keys, method=method))
            assert got.status in (400, 421), (method, path, form)
            assert b"redeo_" not in got.body
            assert b'"data"' not in got.body
    assert quiet(server, up)


async def test_under_a_name_of_its_own_every_route_answers(server: Redeo, client: RawClient) -> None:
    port, key = server.daemon.address[1], f"Authorization: Bearer {server.key}"
    for form in OWN:
        for method, path in every_route(server):
            if method in ("GET", "HEAD") and path.split("/")[-1] in ("models", "metrics", "healthz", "catalog", ""):
                got = await client.ask(get(path, "Host: " + form.format(port=port), key, method=method))
                assert got.status == 200, (method, path, form)


async def test_no_host_two_hosts_and_other_forms_of_the_target_are_refused_on_every_route(
    server: Redeo, client: RawClient, up: Upstream
) -> None:
    key = f"Authorization: Bearer {server.key}"
    for method, path in every_route(server):
        for request in (
            get(path, key, method=method),
            get(path, "Host: localhost", "Host: localhost", key, method=method),
            get(path, "Host: localhost", "Host: evil.example", key, method=method),
            get(f"http://localhost{path}", "Host: localhost", key, method=method),
            get(f"http://evil.example{path}", "Host: localhost", key, method=method),
            get(f"http://localhost{path}", "Host: evil.example", key, method=method),
            get(f"//evil.example{path}", "Host: evil.example", key, method=method),
        ):
            assert (await client.ask(request)).status in (400, 421), request
    assert quiet(server, up)


BODY = json.dumps({"model": "auto", "messages": [], "provider": "groq", "api_key": "gsk_0123456789"})
# What a page can have sent without the daemon's consent (Fetch, "CORS-safelisted request-header"), and its variants.
KINDS = [
    None,
    "",
    "text/plain",
    "text/plain;charset=UTF-8",
    "text/plain; application/json",
    "text/plain; x=application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/csp-report",
    "application/reports+json",
    "application/jsonp",
    "text/json",
    "application/json/x",
    "text/plain, application/json",
]


async def test_a_form_a_beacon_and_a_fetch_without_leave_change_and_cost_nothing(
    server: Redeo, client: RawClient, up: Upstream
) -> None:
    """Even with the key: a body of these kinds is not taken."""
    host, key = "Host: localhost", f"Authorization: Bearer {server.key}"
    for method, path in every_route(server):
        if method not in ("POST", "PATCH"):
            continue
        takes_files = any(part in path for part in ("/images/", "/audio/", "/files"))
        for kind in KINDS:
            if takes_files and kind is not None and kind.startswith("multipart/"):
                continue
            headers = [host, key, f"Content-Length: {len(BODY)}"] + ([] if kind is None else [f"Content-Type: {kind}"])
            got = await client.ask(get(path, *headers, method=method) + BODY.encode())
            assert got.status == 415, (method, path, kind, got.body)
    assert quiet(server, up)


@pytest.mark.parametrize(
    "headers",
    [
        ["Origin: https://evil.example"],
        ["Origin: null"],
        ["Origin: http://localhost"],
        ["Origin: http://localhost:1"],
        ["Origin: https://localhost:{port}.evil.example"],
        ["Origin: file://"],
        ["Origin: "],
        ["Origin: http://localhost:{port}", "Origin: https://evil.example"],
        ["Origin: http://localhost:{port} https://evil.example"],
        ["Sec-Fetch-Site: cross-site"],
        ["Sec-Fetch-Site: same-site"],
        ["Sec-Fetch-Site: CROSS-SITE"],
        ["Sec-Fetch-Site: anything"],
        ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"],
        ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"],
        ["Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"],
    ],
)
async def test_another_site_is_refused_on_every_route(
    server: Redeo, client: RawClient, up: Upstream, headers: list[str]
) -> None:
    port = server.daemon.address[1]
    sent = [header.format(port=port) for header in headers]
    for method, path in every_route(server):
        body = BODY.encode() if method in ("POST", "PATCH") else b""
        framing = ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
        key = f"Authorization: Bearer {server.key}"
        got = await client.ask(get(path, f"Host: localhost:{port}", key, *framing, *sent, method=method) + body)
        assert got.status == 403, (method, path, got.body)
        assert b"access-control" not in got.head.lower()
    assert quiet(server, up)


async def test_a_preflight_of_another_site_is_refused_on_every_route(server: Redeo, client: RawClient) -> None:
    asked = ["Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type"]
    asked.append("Access-Control-Request-Private-Network: true")
    for path in {path for _, path in every_route(server)}:
        got = await client.ask(get(path, "Host: localhost", "Origin: https://evil.example", *asked, method="OPTIONS"))
        assert got.status == 403, (path, got.body)
        assert b"access-control" not in got.head.lower()


async def test_a_websocket_of_another_site_is_refused(server: Redeo, client: RawClient) -> None:
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="]
    for path in ("/v1/responses", "/v1/models", "/"):
        got = await client.ask(get(path, "Host: localhost", "Origin: https://evil.example", *upgrade))
        assert got.status in (400, 403)


async def test_an_image_or_a_script_of_an_old_browser_has_no_key(
    server: Redeo, client: RawClient, up: Upstream
) -> None:
    """It says nothing of where it comes from; what it may see without a key is no secret, and not to be sniffed."""
    for method, path in every_route(server):
        got = await client.ask(get(path, "Host: localhost", "Referer: https://evil.example/", method=method))
        assert got.status in (200, 401, 429), (method, path)
        if got.status == 200:
            assert b"x-content-type-options: nosniff" in got.head.lower()
            assert b"alpha-model" not in got.body
    assert quiet(server, up)
