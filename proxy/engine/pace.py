"""How fast the text of a stream comes, measured before anything is sent on: one that drips is left for another.

Only where `routing.min_chars_per_second` is set. Characters are those of what is said: text, thinking, arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from proxy.dialects.json import decode_object
from proxy.dialects.sse import event_data

WINDOW: Final = 3.0  # seconds that are measured
_DEEP: Final = 8
_SAYS: Final = ("delta", "choices", "candidates", "content_block")  # where dialects have what is said
_BESIDE: Final = frozenset({"id", "type", "role", "name", "model", "finish_reason", "signature", "thoughtSignature"})


class Pace:
    """Of one stream. `floor`: characters a second; `longest`: the clock of the first content, which bounds this too;
    `alone`: whether there is nobody by now for whom it could be left."""

    def __init__(self, floor: float, longest: float, alone: Callable[[], bool]) -> None:
        self.window = min(WINDOW, longest)
        self.floor = floor
        self.alone = alone
        self.since: float | None = None
        self._needed = floor * self.window
        self._said = 0

    def enough(self, event: bytes, now: float) -> bool:
        """Count what this event says; whether it is known by now to be fast enough."""
        self.since = now if self.since is None else self.since
        self._said += characters(event)
        return self._said >= self._needed or self.alone()

    def left(self, now: float) -> float:
        """Seconds until it has to be."""
        return self.window if self.since is None else max(0.0, self.since + self.window - now)


def characters(event: bytes) -> int:
    """How many characters an event says."""
    value = decode_object(event_data(event)) or {}
    return sum(_count(value[name], 0) for name in _SAYS if name in value)


def _count(value: Any, depth: int) -> int:
    if isinstance(value, str):
        return len(value)
    if depth >= _DEEP:
        return 0
    return sum(_count(inner, depth + 1) for inner in _inner(value))


def _inner(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from (inner for name, inner in value.items() if name not in _BESIDE)
    elif isinstance(value, list):
        yield from value
