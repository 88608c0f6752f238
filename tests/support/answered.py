"""The features of answers in docs/dialects.md: how each is cut out of an answer, and what is looked at."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from proxy.dialects import seals
from proxy.dialects.aspects import Aspect
from proxy.dialects.base import DialectName
from proxy.dialects.blocks import Count, Finish, Opaque
from proxy.dialects.events import Answer, Finished, Kind, Piece
from proxy.dialects.gemini.parts import carried
from tests.support.judges import meaning
from tests.support.matrix import Reply

CHAT = DialectName.CHAT.value


def one(answer: Answer, *pieces: Piece, finish: Finished | None = None, count: Count | None = None) -> Answer:
    """A small answer."""
    kept = [msgspec.structs.replace(piece, choice=0) for piece in pieces]
    reason = Finish.TOOL_CALLS if any(p.kind in CALLS for p in kept) else Finish.STOP
    return Answer(answer.id, answer.model, answer.created, kept, {0: finish or Finished(reason)}, count)


CALLS = (Kind.TOOL_CALL, Kind.CUSTOM_CALL)
THOUGHTS = (Kind.REASONING, Kind.SUMMARY)
WORDS = Piece(Kind.TEXT, text="so")
BLANK = Answer("", "m")


def _pieces(holds: Callable[[Piece], Any], *beside: Piece) -> Callable[[Answer], Iterator[Answer]]:
    def cut(answer: Answer) -> Iterator[Answer]:
        for piece in answer.pieces:
            if holds(piece):
                yield one(answer, piece, *beside)

    return cut


def _bare(piece: Piece, **kept: Any) -> Piece:
    return Piece(piece.kind, piece.id, piece.name, text=piece.text, **kept)


def _cut_plain(*kinds: Kind) -> Callable[[Answer], Iterator[Answer]]:
    """The words alone of such blocks."""

    def cut(answer: Answer) -> Iterator[Answer]:
        for piece in answer.pieces:
            if piece.kind in kinds and piece.text:
                yield one(answer, _bare(piece), *([] if kinds == (Kind.TEXT,) else [WORDS]))

    return cut


def _said(*kinds: Kind) -> Callable[[Answer], Any]:
    return lambda answer: [(p.kind.value, p.text) for p in answer.pieces if p.kind in kinds and p.text]


def _cut_several(answer: Answer) -> Iterator[Answer]:
    texts = [_bare(p) for p in answer.pieces if p.kind is Kind.TEXT and p.choice == 0 and p.text]
    if len(texts) > 1:
        yield one(answer, *texts)


def _sealed(answer: Answer) -> Any:
    """What the maker of it is handed back: abroad it travels in a marked text."""
    return [_unwrapped(p.seal) for p in answer.pieces if p.kind in THOUGHTS and p.seal is not None]


def _unwrapped(seal: Opaque) -> Any:
    found = list(seal.data.values()) if isinstance(seal.data, dict) else [seal.data]
    marked = [text for text in found if isinstance(text, str) and text.startswith((seals.MARK, seals.MARK_64))]
    if carried(seal):
        return _unwrapped(cast(Opaque, carried(seal)[0].seal))
    if not marked:
        return seal.dialect, seal.data
    text = b64decode(marked[0]).decode() if marked[0].startswith(seals.MARK_64) else marked[0]
    inner = seals.unwrap(text, seal.dialect, seal.kind)
    return _unwrapped(inner) if carried(inner) else (inner.dialect, inner.data)


def _cut_called(count: int, kind: Kind) -> Callable[[Answer], Iterator[Answer]]:
    def cut(answer: Answer) -> Iterator[Answer]:
        calls = [_bare(p) for p in answer.pieces if p.kind is kind and p.choice == 0]
        if len(calls) == 1 == count or len(calls) >= count > 1:
            yield one(answer, *calls)

    return cut


def _called(answer: Answer) -> Any:
    return [(p.name, meaning(p.text)) for p in answer.pieces if p.kind in CALLS]


@dataclass(frozen=True)
class Shown:
    """A value that counts, under a word that a note can show."""

    value: Any
    word: str

    def __str__(self) -> str:
        return self.word


def _cited(answer: Answer) -> Any:
    words = {"url": "where", "title": "a title", "quote": "what it says", "start": "from here", "end": "to there"}
    cites = [cite for piece in answer.pieces for cite in piece.cites]
    return [{n: Shown(getattr(c, n), w) for n, w in words.items() if getattr(c, n) not in (None, "")} for c in cites]


def _work(holds: Callable[[Piece], bool]) -> Callable[[Answer], Any]:
    return lambda answer: [(p.kind.value, p.name) for p in answer.pieces if holds(p)]


def _is_search(piece: Piece) -> bool:
    return piece.kind is Kind.SERVER_CALL and piece.name in ("web_search", "google_search")


def _is_work(piece: Piece) -> bool:
    return (piece.kind is Kind.SERVER_CALL and not _is_search(piece)) or piece.kind is Kind.FOREIGN


def _cut_choices(answer: Answer) -> Iterator[Answer]:
    if len(answer.finishes) > 1:
        yield answer


def _choices(answer: Answer) -> Any:
    texts = [p.text for p in answer.pieces if p.choice > 0]
    return texts or None


def finish(title: str, reason: Finish) -> Reply:
    def cut(answer: Answer) -> Iterator[Answer]:
        found = answer.finishes.get(0)
        if found is not None and found.reason is reason:
            calls = [Piece(Kind.TOOL_CALL, "call_1", "add", text='{"a":1}')] if reason is Finish.TOOL_CALLS else []
            yield one(answer, WORDS, *calls, finish=Finished(reason, sequence=found.sequence))

    return Reply(
        f"ended: {title}",
        cut,
        lambda a: a.finishes[0].reason.value,
        None,
        (one(BLANK, WORDS, finish=Finished(reason)),),
    )


def count(title: str, aspect: Aspect | None, *names: str) -> Reply:
    def cut(answer: Answer) -> Iterator[Answer]:
        if answer.count is not None and any(getattr(answer.count, name) for name in names):
            yield one(answer, WORDS, count=answer.count)

    def view(answer: Answer) -> Any:
        found = {} if answer.count is None else {name: getattr(answer.count, name) for name in names}
        return {name: value for name, value in found.items() if value}

    example = Count(100, 50, 20, 10, 0, 5, 3, 2, 1)
    return Reply(f"usage: {title}", cut, view, aspect, (one(BLANK, WORDS, count=example),))


REPLIES: tuple[Reply, ...] = (
    Reply("text", _cut_plain(Kind.TEXT), lambda a: "".join(p.text for p in a.pieces if p.kind is Kind.TEXT)),
    Reply("text in several blocks", _cut_several, lambda a: [p.text for p in a.pieces]),
    Reply("thinking", _cut_plain(Kind.REASONING), _said(*THOUGHTS), Aspect.THINKING),
    Reply("thinking, abridged", _cut_plain(Kind.SUMMARY), _said(*THOUGHTS), Aspect.THINKING),
    Reply("what holds or proves it", _pieces(lambda p: p.kind in THOUGHTS and p.seal, WORDS), _sealed, Aspect.THINKING),
    Reply(
        "a refusal",
        _cut_plain(Kind.REFUSAL),
        lambda a: [(p.kind.value, p.text) for p in a.pieces if p.text != "so"],
        None,
        (one(BLANK, Piece(Kind.REFUSAL, text="I will not"), WORDS),),
    ),
    Reply("a tool call", _cut_called(1, Kind.TOOL_CALL), _called),
    Reply("parallel tool calls", _cut_called(2, Kind.TOOL_CALL), _called),
    Reply("a free-form call", _cut_called(1, Kind.CUSTOM_CALL), _called),
    Reply("citations", _pieces(lambda p: p.cites and all(c.url for c in p.cites)), _cited, Aspect.CITATIONS),
    Reply(
        "citations of documents",
        _pieces(lambda p: p.cites and not any(c.url for c in p.cites)),
        _cited,
        Aspect.DOCUMENT_CITATIONS,
    ),
    Reply("searches by the provider", _pieces(_is_search, WORDS), _work(_is_search), Aspect.SEARCHES),
    Reply("the work of its other tools", _pieces(_is_work, WORDS), _work(_is_work), Aspect.BUILT_IN_TOOLS),
    Reply(
        "sound",
        _pieces(lambda p: p.kind is Kind.AUDIO and p.text),
        _said(Kind.AUDIO),
        Aspect.AUDIO,
        (one(BLANK, Piece(Kind.AUDIO, "audio_1", text="UklGRg==", raw=Opaque(CHAT, "audio", {"id": "audio_1"}))),),
    ),
    Reply(
        "pictures",
        _pieces(lambda p: p.kind is Kind.IMAGE, WORDS),
        lambda answer: [(p.media_type, p.text) for p in answer.pieces if p.kind is Kind.IMAGE],
        Aspect.IMAGES,
        (one(BLANK, Piece(Kind.IMAGE, text="iVBORw0KGgo=", media="image/png"), WORDS),),
    ),
    Reply(
        "log probabilities",
        _pieces(lambda p: p.logprobs),
        lambda a: [[t["token"], t["logprob"]] for p in a.pieces for t in p.logprobs],
        Aspect.LOGPROBS,
        (
            one(
                BLANK,
                Piece(
                    Kind.TEXT, text="so", logprobs=[{"token": "so", "logprob": -0.5, "bytes": None, "top_logprobs": []}]
                ),
            ),
        ),
    ),
    Reply(
        "several choices",
        _cut_choices,
        _choices,
        Aspect.CHOICES,
        (
            Answer(
                "",
                "m",
                0,
                [WORDS, Piece(Kind.TEXT, choice=1, text="no")],
                {0: Finished(Finish.STOP), 1: Finished(Finish.STOP, choice=1)},
            ),
        ),
    ),
    finish("it was said", Finish.STOP),
    finish("a stop sequence was met", Finish.STOP_SEQUENCE),
    finish("the limit was reached", Finish.LENGTH),
    finish("tools are called", Finish.TOOL_CALLS),
    finish("a filter held it back", Finish.CONTENT_FILTER),
    finish("the model refused", Finish.REFUSAL),
    finish("a pause of built-in tools", Finish.PAUSE),
    finish("the window is full", Finish.CONTEXT),
    count("input and output", None, "input", "output"),
    count("read from the cache", None, "cached"),
    count("written to the cache", Aspect.CACHE_WRITES, "cache_write"),
    count("reasoning", Aspect.REASONING_TOKENS, "reasoning"),
    count("sound", Aspect.AUDIO_TOKENS, "audio_input", "audio_output"),
    count("searches", Aspect.SEARCH_COUNT, "searches"),
)
