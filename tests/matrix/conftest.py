"""`cell`: one cell of the fault matrix with all that its case works with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.canary import Canaries
from tests.support.daemon import Factory

pytest.register_assert_rewrite("tests.matrix", "tests.support.speech")


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
