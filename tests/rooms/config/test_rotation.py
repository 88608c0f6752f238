"""A new master key: every stored key opens with it alone; stopped at any step, everything can still be read."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from config.errors import ConfigError, SealError, StoreUnavailable
from config.sealing import Keyring, load_keyring, new_key
from config.store import ConnectionChange, Rotation, rotate
from tests.rooms.config.disk import Killed, disk
from tests.rooms.config.statefiles import State, keys
from tests.support.canary import Canaries

Canary = Callable[[str], str]
ENDPOINT = "https://one.openai.azure.com"


@pytest.fixture
def mine(state: State, canary: Canary) -> dict[str, str]:
    """Three keys at rest, one bound to an endpoint, and one that stands elsewhere."""
    made = {name: canary(name) for name in ("openai", "groq", "azure-openai", "mistral")}
    state.env["MISTRAL"] = made["mistral"]
    state.write(f"""# mine
connections:
  openai: {{api_key: {made["openai"]}}}   # one
  groq:
    api_key: {made["groq"]}
  # with an endpoint
  azure-openai:
    api_key: {made["azure-openai"]}
    endpoint: {ENDPOINT}
  mistral:
    api_key: ${{env:MISTRAL}}
""")
    state.open()
    return made


def ring(state: State) -> Keyring:
    """The master keys as a daemon started now has them."""
    found = load_keyring(state.paths, state.env, make=False)
    assert found is not None
    return found


def test_every_key_opens_with_the_new_master_key_alone(state: State, mine: dict[str, str]) -> None:
    before, text = ring(state), state.text
    assert rotate(state.paths, state.env) == Rotation(3, given=False)
    assert keys(state.open()) == mine
    after = ring(state)
    assert len(after.keys) == 1
    assert after.keys[0] not in before.keys
    assert state.paths.master_key.stat().st_mode & 0o777 == 0o600
    assert state.paths.connections.stat().st_mode & 0o777 == 0o600
    old, new = text.splitlines(), state.text.splitlines()
    assert [line for line in old if "sealed:" not in line] == [line for line in new if "sealed:" not in line]
    assert not {line for line in old if "sealed:" in line} & set(new)


def test_the_old_master_key_opens_nothing_any_more(state: State, mine: dict[str, str]) -> None:
    old = state.paths.master_key.read_text().strip()
    rotate(state.paths, state.env)
    assert old not in state.paths.master_key.read_text()
    state.env["REDEO_MASTER_KEY"] = old
    assert keys(state.open()) == {**dict.fromkeys(mine), "mistral": mine["mistral"]}


@pytest.mark.parametrize("fault", [None, errno.ENOSPC, errno.EIO], ids=["killed", "no room", "dead disk"])
def test_stopped_at_any_step_every_key_opens_and_a_second_run_finishes(
    make_state: Callable[[str], State], canary: Canary, fault: int | None
) -> None:
    state, made = make_state("rotated"), {"openai": canary("openai"), "groq": canary("groq")}
    state.write("connections:\n" + "".join(f"  {name}: {{api_key: {key}}}\n" for name, key in made.items()))
    state.open()
    stages: list[int] = []
    for at in range(200):
        start = state.paths.master_key.read_text().splitlines()
        try:
            with disk(at=at, fault=fault, lasting=True) as seen:
                rotate(state.paths, state.env)
        except (Killed, StoreUnavailable):
            pass
        else:
            if not seen.failed:
                break
        stages.append(len(ring(state).keys))
        assert keys(state.open()) == made, f"stopped before step {at}: {seen.steps[at]}"
        assert rotate(state.paths, state.env) == Rotation(2, given=False)
        assert keys(state.open()) == made
        finished = state.paths.master_key.read_text().splitlines()
        assert len(finished) == 1
        assert finished != start
    else:
        raise AssertionError("it never came to its end")
    assert set(stages) == {1, 2}, "it was stopped before, between and after"
    assert stages.count(2) > 5


def test_stopped_twice_in_a_row_it_still_opens(state: State, mine: dict[str, str]) -> None:
    for at in (12, 14, 16, 12, 14):
        with disk(at=at), pytest.raises(Killed):
            rotate(state.paths, state.env)
        assert keys(state.open()) == mine
    assert len(ring(state).keys) > 2
    rotate(state.paths, state.env)
    assert len(ring(state).keys) == 1
    assert keys(state.open()) == mine


async def test_a_running_daemon_takes_the_new_key_up_and_seals_with_it(
    state: State, mine: dict[str, str], canary: Canary
) -> None:
    store, before = state.open(), ring(state).keys[0].ident
    rotate(state.paths, state.env)
    fresh = canary("xai")
    await store.put("xai", ConnectionChange(api_key=fresh))  # before it has read anything again
    assert await store.reload() == []
    assert keys(store) == keys(state.open()) == {**mine, "xai": fresh}
    assert before not in state.text


def test_where_the_master_key_is_given_its_first_one_seals_and_nothing_else_is_written(
    state: State, mine: dict[str, str]
) -> None:
    old, new = state.paths.master_key.read_text().strip(), new_key()
    state.paths.master_key.unlink()
    state.env["REDEO_MASTER_KEY"] = f"{new},{old}"
    assert rotate(state.paths, state.env) == Rotation(3, given=True)
    assert not state.paths.master_key.exists()
    state.env["REDEO_MASTER_KEY"] = new
    assert keys(state.open()) == mine


def test_a_key_that_does_not_open_is_named_and_nothing_is_lost(
    state: State, mine: dict[str, str], canaries: Canaries
) -> None:
    moved = state.text.replace("  groq:", "  xai:")
    state.write(moved)
    with pytest.raises(SealError, match="xai: it is damaged, or was sealed for another provider") as caught:
        rotate(state.paths, state.env)
    canaries.add("log", str(caught.value))
    assert state.text == moved
    state.write(moved.replace("  xai:", "  groq:"))
    assert keys(state.open()) == mine


def test_a_file_with_faults_is_not_touched(state: State, mine: dict[str, str]) -> None:
    text = state.text
    state.write("connections: [")
    with pytest.raises(ConfigError):
        rotate(state.paths, state.env)
    assert state.text == "connections: ["
    state.write(text)
    assert keys(state.open()) == mine


def test_with_nothing_stored_the_key_is_new_all_the_same(state: State) -> None:
    state.open()
    before = state.paths.master_key.read_text()
    assert rotate(state.paths, state.env) == Rotation(0, given=False)
    assert state.paths.master_key.read_text() != before
    assert not state.paths.connections.exists()
