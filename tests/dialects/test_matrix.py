"""What survives between dialects is measured on the recordings; docs/dialects.md says what came of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.answered import REPLIES
from tests.support.asked import QUESTIONS
from tests.support.matrix import Outcome, measure
from tests.support.matrix_page import page

PAGE = Path(__file__).parents[2] / "docs" / "dialects.md"

pytestmark = pytest.mark.recordings


def test_nothing_is_lost_in_silence(recordings: Path) -> None:
    silent = [
        f"{title} ({client} and {other}): {', '.join(cell.notes)}"
        for client, asked, answered in measure(recordings, QUESTIONS, REPLIES)
        for title, cells in (*asked.items(), *answered.items())
        for other, cell in cells.items()
        if cell.outcome is Outcome.SILENT
    ]
    assert not silent, "\n".join(silent)


def test_the_page_says_what_the_code_does(recordings: Path) -> None:
    assert PAGE.read_text() == page(recordings), "make dialects"
