"""The daemon's own API key, which clients show to it: from the environment, a systemd credential, or a file."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from config.durable import create
from config.errors import UnsafeState
from config.paths import Paths, read_secure, secure_folder


def daemon_key(paths: Paths, env: Mapping[str, str], *, make: bool = True) -> str:
    """The key; `make`: a new one is written where there is none yet. Raises UnsafeState, StoreUnavailable."""
    given = env.get("REDEO_API_KEY") or credential(env, "redeo.api-key")
    if given:
        return _checked(given.strip(), "REDEO_API_KEY" if env.get("REDEO_API_KEY") else "the credential redeo.api-key")
    secure_folder(paths.state_dir)
    found = read_secure(paths.api_key)
    if found is None and make:
        create(paths.api_key, f"rd-{secrets.token_urlsafe(32)}\n".encode())
        found = read_secure(paths.api_key)  # another process may have been the first
    if found is None:
        raise UnsafeState(f"{paths.api_key}: there is no API key yet; `redeo serve` makes one at its first start")
    return _checked(found.decode("ascii", "replace").strip(), str(paths.api_key))


def _checked(key: str, source: str) -> str:
    if len(key) < 16 or not key.isascii() or not key.isprintable() or " " in key:
        raise UnsafeState(f"{source}: the daemon's API key must be 16 or more printable ASCII characters")
    return key


def credential(env: Mapping[str, str], name: str) -> str | None:
    """A systemd credential's text, or None. Raises UnsafeState where it is there but cannot be read."""
    folder = env.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    try:
        return Path(folder, name).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        raise UnsafeState(f"the systemd credential {name} cannot be read") from None
