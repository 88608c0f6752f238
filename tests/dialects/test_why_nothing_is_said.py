"""What a provider tells people of an answer that it refused or held back reaches them where nothing else is said."""

from __future__ import annotations

import json

import pytest

from proxy.dialects.base import DialectName, dialect
from proxy.dialects.blocks import Finish
from proxy.dialects.events import Answer, Finished, Kind, Piece, fold, unfold
from tests.support.judges import JUDGES
from tests.support.recorded import head, lawful, streamed

WHY = "It was held back for safety."
TOLD = (DialectName.CHAT, DialectName.RESPONSES)


def written(there: DialectName, answer: Answer) -> tuple[bytes, bytes]:
    renderer = dialect(there).renderer(head(there))
    stream = b"".join(renderer.event(event) for event in unfold(answer))
    return json.dumps(dialect(there).write_answer(answer, head(there))).encode(), stream


@pytest.mark.parametrize("there", TOLD)
@pytest.mark.parametrize("reason", [Finish.REFUSAL, Finish.CONTENT_FILTER])
def test_its_sdk_tells_why_nothing_is_said(there: DialectName, reason: Finish) -> None:
    answer = Answer("a", "m", 1, [], {0: Finished(reason, note=WHY)})
    body, stream = written(there, answer)
    for text, streams in ((body, False), (stream, True)):
        told = JUDGES[there](text, streams)
        assert (told.text, told.finish) == (WHY, "filter")
    for found in (fold(lawful(list(dialect(there).read_answer(json.loads(body), "o")))),
                  fold(streamed(dialect(there), stream))):  # fmt: skip
        assert [(piece.kind, piece.text) for piece in found.pieces] == [(Kind.REFUSAL, WHY)]


@pytest.mark.parametrize("there", TOLD)
@pytest.mark.parametrize("kind", [Kind.TEXT, Kind.REFUSAL])
def test_words_of_the_models_stand_alone(there: DialectName, kind: Kind) -> None:
    answer = Answer("a", "m", 1, [Piece(kind, text="so")], {0: Finished(Finish.REFUSAL, note=WHY)})
    for text, streams in zip(written(there, answer), (False, True), strict=True):
        assert JUDGES[there](text, streams).text == "so"


@pytest.mark.parametrize("there", TOLD)
def test_an_answer_that_ended_well_is_no_refusal(there: DialectName) -> None:
    for reason in (Finish.STOP, Finish.OTHER, Finish.LENGTH):
        answer = Answer("a", "m", 1, [], {0: Finished(reason, note=WHY)})
        assert [JUDGES[there](t, s).text for t, s in zip(written(there, answer), (False, True), strict=True)] == [
            "",
            "",
        ]
