"""What the tests of the configuration share: a state directory of their own, looked through for keys at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.paths import Paths
from tests.rooms.config.statefiles import State
from tests.support.canary import Canaries


@pytest.fixture
def make_state(tmp_path: Path) -> Callable[[str], State]:
    """`make_state("one")`: a state directory that is empty, and a place for redeo.yaml."""

    def make(name: str) -> State:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "state").mkdir(mode=0o700)
        return State(Paths(folder / "redeo.yaml", folder / "state"))

    return make


@pytest.fixture
def state(make_state: Callable[[str], State], canaries: Canaries) -> State:
    """One of them; when the session ends, no key may be found in it."""
    made = make_state("daemon")
    canaries.folders.append(made.paths.state_dir)
    return made


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Whatever the caller's umask is."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)
