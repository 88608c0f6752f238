"""Which addresses an upstream connection may be opened to; asked for every socket, after the name was resolved.

So a name that resolves to a denied address, or does so only the second time, is denied as well (DNS rebinding).
Link-local addresses (cloud metadata among them), multicast and the unspecified address are denied to all. Private
and loopback ones need a person who vouches: the provider stands in redeo.yaml, or the address itself is loopback.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

_METADATA: Final = (ip_network("fd00:ec2::/32"), ip_network("100.100.100.200/32"))
_SHARED: Final = ip_network("100.64.0.0/10")
AddrInfo = tuple[Any, ...]


class DeniedAddress(OSError):
    """The name leads to an address that this connection may not use."""


def denied(host: str, *, private: bool) -> str | None:
    """Why the address (in numbers) may not be used, or None. `private`: private and loopback ones are allowed."""
    try:
        address = ip_address(host.split("%", 1)[0])
    except ValueError:
        return "it is no IP address"
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or address
    if address.is_link_local or any(address in net for net in _METADATA if net.version == address.version):
        return "it is link-local or a metadata service"
    if address.is_multicast or address.is_unspecified:
        return "it is not the address of a host"
    if not private and _inner(address):
        return "it is not public; name the provider under `providers:` in redeo.yaml to allow that"
    return None


def _inner(address: IPv4Address | IPv6Address) -> bool:
    shared = isinstance(address, IPv4Address) and address in _SHARED
    return address.is_private or address.is_loopback or address.is_reserved or shared


def guarded_socket(*, private: bool) -> Callable[[AddrInfo], socket.socket]:
    """A socket factory for aiohttp's connector that refuses denied addresses. Raises DeniedAddress."""

    def create(info: AddrInfo) -> socket.socket:
        family, kind, proto, _, address = info
        reason = denied(address[0], private=private)
        if reason is not None:
            raise DeniedAddress(f"the address {address[0]} is refused: {reason}")
        return socket.socket(family=family, type=kind, proto=proto)

    return create
