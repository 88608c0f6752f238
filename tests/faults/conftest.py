"""`bench(P, S)`: a daemon in front of scripted providers, whose invariants are checked when the test is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.speech import CHAT, SPEECHES, Bench, Speech


@pytest.fixture
async def bench(redeo: Any, provider: Any) -> AsyncIterator[Any]:
    """`await bench(script or Upstream or base URL, ..., speech=CHAT)`: connected as alpha, beta, gamma."""
    started: list[Bench] = []

    async def start(*places: Any, speech: Speech = CHAT, **settings: Any) -> Bench:
        started.append(await Bench.start(redeo, provider, *places, speech=speech, **settings))
        return started[-1]

    yield start
    for one in started:
        await one.check()


@pytest.fixture(params=SPEECHES, ids=lambda speech: speech.name)
def speech(request: pytest.FixtureRequest) -> Any:
    """Each dialect in turn."""
    return request.param
