"""The configuration in force: sealed in place, changed without loss, kept where an edit is bad, and shared."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from config.connections import edited as real
from config.errors import ConfigError, StoreUnavailable, UnknownProvider
from config.generation import Generation
from config.model import Snapshot
from config.store import ConnectionChange, ReloadStatus, check
from tests.rooms.config.disk import disk
from tests.rooms.config.statefiles import State, keys
from tests.support.canary import Canaries

Canary = Callable[[str], str]


def sealed(canary: Canary, state: State, *providers: str) -> dict[str, str]:
    """Connections to these, as they stand after the first start."""
    made = {name: canary(name) for name in providers}
    state.write("connections:\n" + "".join(f"  {name}:\n    api_key: {key}\n" for name, key in made.items()))
    state.open()
    return made


# --- sealed in place


def test_plain_keys_are_sealed_where_they_stand_and_the_rest_stays(state: State, canary: Canary) -> None:
    one, two = canary("openai"), canary("groq")
    layout = """# mine
connections:   # in the order of age

  groq:        # the fast one
    api_key: {two}
    priority: 20    # after openai
    updated_at: "2026-01-01T00:00:00Z"
  # a note between
  openai: {{priority: 10, api_key: '{one}', label: "Mine: all"}}
  mistral:
    api_key: ${{env:MISTRAL}}   # from the environment
# the end
"""
    state.write(layout.format(one=one, two=two))
    state.env["MISTRAL"] = three = canary("mistral")
    store = state.open()
    assert keys(store) == {"openai": one, "groq": two, "mistral": three}
    assert [c.label for c in store.current.connections] == ["Mine: all", "Groq", "Mistral AI"]
    after = state.text
    assert one not in after
    assert two not in after
    assert after.count("sealed:v1:") == 2
    lines = [line for line in layout.splitlines() if "api_key: {" not in line and "'{one}'" not in line]
    there = iter(after.splitlines())
    assert all(line.format() in there for line in lines), after
    assert store.current.connection("groq").updated_at == "2026-01-01T00:00:00Z"  # type: ignore[union-attr]
    assert state.paths.connections.stat().st_mode & 0o777 == 0o600
    assert keys(state.open()) == keys(store)
    assert state.text == after, "what is sealed is not written again"


async def test_a_key_pasted_into_a_running_daemons_file_is_sealed_too(state: State, canary: Canary) -> None:
    sealed(canary, state, "openai")
    store, key = state.open(), canary("groq")
    state.write(state.text + f"  groq:\n    api_key: {key}\n")
    assert await store.reload() == []
    assert keys(store)["groq"] == key
    assert key not in state.text


def test_a_file_that_cannot_be_edited_is_told_by_line_and_not_quoted(
    state: State, canary: Canary, canaries: Canaries
) -> None:
    """A tab behind a pasted key: YAML to some programs."""
    key = canary("openai")
    state.write(f"connections:\n  openai:\n    api_key: {key}\t\n")
    with pytest.raises(ConfigError, match=rf"{state.paths.connections}:3: .*blanks instead of tabs") as caught:
        state.open()
    canaries.add("log fault", repr(caught.value))
    state.write(f"connections:\n  openai:\n    api_key: {key}\n")
    assert keys(state.open()) == {"openai": key}


def test_checking_writes_nothing(state: State, canary: Canary) -> None:
    key = canary("openai")
    state.write(before := f"connections:\n  openai:\n    api_key: {key}\n  groq:\n    api_key: ${{env:NONE}}\n")
    state.configure("workers: 0\n")
    assert [(f.line, "NONE" in f.message) for f in check(state.paths, {})] == [(1, False)]
    state.configure("")
    assert [(f.line, "NONE" in f.message) for f in check(state.paths, {})] == [(4, True)]
    assert sorted(path.name for path in state.paths.state_dir.iterdir()) == ["connections.yaml"]
    assert state.text == before
    state.write("")  # the plain key


# --- changes


async def test_changes_survive_a_restart(state: State, canary: Canary) -> None:
    store, key, newer = state.open(), canary("openai"), canary("openai")
    connection, created = await store.put("openai", ConnectionChange(api_key=key))
    assert created
    assert (connection.priority, connection.label) == (500, "OpenAI")
    assert (await store.put("groq", ConnectionChange(api_key=canary("groq"))))[0].priority == 510
    assert list(state.keys()) == ["openai", "groq"]
    changed = await store.patch("openai", ConnectionChange(api_key=newer, priority=900, label="Mine"))
    assert changed.updated_at > connection.updated_at
    _, openai = state.open().current.connections
    assert (openai.label, openai.priority, openai.updated_at) == ("Mine", 900, changed.updated_at)
    assert state.keys()["openai"] == newer
    await store.delete("groq")
    assert state.keys() == {"openai": newer}
    with pytest.raises(UnknownProvider):
        await store.patch("groq", ConnectionChange(label="x"))
    with pytest.raises(UnknownProvider):
        await store.delete("groq")


async def test_of_a_hundred_changes_at_once_none_is_lost(state: State, canary: Canary) -> None:
    mine = sealed(canary, state, "openai", "groq", "mistral", "xai", "together")
    shared = Generation()
    one, two = state.open(shared), state.open(shared)
    moved = [one.patch(name, ConnectionChange(priority=n)) for n in range(10) for name in mine]
    named = [two.patch(name, ConnectionChange(label=f"{name} {n}")) for n in range(10) for name in mine]
    done = await asyncio.gather(*(call for pair in zip(moved, named, strict=True) for call in pair))
    assert [c.priority for c in done[::2]] == [n for n in range(10) for _ in mine], "each saw its own change"
    assert [c.label for c in done[1::2]] == [f"{name} {n}" for n in range(10) for name in mine]
    for store in (one, two, state.open()):
        await store.refresh()
        assert keys(store) == mine
        assert {(c.provider, c.label, c.priority) for c in store.current.connections} == {
            (name, f"{name} 9", 9) for name in mine
        }
    assert shared.read() == 100


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
async def test_a_change_that_fails_at_any_step_has_not_happened(state: State, canary: Canary, fault: int) -> None:
    mine = sealed(canary, state, "openai")
    store, failures = state.open(), 0
    for at in range(50):
        before, text = store.current, state.text
        try:
            with disk(at=at, fault=fault) as seen:
                await store.patch("openai", ConnectionChange(priority=at))
        except StoreUnavailable:
            failures += 1
            assert state.text == text
            assert store.current is before
        else:
            assert store.current.connections[0].priority == at == state.open().current.connections[0].priority
            if not seen.failed:
                break
    assert failures > 4
    assert state.keys() == mine


@pytest.mark.parametrize("kind", ["put", "delete", "seal"])
async def test_a_change_that_cannot_be_read_back_is_done_all_the_same(
    state: State, canary: Canary, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Found by injecting faults: it was told as one that changed nothing, with the new file in its place."""
    made = sealed(canary, state, "openai", "groq")
    if kind == "seal":
        state.write(f"connections:\n  openai: {{api_key: {made['openai']}}}\n")
        made.pop("groq")
    store = state.open() if kind != "seal" else None
    with blind_after_a_rename(monkeypatch):
        if store is None:
            store = state.open()
        elif kind == "put":
            made["xai"] = canary("xai")
            await store.put("xai", ConnectionChange(api_key=made["xai"]))
        else:
            await store.delete("groq")
            made.pop("groq")
    assert keys(store) == made
    assert state.keys() == made
    again = asyncio.Event()
    store.on_reload(lambda _status: again.set())
    watch = asyncio.create_task(store.watch())
    await asyncio.wait_for(again.wait(), 10)  # what could not be read then is read as soon as can be
    watch.cancel()
    assert store.last_reload.ok
    assert keys(store) == made


@contextmanager
def blind_after_a_rename(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No file of the state directory can be opened any more once one was put in its place: there are too many."""
    renamed, real_open, real_rename = [], os.open, os.rename

    def rename(*args: Any) -> None:
        real_rename(*args)
        renamed.append(args)

    def open_(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if renamed and str(path).endswith((".yaml", ".key")):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real_open(path, flags, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        patch.setattr(os, "open", open_)
        yield
    assert renamed


async def test_a_file_that_would_be_too_large_is_not_written(state: State, canary: Canary) -> None:
    state.write("# " + "x" * (64 * 1024 - 100) + "\nconnections: {}\n")
    store, before = state.open(), state.text
    with pytest.raises(ConfigError, match="larger than 65536 bytes"):
        await store.put("openai", ConnectionChange(api_key=canary("openai")))
    assert state.text == before
    assert await store.reload() == []


async def test_what_a_person_saves_at_the_same_moment_is_not_written_over(
    state: State, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed(canary, state, "openai", "groq")
    store = state.open()
    edit = state.text.replace("  groq:", "  mistral:")

    def edited(*args: Any) -> bytes:
        state.write(edit)
        return real(*args)

    monkeypatch.setattr("config.connections.edited", edited)
    with pytest.raises(StoreUnavailable, match="edited at the same moment"):
        await store.patch("openai", ConnectionChange(priority=3))
    monkeypatch.undo()
    assert state.text == edit
    await store.patch("openai", ConnectionChange(priority=3))
    assert [c.provider for c in state.open().current.connections] == ["openai", "mistral"]


# --- edits by hand


def bad(state: State) -> dict[str, Callable[[], Any]]:
    """Ways to spoil the files."""
    return {
        "half written": lambda: state.write("connections:\n  openai:\n    api_key: 'sea"),
        "no mapping": lambda: state.write("[]"),
        "a provider that is none": lambda: state.write("connections: {nobody: {api_key: x}}"),
        "too large": lambda: state.write("#" * 70_000),
        "not text": lambda: state.write(b"\xff\xfe"),
        "open to others": lambda: state.paths.connections.chmod(0o644),
        "a folder": lambda: (state.paths.connections.unlink(), state.paths.connections.mkdir()),
        "a link": lambda: (state.paths.connections.unlink(), state.paths.connections.symlink_to("/dev/null")),
        "redeo.yaml": lambda: state.configure("workers: none"),
        "master.key": lambda: state.paths.master_key.write_text("short"),
    }


@pytest.mark.parametrize("how", list(bad(State(None))))  # type: ignore[arg-type]
async def test_a_bad_edit_keeps_the_last_good_and_a_good_one_recovers(state: State, canary: Canary, how: str) -> None:
    mine = sealed(canary, state, "openai", "groq")
    store, text, master = state.open(), state.text, state.paths.master_key.read_text()
    said: list[ReloadStatus] = []
    swaps: list[Snapshot] = []
    store.on_reload(said.append)
    store.subscribe(swaps.append)
    before = store.current
    bad(state)[how]()
    assert (faults := await store.reload())
    assert store.current is before
    assert keys(store) == mine
    assert [(s.ok, s.faults) for s in said] == [(False, tuple(faults))]
    assert store.last_reload is said[0]
    assert any(str(path) in str(faults[0]) for path in (state.paths.state_dir, state.paths.config_file))
    with suppress(OSError):
        state.paths.connections.unlink()
    with suppress(OSError):
        state.paths.connections.rmdir()
    state.write(text.replace("  groq:", "  groq:\n    priority: 1"))
    state.paths.master_key.write_text(master)
    state.configure("workers: 2\n")
    assert await store.reload() == []
    assert [s.ok for s in said] == [False, True]
    assert store.last_reload is said[1]
    assert swaps == [store.current]
    assert list(keys(store).items()) == [("groq", mine["groq"]), ("openai", mine["openai"])]
    assert store.current.settings.workers == 2
