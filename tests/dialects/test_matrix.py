"""What survives between dialects is measured on the recordings; docs/dialects.md says what came of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.dialects.base import DialectName
from tests.support.answered import REPLIES
from tests.support.asked import QUESTIONS
from tests.support.matrix import Outcome, Question, Reply, question, reply
from tests.support.matrix_page import page
from tests.support.recorded import CLIENTS

PAGE = Path(__file__).parents[2] / "docs" / "dialects.md"
FEATURES: list[Question | Reply] = [*QUESTIONS, *REPLIES]
# What a conversation cannot do without: it gets through between any two dialects, in other words if need be.
ALWAYS = {
    *("text", "system and developer messages", "instructions later on", "several turns", "images by data"),
    *("tools with schemas", "tool choice: auto", "tool choice: none", "a tool call and its result"),
    *("parallel calls and their results", "results of text", "results with images", "results that are errors"),
    *("max_tokens", "temperature", "top_p", "output by a schema"),
    *("text in several blocks", "thinking", "thinking, abridged", "what holds or proves it", "a refusal"),
    *("a tool call", "parallel tool calls", "a free-form call", "citations"),
    *("usage: input and output", "usage: read from the cache"),
    *(feature.title for feature in REPLIES if feature.title.startswith("ended: ")),
}
KEPT = (Outcome.BYTES, Outcome.EXACT, Outcome.MAPPED, Outcome.NONE)

pytestmark = pytest.mark.recordings


def test_what_must_get_through_is_measured() -> None:
    titles = [feature.title for feature in FEATURES]
    assert set(titles) >= ALWAYS


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: f"{type(feature).__name__}: {feature.title}")
def test_it_survives_or_its_loss_is_told(recordings: Path, feature: Question | Reply) -> None:
    found = {
        (client, other): question(recordings, feature, client, other)
        if isinstance(feature, Question)
        else reply(recordings, feature, other, client)
        for client in CLIENTS
        for other in DialectName
    }
    silent = {pair: cell.notes for pair, cell in found.items() if cell.outcome is Outcome.SILENT}
    assert not silent
    assert any(cell.outcome is not Outcome.NONE for cell in found.values()), "nothing was measured"
    if feature.title in ALWAYS:
        lost = {pair: cell.notes for pair, cell in found.items() if cell.outcome not in KEPT}
        assert not lost


def test_the_page_says_what_the_code_does(recordings: Path) -> None:
    assert PAGE.read_text() == page(recordings), "make dialects"
