"""What translating costs grows with what is translated and no faster, however an answer is cut into deltas.

Counted, not timed: all the characters that are handed to a function or to a method of a text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, NamedTuple

import msgspec
import pytest

from proxy.dialects import aws_events
from proxy.dialects.base import DialectName, ReplyHead, dialect
from proxy.dialects.blocks import Cite, Count, Finish, Opaque
from proxy.dialects.calls import Calls
from proxy.dialects.events import (
    BlockCite,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Counted,
    Done,
    Event,
    Finished,
    Kind,
    Ledger,
    Started,
)
from proxy.dialects.gemini.answer_in import GeminiParser
from proxy.dialects.json import decode, encode
from proxy.dialects.request import Request
from proxy.dialects.sse import EventSplitter, frame

KINDS = [kind for kind in Kind if kind is not Kind.FOREIGN]


class Machine(NamedTuple):
    """Something that is fed step by step."""

    itself: object
    step: Callable[[Any], object]
    food: list[Any]

    def run(self) -> None:
        for given in self.food:
            self.step(given)


def handled(machine: Machine) -> int:
    """How many characters and bytes go through calls while it runs."""
    total = 0

    def look(where: FrameType, what: str, called: Any) -> None:
        nonlocal total
        if what == "call":
            total += sum(len(value) for value in where.f_locals.values() if isinstance(value, str | bytes))
        elif what == "c_call" and isinstance(receiver := getattr(called, "__self__", None), str | bytes):
            total += len(receiver)

    sys.setprofile(look)
    try:
        machine.run()
    finally:
        sys.setprofile(None)
    return total


def held(thing: object, path: tuple[object, ...] = ()) -> Iterator[tuple[tuple[object, ...], str]]:
    """The texts that something keeps, each with its place; the members of lists are not what grows."""
    if isinstance(thing, str):
        yield path, thing
    elif len(path) < 6:
        inner: dict[Any, Any] = {}
        if isinstance(thing, dict):
            inner = thing
        elif isinstance(thing, tuple):
            inner = dict(enumerate(thing))
        elif isinstance(thing, msgspec.Struct):
            inner = {name: getattr(thing, name) for name in thing.__struct_fields__}
        elif type(thing).__module__.startswith("proxy."):
            inner = getattr(thing, "__dict__", {})
        for key, value in inner.items():
            yield from held(value, (*path, key))


def renewed(machine: Machine) -> int:
    """How many characters of the texts that it keeps are made anew, step by step."""
    total = 0
    before: dict[tuple[object, ...], str] = {}
    for given in machine.food:
        machine.step(given)
        after = dict(held(machine.itself))
        total += sum(len(text) for path, text in after.items() if before.get(path) is not text)
        before = after
    return total


def must_be_linear(prepared: Callable[[int], Machine]) -> None:
    once, fourfold = (handled(prepared(n)) + renewed(prepared(n)) for n in (200, 800))
    assert once
    assert fourfold < 6 * once


def answer(kind: Kind, texts: list[str], beside: Callable[[int], list[Event]] = lambda _: []) -> Iterator[Event]:
    raw = Opaque("chat", "audio", {"id": "audio_1"}) if kind is Kind.AUDIO else None
    raw = Opaque("gemini", "toolCall", {"toolCall": {}}) if kind is Kind.SERVER_CALL else raw
    yield Started("answer_1", "the-model", 1)
    yield BlockStart(0, kind, "call_1", "write", raw=raw)
    for n, text in enumerate(texts):
        yield BlockDelta(0, text)
        yield from beside(n)
    yield BlockEnd(0)
    yield Counted(Count(input=1, output=2))
    yield Finished(Finish.STOP)
    yield Done()


def writer(name: DialectName, events: Iterable[Event]) -> Machine:
    renderer = dialect(name).renderer(ReplyHead("req_1", 1, Request(name.value, "the-model", ()), "the-model"))
    return Machine(renderer, renderer.event, list(events))


def reader(name: DialectName, chunks: list[bytes]) -> Machine:
    parser = dialect(name).parser("here")
    return Machine(parser, parser.feed, chunks)


def written(name: DialectName, events: Iterable[Event]) -> list[bytes]:
    machine = writer(name, events)
    return [out for event in machine.food if isinstance(out := machine.step(event), bytes) and out]


def fragments(kind: Kind, n: int) -> list[str]:
    if kind in (Kind.TOOL_CALL, Kind.SERVER_CALL):
        return ['{"code": "', *(["if (it) { then }"] * n), '"}']
    return ["some words or so"] * n


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DialectName)
def test_writing_many_deltas_costs_what_they_are_long(name: DialectName, kind: Kind) -> None:
    must_be_linear(lambda n: writer(name, answer(kind, fragments(kind, n))))


@pytest.mark.parametrize("kind", [Kind.TEXT, Kind.REASONING, Kind.TOOL_CALL])
@pytest.mark.parametrize("name", DialectName)
def test_reading_many_deltas_costs_what_they_are_long(name: DialectName, kind: Kind) -> None:
    must_be_linear(lambda n: reader(name, written(name, answer(kind, fragments(kind, n)))))


def sourced(n: int) -> Iterator[Event]:
    """A text with a source for each few words."""
    words = "caf\u00e9 and so on. "

    def source(at: int) -> list[Event]:
        start = len(words) * at
        return [BlockCite(0, Cite(f"https://{at % 5}.example", "t", "q", start, start + 9))]

    return answer(Kind.TEXT, [words] * n, source)


@pytest.mark.parametrize("name", DialectName)
def test_writing_many_sources_costs_what_they_are_long(name: DialectName) -> None:
    must_be_linear(lambda n: writer(name, sourced(n)))


@pytest.mark.parametrize("name", DialectName)
def test_reading_many_sources_costs_what_they_are_long(name: DialectName) -> None:
    must_be_linear(lambda n: reader(name, written(name, sourced(n))))


def test_calls_that_come_in_turn_are_not_read_again_with_each_fragment() -> None:
    def prepared(n: int) -> Machine:
        calls = Calls(Ledger(), 0)
        for ident in ("a", "b"):
            calls.fragment(ident, Kind.TOOL_CALL, ident, "write", '{"code": "')
        return Machine(
            calls, lambda place: calls.fragment(place, Kind.TOOL_CALL, "", "", "if (it) { then }"), ["a", "b"] * n
        )

    must_be_linear(prepared)


def test_a_call_that_grows_piece_by_piece_is_put_together_once() -> None:
    def chunk(**call: Any) -> bytes:
        return frame(encode({"candidates": [{"content": {"parts": [{"functionCall": call}]}}]}))

    piece = {"jsonPath": "$.code", "stringValue": "if (it) { then }"}
    more = chunk(partialArgs=[piece], willContinue=True)
    must_be_linear(lambda n: reader(DialectName.GEMINI, [chunk(name="write", willContinue=True), *[more] * n]))


def test_one_event_in_many_pieces_is_searched_once() -> None:
    def prepared(n: int) -> Machine:
        data = frame(b"x" * 16 * n)
        splitter = EventSplitter()
        return Machine(splitter, splitter.feed, [data[at : at + 16] for at in range(0, len(data), 16)])

    must_be_linear(prepared)


def test_one_frame_in_many_pieces_is_looked_at_once() -> None:
    def prepared(n: int) -> Machine:
        data = aws_events.frame(b"x" * 16 * n, {":event-type": "contentBlockDelta"})
        splitter = aws_events.FrameSplitter()
        pieces = [data[at : at + 16] for at in range(0, len(data), 16)]
        return Machine(splitter, lambda piece: list(splitter.feed(piece)), pieces)

    must_be_linear(prepared)


def test_what_grows_may_stand_anywhere_and_change_its_kind() -> None:
    pieces = [
        {"jsonPath": "$.a", "stringValue": "x"},
        {"jsonPath": "$.a", "stringValue": "y"},
        {"jsonPath": "$.a.b", "stringValue": "nowhere"},
        {"jsonPath": "$.list[0]", "stringValue": "p"},
        {"jsonPath": "$.list[0]", "stringValue": "q"},
        {"jsonPath": "$.list[1]", "numberValue": 1},
        {"jsonPath": "$.list[1]", "stringValue": "r"},
        {"jsonPath": "$.c", "stringValue": "gone"},
        {"jsonPath": "$.c", "boolValue": True},
        {"jsonPath": "$.c", "stringValue": "s"},
        *({"jsonPath": f"$.long[{n}]", "stringValue": "t"} for n in range(10_003)),
        {"jsonPath": "$.given", "stringValue": "er"},
    ]
    call = {"name": "write", "args": {"given": "old"}, "partialArgs": pieces}
    data = frame(encode({"candidates": [{"content": {"parts": [{"functionCall": call}]}, "finishReason": "STOP"}]}))
    given = decode(next(e.text.encode() for e in GeminiParser("here").feed(data) if isinstance(e, BlockDelta)))
    assert len(given.pop("long")) == 10_001
    assert given == {"given": "older", "a": "xy", "list": ["pq", "r"], "c": "s"}
