"""What the process does for itself at its start: no core dumps, no foreign eyes in /proc, a clean environment, room
for open files.

Honest limit: strings that Python has copied cannot be wiped.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_OPEN_FILES: Final = 65_536
_OWN_SECRETS: Final = ("REDEO_API_KEY", "REDEO_MASTER_KEY")


def harden() -> None:
    """Call once, early; on systems without these calls it does what it can."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def widen() -> None:
    """As many open files as this user may have, within reason: shells give 1024, and each stream takes two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def end_with_parent() -> None:
    """For a worker: be told to stop when the process that supervises it is killed."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def take_environment() -> dict[str, str]:
    """A copy of the environment; the daemon's own secrets are taken out of the real one, so no child inherits them."""
    taken = dict(os.environ)
    for name in _OWN_SECRETS:
        os.environ.pop(name, None)
    return taken
