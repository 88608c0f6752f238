"""HTTP to providers: one pool per origin, no redirects, no cookies, no decompression, our own clocks.

The only door to aiohttp's client: its exceptions leave as UpstreamError with a class and a phase. What to do
about them: `proxy.engine`. Which key goes where: `proxy.upstream.sign`.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import ssl
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp import payload
from multidict import CIMultiDict
from yarl import URL

from config.addresses import Reach, numeric, reach
from config.model import Connection, Secret
from proxy.fault import FaultKind, Phase
from proxy.upstream.addresses import DeniedAddress, guarded_socket

_SMALL: Final = 256 * 1024  # larger bodies are written piece by piece, so that the loop is not held up
_KEEPALIVE: Final = 30.0
_STARVED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})  # of us, whoever was asked
_NO_AUTO: Final = ("User-Agent", "Content-Type", "Accept", "Accept-Encoding")


class UpstreamError(Exception):
    """An exchange with a provider that came to no end. `detail` holds no secret."""

    def __init__(self, kind: FaultKind, phase: Phase, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.phase = phase
        self.detail = detail


class UpstreamRequest(msgspec.Struct, frozen=True):
    """One request, ready to go: `connect_seconds` bounds name look-up, connection and TLS together."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes | None
    connect_seconds: float


class UpstreamResponse:
    """The head of an answer, and its body piece by piece. Must be closed or read to its end."""

    __slots__ = ("_lost", "_open_ended", "_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, secret: Secret | None) -> None:
        self._response = response
        self.status = response.status
        self.headers: list[tuple[str, str]] = [(k.lower(), v) for k, v in response.headers.items()]
        if secret is not None and _repeats(response, secret):
            self.headers = [(k, v) for k, v in self.headers if not _holds(v, secret)]
        # Only the end of the connection ends such a body, and aiohttp takes a reset for that end too.
        self._open_ended = not {"content-length", "transfer-encoding"} & {name for name, _ in self.headers}
        # When the framing of a body is broken, aiohttp (3.14) closes the socket and tells nobody who reads.
        connection = response.connection
        protocol = None if connection is None else connection.protocol
        self._lost = None if protocol is None else protocol.closed
        if self._lost is not None:
            self._lost.add_done_callback(self._broken)

    def header(self, name: str) -> str:
        """The first header of that (lower-case) name, or an empty text."""
        return next((value for key, value in self.headers if key == name), "")

    async def read(self) -> bytes:
        """The next piece of the body; empty at its end. Raises UpstreamError."""
        try:
            piece = await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as exc:
            raise UpstreamError(FaultKind.INTERRUPTED, Phase.SENT, _name(exc)) from None
        if not piece and self._open_ended and self._was_reset():
            raise UpstreamError(FaultKind.INTERRUPTED, Phase.SENT, "the connection was reset")
        return piece

    def _was_reset(self) -> bool:
        lost = self._lost
        return lost is not None and lost.done() and not lost.cancelled() and lost.exception() is not None

    def rest(self) -> bytes:
        """What can be said though nothing more comes: nothing."""
        return b""

    def _broken(self, lost: asyncio.Future[None]) -> None:
        _looked_at(lost)
        content = self._response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the connection was lost"))

    def close(self) -> None:
        """Give the connection up: the provider sees it closed unless the answer had ended."""
        if self._lost is not None:
            self._lost.remove_done_callback(self._broken)
            # The connection may live on in the pool, and be lost there: nobody is to be told of that either.
            self._lost.remove_done_callback(_looked_at)
            self._lost.add_done_callback(_looked_at)
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


def _looked_at(lost: asyncio.Future[None]) -> None:
    if not lost.cancelled():
        lost.exception()


class Pools:
    """Pools on their way out."""

    def __init__(self, sessions: list[aiohttp.ClientSession]) -> None:
        self._sessions = sessions

    def __bool__(self) -> bool:
        return bool(self._sessions)

    async def close(self) -> None:
        """Close them; answers still being read break off."""
        await asyncio.gather(*(session.close() for session in self._sessions))


class Client:
    """Pools of connections to providers. Lives on one event loop; `close` it there."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[str, bool], aiohttp.ClientSession] = {}
        self._tls: ssl.SSLContext | None = None

    async def send(self, connection: Connection, request: UpstreamRequest, *, again: bool = False) -> UpstreamResponse:
        """Send one request and wait for the head of its answer. Raises UpstreamError.

        `again`: a pooled socket that turns out to be dead may be replaced by a fresh one, once. Its caller vouches
        that a repeat does no harm.
        """
        reused = SimpleNamespace(reused=False)
        try:
            return await self._send(connection, request, reused)
        except UpstreamError as exc:
            if not (again and reused.reused and exc.kind is FaultKind.INTERRUPTED):
                raise
        return await self._send(connection, request, reused)

    async def _send(self, connection: Connection, request: UpstreamRequest, seen: SimpleNamespace) -> UpstreamResponse:
        seen.reused = False
        body = request.body
        data = body if body is None or len(body) <= _SMALL else payload.BytesIOPayload(io.BytesIO(body))
        try:
            response = await self._session(connection).request(
                request.method,
                URL(request.url, encoded=True),
                data=data,
                headers=CIMultiDict(request.headers),
                skip_auto_headers=_NO_AUTO,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, connect=request.connect_seconds),
                trace_request_ctx=seen,
            )
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise _of_ours(exc) or _mapped(exc) from None
        return UpstreamResponse(response, connection.secret)

    def _session(self, connection: Connection) -> aiohttp.ClientSession:
        parts = urlsplit(connection.base_url)
        private = connection.spec.from_file or _is_loopback(parts.hostname or "")
        session = self._sessions.get((connection.origin, private))
        if session is None:
            session = self._open(tls=parts.scheme == "https", private=private)
            self._sessions[connection.origin, private] = session
        return session

    def _open(self, *, tls: bool, private: bool) -> aiohttp.ClientSession:
        if tls and self._tls is None:
            _look_for_room()  # without a descriptor it would be made, but trust nobody
            self._tls = ssl.create_default_context()
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=self._tls if tls and self._tls is not None else True,
            keepalive_timeout=_KEEPALIVE,
            ttl_dns_cache=10,
            socket_factory=guarded_socket(private=private),
        )
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            trace_configs=[trace],
        )

    def retain(self, connections: Iterable[Connection]) -> Pools:
        """Let go of the pools of origins that nobody uses any more; the caller closes them once they are idle."""
        wanted = {c.origin for c in connections}
        gone = [key for key in self._sessions if key[0] not in wanted]
        return Pools([self._sessions.pop(key) for key in gone])

    async def close(self) -> None:
        """Close every pool; answers still being read break off."""
        sessions, self._sessions = list(self._sessions.values()), {}
        await Pools(sessions).close()


async def _note_reuse(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.reused = True


def _is_loopback(host: str) -> bool:
    address = numeric(host)
    return host == "localhost" if address is None else reach(address) is Reach.LOOPBACK


def _repeats(response: aiohttp.ClientResponse, secret: Secret) -> bool:
    """Whether the key that was sent comes back in a header."""
    values = b"\n".join(value for _, value in response.raw_headers)
    return secret.scrub(values) != values


def _holds(value: str, secret: Secret) -> bool:
    raw = value.encode("utf-8", "surrogateescape")
    return secret.scrub(raw) != raw


def _name(exc: BaseException) -> str:
    return type(exc).__name__


def _of_ours(exc: BaseException) -> UpstreamError | None:
    """The daemon's own want of descriptors or memory as an error, if that is what kept it from connecting."""
    if not isinstance(exc, OSError):
        return None
    number = exc.os_error.errno if isinstance(exc, aiohttp.ClientConnectorError) else exc.errno
    if number not in _STARVED and isinstance(exc, aiohttp.ClientConnectorDNSError | aiohttp.ClientSSLError):
        number = _want()  # neither the C library's resolver nor OpenSSL says that it could not open its files
    if number is None or number not in _STARVED:
        return None
    detail = (
        f"the daemon cannot open a connection: {os.strerror(number)}; try again soon, and raise its limit of open "
        "files (`ulimit -n`, LimitNOFILE= of the unit) or of memory if that goes on"
    )
    return UpstreamError(FaultKind.GATEWAY, Phase.NOT_SENT, detail)


def _want() -> int | None:
    """The number of what keeps descriptors from being opened now, if something does."""
    try:
        _look_for_room()
    except OSError as exc:
        return exc.errno
    return None


def _look_for_room() -> None:
    """Raises OSError where no descriptor can be opened."""
    os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


def _mapped(exc: BaseException) -> UpstreamError:
    """A foreign exception as ours: the class, how far the request had come, and a text without secrets."""
    match exc:
        case aiohttp.ClientConnectorDNSError():
            return UpstreamError(FaultKind.DNS, Phase.NOT_SENT, "its name cannot be resolved")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError() | ssl.SSLError():
            return UpstreamError(FaultKind.TLS, Phase.NOT_SENT, f"TLS failed: {_tls_reason(exc)}")
        case aiohttp.ConnectionTimeoutError():
            return UpstreamError(FaultKind.CONNECT, Phase.NOT_SENT, "no connection within the connect clock")
        case aiohttp.ClientConnectorError():
            cause = exc.os_error
            reason = str(cause) if isinstance(cause, DeniedAddress) else cause.strerror or _name(cause)
            return UpstreamError(FaultKind.CONNECT, Phase.NOT_SENT, f"no connection: {reason}")
        case DeniedAddress():
            return UpstreamError(FaultKind.CONNECT, Phase.NOT_SENT, str(exc))
        case aiohttp.ServerDisconnectedError() | ConnectionError() | aiohttp.ClientOSError():
            return UpstreamError(FaultKind.INTERRUPTED, Phase.SENT, "it closed the connection without an answer")
        case aiohttp.ClientResponseError():
            return UpstreamError(FaultKind.BAD_UPSTREAM, Phase.SENT, "its answer is not HTTP")
        case aiohttp.InvalidURL():
            return UpstreamError(FaultKind.CONNECT, Phase.NOT_SENT, "its address is not a URL")
        case _:
            return UpstreamError(FaultKind.BAD_UPSTREAM, Phase.SENT, _name(exc))


def _tls_reason(exc: BaseException) -> str:
    cause = getattr(exc, "certificate_error", None) or getattr(exc, "os_error", None) or exc
    return str(getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or _name(cause))
