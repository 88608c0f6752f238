"""`cell`: one cell of the fault matrix with all that its case works with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.canary import Canaries
from tests.support.daemon import Answer, Factory


@pytest.fixture(scope="module", autouse=True)
def judges_loaded() -> None:
    """SDKs load their parts when they are first needed; what is there before `loaded` no collection looks through."""
    from tests.matrix.framework import SPEECHES
    from tests.matrix.judge import judge

    for speech in SPEECHES:
        refused = Answer(400, {}, speech.failure("invalid_request_error", "no").partition(b"data: ")[2])
        broken = [*speech.opening("so"), speech.failure("server_error", "it broke")]
        judge(speech, refused)
        judge(speech, Answer(200, {}, json.dumps(speech.whole).encode()))
        for events in (speech.events("so"), broken):
            judge(speech, Answer(200, {"content-type": "text/event-stream"}, b"".join(events)))


@pytest.fixture
def unleaked(canaries: Canaries) -> Iterator[None]:
    """I5: once all is stopped, no canary was found that was not found before. Set up first, so torn down last."""
    before = len(canaries.leaks())
    yield
    assert not canaries.leaks()[before:]


@pytest.fixture
def cell(
    unleaked: None,
    redeo: Factory,  # with `settled`: I4 and I6
    provider: Any,
    canaries: Canaries,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Any:
    """The case of a cell."""
    from tests.matrix.framework import Case  # not before its asserts are rewritten

    return Case(request.param, redeo, provider, canaries, tmp_path, monkeypatch)
