"""What is checked before any handler: target, Host, origin, framing, content type, the daemon's own API key.

In this order, so that a foreign web page learns nothing, not even whether a key would have been right. Nothing of
a request is logged. Rules: SECURITY.md.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Final

from aiohttp import web

from config.model import Settings
from proxy.front.context import FROM_ALLOWED_ORIGIN, FRONT
from proxy.front.errors import ID_HEADERS, REQUEST_ID, Refused, error_response, new_id
from proxy.front.hosts import host_allowed, origin_allowed

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_OPEN: Final = frozenset({"/", "/v1/providers/catalog", "/providers/catalog", "/openapi.json"})
_OPEN_ON_LOOPBACK: Final = frozenset({"/healthz", "/livez", "/readyz", "/metrics"})
_KEY_HEADERS: Final = ("x-api-key", "api-key", "x-goog-api-key")
_FAILURES_PER_SECOND: Final = 5.0
_MULTIPART: Final = ("/images/", "/audio/", "/files")
_MALFORMED: Final = frozenset({"bad_target", "bad_version", "bad_host", "bad_framing"})
_log = logging.getLogger("redeo.guard")


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


_BUCKET: Final = web.AppKey("bucket", _Bucket)


def install(app: web.Application) -> None:
    """Put the guard in front of everything that `app` serves, sub-applications included."""
    app[_BUCKET] = _Bucket()
    app.middlewares.append(_render)
    app.middlewares.append(_guard)
    app.on_response_prepare.append(_mark)


async def _mark(request: web.Request, response: web.StreamResponse) -> None:
    """On every answer: the request id, no sniffing, and CORS for a configured origin alone."""
    ident = request.get(REQUEST_ID)
    if ident is not None:
        for name in ID_HEADERS:
            if name not in response.headers:
                response.headers[name] = ident
    response.headers["x-content-type-options"] = "nosniff"
    response.headers.popall("Server", None)
    if request.config_dict[FRONT].closing:
        response.force_close()
        response.headers["Connection"] = "close"  # aiohttp has written its own headers by now
    origin = request.headers.get("Origin")
    if origin is not None and request.get(FROM_ALLOWED_ORIGIN, False):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Vary"] = "Origin"


@web.middleware
async def _render(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as an answer in the dialect of the path."""
    request[REQUEST_ID] = new_id()
    try:
        return await handler(request)
    except Refused as exc:
        refused = exc
    except web.HTTPException as exc:
        refused = _from_http(request, exc)
    except ConnectionError:
        raise
    except Exception:
        _log.exception("a handler failed", extra={"redeo": {"request_id": request[REQUEST_ID]}})
        refused = Refused(500, "internal_error", "the daemon failed; its log says where")
    request.config_dict[FRONT].rejected(refused.code)
    answer = error_response(request, refused)
    if refused.code in _MALFORMED:
        answer.force_close()  # what comes next on this connection is not to be trusted either
    return answer


def _from_http(request: web.Request, exc: web.HTTPException) -> Refused:
    if exc.status == 405:
        allow = exc.headers.get("Allow", "")
        return Refused(405, "method_not_allowed", f"this path takes {allow}", headers={"Allow": allow})
    if exc.status == 413:
        limit = request.config_dict[FRONT].current().settings.limits.max_body_bytes
        return Refused(413, "body_too_large", f"the body is larger than {limit} bytes (limits.max_body_bytes)")
    if exc.status == 404:
        return Refused(404, "unknown_path", _where_instead(request.path))
    return Refused(exc.status, "refused", exc.reason or "refused")


def _where_instead(path: str) -> str:
    if path.startswith("/v1/v1"):
        return (
            "the base URL has `/v1` twice: OpenAI clients take http://HOST:PORT/v1, Anthropic clients http://HOST:PORT"
        )
    if path.endswith("/") and len(path) > 1:
        return "there is nothing at this path; it is served without the slash at its end"
    return "there is nothing at this path; /openapi.json lists what there is"


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    settings = request.config_dict[FRONT].current().settings
    _check_peer(request)
    _check_target(request)
    host = _check_host(request, settings)
    _check_origin(request, host, settings)
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        return _preflight(request)
    _check_framing(request)
    _check_key(request)
    _check_content_type(request)
    return await handler(request)


def _check_peer(request: web.Request) -> None:
    """On a Unix socket of our own the kernel says who calls: our user or root (unix(7), SO_PEERCRED)."""
    if request.config_dict[FRONT].inherited:
        return
    sock = request.transport.get_extra_info("socket") if request.transport is not None else None
    if sock is None or sock.family != socket.AF_UNIX:
        return
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if uid not in (0, os.geteuid()):
        raise Refused(403, "foreign_user", "this socket serves the user alone whose daemon this is")


def _check_target(request: web.Request) -> None:
    if not request.raw_path.startswith("/"):
        raise Refused(400, "bad_target", "the request target must be a path")
    if request.version not in ((1, 0), (1, 1)):
        raise Refused(400, "bad_version", "HTTP/1.0 and HTTP/1.1 are spoken here")


def _check_host(request: web.Request, settings: Settings) -> str:
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1:
        raise Refused(400, "bad_host", "exactly one Host header is needed")
    if not host_allowed(hosts[0], settings, request.config_dict[FRONT].hosts):
        raise Refused(421, "host_not_allowed", "this Host name is not this daemon's (see `allowed_hosts`)")
    return hosts[0]


def _check_origin(request: web.Request, host: str, settings: Settings) -> None:
    """Browsers say where a request comes from; programs say nothing of it."""
    origins = request.headers.getall("Origin", [])
    if origins:
        if len(origins) > 1 or not origin_allowed(origins[0], host, settings, request.config_dict[FRONT].hosts):
            raise Refused(403, "origin_not_allowed", "web pages of this origin may not use the daemon")
        request[FROM_ALLOWED_ORIGIN] = True
        return
    if any(site.lower() not in ("none", "same-origin") for site in request.headers.getall("Sec-Fetch-Site", [])):
        raise Refused(403, "origin_not_allowed", "web pages of other sites may not use the daemon")


def _preflight(request: web.Request) -> web.Response:
    """For the configured origins alone: any other was refused already."""
    headers = {
        "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE",
        "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", ""),
        "Access-Control-Max-Age": "600",
    }
    return web.Response(status=204, headers=headers)


def _check_framing(request: web.Request) -> None:
    headers = request.headers
    coding = ",".join(headers.getall("Transfer-Encoding", ["chunked"]))
    if coding.strip().lower() != "chunked":
        raise Refused(400, "bad_framing", "of transfer codings, `chunked` alone is understood")
    if "Upgrade" in headers:
        raise Refused(426, "upgrade_not_supported", "plain HTTP/1.1 is spoken here", headers={"Upgrade": "HTTP/1.1"})
    if headers.get("Expect", "100-continue").lower() != "100-continue":
        raise Refused(417, "expectation_failed", "only `Expect: 100-continue` is understood")
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(415, "encoded_body", "send the body without Content-Encoding")


def _check_content_type(request: web.Request) -> None:
    """What a web form or a beacon can send without being asked is not taken."""
    if request.method not in ("POST", "PUT", "PATCH") or not request.body_exists:
        return
    kind = request.content_type.lower() if "Content-Type" in request.headers else ""
    bare = request.path.removeprefix("/v1")
    if kind == "application/json" or (kind == "multipart/form-data" and bare.startswith(_MULTIPART)):
        return
    raise Refused(415, "unsupported_media_type", "send the body as `Content-Type: application/json`")


def _check_key(request: web.Request) -> None:
    path = request.path
    if path in _OPEN and request.method in ("GET", "HEAD"):
        return
    if path in _OPEN_ON_LOOPBACK and _is_local(request):
        return
    wanted = request.config_dict[FRONT].key_digest
    given = _given_keys(request)
    if any(is_key(key, wanted) for key in given):
        return
    if request.config_dict[_BUCKET].full():
        raise Refused(429, "too_many_wrong_keys", "too many requests with wrong keys", retry_after=1)
    what = "this is not the daemon's API key" if given else "the daemon's API key is missing"
    raise Refused(
        401, "invalid_api_key", f"{what}; `redeo key` prints it", headers={"WWW-Authenticate": 'Bearer realm="redeo"'}
    )


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
