"""Tells the service manager that requests are answered; a daemon that answers none says nothing and is restarted."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from proxy.systemd import Manager

_SELF_TEST: Final = 5.0  # seconds


async def feed(sock: socket.socket, manager: Manager, interval: float | None, stop: asyncio.Event) -> None:
    """Every `interval` seconds, until cancelled; None: nobody wants to hear it.

    While the daemon drains nothing new is answered, and it lives for as long as its loop turns.
    """
    while interval is not None:
        if stop.is_set() or await _answers(sock):
            manager.alive()
        await asyncio.sleep(interval)


async def _answers(sock: socket.socket) -> bool:
    """Whether a request to the daemon's own socket is answered, through its own accept queue and guard."""
    address = sock.getsockname()
    try:
        async with asyncio.timeout(_SELF_TEST):
            if sock.family == socket.AF_UNIX:
                reader, writer = await asyncio.open_unix_connection(address)
            else:
                host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])
                reader, writer = await asyncio.open_connection(host, address[1])
            try:
                writer.write(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                return (await reader.readline()).startswith(b"HTTP/1.1 200")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
