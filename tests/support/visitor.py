"""A client on a bare socket: it can leave at any moment, close its side alone, or stop reading."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import socket
import struct
from contextlib import suppress
from typing import Any, Protocol

from tests.support.canary import Canaries
from tests.support.daemon import Answer


class Place(Protocol):
    """A daemon that can be visited."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""

    @property
    def key(self) -> str:
        """Its own API key."""

    @property
    def canaries(self) -> Canaries:
        """What must not be seen in its answers."""


class Visitor:
    """`await Visitor.ask(server, path, body)`: its request is sent. It has to leave in the end."""

    def __init__(self, server: Place, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.got = b""

    @classmethod
    async def connect(cls, server: Place, *, buffer: int | None = None) -> Visitor:
        """Connected; `buffer`: how many bytes the kernel keeps for it unread."""
        sock = socket.socket()
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, server.address)
        except BaseException:
            sock.close()
            raise
        return cls(server, sock)

    @classmethod
    async def ask(cls, server: Place, path: str, body: Any, *, buffer: int | None = None) -> Visitor:
        """Connected, with this request sent."""
        visitor = await cls.connect(server, buffer=buffer)
        await visitor.send(cls.request(server, "POST", path, json.dumps(body).encode()))
        return visitor

    @staticmethod
    def request(server: Place, method: str, path: str, body: bytes = b"") -> bytes:
        """A request as it goes over the wire."""
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {server.key}\r\n"
        if body:
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def read(self, most: int = 65_536) -> bytes:
        """Some more; empty when the daemon has closed. Raises ConnectionError."""
        piece = await asyncio.get_running_loop().sock_recv(self.sock, most)
        self.got += piece
        return piece

    async def read_until(self, text: bytes) -> None:
        """Until that has come."""
        while text not in self.got:
            assert await self.read(), self.got

    async def read_all(self) -> Answer:
        """All that comes until the daemon closes, read as Python's own client reads it."""
        with suppress(ConnectionError):
            while await self.read():
                pass
        return self.answer()

    def answer(self) -> Answer:
        """What has come, read as one answer."""
        response = http.client.HTTPResponse(_Played(self.got))  # type: ignore[arg-type]  # all it wants of a socket
        response.begin()
        try:
            body, broken = response.read(), False
        except http.client.IncompleteRead as exc:
            body, broken = exc.partial, True
        self.server.canaries.add("answer of a visitor", self.got)
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, body, broken)

    def half_close(self) -> None:
        """It sends no more, and still reads."""
        self.sock.shutdown(socket.SHUT_WR)

    def leave(self, how: str = "fin") -> None:
        """It is gone: `fin` as a program closes, `rst` as one that is killed with something unread."""
        if how == "rst":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class _Played:
    """A socket that has received these bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)
