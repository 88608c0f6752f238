"""Which Host names and Origins are the daemon's own: the defence against DNS rebinding and foreign web pages.

Host grammar: RFC 9110 section 7.2, RFC 3986 section 3.2.2; Origin: RFC 6454. Anything odd is refused.
"""

from __future__ import annotations

import re
from typing import Final

from config.model import Settings

_HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9._-]*[a-z0-9_])?)(?::(?P<port>[0-9]{1,5}))?")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_ORIGIN: Final = re.compile(r"https?://(?P<host>[^/?#@]+)")


def _listen_host(settings: Settings) -> str:
    if settings.listen.startswith("unix:"):
        return "localhost"
    host = settings.listen.rpartition(":")[0].lower()
    return "" if host in ("0.0.0.0", "[::]") else host  # every address is none in particular


def host_allowed(host: str, settings: Settings, bound: frozenset[str] = frozenset()) -> bool:
    """Whether a Host header names this daemon: a loopback name, an address listened on, or a configured name."""
    found = _HOST.fullmatch(host.lower()) if host.isascii() else None  # small letters of others may be ASCII
    if found is None or (found["port"] is not None and not 0 < int(found["port"]) < 65536):
        return False
    name = found["name"]
    ours = name in _LOOPBACK or name in bound or (name and name == _listen_host(settings))
    return bool(ours) or _configured(host, name, settings)


def _configured(host: str, name: str, settings: Settings) -> bool:
    allowed = {entry.lower() for entry in settings.allowed_hosts}
    return name in allowed or host.lower() in allowed


def origin_allowed(origin: str, host: str, settings: Settings, bound: frozenset[str] = frozenset()) -> bool:
    """Whether a page of this origin may talk to us: the daemon's own (the Host it was asked under) or a named one."""
    if not origin.isascii():
        return False
    if origin.lower().rstrip("/") in {entry.lower().rstrip("/") for entry in settings.allowed_origins}:
        return True
    found = _ORIGIN.fullmatch(origin.lower())
    return found is not None and found["host"] == host.lower() and host_allowed(host, settings, bound)
