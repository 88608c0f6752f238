"""How a service manager passes listening sockets: descriptors from 3 on, told to the very process that gets them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_WRAPPER = """
import fcntl, os, sys
fds, pid, command = [int(n) for n in sys.argv[1].split(",")], sys.argv[2], sys.argv[3:]
spare = [fcntl.fcntl(fd, fcntl.F_DUPFD, 50) for fd in fds]
for place, fd in enumerate(spare, start=3):
    os.dup2(fd, place, inheritable=True)
os.environ |= {"LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": "a:b:c", "LISTEN_PID": pid or str(os.getpid())}
os.execv(command[0], command)
"""


def handed(fds: Sequence[int], command: Sequence[str], pid: str = "") -> list[str]:
    """The command line that becomes `command` with `fds` (to be passed to it) as its sockets, in this order.

    `pid`: the process that they are said to be for, if not this one.
    """
    return [sys.executable, "-c", _WRAPPER, ",".join(map(str, fds)), pid, *command]
