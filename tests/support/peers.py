"""A provider that is a script for each of its connections, and the daemon's client to ask it."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import trustme
from msgspec.structs import replace

from config.catalogue import load
from config.model import Connection, Secret
from proxy.upstream.client import Body, Client, Heading, Pieces, UpstreamRequest, UpstreamResponse

AUTHORITY = trustme.CA()
SPEC = next(iter(load().values()))


class Peer:
    """The provider's end of one connection."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.gone = asyncio.Event()

    async def head(self) -> bytes:
        """The head of a request."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> tuple[bytes, bytes]:
        """A whole request: its head and its body."""
        head = await self.head()
        return head, await self.body(head)

    async def body(self, head: bytes) -> bytes:
        """The body that belongs to the head."""
        if b"transfer-encoding: chunked" in head.lower():
            body = b""
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            assert await self.reader.readexactly(2) == b"\r\n"
            return body
        length = re.search(rb"(?i)content-length: (\d+)", head)
        return await self.reader.readexactly(int(length[1]) if length else 0)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def end(self) -> bytes:
        """Until the other side is gone; what else it said."""
        try:
            return await self.reader.read()
        except (ConnectionError, ssl.SSLError):
            return b""

    def reset(self) -> None:
        """Close with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[Any]]


@dataclass
class Listener:
    """A provider: a script for each connection, in turn; the last one stays."""

    scripts: list[Script]
    tls: bool = False
    port: int = 0
    peers: list[Peer] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def base(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(len(self.peers), reader, writer)
        self.peers.append(peer)
        try:
            await (self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0])(peer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            self._tasks.discard(task)
            peer.gone.set()
            writer.close()

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@dataclass
class Asker:
    """A client, and how it is asked."""

    client: Client
    secret: Secret | None = None

    def connection(self, base: str) -> Connection:
        return Connection("p", "p", 1, self.secret, None, "", replace(SPEC, from_file=True), base)

    async def __call__(
        self,
        base: str | Listener,
        body: bytes | Pieces | Body | None = b"{}",
        *,
        method: str = "POST",
        headers: list[tuple[str, str]] | None = None,
        again: bool = False,
        connect: float = 10.0,
        path: str = "/v1/chat",
    ) -> UpstreamResponse:
        base = base.base if isinstance(base, Listener) else base
        request = UpstreamRequest(Heading(method, base + path, headers or []), body, connect)
        return await self.client.send(self.connection(base), request, again=lambda: again)


async def whole(answer: UpstreamResponse) -> bytes:
    """The body to its end, and the connection let go."""
    try:
        pieces = []
        while piece := await answer.read():
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        answer.close()


def answered(body: bytes = b"ok", *more: str, status: str = "200 OK") -> bytes:
    """An answer of that length."""
    lines = [f"HTTP/1.1 {status}", *more, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answers(raw: bytes | None = None) -> Script:
    """Every request on the connection, the same way."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answered(b"%d" % peer.number) if raw is None else raw)

    return script
