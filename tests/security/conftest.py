"""What the tests of the defences share."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.paths import Paths
from tests.rooms.config.statefiles import State
from tests.support.canary import Canaries


@pytest.fixture
def state(tmp_path: Path, canaries: Canaries) -> State:
    """A state directory and a place for redeo.yaml; when the session ends, no key may be found in it."""
    folder = tmp_path / "daemon"
    (folder / "state").mkdir(mode=0o700, parents=True)
    canaries.folders.append(folder / "state")
    return State(Paths(folder / "redeo.yaml", folder / "state"))
