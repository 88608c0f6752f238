"""What a request to a provider costs by itself: the daemon's own client and aiohttp's, in one interleaved run.

    .venv/bin/python -m benchmarks.transport [--rounds 5] [--requests 4000] [--chunks 20000]

Both ask the same nginx on the loopback interface, from this process, on uvloop. CPU is that of this process alone, user
and system. Chunks of a stream come from a process of their own, one write for each, 10,000 a second.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import uvloop
from msgspec.structs import replace
from multidict import CIMultiDict
from yarl import URL

from config.catalogue import load
from config.model import Connection
from proxy.upstream.client import Client, Heading, UpstreamRequest

BODY = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 880 + b'"}]}'
ANSWER = (
    '{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"content":"'
    + "y" * 500
    + '"}}]}'
)
HEADERS = [
    ("content-type", "application/json"),
    ("accept", "*/*"),
    ("user-agent", "redeo-proxy"),
    ("accept-encoding", "identity"),
    ("Authorization", "Bearer sk-0123456789abcdef0123456789abcdef"),
]
EVENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/log error;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port} backlog=512; default_type application/json;
    location / {{ return 200 '{answer}'; }} }}
}}
"""


class Asks(Protocol):
    """One of the two."""

    name: str

    async def ask(self, url: str) -> None: ...

    async def close(self) -> None: ...


class Ours:
    """The daemon's own; `pours` has the pieces of an answer given to it."""

    def __init__(self, origin: str, *, pours: bool = False) -> None:
        self.name = "own client, pour" if pours else "own client, read"
        self._pours = pours
        self._client = Client()
        spec = replace(next(iter(load().values())), from_file=True)
        self._connection = Connection("p", "p", 1, None, None, "", spec, origin)

    async def ask(self, url: str) -> None:
        response = await self._client.send(self._connection, UpstreamRequest(Heading("POST", url, HEADERS), BODY, 5.0))
        try:
            if self._pours:
                await response.pour(_nothing)
            else:
                while await response.read():
                    pass
            response.header("content-type")
        finally:
            response.close()

    async def close(self) -> None:
        await self._client.close()


class Session:
    """aiohttp's, set up as the daemon once did: nothing that it could do beside is switched on."""

    name = "ClientSession"

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ttl_dns_cache=10),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
        )

    async def ask(self, url: str) -> None:
        response = await self._session.post(
            URL(url, encoded=True),
            data=BODY,
            headers=CIMultiDict(HEADERS),
            skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=5.0),
        )
        while await response.content.readany():
            pass
        response.release()

    async def close(self) -> None:
        await self._session.close()


def _nothing(data: bytes) -> bool:
    return False


def serve_chunks(listener: socket.socket, count: int, rate: float) -> None:
    """Answer every request on one connection after the other with a stream; its chunks are due at that rate."""
    listener.settimeout(None)
    chunk = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock:
            while sock.recv(65536):
                sock.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                began = time.perf_counter()
                for number in range(count):
                    while time.perf_counter() - began < number / rate:
                        time.sleep(0.00002)
                    sock.sendall(chunk)
                sock.sendall(b"0\r\n\r\n")


async def cost(asks: Asks, url: str, total: int, clients: int) -> float:
    """Microseconds of CPU for each request."""

    async def one(count: int) -> None:
        for _ in range(count):
            await asks.ask(url)

    await asyncio.gather(*(one(max(1, 200 // clients)) for _ in range(clients)))
    before = time.process_time()
    await asyncio.gather(*(one(total // clients) for _ in range(clients)))
    return (time.process_time() - before) / (total // clients * clients) * 1e6


async def interleaved(
    what: str, makers: list[Callable[[], Asks]], rounds: int, measure: Callable[[Asks], Awaitable[float]]
) -> None:
    """One line: the medians of all of them, and their least and most."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for make in makers:
            asks = make()
            found.setdefault(asks.name, []).append(await measure(asks))
            await asks.close()
    for name, values in found.items():
        median = statistics.median(values)
        print(f"{what:<28} {name:<18} {median:8.1f} µs   {min(values):.1f} to {max(values):.1f}")


async def run(args: argparse.Namespace, origin: str, streams: str) -> None:
    ours, session = (lambda: Ours(origin)), Session
    for clients in (1, 64):

        async def requests(asks: Asks, clients: int = clients) -> float:
            return await cost(asks, origin + "/v1/chat", args.requests, clients)

        await interleaved(f"a request, {clients} at a time", [ours, session], args.rounds, requests)

    async def chunks(asks: Asks) -> float:
        before, count = time.process_time(), int(args.chunks)
        await asks.ask(streams + "/v1/chat")
        return (time.process_time() - before) / count * 1e6

    makers: list[Callable[[], Asks]] = [lambda: Ours(streams, pours=True), lambda: Ours(streams), session]
    await interleaved("a chunk of a stream", makers, args.rounds, chunks)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--chunks", type=int, default=20000)
    args = parser.parse_args()
    program = shutil.which("nginx")
    if program is None:
        sys.exit("nginx is not installed")
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        port = free_port()
        path = Path(folder, "nginx.conf")
        path.write_text(NGINX.format(folder=folder, port=port, answer=ANSWER))
        nginx: subprocess.Popen[Any] = subprocess.Popen([program, "-c", str(path), "-e", f"{folder}/log"])
        child = multiprocessing.get_context("fork").Process(
            target=serve_chunks, args=(listener, args.chunks, 10_000.0), daemon=True
        )
        child.start()
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)):
                time.sleep(0.01)
            streams = f"http://127.0.0.1:{listener.getsockname()[1]}"
            uvloop.run(run(args, f"http://127.0.0.1:{port}", streams))
        finally:
            child.terminate()
            nginx.terminate()
            nginx.wait()


if __name__ == "__main__":
    main()
