"""What every test can ask for: canary keys, daemons, providers; and the search for leaks when all is done."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from proxy.observe.log import JsonFormatter
from tests.support.canary import Canaries
from tests.support.daemon import Factory
from tests.support.upstream import Script, Upstream

SHARED = Path(__file__).resolve().parents[2] / "shared"


class _Sink(logging.Handler):
    """Every record of every logger, at DEBUG, in the form that the daemon writes."""

    def __init__(self, canaries: Canaries) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonFormatter())
        self._canaries = canaries

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(("redeo", "aiohttp", "asyncio")):
            self._canaries.add(f"log {record.name}", self.format(record))


@pytest.fixture(scope="session")
def canaries() -> Iterator[Canaries]:
    """The canaries of the session. After the last test nothing that was let out may hold one."""
    found = Canaries()
    sink = _Sink(found)
    logging.getLogger().addHandler(sink)
    logging.getLogger("redeo").setLevel(logging.DEBUG)
    yield found
    logging.getLogger().removeHandler(sink)
    leaks = found.leaks()
    assert not leaks, "\n".join(leaks[:50])


@pytest.fixture
def canary(canaries: Canaries) -> Any:
    """`canary("openai")`: a fresh fake key."""
    return canaries.key


@pytest.fixture
async def redeo(canaries: Canaries, tmp_path: Path) -> AsyncIterator[Factory]:
    """`await redeo({"alpha": upstream})`: a running daemon with these connections."""
    async with AsyncExitStack() as stack:
        yield Factory(canaries, tmp_path, stack)


@pytest.fixture
async def provider() -> AsyncIterator[Any]:
    """`await provider(script, ...)`: a scripted provider on a real socket."""
    async with AsyncExitStack() as stack:

        async def start(*scripts: Script, **options: Any) -> Upstream:
            return await stack.enter_async_context(Upstream(*scripts, **options))

        yield start


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of recorded provider traffic; in CI it has to be there."""
    folder = SHARED / "recordings"
    if not (folder / "INDEX.tsv").is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{folder} is missing")
        pytest.skip("there are no recordings in ../shared/recordings")
    return folder
