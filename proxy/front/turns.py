"""Whose turn it is to take the next connection, where several workers wait at one listening socket.

The kernel wakes all of them, and the first would take whatever is there: measured with two workers, 8 connections
opened at once lay 8:0, and 64 anything from 33:31 to 64:0, whether one or many were taken at a time. So each says in
shared memory how many it has, and who has more lets the others go first for a moment.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from typing import Final

MOST: Final = 64  # workers
_COUNT: Final = struct.Struct("=I")
_AWAY: Final = 0xFFFF_FFFF  # it takes none: not yet, or no more
_SLACK: Final = 8  # one more for so many is no unfairness


class Turns:
    """One number for each worker, made before they are forked."""

    def __init__(self, workers: int = MOST) -> None:
        self._memory = mmap.mmap(-1, workers * _COUNT.size)
        for worker in range(workers):
            self.away(worker)

    def away(self, worker: int) -> None:
        """This worker takes none: nobody lets it go first."""
        self.has(worker, _AWAY)

    def has(self, worker: int, connections: int) -> None:
        """So many are open there."""
        at = worker * _COUNT.size
        self._memory[at : at + _COUNT.size] = _COUNT.pack(connections)  # in one piece: `pack_into` writes zeros first

    def least(self, worker: int) -> int:
        """How many the one of the others has that has fewest; a great many where there is no other."""
        counts: list[int] = [count for (count,) in _COUNT.iter_unpack(self._memory[:])]
        del counts[worker]
        return min(counts, default=_AWAY)


class Turn:
    """That of one worker, which says of each connection when it is taken and when it has ended."""

    def __init__(self, turns: Turns, worker: int) -> None:
        self._turns = turns
        self._worker = worker
        self._open = 0
        self._over = False
        self._waiting: Callable[[], None] | None = None

    def begin(self) -> None:
        """From now on connections are taken here."""
        self._count(0)

    def taken(self) -> None:
        """One more is open."""
        self._count(1)

    def ended(self) -> None:
        """One fewer."""
        self._count(-1)
        if self._waiting is not None and self.come():
            waiting, self._waiting = self._waiting, None
            waiting()

    def _count(self, more: int) -> None:
        self._open += more
        if not self._over:
            self._turns.has(self._worker, self._open)

    def come(self) -> bool:
        """Whether one more may be taken before others have had their chance."""
        least = self._turns.least(self._worker)
        return self._open <= least + least // _SLACK

    def when_it_comes(self, then: Callable[[], None] | None) -> None:
        """Call this once when enough have ended here; None: not any more."""
        self._waiting = then

    def over(self) -> None:
        """None will be taken here any more."""
        self._over = True
        self._turns.away(self._worker)
