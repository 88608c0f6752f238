"""Cheap progress of an answer that is relayed: has content begun, has it ended, did it fail, what did it cost.

It reads; it never alters or translates. Sources: OpenAI API reference, "Chat completion chunk object",
"Completions" and "Responses streaming events"; Anthropic API, "Streaming messages"; Gemini API,
"GenerateContentResponse"; read 2026-11, held against the recorded traffic. Who acts on what is seen here:
`proxy.engine.relay`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, Protocol

from config.model import Operation
from proxy.dialects.json import EXACT, decode
from proxy.dialects.sse import event_data, says_nothing
from proxy.fault import Usage


class Progress(Enum):
    """What one event means for the stream it stands in."""

    PING = "ping"  # a sign of life and nothing else: a comment, a ping
    LIFECYCLE = "lifecycle"  # harmless: a role, an announcement
    CONTENT = "content"
    TERMINAL = "terminal"
    ERROR = "error"
    HIDDEN = "hidden"  # only there because the daemon asked; the client did not
    DONE = "done"  # `[DONE]` in a dialect whose terminator is another: some gateways say it behind that one


# Of each event anew: a member of an enum takes CPython 3.11 ten times as long as a name.
_CONTENT: Final = Progress.CONTENT
_LIFECYCLE: Final = Progress.LIFECYCLE


class MalformedEvent(Exception):
    """An event whose data is not what its dialect says it is."""


class Scanner(Protocol):
    """Follows one stream of one dialect."""

    complete: bool  # the answer is whole, whether or not its terminator comes
    usage: Usage | None
    error: Mapping[str, Any] | None  # the error object, once an event said one
    begun: Mapping[str, Any] | None  # the response object of a Responses stream
    sequence: int  # the number that its next event would carry

    def see(self, event: bytes) -> Progress:
        """What this raw event means. Raises MalformedEvent."""


class _Base:
    __slots__ = ("begun", "complete", "error", "sequence", "usage")
    _done_ends = True  # whether `[DONE]` is the terminator

    def __init__(self) -> None:
        self.complete = False
        self.usage: Usage | None = None
        self.error: Mapping[str, Any] | None = None
        self.begun: Mapping[str, Any] | None = None
        self.sequence = 0

    def see(self, event: bytes) -> Progress:
        data = event_data(event)
        if not data:
            if says_nothing(event):
                return Progress.PING
            raise MalformedEvent("an event without data")
        if data == b"[DONE]":
            return self.done()
        try:
            value = decode(data)
        except ValueError:
            raise MalformedEvent("an event that is not JSON") from None
        if not isinstance(value, dict):
            raise MalformedEvent("an event that is not a JSON object")
        return self.judge(value)

    def done(self) -> Progress:
        """What `[DONE]` means."""
        if not self._done_ends:
            return Progress.DONE
        self.complete = True
        return Progress.TERMINAL

    def judge(self, value: dict[str, Any]) -> Progress:
        """What a decoded event means."""
        if self.failed(value):
            return Progress.ERROR
        kind = value.get("type")
        if isinstance(kind, str) and kind in _PLAIN_ENDS:
            self.complete = True
            self.usage = openai_usage(value.get("usage")) or self.usage
        return _CONTENT

    def failed(self, value: Mapping[str, Any]) -> bool:
        """Whether the event carries an error, which is then kept."""
        error = value.get("error")
        if error:
            self.error = error if isinstance(error, dict) else {"message": str(error)[:300]}
            return True
        if value.get("type") == "error":
            self.error = value
            return True
        return False


# Last events of the streams of `/audio` and `/images` (OpenAI API reference, "Audio" and "Images" streaming).
_PLAIN_ENDS: Final = frozenset(
    {"transcript.text.done", "speech.audio.done", "image_generation.completed", "image_edit.completed"}
)


# How nearly every answer stands, by whether it has ended: shared, for a dict of its own is 0.2 kB in every open stream.
_NONE: Final[dict[int, bool]] = {}
_ONE: Final[tuple[dict[int, bool], ...]] = ({0: False}, {0: True})


class ChatScanner(_Base):
    """Chat Completions and Completions. `hide_usage`: the usage chunk was asked for by the daemon alone; `choices`: how
    many answers were asked for."""

    __slots__ = ("_choices", "_hide_usage", "_wanted")

    def __init__(self, *, hide_usage: bool = False, choices: int = 1) -> None:
        super().__init__()
        self._hide_usage = hide_usage
        self._wanted = choices
        self._choices = _NONE  # those seen, and whether each has ended

    def done(self) -> Progress:
        if not self._choices:
            raise MalformedEvent("the end of an answer that never began")
        return super().done()

    def judge(self, value: dict[str, Any]) -> Progress:
        if ("error" in value or "type" in value) and self.failed(value):
            return Progress.ERROR
        usage = value.get("usage") or ("x_groq" in value and _groq_usage(value))
        if usage:
            self.usage = openai_usage(usage) or self.usage
        choices = value.get("choices")
        if not choices:
            if self._hide_usage and usage and choices == []:
                return Progress.HIDDEN
            return _LIFECYCLE
        if not isinstance(choices, list):
            raise MalformedEvent("`choices` is not a list")
        content = False
        for choice in choices:
            if isinstance(choice, dict) and self._choice(choice):
                content = True
        self.complete = len(self._choices) >= self._wanted and False not in self._choices.values()
        return _CONTENT if content else _LIFECYCLE

    def _choice(self, choice: Mapping[str, Any]) -> bool:
        index, ended = choice.get("index"), bool(choice.get("finish_reason"))
        index = _int(index) if index else 0
        if self._choices.get(index) is not ended:
            self._note(index, ended)
        if ended:
            return True
        delta = choice.get("delta") or choice.get("message")
        if not isinstance(delta, dict):
            return bool(choice.get("text"))
        for key, value in delta.items():  # noqa: SIM110 - a generator takes longer than the rest of it
            if value and key != "role":
                return True
        return False

    def _note(self, index: int, ended: bool) -> None:
        if len(self._choices) > 1:
            self._choices[index] = ended
        else:
            now = {**self._choices, index: ended}
            self._choices = _ONE[ended] if now == _ONE[ended] else now


class ResponsesScanner(_Base):
    """OpenAI Responses."""

    __slots__ = ()
    _done_ends = False
    _QUIET: Final = frozenset(
        {
            "response.created",
            "response.queued",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.reasoning_summary_part.added",
        }
    )

    def judge(self, value: dict[str, Any]) -> Progress:
        kind = value.get("type")
        number = value.get("sequence_number")
        self.sequence = number + 1 if isinstance(number, int) else self.sequence + 1
        response = value.get("response")
        if kind == "response.created" and isinstance(response, dict):
            self.begun, self.complete = response, False
        if kind in ("response.completed", "response.incomplete") and isinstance(response, dict):
            self.complete = True
            self.usage = openai_usage(response.get("usage")) or self.usage
            return Progress.TERMINAL
        if kind == "response.failed":
            error = response.get("error") if isinstance(response, dict) else None
            self.error = error if isinstance(error, dict) else value
            return Progress.ERROR
        if kind == "error" or value.get("error"):
            self.failed(value)
            return Progress.ERROR
        if not isinstance(kind, str):
            raise MalformedEvent("an event without a type")
        return _LIFECYCLE if kind in self._QUIET else _CONTENT


class MessagesScanner(_Base):
    """Anthropic Messages."""

    __slots__ = ()
    _done_ends = False

    def judge(self, value: dict[str, Any]) -> Progress:
        kind = value.get("type")
        if kind == "error" or (value.get("error") and not isinstance(kind, str)):
            error = value.get("error")
            self.error = error if isinstance(error, dict) else value
            return Progress.ERROR
        if kind == "ping":
            return Progress.PING
        if kind == "message_start":
            message = value.get("message")
            self.complete = False  # some streams hold several messages (recorded so: tool search)
            self._count(message.get("usage") if isinstance(message, dict) else None)
            return _LIFECYCLE
        if kind == "content_block_start":
            return _CONTENT if _speaks(value.get("content_block")) else _LIFECYCLE
        if kind == "message_delta":
            self._count(value.get("usage"))
            delta = value.get("delta")
            self.complete = bool(isinstance(delta, dict) and delta.get("stop_reason"))
            return _CONTENT
        if kind == "message_stop":
            self.complete = True
            return Progress.TERMINAL
        if not isinstance(kind, str):
            raise MalformedEvent("an event without a type")
        return _CONTENT

    def _count(self, usage: object) -> None:
        self.usage = anthropic_usage(usage, self.usage) or self.usage


class GeminiScanner(_Base):
    """Google's generateContent: no terminator, whole when each candidate has a finish reason."""

    __slots__ = ("_candidates",)
    _done_ends = False

    def __init__(self) -> None:
        super().__init__()
        self._candidates: dict[int, bool] = {}  # those seen, and whether each has ended

    def judge(self, value: dict[str, Any]) -> Progress:
        if self.failed(value):
            return Progress.ERROR
        self.usage = google_usage(value.get("usageMetadata")) or self.usage
        feedback = value.get("promptFeedback")
        candidates = value.get("candidates")
        if not candidates:
            blocked = isinstance(feedback, dict) and bool(feedback.get("blockReason"))
            self.complete = self.complete or blocked
            return _CONTENT if blocked else _LIFECYCLE
        if not isinstance(candidates, list):
            raise MalformedEvent("`candidates` is not a list")
        content = [self._candidate(row) for row in candidates if isinstance(row, dict)]
        self.complete = bool(self._candidates) and all(self._candidates.values())
        return _CONTENT if any(content) else _LIFECYCLE

    def _candidate(self, candidate: Mapping[str, Any]) -> bool:
        index = _int(candidate.get("index"))
        if candidate.get("finishReason"):
            self._candidates[index] = True
            return True
        self._candidates.setdefault(index, False)
        parts = _part(candidate, "content").get("parts")
        return isinstance(parts, list) and any(
            value for part in parts if isinstance(part, dict) for key, value in part.items() if key != "thought"
        )


def _speaks(block: object) -> bool:
    """Whether the start of a block says something by itself: empty text and thinking do not."""
    if not isinstance(block, dict):
        return True
    kind = block.get("type")
    return kind not in ("text", "thinking") or bool(block.get("text") or block.get("thinking"))


def scanner(operation: Operation, *, hide_usage: bool = False, choices: int = 1) -> Scanner:
    """The scanner for the streams of an operation."""
    if operation in (Operation.CHAT, Operation.COMPLETIONS):
        return ChatScanner(hide_usage=hide_usage, choices=choices)
    if operation is Operation.RESPONSES:
        return ResponsesScanner()
    if operation is Operation.MESSAGES:
        return MessagesScanner()
    if operation is Operation.GEMINI:
        return GeminiScanner()
    return _Base()


_EMPTY: Final[Mapping[str, Any]] = {}


def _int(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= EXACT else 0


def _groq_usage(value: Mapping[str, Any]) -> object:
    """Groq puts the usage of a stream into `x_groq` (recorded so, 2025)."""
    extra = value.get("x_groq")
    return extra.get("usage") if isinstance(extra, dict) else None


def _part(whole: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The first of these that is an object with something in it."""
    for name in names:
        part = whole.get(name)
        if part and isinstance(part, dict):
            return part
    return _EMPTY


def openai_usage(usage: object) -> Usage | None:
    """The `usage` object of Chat Completions, Completions, Embeddings or Responses; None where there is none."""
    if not isinstance(usage, dict):
        return None
    inputs = _part(usage, "prompt_tokens_details", "input_tokens_details")
    outputs = _part(usage, "completion_tokens_details", "output_tokens_details")
    read_in = _int(usage.get("prompt_tokens", usage.get("input_tokens")))
    written = _int(usage.get("completion_tokens", usage.get("output_tokens")))
    thought = _int(outputs.get("reasoning_tokens"))
    if thought and _int(usage.get("total_tokens")) >= read_in + written + thought:
        written += thought  # xAI counts reasoning beside the completion, as its totals show (recorded so)
    return Usage(
        input=read_in,
        output=written,
        cached_input=_int(inputs.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))),
        reasoning=thought,
    )


def google_usage(usage: object) -> Usage | None:
    """Google's `usageMetadata`; None where there is none or nothing is counted yet."""
    if not isinstance(usage, dict) or not usage.get("promptTokenCount"):
        return None
    thoughts = _int(usage.get("thoughtsTokenCount"))
    return Usage(
        input=_int(usage.get("promptTokenCount")) + _int(usage.get("toolUsePromptTokenCount")),
        output=_int(usage.get("candidatesTokenCount")) + thoughts,
        cached_input=_int(usage.get("cachedContentTokenCount")),
        reasoning=thoughts,
    )


def anthropic_usage(usage: object, before: Usage | None = None) -> Usage | None:
    """Anthropic's `usage`; what a later event leaves out stands as it was `before`."""
    if not isinstance(usage, dict):
        return None
    old = before or Usage(input_includes_cache=False)
    return Usage(
        input=_int(usage.get("input_tokens", old.input)),
        output=_int(usage.get("output_tokens", old.output)),
        cached_input=_int(usage.get("cache_read_input_tokens", old.cached_input)),
        cache_write=_int(usage.get("cache_creation_input_tokens", old.cache_write)),
        input_includes_cache=False,
    )
