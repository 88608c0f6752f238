"""One stream of two providers: the beginning that the first one said, and the rest that another one says.

A text that breaks off can be gone on with by a provider that takes its beginning as an assistant's message. The client
reads one answer: ids, names and numbers are the first stream's, taken from the events that went out. Only words are
gone on with; what else was begun, or is said instead, cannot be put together. Who is asked is in the catalogue
(`config.continuing`), when it is asked for the engine to say.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, Protocol, cast

from msgspec.structs import replace

from config.model import Operation
from proxy.dialects import estimate, sse
from proxy.dialects.base import DialectName, Renderer, ReplyHead, Unreadable, dialect
from proxy.dialects.blocks import Count, Finish, Text
from proxy.dialects.events import (
    BlockCite,
    BlockDelta,
    BlockEnd,
    BlockLogprobs,
    BlockStart,
    Counted,
    Done,
    Event,
    Failed,
    Finished,
    Kind,
)
from proxy.dialects.joint import Joint
from proxy.dialects.joint import NotMore as NotMore
from proxy.dialects.json import EXACT, decode_object
from proxy.dialects.request import Choice, Param, Request, Role, Think, Turn
from proxy.fault import Usage

MAX_BYTES: Final = 1024 * 1024
_TURNED: Final = (Finish.TOOL_CALLS, Finish.PAUSE)  # where it went on to something that is no text
# The places in which clients ask for thinking, in their dialects.
_THINKING: Final = ("thinking.", "reasoning.", "reasoning_effort.", "generationConfig.thinkingConfig.")
# What one provider keeps, and no other can be told of.
_KEPT: Final = frozenset({"previous_response_id", "conversation", "prompt", "background", "container", "cachedContent"})


class Track(Protocol):
    """What of a stream in one dialect is repeated, or counted on, by the events to come."""

    plain: bool  # there is nothing in it that cannot be gone on with

    @property
    def open(self) -> bool:
        """Whether more of the text goes where the last of it went; else it begins a block."""

    def see(self, value: dict[str, Any]) -> None:
        """One decoded event as it went out."""

    def renderer(self, head: ReplyHead) -> Renderer:
        """A writer that has said all this: the open text is its block 0."""


class Beginning:
    """Follows the stream that goes out to a client."""

    def __init__(self, operation: Operation) -> None:
        name = DialectName(operation.value)
        self.operation = operation
        self.track: Track = cast(Track, import_module(f"proxy.dialects.{name.value}.resumed").Track())
        self.count: Count | None = None
        self.counted = False  # the count holds for all of the text so far
        self.further: list[Continuation] = []  # who has been asked to go on, in their order
        self._parser = dialect(name).parser("")
        self._texts: list[str] = []
        self._size = 0
        self._plain = True

    def see(self, event: bytes) -> None:
        """One whole event, with its empty line, as it went out."""
        data = sse.event_data(event) if self._plain else b""
        if not data:
            return
        value = decode_object(data)
        try:
            events = [] if value is None else self._parser.feed(event)
        except (Unreadable, sse.EventTooLarge, RecursionError):
            value, events = None, []
        if value is None:
            self._spoil()
            return
        self.track.see(value)
        before = len(self._texts)
        for told in events:
            self._look(told)
        counted = any(isinstance(told, Counted) and told.count.output > 0 for told in events)
        self.counted = bool(self._texts) and (counted or (self.counted and len(self._texts) == before))
        if not self.track.plain:
            self._spoil()

    def _look(self, event: Event) -> None:
        match event:
            case BlockDelta(text=text):
                self._texts.append(text)
                self._size += len(text.encode("utf-8", "surrogatepass"))
                self._plain = self._plain and self._size <= MAX_BYTES
            case BlockStart():
                self._plain = self._plain and event.kind is Kind.TEXT and event.choice == 0
            case Counted(count=count):
                self.count = count
            case BlockCite() | BlockLogprobs() | Finished() | Done() | Failed():
                self._plain = False
            case _:
                pass

    def _spoil(self) -> None:
        self._plain = False
        self._texts.clear()

    @property
    def text(self) -> str | None:
        """What has been said so far; None where it cannot be gone on with."""
        said = "".join(self._texts)
        if not self._plain or not said.strip():
            return None
        try:
            said.encode()
        except UnicodeEncodeError:  # half of a character
            return None
        return said

    @property
    def usage(self) -> Usage | None:
        """What the provider has counted so far, if it said."""
        return None if self.count is None else _usage(self.count)


def continuable(request: Request) -> bool:
    """Whether an answer to this may be put together of two."""
    params = request.params
    if Param.FORMAT in params or Param.AUDIO in params or params.get(Param.N, 1) != 1:
        return False
    if params.get(Param.LOGPROBS) or params.get(Param.TOP_LOGPROBS) or not _words_alone(params.get(Param.MODALITIES)):
        return False
    choice = params.get(Param.TOOL_CHOICE)
    if isinstance(choice, Choice) and choice.mode in ("required", "tool"):
        return False
    if not request.turns or any(request.extras.get(name) for name in _KEPT):
        return False
    last = request.turns[-1]
    return last.role is not Role.ASSISTANT or all(isinstance(block, Text) for block in last.content)


def _words_alone(modalities: Any) -> bool:
    return modalities is None or set(modalities) <= {"text"}


def continued(request: Request, text: str) -> tuple[Request, str]:
    """The question with the beginning behind it, and the white space that was cut off that: Anthropic refuses it
    there ("Prefill Claude's response"), and for all it is a token in the way of the next word.

    It is asked without thinking, which belongs before the beginning, and for as much as is about left to say.
    """
    turns = list(request.turns)
    before = turns.pop() if turns and turns[-1].role is Role.ASSISTANT else Turn(Role.ASSISTANT, ())
    given = "".join(block.text for block in before.content if isinstance(block, Text))
    sent = (given + text).rstrip()
    turns.append(replace(before, content=(Text(sent),)))
    asked = replace(_unthinking(request), turns=tuple(turns))
    limit = asked.params.get(Param.MAX_TOKENS)
    if limit is not None:
        asked.params[Param.MAX_TOKENS] = max(1, int(limit) - round(estimate.of_text(text)))
    return asked, (given + text)[len(sent) :]


def _unthinking(request: Request) -> Request:
    """The question with nothing of thinking in it but that there shall be none."""
    think = request.params.get(Param.REASONING)
    if isinstance(think, Think) and think.enabled is False:
        return replace(request, params=dict(request.params))
    params = {param: value for param, value in request.params.items() if param is not Param.REASONING}
    names = {param: name for param, name in request.names.items() if param is not Param.REASONING}
    extras = {name: value for name, value in request.extras.items() if not f"{name}.".startswith(_THINKING)}
    return replace(request, params=params, names=names, extras=extras)


class Continuation:
    """Writes what the second provider says as more of the first stream. See `Renderer`.

    `head` is what the client's answers are written with, `asked` and `cut` are what `continued` made, `between` the
    connections in their order. `echoes`: the provider says the beginning once more.
    """

    def __init__(
        self,
        beginning: Beginning,
        head: ReplyHead,
        asked: Request,
        cut: str,
        between: tuple[str, ...],
        *,
        echoes: bool = False,
    ) -> None:
        sent = "".join(block.text for block in asked.turns[-1].content if isinstance(block, Text))
        self._renderer = beginning.track.renderer(head)
        self._open = beginning.track.open
        self._joint = Joint(sent, cut, echoes=echoes)
        self._asked = asked
        self._between = between
        self._silent = beginning.operation is Operation.GEMINI  # its clients know no comments
        self._first, self._guessed = _counted(beginning, head.request)
        beginning.further.append(self)
        self._second: Count | None = None
        self._words: set[int] = set()  # the blocks that are text
        self._texts: list[str] = []

    @property
    def begun(self) -> tuple[dict[str, Any] | None, int]:
        """See `Renderer`."""
        return self._renderer.begun

    @property
    def estimated(self) -> bool:
        """Whether a part of the usage is no provider's count."""
        return self._guessed or self._second is None

    @property
    def spent(self) -> int:
        """What its question took, if it said anything before it broke off too; its words are part of the beginning."""
        if not self._texts:
            return 0
        return self._second.input if self._second is not None else estimate.of_request(self._asked)

    @property
    def count(self) -> Count:
        """Of both, as far as it is known."""
        return _sum(self._first, self._second or self._guess())

    @property
    def second(self) -> Usage | None:
        """What the second one has counted, if it said."""
        return None if self._second is None else _usage(self._second)

    @property
    def usage(self) -> Usage:
        """The same, as the engine keeps it."""
        return _usage(self.count)

    def event(self, event: Event) -> bytes:
        """The bytes that say this. Raises NotMore."""
        match event:
            case BlockDelta():
                return self._say(self._joint.take(event.text)) if event.index in self._words else b""
            case BlockStart():
                self._begin(event)
            case BlockCite():
                raise NotMore("it cites a source")
            case Counted():
                self._second = event.count
            case Finished():
                return self._finish(event)
            case Done():
                return self._renderer.event(Counted(self.count)) + self._renderer.event(event) + self._comment()
            case _:
                pass
        return b""

    def _begin(self, event: BlockStart) -> None:
        """All text is more of the one; thinking is left out."""
        if event.choice or event.kind not in (Kind.TEXT, Kind.REASONING, Kind.SUMMARY):
            raise NotMore("it gives several answers" if event.choice else f"it says a {event.kind.value}")
        if event.kind is Kind.TEXT:
            self._words.add(event.index)

    def _say(self, text: str) -> bytes:
        if not text:
            return b""
        self._texts.append(text)
        out = b"" if self._open else self._renderer.event(BlockStart(0, Kind.TEXT))
        self._open = True
        return out + self._renderer.event(BlockDelta(0, text))

    def _finish(self, event: Finished) -> bytes:
        if event.reason in _TURNED or event.choice:
            raise NotMore("it stopped for something other than the end of its text")
        out = self._say(self._joint.rest())
        if self._open and not self._texts:  # then nobody knows that the beginning was not cut in the middle
            raise NotMore("it adds nothing")
        if self._open:
            out += self._renderer.event(BlockEnd(0))
        return out + self._renderer.event(event)

    def _guess(self) -> Count:
        return Count(estimate.of_request(self._asked), round(estimate.of_text("".join(self._texts))))

    def _comment(self) -> bytes:
        """The last bytes of the stream, which tell who said it."""
        if self._silent:
            return b""
        several = len(self._between) > 2
        parts = [n for n, guessed in (("first", self._guessed), ("second", self._second is None)) if guessed]
        told = f", the {parts[0]} part estimated" if len(parts) == 1 else ", estimated" if parts else ""
        told = f"all{', estimated in part' if parts else ''}" if several else f"both{told}"
        return f": redeo-rescued: {' -> '.join(self._between)}; usage is the sum of {told}\n\n".encode()


def _counted(beginning: Beginning, request: Request) -> tuple[Count, bool]:
    """What the first part took, and whether a number of it is an estimate: of its output is said at the end, mostly."""
    said = beginning.count
    if said is not None and beginning.counted:
        return said, False
    words = round(estimate.of_text(beginning.text or ""))
    known = said or Count()
    asked = known.input or estimate.of_request(request)
    asked += sum(further.spent for further in beginning.further)
    return replace(known, input=asked, output=max(known.output, words)), True


def _sum(first: Count, second: Count) -> Count:
    """Number by number; words are the later ones."""
    made: dict[str, Any] = {}
    for name in Count.__struct_fields__:
        one, other = getattr(first, name), getattr(second, name)
        made[name] = one + other if isinstance(one, int) and isinstance(other, int) else other or one
    return Count(**made)


def _usage(count: Count) -> Usage:
    counts = (count.input, count.output, count.cached, count.cache_write, count.reasoning)
    read_in, written, cached, kept, thought = (min(number, EXACT) for number in counts)
    return Usage(read_in, written, cached, kept, thought)
