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
# mallopt(3): by itself the C library gives 128 kB back as soon as they are free, and has the kernel clear them for the
# next body of that size. So many bytes at the end of the heap stay until `give_back`; what is larger than the second
# lies outside of it, and goes at once.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEPT: Final = 16 << 20
_APART: Final = 4 << 20


def settle() -> None:
    """All is imported: what is there stays, and the collector need not look at it again."""
    gc.enable()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    with contextlib.suppress(AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT)
        library.mallopt(_M_MMAP_THRESHOLD, _APART)


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
