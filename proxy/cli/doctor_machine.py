"""What `redeo doctor` sees on the machine: installation, clock, TLS roots, proxy variables. No network."""

from __future__ import annotations

import os
import ssl
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .env import PROXY_VARIABLES, without_proxy
from .findings import Finding, fail, ok, warn

_SLACK: Final = 120.0  # seconds that two clocks may differ before anyone cares
_SYNCHRONIZED: Final = Path("/run/systemd/timesync/synchronized")


def installation(environ: Mapping[str, str]) -> list[Finding]:
    """Whether another package could be taken for one of ours: their names are common ones."""
    where = Path(__file__).resolve().parent.parent.parent
    findings = [ok("installation", f"Python {sys.version.split()[0]}, redeo in {where}")]
    if environ.get("PYTHONPATH"):
        findings.append(
            warn("installation", "PYTHONPATH is set: a folder named proxy in it would hide redeo's", "unset PYTHONPATH")
        )
    if sys.prefix == sys.base_prefix:
        advice = "install with `pipx install redeo-proxy` or `uv tool install redeo-proxy`"
        findings.append(warn("installation", "redeo shares its site-packages with other programs", advice))
    return findings


def clock(now: float, stamps: Mapping[str, float]) -> list[Finding]:
    """Whether the clock (`now`, Unix seconds) runs behind what was written before: `stamps` by what they are of.

    A clock that is wrong makes certificates look invalid and lifetimes end early or never.
    """
    late = [name for name, stamp in stamps.items() if stamp > now + _SLACK]
    if late:
        return [
            fail(
                "clock",
                f"it is {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(now))} by this machine's clock, but "
                f"{', '.join(late)} was written later than that",
                "set the clock, for instance with `timedatectl set-ntp true`",
            )
        ]
    known = " and kept by systemd-timesyncd" if _SYNCHRONIZED.exists() else ""
    return [ok("clock", f"plausible{known}: {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(now))}")]


def tls_roots(environ: Mapping[str, str]) -> list[Finding]:
    """Whether there are certificates to check providers against, where Python looks for them."""
    paths = ssl.get_default_verify_paths()
    findings = []
    for variable in (paths.openssl_cafile_env, paths.openssl_capath_env):
        named = environ.get(variable)
        if named and not os.path.exists(named):
            findings.append(fail("tls_roots", f"{variable} names {named}, which does not exist", f"unset {variable}"))
    loaded = ssl.create_default_context().cert_store_stats()["x509_ca"]
    folder = Path(paths.capath) if paths.capath else None
    hashed = sum(1 for _ in folder.glob("*.[0-9]")) if folder is not None else 0
    if loaded or hashed:
        source = paths.cafile if loaded else folder
        findings.append(ok("tls_roots", f"{loaded or hashed} certificate authorities in {source}"))
    else:
        advice = "install your system's ca-certificates, or name a bundle in SSL_CERT_FILE"
        findings.append(fail("tls_roots", "no certificate authorities: every call over TLS will fail", advice))
    return findings


def proxies(environ: Mapping[str, str], host: str) -> list[Finding]:
    """Whether clients would send what is meant for the daemon at `host` through a proxy."""
    present = [name for name in PROXY_VARIABLES if environ.get(name)]
    if not present:
        return [ok("proxies", "no proxy variables")]
    direct = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    names = {name.strip() for name in direct.split(",")}
    if "*" in names or host in names:
        return [ok("proxies", f"{', '.join(present)} set, but not for {host}; the daemon's own calls ignore them")]
    message = f"{', '.join(present)} set: clients would send requests for {host} there"
    return [warn("proxies", message, f"export NO_PROXY={without_proxy(environ, host)} (`redeo env` does it)")]
