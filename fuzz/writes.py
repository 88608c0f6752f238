"""Everything that writes into the state directory, each with what it begins with and what must stand there after it."""

from __future__ import annotations

import asyncio
import inspect
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from config import durable
from config.daemon_key import daemon_key
from config.paths import Paths
from config.sealing import load_keyring
from config.store import ConfigStore, ConnectionChange, rotate

KEYS = {"openai": "sk-fake-openai-0123456789", "groq": "gsk_fake_groq_0123456789", "mistral": "fakemistral0123456789"}
_PLAIN = f"""# mine
connections:
  openai: {{api_key: {KEYS["openai"]}, priority: 3}}   # one
  groq:
    api_key: {KEYS["groq"]}
    label: Groq's
"""
Act = Callable[[], Awaitable[object] | object]
Listed = dict[str, tuple[str, int, str | None]]


@dataclass(frozen=True)
class Write:
    """`plain`: connections.yaml as a person wrote it; else sealed already. `makes`: the files that are put down."""

    name: str
    ready: Callable[[Paths], Act]  # in the process that is going to be killed: what it then does
    makes: tuple[str, ...]
    plain: bool = False
    fresh: bool = False  # nothing is there yet, the directory neither

    def prepare(self, folder: Path) -> Paths:
        """A state directory as it is before the write."""
        folder.mkdir(exist_ok=True)
        paths = Paths(folder / "redeo.yaml", folder / "state")
        if self.fresh:
            return paths
        paths.state_dir.mkdir(0o700)
        paths.connections.touch(0o600)
        paths.connections.write_text(_PLAIN)
        if self.plain:
            load_keyring(paths, {})
        else:
            ConfigStore.open(paths, {})
        return paths


def listed(paths: Paths) -> Listed:
    """What a daemon started now has; every key of it opens."""
    connections = ConfigStore.open(paths, {}).current.connections
    assert [c.fault for c in connections if c.fault] == []
    return {c.provider: (c.label, c.priority, c.secret.reveal() if c.secret else None) for c in connections}


def sound(paths: Paths) -> None:
    """What holds after any end of any write, once a daemon has been started again."""
    ConfigStore.open(paths, {})
    key = daemon_key(paths, {})
    assert daemon_key(paths, {}) == key
    assert durable.stale(paths.state_dir) == [], "what the killed left behind is still there"
    for path in paths.state_dir.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert not any(secret.encode() in path.read_bytes() for secret in KEYS.values()), f"a key in plain in {path}"
    before = listed(paths)
    rotate(paths, {})
    assert listed(paths) == before
    assert len(paths.master_key.read_text().splitlines()) == 1


async def carried_out(act: Act) -> None:
    """The write, done; in a thread of its own as far as it is not already."""
    found = await asyncio.to_thread(act)
    if inspect.isawaitable(found):
        await found


def _store(change: Callable[[ConfigStore], Awaitable[object]]) -> Callable[[Paths], Act]:
    def ready(paths: Paths) -> Act:
        store = ConfigStore.open(paths, {})
        return lambda: change(store)

    return ready


def _first_start(paths: Paths) -> Act:
    def act() -> str:
        ConfigStore.open(paths, {})
        return daemon_key(paths, {})

    return act


WRITES = (
    Write("first start", _first_start, ("master.key", "api.key"), fresh=True),
    Write("sealing in place", lambda paths: lambda: ConfigStore.open(paths, {}), ("connections.yaml",), plain=True),
    Write(
        "POST",
        _store(lambda store: store.put("mistral", ConnectionChange(api_key=KEYS["mistral"]))),
        ("connections.yaml",),
    ),
    Write(
        "POST over one",
        _store(lambda store: store.put("openai", ConnectionChange(api_key=KEYS["mistral"], label="new"))),
        ("connections.yaml",),
    ),
    Write("PATCH", _store(lambda store: store.patch("groq", ConnectionChange(priority=9))), ("connections.yaml",)),
    Write("DELETE", _store(lambda store: store.delete("openai")), ("connections.yaml",)),
    Write(
        "rotation",
        lambda paths: lambda: rotate(paths, {}),
        ("master.key", "connections.yaml", "master.key"),
    ),
)
