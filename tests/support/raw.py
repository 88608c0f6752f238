"""Requests as bytes, and whatever comes back for them as bytes: for what no HTTP client would send."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from tests.support.daemon import Redeo

SECONDS = 20.0
VERBS = ("generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents")


@dataclass
class RawAnswer:
    """One whole answer as it came."""

    status: int
    head: bytes
    body: bytes

    @property
    def text(self) -> bytes:
        return self.head + self.body


def get(path: str, *headers: str, method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    """A request without a body."""
    return ("\r\n".join([f"{method} {path} {version}", *headers]) + "\r\n\r\n").encode("latin-1")


class RawClient:
    """One connection that is kept for as long as the daemon keeps it."""

    def __init__(self, server: Redeo) -> None:
        self._server = server
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> RawAnswer:
        """Send it; read one answer with a Content-Length. On a fresh connection where the old one was closed."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._server.daemon.address)
        reader, writer = self._streams
        async with asyncio.timeout(SECONDS):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = [line.lower() for line in head.split(b"\r\n")]
            length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
            body = b"" if request.startswith(b"HEAD ") else await reader.readexactly(length)
        if b"connection: close" in lines or not head.startswith(b"HTTP/1.1"):
            self.close()
        self._server.canaries.add("answer raw", head + body)
        return RawAnswer(int(head.split()[1]), head, body)

    @property
    def writer(self) -> asyncio.StreamWriter | None:
        """Its connection, for what is no whole request."""
        return None if self._streams is None else self._streams[1]

    def close(self) -> None:
        """Leave."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def every_route(server: Redeo) -> list[tuple[str, str]]:
    """Method and path of everything that the daemon serves, with a word put in for each variable."""
    found: set[tuple[str, str]] = set()
    apps: list[Any] = [server.daemon.app]
    while apps:
        for resource in apps.pop().router.resources():
            if "app" in resource.get_info():
                apps.append(resource.get_info()["app"])
            else:
                found |= {(route.method, _filled(resource)) for route in resource}
    return sorted(found)


def _filled(resource: Any) -> str:
    """A path of this resource."""
    info = resource.get_info()
    if "path" in info:
        return str(info["path"])
    verbs = [verb for verb in VERBS if f"<verb>{verb})" in info["pattern"].pattern]
    return str(info["formatter"]).format(provider="alpha", tail="x", model="m", id="m", verb="".join(verbs))
