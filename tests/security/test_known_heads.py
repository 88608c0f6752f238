"""A head that a client sends again is looked up, not checked again: which must let nothing pass that would not else."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
from itertools import pairwise
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader

from proxy.front.connection import Whole
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


@pytest.mark.parametrize(
    "length", ["+%d", " %d", "%d ", "0x%x", "%d,%d", "-%d", "", "%d\n", "%d\nOrigin: http://evil.example", "1_%d"]
)
async def test_an_odd_length_behind_a_known_head_is_read_as_behind_any(
    server: Redeo, client: RawClient, length: str
) -> None:
    odd = length % ((len(BODY),) * length.count("%"))
    asked = head(server).replace(b"Content-Length: %d" % len(BODY), b"Content-Length: " + odd.encode()) + BODY
    before = (await client.ask(asked)).status
    client.close()
    await get_known(client, head(server) + BODY)
    assert (await client.ask(asked)).status == before
    assert before == (200 if odd.strip(" ") == str(len(BODY)) else 400)


async def test_a_body_that_is_a_known_request_is_a_body(server: Redeo, client: RawClient, up: Upstream) -> None:
    known = head(server) + BODY
    await get_known(client, known)
    before = len(up.requests)
    assert (await client.ask(head(server, "Expect: 100-continue", length=len(known)))).status == 100
    assert (await client.ask(known)).status == 400  # it is no JSON
    assert len(up.requests) == before
    assert (await client.ask(known)).status == 200


@pytest.mark.parametrize("seed", range(8))
async def test_requests_cut_anyhow_come_to_the_same(server: Redeo, up: Upstream, seed: int) -> None:
    """Known heads and others on one connection, one after the other or many at once, in pieces of any size."""
    drawn = random.Random(seed)
    asked = 0
    for _ in range(8):
        reader, writer = await asyncio.open_connection(*server.daemon.address)
        for many in drawn.choice([(1, 1, 1, 1, 1), (1, 1, 1, 1, 5), (2, 1, 3)]):
            together = b"".join(numbered(server, drawn, number) for number in range(asked, asked + many))
            cuts = sorted(drawn.choices(range(len(together)), k=drawn.choice([0, 0, 1, 2])))
            for start, end in pairwise([0, *cuts, len(together)]):
                writer.write(together[start:end])
                await asyncio.sleep(0)  # so that it is likely to come by itself
            for _ in range(many):
                answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
                assert answer.startswith(b"HTTP/1.1 200 ")
                await reader.readexactly(int(re.findall(rb"Content-Length: ([0-9]+)", answer)[0]))
            asked += many
        writer.close()
    assert [json.loads(came.body)["seed"] for came in up.requests] == list(range(asked))


def numbered(server: Redeo, drawn: random.Random, number: int) -> bytes:
    """A request that says which one it is, framed in one of several ways."""
    body = BODY[:-1] + b',"seed":%d,"user":"%b"}' % (number, b"x" * drawn.choice([0, 0, 9, 2_000, 400_000]))
    more = drawn.choice([(), (), (), ("X-Title: other",)])
    if drawn.random() < 0.05:
        plain = head(server, "Transfer-Encoding: chunked").replace(b"Content-Length: %d\r\n" % len(BODY), b"")
        return plain + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return head(server, *more, length=len(body)) + body


async def test_the_daemons_own_interface_reads_bodies_behind_known_heads(server: Redeo, client: RawClient) -> None:
    for number in range(5):
        body = b'{"priority":%d}' % number
        asked = head(server, length=len(body)).replace(b"POST /v1/chat/completions", b"PATCH /v1/providers/alpha")
        answer = await client.ask(asked + body)
        assert answer.status == 200
        assert json.loads(answer.body)["priority"] == number


async def test_a_body_that_is_there_reads_like_one_that_came() -> None:
    async def there(body: bytes) -> StreamReader:
        return Whole(body)

    async def came(body: bytes) -> StreamReader:
        reader = StreamReader(BaseProtocol(asyncio.get_running_loop()), 2**16, loop=asyncio.get_running_loop())
        reader.feed_data(body)
        reader.feed_eof()
        return reader

    async def read(body: StreamReader) -> list[Any]:
        first = [body.is_eof(), body.at_eof(), body.total_bytes, body.exception(), await body.read(3), body.at_eof()]
        return [
            *first,
            body.read_nowait(2),
            await body.readchunk(),
            body.at_eof(),
            await body.read(),
            await body.readany(),
        ]

    assert await read(await there(BODY)) == await read(await came(BODY))
    for made in (there, came):
        body = await made(BODY)
        body.set_exception(ConnectionResetError("gone"))
        assert isinstance(body.exception(), ConnectionResetError)
        for reading in (body.read(), body.readany(), body.readchunk()):
            with pytest.raises(ConnectionResetError):
                await reading


async def test_a_request_with_a_known_head_waits_for_its_turn(redeo: Any, provider: Any) -> None:
    go = asyncio.Event()

    async def script(received: Any, wire: Any) -> None:
        if b"slow" in received.body:
            await go.wait()
        await chat()(received, wire)

    up = await provider(script)
    limits = {"max_in_flight": 1, "max_queue": 1, "queue_seconds": 30}
    server = await redeo({"alpha": up}, allowed_hosts=["desk.lan"], limits=limits)
    clients = [RawClient(server) for _ in range(3)]
    known, slow = head(server) + BODY, BODY.replace(b'"hi"', b'"slow"')
    await get_known(clients[0], known)
    served = asyncio.create_task(clients[0].ask(head(server, length=len(slow)) + slow))
    await up.wait_requests(5)
    others = [asyncio.create_task(client.ask(known)) for client in clients[1:]]
    refused, waiting = await asyncio.wait(others, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    assert [one.result().status for one in refused] == [503]
    go.set()
    assert [(await one).status for one in (served, *waiting)] == [200, 200]
    for client in clients:
        client.close()


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


async def test_credentials_that_nobody_asks_for_are_not_kept_with_a_known_head(
    server: Redeo, client: RawClient
) -> None:
    secrets = [server.canaries.key("a page"), server.canaries.key("a gateway")]
    known = head(server, f"Cookie: id={secrets[0]}", f"Proxy-Authorization: Bearer {secrets[1]}") + BODY
    await get_known(client, known)
    kept = server.daemon._runner._handler.heads._known  # type: ignore[attr-defined]
    (read,) = [dict(one.message.headers) for one in kept.values()]
    assert "desk.lan" in str(read)
    assert not [secret for secret in secrets if secret in str(read)]
    assert (await client.ask(known)).status == 200


async def test_what_comes_with_a_connect_is_not_its_body(server: Redeo, client: RawClient, up: Upstream) -> None:
    """It has none (RFC 9110, 9.3.6): what came as one begins the next request, and a known head may go on with that."""
    known, begun = head(server) + BODY, b"GET /livez HTTP/1.1\r\nX-Begun: "
    await get_known(client, known)
    before = len(up.requests)
    refused = head(server, length=len(begun)).replace(b"POST", b"CONNECT") + begun
    assert (await client.ask(refused)).status == 404
    assert (await client.ask(known)).status == 200
    assert len(up.requests) == before, "it was but a header of what had begun"


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
