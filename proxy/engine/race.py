"""Hedging: a second attempt beside one that is silent. Whoever speaks first answers; the other is cancelled.

Only where `routing.hedge_after` is set, for requests that leave nothing behind, and within the retry budget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from proxy.engine.clocks import Interrupt
from proxy.engine.outcome import Outcome
from proxy.engine.trial import Trial
from proxy.fault import Fault, FaultKind, Start
from proxy.routing import Candidate

_MOST: Final = 2  # attempts at the same time
Next = Callable[[Start], Awaitable[Trial | None]]


class Race:
    """The attempts of one request. `following` lets the next one through, if there is one."""

    def __init__(self, after: float, following: Next, interrupt: Interrupt) -> None:
        self._after = after
        self._next = following
        self._interrupt = interrupt
        self._running: dict[asyncio.Task[Outcome], Trial] = {}
        self._winner: Trial | None = None  # who has said something to the client
        self._left: list[Trial] = []  # cancelled, because another one was faster

    def behind(self, first: Trial | None = None) -> list[Candidate]:
        """Who is being asked; of those, who was asked after this one."""
        running = list(self._running.values())
        after = running.index(first) + 1 if first in running else 0
        return [trial.candidate for trial in running[after:]]

    def left(self) -> list[Trial]:
        """Those that were cancelled because another one was faster, once."""
        left, self._left = self._left, []
        return left

    @property
    def running(self) -> bool:
        """Whether an attempt is under way."""
        return bool(self._running)

    async def ended(self) -> tuple[Trial, Outcome] | None:
        """The next attempt to end, others going on; None when none runs and none is left. Raises what an attempt does.

        Cancelled, it sees all of them to their end, and raises; at the end of the drain only if none had begun.
        """
        try:
            return await self._ended()
        except asyncio.CancelledError:
            answer = await self._break_off()
            task = asyncio.current_task()
            if answer is None or task is None or not self._interrupt.requested:
                raise
            task.uncancel()  # the client has been told, or is
            return answer

    async def _ended(self) -> tuple[Trial, Outcome] | None:
        if not self._running and not await self._add(Start.PLAIN):
            return None
        hedging = self._winner is None and len(self._running) < _MOST
        while self._running:
            done, _ = await asyncio.wait(
                self._running, timeout=self._after if hedging else None, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                hedging = False  # by now there are two, or nobody else can be asked
                await self._add(Start.HEDGE)
            for task in done:
                trial = self._running.pop(task)
                if self._winner is not None and trial is not self._winner:
                    _looked_at(task)  # whatever came of it: the client has an answer, and is told nothing beside it
                elif not task.cancelled():
                    return trial, task.result()
        return await self._ended()

    async def _add(self, start: Start) -> bool:
        trial = await self._next(start) if self._winner is None else None
        if trial is None:
            return False
        trial.on_begun = partial(self._wins, trial)
        self._running[trial.begin()] = trial
        return True

    def _wins(self, winner: Trial) -> None:
        """Called before the head of its answer is made: the others say in it what became of them."""
        self._winner = winner
        for task, trial in self._running.items():
            if trial is not winner:
                self._cancel(task, trial)

    def _cancel(self, task: asyncio.Task[Outcome], trial: Trial) -> None:
        if not task.done():
            trial.attempt.fault = Fault(FaultKind.HEDGED, f"{trial.attempt.connection}: another one was faster")
            self._left.append(trial)
            task.cancel()

    async def leave(self) -> None:
        """Cancel what still runs, and wait until that has closed its connection."""
        for task, trial in self._running.items():
            self._cancel(task, trial)
        running, self._running = self._running, {}
        if running:
            await asyncio.gather(*running, return_exceptions=True)

    async def _break_off(self) -> tuple[Trial, Outcome] | None:
        """Cancel all of them; the one that has said a whole answer or its error nevertheless."""
        running, self._running = self._running, {}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for task, trial in running.items():
            if not task.cancelled() and task.exception() is None and task.result().committed:
                return trial, task.result()
        return None


def _looked_at(task: asyncio.Task[Outcome]) -> None:
    """An exception that nobody looks at is complained about."""
    if not task.cancelled():
        task.exception()
