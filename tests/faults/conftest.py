"""`bench(P, S)`: a daemon in front of scripted providers, whose invariants are checked when the test is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.speech import CHAT, SPEECHES, Bench, Speech
from tests.support.upstream import Upstream


@pytest.fixture
async def bench(redeo: Any, provider: Any) -> AsyncIterator[Any]:
    """`await bench(script or Upstream or base URL, ..., speech=CHAT)`: connected as alpha, beta, gamma."""
    started: list[Bench] = []

    async def start(*places: Any, speech: Speech = CHAT, **settings: Any) -> Bench:
        entries: dict[str, Any] = {}
        ups: dict[str, Upstream] = {}
        for name, place in zip(("alpha", "beta", "gamma"), places, strict=False):
            up = await provider(place) if callable(place) else place
            entries[name] = speech.entry(up)
            if isinstance(up, Upstream):
                ups[name] = up
        started.append(Bench(speech, await redeo(entries, **settings), ups))
        return started[-1]

    yield start
    for one in started:
        await one.check()


@pytest.fixture(params=SPEECHES, ids=lambda speech: speech.name)
def speech(request: pytest.FixtureRequest) -> Any:
    """Each dialect in turn."""
    return request.param
