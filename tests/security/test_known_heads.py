"""A head that a client sends again is looked up, not checked again: which must let nothing pass that would not else."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest

from tests.support.daemon import Redeo
from tests.support.raw import RawClient
from tests.support.upstream import Received, Upstream, Wire, chat

BODY = b'{"model":"alpha/m","messages":[{"role":"user","content":"hi"}]}'


@pytest.fixture
async def up(provider: Any) -> Upstream:
    made: Upstream = await provider(chat())
    return made


@pytest.fixture
async def server(redeo: Any, up: Upstream) -> Redeo:
    started: Redeo = await redeo({"alpha": up}, allowed_hosts=["desk.lan"], allowed_origins=["http://app.local:3000"])
    return started


@pytest.fixture
def client(server: Redeo) -> Any:
    made = RawClient(server)
    yield made
    made.close()


def head(server: Redeo, *more: str, key: str | None = None, length: int = len(BODY)) -> bytes:
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "Host: desk.lan",
        f"Authorization: Bearer {key or server.key}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
        *more,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def get_known(client: RawClient, *requests: bytes) -> None:
    """Have it learn of each of these."""
    for request in requests * 4:
        assert (await client.ask(request)).status == 200


async def test_a_known_head_brings_each_body_and_what_goes_on_of_the_head(
    server: Redeo, client: RawClient, up: Upstream
) -> None:
    for number in range(24):
        agent = f"User-Agent: some Content-Length: {number // 3 % 2}"
        body = BODY[:-1] + b'%b,"seed":%d}' % (b" " * (number // 12 * number), number)
        said = head(server, f"X-Title: {number // 6 % 2}", "X-Content-Length: 3", length=len(body))
        said = said.replace(b"Host:", agent.encode() + b"\r\nHost:")
        assert (await client.ask(said + body)).status == 200
        came = up.requests[-1]
        assert json.loads(came.body)["seed"] == number
        assert came.header("user-agent") == agent.partition(": ")[2]
        assert came.header("x-title") == str(number // 6 % 2)
        assert came.header("authorization") != f"Bearer {server.key}"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"desk.lan", b"desk.evil"), 421),
        ((b"application/json", b"text/plain"), 415),
        ((b"\r\nContent-Length", b"\r\nOrigin: http://evil.example\r\nContent-Length"), 403),
        ((b"\r\nContent-Length", b"\r\nSec-Fetch-Site: cross-site\r\nContent-Length"), 403),
        ((b"\r\nContent-Length", b"\r\nTransfer-Encoding: chunked\r\nContent-Length"), 400),
        ((b"\r\nContent-Length", b"\r\nContent-Length: 4\r\nContent-Length"), 400),
        ((b"\r\nContent-Length", b"\r\nContent-Encoding: gzip\r\nContent-Length"), 415),
        ((b"\r\nContent-Length", b"\r\nUpgrade: h2c\r\nContent-Length"), 426),
        ((b"Bearer ", b"Bearer x"), 401),
        ((b"Authorization", b"Authorisation"), 401),
        ((b"POST /v1/chat/completions", b"POST http://desk.lan/v1/chat/completions"), 400),
    ],
)
async def test_what_differs_from_a_known_head_is_checked(
    server: Redeo, client: RawClient, change: tuple[bytes, bytes], status: int
) -> None:
    known = head(server) + BODY
    await get_known(client, known)
    assert (await client.ask(known.replace(*change, 1))).status == status
    assert (await client.ask(known)).status == 200


async def test_what_may_pass_without_a_body_is_not_known_with_one(server: Redeo, client: RawClient) -> None:
    page = head(server, length=0).replace(b"application/json", b"text/plain")
    for _ in range(4):
        assert (await client.ask(page)).status == 400  # nothing to be asked, but let in
    assert (await client.ask(page.replace(b"Length: 0", b"Length: %d" % len(BODY)) + BODY)).status == 415


async def test_who_waits_behind_another_is_not_taken_for_who_came_last(
    server: Redeo, client: RawClient, up: Upstream
) -> None:
    known, go_on = head(server) + BODY, asyncio.Event()
    await get_known(client, known)

    async def slow(received: Received, wire: Wire) -> None:
        await go_on.wait()
        await chat()(received, wire)

    up.scripts = [slow, chat()]
    wrong = head(server, key="rd-wrong") + BODY
    first = asyncio.create_task(client.ask(known))
    await up.wait_requests(5)
    (connection,) = [one for one in server.daemon._runner.server.connections if one._current_request is not None]
    assert client.writer is not None
    for waiting, request in enumerate((wrong, known), start=1):
        client.writer.write(request)
        while len(connection._messages) < waiting:
            await asyncio.sleep(0)
    go_on.set()
    assert (await first).status == 200
    assert [(await client.ask(b"")).status for _ in range(2)] == [401, 200]


async def test_what_stands_before_a_head_does_not_become_known(server: Redeo, client: RawClient) -> None:
    """Empty lines before a request are skipped (RFC 9112, 2.2)."""
    body = BODY[:-1] + b" " * 1000 + b"}"
    expects = "Expect: 100-continue"
    for _ in range(4):
        assert (await client.ask(b"\r\n\r\n" + head(server, expects, length=len(body)))).status == 100
        assert (await client.ask(body)).status == 200
        client.close()
    wrong = head(server, expects, key="rd-wrong", length=len(body))
    assert (await client.ask(b"\r\n\r\n" + wrong)).status == 401


async def test_a_known_head_in_a_body_is_not_taken_for_that_of_the_next_request(
    server: Redeo, client: RawClient
) -> None:
    """Where empty lines before the first request have somebody miscount how much of its body is still to come."""
    known = head(server)
    await get_known(client, known + BODY)
    wrong = head(server, key="rd-wrong", length=1000)
    size = 2000
    first = head(server, "Expect: 100-continue", f"X-Padding: {'x' * len(known)}", length=size)
    rest = known + b" " * (len(first) - len(known))
    client.close()
    assert (await client.ask(b"\r\n\r\n" + first)).status == 100
    (connection,) = [one for one in server.daemon._runner.server.connections if one._current_request is not None]
    content = connection._current_request.content
    assert client.writer is not None
    client.writer.write(b" " * (size - len(rest)))
    while content.total_bytes < size - len(rest):
        await asyncio.sleep(0)
    assert (await client.ask(rest + wrong)).status == 400
    assert (await client.ask(b" " * 1000)).status == 401


async def test_another_host_of_the_configuration_holds_for_known_heads(server: Redeo, client: RawClient) -> None:
    known = head(server) + BODY
    await get_known(client, known)
    written = json.loads(server.config.read_text())
    written["allowed_hosts"] = []
    server.config.write_text(json.dumps(written))
    assert await server.daemon.store.reload() == []
    assert (await client.ask(known)).status == 421


async def test_another_origin_of_the_configuration_holds_for_known_heads(server: Redeo, client: RawClient) -> None:
    known = head(server, "Origin: http://app.local:3000") + BODY
    await get_known(client, known)
    assert b"Access-Control-Allow-Origin: http://app.local:3000" in (await client.ask(known)).head
    written = json.loads(server.config.read_text())
    written["allowed_origins"] = []
    server.config.write_text(json.dumps(written))
    assert await server.daemon.store.reload() == []
    refused = await client.ask(known)
    assert refused.status == 403
    assert b"Access-Control-Allow-Origin" not in refused.head


async def test_another_key_holds_for_known_heads(server: Redeo, client: RawClient) -> None:
    known = head(server) + BODY
    await get_known(client, known)
    server.daemon.front.key_digest = hashlib.sha256(b"rd-another").digest()
    assert (await client.ask(known)).status == 401
    assert (await client.ask(head(server, key="rd-another") + BODY)).status == 200


async def test_many_heads_are_known_at_a_time_and_none_takes_the_place_of_another(
    server: Redeo, client: RawClient, up: Upstream
) -> None:
    """More than are kept, and each of them twice in a row and again later."""
    for number in [*(n for n in range(80) for _ in "123"), *range(80)]:
        assert (await client.ask(head(server, f"X-Title: {number}") + BODY)).status == 200
        assert up.requests[-1].header("x-title") == str(number)
