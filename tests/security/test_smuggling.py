"""Where one request ends and the next begins is read as others read it, or the request is refused.

A corpus of ambiguous requests goes to the daemon's own server, guard included, and to two other parsers: h11 and the
pure-Python one of aiohttp (the daemon runs its C parser). Whatever the daemon accepts, both must have read the same.
Forms: RFC 9112 sections 2, 3, 5, 6, 7 and 11; the tricks are those of published work on request smuggling.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import h11
import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParserPy

from proxy.front import FRONT, Door, Runner
from tests.support.daemon import Redeo

SECONDS = 20.0
STATUS = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) ")
# What the C parser forgives and another one refuses, while nobody reads anything else: empty lines before a request
# (RFC 9112 2.2 says to skip them) and more than one blank in its first line (RFC 9112 3 leaves that open).
FORGIVEN = re.compile(rb'(?:\A|{"a":1}|0\r\n\r\n)[\r\n]+(?:POST|GET) |POST  /first|POST /first  HTTP')
Read = tuple[bytes, bytes, bytes]  # method, target, body of one request
BODY = b'{"a":1}'
NEXT = b"GET /next HTTP/1.1\r\nHost: localhost\r\nx-api-key: %(key)s\r\n\r\n"


def head(*lines: bytes, first: bytes = b"POST /first HTTP/1.1", end: bytes = b"\r\n") -> bytes:
    """The head of a request of ours with these lines for its framing."""
    own = [b"Host: localhost", b"x-api-key: %(key)s", b"Content-Type: application/json"]
    return end.join([first, *own, *lines]) + end + end


def chunked(body: bytes = BODY) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


LENGTHS = [
    b"7", b"07", b"+7", b"-7", b" 7", b"7 ", b"\t7", b"7\t", b"7,7", b"7, 7", b"7,8", b"7;8", b"0x7", b"7.0",
    b"7e0", b"", b"7 8", b"\x0b7", b"\xb9", b"7\x00", b"9999999999999999999999", b"18446744073709551623", b"0",
    b"1_0", b"seven", b'"7"', b"7\x0c", b"\xd9\xa7", b"00000000000000000007", b"8", b"6",
]  # fmt: skip
CODINGS = [
    b"chunked", b"Chunked", b"CHUNKED", b" chunked", b"chunked ", b"\tchunked", b"chunked\t", b"\x0bchunked",
    b"chunked\x0b", b"chunked,", b",chunked", b"chunked, chunked", b"identity", b"identity, chunked",
    b"chunked, identity", b"gzip, chunked", b"chunked, gzip", b"gzip", b"xchunked", b"chunkedx", b"chunked;q=1",
    b'"chunked"', b"chunk", b"", b"chunked\x00", b"chun\tked", b"cow", b"trailers, chunked", b"\xa0chunked",
    b"chunked\r\n ", b"\r\n chunked",
]  # fmt: skip
NAMES = [
    b"Content-Length", b"content-length", b"Content-Length ", b" Content-Length", b"Content_Length",
    b"Content-Length\t", b"Content\x00-Length", b"Content-Length\x0b", b"X\r\nContent-Length", b"Content Length",
    b"Content-Length:", b"\xef\xbb\xbfContent-Length",
]  # fmt: skip
CODING_NAMES = [
    b"Transfer-Encoding", b"transfer-encoding", b"Transfer-Encoding ", b" Transfer-Encoding", b"Transfer_Encoding",
    b"Transfer-Encoding\t", b"Transfer\x00-Encoding", b"X: y\nTransfer-Encoding", b"X: y\rTransfer-Encoding",
    b"X: y\r\rTransfer-Encoding", b"X:\nTransfer-Encoding", b"Transfer Encoding", b"\x0bTransfer-Encoding",
    b"X: y\r\n\tTransfer-Encoding",
]  # fmt: skip
SIZES = [
    b"7", b"07", b"+7", b"-7", b"0x7", b" 7", b"7 ", b"7\t", b"7;", b"7;x", b"7;x=y", b'7;x="y"', b'7;x="\r\n"',
    b"7 ;x", b"7\x0b", b"7\x00", b"G", b"", b"7\r", b"7;\n", b"7;x\n", b"7\n", b"00000000000000000007",
    b"FFFFFFFFFFFFFFFF7", b"10000000000000007", b"7,", b"7.0", b"7_", b"\xef\xbc\x97", b"-0", b"7;\x00", b"7;x\ry",
    b"8", b"6",
]  # fmt: skip
ENDS = [
    b"0\r\n\r\n", b"0\n\n", b"0\r\n\n", b"0\n\r\n", b"0\r\r\n\r\n", b"00\r\n\r\n", b"000000\r\n\r\n",
    b"0;x\r\n\r\n", b"0 \r\n\r\n", b"-0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"0\r\nContent-Length: 9\r\n\r\n",
    b"0\r\nHost: evil\r\n\r\n", b"0\r\nX\r\n\r\n", b"0\r\n X: y\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\nX: y\n\n",
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\nX: \x00\r\n\r\n", b"0x0\r\n\r\n", b"\r\n0\r\n\r\n",
    b"0\r\n",
]  # fmt: skip
FIRSTS = [
    b"POST /first HTTP/1.0", b"POST /first HTTP/1.2", b"POST /first HTTP/0.9", b"POST /first HTTP/2.0",
    b"POST /first", b"POST  /first HTTP/1.1", b"POST /first  HTTP/1.1", b"POST\t/first\tHTTP/1.1",
    b" POST /first HTTP/1.1", b"POST /first HTTP/1.1 ", b"POST /first HTTP/1.1\t", b"POST /fi rst HTTP/1.1",
    b"POST /first\x00 HTTP/1.1", b"POST /first#x HTTP/1.1", b"POST /f\xc3\xa9 HTTP/1.1", b"POST /f\xff HTTP/1.1",
    b"post /first HTTP/1.1", b"PO\x00ST /first HTTP/1.1", b"PO(ST /first HTTP/1.1",
    b"POST http://localhost/first HTTP/1.1", b"POST * HTTP/1.1", b"CONNECT localhost:80 HTTP/1.1",
    b"POST /first http/1.1", b"POST /first HTTP/01.1", b"POST /first HTTP/1.01", b"POST /first HTTP/1.1\r",
    b"POST /first HTTPS/1.1", b"POST /first HTTP /1.1", b"POST /first HTTP/1,1", b"PRI * HTTP/2.0",
    b"\r\nPOST /first HTTP/1.1", b"\nPOST /first HTTP/1.1", b"\r\n\r\nPOST /first HTTP/1.1",
    b"GET /first HTTP/1.1", b"GET /first HTTP/1.0", b"HEAD /first HTTP/1.1", b"DELETE /first HTTP/1.1",
    b"OPTIONS /first HTTP/1.1",
]  # fmt: skip
LINES = [
    b"X", b"X:", b": y", b"X : y", b"X\t: y", b"X: y\r\n z", b"X: y\r\n\tz", b" X: y", b"\tX: y", b"X: y\x00",
    b"X: \x01", b"X: \x7f", b"X: \xff", b"X: y\rZ: w", b"X: y\nZ: w", b"X: y\n Z: w", b"X(: y", b"X\xe9: y",
    b"X@Y: y", b"Host: localhost", b"Host: evil", b"Host : evil", b"X: y\r", b"Connection: close",
    b"Connection: keep-alive", b"Connection: Content-Length", b"Connection: Transfer-Encoding",
    b"Expect: 100-continue", b"Upgrade: h2c", b"HTTP2-Settings: AA", b"Trailer: Content-Length", b"TE: trailers",
    b"Content-Encoding: gzip", b"Keep-Alive: 1", b"X: \x0b\x0c", b"Proxy-Connection: close",
    b"X-HTTP-Method-Override: DELETE", b"Content-Length: 7\r\nX: y\r\nContent-Length: 7",
]  # fmt: skip


def corpus() -> Iterator[bytes]:
    """Every payload; `%(key)s` stands for the daemon's key."""
    for value in LENGTHS:
        for name in (b"Content-Length: ", b"Content-Length:"):
            yield head(name + value) + BODY + NEXT
        yield head(b"Content-Length: 7", b"Content-Length: " + value) + BODY + NEXT
        yield head(b"Content-Length: " + value, b"Content-Length: 7") + BODY + NEXT
        yield head(b"Content-Length: " + value, first=b"GET /first HTTP/1.1") + BODY + NEXT
        yield head(b"Content-Length: " + value, b"Transfer-Encoding: chunked") + chunked() + NEXT
    for value in CODINGS:
        for first in (b"POST /first HTTP/1.1", b"GET /first HTTP/1.1", b"POST /first HTTP/1.0"):
            yield head(b"Transfer-Encoding: " + value, first=first) + chunked() + NEXT
        yield head(b"Transfer-Encoding: " + value, b"Content-Length: 7") + chunked() + NEXT
        yield head(b"Content-Length: 7", b"Transfer-Encoding: " + value) + chunked() + NEXT
        yield head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: " + value) + chunked() + NEXT
        yield head(b"Transfer-Encoding: " + value, b"Transfer-Encoding: chunked") + chunked() + NEXT
        yield head(b"Transfer-Encoding:" + value) + BODY + NEXT
    for name in NAMES:
        yield head(name + b": 7") + BODY + NEXT
        yield head(name + b": 7", b"Transfer-Encoding: chunked") + chunked() + NEXT
        yield head(name + b": 0", b"Content-Length: 7") + BODY + NEXT
    for name in CODING_NAMES:
        yield head(name + b": chunked") + chunked() + NEXT
        yield head(name + b": chunked", b"Content-Length: 7") + BODY + NEXT
        yield head(b"Content-Length: 7", name + b": chunked") + chunked() + NEXT
    framed = head(b"Transfer-Encoding: chunked")
    for size in SIZES:
        for end in (b"\r\n", b"\n"):
            yield framed + size + end + BODY + b"\r\n0\r\n\r\n" + NEXT
        yield framed + size + b"\r\n" + BODY + b"0\r\n\r\n" + NEXT
        yield framed + size + b"\r\n" + BODY + b"\n0\r\n\r\n" + NEXT
        yield framed + b"1\r\n \r\n" + size + b"\r\n" + BODY + b"\r\n0\r\n\r\n" + NEXT
    for end in ENDS:
        yield framed + b"7\r\n" + BODY + b"\r\n" + end + NEXT
        yield framed + end + NEXT
    for first in FIRSTS:
        yield head(b"Content-Length: 7", first=first) + BODY + NEXT
        yield head(b"Transfer-Encoding: chunked", first=first) + chunked() + NEXT
        yield head(first=first) + NEXT
    for line in LINES:
        yield head(line, b"Content-Length: 7") + BODY + NEXT
        yield head(b"Content-Length: 7", line) + BODY + NEXT
        yield head(line, b"Transfer-Encoding: chunked") + chunked() + NEXT
        yield head(line, first=b"GET /first HTTP/1.1") + NEXT
    for end, gap in itertools.product(
        (b"\n", b"\r", b"\r\n", b"\n\r"), (b"", b"\r\n", b"\n", b"\r", b" ", b"\x00", b"\r\n\r\n")
    ):
        yield head(b"Content-Length: 7", end=end) + BODY + gap + NEXT
        yield head(b"Transfer-Encoding: chunked", end=end) + chunked() + gap + NEXT


CORPUS = list(dict.fromkeys(corpus()))


# --- the other readers


def read_by_h11(data: bytes) -> list[Read]:
    """What h11 takes for whole requests before it refuses or wants more."""
    connection = h11.Connection(h11.SERVER)
    found: list[Read] = []
    try:
        connection.receive_data(data)
        method = target = body = b""
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                method, target, body = event.method, event.target, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                found.append((method, target, body))
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE:
                    return found
                connection.start_next_cycle()
            else:
                return found
    except h11.ProtocolError:
        return found


def read_by_python(data: bytes, loop: asyncio.AbstractEventLoop) -> list[Read]:
    """The same of aiohttp's parser in Python; fed byte by byte, so that an error loses nothing before it."""
    parser = HttpRequestParserPy(BaseProtocol(loop), loop, auto_decompress=False)
    messages: list[Any] = []
    try:
        for at in range(len(data)):
            got, upgraded, _ = parser.feed_data(data[at : at + 1])
            messages += got
            if upgraded:
                break
    except Exception:
        pass
    found = []
    for message, payload in messages:
        whole = not hasattr(payload, "_buffer") or (payload.is_eof() and payload.exception() is None)
        if not whole:
            break
        body = b"".join(getattr(payload, "_buffer", []))
        found.append((message.method.encode(), message.path.encode("utf-8", "surrogateescape"), body))
        if message.should_close:
            break
    return found


# --- ours


@dataclass
class Ours:
    """The daemon's server and guard in front of a handler that writes down what it is given."""

    port: int = 0
    key: bytes = b""
    read: dict[int, list[Read]] = field(default_factory=dict)  # by the port of the other side

    async def record(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        peer = request.transport.get_extra_info("peername")[1]
        body = await request.read()
        line = (request.method.encode(), request.raw_path.encode("utf-8", "surrogateescape"), body)
        self.read.setdefault(peer, []).append(line)
        return web.Response(text="read")

    async def accepted(self, data: bytes, expected: int) -> list[Read | None]:
        """What it took for requests in their order; None: for one that it refused. It is given time for as many as
        the others found, then the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        mine = writer.get_extra_info("sockname")[1]
        writer.write(data)
        answered = b""
        try:
            async with asyncio.timeout(SECONDS):
                while len(STATUS.findall(answered)) < expected and (piece := await reader.read(65536)):
                    answered += piece
                writer.write_eof()
                answered += await reader.read()
        except (ConnectionError, OSError):
            pass
        finally:
            writer.close()
        read = iter(self.read.pop(mine, []))
        found = [next(read) if status == b"200" else None for status in STATUS.findall(answered)]
        return [*found, *read]  # those whose answer was cut off by the end


@pytest.fixture
async def ours(redeo: Any) -> AsyncIterator[Ours]:
    server: Redeo = await redeo({})
    made = Ours(key=server.key.encode())
    app = web.Application()
    app[FRONT] = server.daemon.front
    app.router.add_route("*", "/{path:.*}", made.record)
    runner = Runner(app, Door(app), shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


def test_there_are_enough_of_them() -> None:
    assert len(CORPUS) >= 500


async def test_whatever_is_accepted_was_read_alike_by_all(ours: Ours) -> None:
    loop = asyncio.get_running_loop()
    wrong: list[str] = []
    taken = 0

    async def one(payload: bytes) -> None:
        nonlocal taken
        data = payload.replace(b"%(key)s", ours.key)
        others = {"h11": read_by_h11(data), "python": read_by_python(data, loop)}
        mine = await ours.accepted(data, min(len(read) for read in others.values()))
        taken += any(mine)
        for name, read in others.items():
            if FORGIVEN.search(payload) and read == mine[: len(read)]:
                continue
            pairs = itertools.zip_longest(mine, read[: len(mine)])
            if any(own is not None and own != other for own, other in pairs):
                wrong.append(f"{payload!r}\n   ours {mine}\n   {name} {read}")

    for at in range(0, len(CORPUS), 50):
        await asyncio.gather(*(one(payload) for payload in CORPUS[at : at + 50]))
    assert not wrong, f"{len(wrong)} of {len(CORPUS)}\n" + "\n".join(wrong[:40])
    assert taken > 50, "the plain ones among them are served"
