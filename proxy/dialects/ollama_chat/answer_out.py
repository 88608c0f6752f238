"""An answer of the hub, written in Ollama's chat, whole or as lines of JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from proxy.dialects.aspects import Aspect, Untold
from proxy.dialects.base import ReplyHead
from proxy.dialects.blocks import Count, Finish
from proxy.dialects.events import (
    Answer,
    BlockDelta,
    BlockEnd,
    BlockLogprobs,
    BlockStart,
    Counted,
    Done,
    Event,
    Finished,
    Kind,
    Piece,
    Started,
)
from proxy.dialects.json import decode_object, encode

UNTOLD: Final[Untold] = {
    Aspect.CITATIONS: "texts have no sources",
    Aspect.DOCUMENT_CITATIONS: "texts have no sources",
    Aspect.CHOICES: "there is one answer to a question",
    Aspect.AUDIO: "answers have no sound",
    Aspect.SEARCHES: "there is no place for the work of another provider's own tools",
    Aspect.BUILT_IN_TOOLS: "there is no place for the work of another provider's own tools",
    Aspect.CACHE_WRITES: "usage has no such count",
    Aspect.REASONING_TOKENS: "usage does not tell thinking apart",
    Aspect.AUDIO_TOKENS: "usage does not tell sound apart",
    Aspect.SEARCH_COUNT: "usage has no such count",
}
_CALLS: Final = (Kind.TOOL_CALL, Kind.CUSTOM_CALL)
_THOUGHTS: Final = (Kind.REASONING, Kind.SUMMARY)
_LENGTHS: Final = (Finish.LENGTH, Finish.CONTEXT)


def _frame(model: str, created: int, head: ReplyHead) -> dict[str, Any]:
    when = datetime.fromtimestamp(min(created or head.created, 253_402_300_799), UTC)
    return {"model": model or head.model, "created_at": when.strftime("%Y-%m-%dT%H:%M:%SZ")}


def _ending(finish: Finished | None, count: Count | None) -> dict[str, Any]:
    said: dict[str, Any] = {"done": True, "done_reason": "stop"}
    if finish is not None and finish.reason in _LENGTHS:
        said["done_reason"] = "length"
    return said if count is None else {**said, "prompt_eval_count": count.input, "eval_count": count.output}


def write_answer(answer: Answer, head: ReplyHead) -> dict[str, Any]:
    """See `Dialect`. There is one choice."""
    pieces = [piece for piece in answer.pieces if piece.choice == 0]
    message: dict[str, Any] = {"role": "assistant"}
    message["content"] = "".join(p.text for p in pieces if p.kind in (Kind.TEXT, Kind.REFUSAL))
    thoughts = "".join(piece.text for piece in pieces if piece.kind in _THOUGHTS)
    if thoughts:
        message["thinking"] = thoughts
    calls = [call_of(piece) for piece in pieces if piece.kind in _CALLS]
    if calls:
        message["tool_calls"] = calls
    images = [piece.text for piece in pieces if piece.kind is Kind.IMAGE]
    if images:
        message["images"] = images
    body = {**_frame(answer.model, answer.created, head), "message": message}
    tokens = [token for piece in pieces for token in piece.logprobs]
    if tokens:
        body["logprobs"] = tokens
    return {**body, **_ending(answer.finishes.get(0), answer.count)}


def call_of(piece: Piece) -> dict[str, Any]:
    """One entry of `tool_calls`."""
    given = decode_object(piece.text.encode("utf-8", "surrogatepass") or b"{}")
    if given is None or piece.kind is Kind.CUSTOM_CALL:
        given = {"input": piece.text}
    return {"id": piece.id, "function": {"name": piece.name, "arguments": given}}


class OllamaRenderer:
    """See `Renderer`."""

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._base = _frame("", 0, head)
        self._open: dict[int, Piece] = {}
        self._texts: dict[int, list[str]] = {}  # of what goes out whole
        self._count: Count | None = None
        self._finish: Finished | None = None

    @property
    def begun(self) -> tuple[dict[str, Any] | None, int]:
        """See `Renderer`."""
        return None, 0

    def event(self, event: Event) -> bytes:
        """See `Renderer`."""
        match event:
            case BlockDelta() if event.index in self._open:
                return self._delta(event)
            case BlockStart(choice=0):
                self._open[event.index] = Piece(event.kind, event.id, event.name)
            case BlockEnd() if event.index in self._open:
                piece = self._open.pop(event.index)
                piece.text = "".join(self._texts.pop(event.index, ()))
                return self._whole(piece)
            case BlockLogprobs() if event.index in self._open:
                return self._say({}, logprobs=list(event.tokens))
            case Started():
                self._base = _frame(event.model, event.created, self._head)
            case Counted():
                self._count = event.count
            case Finished(choice=0):
                self._finish = event
            case Done():
                return self._say({}, **_ending(self._finish, self._count))
            case _:
                pass
        return b""

    def _whole(self, piece: Piece) -> bytes:
        if piece.kind in _CALLS:
            return self._say({"tool_calls": [call_of(piece)]})
        return self._say({"images": [piece.text]}) if piece.kind is Kind.IMAGE else b""

    def _delta(self, event: BlockDelta) -> bytes:
        piece = self._open[event.index]
        if piece.kind in (Kind.TEXT, Kind.REFUSAL):
            return self._say({"content": event.text})
        if piece.kind in _THOUGHTS:
            return self._say({"thinking": event.text})
        self._texts.setdefault(event.index, []).append(event.text)
        return b""

    def _say(self, message: dict[str, Any], **fields: Any) -> bytes:
        said = {"role": "assistant", "content": "", **message}
        return encode({**self._base, "message": said, "done": False, **fields}) + b"\n"
