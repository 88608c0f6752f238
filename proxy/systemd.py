"""What the service manager gives and hears: readiness, watchdog, listening sockets.

Plain environment variables and datagrams, no library. Refuses to decide anything: when to tell what is the
daemon's business, and without a service manager every call does nothing. Wire formats: sd_notify(3),
sd_listen_fds(3), sd_watchdog_enabled(3). Credentials are read by `config.daemon_key` and `config.sealing`.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Final, NamedTuple

FIRST_FD: Final = 3  # SD_LISTEN_FDS_START
_MICROSECONDS: Final = 1_000_000


class Manager(NamedTuple):
    """What the service manager is told: by the only process, or by the supervisor of several."""

    ready: Callable[[], object]
    alive: Callable[[], object]
    stopping: Callable[[], object]
    reloading: Callable[[], object]  # `ready` follows


def notify(*assignments: str, environ: MutableMapping[str, str] | None = None) -> bool:
    """Sends `assignments` (such as `READY=1`) in one datagram to `$NOTIFY_SOCKET`.

    Returns whether it was sent: False without a service manager, and when the manager's socket is gone or
    full. Never raises for that, because no notification is worth the service.
    """
    address = (os.environ if environ is None else environ).get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # the abstract namespace is written with an at sign, addressed with a NUL
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.setblocking(False)  # a manager that does not read must not stop the loop
            out.sendto("\n".join(assignments).encode(), address)
    except OSError:
        return False
    return True


def ready(status: str = "") -> bool:
    """The start, or a reload, is complete."""
    return notify("READY=1", *_status(status))


def reloading(status: str = "") -> bool:
    """A reload begins; `ready` must follow. The time in it lets `Type=notify-reload` pair the two."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return notify("RELOADING=1", f"MONOTONIC_USEC={now}", *_status(status))


def stopping(status: str = "") -> bool:
    """The drain begins."""
    return notify("STOPPING=1", *_status(status))


def alive() -> bool:
    """Feeds the watchdog."""
    return notify("WATCHDOG=1")


def _status(text: str) -> tuple[str, ...]:
    return (f"STATUS={' '.join(text.split())}",) if text else ()


def watchdog_interval(environ: MutableMapping[str, str] | None = None) -> float | None:
    """Seconds between two calls of `alive`: half of what the manager allows. None: nobody watches us."""
    env = os.environ if environ is None else environ
    watched = env.get("WATCHDOG_PID", "")
    if watched and watched != str(os.getpid()):
        return None
    micros = _number(env.get("WATCHDOG_USEC", ""))
    return micros / _MICROSECONDS / 2 if micros else None


def listen_fds(environ: MutableMapping[str, str] | None = None) -> list[socket.socket]:
    """The listening stream sockets handed over to this very process, in the order of the socket unit.

    Empty when there are none. The variables are removed and the descriptors made close-on-exec, so that no
    child takes them for its own. What is not a listening stream socket is left alone. The sockets are
    duplicates of the manager's: close them, never shut them down.
    """
    env = os.environ if environ is None else environ
    pid, count = env.pop("LISTEN_PID", ""), env.pop("LISTEN_FDS", "")
    env.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()):
        return []
    taken = []
    for fd in range(FIRST_FD, FIRST_FD + _number(count)):
        os.set_inheritable(fd, False)
        candidate = socket.socket(fileno=fd)
        if _listens(candidate):
            candidate.setblocking(False)
            taken.append(candidate)
        else:
            candidate.detach()
    return taken


def _listens(candidate: socket.socket) -> bool:
    wanted = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    return (
        candidate.family in wanted
        and candidate.type == socket.SOCK_STREAM
        and candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
