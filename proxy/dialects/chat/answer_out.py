"""An answer of the hub, written in Chat Completions for a client, whole or streamed."""

from __future__ import annotations

from typing import Any, Final

from proxy.dialects import seals, sse
from proxy.dialects.aspects import Aspect, Untold
from proxy.dialects.base import DialectName, ReplyHead
from proxy.dialects.blocks import (
    Cite,
    Count,
    Finish,
    Opaque,
    ToolCall,
)
from proxy.dialects.chat.request_out import call_out
from proxy.dialects.events import (
    Answer,
    BlockCite,
    BlockDelta,
    BlockEnd,
    BlockLogprobs,
    BlockSeal,
    BlockStart,
    Counted,
    Done,
    Event,
    Failed,
    Finished,
    Kind,
    Piece,
    Started,
)
from proxy.dialects.json import encode

NAME: Final = DialectName.CHAT


UNTOLD: Final[Untold] = {
    Aspect.SEARCHES: "searches of the provider's own are told by their citations alone",
    Aspect.BUILT_IN_TOOLS: "there is no place for the work of a provider's own tools",
    Aspect.SEARCH_COUNT: "usage has no such count",
}
_FINISH_WORDS: Final = {
    Finish.STOP: "stop",
    Finish.STOP_SEQUENCE: "stop",
    Finish.LENGTH: "length",
    Finish.CONTEXT: "length",
    Finish.TOOL_CALLS: "tool_calls",
    Finish.CONTENT_FILTER: "content_filter",
    Finish.REFUSAL: "content_filter",
    Finish.PAUSE: "stop",
    Finish.OTHER: "stop",
}


def usage_of(count: Count) -> dict[str, Any]:
    """The `usage` object that says this count."""
    inputs = {"cached_tokens": count.cached, "audio_tokens": count.audio_input}
    if count.cache_write:
        inputs["cache_write_tokens"] = count.cache_write
    return {
        "prompt_tokens": count.input,
        "completion_tokens": count.output,
        "total_tokens": count.input + count.output,
        "prompt_tokens_details": inputs,
        "completion_tokens_details": {"reasoning_tokens": count.reasoning, "audio_tokens": count.audio_output},
    }


def write_answer(answer: Answer, head: ReplyHead) -> dict[str, Any]:
    """See `Dialect`."""
    choices = []
    for at in sorted({*answer.finishes, *(piece.choice for piece in answer.pieces)} or {0}):
        pieces = [piece for piece in answer.pieces if piece.choice == at]
        finish = answer.finishes.get(at)
        tokens = [token for piece in pieces for token in piece.logprobs]
        choices.append(
            {
                "index": at,
                "message": _message(pieces),
                "logprobs": {"content": tokens, "refusal": None} if tokens else None,
                "finish_reason": _FINISH_WORDS[finish.reason] if finish else "stop",
            }
        )
    body: dict[str, Any] = {
        "id": answer.id or f"chatcmpl-{head.id}",
        "object": "chat.completion",
        "created": answer.created or head.created,
        "model": answer.model or head.model,
        "choices": choices,
    }
    if answer.count is not None:
        body["usage"] = usage_of(answer.count)
    return body


def _message(pieces: list[Piece]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    texts = [piece for piece in pieces if piece.kind is Kind.TEXT]
    if texts:
        message["content"] = "".join(piece.text for piece in texts)
    cites = [_cite_out(cite) for piece in texts for cite in piece.cites]
    if cites:
        message["annotations"] = cites
    refusals = [piece.text for piece in pieces if piece.kind is Kind.REFUSAL]
    if refusals:
        message["refusal"] = "".join(refusals)
    calls = [_called(piece) for piece in pieces if piece.kind in (Kind.TOOL_CALL, Kind.CUSTOM_CALL)]
    if calls:
        message["tool_calls"] = calls
    thoughts = [piece for piece in pieces if piece.kind in (Kind.REASONING, Kind.SUMMARY)]
    if any(piece.text for piece in thoughts):
        message["reasoning_content"] = "".join(piece.text for piece in thoughts)
    if any(piece.seal for piece in thoughts):
        message["reasoning_details"] = [_detail_out(piece.kind, piece.text, piece.seal) for piece in thoughts]
    for piece in pieces:
        if piece.kind is Kind.AUDIO and piece.raw is not None:
            message["audio"] = {**piece.raw.data, "data": piece.text}
    return message


def _called(piece: Piece) -> dict[str, Any]:
    return call_out(ToolCall(piece.id, piece.name, piece.text, piece.kind is Kind.CUSTOM_CALL))


def _detail_out(kind: Kind, text: str, seal: Opaque | None) -> dict[str, Any]:
    """Thinking with what holds it, in OpenRouter's form: clients that keep it hand it back unaltered."""
    if seal is not None and seal.dialect == NAME and isinstance(seal.data, dict):
        return dict(seal.data)
    if kind is Kind.SUMMARY and seal is None:
        return {"type": "reasoning.summary", "summary": text}
    if seal is None:
        return {"type": "reasoning.text", "text": text}
    if text:
        return {"type": "reasoning.text", "text": text, "signature": seals.wrap(seal, NAME)}
    return {"type": "reasoning.encrypted", "data": seals.wrap(seal, NAME)}


def _cite_out(cite: Cite) -> dict[str, Any]:
    spot = {"start_index": cite.start or 0, "end_index": cite.end or 0, "title": cite.title, "url": cite.url}
    return {"type": "url_citation", "url_citation": spot}


class ChatRenderer:
    """See `Renderer`."""

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._base: dict[str, Any] = {}
        self._blocks: dict[int, tuple[Kind, int, int]] = {}  # index -> kind, choice, number of the call
        self._thought: set[int] = set()  # blocks of thinking with a text
        self._calls: dict[int, int] = {}
        self._numbers: dict[tuple[str, int], int] = {}  # of the next entry of a list
        self._greeted: set[int] = set()
        self._count: Count | None = None

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
            case Started():
                self._base = {
                    "id": event.id or f"chatcmpl-{self._head.id}",
                    "object": "chat.completion.chunk",
                    "created": event.created or self._head.created,
                    "model": event.model or self._head.model,
                }
                return b""
            case BlockSeal() | BlockCite() | BlockLogprobs():
                return self._beside(event)
            case Counted():
                self._count = event.count
            case Finished():
                return self._greet(event.choice) + self._say(event.choice, {}, _FINISH_WORDS[event.reason])
            case Done():
                return self._end()
            case BlockEnd() | Failed():
                pass
        return b""

    def _beside(self, event: BlockSeal | BlockCite | BlockLogprobs) -> bytes:
        """What belongs to a block and is not its text."""
        if isinstance(event, BlockSeal):
            return self._seal(event)
        choice = self._blocks[event.index][1]
        if isinstance(event, BlockCite):
            return self._say(choice, {"annotations": [self._numbered("annotations", choice, _cite_out(event.cite))]})
        return self._say(choice, {}, logprobs={"content": list(event.tokens), "refusal": None})

    def _say(self, choice: int, delta: dict[str, Any], finish: str | None = None, logprobs: Any = None) -> bytes:
        said = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return sse.frame(encode({**self._base, "choices": [said]}))

    def _numbered(self, name: str, choice: int, entry: dict[str, Any]) -> dict[str, Any]:
        """An entry of a list that comes piece by piece: OpenAI's SDK refuses to add up entries without `index`."""
        n = self._numbers.get((name, choice), 0)
        self._numbers[name, choice] = n + 1
        return {"index": n, **entry}

    def _greet(self, choice: int) -> bytes:
        if choice in self._greeted:
            return b""
        self._greeted.add(choice)
        return self._say(choice, {"role": "assistant", "content": ""})

    def _start(self, event: BlockStart) -> bytes:
        choice = event.choice
        out = self._greet(choice)
        number = 0
        if event.kind in (Kind.TOOL_CALL, Kind.CUSTOM_CALL):
            number = self._calls.get(choice, 0)
            self._calls[choice] = number + 1
            form, key = ("custom", "input") if event.kind is Kind.CUSTOM_CALL else ("function", "arguments")
            call = {"index": number, "id": event.id, "type": form, form: {"name": event.name, key: ""}}
            out += self._say(choice, {"tool_calls": [call]})
        elif event.kind is Kind.AUDIO and event.raw is not None:
            out += self._say(choice, {"audio": event.raw.data})
        self._blocks[event.index] = (event.kind, choice, number)
        return out

    def _delta(self, event: BlockDelta) -> bytes:
        kind, choice, number = self._blocks[event.index]
        match kind:
            case Kind.TEXT:
                return self._say(choice, {"content": event.text})
            case Kind.REASONING | Kind.SUMMARY:
                self._thought.add(event.index)
                return self._say(choice, {"reasoning_content": event.text})
            case Kind.REFUSAL:
                return self._say(choice, {"refusal": event.text})
            case Kind.TOOL_CALL:
                return self._say(choice, {"tool_calls": [{"index": number, "function": {"arguments": event.text}}]})
            case Kind.CUSTOM_CALL:
                return self._say(choice, {"tool_calls": [{"index": number, "custom": {"input": event.text}}]})
            case Kind.AUDIO:
                return self._say(choice, {"audio": {"data": event.text}})
            case _:
                return b""

    def _seal(self, event: BlockSeal) -> bytes:
        kind, choice, _ = self._blocks[event.index]
        if kind not in (Kind.REASONING, Kind.SUMMARY):
            return b""
        detail = _detail_out(kind, "?" if event.index in self._thought else "", event.seal)
        for said in ("text", "summary"):  # that went out already
            detail.pop(said, None)
        return self._say(choice, {"reasoning_details": [self._numbered("reasoning_details", choice, detail)]})

    def _end(self) -> bytes:
        usage = b""
        if self._count is not None and self._head.include_usage:
            usage = sse.frame(encode({**self._base, "choices": [], "usage": usage_of(self._count)}))
        return usage + b"data: [DONE]\n\n"
