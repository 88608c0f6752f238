"""A process that is killed while it changes connections leaves the list as it was before a change, or after it.

At each system call, by a tracer: `make fuzz` (fuzz/kills.py).
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from config import durable
from fuzz.writes import WRITES, Write, carried_out, sound
from fuzz.writes import listed as connections_of
from tests.rooms.config.disk import Killed, disk
from tests.rooms.config.statefiles import State

ROOT = Path(__file__).parents[3]
ROUNDS = 15
# Says `+n` before and `=n` after change n: whatever is said to be done has to be there.
WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from config.paths import Paths
from config.store import ConfigStore, ConnectionChange

NAMES = ["openai", "groq", "mistral"]

async def main():
    store = ConfigStore.open(Paths(Path(sys.argv[1]), Path(sys.argv[2])), {})
    for n in itertools.count(int(sys.argv[3])):
        print(f"+{n}", flush=True)
        name = NAMES[n % 3]
        if n % 7 == 6 and store.current.connection(name):
            await store.delete(name)
        else:
            await store.put(name, ConnectionChange(api_key=f"sk-fake-{n:08}", label=f"n{n}", priority=n % 1000))
        print(f"={n}", flush=True)

asyncio.run(main())
"""
Listed = dict[str, tuple[str, int, str]]


def after(listed: Listed, number: int) -> Listed:
    """What change `number` makes of a list."""
    found, name = dict(listed), ["openai", "groq", "mistral"][number % 3]
    if number % 7 == 6 and name in found:
        del found[name]
    else:
        found[name] = (f"n{number}", number % 1000, f"sk-fake-{number:08}")
    return found


def listed(state: State) -> Listed:
    """What a daemon started now has."""
    connections = state.open().current.connections
    assert [c.fault for c in connections] == [None] * len(connections)
    return {c.provider: (c.label, c.priority, c.secret.reveal()) for c in connections if c.secret is not None}


def killed(state: State, first: int, moment: int, spin: int) -> tuple[int, int]:
    """Changes begun and finished, from `first` on, by a writer that is killed once it has said `moment` lines."""
    command = [sys.executable, "-c", WRITER, str(state.paths.config_file), str(state.paths.state_dir), str(first)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(moment)]
        for _ in range(spin):  # a little work of ours, so that it is not always killed at the same place
            pass
        process.kill()
        said += process.stdout.readlines()
    assert process.returncode == -9
    said = [line.strip() for line in said if line.endswith("\n")]
    return sum(line[0] == "+" for line in said), sum(line[0] == "=" for line in said)


@pytest.fixture
def dice() -> random.Random:
    """The same moments in every run; what the processes make of them is different enough."""
    return random.Random(7333)


def test_killed_at_any_moment_the_old_or_the_new_list_stands_there(
    make_state: Callable[[str], State], dice: random.Random
) -> None:
    state, now, first, between = make_state("daemon"), Listed(), 0, 0
    for _ in range(ROUNDS):
        begun, done = killed(state, first, dice.randint(1, 8), dice.choice([0, 2_000, 20_000, 60_000, 150_000]))
        assert 0 <= begun - done <= 1
        for number in range(first, first + done):
            now = after(now, number)
        found = listed(state)
        assert found in ([now, after(now, first + done)] if begun > done else [now])
        between += begun > done
        now, first = found, first + begun
        assert durable.stale(state.paths.state_dir) == [], "what it left behind went at the next start"
    assert between > 3, "most were killed at work"


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.name)
def test_killed_at_any_step_of_any_write_everything_is_old_or_new(write: Write, tmp_path: Path) -> None:
    before, after = write.prepare(tmp_path / "old"), write.prepare(tmp_path / "new")
    asyncio.run(carried_out(write.ready(after)))
    ends = [connections_of(after)] if write.fresh else [connections_of(before), connections_of(after)]
    found = []
    for at in range(100):
        paths = write.prepare(tmp_path / str(at))
        act = write.ready(paths)
        try:
            with disk(at=at):
                asyncio.run(carried_out(act))
        except Killed:
            found.append(connections_of(paths))
            assert found[-1] in ends
            sound(paths)
        else:
            break
    assert 8 < len(found) < 100
    assert all(end in found for end in ends), "it was killed on both sides of the step that counts"
