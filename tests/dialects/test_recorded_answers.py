"""Every recorded answer, read into the hub and written again in its own dialect: equal in meaning.

What may differ in its own dialect: white space inside JSON arguments, the provider's own extra fields, the ids of
items, a date that was not given, whether thinking counts as text or as its summary, and where it is cut into blocks.
In the other dialects their SDKs are the judges: test_read_by_sdks.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.dialects.base import DialectName, Target, dialect
from proxy.dialects.events import Answer, Kind, Piece, fold, unfold
from proxy.dialects.request import Choice, Param
from tests.support.judges import meaning
from tests.support.recorded import DIALECTS, answers, folded, head, lawful, questions, stream_of, streamed

CALLS = (Kind.TOOL_CALL, Kind.CUSTOM_CALL)


def of_piece(piece: Piece) -> Any:
    raw = dict(piece.raw.data) if piece.raw is not None and isinstance(piece.raw.data, dict) else None
    for name in ("input", "content") if (raw and piece.kind is Kind.SERVER_CALL) or (raw and piece.text) else ():
        raw.pop(name, None)
    text = meaning(piece.text) if piece.kind in (*CALLS, Kind.SERVER_CALL) else piece.text
    cites = [(cite.url, cite.title, cite.quote) for cite in piece.cites]
    seal = piece.seal.data if piece.seal is not None else None
    if isinstance(seal, dict):  # with its text beside it, or without
        seal = [seal.get(name) for name in ("signature", "data", "encrypted_content")]
    kind = Kind.REASONING if piece.kind is Kind.SUMMARY else piece.kind
    return kind, piece.id if piece.kind in CALLS else "", piece.name, piece.choice, text, cites, seal, raw


def whole(answer: Answer) -> Any:
    finishes = {at: finish.reason for at, finish in answer.finishes.items()}
    tokens = [token for piece in answer.pieces for token in piece.logprobs]
    pieces = [of_piece(piece) for piece in answer.pieces if piece.kind not in (Kind.REASONING, Kind.SUMMARY)]
    thoughts = [of_piece(piece) for piece in answer.pieces if piece.kind in (Kind.REASONING, Kind.SUMMARY)]
    thinking = "".join(row[4] for row in thoughts), [row[6] for row in thoughts if row[6]]
    return pieces, thinking, finishes, answer.count, tokens


@pytest.mark.parametrize("of", DIALECTS.values())
def test_an_answer_written_in_its_own_dialect_means_the_same(recordings: Path, of: DialectName) -> None:
    spoken = dialect(of)
    for exchange, answer in folded(recordings, of):
        renderer = spoken.renderer(head(of))
        again = streamed(spoken, b"".join(renderer.event(event) for event in unfold(answer)))
        assert whole(fold(again)) == whole(answer), f"{exchange['id']}: the stream"
        body = json.loads(json.dumps(spoken.write_answer(answer, head(of))))
        once = lawful(list(spoken.read_answer(body, "o")))
        assert whole(fold(once)) == whole(answer), f"{exchange['id']}: whole"
        twice = json.loads(json.dumps(spoken.write_answer(fold(once), head(of))))
        assert list(spoken.read_answer(twice, "o")) == once, f"{exchange['id']}: event by event"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_split_of_a_stream_reads_the_same(recordings: Path, data: st.DataObject) -> None:
    of = data.draw(st.sampled_from(list(DIALECTS.values())))
    streams = [x for x in answers(recordings, of) if "events" in x["response"]]
    text = stream_of(data.draw(st.sampled_from(streams)))[:60_000]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    parser = dialect(of).parser("o")
    events = [event for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) for event in parser.feed(text[a:b])]
    assert lawful([*events, *parser.close()]) == streamed(dialect(of), text)


AUTO = (Param.TOOL_CHOICE, Choice("auto"))  # which is so where nothing is said


@pytest.mark.parametrize("of", DIALECTS.values())
def test_a_recorded_request_written_again_says_all_of_it(recordings: Path, of: DialectName) -> None:
    spoken = dialect(of)
    read = 0
    for exchange, request in questions(recordings, of):
        written, losses = spoken.write_request(request, Target("o", request.model or exchange["model"] or "m"))
        assert not losses, (exchange["id"], losses)
        again = spoken.read_request(json.loads(json.dumps(written)))
        for one in (request, again):
            one.params = dict(pair for pair in one.params.items() if pair != AUTO)
        for name in ("turns", "tools", "params", "extras"):
            assert getattr(again, name) == getattr(request, name), f"{exchange['id']}: {name}"
        read += 1
    assert read >= (2 if of is DialectName.COHERE else 15)
