"""What every test can ask for: canary keys, daemons, providers; and the search for leaks when all is done."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from config import store
from proxy.observe.log import JsonFormatter
from tests.support.canary import Canaries
from tests.support.daemon import Factory
from tests.support.settled import Baseline, Forgotten
from tests.support.upstream import Script, Upstream

pytest.register_assert_rewrite("tests.matrix")  # before anybody imports one of its modules

SHARED = Path(__file__).resolve().parents[2] / "shared"
CANARIES = pytest.StashKey[Canaries]()

# What watches files sees that it is to stop at its next step: thousands of daemons would wait for that.
store._STEP_MS = 5

# `push` on every run; `campaign` round by round before a release (make fuzz): hypothesis keeps
# every example of a run in memory. A database of failures belongs to a campaign.
settings.register_profile(
    "push",
    max_examples=200,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "campaign",
    max_examples=2_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("push")


class _Sink(logging.Handler):
    """Every record of every logger, at DEBUG, in the form that the daemon writes."""

    def __init__(self, canaries: Canaries) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonFormatter())
        self._canaries = canaries

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(("redeo", "aiohttp", "asyncio")):
            self._canaries.add(f"log {record.name}", self.format(record))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long variants too, as before a release")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[CANARIES] = Canaries()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `long` are left out, not skipped: nothing of the ordinary run depends on them."""
    if config.getoption("--long"):
        return
    left_out = [item for item in items if item.get_closest_marker("long") is not None]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.get_closest_marker("long") is None]


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is there by now stays: the collections after each test need not look through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def long(pytestconfig: pytest.Config) -> bool:
    """Whether tests that take a number of rounds shall take the large one (`--long`)."""
    return bool(pytestconfig.getoption("--long"))


@pytest.fixture(scope="module")
def loaded() -> None:
    """What the tests of other files loaded and keep stays too: recordings, SDKs and their validators."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test, and the processes it started, wrote on its standard streams is looked through too."""
    report = yield
    for title, text in report.sections:
        if title.startswith(("Captured stdout", "Captured stderr")):
            item.config.stash[CANARIES].add(f"log {title} of {item.nodeid}", text)
    return report


@pytest.fixture(scope="session", autouse=True)
def canaries(pytestconfig: pytest.Config) -> Iterator[Canaries]:
    """The canaries of the session. After the last test nothing that was let out may hold one."""
    found = pytestconfig.stash[CANARIES]
    sink = _Sink(found)
    logging.getLogger().addHandler(sink)
    logging.getLogger("redeo").setLevel(logging.DEBUG)
    yield found
    logging.getLogger().removeHandler(sink)
    leaks = found.leaks()
    assert not leaks, "\n".join(leaks[:50])


@pytest.fixture
def canary(canaries: Canaries) -> Callable[[str], str]:
    """`canary("openai")`: a fresh fake key."""
    return canaries.key


@pytest.fixture
def canary_prompt(canaries: Canaries) -> Callable[..., str]:
    """`canary_prompt()`: a fresh piece of content, for prompts and answers."""
    return canaries.text


@pytest.fixture
async def settled(loaded: None) -> AsyncIterator[Baseline]:
    """After the test, tasks and open files are as before it, and nobody complained about forgotten ones."""
    forgotten = Forgotten()
    logging.getLogger().addHandler(forgotten)
    before = Baseline()
    yield before
    left = await before.restored()
    logging.getLogger().removeHandler(forgotten)
    logging.getLogger("redeo").setLevel(logging.DEBUG)  # a reload without a level of its own has made it INFO
    assert not left, "left over: " + "; ".join(left)
    assert not forgotten.said, "\n".join(forgotten.said)


@pytest.fixture
async def redeo(canaries: Canaries, tmp_path: Path, settled: Baseline) -> AsyncIterator[Factory]:
    """`await redeo({"alpha": upstream})`: a running daemon with these connections."""
    async with AsyncExitStack() as stack:
        factory = Factory(canaries, tmp_path, stack)
        yield factory
        factory.check()


@pytest.fixture
async def provider(canaries: Canaries, settled: Baseline) -> AsyncIterator[Any]:
    """`await provider(script, ...)`: a scripted provider on a real socket."""
    started: list[Upstream] = []
    async with AsyncExitStack() as stack:

        async def start(*scripts: Script, **options: Any) -> Upstream:
            started.append(await stack.enter_async_context(Upstream(*scripts, **options)))
            return started[-1]

        yield start
    for upstream in started:
        for received in upstream.requests + upstream.list_requests:
            canaries.add("upstream", received.raw)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of recorded provider traffic; in CI it has to be there."""
    folder = SHARED / "recordings"
    if not (folder / "INDEX.tsv").is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{folder} is missing")
        pytest.skip("there are no recordings in ../shared/recordings")
    return folder
