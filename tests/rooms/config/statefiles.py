"""A state directory of a test's own, and what a daemon that is started on it has for keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from config.generation import Generation
from config.paths import Paths
from config.store import ConfigStore


@dataclass
class State:
    """The files of one daemon, and the environment that it is started with."""

    paths: Paths
    env: dict[str, str] = field(default_factory=dict)

    def open(self, generation: Generation | None = None) -> ConfigStore:
        """A store on these files."""
        return ConfigStore.open(self.paths, self.env, generation=generation)

    def write(self, text: str | bytes) -> None:
        """connections.yaml as a person's editor saves it: in one piece."""
        _save(self.paths.connections, text)

    def configure(self, text: str | bytes) -> None:
        """redeo.yaml, likewise."""
        _save(self.paths.config_file, text)

    @property
    def text(self) -> str:
        """connections.yaml as it stands there."""
        return self.paths.connections.read_text()

    def keys(self) -> dict[str, str | None]:
        """What a daemon started now has for keys, by provider."""
        return keys(self.open())


def keys(store: ConfigStore) -> dict[str, str | None]:
    """Keys by provider, in the order in which they are tried; None for one that cannot be used."""
    return {c.provider: c.secret.reveal() if c.secret else None for c in store.current.connections}


def _save(path: Path, text: str | bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(text.encode() if isinstance(text, str) else text)
    new.chmod(0o600)
    new.rename(path)
