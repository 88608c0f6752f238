"""What is checked before any handler: target, Host, origin, framing, content type, the daemon's own API key.

In this order, so that a foreign web page learns nothing, not even whether a key would have been right. Nothing of
a request is logged. Rules: SECURITY.md. Who asks: `proxy.front.door`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import struct
import time
from ipaddress import ip_address
from typing import Final

from aiohttp import web

from config.model import Settings
from proxy.front.context import Front
from proxy.front.errors import Received, Refused
from proxy.front.heads import Heads
from proxy.front.hosts import host_allowed, origin_allowed

_OPEN: Final = frozenset({"/", "/v1/providers/catalog", "/providers/catalog", "/openapi.json"})
_OPEN_ON_LOOPBACK: Final = frozenset({"/healthz", "/livez", "/readyz", "/metrics"})
_KEY_HEADERS: Final = ("x-api-key", "api-key", "x-goog-api-key")
_FAILURES_PER_SECOND: Final = 5.0
_MULTIPART: Final = ("/images/", "/audio/", "/files")
_VERSIONS: Final = frozenset({(1, 0), (1, 1)})
_MOST_HOSTS: Final = 64  # remembered spellings


class _Bucket:
    """Wrong keys are answered slower the more of them come; a right one is never held up."""

    def __init__(self) -> None:
        self._level = 0.0
        self._at = time.monotonic()

    def full(self) -> bool:
        """Count one failure; whether there were too many."""
        now = time.monotonic()
        self._level = max(0.0, self._level - (now - self._at) * _FAILURES_PER_SECOND) + 1
        self._at = now
        return self._level > _FAILURES_PER_SECOND


class Guard:
    """Of one daemon. `front` knows its key, its names and its settings."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._bucket = _Bucket()
        self._hosts: set[str] = set()  # that were allowed, under the settings they were allowed under
        self._hosts_under: Settings | None = None
        self.heads = Heads()
        self._under: tuple[object, ...] = (None, None, None)  # settings, key and hosts of the last check

    def check(self, request: Received, path: str) -> None:
        """Let a request to this path pass. A preflight passes without a key. Raises Refused.

        The origin of the page that it comes from is written down before the rest is looked at: where that is allowed,
        the page may read a refusal too.
        """
        front = self._front
        settings = front.current().settings
        self._check_peer(request)
        under = self._under
        if under[0] is not settings or under[1] is not front.key_digest or under[2] is not front.hosts:
            under = self._under = (settings, front.key_digest, front.hosts)
            self.heads.forget()
        head, request.head = request.head, b""
        known = request.known
        if known is not None and known.under is under:
            request.origin = known.origin
        elif self._passes_by_key(request, path, settings) and head and known is None and request.body_exists:
            self.heads.keep(head, request, request.origin, under)

    def _passes_by_key(self, request: Received, path: str, settings: Settings) -> bool:
        """Whether it may pass for its key, and not for what it asks or where it comes from. Raises Refused."""
        _check_target(request)
        host = self._check_host(request, settings)
        request.origin = self._check_origin(request, host, settings)
        if is_preflight(request):
            return False
        _check_framing(request)
        keyed = self._check_key(request, path)
        _check_content_type(request, path)
        return keyed

    def _check_peer(self, request: web.Request) -> None:
        """On a Unix socket of our own the kernel says who calls: our user or root (unix(7), SO_PEERCRED)."""
        if self._front.inherited or not self._front.on_paths:
            return
        sock = request.transport.get_extra_info("socket") if request.transport is not None else None
        if sock is None or sock.family != socket.AF_UNIX:
            return
        size = struct.calcsize("3i")
        _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        if uid not in (0, os.geteuid()):
            raise Refused(403, "foreign_user", "this socket serves the user alone whose daemon this is")

    def _check_host(self, request: web.Request, settings: Settings) -> str:
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1:
            raise Refused(400, "bad_host", "exactly one Host header is needed")
        host = hosts[0]
        if self._hosts_under is not settings:
            self._hosts.clear()
            self._hosts_under = settings
        if host in self._hosts:
            return host
        if not host_allowed(host, settings, self._front.hosts):
            raise Refused(421, "host_not_allowed", "this Host name is not this daemon's (see `allowed_hosts`)")
        if len(self._hosts) < _MOST_HOSTS:
            self._hosts.add(host)
        return host

    def _check_origin(self, request: web.Request, host: str, settings: Settings) -> str | None:
        """Browsers say where a request comes from; programs say nothing of it."""
        headers = request.headers
        if "Origin" in headers:
            origins = headers.getall("Origin")
            if len(origins) > 1 or not origin_allowed(origins[0], host, settings, self._front.hosts):
                raise Refused(403, "origin_not_allowed", "web pages of this origin may not use the daemon")
            return origins[0]
        if any(site.lower() not in ("none", "same-origin") for site in headers.getall("Sec-Fetch-Site", ())):
            raise Refused(403, "origin_not_allowed", "web pages of other sites may not use the daemon")
        return None

    def _check_key(self, request: web.Request, path: str) -> bool:
        """Whether a key was needed, and is right. Raises Refused."""
        if path in _OPEN and request.method in ("GET", "HEAD"):
            return False
        if path in _OPEN_ON_LOOPBACK and _is_local(request):
            return False
        given = _given_keys(request)
        if any(is_key(key, self._front.key_digest) for key in given):
            return True
        if self._bucket.full():
            raise Refused(429, "too_many_wrong_keys", "too many requests with wrong keys", retry_after=1)
        what = "this is not the daemon's API key" if given else "the daemon's API key is missing"
        asked = {"WWW-Authenticate": 'Bearer realm="redeo"'}
        raise Refused(401, "invalid_api_key", f"{what}; `redeo key` prints it", headers=asked)


def is_preflight(request: web.Request) -> bool:
    """Whether a browser asks what a page may send."""
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def _check_target(request: web.Request) -> None:
    if not request.raw_path.startswith("/"):
        raise Refused(400, "bad_target", "the request target must be a path")
    if request.version not in _VERSIONS:
        raise Refused(400, "bad_version", "HTTP/1.0 and HTTP/1.1 are spoken here")


def _check_framing(request: web.Request) -> None:
    headers = request.headers
    if "Transfer-Encoding" in headers:
        coding = ",".join(headers.getall("Transfer-Encoding"))
        if coding.strip().lower() != "chunked":
            raise Refused(400, "bad_framing", "of transfer codings, `chunked` alone is understood")
    if "Upgrade" in headers:
        raise Refused(426, "upgrade_not_supported", "plain HTTP/1.1 is spoken here", headers={"Upgrade": "HTTP/1.1"})
    if headers.get("Expect", "100-continue").lower() != "100-continue":
        raise Refused(417, "expectation_failed", "only `Expect: 100-continue` is understood")
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(415, "encoded_body", "send the body without Content-Encoding")


def _check_content_type(request: web.Request, path: str) -> None:
    """What a web form or a beacon can send without being asked is not taken."""
    if request.method not in ("POST", "PUT", "PATCH") or not request.body_exists:
        return
    if request.headers.get("Content-Type") == "application/json":
        return
    kind = request.content_type.lower() if "Content-Type" in request.headers else ""
    bare = path.removeprefix("/v1")
    if kind == "application/json" or (kind == "multipart/form-data" and bare.startswith(_MULTIPART)):
        return
    raise Refused(415, "unsupported_media_type", "send the body as `Content-Type: application/json`")


def is_key(given: str, wanted: bytes) -> bool:
    """Whether the SHA-256 of `given` is `wanted`; how long that takes says nothing of how much of it was right."""
    return hmac.compare_digest(hashlib.sha256(given.encode("utf-8", "replace")).digest(), wanted)


def _given_keys(request: web.Request) -> list[str]:
    keys = [value for name in _KEY_HEADERS for value in request.headers.getall(name, [])]
    for value in request.headers.getall("Authorization", []):
        scheme, _, key = value.partition(" ")
        if scheme.lower() == "bearer":
            keys.append(key.strip())
    return keys


def _is_local(request: web.Request) -> bool:
    """Whether the other side is this machine: loopback or a Unix socket."""
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport is not None else None
    if not isinstance(peer, tuple):
        return True
    try:
        return ip_address(str(peer[0]).split("%", 1)[0]).is_loopback
    except ValueError:
        return False
