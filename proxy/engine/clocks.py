"""One watchdog for one attempt: it is re-armed for each piece, and no timer is made for that.

Owns no decision: what a fired clock means is told by the label it was armed with.
"""

from __future__ import annotations

import asyncio
from math import inf
from types import TracebackType

from proxy.fault import FaultKind


class ClockExpired(Exception):
    """An armed clock ran out; `kind` is what it was armed for."""

    def __init__(self, kind: FaultKind, seconds: float) -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.seconds = seconds


class Ticker:
    """One timer of a loop for all its watchdogs, for what most of them wait for never comes. Owns who is watched."""

    __slots__ = ("_handle", "_watched", "at", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._watched: set[Watchdog] = set()
        self._handle: asyncio.TimerHandle | None = None
        self.at = inf  # when the timer looks at all of them

    def watch(self, dog: Watchdog) -> None:
        """Until it leaves."""
        self._watched.add(dog)

    def look(self, due: float) -> None:
        """At all of them, at this time already."""
        if self._handle is not None:
            self._handle.cancel()
        self.at = due
        self._handle = self.loop.call_at(due, self._look)

    def leave(self, dog: Watchdog) -> None:
        """No more. The timer runs on for the others."""
        self._watched.discard(dog)

    def _look(self) -> None:
        self._handle, self.at = None, inf
        now, earliest = self.loop.time(), inf
        for dog in tuple(self._watched):
            if dog.due is None:
                continue
            if dog.due <= now:
                dog.fire()
            elif dog.due < earliest:
                earliest = dog.due
        if earliest < inf:
            self.look(earliest)


class Watchdog:
    """`with dog: dog.arm(kind, seconds); await ...` raises ClockExpired when it takes longer.

    Arming again moves the deadline; `rest` stops the clock while something else (a slow client) is waited for. One
    serves all phases of an attempt, each in a block of its own; `close` it in the end. `due`: by the loop's clock.
    """

    __slots__ = ("_fired", "_kind", "_seconds", "_task", "_ticker", "due")

    def __init__(self, ticker: Ticker) -> None:
        """For the task that runs now."""
        self._ticker = ticker
        self._task = asyncio.current_task(ticker.loop)  # without it CPython 3.11 asks the kernel for the loop
        self.due: float | None = None
        self._kind = FaultKind.TIMEOUT
        self._seconds = 0.0
        self._fired = False
        ticker.watch(self)

    def __enter__(self) -> Watchdog:
        return self

    def arm(self, kind: FaultKind, seconds: float) -> None:
        """From now, `seconds` until ClockExpired(kind)."""
        ticker = self._ticker
        self._kind, self._seconds = kind, seconds
        self.due = due = ticker.loop.time() + seconds
        if due < ticker.at:
            ticker.look(due)

    def rest(self) -> None:
        """Stop the clock until it is armed again."""
        self.due = None

    def fire(self) -> None:
        """Its time is over."""
        self.due = None
        if self._task is not None:
            self._fired = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.due = None
        if not self._fired or self._task is None:
            return
        self._fired = False
        # Another cancellation (the client left) counts beside ours and goes on.
        if self._task.uncancel() <= 0 and kind is asyncio.CancelledError:
            raise ClockExpired(self._kind, self._seconds) from None

    def close(self) -> None:
        """No clock is needed any more."""
        self.due = None
        self._ticker.leave(self)


class Interrupt:
    """Set once, when the time to drain is over: cancelled requests then end with an error of ours."""

    __slots__ = ("requested",)

    def __init__(self) -> None:
        self.requested = False
