"""Which addresses an upstream connection may be opened to; asked for every socket, after the name was resolved.

So a name that resolves to a denied address, or does so only the second time, is denied as well (DNS rebinding).
What an address is: `config.addresses`. Private and loopback ones need a person who vouches: the provider stands in
redeo.yaml, or the address itself is loopback.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from config.addresses import Reach, reach

AddrInfo = tuple[Any, ...]


class DeniedAddress(OSError):
    """The name leads to an address that this connection may not use."""


def denied(host: str, *, private: bool) -> str | None:
    """Why the address (in numbers) may not be used, or None. `private`: private and loopback ones are allowed."""
    try:
        found = reach(ip_address(host.split("%", 1)[0]))
    except ValueError:
        return "it is no IP address"
    if found is Reach.NEVER:
        return "it is link-local, a metadata service, or not the address of a host"
    if found is not Reach.PUBLIC and not private:
        return "it is not public; name the provider under `providers:` in redeo.yaml to allow that"
    return None


def guarded_socket(*, private: bool) -> Callable[[AddrInfo], socket.socket]:
    """A socket factory that refuses denied addresses. Raises DeniedAddress."""

    def create(info: AddrInfo) -> socket.socket:
        family, kind, proto, _, address = info
        reason = denied(address[0], private=private)
        if reason is not None:
            raise DeniedAddress(f"the address {address[0]} is refused: {reason}")
        return socket.socket(family=family, type=kind, proto=proto)

    return create
