"""The folder in which workers count what happens, so that it stays when one of them is killed.

In memory rather than on a disk, which may be full: a page of a mapped file that finds no room kills its process.
Whoever uses a folder holds a lock on it, its workers with it; those of processes that were killed are taken away at a
start. A process id would not do for that: other containers may share the memory, and have ids of their own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
_ROOM: Final = 16 << 20  # bytes: a worker takes well under one
_MOMENT: Final = 60.0  # seconds; an empty one may have been made just now, and not be locked yet
_NAME: Final = "redeo-metrics-"


@contextlib.contextmanager
def metrics_folder(memory: Path = _MEMORY) -> Iterator[str]:
    """A folder of one's own, until the end of the block."""
    usable = os.access(memory, os.W_OK | os.X_OK)
    if usable:
        _clear(memory)
    if not usable or not _has_room(memory):
        memory = Path(tempfile.gettempdir())
    folder = tempfile.mkdtemp(prefix=f"{_NAME}{os.getpid()}-", dir=memory)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_SH)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _has_room(memory: Path) -> bool:
    there = os.statvfs(memory)
    return there.f_blocks == 0 or there.f_bavail * there.f_frsize >= _ROOM  # no blocks at all: no limit


def _clear(memory: Path) -> None:
    for left in memory.glob(f"{_NAME}*"):
        with contextlib.suppress(OSError):  # it is in use, or somebody else's, or gone
            handle = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if any(left.iterdir()) or time.time() - os.fstat(handle).st_mtime > _MOMENT:
                    shutil.rmtree(left)
            finally:
                os.close(handle)
