"""An answer as a sequence of events, in no dialect's own shape, and the laws that every such sequence keeps.

A streamed answer is the sequence itself; a whole one is its fold. So both go the same way, and no dialect can read one
better than the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

import msgspec

from proxy.dialects.blocks import Cite, Count, Finish, Opaque, Source


class Kind(StrEnum):
    """What a block of an answer is."""

    TEXT = "text"
    REASONING = "reasoning"
    SUMMARY = "summary"  # of reasoning
    REFUSAL = "refusal"
    TOOL_CALL = "tool_call"
    CUSTOM_CALL = "custom_call"
    SERVER_CALL = "server_call"
    AUDIO = "audio"  # its deltas are base64 text
    IMAGE = "image"  # its deltas too
    FOREIGN = "foreign"


class Started(msgspec.Struct, frozen=True, tag=True):
    """The answer has begun. `created` in seconds since 1970; 0 where the provider does not say."""

    id: str
    model: str
    created: int = 0


class BlockStart(msgspec.Struct, frozen=True, tag=True):
    """A block has begun. `index` counts all blocks of the answer; `choice` is of several answers to one question;
    `media` is the type of a sound or a picture, where its maker says it. `raw` is what its maker wrote beside it."""

    index: int
    kind: Kind
    id: str = ""
    name: str = ""
    choice: int = 0
    raw: Opaque | None = None
    media: str = ""


class BlockDelta(msgspec.Struct, frozen=True, tag=True):
    """More of its text, arguments or base64."""

    index: int
    text: str


class BlockCite(msgspec.Struct, frozen=True, tag=True):
    """A source of the text so far."""

    index: int
    cite: Cite


class BlockLogprobs(msgspec.Struct, frozen=True, tag=True):
    """Log probabilities of the tokens of this text, as OpenAI writes each."""

    index: int
    tokens: tuple[Any, ...]


class BlockSeal(msgspec.Struct, frozen=True, tag=True):
    """What proves or holds the block: a signature, encrypted reasoning."""

    index: int
    seal: Opaque


class BlockEnd(msgspec.Struct, frozen=True, tag=True):
    """The block is whole."""

    index: int


class Counted(msgspec.Struct, frozen=True, tag=True):
    """Usage so far; a later one replaces it."""

    count: Count


class Finished(msgspec.Struct, frozen=True, tag=True):
    """Why one choice ended. `raw` is the provider's own word, `sequence` the stop sequence that was met, `note` what
    the provider says of it to people, `details` its own object about it."""

    reason: Finish
    raw: str = ""
    sequence: str | None = None
    choice: int = 0
    note: str = ""
    details: Opaque | None = None


def tells(finish: Finished) -> bool:
    """Whether there are words for people about why the answer was refused or held back."""
    return bool(finish.note) and finish.reason in (Finish.REFUSAL, Finish.CONTENT_FILTER)


class Done(msgspec.Struct, frozen=True, tag=True):
    """The answer is whole."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The provider ended the answer with an error, here as the object that it sent; None: the answer was cut short."""

    error: dict[str, Any] | None = None


Event = (
    Started
    | BlockStart
    | BlockDelta
    | BlockCite
    | BlockLogprobs
    | BlockSeal
    | BlockEnd
    | Counted
    | Finished
    | Done
    | Failed
)


class Piece(msgspec.Struct):
    """A block of a whole answer."""

    kind: Kind
    id: str = ""
    name: str = ""
    choice: int = 0
    text: str = ""
    cites: list[Cite] = msgspec.field(default_factory=list)
    logprobs: list[Any] = msgspec.field(default_factory=list)
    seal: Opaque | None = None
    raw: Opaque | None = None
    media: str = ""

    @property
    def media_type(self) -> str:
        """Of a sound or a picture; where its maker does not say it, a picture's is what the data begin with."""
        if self.kind is Kind.AUDIO:
            return self.media or "audio/wav"
        return Source(data=self.text, media_type=self.media or None).kind or "image/png"


class Answer(msgspec.Struct):
    """A whole answer: the fold of its events."""

    id: str = ""
    model: str = ""
    created: int = 0
    pieces: list[Piece] = msgspec.field(default_factory=list)
    finishes: dict[int, Finished] = msgspec.field(default_factory=dict)
    count: Count | None = None


class Broken(Exception):
    """The sequence did not end well: the error as the provider said it, or None for an answer cut short."""

    def __init__(self, error: dict[str, Any] | None) -> None:
        super().__init__("the answer ended with an error" if error else "the answer was cut short")
        self.error = error


class Unlawful(Exception):
    """A sequence that no parser may make; a fault of the parser, not of the provider."""


def fold(events: Iterable[Event]) -> Answer:
    """The whole answer. Raises Broken where the sequence ends with no Done."""
    answer = Answer()
    pieces: dict[int, Piece] = {}
    texts: dict[int, list[str]] = {}
    done = False
    for event in events:
        match event:
            case BlockDelta(index=index, text=text):
                texts[index].append(text)
            case BlockStart():
                piece = Piece(event.kind, event.id, event.name, event.choice, raw=event.raw, media=event.media)
                pieces[event.index], texts[event.index] = piece, []
                answer.pieces.append(piece)
            case BlockCite() | BlockLogprobs() | BlockSeal():
                _add(pieces[event.index], event)
            case BlockEnd():
                pieces[event.index].text = "".join(texts[event.index])
            case Failed():
                raise Broken(event.error)
            case Done():
                done = True
            case Started() | Counted() | Finished():
                _frame(answer, event)
    if not done:
        raise Broken(None)
    return answer


def _add(piece: Piece, event: BlockCite | BlockLogprobs | BlockSeal) -> None:
    if isinstance(event, BlockCite):
        piece.cites.append(event.cite)
    elif isinstance(event, BlockLogprobs):
        piece.logprobs += event.tokens
    else:
        piece.seal = event.seal


def _frame(answer: Answer, event: Started | Counted | Finished) -> None:
    if isinstance(event, Started):
        answer.id, answer.model, answer.created = event.id, event.model, event.created
    elif isinstance(event, Counted):
        answer.count = event.count
    else:
        answer.finishes[event.choice] = event


def unfold(answer: Answer) -> Iterator[Event]:
    """The same answer as a sequence."""
    yield Started(answer.id, answer.model, answer.created)
    for index, piece in enumerate(answer.pieces):
        yield BlockStart(index, piece.kind, piece.id, piece.name, piece.choice, piece.raw, piece.media)
        if piece.text:
            yield BlockDelta(index, piece.text)
        for cite in piece.cites:
            yield BlockCite(index, cite)
        if piece.logprobs:
            yield BlockLogprobs(index, tuple(piece.logprobs))
        if piece.seal is not None:
            yield BlockSeal(index, piece.seal)
        yield BlockEnd(index)
    yield from answer.finishes.values()
    if answer.count is not None:
        yield Counted(answer.count)
    yield Done()


class Laws:
    """Looks at each event of one sequence. Raises Unlawful at the first that must not stand there.

    `Started` first and once; deltas only in an open block; each block opened and closed once, and closed before its
    choice is finished; nothing behind `Done` or `Failed`.
    """

    def __init__(self) -> None:
        self._started = False
        self._over = False
        self._open: dict[int, int] = {}  # index -> choice
        self._known: set[int] = set()
        self._finished: set[int] = set()

    def see(self, event: Event) -> Event:
        """The event itself."""
        self._hold(not self._over, "nothing follows the end", event)
        if isinstance(event, Failed):
            self._over = True
        elif isinstance(event, Started):
            self._hold(not self._started, "Started comes once", event)
            self._started = True
        else:
            self._hold(self._started, "Started comes first", event)
            self._inside(event)
        return event

    def _inside(self, event: Event) -> None:
        match event:
            case BlockStart():
                self._hold(event.index not in self._known, "a block opens once", event)
                self._hold(event.choice not in self._finished, "no block behind the finish", event)
                self._known.add(event.index)
                self._open[event.index] = event.choice
            case BlockDelta() | BlockCite() | BlockLogprobs() | BlockSeal():
                self._hold(event.index in self._open, "only into an open block", event)
            case BlockEnd():
                self._hold(self._open.pop(event.index, None) is not None, "only an open block ends", event)
            case Finished():
                self._hold(event.choice not in self._finished, "a choice finishes once", event)
                self._hold(event.choice not in self._open.values(), "blocks end before the finish", event)
                self._finished.add(event.choice)
            case Done():
                self._hold(not self._open, "every block has ended", event)
                self._hold(bool(self._finished), "Finished comes before Done", event)
                self._over = True
            case _:
                pass

    def _hold(self, held: bool, law: str, event: Event) -> None:
        if not held:
            raise Unlawful(f"{law}: {type(event).__name__}")


class Ledger:
    """Opens and closes the blocks of one answer for a parser, so that no boundary is ever implied.

    Every dialect numbers its blocks in its own way, if at all; `key` is that way.
    """

    def __init__(self) -> None:
        self._open: dict[object, tuple[int, int]] = {}  # key -> (index, choice)
        self._count = 0

    def start(
        self,
        key: object,
        kind: Kind,
        *,
        ident: str = "",
        name: str = "",
        choice: int = 0,
        raw: Opaque | None = None,
        media: str = "",
    ) -> BlockStart:
        """A new block under this key."""
        index = self._count
        self._count += 1
        self._open[key] = (index, choice)
        return BlockStart(index, kind, ident, name, choice, raw, media)

    def index(self, key: object) -> int | None:
        """The open block under this key, if there is one."""
        found = self._open.get(key)
        return None if found is None else found[0]

    def end(self, key: object) -> list[Event]:
        """Close the block under this key, if it is open."""
        found = self._open.pop(key, None)
        return [] if found is None else [BlockEnd(found[0])]

    def end_all(self, choice: int | None = None) -> list[Event]:
        """Close what is open, of one choice or of all."""
        keys = [key for key, (_, of) in self._open.items() if choice is None or of == choice]
        return [event for key in keys for event in self.end(key)]
