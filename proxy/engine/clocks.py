"""One watchdog for one attempt: it is re-armed for each piece without a timer of its own for each.

Owns no decision: what a fired clock means is told by the label it was armed with.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from proxy.fault import FaultKind


class ClockExpired(Exception):
    """An armed clock ran out; `kind` is what it was armed for."""

    def __init__(self, kind: FaultKind, seconds: float) -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.seconds = seconds


class Watchdog:
    """`with dog: dog.arm(kind, seconds); await ...` raises ClockExpired when it takes longer.

    Arming again moves the deadline; `rest` stops the clock while something else (a slow client) is waited for. One
    serves all phases of an attempt, each in a block of its own; `close` it in the end.
    """

    __slots__ = ("_due", "_fired", "_handle", "_kind", "_loop", "_seconds", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """For the task that runs now on this loop, which CPython 3.11 asks the kernel for each time."""
        self._loop = loop
        self._task = asyncio.current_task(loop)
        self._handle: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._kind = FaultKind.TIMEOUT
        self._seconds = 0.0
        self._fired = False

    def __enter__(self) -> Watchdog:
        return self

    def arm(self, kind: FaultKind, seconds: float) -> None:
        """From now, `seconds` until ClockExpired(kind)."""
        self._kind, self._seconds = kind, seconds
        self._due = self._loop.time() + seconds
        if self._handle is not None and self._handle.when() <= self._due:
            return  # the timer that runs looks at the new deadline when it fires
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(self._due, self._look)

    def rest(self) -> None:
        """Stop the clock until it is armed again."""
        self._due = None

    def _look(self) -> None:
        self._handle = None
        if self._due is None or self._task is None:
            return
        if self._loop.time() < self._due:
            self._handle = self._loop.call_at(self._due, self._look)
            return
        self._fired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._due = None
        if not self._fired or self._task is None:
            return
        self._fired = False
        # Another cancellation (the client left) counts beside ours and goes on.
        if self._task.uncancel() <= 0 and kind is asyncio.CancelledError:
            raise ClockExpired(self._kind, self._seconds) from None

    def close(self) -> None:
        """No clock is needed any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Interrupt:
    """Set once, when the time to drain is over: cancelled requests then end with an error of ours."""

    __slots__ = ("requested",)

    def __init__(self) -> None:
        self.requested = False
