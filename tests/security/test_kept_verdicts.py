"""Requests come out the same whether their heads are known or not, however they are framed, mixed and cut.

Two servers with the daemon's guard: one as it is, one that never keeps a head, where aiohttp's parser reads everything.
Both get the same reads, one after the other, and are to answer the same.
"""

from __future__ import annotations

import asyncio
import fcntl
import re
import socket
import struct
import termios
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any, cast

import pytest
from aiohttp import web
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.front import FRONT, Door, Runner
from proxy.front.connection import Whole
from proxy.front.errors import Received
from proxy.front.reply import HttpReply
from tests.support.daemon import Redeo

STATUS = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) ")
TURNS = 12  # of the loop, after which a server that is sent nothing does nothing more
Seen = tuple[list[tuple[str, str, bytes]], list[bytes], bool]  # what handlers got, what was answered, whether it closed
Read = tuple[bytes, bool]  # some bytes, and whether they are dealt with before the next ones come

KEY = b"rd-" + b"K" * 43  # stands for the daemon's, and is as long
FIRSTS = [
    b"POST /whole HTTP/1.1",
    b"POST /stream HTTP/1.1", b"POST /refuse HTTP/1.1", b"GET /whole HTTP/1.1", b"HEAD /whole HTTP/1.1",
    b"POST /whole HTTP/1.0", b"POST /stream HTTP/1.0", b"CONNECT /whole HTTP/1.1", b"POST  /whole HTTP/1.1",
    b"POST /whole", b"GET /whole\n\r\nPOST /whole HTTP/1.1",
]  # fmt: skip
LINES = [
    b"", b"",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n", b"X: y\r\n z\r\n",
    b"Upgrade: websocket\r\nConnection: upgrade\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n",
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Type: text/plain\r\n", b"X: y\n", b"\n",
]  # fmt: skip
LENGTHS = [
    b"Content-Length: %d", b"Content-Length: %d",
    b"content-length: %d", b"Content-Length: 00%d", b"Content-Length: +%d", b"Content-Length: %d ",
    b"Content-Length:%d", b"Content-Length: %d\r\nContent-Length: %d", b"X: %d", b"Content-Length: 9%d",
    b"Content-Length: 18446744073709551615",
]  # fmt: skip
BEGUN = b"GET /stream HTTP/1.1\r\nX: "  # what comes next goes on with this
BETWEEN = [b"", b"", b"\r\n", b"\r\n\r\n", b"\n", b" ", b"\r", b"\0", b"x", BEGUN]


def framed(first: bytes, line: bytes, length: bytes, body: bytes, off: int, key: bytes) -> bytes:
    """A request that says that its body has so many bytes more than it has."""
    said = length % ((max(0, len(body) + off),) * length.count(b"%"))
    own = b"Host: localhost\r\nx-api-key: %b\r\nContent-Type: application/json\r\n" % key
    return first + b"\r\n" + own + line + said + b"\r\n\r\n" + body


def chunked(body: bytes) -> bytes:
    """A request with an extension and a trailer."""
    return framed(
        FIRSTS[0],
        b"",
        b"Transfer-Encoding: chunked",
        b"%x;a=b\r\n%b\r\n0\r\nTrailer: x\r\n\r\n" % (len(body), body),
        0,
        KEY,
    )


def made(**odd: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Requests of which nothing else is odd."""
    plain = {"first": FIRSTS[0], "line": b"", "length": LENGTHS[0], "body": b"1", "off": 0, "key": KEY}
    return st.builds(framed, **{name: odd.get(name, st.just(value)) for name, value in plain.items()})  # type: ignore[arg-type]


PLAIN = made(body=st.sampled_from([b"1", b'{"a":1}']))
BODIES = st.sampled_from([b"", b"1" * 300, b"\r\n\r\n", BEGUN]) | PLAIN
ODD = {
    "first": st.sampled_from(FIRSTS),
    "line": st.sampled_from(LINES),
    "length": st.sampled_from(LENGTHS),
    "off": st.sampled_from([1, -1, 7, 150]),
    "key": st.just(b"wrong"),
}
KNOWN = framed(FIRSTS[0], b"", LENGTHS[0], b"1", 0, KEY)
CONNECT = framed(b"CONNECT /whole HTTP/1.1", b"", LENGTHS[0], BEGUN, 0, KEY)
REQUESTS = st.one_of(
    PLAIN, PLAIN, PLAIN, st.builds(chunked, BODIES), st.sampled_from(BETWEEN), made(body=BODIES),
    *(made(body=BODIES, **{name: values}) for name, values in ODD.items()), made(body=BODIES, **ODD),
)  # fmt: skip


@st.composite
def reads(draw: st.DrawFn) -> list[Read]:
    """What one client sends, as it is read: mostly request by request."""
    found: list[Read] = []
    for request in draw(st.lists(REQUESTS, min_size=1, max_size=6)):
        cuts = sorted(draw(st.lists(st.integers(0, len(request)), max_size=2))) if draw(st.integers(0, 2)) == 0 else []
        pieces = [request[start:end] for start, end in pairwise([0, *cuts, len(request)])]
        if found and draw(st.integers(0, 3)) == 0:
            pieces[0] = found.pop()[0] + pieces[0]
        found += [(piece, draw(st.integers(0, 3)) > 0) for piece in pieces]
    return [(data, waits) for data, waits in found if data]


class Ours:
    """A server behind the guard, whose handlers write down what they get."""

    def __init__(self, server: Redeo, *, keeps: bool) -> None:
        self.key = server.key.encode()
        assert len(self.key) == len(KEY)
        self.looked_up = 0
        self._front = server.daemon.front
        self._seen: list[tuple[str, str, bytes]] = []
        app = web.Application()
        app[FRONT] = self._front
        for path in ("/whole", "/stream", "/refuse"):
            app.router.add_route("*", path, self._answer)
        door = Door(app)
        if not keeps:
            door.heads.keep = lambda *_: None  # type: ignore[method-assign]
        self.runner = Runner(app, door, shutdown_timeout=0.1)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/refuse":
            raise web.HTTPRequestEntityTooLarge(max_size=1, actual_size=2)
        self.looked_up += isinstance(request.content, Whole)
        self._seen.append((request.method, request.path, await request.read()))
        if request.path == "/whole":
            return web.Response(text="read")
        reply = HttpReply(cast(Received, request), self._front)
        reply.begin(200, [])
        await asyncio.sleep(0)
        reply.put(b"read")
        await reply.end()
        assert reply.response is not None
        return reply.response

    async def get(self, sent: list[Read]) -> Seen:
        """What comes of this on a connection of its own."""
        loop = asyncio.get_running_loop()
        ours, client = socket.socketpair()
        client.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(cast(Any, self.runner.server), ours)
        self._seen = []
        answered, closed = b"", False
        for data, waits in [*sent, (b"", True)]:
            if transport.is_closing():
                break
            client.send(data.replace(KEY, self.key))
            while transport.is_reading() and _waiting(ours):
                await asyncio.sleep(0)
            for _ in range(TURNS if waits else 1):
                await asyncio.sleep(0)
        try:
            while piece := client.recv(65536):
                answered += piece
            closed = True
        except (BlockingIOError, ConnectionError) as exc:
            closed = isinstance(exc, ConnectionError)
        client.close()
        transport.abort()
        await asyncio.sleep(0)
        return self._seen, STATUS.findall(answered), closed


def _waiting(sock: socket.socket) -> int:
    """Bytes that nobody has read yet."""
    count = bytearray(4)
    if sock.fileno() >= 0:
        fcntl.ioctl(sock.fileno(), termios.FIONREAD, count)
    return int(struct.unpack("i", count)[0])


@pytest.fixture
async def both(redeo: Any) -> AsyncIterator[tuple[Ours, Ours]]:
    server: Redeo = await redeo({})
    made = Ours(server, keeps=True), Ours(server, keeps=False)
    for one in made:
        await one.runner.setup()
    yield made
    for one in made:
        await one.runner.cleanup()


async def test_the_same_requests_come_out(both: tuple[Ours, Ours]) -> None:
    keeps, reads_all = both
    loop = asyncio.get_running_loop()

    async def compare(sent: list[Read]) -> None:
        for _ in range(3):  # heads are known the third time at the latest
            assert await keeps.get(sent) == await reads_all.get(sent)

    @settings(max_examples=600)
    @given(reads())
    @example([(KNOWN, True), (CONNECT, True), (KNOWN, True)])
    def alike(sent: list[Read]) -> None:
        asyncio.run_coroutine_threadsafe(compare(sent), loop).result(60)

    await asyncio.to_thread(alike)
    assert keeps.looked_up > 100
    assert reads_all.looked_up == 0
