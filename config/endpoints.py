"""Which endpoint a connection may have: the rules for addresses that come over the admin API or by hand.

Numbers are judged here; names are judged again, as addresses, when a socket is opened (`proxy.upstream.addresses`).
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from config.addresses import Reach, numeric, reach
from config.errors import InvalidField
from config.model import ProviderSpec

_NAMES: Final = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
_HOST: Final = re.compile(r"[a-z0-9_.-]+")  # without %: what it stands for would be judged by nobody
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def origin(endpoint: str) -> str:
    """`scheme://host[:port]` in lower case; of what is no URL, itself."""
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        return endpoint.lower()
    return f"{parts.scheme}://{parts.netloc}".lower()


def checked(endpoint: str, spec: ProviderSpec) -> str:
    """The endpoint without a slash at its end. Raises InvalidField."""
    if not spec.supports_endpoint:
        raise InvalidField("endpoint", "endpoint_not_supported", f"{spec.id} takes no endpoint; its address is known")
    if len(endpoint) > 2048 or not re.fullmatch(r"[\x21-\x7e]+", endpoint) or "\\" in endpoint:
        raise _invalid("must be a URL of printable ASCII characters", spec)
    parts, host = _split(endpoint, spec)
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise _invalid("must not hold a user name or a password", spec)
    if parts.query or parts.fragment or "?" in endpoint or "#" in endpoint:
        raise _invalid("must not have a query or a fragment", spec)
    loopback = _judge(host, spec)
    if parts.scheme not in ("http", "https") or (parts.scheme == "http" and not loopback):
        raise _invalid("must begin with https:// (plain http only for this machine)", spec)
    return endpoint.rstrip("/")


def _split(endpoint: str, spec: ProviderSpec) -> tuple[SplitResult, str]:
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _invalid("has no valid host and port", spec) from None
    if not host:
        raise _invalid("must be a whole URL with a host", spec)
    host = host.rstrip(".").lower()
    if ":" not in host and not _HOST.fullmatch(host):
        raise _invalid("has characters in its host that no host has", spec)
    return parts, host


def _judge(host: str, spec: ProviderSpec) -> bool:
    """Whether the host is this machine. Raises InvalidField for addresses that are not for providers."""
    if host in _NAMES:
        raise _invalid("leads to a metadata service", spec)
    address = numeric(host)
    if address is None:
        return host in _LOOPBACK
    match reach(address):
        case Reach.NEVER:
            raise _invalid("is a link-local, metadata, multicast, reserved or unspecified address", spec)
        case Reach.INNER if not spec.from_file:
            message = "is a private address; name the provider under `providers:` in redeo.yaml to allow it"
            raise _invalid(message, spec)
        case found:
            if isinstance(address, IPv4Address) and host != str(address):
                raise _invalid(f"must spell its address as {address}", spec)  # one spelling for each, whoever reads it
            return found is Reach.LOOPBACK


def _invalid(what: str, spec: ProviderSpec) -> InvalidField:
    hint = f", such as {spec.endpoint_hint}" if spec.endpoint_hint else ""
    return InvalidField("endpoint", "invalid_endpoint", f"the endpoint {what}{hint}")


def base_url(endpoint: str | None, spec: ProviderSpec) -> str:
    """Where requests go. Raises InvalidField where neither the provider nor the connection says."""
    if endpoint is None:
        if spec.base_url is None:
            hint = f", such as {spec.endpoint_hint}" if spec.endpoint_hint else ""
            raise InvalidField("endpoint", "invalid_endpoint", f"{spec.id} needs an endpoint{hint}")
        return spec.base_url
    base = endpoint.rstrip("/")
    return base if not spec.endpoint_suffix or base.endswith(spec.endpoint_suffix) else base + spec.endpoint_suffix
