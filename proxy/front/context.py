"""What every handler of the front needs to know: the running configuration and the parts behind it. No behaviour."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from aiohttp import web

from config.model import Snapshot
from proxy.engine import Engine
from proxy.front.errors import shutting_down
from proxy.upstream.model_lists import ModelLists


class Front(msgspec.Struct):
    """`current` gives the configuration in force, after taking up what another worker changed.

    `closing` is set once, when the daemon stops: connections are closed after their answer. `draining` too, unless
    a new process takes over the listening socket: then nothing new is served here.
    """

    current: Callable[[], Snapshot]
    refresh: Callable[[], Awaitable[None]]
    stale: Callable[[], bool]
    engine: Engine
    lists: ModelLists
    key_digest: bytes  # SHA-256 of the daemon's own API key
    now: Callable[[], float]
    rejected: Callable[[str], None]
    hosts: frozenset[str] = frozenset()  # the names of the addresses that are listened on
    on_paths: bool = True  # whether some of them may be Unix sockets
    inherited: bool = False  # the sockets were handed over: who may use a path is for its mode to say
    closing: bool = False
    draining: bool = False
    active: int = 0  # inference requests between their head and the end of their answer
    _waiting: list[asyncio.Event] = msgspec.field(default_factory=list)
    _arriving: set[asyncio.Task[Any]] = msgspec.field(default_factory=set)
    _over: bool = False  # the time to drain is over

    def began(self) -> None:
        """Count one inference request, from before its body is read."""
        self.active += 1

    def over(self) -> None:
        """It has ended."""
        self.active -= 1
        if not self.active:
            for waiting in self._waiting:
                waiting.set()

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """While the body or the turn of one request is waited for: who leaves now is counted, for no engine sees it."""
        task = asyncio.current_task()
        assert task is not None
        self._arriving.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._over:
                self.rejected("client_gone")
                raise
            task.uncancel()
            raise shutting_down() from None
        finally:
            self._arriving.discard(task)

    def interrupt(self) -> None:
        """The time to drain is over: every request ends now, with an error of ours."""
        self._over = True
        for task in self._arriving:
            task.cancel()
        self.engine.interrupt()

    async def idle(self) -> None:
        """Return at a moment when no inference request is being served."""
        while self.active:
            event = asyncio.Event()
            self._waiting.append(event)
            await event.wait()

    async def snapshot(self) -> Snapshot:
        """The configuration for one request."""
        if self.stale():
            await self.refresh()
        return self.current()


FRONT: Final = web.AppKey("front", Front)
