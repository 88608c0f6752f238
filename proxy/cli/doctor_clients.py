"""What `redeo doctor` sees in the settings of clients: do they point at the daemon, and with its form of URL.

Reads environment variables and the settings files of Codex, Claude Code and opencode; writes none, and shows
of each only the host it names. Where those files are: the clients' own documentation, November 2026.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

from .address import Address
from .env import RIVALS
from .findings import Finding, ok, warn

CHECK: Final = "clients"
_WITH_V1: Final = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
_WITHOUT_V1: Final = ("ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL")
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Setting:
    """A base URL that some client reads, and where it stands."""

    where: str
    url: str
    v1: bool | None  # whether the client wants /v1 at its end; None: it does not matter


def look(address: Address, environ: Mapping[str, str], home: Path) -> list[Finding]:
    """A finding for each setting that is there, and for each variable that stands in the way of ours."""
    findings: list[Finding] = []
    for setting in _settings(environ, home, findings):
        findings.append(_judge(setting, address))
    for rival, ours in RIVALS.items():
        if environ.get(rival) and environ.get(ours):
            findings.append(warn(CHECK, f"{rival} is set beside {ours}: clients may send it instead", f"unset {rival}"))
    return findings or [ok(CHECK, "no client settings that name a base URL; `redeo env` prints some")]


def _settings(environ: Mapping[str, str], home: Path, findings: list[Finding]) -> Iterator[Setting]:
    for names, v1 in ((_WITH_V1, True), (_WITHOUT_V1, False)):
        for name in names:
            if environ.get(name):
                yield Setting(f"${name}", environ[name], v1)
    codex = Path(environ.get("CODEX_HOME") or home / ".codex") / "config.toml"
    yield from _codex(_read(codex, findings), codex)
    claude = Path(environ.get("CLAUDE_CONFIG_DIR") or home / ".claude") / "settings.json"
    yield from _claude(_read(claude, findings), claude)
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    opencode = config / "opencode" / "opencode.json"
    yield from _opencode(_read(opencode, findings), opencode)


def _codex(document: Mapping[str, object], path: Path) -> Iterator[Setting]:
    """Only the provider that is in use counts; the built-in one takes `openai_base_url`."""
    used = document.get("model_provider")
    if isinstance(used, str):
        url = _mapping(_mapping(document, "model_providers"), used).get("base_url")
        where = f"{path}: model_providers.{used}.base_url"
    else:
        url, where = document.get("openai_base_url"), f"{path}: openai_base_url"
    if isinstance(url, str):
        yield Setting(where, url, True)


def _claude(document: Mapping[str, object], path: Path) -> Iterator[Setting]:
    url = _mapping(document, "env").get("ANTHROPIC_BASE_URL")
    if isinstance(url, str):
        yield Setting(f"{path}: env.ANTHROPIC_BASE_URL", url, False)


def _opencode(document: Mapping[str, object], path: Path) -> Iterator[Setting]:
    providers = _mapping(document, "provider")
    for name in providers:
        url = _mapping(_mapping(providers, name), "options").get("baseURL")
        if isinstance(url, str):
            yield Setting(f"{path}: provider.{name}.options.baseURL", url, True)


def _mapping(parent: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = parent.get(key)
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def _read(path: Path, findings: list[Finding]) -> Mapping[str, object]:
    """The document, or an empty one where there is none; a finding where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is no {path.suffix[1:].upper()}"
        findings.append(warn(CHECK, f"{path} cannot be read: {reason}", "repair it, or point the client by hand"))
        return {}
    return cast("Mapping[str, object]", document) if isinstance(document, dict) else {}


def _judge(setting: Setting, address: Address) -> Finding:
    try:
        parts = urlsplit(setting.url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return warn(CHECK, f"{setting.where} is no URL", "see `redeo env` for the right one")
    shown = f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"
    if not _is_daemon(host, port, address):
        advice = "leave it, if that client is not meant to go through the daemon; else see `redeo env`"
        return warn(CHECK, f"{setting.where} points elsewhere: {shown}", advice)
    ends = parts.path.rstrip("/").endswith("/v1")
    if setting.v1 is False and ends:
        return warn(CHECK, f"{setting.where} ends in /v1, and its clients add another", "drop /v1 from it")
    return ok(CHECK, f"{setting.where} points at the daemon")


def _is_daemon(host: str, port: int | None, address: Address) -> bool:
    if address.path is not None or port != address.port:
        return False
    return host == address.host or (host in _LOOPBACK and address.host in _LOOPBACK)
