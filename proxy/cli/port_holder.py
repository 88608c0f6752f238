"""Which process listens on a TCP port, as far as /proc shows it to this user (proc(5), `net/tcp`)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LISTEN: Final = "0A"


def holder(port: int, proc: Path = Path("/proc")) -> str | None:
    """`name (process N)`, or None where nobody listens or it is another user's."""
    inodes = set(_inodes(port, proc))
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in proc.glob("[0-9]*"):
        if not wanted.isdisjoint(_links(process)):
            try:
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
            except OSError:
                continue
    return None


def _links(process: Path) -> Iterator[str]:
    """What the open files of a process are; those that are gone meanwhile, or not ours to look at, are left out."""
    with contextlib.suppress(OSError):
        for fd in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield os.readlink(fd)


def _inodes(port: int, proc: Path) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]
