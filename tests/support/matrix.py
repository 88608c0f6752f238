"""What survives between dialects, measured: every feature of the recorded traffic, cut out of it, through every pair.

A feature is cut out of a recorded question or answer, written in another dialect and read back from it. What comes back
is held against what went in. So a cell is what the code does, and a `Loss` or an `untold` is its reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from proxy.dialects.aspects import Aspect
from proxy.dialects.base import DialectName, Target, dialect
from proxy.dialects.events import Answer, fold, unfold
from proxy.dialects.request import Request
from tests.support.recorded import CLIENTS, DIALECTS, folded, head, lawful, questions, streamed

ORIGIN = "o"
# Whom a question is written for where the model matters: one that takes what its dialect has.
MODELS = {
    DialectName.CHAT: "gpt-5.5",
    DialectName.MESSAGES: "claude-sonnet-4-6",
    DialectName.RESPONSES: "gpt-5.5",
    DialectName.GEMINI: "gemini-3.5-flash",
    DialectName.CONVERSE: "anthropic.claude-sonnet-4-6",
    DialectName.COHERE: "command-a-reasoning-08-2025",
    DialectName.OLLAMA: "gpt-oss:20b",
}
_SAMPLES = 8  # of one feature from one dialect: more of the same tell nothing new


class Outcome(StrEnum):
    """How a feature fares; the later is the worse."""

    BYTES = "bytes"
    EXACT = "exact"
    MAPPED = "mapped"
    DROPPED = "dropped"
    REFUSED = "refused"
    SILENT = "LOST IN SILENCE"
    NONE = "–"


@dataclass
class Cell:
    """One feature from one dialect to another, with the reasons that were given."""

    outcome: Outcome = Outcome.NONE
    notes: dict[str, None] = field(default_factory=dict)
    made_up: bool = False

    def add(self, outcome: Outcome, note: str | None = None) -> None:
        worse = list(Outcome)
        if self.outcome is Outcome.NONE or worse.index(outcome) > worse.index(self.outcome):
            self.outcome = outcome
        if note and len(self.notes) < 2:
            self.notes[note] = None


@dataclass(frozen=True)
class Question:
    """A feature of questions: `cut` makes small requests that have it alone, `view` is what has to survive of it."""

    title: str
    cut: Callable[[Request], Iterable[Request]]
    view: Callable[[Request], Any]
    examples: tuple[Request, ...] = ()  # for what no recording has
    makers: bool = False  # it belongs to the connection that made it


@dataclass(frozen=True)
class Reply:
    """A feature of answers. `aspect`: under which a dialect says that it cannot tell it."""

    title: str
    cut: Callable[[Answer], Iterable[Answer]]
    view: Callable[[Answer], Any]
    aspect: Aspect | None = None
    examples: tuple[Answer, ...] = ()


def _distinct(found: Iterable[Any]) -> list[Any]:
    """The first few that are not alike."""
    out: dict[str, Any] = {}
    for item in found:
        out.setdefault(repr(item), item)
        if len(out) == _SAMPLES:
            break
    return list(out.values())


def _short(value: Any) -> str:
    """A value as a note can show it."""
    text = ", ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    text = " ".join(text.replace("`", "'").replace("|", "/").split())
    return f"`{text if len(text) <= 40 else text[:37] + '...'}`" if text else "nothing"


def _change(before: Any, after: Any) -> str:
    """Where two views part, in words."""
    rows = isinstance(before, list | tuple) and isinstance(after, list | tuple)
    if rows and len(before) == len(after):
        return next((_change(a, b) for a, b in zip(before, after, strict=True) if a != b), "")
    if rows:
        return f"{len(before)} of them become {len(after)}"
    if isinstance(before, dict) and isinstance(after, dict):
        gone = {k: v for k, v in before.items() if after.get(k) != v}
        come = {k: v for k, v in after.items() if before.get(k) != v}
        return f"{_short(gone)} becomes {_short(come)}" if gone else f"with {_short(come)}"
    return f"{_short(before)} becomes {_short(after)}"


# --- questions


def written(request: Request, there: DialectName) -> tuple[Request, list[Any]]:
    """A question written in a dialect and read from it again, and what was lost."""
    body, losses = dialect(there).write_request(request, Target(ORIGIN, MODELS[there]))
    return dialect(there).read_request(json.loads(json.dumps(body))), losses


@cache
def _recorded_questions(recordings: Path, of: DialectName) -> tuple[Request, ...]:
    return tuple(request for _, request in questions(recordings, of))


def _samples(recordings: Path, feature: Question, of: DialectName) -> tuple[list[Request], bool]:
    """Small questions of this dialect with the feature, and whether no recording of any dialect has it."""
    own = _distinct(cut for request in _recorded_questions(recordings, of) for cut in feature.cut(request))
    if own:
        return own, False
    others = [d for d in DIALECTS.values() if d is not of]
    found = _distinct(
        cut for d in others for request in _recorded_questions(recordings, d) for cut in feature.cut(request)
    )
    made_up = not found
    through = []
    for request in found or feature.examples:
        again, _ = written(request, of)
        again.model = request.model
        through += [cut for cut in feature.cut(again)][:1]
    return _distinct(through), made_up


def question(recordings: Path, feature: Question, here: DialectName, there: DialectName) -> Cell:
    """How a feature of a question in `here` fares on its way to `there`."""
    cell = Cell()
    samples, cell.made_up = _samples(recordings, feature, here)
    for request in samples:
        again, losses = written(request, there)
        before, after = feature.view(request), feature.view(again)
        whys = [loss.why for loss in losses]
        if any(loss.content for loss in losses):
            cell.add(Outcome.REFUSED, whys[0])
        elif before == after:
            cell.add(Outcome.EXACT)
        elif not after:
            cell.add(Outcome.DROPPED if losses else Outcome.SILENT, whys[0] if whys else f"{_short(before)} is gone")
        else:
            cell.add(Outcome.MAPPED, whys[0] if whys else _change(before, after))
    if here is there and cell.outcome is not Outcome.NONE:
        return Cell(Outcome.BYTES, made_up=cell.made_up)
    return cell


# --- answers


@cache
def _recorded_answers(recordings: Path, of: DialectName) -> tuple[Answer, ...]:
    if of not in DIALECTS.values():
        return ()
    return tuple(answer for _, answer in folded(recordings, of))


def told(answer: Answer, there: DialectName) -> Iterator[Answer]:
    """An answer written in a dialect and read from it again, whole and streamed."""
    spoken = dialect(there)
    body = json.loads(json.dumps(spoken.write_answer(answer, head(there))))
    yield fold(lawful(list(spoken.read_answer(body, ORIGIN))))
    renderer = spoken.renderer(head(there))
    yield fold(streamed(spoken, b"".join(renderer.event(event) for event in unfold(answer))))


def _replies(recordings: Path, feature: Reply, of: DialectName) -> tuple[list[Answer], bool]:
    own = _distinct(cut for answer in _recorded_answers(recordings, of) for cut in feature.cut(answer))
    if own:
        return own, False
    others = [d for d in DIALECTS.values() if d is not of]
    found = _distinct(cut for d in others for answer in _recorded_answers(recordings, d) for cut in feature.cut(answer))
    through = [next(told(answer, of)) for answer in found or feature.examples]
    return _distinct(cut for answer in through for cut in feature.cut(answer)), not found


def reply(recordings: Path, feature: Reply, here: DialectName, there: DialectName) -> Cell:
    """How a feature of an answer in `here` fares on its way to a client of `there`."""
    cell = Cell()
    samples, cell.made_up = _replies(recordings, feature, here)
    why = dialect(there).untold.get(feature.aspect) if feature.aspect is not None else None
    for answer in samples:
        before = feature.view(answer)
        for again in told(answer, there):
            after = feature.view(again)
            if before == after:
                cell.add(Outcome.EXACT)
            elif not after:
                cell.add(Outcome.DROPPED if why else Outcome.SILENT, why or f"{_short(before)} is gone")
            else:
                cell.add(Outcome.MAPPED, _change(before, after))
    if here is there and cell.outcome is not Outcome.NONE:
        return Cell(Outcome.BYTES, made_up=cell.made_up)
    return cell


Rows = dict[str, dict[DialectName, Cell]]


def measure(
    recordings: Path, asked: Iterable[Question], answered: Iterable[Reply]
) -> Iterator[tuple[DialectName, Rows, Rows]]:
    """For each dialect of a client: its questions to, and its answers from, every dialect of a provider."""
    asked, answered = list(asked), list(answered)
    for client in CLIENTS:
        sent = {f.title: {to: question(recordings, f, client, to) for to in DialectName} for f in asked}
        got = {f.title: {of: reply(recordings, f, of, client) for of in DialectName} for f in answered}
        yield client, sent, got
