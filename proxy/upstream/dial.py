"""How a connection to a provider is made: its name looked up, a guarded socket connected, TLS always verified."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from aiohappyeyeballs import start_connection
from aiohappyeyeballs.types import AddrInfoType

from proxy.upstream.addresses import guarded_socket
from proxy.upstream.errors import look_for_room, too_late, unconnected, unresolved

_NAME_SECONDS: Final = 10.0  # for which the addresses of a name are kept
_HEAD_START: Final = 0.25  # seconds of one address before the next is tried beside it (RFC 8305)


class Tls:
    """The one context of a client, made when it is first needed: that reads the system's authorities."""

    def __init__(self) -> None:
        self._made: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """The context. Raises OSError where no file can be opened."""
        if self._made is None:
            look_for_room()  # without a descriptor it would be made, but trust nobody
            made = ssl.create_default_context()
            made.minimum_version = ssl.TLSVersion.TLSv1_2
            self._made = made
        return self._made


class Dialler:
    """Connects to one host and port. `private`: private and loopback addresses are allowed."""

    def __init__(self, host: str, port: int, tls: Tls | None, *, private: bool) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._socket = guarded_socket(private=private)
        self._known: list[AddrInfoType] = []
        self._until = 0.0
        self._asking: asyncio.Task[list[AddrInfoType]] | None = None

    async def open(self, make: Callable[[], asyncio.Protocol], seconds: float) -> None:
        """Connect a protocol within so many seconds. Raises UpstreamError."""
        clock = asyncio.timeout(seconds)
        try:
            async with clock:
                await self._connect(make, await self._addresses())
        except TimeoutError as exc:  # the kernel has a clock of its own
            raise (too_late() if clock.expired() else unconnected(exc)) from None
        except (OSError, RuntimeError, ValueError) as exc:  # uvloop raises RuntimeError for some
            raise unconnected(exc) from None

    async def _connect(self, make: Callable[[], asyncio.Protocol], addresses: list[AddrInfoType]) -> None:
        """To the first of the addresses that answers and can prove its name."""
        loop = asyncio.get_running_loop()
        context = self._tls.context() if self._tls is not None else None
        name = self._host.rstrip(".") if context is not None else None
        while True:
            sock = await start_connection(
                addresses, happy_eyeballs_delay=_HEAD_START, interleave=1, socket_factory=self._socket
            )
            try:
                peer = sock.getpeername()
            except OSError:
                sock.close()
                raise
            try:
                await loop.create_connection(make, sock=sock, ssl=context, server_hostname=name)
            except OSError:
                addresses = [info for info in addresses if info[4][:2] != peer[:2]]
                if not addresses:
                    raise
            else:
                return

    async def _addresses(self) -> list[AddrInfoType]:
        """Those of the host, as a list of the caller's own. Raises UpstreamError."""
        numbers = _numbers(self._host, self._port)
        if numbers is not None:
            return [numbers]
        loop = asyncio.get_running_loop()
        if loop.time() >= self._until:
            if self._asking is None:
                self._asking = loop.create_task(self._look_up())
                self._asking.add_done_callback(self._told)
            task = self._asking
            await asyncio.wait({task})  # whoever leaves does not take it from the others who wait
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is not None:
                raise unresolved(error)
        return list(self._known)

    def _told(self, task: asyncio.Task[list[AddrInfoType]]) -> None:
        self._asking = None
        if not task.cancelled() and task.exception() is None:
            self._known, self._until = task.result(), asyncio.get_running_loop().time() + _NAME_SECONDS

    async def _look_up(self) -> list[AddrInfoType]:
        found = await _resolve(self._host, self._port)
        return [(family, kind, proto, "", address) for family, kind, proto, _, address in found]

    def close(self) -> None:
        """Stop looking."""
        if self._asking is not None:
            self._asking.cancel()


async def _resolve(host: str, port: int) -> list[Any]:
    """What the system knows of a name."""
    loop = asyncio.get_running_loop()
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)


def _numbers(host: str, port: int) -> AddrInfoType | None:
    """The address that a host is, if it is one and no name."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)
