"""Takes the connections that clients make, and rests while file descriptors are short: who waits goes on waiting.

asyncio (3.11) complains once for every place of the backlog when none is left. uvloop (0.23, libuv 1.52) resets whoever
waits, says nothing, and closes the listening socket for good where its one reserve is gone too. Besides, a request
that was taken needs a socket to a provider: the last descriptors are kept for those. Connections on which nothing is
asked give way to those that wait. Where several workers wait at one socket, `proxy.front.turns` shares them out.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Callable
from typing import Any, Final, cast

from aiohttp import web

from proxy.front.protocol import Server
from proxy.front.turns import Turn

_AT_ONCE: Final = 64  # connections taken before others have their turn
_KEPT: Final = 320  # descriptors for providers and files; of few, a third
_NO_LIMIT: Final = 1 << 20
_REST: Final = 0.1  # seconds
_IDLE: Final = 0.5  # seconds
_CHANCE: Final = 0.005  # seconds that workers with fewer connections have to take one
_SAID_AGAIN: Final = 10.0  # seconds
_log = logging.getLogger("redeo.http")


class Site(web.BaseSite):
    """One listening socket of a runner."""

    __slots__ = ("_sock", "_turn")

    def __init__(self, runner: web.AppRunner, sock: socket.socket, turn: Turn | None = None) -> None:
        super().__init__(runner)
        self._sock = sock
        self._turn = turn

    @property
    def name(self) -> str:
        """What aiohttp calls it in its messages."""
        return str(self._sock.getsockname())

    async def start(self) -> None:
        """Begin to take connections."""
        await super().start()
        server = self._runner.server
        assert isinstance(server, Server)
        if self._turn is not None:
            self._turn.begin()
        listener = Listener(self._sock, server, lambda: server.connections, self._turn)
        if self._turn is not None:
            server.lost = self._turn.ended
        self._server = cast(asyncio.AbstractServer, listener)  # of which aiohttp calls `close` alone


class Listener:
    """Takes connections until it is closed, and then closes the socket. `taken`: those that are still open.

    `turn`: of this worker, where there are several.
    """

    def __init__(
        self,
        sock: socket.socket,
        factory: Callable[[], Any],
        taken: Callable[[], list[Any]],
        turn: Turn | None = None,
    ) -> None:
        self._sock = sock
        self._factory = factory
        self._taken = taken
        self._turn = turn
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[Any]] = set()
        self._resting: asyncio.TimerHandle | None = None
        self._said: float | None = None
        self._loop.add_reader(sock, self._take)

    def _take(self) -> None:
        if self._turn is None:
            self._accept(_AT_ONCE)
        elif self._turn.come():
            self._accept(1)
        else:
            self._pause(_CHANCE, self._take_anyway)
            self._turn.when_it_comes(self._at_once)

    def _take_anyway(self) -> None:
        """The others had their chance: one of them may be busy, or gone."""
        assert self._turn is not None
        self._turn.when_it_comes(None)
        self._resting = None
        if self._accept(1):
            self._loop.add_reader(self._sock, self._take)

    def _at_once(self) -> None:
        """Connections have ended here, and nobody has fewer."""
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
            self._loop.add_reader(self._sock, self._take)

    def _accept(self, count: int) -> bool:
        """Take at most so many of those who wait; whether it can go on so."""
        most = _most()
        for _ in range(count):
            try:
                connection, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as exc:  # accept(2): none of them is the listening socket's own
                self._rest(exc.strerror or type(exc).__name__)
                return False
            connection.setblocking(False)
            self._begin(connection)
            if connection.fileno() >= most:
                self._rest("few file descriptors are left")
                return False
        return True

    def _begin(self, connection: socket.socket) -> None:
        if self._turn is not None:
            self._turn.taken()
        beginning = self._loop.create_task(self._loop.connect_accepted_socket(self._factory, connection))
        self._beginning.add(beginning)

        def begun(task: asyncio.Task[Any]) -> None:
            self._beginning.discard(task)
            if task.cancelled() or task.exception() is not None:
                connection.close()  # whose client has left already
                if self._turn is not None:
                    self._turn.ended()

        beginning.add_done_callback(begun)

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._sock)
        self._resting = self._loop.call_later(seconds, then)

    def _rest(self, why: str) -> None:
        self._pause(_REST, self._go_on)
        now = self._loop.time()
        if self._said is None or now - self._said > _SAID_AGAIN:
            self._said = now
            _log.warning("new connections have to wait: %s (limit: %d, see `ulimit -n`)", why, _limit())

    def _go_on(self) -> None:
        taken = self._taken()
        if taken and _lowest_free() >= _most():
            for protocol in taken:
                protocol.give_way(_IDLE)
            self._resting = self._loop.call_later(_REST, self._go_on)
            return
        self._resting = None
        self._loop.add_reader(self._sock, self._take)

    def close(self) -> None:
        """Take no more; connections that were taken stay."""
        if self._turn is not None:
            self._turn.when_it_comes(None)
            self._turn.over()
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        elif self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
        self._sock.close()


def _limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _NO_LIMIT if soft == resource.RLIM_INFINITY else soft


def _most() -> int:
    """The descriptor from which on connections have to wait; the kernel gives the lowest free one."""
    limit = _limit()
    return limit - min(_KEPT, limit // 3)


def _lowest_free() -> int:
    try:
        free = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return _limit()
    os.close(free)
    return free
