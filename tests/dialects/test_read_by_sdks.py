"""Every recorded answer, written in each other dialect, as that dialect's official SDK reads it.

Text, tool calls, usage and finish reason have to be what the provider said, whole and streamed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from proxy.dialects.base import DialectName, dialect
from proxy.dialects.blocks import Finish
from proxy.dialects.events import Answer, Kind, tells, unfold
from tests.support.judges import JUDGES, Told, meaning
from tests.support.recorded import DIALECTS, folded, head

CALLS = (Kind.TOOL_CALL, Kind.CUSTOM_CALL)
# What has only words for stopping, calling tools, the limit and the filter.
FINISHES = {
    Finish.STOP: "stop", Finish.STOP_SEQUENCE: "stop", Finish.PAUSE: "stop", Finish.OTHER: "stop",
    Finish.TOOL_CALLS: "calls", Finish.LENGTH: "length", Finish.CONTEXT: "length",
    Finish.CONTENT_FILTER: "filter", Finish.REFUSAL: "filter",
}  # fmt: skip
OBJECTS = (DialectName.MESSAGES, DialectName.GEMINI, DialectName.CONVERSE)  # where arguments are objects, not texts
BOXES = (*OBJECTS, DialectName.COHERE)  # where a free-form input is an object of one string

pytestmark = [
    pytest.mark.recordings,
    pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning"),  # google-genai's, of aiohttp
]


def expected(answer: Answer, there: DialectName) -> Told:
    """What the SDK of that dialect has to tell of this answer."""
    pieces = [piece for piece in answer.pieces if piece.choice == 0]
    told = Told("".join(p.text for p in pieces if p.kind in (Kind.TEXT, Kind.REFUSAL)))
    for piece in pieces:
        if piece.kind in CALLS:
            given = meaning(piece.text)
            if (piece.kind is Kind.CUSTOM_CALL and there in BOXES) or (
                there in OBJECTS and not isinstance(given, dict)
            ):
                given = {"input": piece.text}
            told.calls.append((piece.id, piece.name, given))
    if not told.text and tells(answer.finishes[0]) and there in (DialectName.CHAT, DialectName.RESPONSES):
        told.text = answer.finishes[0].note  # the words of a refusal
    told.finish = FINISHES[answer.finishes[0].reason]
    if told.finish == "stop" and told.calls and there in (DialectName.RESPONSES, DialectName.GEMINI):
        told.finish = "calls"  # which is told by the calls alone there
    if told.finish == "filter" and there is DialectName.COHERE:
        told.finish = "stop"  # it has no word for it
    count = answer.count
    told.usage = None if count is None else (count.input, count.output, count.cached)
    return told


def differs(got: Told, want: Told) -> list[Any]:
    """What is not equal; a call that the provider gave no id has one of ours."""
    calls = [c if known[0] else ("", *c[1:]) for c, known in zip(got.calls, want.calls, strict=False)]
    pairs = [(got.text, want.text), (calls, want.calls), (got.finish, want.finish)]
    if want.usage is not None:
        pairs.append((got.usage, want.usage))
    return [pair for pair in pairs if pair[0] != pair[1]]


def written(answer: Answer, there: DialectName) -> tuple[bytes, bytes]:
    """The answer in that dialect, whole and streamed. Pictures were shortened in the recordings: base64 no more."""
    spoken = dialect(there)
    pieces = [replace(piece, text="iVBORw0KGgo=") if piece.kind is Kind.IMAGE else piece for piece in answer.pieces]
    answer = replace(answer, pieces=pieces)
    renderer = spoken.renderer(head(there))
    stream = b"".join(renderer.event(event) for event in unfold(answer))
    return json.dumps(spoken.write_answer(answer, head(there))).encode(), stream


@pytest.mark.parametrize(("here", "there"), [(a, b) for a in DIALECTS.values() for b in JUDGES if a is not b])
def test_its_sdk_reads_what_the_provider_said(recordings: Path, here: DialectName, there: DialectName) -> None:
    wrong: list[str] = []
    for exchange, answer in folded(recordings, here):
        want = expected(answer, there)
        for body, streamed in zip(written(answer, there), (False, True), strict=True):
            wrong += [f"{exchange['id']} {streamed=}: {pair}" for pair in differs(JUDGES[there](body, streamed), want)]
    assert not wrong, "\n".join(wrong[:20])
