"""The guard in front of everything: Host, Origin, framing, content type, the daemon's own key."""

from __future__ import annotations

import asyncio
import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from aiohttp import web

from config.model import Settings
from config.paths import Paths
from config.store import ConfigStore
from fuzz.draw import Draw
from proxy.daemon import build
from proxy.front import Door, Runner
from proxy.front.door import DIRECT
from proxy.front.hosts import host_allowed, origin_allowed

KEY = "rd-fuzz-key-0123456789abcdefghijklm"
HOSTS = ("desk.lan", "box:7333")
ORIGINS = ("https://page.example",)
_SETTINGS = Settings(allowed_hosts=HOSTS, allowed_origins=ORIGINS)
_NAMES = (b"localhost", b"127.0.0.1", b"[::1]", b"desk.lan")


def ours(host: bytes) -> bool:
    """Whether a Host names the daemon: a second implementation, of whole names and ports and nothing else."""
    lowered = bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in host)
    if lowered in _NAMES or lowered == b"box:7333":
        return True
    name, colon, port = lowered.rpartition(b":")
    digits = 0 < len(port) <= 5 and not port.strip(b"0123456789")
    return bool(colon) and name in _NAMES and digits and 0 < int(port) < 65_536


def welcome(origin: bytes, host: bytes) -> bool:
    """Whether a page of this origin may ask under this Host: likewise."""
    lowered = bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in origin)
    if lowered.rstrip(b"/") == b"https://page.example":
        return True
    same = [scheme + bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in host) for scheme in _SCHEMES]
    return lowered in same and ours(host)


_SCHEMES = (b"http://", b"https://")


def host(data: bytes) -> None:
    """Host and Origin are taken exactly where the second implementation takes them."""
    draw = Draw(data)
    name, origin = draw.line(), draw.line()
    if draw.number(2):
        origin = draw.pick(_SCHEMES) + name
    for given in (name, b"localhost", b"desk.lan:80"):
        text = given.decode("utf-8", "surrogateescape")
        assert host_allowed(text, _SETTINGS) is ours(given)
        page = origin.decode("utf-8", "surrogateescape")
        assert origin_allowed(page, text, _SETTINGS) is welcome(origin, given)


class _Wire(asyncio.Transport):
    """The client's side of a connection: keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 40_000)})
        self.written = bytearray()
        self._closing = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    abort = close

    def pause_reading(self) -> None:
        """Nothing more comes by itself."""

    resume_reading = pause_reading

    def get_write_buffer_size(self) -> int:
        return 0


class _Door:
    """The daemon's own application and server, with what passed the guard noted instead of served."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="redeo-fuzz-"))
        self.passed: list[web.BaseRequest] = []
        self.runner: Runner = self.loop.run_until_complete(self._start())

    def close(self) -> None:
        """Give back what it holds."""
        self.loop.run_until_complete(self.runner.cleanup())
        self.loop.close()
        shutil.rmtree(self.folder)

    async def _start(self) -> Runner:
        folder = self.folder
        config = folder / "redeo.yaml"
        config.write_text(json.dumps({"allowed_hosts": HOSTS, "allowed_origins": ORIGINS}))
        daemon = build(ConfigStore.open(Paths(config, folder / "state"), {}), KEY, [])
        app = daemon.app

        @web.middleware
        async def note(request: web.Request, handler: Any) -> web.StreamResponse:
            self.passed.append(request)
            return web.Response(status=299)

        app.middlewares.append(note)
        app[DIRECT].clear()  # all of it through the middleware
        runner = Runner(app, Door(app), patience=lambda: 60.0, shutdown_timeout=0.1)
        await runner.setup()
        return runner

    def send(self, data: bytes) -> tuple[list[web.BaseRequest], bytes]:
        """The requests that got through and what was answered."""
        self.passed = []
        return self.loop.run_until_complete(self._send(data))

    async def _send(self, data: bytes) -> tuple[list[web.BaseRequest], bytes]:
        assert self.runner.server is not None
        protocol, wire = self.runner.server(), _Wire()
        protocol.connection_made(wire)
        protocol.data_received(data)
        before = -1
        while len(wire.written) != before:  # as long as something is still answered
            before = len(wire.written)
            for _ in range(6):
                await asyncio.sleep(0)
        protocol.connection_lost(None)
        await asyncio.sleep(0)
        return self.passed, bytes(wire.written)


@cache
def door() -> _Door:
    """One for the whole run."""
    opened = _Door()
    atexit.register(opened.close)
    return opened


def closed() -> None:
    """Close it before the end of the run, if there is one."""
    if door.cache_info().currsize:
        atexit.unregister(door().close)
        door().close()
        door.cache_clear()


_METHODS = (b"GET", b"POST", b"OPTIONS", b"HEAD", b"PATCH", b"DELETE", b"PUT")
_TARGETS = (
    *(b"/v1/providers", b"/metrics", b"/", b"/v1/chat/completions", b"/v1/providers/catalog", b"/v1/files"),
    *(b"/openapi.json", b"/healthz", b"/v1/audio/speech", b"/%6detrics", b"/v1/../metrics", b"http://localhost/"),
)
_HEADERS = (
    *(b"Host: localhost", b"Host: 127.0.0.1:7333", b"Host: evil.example", b"host: desk.lan", b"Host:"),
    *(b"Authorization: Bearer " + KEY.encode(), b"x-api-key: " + KEY.encode(), b"authorization: bearer x" * 2),
    *(b"x-goog-api-key: " + KEY.encode(), b"Authorization: Basic " + KEY.encode(), b"api-key: wrong-key-wrong-key"),
    *(b"Origin: https://page.example", b"Origin: http://localhost", b"Origin: null", b"Sec-Fetch-Site: cross-site"),
    *(b"Content-Type: application/json", b"Content-Type: text/plain", b"Content-Type: multipart/form-data; boundary=x"),
    *(b"Content-Length: 2", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Upgrade: websocket"),
    *(b"Expect: 100-continue", b"Content-Encoding: gzip", b"Access-Control-Request-Method: POST", b"Connection: close"),
)
_OPEN = (b"/", b"/v1/providers/catalog", b"/providers/catalog", b"/openapi.json")
_ON_LOOPBACK = (b"/healthz", b"/livez", b"/readyz", b"/metrics")


def _written(draw: Draw) -> bytes:
    """A request out of known pieces and unknown ones, or the bytes as they are."""
    if draw.number(4) == 0:
        return draw.rest()
    target = draw.pick(_TARGETS) if draw.number(4) else draw.line()
    lines = [draw.pick(_METHODS) + b" " + target + b" HTTP/1." + draw.pick((b"1", b"1", b"0", b"2"))]
    for _ in range(draw.number(8)):
        known = draw.number(len(_HEADERS) * 2)
        lines.append(_HEADERS[known] if known < len(_HEADERS) else draw.line())
    return b"\r\n".join([*lines, b"", draw.rest() or b"{}"])


def may_pass(request: web.BaseRequest) -> bool:
    """What the threat model says of a request's head: a second implementation, on its raw headers."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in request.raw_headers:
        found.setdefault(name.lower(), []).append(value.strip(b" \t"))
    hosts = found.get(b"host", [])
    if len(hosts) != 1 or not ours(hosts[0]) or not request.raw_path.startswith("/"):
        return False
    origins = found.get(b"origin", [])
    if origins:
        if len(origins) > 1 or not welcome(origins[0], hosts[0]):
            return False
    elif found.get(b"sec-fetch-site", [b"none"])[0].lower() not in (b"none", b"same-origin"):
        return False
    if b"upgrade" in found or found.get(b"content-encoding", [b"identity"])[0].lower() != b"identity":
        return False
    return _has_key(request, found) and _is_json(request, found)


def _has_key(request: web.BaseRequest, found: dict[bytes, list[bytes]]) -> bool:
    path = unquote_to_bytes(request.raw_path.partition("#")[0].partition("?")[0])
    if (path in _OPEN and request.method in ("GET", "HEAD")) or path in _ON_LOOPBACK:
        return True
    shown = [value for name in (b"x-api-key", b"api-key", b"x-goog-api-key") for value in found.get(name, [])]
    words = [value.split(b" ", 1) for value in found.get(b"authorization", [])]
    shown += [word[1].strip() for word in words if len(word) == 2 and word[0].lower() == b"bearer"]
    return KEY.encode() in shown


def _is_json(request: web.BaseRequest, found: dict[bytes, list[bytes]]) -> bool:
    length = found.get(b"content-length", [b"0"])[0]
    if request.method not in ("POST", "PUT", "PATCH") or (
        length.strip(b"0") == b"" and b"transfer-encoding" not in found
    ):
        return True
    kind = found.get(b"content-type", [b""])[0].partition(b";")[0].strip().lower()
    return kind in (b"application/json", b"multipart/form-data")


def guard(data: bytes) -> None:
    """Nothing gets past the guard that may not, and no answer quotes a key or opens itself to a foreign page."""
    sent = _written(Draw(data))
    passed, answered = door().send(sent)
    for request in passed:
        assert may_pass(request), request.raw_headers
    assert KEY.encode() not in answered
    assert b"wrong-key-wrong-key" not in answered
    assert b"HTTP/1.1 500" not in answered
    assert b"HTTP/1.0 500" not in answered
    for origin in _allowed_in(answered):
        assert origin.lower().startswith((b"http://", b"https://"))
        assert welcome(origin, origin.partition(b"://")[2])


def _allowed_in(answered: bytes) -> list[bytes]:
    name = b"\r\naccess-control-allow-origin: "
    lowered, at, found = answered.lower(), 0, []
    while (at := lowered.find(name, at)) >= 0:
        at += len(name)
        found.append(answered[at : answered.find(b"\r\n", at)])
    return found
