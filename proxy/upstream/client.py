"""HTTP to providers: one pool per origin, no redirects, no cookies, no decompression, our own clocks.

A question is put here; what carries it stands beside: `request` (what goes out), `wire` (one connection), `answer`
(what comes in), `pool` and `dial` (where connections come from), `errors` (what goes wrong). What to do about errors:
`proxy.engine`. Which key goes where: `proxy.upstream.sign`. Why it is no ready-made client: docs/decisions/0016.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from config.addresses import Reach, numeric, reach
from config.model import Connection
from proxy.fault import FaultKind
from proxy.outbox import Outbox
from proxy.upstream.answer import UpstreamResponse
from proxy.upstream.dial import Tls
from proxy.upstream.errors import UpstreamError, unaddressed
from proxy.upstream.pool import Pool, Pools
from proxy.upstream.request import Body, Heading, Pieces, UpstreamRequest, head_of
from proxy.upstream.wire import Wire

__all__ = ["Body", "Client", "Heading", "Pieces", "Pools", "UpstreamError", "UpstreamRequest", "UpstreamResponse"]

_Key = tuple[str, bool]  # an origin, and whether private addresses are allowed there


class Client:
    """Pools of connections to providers. Lives on one event loop; `close` it there."""

    def __init__(self) -> None:
        self._pools: dict[_Key, Pool] = {}
        self._known: dict[_Key, tuple[Pool, str]] = {}  # by base URL: the pool, and what its URLs begin with
        self._tls = Tls()
        self._outbox: Outbox | None = None

    async def send(
        self, connection: Connection, request: UpstreamRequest, *, again: Callable[[], bool] | None = None
    ) -> UpstreamResponse:
        """Send one request and wait for the head of its answer. Raises UpstreamError.

        `again`: where a connection that was kept turns out to be dead, a fresh one takes its place, once, if this says
        that a repeat does no harm. It is asked only then, for it may have to read the body.
        """
        known = self._known.get((connection.base_url, connection.spec.from_file))
        pool, prefix = known or self._found(connection)
        head = head_of(request, prefix, pool.host)
        wire, kept = pool.take(), True
        while True:
            if wire is None:
                wire, kept = await pool.open(request.connect_seconds), False
            answer = UpstreamResponse(wire, connection.secret)
            wire.begin(answer, head, request.body, bare=request.heading.method == "HEAD")
            try:
                await answer.begun()
                return answer
            except BaseException as exc:
                answer.close()
                if not (kept and _was_dead(wire, exc) and again is not None and again()):
                    raise
                if wire.drawn and not _restarted(request.body):
                    raise
            wire = None

    def _found(self, connection: Connection) -> tuple[Pool, str]:
        """The pool of the connection's origin, made if there is none, and what URLs there begin with."""
        base = connection.base_url
        try:
            host, origin = urlsplit(base).hostname or "", connection.origin
        except ValueError:
            raise unaddressed() from None
        private = connection.spec.from_file or _is_loopback(host)
        pool = self._pools.get((origin, private))
        if pool is None:
            outbox = self._outbox = self._outbox or Outbox(asyncio.get_running_loop())
            pool = self._pools[origin, private] = Pool(base, self._tls, outbox, private=private)
        known = self._known[base, connection.spec.from_file] = pool, base[: len(origin)]
        return known

    def retain(self, connections: Iterable[Connection]) -> Pools:
        """Let go of the pools of origins that nobody uses any more; the caller closes them once they are idle."""
        wanted = {c.origin for c in connections}
        gone = [self._pools.pop(key) for key in list(self._pools) if key[0] not in wanted]
        self._known = {key: known for key, known in self._known.items() if known[0] not in gone}
        return Pools(gone)

    async def close(self) -> None:
        """Close every pool; answers still being read break off."""
        pools, self._pools, self._known = list(self._pools.values()), {}, {}
        await Pools(pools).close()


def _was_dead(wire: Wire, exc: BaseException) -> bool:
    """Whether the connection that was kept had come to its end before the question was put."""
    return isinstance(exc, UpstreamError) and exc.kind is FaultKind.INTERRUPTED and not wire.heard


def _restarted(body: bytes | Pieces | Body | None) -> bool:
    return body is None or isinstance(body, bytes | tuple) or body.restart()


def _is_loopback(host: str) -> bool:
    address = numeric(host)
    return host == "localhost" if address is None else reach(address) is Reach.LOOPBACK
