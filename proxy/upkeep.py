"""What the process does for its own memory while it runs. Figures: docs/decisions/0018."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
from collections.abc import Callable
from typing import Final

_EVERY: Final = 30.0  # seconds
# A request leaves nothing behind that only the collector could free, so it is there for mishaps alone. What it costs is
# its pauses: by Python's own thresholds it looks at all there is ten times while 5,000 streams are opened.
_THRESHOLDS: Final = (5_000, 5, 100)


def settle() -> None:
    """All is imported: what is there stays, and the collector need not look at it again."""
    gc.enable()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


async def keep_tidy(idle: Callable[[], bool], every: float = _EVERY) -> None:
    """Now and then collect what went astray, when nobody waits, and give back what large bodies have left; for good."""
    while True:
        await asyncio.sleep(every)
        if idle():
            gc.collect()
        await asyncio.to_thread(give_back)


def give_back() -> None:
    """Free memory back to the system, from the middle of the heap too (malloc_trim(3)): where one small thing stands
    behind the freed body of 20 MB, the C library keeps it all. No other one has this call."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
