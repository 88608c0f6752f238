"""How many processors this process may use: those it is allowed to run on, and the time that its cgroup gives it.

Formats: sched_getaffinity(2); Documentation/admin-guide/cgroup-v2.rst of the kernel on `cpu.max`: "$MAX $PERIOD".
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")


def usable(cgroups: Path = _CGROUPS, own: Path = _OWN) -> int:
    """At least one; a part of a processor counts as one."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([here, *(math.ceil(share) for share in _shares(cgroups, own))]))


def _shares(cgroups: Path, own: Path) -> Iterator[float]:
    """What each cgroup from the own one up to the root allows, in processors; what cannot be read allows all."""
    folder = cgroups / _own_group(own).lstrip("/")
    while folder.is_relative_to(cgroups):
        try:
            most, period = (folder / "cpu.max").read_text().split()
            yield int(most) / int(period)
        except (OSError, ValueError, ZeroDivisionError):  # "max" is no number: no limit
            pass
        folder = folder.parent


def _own_group(own: Path) -> str:
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return ""
    return next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "")
