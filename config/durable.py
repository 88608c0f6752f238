"""Files replaced as a whole or not at all, and still there after a crash: temporary file, fsync, rename, fsync.

Sources: fsync(2), rename(2): without the directory's fsync the rename itself may be lost.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from config.errors import StoreUnavailable

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_SUFFIX: Final = ".redeo-tmp"


class _Stuck(OSError):
    """The disk failed behind the rename, and again at the way back."""


def replace(path: Path, data: bytes) -> None:
    """Put `data` at `path`, mode 0600, durable when this returns. Raises StoreUnavailable; then nothing changed, unless
    that is `unsure`."""
    temporary = _beside(path)
    try:
        _write(temporary, data)
        _swap(temporary, path)
    except _Stuck as exc:
        raise _unsure(path, exc) from None
    except OSError as exc:
        raise _unavailable(path, exc) from None
    finally:
        _remove(temporary)


def create(path: Path, data: bytes) -> bool:
    """The same where nothing stands yet; False, and nothing done, where something does. Of several, one succeeds.

    Where the last sync fails the file stays, and that is `unsure`: another process may work with it by now, and what it
    has sealed with a new key could not be opened without it.
    """
    temporary, there = _beside(path), False
    try:
        _write(temporary, data)
        os.link(temporary, path)
        there = True
        _sync_folder(path.parent)
    except FileExistsError:
        return False
    except OSError as exc:
        raise (_unsure if there else _unavailable)(path, exc) from None
    finally:
        _remove(temporary)
    return True


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{_SUFFIX}")


def _unavailable(path: Path, exc: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"{path} could not be written: {exc.strerror or exc}", full=exc.errno in _FULL)


def _unsure(path: Path, exc: OSError) -> StoreUnavailable:
    said = f"{path} was written, but the disk failed before that was sure to last: {exc.strerror}"
    return StoreUnavailable(said, full=False, unsure=True)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _swap(temporary: Path, path: Path) -> None:
    """Rename and sync. Where the sync fails, what stood there before stands there again."""
    kept, there = _beside(path), True
    try:
        os.link(path, kept)
    except FileNotFoundError:
        there = False
    except OSError:  # no second names on this file system: then there is no way back
        pass
    try:
        os.rename(temporary, path)
        _sync_folder(path.parent)
    except OSError as exc:
        _put_back(kept if there else None, path, temporary, exc)
        raise
    finally:
        _remove(kept)


def _put_back(kept: Path | None, path: Path, temporary: Path, cause: OSError) -> None:
    if temporary.exists():
        return  # it was not renamed
    try:
        os.rename(kept, path) if kept is not None else path.unlink()
    except OSError:
        raise _Stuck(cause.errno, cause.strerror) from None


def _write(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def stale(folder: Path) -> list[Path]:
    """What writers that were killed have left behind, and what those at work have not finished; nothing where the
    folder cannot be looked through, for it can wait."""
    try:
        return list(folder.glob(f".*{_SUFFIX}"))
    except OSError:
        return []


def remove_stale(folder: Path) -> None:
    """Delete what writers that were killed have left behind. The caller holds the lock."""
    for left in stale(folder):
        _remove(left)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file against other writers, of other processes too. Raises StoreUnavailable."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StoreUnavailable(f"{path} cannot be opened: {exc.strerror}", full=exc.errno in _FULL) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as exc:
            raise StoreUnavailable(f"{path} cannot be locked: {exc.strerror}", full=False) from None
        yield
    finally:
        with contextlib.suppress(OSError):  # nothing was written through it
            os.close(handle)
