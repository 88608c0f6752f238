"""What the process does against readers of the same user: no core dumps, no foreign eyes in /proc, a clean environment.

Honest limit: strings that Python has copied cannot be wiped.
"""

from __future__ import annotations

import ctypes
import os
import resource
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_OWN_SECRETS: Final = ("REDEO_API_KEY", "REDEO_MASTER_KEY")


def harden() -> None:
    """Call once, early; on systems without these calls it does what it can."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (OSError, AttributeError):
        return


def take_environment() -> dict[str, str]:
    """A copy of the environment; the daemon's own secrets are taken out of the real one, so no child inherits them."""
    taken = dict(os.environ)
    for name in _OWN_SECRETS:
        os.environ.pop(name, None)
    return taken
