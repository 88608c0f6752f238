"""Every row of the fault matrix is there, and docs/fault-matrix.md shows those rows, each of them well."""

from __future__ import annotations

from tests.matrix.framework import cells, load
from tests.matrix.report import PAGE, page


def test_every_row_is_asked() -> None:
    rows = load()
    assert list(rows) == list(range(1, 51))
    assert not [row.number for row in rows.values() if not row.cells]
    names = [str(cell) for cell in cells()]
    assert len(names) == len(set(names))


def test_the_page_is_of_this_matrix() -> None:
    assert PAGE.read_text() == page({str(cell): True for cell in cells()}), "run `make fault-matrix`"
