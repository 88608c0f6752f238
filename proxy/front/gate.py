"""How many requests are served at once; the rest wait a moment in a short queue, then are told to come back.

Owns the counts. What clients ask passes one gate, the daemon's own interface another, so that neither is kept waiting
by the other; what says that the daemon lives passes none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from types import TracebackType
from typing import Any, Final

from aiohttp import web

from config.model import Limits
from proxy.front.errors import Refused

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# Of the daemon's own interface: few do much (a test calls a provider), and a full disk must not hold up inference.
_BESIDE: Final = Limits(max_in_flight=8, max_queue=64, queue_seconds=1.0)


class Gate:
    """One per process and kind of request; the limits are looked at anew for each request."""

    def __init__(self, full: Callable[[Limits], str] | None = None) -> None:
        self._full = full or _in_flight
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def enter(self, limits: Limits) -> _Pass:
        """`async with gate.enter(limits):` holds one place. Raises Refused when there is none in time."""
        return _Pass(self, limits)

    def free(self, limits: Limits) -> bool:
        """Whether nobody has to wait."""
        return self._in_flight < limits.max_in_flight and not self._waiting

    def pass_by(self) -> None:
        """Take a place, of those that are free."""
        self._in_flight += 1

    async def take(self, limits: Limits) -> None:
        """Take a place, perhaps after waiting for it. Raises Refused when there is none in time."""
        if self.free(limits):
            self.pass_by()
            return
        if len(self._waiting) >= limits.max_queue:
            raise self._overloaded(limits)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(limits.queue_seconds):
                await turn
        except BaseException as exc:
            if turn.done() and not turn.cancelled():
                self.give()  # the place was handed over in the very moment of giving up
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(exc, TimeoutError):
                raise self._overloaded(limits) from None
            raise

    def give(self) -> None:
        """Give a place back: to the first that waits, if any does."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._in_flight -= 1

    def _overloaded(self, limits: Limits) -> Refused:
        return Refused(503, "gateway_overloaded", self._full(limits), retry_after=1)


class _Pass:
    def __init__(self, gate: Gate, limits: Limits) -> None:
        self._gate = gate
        self._limits = limits

    async def __aenter__(self) -> None:
        await self._gate.take(self._limits)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.give()


def _in_flight(limits: Limits) -> str:
    return f"{limits.max_in_flight} requests are being served already (limits.max_in_flight)"


def beside(others: Collection[Any]) -> Any:
    """The middleware that puts all requests but those to the handlers `others` through a gate of their own."""
    gate = Gate(lambda limits: f"{limits.max_in_flight} requests to the daemon itself are being served already")

    @web.middleware
    async def enter(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.match_info.handler in others:
            return await handler(request)
        async with gate.enter(_BESIDE):
            return await handler(request)

    return enter
