"""Answers of any shape: written and read in any dialect they stay what they are, however they are cut into pieces."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.base import Dialect, DialectName, dialect
from proxy.dialects.blocks import Count, Finish
from proxy.dialects.events import (
    Answer,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Counted,
    Done,
    Event,
    Finished,
    Kind,
    Piece,
    Started,
    fold,
    unfold,
)
from tests.support.recorded import head, lawful

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)
SAID = WORDS.filter(lambda text: text.strip() != "")
NAMES = st.text("abcXYZ_019", min_size=1, max_size=8)
VALUES: Any = st.none() | st.booleans() | st.integers(-9, 9) | WORDS
OBJECTS = st.dictionaries(NAMES, VALUES | st.lists(VALUES, max_size=2), max_size=3)
EVERY = pytest.mark.parametrize("name", DialectName)
CALLS = (Kind.TOOL_CALL, Kind.CUSTOM_CALL)


@st.composite
def answers(draw: Any) -> Answer:
    """An answer as every dialect can tell it: thinking, texts and calls in any order."""
    pieces: list[Piece] = []
    for n in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from((Kind.TEXT, Kind.REASONING, Kind.TOOL_CALL)))
        text = json.dumps(draw(OBJECTS)) if kind is Kind.TOOL_CALL else draw(SAID)
        ident, name = (f"call_{n}", draw(NAMES)) if kind is Kind.TOOL_CALL else ("", "")
        pieces.append(Piece(kind, ident, name, text=text))
    reason = Finish.TOOL_CALLS if any(piece.kind in CALLS for piece in pieces) else Finish.STOP
    numbers = draw(st.tuples(st.integers(1, 99), st.integers(1, 99)))
    return Answer("r1", "m", 1_700_000_000, pieces, {0: Finished(reason)}, Count(*numbers))


def cut(answer: Answer, data: st.DataObject) -> list[Event]:
    """The events of an answer, its texts in any fragments."""
    out: list[Event] = [Started(answer.id, answer.model, answer.created)]
    for index, piece in enumerate(answer.pieces):
        out.append(BlockStart(index, piece.kind, piece.id, piece.name))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(piece.text)), max_size=3)))
        edges = [0, *cuts, len(piece.text)]
        out += [BlockDelta(index, piece.text[a:b]) for a, b in pairwise(edges) if a < b]
        out.append(BlockEnd(index))
    assert answer.count is not None
    return lawful([*out, *answer.finishes.values(), Counted(answer.count), Done()])


def heard(spoken: Dialect, wire: bytes, data: st.DataObject) -> Answer:
    """What is read of these bytes, in any pieces."""
    parser = spoken.parser("o")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=4)))
    edges = [0, *cuts, len(wire)]
    events = [event for a, b in pairwise(edges) for event in parser.feed(wire[a:b])]
    return fold(lawful([*events, *parser.close()]))


def joined(events: list[Event]) -> list[Event]:
    """The same, with the fragments of a text as one: where it is cut says nothing."""
    out: list[Event] = []
    for event in events:
        last = out[-1] if out else None
        if isinstance(event, BlockDelta) and isinstance(last, BlockDelta) and last.index == event.index:
            out[-1] = BlockDelta(event.index, last.text + event.text)
        else:
            out.append(event)
    return out


def told(answer: Answer) -> Any:
    texts = "".join(piece.text for piece in answer.pieces if piece.kind is Kind.TEXT)
    thoughts = "".join(piece.text for piece in answer.pieces if piece.kind in (Kind.REASONING, Kind.SUMMARY))
    calls = [(piece.id, piece.name, json.loads(piece.text)) for piece in answer.pieces if piece.kind in CALLS]
    assert answer.count is not None
    return texts, thoughts, calls, answer.finishes[0].reason, (answer.count.input, answer.count.output)


@EVERY
@given(answer=answers(), data=st.data())
def test_any_fragments_in_any_dialect_make_the_same_answer(
    name: DialectName, answer: Answer, data: st.DataObject
) -> None:
    renderer = dialect(name).renderer(head(name))
    wire = b"".join(renderer.event(event) for event in cut(answer, data))
    assert told(heard(dialect(name), wire, data)) == told(answer)


@EVERY
@given(answer=answers(), data=st.data())
def test_what_was_read_once_is_read_again(name: DialectName, answer: Answer, data: st.DataObject) -> None:
    spoken = dialect(name)
    body = json.loads(json.dumps(spoken.write_answer(answer, head(name))))
    once = lawful(list(spoken.read_answer(body, "o")))
    assert told(fold(once)) == told(answer)
    again = json.loads(json.dumps(spoken.write_answer(fold(once), head(name))))
    assert joined(list(spoken.read_answer(again, "o"))) == joined(once), "whole"
    renderer = spoken.renderer(head(name))
    wire = b"".join(renderer.event(event) for event in unfold(fold(once)))
    assert told(heard(spoken, wire, data)) == told(answer), "streamed"


@st.composite
def mixed(draw: Any) -> tuple[list[str], list[tuple[int, str]]]:
    """Arguments of several calls, and their fragments in any order that keeps each call's own."""
    texts = [json.dumps(draw(OBJECTS)) for _ in range(draw(st.integers(1, 3)))]
    queues = []
    for n, text in enumerate(texts):
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
        edges = [0, *cuts, len(text)]
        queues.append([(n, text[a:b]) for a, b in pairwise(edges)])
    order: list[tuple[int, str]] = []
    while any(queues):
        queue = draw(st.sampled_from([queue for queue in queues if queue]))
        order.append(queue.pop(0))
    return texts, order


@given(mixed(), st.data())
def test_parallel_calls_of_chat_in_mixed_fragments(found: Any, data: st.DataObject) -> None:
    texts, order = found
    seen: set[int] = set()
    wire = b""
    for n, text in order:
        call: dict[str, Any] = {"index": n, "function": {"arguments": text}}
        if n not in seen:
            seen.add(n)
            call = {"index": n, "id": f"call_{n}", "type": "function", "function": {"name": "f", "arguments": text}}
        chunk = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
        wire += b"data: " + json.dumps(chunk).encode() + b"\n\n"
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    wire += b"data: " + json.dumps(last).encode() + b"\n\ndata: [DONE]\n\n"
    _called(heard(dialect(DialectName.CHAT), wire, data), texts)


@given(mixed(), st.data())
def test_parallel_calls_of_responses_in_mixed_fragments(found: Any, data: st.DataObject) -> None:
    texts, order = found
    seen: set[int] = set()
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {"id": "r", "model": "m"}}]
    for n, text in order:
        if n not in seen:
            seen.add(n)
            item = {"type": "function_call", "id": f"fc_{n}", "call_id": f"call_{n}", "name": "f", "arguments": ""}
            events.append({"type": "response.output_item.added", "output_index": n, "item": item})
        events.append({"type": "response.function_call_arguments.delta", "output_index": n, "delta": text})
    events.append({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}})
    wire = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    _called(heard(dialect(DialectName.RESPONSES), wire, data), texts)


def _called(answer: Answer, texts: list[str]) -> None:
    calls = {piece.id: json.loads(piece.text or "{}") for piece in answer.pieces if piece.kind is Kind.TOOL_CALL}
    assert calls == {f"call_{n}": json.loads(text) for n, text in enumerate(texts)}
