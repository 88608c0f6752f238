"""An answer of the hub, written in Converse, whole or streamed."""

from __future__ import annotations

from typing import Any, Final

from proxy.dialects.aspects import Aspect, Untold
from proxy.dialects.aws_events import frame
from proxy.dialects.base import ReplyHead
from proxy.dialects.blocks import Count, Finish, Opaque, Reasoning
from proxy.dialects.converse.parts import NAME, cite_for, cited_for, thinking_for
from proxy.dialects.events import (
    Answer,
    BlockCite,
    BlockDelta,
    BlockEnd,
    BlockSeal,
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
    Aspect.LOGPROBS: "there are no log probabilities",
    Aspect.CHOICES: "there is one answer to a question",
    Aspect.AUDIO: "answers have no sound",
    Aspect.SEARCHES: "there is no place for the work of another provider's own tools",
    Aspect.BUILT_IN_TOOLS: "there is no place for the work of another provider's own tools",
    Aspect.REASONING_TOKENS: "usage does not tell thinking apart",
    Aspect.AUDIO_TOKENS: "usage does not tell sound apart",
    Aspect.SEARCH_COUNT: "usage has no such count",
}
_FINISH_WORDS: Final = {
    Finish.STOP: "end_turn",
    Finish.STOP_SEQUENCE: "stop_sequence",
    Finish.LENGTH: "max_tokens",
    Finish.CONTEXT: "model_context_window_exceeded",
    Finish.TOOL_CALLS: "tool_use",
    Finish.CONTENT_FILTER: "content_filtered",
    Finish.REFUSAL: "content_filtered",
    Finish.PAUSE: "end_turn",
    Finish.OTHER: "end_turn",
}
_TEXTS: Final = (Kind.TEXT, Kind.REFUSAL)
_THOUGHTS: Final = (Kind.REASONING, Kind.SUMMARY)


def usage_of(count: Count) -> dict[str, Any]:
    """The `usage` that says this count."""
    usage: dict[str, Any] = {
        "inputTokens": max(0, count.input - count.cached - count.cache_write),
        "outputTokens": count.output,
        "totalTokens": count.input + count.output,
    }
    if count.cached or count.cache_write:
        usage |= {"cacheReadInputTokens": count.cached, "cacheWriteInputTokens": count.cache_write}
    if count.cache_write_1h:
        usage["cacheDetails"] = [{"ttl": "1h", "inputTokens": count.cache_write_1h}]
    return usage


def _stop(finish: Finished | None) -> dict[str, Any]:
    said: dict[str, Any] = {"stopReason": _FINISH_WORDS[finish.reason] if finish else "end_turn"}
    if finish is not None and finish.sequence:
        said["additionalModelResponseFields"] = {"stop_sequence": finish.sequence}
    return said


def write_answer(answer: Answer, _head: ReplyHead) -> dict[str, Any]:
    """See `Dialect`. There is one choice."""
    content = [e for p in answer.pieces if p.choice == 0 and (e := _entry(p)) is not None]
    body = {"output": {"message": {"role": "assistant", "content": content}}, **_stop(answer.finishes.get(0))}
    return {**body, **_metadata(answer.count)}


def _metadata(count: Count | None) -> dict[str, Any]:
    return {**({} if count is None else {"usage": usage_of(count)}), "metrics": {"latencyMs": 0}}


def _entry(piece: Piece) -> dict[str, Any] | None:
    match piece.kind:
        case Kind.TEXT | Kind.REFUSAL:
            return cited_for(piece.text, piece.cites) if piece.cites else {"text": piece.text}
        case Kind.REASONING | Kind.SUMMARY:
            return thinking_for(Reasoning(piece.text, piece.seal))
        case Kind.TOOL_CALL | Kind.CUSTOM_CALL:
            given = decode_object(piece.text.encode("utf-8", "surrogatepass") or b"{}")
            if given is None or piece.kind is Kind.CUSTOM_CALL:
                given = {"input": piece.text}
            return {"toolUse": {"toolUseId": piece.id, "name": piece.name, "input": given}}
        case Kind.IMAGE:
            return {"image": {"format": _form(piece), "source": {"bytes": piece.text}}}
        case Kind.SERVER_CALL if piece.raw is not None and piece.raw.dialect == NAME:
            given = decode_object(piece.text.encode("utf-8", "surrogatepass") or b"{}") or {}
            return {"toolUse": {**piece.raw.data["toolUse"], "input": given}}
        case Kind.FOREIGN if piece.raw is not None and piece.raw.dialect == NAME:
            return dict(piece.raw.data)
        case _:
            return None


def _form(piece: Piece) -> str:
    return piece.media_type.partition("/")[2]


class ConverseRenderer:
    """See `Renderer`."""

    def __init__(self, _head: ReplyHead) -> None:
        self._open: dict[int, tuple[int, Kind]] = {}
        self._custom: dict[int, list[str]] = {}  # of what goes out whole
        self._drawn: dict[int, Piece] = {}  # pictures: each goes out whole
        self._blocks = 0
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
            case BlockSeal() | BlockCite() | BlockEnd():
                return self._beside(event)
            case Started():
                return _said("messageStart", {"role": "assistant"})
            case Counted():
                self._count = event.count
            case Finished(choice=0):
                self._finish = event
            case Done():
                return _said("messageStop", _stop(self._finish)) + _said("metadata", _metadata(self._count))
            case _:
                pass
        return b""

    def _start(self, event: BlockStart) -> bytes:
        start: dict[str, Any] = {}
        delta: dict[str, Any] = {}
        raw = event.raw if event.raw is not None and event.raw.dialect == NAME else None
        if event.choice or (event.kind in (Kind.SERVER_CALL, Kind.FOREIGN) and raw is None) or event.kind is Kind.AUDIO:
            return b""
        if event.kind in (Kind.TOOL_CALL, Kind.CUSTOM_CALL):
            start = {"toolUse": {"toolUseId": event.id, "name": event.name}}
        elif raw is not None:
            start, delta = _begun(raw)
            if not start:
                return b""
        at = self._blocks
        self._blocks += 1
        self._open[event.index] = (at, event.kind)
        if event.kind is Kind.IMAGE:
            self._drawn[event.index] = Piece(event.kind, media=event.media)
        out = _said("contentBlockStart", {"contentBlockIndex": at, "start": start}) if start else b""
        return out + _said("contentBlockDelta", {"contentBlockIndex": at, "delta": delta}) if delta else out

    def _delta(self, event: BlockDelta) -> bytes:
        found = self._open.get(event.index)
        if found is None:
            return b""
        at, kind = found
        if kind in (Kind.CUSTOM_CALL, Kind.IMAGE):
            self._custom.setdefault(event.index, []).append(event.text)
            return b""
        if kind in _TEXTS:
            delta: dict[str, Any] = {"text": event.text}
        elif kind in _THOUGHTS:
            delta = {"reasoningContent": {"text": event.text}}
        else:
            delta = {"toolUse": {"input": event.text}}
        return _said("contentBlockDelta", {"contentBlockIndex": at, "delta": delta})

    def _beside(self, event: BlockSeal | BlockCite | BlockEnd) -> bytes:
        found = self._open.get(event.index)
        if found is None:
            return b""
        at, kind = found
        if isinstance(event, BlockEnd):
            del self._open[event.index]
            texts = self._custom.pop(event.index, None)
            if kind is Kind.IMAGE:
                return self._picture(at, self._drawn.pop(event.index), texts or [])
            given = {"toolUse": {"input": encode({"input": "".join(texts or ())}).decode()}}
            out = b"" if texts is None else _said("contentBlockDelta", {"contentBlockIndex": at, "delta": given})
            return out + _said("contentBlockStop", {"contentBlockIndex": at})
        if isinstance(event, BlockCite):
            return _said("contentBlockDelta", {"contentBlockIndex": at, "delta": {"citation": cite_for(event.cite)}})
        if kind not in _THOUGHTS:
            return b""
        said = thinking_for(Reasoning("", event.seal))["reasoningContent"]
        delta = {"signature": said["reasoningText"]["signature"]} if "reasoningText" in said else said
        return _said("contentBlockDelta", {"contentBlockIndex": at, "delta": {"reasoningContent": delta}})

    def _picture(self, at: int, piece: Piece, texts: list[str]) -> bytes:
        piece.text = "".join(texts)
        start = {"contentBlockIndex": at, "start": {"image": {"format": _form(piece)}}}
        delta = {"contentBlockIndex": at, "delta": {"image": {"source": {"bytes": piece.text}}}}
        out = _said("contentBlockStart", start) + _said("contentBlockDelta", delta)
        return out + _said("contentBlockStop", {"contentBlockIndex": at})


def _said(kind: str, value: dict[str, Any]) -> bytes:
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return frame(encode(value), headers)


def _begun(raw: Opaque) -> tuple[dict[str, Any], dict[str, Any]]:
    """How a stream begins a block of the provider's own, and what it says next; nothing where it has no word."""
    for kind, inner in (("toolUse", "input"), ("toolResult", "content"), ("image", "source")):
        if isinstance(raw.data.get(kind), dict):
            given = dict(raw.data[kind])
            rest = given.pop(inner, None)
            delta = {"toolResult": rest, "image": {"source": rest}}.get(kind) if rest else None
            return {kind: given}, {} if delta is None else {kind: delta}
    return {}, {}
