"""Files that change while they are read, bombs in them, and labels that others choose: one reading is of one file, it
takes no longer than it may, and nobody makes the metrics grow."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from config.document import MAX_BYTES, parse
from config.errors import ConfigError, SealError, StoreUnavailable, UnsafeState
from config.sealing import Keyring, MasterKey, binding
from config.store import ConfigStore, rotate
from tests.rooms.config.statefiles import State, keys
from tests.support.canary import Canaries
from tests.support.daemon import Redeo
from tests.support.upstream import chat

# Each says one thing in three places; no reading may ever find two of them in one snapshot.
GOOD = [
    f"workers: {n}\nmodels:\n  m{n}: [openai/gpt-{n}]\nrouting: {{max_attempts: {n}}}\n# "
    + "x" * 30_000 * (n % 2)
    + "\n"
    for n in (2, 3)
]
BAD = [GOOD[0][:34], "models: [\n", "workers: 2\nworkers: 3\n", "nonsense: 1\n", "workers: &a 2\n", "\x00\n"]


class Swapper(threading.Thread):
    """Puts one after the other in the place of a file, in all the ways there are, as often as it is told to."""

    def __init__(self, path: Path, rounds: int, contents: list[str], *, links: bool) -> None:
        super().__init__(daemon=True)
        self._path, self._rounds, self._contents, self._links = path, rounds, contents, links

    def run(self) -> None:
        beside = self._path.with_name("beside")
        other = self._path.with_name("other")
        other.write_text("workers: 64\n")
        other.chmod(0o600)
        for number in range(self._rounds):
            if self._links and number % 3 == 2:
                beside.symlink_to(other)
            else:
                beside.write_text(self._contents[number % len(self._contents)])
                beside.chmod(0o600)
            beside.rename(self._path)


def told_of(settings: Any) -> set[int]:
    """The numbers that a snapshot tells of."""
    aliases = {int(name[1:]) for name in settings.models}
    return {settings.workers, settings.routing.max_attempts, *aliases}


def rounds(long: bool) -> int:
    return 10_000 if long else 400


async def test_a_configuration_that_changes_all_the_time_is_never_read_in_parts(state: State, long: bool) -> None:
    state.configure(GOOD[0])
    store = state.open()
    swapper = Swapper(state.paths.config_file, rounds(long), [*GOOD, *BAD], links=False)
    swapper.start()
    seen: set[frozenset[int]] = set()
    while swapper.is_alive():
        await store.reload()
        seen.add(frozenset(told_of(store.current.settings)))
    state.configure(GOOD[1])
    assert await store.reload() == []
    assert seen <= {frozenset({2}), frozenset({3})}
    assert told_of(store.current.settings) == {3}


async def test_connections_that_become_links_and_halves_are_never_followed(
    state: State, canaries: Canaries, long: bool
) -> None:
    mine = canaries.key("openai")
    whole = [f"connections:\n  openai:\n    priority: {n}\n    label: L{n}\n    api_key: {mine}\n" for n in (1, 2)]
    state.write(whole[0])
    store = state.open()
    swapper = Swapper(state.paths.connections, rounds(long), [*whole, "connections: [", whole[0][:30]], links=True)
    swapper.start()
    while swapper.is_alive():
        await store.reload()
        [connection] = store.current.connections
        assert connection.label == f"L{connection.priority}"
        assert connection.fault is None
        with contextlib.suppress(ConfigError, UnsafeState, StoreUnavailable):
            ConfigStore.open(state.paths, state.env)
    state.write(whole[1])
    assert await store.reload() == []
    assert keys(store) == {"openai": mine}
    assert mine not in state.text, "sealed in place"


# --- bombs

BOMBS = {
    "merge keys": "a0: &a0 {x: 1}\n" + "".join(f"a{n + 1}: &a{n + 1} {{<<: [{f'*a{n}, ' * 8}]}}\n" for n in range(12)),
    "aliases": "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{f'*a{n}, ' * 9}]\n" for n in range(12)),
    "alias to itself": "a: &a [*a]\n",
    "arrays": "[" * MAX_BYTES,
    "maps": "{a: " * (MAX_BYTES // 4),
    "lists": "- " * (MAX_BYTES // 2),
    "keys of keys": "? " * (MAX_BYTES // 2),
    "small entries": "[" + "1," * (MAX_BYTES // 2 - 1) + "]",
    "empty lists": "[" + "[]," * (MAX_BYTES // 3 - 1) + "]",
    "many keys": "".join(f"k{n}: 1\n" for n in range(7000)),
    "the same key": "a: 1\n" * (MAX_BYTES // 5),
    "long scalar": "a: " + "x" * (MAX_BYTES - 4),
    "quotes": "a: '" + "''" * (MAX_BYTES // 2 - 3) + "'",
    "escapes": 'a: "' + "\\u0041" * (MAX_BYTES // 6 - 1) + '"',
    "folded": "a: >\n" + " x\n" * (MAX_BYTES // 3 - 2),
    "comments": "#\n" * (MAX_BYTES // 2),
    "documents": "---\n" * (MAX_BYTES // 4),
    "tags": "a: " + "!x " * (MAX_BYTES // 3 - 2),
    "digits": "a: " + "9" * (MAX_BYTES - 4),
    "underscores": "a: " + "1_" * (MAX_BYTES // 2 - 3),
    "colons": "a: " + "1:" * (MAX_BYTES // 2 - 3),
    "dots": "a: " + "1." * (MAX_BYTES // 2 - 3),
    "directives": "%TAG ! x\n" * (MAX_BYTES // 10),
    "beyond the cap": "a" * 10_000_000,
}


def quickest(text: bytes) -> float:
    """The shortest of three times of the processor that parsing took: what is above it is the machine's."""
    taken = []
    for _ in range(3):
        start = time.thread_time()
        with contextlib.suppress(ConfigError):
            parse(text, "f")
        taken.append(time.thread_time() - start)
    return min(taken)


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_read_or_refused_in_a_fifth_of_a_second(kind: str) -> None:
    assert quickest(BOMBS[kind].encode()) < 0.2


async def test_a_file_of_nonsense_is_one_line_of_the_log(state: State, caplog: pytest.LogCaptureFixture) -> None:
    store = state.open()
    state.configure(BOMBS["the same key"])
    assert len(await store.reload()) > 10_000
    assert len(caplog.records) == 1
    assert "more faults; `redeo check` names them all" in caplog.text


async def test_the_loop_turns_while_a_bomb_is_looked_at(state: State) -> None:
    """Reading is done beside the loop: others are served meanwhile."""
    store = state.open()
    stalls: dict[str, float] = {}
    for kind in ("empty lists", "many keys", "the same key", "small entries", "merge keys"):
        for path in (state.paths.config_file, state.paths.connections):
            path.write_text(BOMBS[kind])
            path.chmod(0o600)
        stalls[kind] = min([await stall(store) for _ in range(5)])
    assert max(stalls.values()) <= 0.05, stalls


async def stall(store: ConfigStore) -> float:
    """The most that this process computed during one reload before the loop turned again; what other processes take
    from it is left out."""
    reloading = asyncio.create_task(store.reload())
    longest, last = 0.0, time.process_time()
    while not reloading.done():
        await asyncio.sleep(0.001)
        now = time.process_time()
        longest, last = max(longest, now - last), now
    await reloading
    return longest


# --- what was sealed before


async def test_a_file_from_before_the_rotation_of_the_master_key_opens_nothing(
    state: State, canaries: Canaries
) -> None:
    """A copy of connections.yaml that is put back is refused, connection by connection, and never read as text."""
    key = canaries.key("openai")
    state.write(f"connections:\n  openai:\n    api_key: {key}\n  groq:\n    api_key: {canaries.key('groq')}\n")
    state.open()
    before = state.text
    rotate(state.paths, state.env)
    assert state.keys()["openai"] == key
    state.write(before)
    for connection in state.open().current.connections:
        assert connection.secret is None
        assert "sealed key cannot be opened" in str(connection.fault)


def test_two_records_that_change_places_open_nothing(state: State, canaries: Canaries) -> None:
    mine, other = canaries.key("openai"), canaries.key("groq")
    state.write(f"connections:\n  openai:\n    api_key: {mine}\n  groq:\n    api_key: {other}\n")
    state.open()
    one, two = [line.strip() for line in state.text.splitlines() if "api_key" in line]
    assert one.startswith('api_key: "sealed:v1:')
    state.write(state.text.replace(one, "<one>").replace(two, one).replace("<one>", two))
    assert state.keys() == {"openai": None, "groq": None}


def test_a_sealed_value_of_one_endpoint_opens_for_no_other(canaries: Canaries) -> None:
    ring = Keyring((MasterKey("01234567", secrets.token_bytes(32)),), False)
    sealed = ring.seal(canaries.key("vllm"), "vllm", binding("https://a.example/v1"))
    for other in ("https://b.example/v1", "http://a.example/v1", "https://a.example:444/v1", None):
        with pytest.raises(SealError):
            ring.open(sealed, "vllm", binding(other))


# --- metrics


async def series(server: Redeo) -> set[str]:
    return {line.rpartition(" ")[0] for line in (await server.metrics()).splitlines() if not line.startswith("#")}


async def test_what_clients_make_up_makes_no_series(redeo: Any, provider: Any, long: bool) -> None:
    """Model names, paths, methods, hosts, keys, headers: none is a label."""
    up = await provider(chat(), models=["m"])
    unhurried = {"timeouts": {"connect": 5, "first_byte": 60, "idle": 60, "total": 60, "before_answer": 60}}
    server: Redeo = await redeo({"alpha": up}, routing=unhurried)  # on a busy machine a clock would make a series

    async def ask(number: int) -> None:
        name = secrets.token_hex(12)
        asked = (f"alpha/{name}", name, f"{name}/m", "alpha/m")[number % 4]
        await server.chat(asked)
        if number % 10 == 0:
            await server.request("POST", f"/v1/{name}", json={"model": name})
            await server.request("GET", f"/v1/models/{name}")
            await server.request("PATCH", f"/v1/providers/{name}", json={name: name})
            await server.request("GET", "/v1/models", headers={"Host": f"{name}.example"})
            await server.request("GET", "/v1/models", headers={"Authorization": f"Bearer {name}"})

    for number in [*range(40), *[0] * 10]:  # each of them, and too many wrong keys, at least once
        await ask(number)
    before = await series(server)
    for start in range(0, 100_000 if long else 1000, 50):
        await asyncio.gather(*(ask(start + number) for number in range(50)))
    assert await series(server) == before
    assert up.requests
