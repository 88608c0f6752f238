"""Citations of what has no address: told where there is a form for it, left out by name where there is none."""

from __future__ import annotations

import json
import re

import pytest

from proxy.dialects.aspects import Aspect, missing
from proxy.dialects.base import DialectName, dialect
from proxy.dialects.blocks import Cite, Finish
from proxy.dialects.events import Answer, Finished, Kind, Piece, fold, unfold
from tests.support.judges import JUDGES
from tests.support.recorded import head, lawful, streamed

PAPER = Cite("", "the paper", "it is so", 0, 2)
PAGE = Cite("https://a.example", "a page", "and so", 0, 2)
TELL = (DialectName.GEMINI, DialectName.COHERE, DialectName.CONVERSE)


def cited(*cites: Cite) -> Answer:
    return Answer("a", "m", 1, [Piece(Kind.TEXT, text="so", cites=list(cites))], {0: Finished(Finish.STOP)})


def written(there: DialectName, answer: Answer) -> tuple[bytes, bytes]:
    renderer = dialect(there).renderer(head(there))
    stream = b"".join(renderer.event(event) for event in unfold(answer))
    return json.dumps(dialect(there).write_answer(answer, head(there))).encode(), stream


@pytest.mark.parametrize("there", DialectName)
def test_a_document_is_told_with_what_is_known_of_it_or_missed_by_name(there: DialectName) -> None:
    spoken = dialect(there)
    body, stream = written(there, cited(PAPER, PAGE))
    found = [fold(lawful(list(spoken.read_answer(json.loads(body), "o")))), fold(streamed(spoken, stream))]
    titles = ["the paper", "a page"] if there in TELL else [] if there is DialectName.OLLAMA else ["a page"]
    for again in found:
        assert [cite.title for piece in again.pieces for cite in piece.cites] == titles
    named = missing(unfold(cited(PAPER)), spoken.untold)
    assert list(named) == ([] if there in TELL else [Aspect.DOCUMENT_CITATIONS])


@pytest.mark.parametrize("there", JUDGES)
@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")
def test_its_sdk_is_told_of_no_address_that_there_is_not(there: DialectName) -> None:
    for body, streams in zip(written(there, cited(PAPER)), (False, True), strict=True):
        assert JUDGES[there](body, streams).text == "so"
        assert not re.search(rb'"ur[li]": ?""', body)


def test_where_in_a_document_it_stands_is_no_place_in_the_answer() -> None:
    row = {
        "type": "char_location", "cited_text": "it is so", "document_index": 0, "document_title": "the paper",
        "start_char_index": 900, "end_char_index": 908,
    }  # fmt: skip
    body = {"content": [{"type": "text", "text": "so", "citations": [row]}], "stop_reason": "end_turn"}
    given = fold(lawful(list(dialect(DialectName.MESSAGES).read_answer(body, "o"))))
    (cite,) = given.pieces[0].cites
    assert (cite.start, cite.end, cite.quote) == (None, None, "it is so")
    assert dialect(DialectName.MESSAGES).write_answer(given, head(DialectName.MESSAGES))["content"] == body["content"]
    assert b"90" not in written(DialectName.COHERE, given)[0]
