"""Edits are taken up by themselves, however an editor saves; workers of one daemon see each other's changes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from config.generation import Generation
from config.model import Snapshot
from config.store import ConfigStore, ConnectionChange, ReloadStatus
from tests.rooms.config.statefiles import State, keys
from tests.support.settled import Baseline

Canary = Callable[[str], str]
SECONDS = 10.0


class Watched:
    """A store that watches its files, and what it tells."""

    def __init__(self, store: ConfigStore) -> None:
        self.store = store
        self.said: asyncio.Queue[ReloadStatus] = asyncio.Queue()
        self.swaps: asyncio.Queue[Snapshot] = asyncio.Queue()
        store.on_reload(self.said.put_nowait)
        store.subscribe(self.swaps.put_nowait)
        self.task = asyncio.create_task(store.watch())

    async def swapped(self) -> Snapshot:
        """The next configuration that is taken up."""
        return await asyncio.wait_for(self.swaps.get(), SECONDS)

    async def until(self, ok: bool) -> ReloadStatus:
        """The next reading that went so."""
        while (status := await asyncio.wait_for(self.said.get(), SECONDS)).ok is not ok:
            pass
        return status


@pytest.fixture
async def watched(
    state: State, canary: Canary, settled: Baseline, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Watched]:
    """A watching store with one connection; the look that comes besides watching is taken often."""
    monkeypatch.setattr("config.store._LOOK_MS", 100)
    store = state.open()
    await store.put("openai", ConnectionChange(api_key=canary("openai")))
    found = Watched(store)
    yield found
    found.task.cancel()
    with suppress(asyncio.CancelledError):
        await found.task


def in_place(state: State, text: str) -> None:
    state.paths.connections.write_text(text)


def by_rename(state: State, text: str) -> None:
    state.write(text)


def away_first(state: State, text: str) -> None:
    os.rename(state.paths.connections, state.paths.connections.with_name("connections.yaml~"))
    state.write(text)


@pytest.mark.parametrize("save", [in_place, by_rename, away_first])
async def test_an_edit_is_taken_up_however_it_is_saved(
    watched: Watched, state: State, save: Callable[[State, str], None]
) -> None:
    text = state.text
    for number in range(3):
        save(state, text.replace("openai:\n", f"openai:\n    label: n{number}\n"))
        while [c.label for c in (await watched.swapped()).connections] != [f"n{number}"]:
            pass  # what stands there between two steps of saving


async def test_settings_are_taken_up_from_a_file_that_was_not_there(watched: Watched, state: State) -> None:
    state.configure("workers: 3\n")
    assert (await watched.swapped()).settings.workers == 3
    state.paths.config_file.unlink()
    assert (await watched.swapped()).settings.workers == 1


async def test_a_bad_edit_is_told_once_and_a_good_one_recovers(watched: Watched, state: State) -> None:
    before, text = watched.store.current, state.text
    state.write("connections: [")
    status = await watched.until(False)
    assert str(state.paths.connections) in str(status.faults[0])
    assert watched.store.current is before
    state.write(text.replace("500", "501"))
    assert (await watched.swapped()).connections[0].priority == 501
    assert (await watched.until(True)).faults == ()
    assert watched.said.empty(), "what is read once is not told again"


async def test_a_pasted_key_is_sealed_at_once(watched: Watched, state: State, canary: Canary) -> None:
    key = canary("groq")
    state.write(state.text + f"  groq:\n    api_key: {key}\n")
    await watched.swapped()
    assert keys(watched.store)["groq"] == key
    assert key not in state.text


async def test_ones_own_change_is_taken_up_once(watched: Watched, state: State) -> None:
    await watched.store.patch("openai", ConnectionChange(priority=7))
    assert (await watched.swapped()).connections[0].priority == 7
    state.configure("workers: 2\n")  # what comes next is this, and not an echo
    assert (await watched.swapped()).settings.workers == 2
    assert watched.swaps.empty()


async def test_a_swap_leaves_the_old_snapshot_as_it_was(watched: Watched, state: State) -> None:
    before = watched.store.current
    await watched.store.patch("openai", ConnectionChange(label="New"))
    after = await watched.swapped()
    assert after.generation > before.generation
    assert after.digest != before.digest
    assert (before.connections[0].label, after.connections[0].label) == ("OpenAI", "New")


# --- workers of one daemon


async def test_workers_see_each_others_changes(state: State, canary: Canary) -> None:
    shared = Generation()
    one, two = state.open(shared), state.open(shared)
    assert not one.stale
    assert not two.stale
    key = canary("openai")
    await one.put("openai", ConnectionChange(api_key=key))
    assert two.stale
    assert not one.stale, "its own change is not news"
    await two.refresh()
    assert not two.stale
    assert keys(one) == keys(two) == {"openai": key}
    assert one.etag() == two.etag()
    await two.delete("openai")
    assert one.stale
    await one.refresh()
    assert keys(one) == {}


async def test_one_that_is_opened_later_goes_on_counting_where_the_others_are(state: State, canary: Canary) -> None:
    shared = Generation()
    one = state.open(shared)
    await one.put("openai", ConnectionChange(api_key=canary("openai")))
    await one.patch("openai", ConnectionChange(label="New"))
    late = state.open(shared)
    assert late.current.generation == one.current.generation == 3
    await late.patch("openai", ConnectionChange(label="Newer"))
    assert late.current.generation == 4


async def test_a_change_is_made_to_what_the_other_has_written(state: State, canary: Canary) -> None:
    shared = Generation()
    one, two = state.open(shared), state.open(shared)
    await one.put("openai", ConnectionChange(api_key=canary("openai")))
    await two.patch("openai", ConnectionChange(label="Two"))
    await two.put("groq", ConnectionChange(api_key=canary("groq")))
    connection, created = await one.put("groq", ConnectionChange(priority=1))
    assert not created
    assert connection.priority == 1
    assert [(c.provider, c.label) for c in one.current.connections] == [("groq", "Groq"), ("openai", "Two")]


async def test_stores_that_share_nothing_see_changes_when_they_read(state: State, canary: Canary) -> None:
    one, two = state.open(), state.open()
    await one.put("openai", ConnectionChange(api_key=canary("openai")))
    assert not two.stale
    assert await two.reload() == []
    assert keys(one) == keys(two)


async def test_a_refresh_of_what_is_spoilt_is_not_tried_for_every_request(state: State, canary: Canary) -> None:
    shared = Generation()
    store = state.open(shared)
    await store.put("openai", ConnectionChange(api_key=canary("openai")))
    said: list[Any] = []
    store.on_reload(said.append)
    text = state.text
    state.write("connections: [")
    shared.bump()
    for _ in range(3):
        await store.refresh()
    assert [status.ok for status in said] == [False]
    state.write(text)
    shared.bump()
    await store.refresh()
    assert [status.ok for status in said] == [False, True]


async def test_reading_what_has_not_changed_tells_of_the_reading_and_swaps_nothing(
    state: State, canary: Canary
) -> None:
    store = state.open()
    await store.put("openai", ConnectionChange(api_key=canary("openai")))
    before, swaps, said = store.current, list[Snapshot](), list[ReloadStatus]()
    store.subscribe(swaps.append)
    store.on_reload(said.append)
    state.write(state.text + "# a comment says nothing\n")
    assert await store.reload() == []
    assert store.current is before
    assert swaps == []
    assert [status.ok for status in said] == [True]
