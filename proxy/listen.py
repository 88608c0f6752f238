"""The sockets that the daemon listens on: its own or those that systemd hands over. Faults are ListenError."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Final

BACKLOG: Final = 4096  # as many as Linux allows by itself (net.core.somaxconn); whoever finds no place waits a second


class ListenError(Exception):
    """The address cannot be listened on: why, and what to do."""


def is_loopback(host: str) -> bool:
    """Whether the host of a listen address is this machine alone."""
    bare = host.strip("[]")
    if bare == "localhost":
        return True
    try:
        return ip_address(bare).is_loopback
    except ValueError:
        return False


def bind(listen: str, *, allow_remote: bool) -> socket.socket:
    """A listening socket for `HOST:PORT` or `unix:PATH`. Raises ListenError."""
    if listen.startswith("unix:"):
        return _bind_unix(Path(listen.removeprefix("unix:")))
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ListenError(f"`{listen}` is no listen address; it is HOST:PORT or unix:PATH")
    if not is_loopback(host) and not allow_remote:
        raise ListenError(
            f"{listen} can be reached from other machines; set `allow_remote: true` in redeo.yaml if that is meant"
        )
    return _bind_tcp(host.strip("[]"), int(port), listen)


def _bind_tcp(host: str, port: int, listen: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        raise ListenError(_why(exc, listen)) from None
    sock.setblocking(False)
    return sock


def _bind_unix(path: Path) -> socket.socket:
    """Mode 0600 from the first moment; a socket file that nobody answers on is replaced."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        _remove_dead(path)
        sock.bind(str(path))
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        raise ListenError(_why(exc, f"unix:{path}")) from None
    finally:
        os.umask(mask)
    sock.setblocking(False)
    return sock


def _remove_dead(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "there is a file of that name")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "in use")


def _why(exc: OSError, listen: str) -> str:
    if exc.errno == errno.EADDRINUSE:
        return (
            f"{listen} is taken: another redeo or another program listens there; "
            "stop it, or choose another address with --listen"
        )
    if exc.errno == errno.EACCES:
        return f"{listen}: not allowed for this user; choose a port above 1023 or a path of your own"
    if exc.errno == errno.EADDRNOTAVAIL:
        return f"{listen}: this machine has no such address"
    return f"{listen}: {exc.strerror or exc}"


def hosts_of(sockets: Iterable[socket.socket]) -> frozenset[str]:
    """The addresses that are listened on, as a Host header names them; "every address" is none in particular."""
    hosts = {sock.getsockname()[0] for sock in sockets if sock.family != socket.AF_UNIX} - {"0.0.0.0", "::"}
    return frozenset(f"[{host}]" if ":" in host else host for host in hosts)


def refuse_remote(sockets: Iterable[socket.socket], *, allow_remote: bool) -> None:
    """Raises ListenError for a socket that was handed over and is open to other machines without leave."""
    for sock in sockets:
        if sock.family != socket.AF_UNIX and not allow_remote and not is_loopback(sock.getsockname()[0]):
            raise ListenError(
                f"the socket handed over listens on {sock.getsockname()[0]}, which other machines can reach; "
                "set `allow_remote: true` in redeo.yaml if that is meant"
            )


def address_of(sock: socket.socket) -> str:
    """How clients reach the socket: `http://HOST:PORT`, or `unix:PATH`."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if sock.family == socket.AF_INET else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
