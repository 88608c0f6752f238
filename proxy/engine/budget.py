"""The retry budget: how many attempts beyond the first of their request may be under way at the same time.

Fallbacks multiply load just when providers fail. What is bounded are attempts at connections that are not known to be
well: one that has just answered may take whatever comes, one that has not is tried by a few first while the others
wait for what they find out. So no request fails for want of a place; how long it waits is for its clocks to say.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

LEAST: Final = 3
SHARE: Final = 0.2  # of the requests being served


class Budget:
    """One per process; owns the count. `serving` tells how many requests are being served."""

    def __init__(self, serving: Callable[[], int]) -> None:
        self._serving = serving
        self._taken = 0
        self._waiting: list[asyncio.Future[None]] = []

    def take(self) -> Place | None:
        """A place for one more attempt, or None where there is none now."""
        if self._taken >= max(LEAST, int(self._serving() * SHARE)):
            return None
        self._taken += 1
        return Place(self)

    async def place(self, needed: Callable[[], bool], left: Callable[[], float]) -> Place:
        """One as soon as there is one; without the budget where none is `needed` any more, or no time is `left`."""
        while needed() and left() > 0:
            place = self.take()
            if place is not None:
                return place
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left()):
                    await self.changed()
        return FREE

    async def changed(self) -> None:
        """Until a place is given back, or something was learned of a connection."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)

    def tell(self) -> None:
        """Something was learned: whoever waits looks again."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)

    def _give(self) -> None:
        self._taken -= 1
        self.tell()


class Place:
    """One place, given back once however often that is said; without a budget, where none is needed."""

    def __init__(self, budget: Budget | None = None) -> None:
        self._budget = budget

    def give(self) -> None:
        """It is free again."""
        budget, self._budget = self._budget, None
        if budget is not None:
            budget._give()


FREE: Final = Place()  # where none is needed
