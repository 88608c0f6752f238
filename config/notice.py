"""Says when something in a folder changes: by inotify (inotify(7)) where the system has it, by watchfiles elsewhere.

inotify is one descriptor that the event loop waits for. watchfiles (1.3) keeps two threads, of which one takes the
interpreter's lock fifty times a second to ask whether it shall stop, and 3 MB of modules. Knows nothing of what is in
the files.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import logging
import os
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

_EVENT: Final = struct.Struct("iIII")  # struct inotify_event: watch, mask, cookie, length of the name behind it
# <sys/inotify.h>
_CLOSE_WRITE, _MOVED, _CREATE, _DELETE, _MOVE_SELF = 0x8, 0xC0, 0x100, 0x200, 0x800
_OVERFLOW, _IGNORED, _ONLYDIR = 0x4000, 0x8000, 0x01000000
_WANTED: Final = _CLOSE_WRITE | _MOVED | _CREATE | _DELETE | _MOVE_SELF | _ONLYDIR
_AT_ONCE: Final = 65_536  # bytes of events
_SETTLE: Final = 0.05  # seconds: an editor saves in several steps
_log = logging.getLogger("redeo.config")


class Notice(Protocol):
    """What waits for changes of files."""

    async def wait(self, seconds: float) -> bool:
        """Return soon after a change, at the latest after `seconds`; False: the folders have to be watched anew."""


@asynccontextmanager
async def over(files: Iterable[Path], folders: Iterable[Path]) -> AsyncIterator[Notice]:
    """Notices changes of these files in these folders, which must be there."""
    if not _has_inotify():
        library = await asyncio.to_thread(importlib.import_module, "watchfiles")
        other = _Watchfiles(frozenset(map(str, files)), folders, library.awatch)
        try:
            yield other
        finally:
            await other.close()
        return
    try:
        watch = _Inotify({os.fsencode(file.name) for file in files}, folders)
    except OSError as exc:  # this user has too many already, or a folder has gone in this moment
        _log.warning("files are looked at every few seconds, not watched: %s", exc.strerror)
        yield _Blind()
        return
    try:
        yield watch
    finally:
        watch.close()


class _Blind:
    async def wait(self, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return True


class _Inotify:
    """Owns one descriptor until it is closed. Raises OSError."""

    def __init__(self, names: set[bytes], folders: Iterable[Path]) -> None:
        self._names = names
        self._changed = asyncio.Event()
        self._lost = False  # a folder is not where it was
        self._loop = asyncio.get_running_loop()
        self._descriptor = _called("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            for folder in folders:
                _called("inotify_add_watch", self._descriptor, os.fsencode(folder), _WANTED)
        except OSError:
            os.close(self._descriptor)
            raise
        self._loop.add_reader(self._descriptor, self._read)

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            said, at = os.read(self._descriptor, _AT_ONCE), 0
            while at < len(said):
                _, mask, _, length = _EVENT.unpack_from(said, at)
                start, at = at + _EVENT.size, at + _EVENT.size + length
                self._lost = self._lost or bool(mask & (_IGNORED | _MOVE_SELF))
                if self._lost or mask & _OVERFLOW or said[start:at].rstrip(b"\0") in self._names:
                    self._changed.set()

    async def wait(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
                await asyncio.sleep(_SETTLE)
        self._changed.clear()
        return not self._lost


def _has_inotify() -> bool:
    return hasattr(ctypes.CDLL(None), "inotify_init1")


def _called(name: str, *arguments: int | bytes) -> int:
    """What a function of the C library returns. Raises OSError."""
    result = int(getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class _Watchfiles:
    def __init__(self, files: frozenset[str], folders: Iterable[Path], awatch: Callable[..., Any]) -> None:
        self._files = files
        self._folders = folders
        self._awatch = awatch
        self._changes: Any = None  # what it yields; begun when it is clear how often to look

    async def wait(self, seconds: float) -> bool:
        if self._changes is None:
            self._changes = self._awatch(
                *self._folders,
                watch_filter=lambda _, path: path in self._files,
                debounce=100,
                step=20,
                recursive=False,
                rust_timeout=int(seconds * 1000),
                yield_on_timeout=True,
            )
        await anext(self._changes)
        return True

    async def close(self) -> None:
        if self._changes is not None:
            await self._changes.aclose()
