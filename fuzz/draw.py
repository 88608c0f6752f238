"""Bytes as choices: a fuzzer's input, read as the values that a target needs. Bytes that are not there are zero."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """Reads from the front; what is drawn depends on the bytes alone."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes have not been read."""
        return max(0, len(self._data) - self._at)

    def number(self, below: int) -> int:
        """0 to `below` - 1, of one byte where that is enough, else of two."""
        size = 1 if below <= 256 else 2
        return int.from_bytes(self.take(size), "big") % below

    def take(self, count: int) -> bytes:
        """Up to `count` bytes."""
        piece = self._data[self._at : self._at + count]
        self._at += len(piece)
        return piece

    def line(self) -> bytes:
        """What stands before the next NUL: a text that a fuzzer can lengthen without moving what follows."""
        end = self._data.find(b"\0", self._at)
        piece = self._data[self._at :] if end < 0 else self._data[self._at : end]
        self._at += len(piece) + 1
        return piece

    def text(self) -> str:
        """The same as text, Latin-1, as HTTP headers are."""
        return self.line().decode("latin-1")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def pick(self, values: Sequence[T]) -> T:
        """One of these."""
        return values[self.number(len(values))]

    def cut(self, data: bytes, most: int = 12) -> list[bytes]:
        """`data` in up to `most` + 1 pieces."""
        places = {self.number(65_536) % (len(data) + 1) for _ in range(self.number(most + 1))}
        edges = sorted(places | {0, len(data)})
        return [data[a:b] for a, b in pairwise(edges)]
