"""The fault matrix: every row in each dialect, whole and streamed. `make fault-matrix` writes docs/fault-matrix.md."""

from __future__ import annotations

import pytest

from tests.matrix.framework import Case, cells


@pytest.mark.parametrize("cell", cells(), ids=str, indirect=True)
async def test(cell: Case) -> None:
    await cell.cell.run(cell, *cell.cell.arguments)
    await cell.check()
