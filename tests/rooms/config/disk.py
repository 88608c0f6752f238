"""A disk that fails, or takes the process with it, at any one step of whatever the code under test does to files."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

STEPS: Final = ("open", "write", "fsync", "rename", "replace", "link", "unlink", "mkdir")


class Killed(BaseException):
    """The process has ended here: nothing that comes later has been done, cleaning up included."""


@dataclass
class Disk:
    """Counts the steps that change files. At step `at` the fault comes: an error number, or death."""

    at: int = -1
    fault: int | None = None  # None: killed
    lasting: bool = False  # whether every later step fails as well; so it is with death
    steps: list[tuple[str, str]] = field(default_factory=list)  # what was asked for, and of which file

    def __call__(self, name: str, real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if name == "open" and not args[1] & os.O_CREAT:
            return real(*args, **options)  # it changes nothing
        file = os.readlink(f"/proc/self/fd/{args[0]}") if isinstance(args[0], int) else os.fspath(args[0])
        self.steps.append((name, file))
        here = len(self.steps) - 1
        if here == self.at or (here > self.at >= 0 and (self.lasting or self.fault is None)):
            if self.fault is None:
                raise Killed
            raise OSError(self.fault, os.strerror(self.fault))
        return real(*args, **options)

    @property
    def failed(self) -> str:
        """The kind of step at which the fault came; empty where it never came."""
        return self.steps[self.at][0] if 0 <= self.at < len(self.steps) else ""


@contextmanager
def disk(**faults: Any) -> Iterator[Disk]:
    """`with disk(at=3, fault=errno.EIO) as seen:` — for the block, of this process."""
    found = Disk(**faults)
    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, _through(found, name))
        yield found


def _through(found: Disk, name: str) -> Callable[..., Any]:
    real = getattr(os, name)
    return lambda *args, **options: found(name, real, *args, **options)


ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
