"""What an IP address is to a daemon that calls providers: public, of an inner network, this machine, or never one.

Addresses that carry an IPv4 address inside are judged as that one: it is what the packets reach. Sources: the IANA
special-purpose address registries; RFC 4291 2.5.5, RFC 3056 (6to4), RFC 4380 (Teredo), RFC 6052 and 8215 (NAT64);
the metadata services of the clouds in their own pages, read 2026-11.
"""

from __future__ import annotations

import re
import socket
from enum import Enum, auto
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
_Networks = tuple[IPv4Network | IPv6Network, ...]

_METADATA: Final = tuple(
    map(ip_network, ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::/32", "fd20:ce::254", "fd00:42::42"))
)
_NEVER: Final = tuple(map(ip_network, ("0.0.0.0/8", "240.0.0.0/4", "::/128")))
_INNER: Final = tuple(map(ip_network, ("100.64.0.0/10", "192.0.0.0/24", "fec0::/10", "3fff::/20")))
_NAT64: Final = tuple(map(ip_network, ("64:ff9b::/96", "64:ff9b:1::/48")))
_COMPATIBLE: Final = ip_network("::/96")
_NUMBERS: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}")


class Reach(Enum):
    """Who may be called there."""

    PUBLIC = auto()
    INNER = auto()  # an inner network: by a person's leave
    LOOPBACK = auto()  # this machine
    NEVER = auto()  # link-local, metadata, multicast, unspecified, broadcast: no provider is there


def reach(address: Address) -> Reach:
    """What the address is."""
    found = {_alone(inner) for inner in (address, *_inside(address))}
    for worst in (Reach.NEVER, Reach.LOOPBACK, Reach.INNER):
        if worst in found:
            return worst
    return Reach.PUBLIC


def _alone(address: Address) -> Reach:
    """The same of the address without what may be inside it."""
    if address.is_link_local or address.is_multicast or _in(address, _METADATA) or _in(address, _NEVER):
        return Reach.NEVER
    if address.is_loopback:
        return Reach.LOOPBACK
    if _in(address, _NAT64) or (isinstance(address, IPv6Address) and address.ipv4_mapped is not None):
        return Reach.PUBLIC  # nothing but a way to the address inside
    if address.is_private or address.is_reserved or _in(address, _INNER):
        return Reach.INNER
    return Reach.PUBLIC


def _inside(address: Address) -> list[IPv4Address]:
    """The IPv4 addresses that an IPv6 address leads to."""
    if isinstance(address, IPv4Address) or address.is_loopback or address.is_unspecified:
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if _in(address, _NAT64) or address in _COMPATIBLE:
        found.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return [inner for inner in found if inner is not None]


def _in(address: Address, networks: _Networks) -> bool:
    return any(address in network for network in networks)  # of the other version: never


def numeric(host: str) -> Address | None:
    """The address that a host is, in any spelling that a resolver takes (decimal, octal, hexadecimal, short, scoped);
    None where it is a name."""
    try:
        return ip_address(host.split("%", 1)[0])
    except ValueError:
        pass
    if _NUMBERS.fullmatch(host.lower()):
        try:
            return IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    return None
