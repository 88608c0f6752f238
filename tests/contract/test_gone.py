"""A daemon that has stopped leaves nothing in the process it was in."""

from __future__ import annotations

import weakref
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.canary import Canaries
from tests.support.daemon import Factory
from tests.support.settled import Baseline


async def test_nobody_holds_on_to_it(tmp_path: Path, canaries: Canaries, settled: Baseline) -> None:
    async with AsyncExitStack() as stack:
        redeo = await Factory(canaries, tmp_path, stack)()
        assert (await redeo.request("GET", "/v1/providers")).status == 200
        app = weakref.ref(redeo.daemon.app)
    del redeo
    assert not await settled.restored()
    assert app() is None
