"""An answer of the hub, written in Cohere's Chat, whole or streamed."""

from __future__ import annotations

from typing import Any, Final

from proxy.dialects import sse
from proxy.dialects.aspects import Aspect, Untold
from proxy.dialects.base import ReplyHead
from proxy.dialects.blocks import Count, Finish, Opaque
from proxy.dialects.cohere_chat.cites import rows_for
from proxy.dialects.events import (
    Answer,
    BlockCite,
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
from proxy.dialects.json import encode

UNTOLD: Final[Untold] = {
    Aspect.LOGPROBS: "tokens are told by their numbers",
    Aspect.CHOICES: "there is one answer to a question",
    Aspect.AUDIO: "answers have no sound",
    Aspect.IMAGES: "answers have no pictures",
    Aspect.SEARCHES: "there is no place for the work of another provider's own tools",
    Aspect.BUILT_IN_TOOLS: "there is no place for the work of another provider's own tools",
    Aspect.CACHE_WRITES: "usage has no such count",
    Aspect.REASONING_TOKENS: "usage does not tell thinking apart",
    Aspect.AUDIO_TOKENS: "usage does not tell sound apart",
    Aspect.SEARCH_COUNT: "usage has no such count",
}
_FINISH_WORDS: Final = {
    Finish.STOP_SEQUENCE: "STOP_SEQUENCE",
    Finish.LENGTH: "MAX_TOKENS",
    Finish.CONTEXT: "MAX_TOKENS",
    Finish.TOOL_CALLS: "TOOL_CALL",
}
_CALLS: Final = (Kind.TOOL_CALL, Kind.CUSTOM_CALL)


def usage_of(count: Count) -> dict[str, Any]:
    """The `usage` that says this count."""
    tokens = {"input_tokens": count.input, "output_tokens": count.output}
    units = {"billed_units": {"search_units": count.searches}} if count.searches else {}
    return {**units, "tokens": tokens, "cached_tokens": count.cached}


def _ending(finish: Finished | None, count: Count | None) -> dict[str, Any]:
    said: dict[str, Any] = {"finish_reason": _FINISH_WORDS.get(finish.reason, "COMPLETE") if finish else "COMPLETE"}
    return said if count is None else {**said, "usage": usage_of(count)}


def write_answer(answer: Answer, head: ReplyHead) -> dict[str, Any]:
    """See `Dialect`. There is one choice."""
    message: dict[str, Any] = {"role": "assistant"}
    pieces = [piece for piece in answer.pieces if piece.choice == 0]
    calls = [call_of(piece) for piece in pieces if piece.kind in _CALLS]
    content = []
    for piece in pieces:
        if piece.kind in (Kind.TEXT, Kind.REFUSAL):
            content.append({"type": "text", "text": piece.text})
        elif piece.kind is Kind.SUMMARY and calls:
            message["tool_plan"] = message.get("tool_plan", "") + piece.text
        elif piece.kind in (Kind.REASONING, Kind.SUMMARY) and piece.text:
            content.append({"type": "thinking", "thinking": piece.text})
    if content:
        message["content"] = content
    if calls:
        message["tool_calls"] = calls
    cites = rows_for(cite for piece in pieces for cite in piece.cites)
    if cites:
        message["citations"] = cites
    body = {"id": answer.id or head.id, "message": message, **_ending(answer.finishes.get(0), answer.count)}
    tokens = [_logprob(token) for piece in pieces for token in piece.logprobs]
    return {**body, "logprobs": tokens} if tokens else body


def _logprob(token: Any) -> dict[str, Any]:
    """How probable a piece of text was; the numbers of tokens are the model's own, and not known."""
    return {"text": token.get("token", ""), "token_ids": [], "logprobs": [token.get("logprob", 0.0)]}


def call_of(piece: Piece) -> dict[str, Any]:
    """One entry of `tool_calls`."""
    text = encode({"input": piece.text}).decode() if piece.kind is Kind.CUSTOM_CALL else piece.text
    return {"id": piece.id, "type": "function", "function": {"name": piece.name, "arguments": text}}


class CohereRenderer:
    """See `Renderer`."""

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._open: dict[int, tuple[int, Kind]] = {}
        self._custom: dict[int, list[str]] = {}
        self._blocks = 0
        self._calls = 0
        self._cites = 0
        self._last: Opaque | None = None  # the citation that was said last
        self._count: Count | None = None
        self._finish: Finished | None = None

    @property
    def begun(self) -> tuple[dict[str, Any] | None, int]:
        """See `Renderer`."""
        return None, 0

    def event(self, event: Event) -> bytes:
        """See `Renderer`."""
        match event:
            case BlockDelta():
                return self._delta(event)
            case BlockStart():
                return self._start(event)
            case BlockEnd():
                return self._end(event.index)
            case BlockCite() if event.index in self._open:
                return self._cite(event)
            case BlockLogprobs() if event.index in self._open:
                content = {"delta": {"message": {"content": {"text": ""}}}, "index": self._open[event.index][0]}
                said = [{"type": "content-delta", **content, "logprobs": _logprob(token)} for token in event.tokens]
                return b"".join(_frame(value) for value in said)
            case Started():
                return _frame({"type": "message-start", "id": event.id or self._head.id, "delta": {"message": _EMPTY}})
            case Counted():
                self._count = event.count
            case Finished(choice=0):
                self._finish = event
            case Done():
                return _frame({"type": "message-end", "delta": _ending(self._finish, self._count)})
            case _:
                pass
        return b""

    def _cite(self, event: BlockCite) -> bytes:
        out = b""
        for row in rows_for([event.cite], self._last):
            out += _said("citation-start", self._cites, {"citations": row}) + _said("citation-end", self._cites)
            self._cites += 1
        self._last = event.cite.raw
        return out

    def _start(self, event: BlockStart) -> bytes:
        if event.choice or event.kind in (Kind.AUDIO, Kind.IMAGE, Kind.FOREIGN, Kind.SERVER_CALL):
            return b""
        called = event.kind in _CALLS  # calls are counted by themselves
        at = self._calls if called else self._blocks
        self._calls += called
        self._blocks += not called and event.kind is not Kind.SUMMARY
        self._open[event.index] = (at, event.kind)
        if event.kind in _CALLS:
            function = {"name": event.name, "arguments": ""}
            call = {"id": event.id, "type": "function", "function": function}
            return _said("tool-call-start", at, {"tool_calls": call})
        if event.kind is Kind.SUMMARY:
            return b""
        name = "thinking" if event.kind is Kind.REASONING else "text"
        return _said("content-start", at, {"content": {"type": name, name: ""}})

    def _delta(self, event: BlockDelta) -> bytes:
        found = self._open.get(event.index)
        if found is None:
            return b""
        at, kind = found
        if kind is Kind.CUSTOM_CALL:
            self._custom.setdefault(event.index, []).append(event.text)
            return b""
        if kind is Kind.TOOL_CALL:
            return _said("tool-call-delta", at, {"tool_calls": {"function": {"arguments": event.text}}})
        if kind is Kind.SUMMARY:
            return _frame({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": event.text}}})
        return _said("content-delta", at, {"content": {"thinking" if kind is Kind.REASONING else "text": event.text}})

    def _end(self, index: int) -> bytes:
        at, kind = self._open.pop(index, (0, Kind.FOREIGN))
        texts = self._custom.pop(index, None)
        out = b""
        if texts is not None:
            given = encode({"input": "".join(texts)}).decode()
            out = _said("tool-call-delta", at, {"tool_calls": {"function": {"arguments": given}}})
        if kind in _CALLS:
            return out + _said("tool-call-end", at)
        return _said("content-end", at) if kind in (Kind.TEXT, Kind.REFUSAL, Kind.REASONING) else b""


_EMPTY: Final = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}


def _said(kind: str, at: int, message: dict[str, Any] | None = None) -> bytes:
    value: dict[str, Any] = {"type": kind, "index": at}
    return _frame(value if message is None else {**value, "delta": {"message": message}})


def _frame(value: dict[str, Any]) -> bytes:
    return sse.frame(encode(value), value["type"])
