"""The connections to one origin: those that are idle, last come first served, and how a new one is made."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final
from urllib.parse import urlsplit

from proxy.fault import FaultKind, Phase
from proxy.outbox import Outbox
from proxy.upstream.dial import Dialler, Tls
from proxy.upstream.errors import UpstreamError, unaddressed
from proxy.upstream.wire import Ear, Wire

_KEEPALIVE: Final = 30.0  # seconds for which an idle connection is kept
_LAST_WORDS: Final = 1.0  # seconds in which closed sockets are gone
_PORTS: Final = {"http": 80, "https": 443}


class Pool:
    """See the module. `host` is what requests say theirs is; `ear` is that of its connections."""

    def __init__(self, base_url: str, tls: Tls, outbox: Outbox, *, private: bool) -> None:
        """Raises UpstreamError where the base URL is none."""
        try:
            parts = urlsplit(base_url)
            name, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
            name = name if name.isascii() else name.encode("idna").decode()
        except (ValueError, KeyError):
            raise unaddressed() from None
        if not name.strip(".") or name.startswith("."):
            raise unaddressed()
        shown = f"[{name}]" if ":" in name else name.rstrip(".")
        self.host = shown if port == _PORTS[parts.scheme] else f"{shown}:{port}"
        self._dialler = Dialler(name, port, tls if parts.scheme == "https" else None, private=private)
        self.loop = asyncio.get_running_loop()
        self.outbox = outbox
        self._idle: dict[Wire, None] = {}  # the one that has been so for longest stands first
        self._all: set[Wire] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None
        self.ear = Ear()

    def take(self) -> Wire | None:
        """An idle connection, if there is one."""
        while self._idle:
            wire, _ = self._idle.popitem()
            if wire.usable:
                return wire
        return None

    async def open(self, seconds: float) -> Wire:
        """A new connection, within so many seconds. Raises UpstreamError."""
        wire = Wire(self)
        try:
            await self._dialler.open(lambda: wire, seconds)
        except BaseException:
            wire.give_up()  # it may have been there for a moment
            raise
        if self._closed or not wire.usable:
            wire.give_up()
            raise UpstreamError(FaultKind.CONNECT, Phase.NOT_SENT, "no connection: it was closed at once")
        self._all.add(wire)
        return wire

    def give(self, wire: Wire) -> None:
        """The connection is free."""
        if self._closed:
            wire.give_up()
            return
        wire.since = self.loop.time()
        self._idle[wire] = None
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(_KEEPALIVE, self._sweep)

    def leave(self, wire: Wire) -> None:
        """The connection is of no more use."""
        self._idle.pop(wire, None)

    def lost(self, wire: Wire) -> None:
        """Its socket is gone."""
        self._all.discard(wire)
        if not self._all and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _sweep(self) -> None:
        """Close what has been idle for too long. One timer does for all."""
        self._sweeper = None
        oldest = self.loop.time() - _KEEPALIVE + 0.01  # timers are that fine
        for wire in list(self._idle):
            if wire.since > oldest:
                self._sweeper = self.loop.call_at(wire.since + _KEEPALIVE, self._sweep)
                return
            wire.give_up()

    async def close(self) -> None:
        """Close all of them; answers still being read break off."""
        self._closed = True
        self._dialler.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for wire in list(self._all):
            wire.give_up()
        if self._all:
            self._emptied = self.loop.create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS):
                    await self._emptied


class Pools:
    """Pools on their way out."""

    def __init__(self, pools: list[Pool]) -> None:
        self._pools = pools

    def __bool__(self) -> bool:
        return bool(self._pools)

    async def close(self) -> None:
        """Close them; answers still being read break off."""
        await asyncio.gather(*(pool.close() for pool in self._pools))
