"""How many requests are served at once; the rest wait a moment in a short queue, then are told to come back.

Owns the counts. Admin and health do not pass here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

from config.model import Limits
from proxy.front.errors import Refused


class Gate:
    """One per process; the limits are looked at anew for each request."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def enter(self, limits: Limits) -> _Pass:
        """`async with gate.enter(limits):` holds one place. Raises Refused when there is none in time."""
        return _Pass(self, limits)

    async def take(self, limits: Limits) -> None:
        """Take a place, perhaps after waiting for it."""
        if self._in_flight < limits.max_in_flight and not self._waiting:
            self._in_flight += 1
            return
        if len(self._waiting) >= limits.max_queue:
            raise _overloaded(limits)
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
                raise _overloaded(limits) from None
            raise

    def give(self) -> None:
        """Give a place back: to the first that waits, if any does."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._in_flight -= 1


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


def _overloaded(limits: Limits) -> Refused:
    return Refused(
        503,
        "gateway_overloaded",
        f"{limits.max_in_flight} requests are being served already (limits.max_in_flight)",
        retry_after=1,
    )
