"""Every fuzz target holds on its seeds: what `make fuzz` runs for minutes is never broken when it is needed."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from fuzz.seeds import seeds
from fuzz.targets import TARGETS
from fuzz.targets.doors import closed

ROUNDS = 60


@pytest.fixture(scope="module", autouse=True)
def _door() -> Iterator[None]:
    """The daemon that one of them goes through is closed behind the last."""
    yield
    closed()


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_on_its_seeds(name: str) -> None:
    found = seeds(name)
    assert found
    for seed in found:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_on_seeds_with_a_few_bytes_changed(name: str) -> None:
    dice, found = random.Random(7333), [seed[:1500] for seed in seeds(name)]
    for _ in range(ROUNDS):
        data = bytearray(dice.choice(found))
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        TARGETS[name](bytes(data))
