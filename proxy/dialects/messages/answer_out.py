"""An answer of the hub, written in Anthropic Messages for a client, whole or streamed."""

from __future__ import annotations

from typing import Any, Final

from proxy.dialects import seals, sse
from proxy.dialects.aspects import Aspect, Untold
from proxy.dialects.base import DialectName, ReplyHead
from proxy.dialects.blocks import Cite, Count, Finish, Opaque
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

NAME: Final = DialectName.MESSAGES
UNTOLD: Final[Untold] = {
    Aspect.DOCUMENT_CITATIONS: "a citation says where in which document of the question, which others do not tell",
    Aspect.LOGPROBS: "there are no log probabilities",
    Aspect.CHOICES: "there is one answer to a question",
    Aspect.AUDIO: "answers have no sound",
    Aspect.IMAGES: "answers have no pictures",
    Aspect.SEARCHES: "a search of another provider's is told by its citations alone",
    Aspect.BUILT_IN_TOOLS: "there is no place for the work of another provider's own tools",
    Aspect.AUDIO_TOKENS: "usage does not tell sound apart",
}
_FINISH_WORDS: Final = {
    Finish.STOP: "end_turn",
    Finish.STOP_SEQUENCE: "stop_sequence",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
    Finish.CONTENT_FILTER: "refusal",
    Finish.REFUSAL: "refusal",
    Finish.PAUSE: "pause_turn",
    Finish.CONTEXT: "model_context_window_exceeded",
    Finish.OTHER: "end_turn",
}


def usage_of(count: Count) -> dict[str, Any]:
    """The `usage` object that says this count: what was read from or written to a cache stands beside the input."""
    usage: dict[str, Any] = {
        "input_tokens": max(0, count.input - count.cached - count.cache_write),
        "output_tokens": count.output,
        "cache_read_input_tokens": count.cached,
        "cache_creation_input_tokens": count.cache_write,
    }
    if count.cache_write:
        short = count.cache_write - count.cache_write_1h
        usage["cache_creation"] = {
            "ephemeral_5m_input_tokens": short,
            "ephemeral_1h_input_tokens": count.cache_write_1h,
        }
    if count.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": count.reasoning}
    if count.searches:
        usage["server_tool_use"] = {"web_search_requests": count.searches, "web_fetch_requests": 0}
    if count.tier:
        usage["service_tier"] = count.tier
    return usage


def write_answer(answer: Answer, head: ReplyHead) -> dict[str, Any]:
    """See `Dialect`. Of several choices the first is taken; nobody can ask for more here."""
    finish = answer.finishes.get(0)
    pieces = [piece for piece in answer.pieces if piece.choice == 0]
    return {
        "id": answer.id or f"msg_{head.id}",
        "type": "message",
        "role": "assistant",
        "model": _model(answer.model, head),
        "content": [entry for piece in pieces if (entry := _entry(piece)) is not None],
        **_ending(finish),
        "usage": usage_of(answer.count or Count()),
    }


def _ending(finish: Finished | None) -> dict[str, Any]:
    """Why it ended, and of a refusal what is said about it."""
    if finish is None:
        return {"stop_reason": "end_turn", "stop_sequence": None}
    said: dict[str, Any] = {"stop_reason": _FINISH_WORDS[finish.reason], "stop_sequence": finish.sequence}
    if finish.details is not None and finish.details.dialect == NAME:
        said["stop_details"] = dict(finish.details.data)
    elif finish.note and said["stop_reason"] == "refusal":
        said["stop_details"] = {"type": "refusal", "category": None, "explanation": finish.note}
    return said


def _model(answered: str, head: ReplyHead) -> str:
    """The name under which the client asked: where another one answers, Claude Code leaves the thinking out of its
    next request (seen in 2.1.197), and with it every seal. Who did answer is said by `x-redeo-model`."""
    return head.request.model or answered or head.model


def _entry(piece: Piece) -> dict[str, Any] | None:
    """One content block; None for what has no place here."""
    entry = _opening(piece.kind, piece.id, piece.name, piece.raw)
    if entry is None:
        return None
    match piece.kind:
        case Kind.TEXT | Kind.REFUSAL:
            entry["text"] = piece.text
            cites = [row for cite in piece.cites if (row := cite_out(cite)) is not None]
            entry |= {"citations": cites} if cites else {}
        case Kind.REASONING | Kind.SUMMARY:
            return _thinking(piece)
        case Kind.TOOL_CALL | Kind.SERVER_CALL:
            given = decode_object(piece.text.encode("utf-8", "surrogatepass") or b"{}")
            entry["input"] = {"input": piece.text} if given is None else given
        case Kind.CUSTOM_CALL:
            entry["input"] = {"input": piece.text}
        case Kind.FOREIGN if piece.text:
            entry["content"] = piece.text  # of a compaction
        case _:
            pass
    return entry


def _opening(kind: Kind, ident: str, name: str, raw: Opaque | None) -> dict[str, Any] | None:
    """A content block as it begins."""
    match kind:
        case Kind.TEXT | Kind.REFUSAL:
            return {"type": "text", "text": ""}
        case Kind.REASONING | Kind.SUMMARY:
            return {"type": "thinking", "thinking": "", "signature": ""}
        case Kind.TOOL_CALL | Kind.CUSTOM_CALL:
            return {"type": "tool_use", "id": ident, "name": name, "input": {}}
        case Kind.SERVER_CALL | Kind.FOREIGN:
            return dict(raw.data) if raw is not None and raw.dialect == NAME else None
        case _:
            return None


def _thinking(piece: Piece) -> dict[str, Any]:
    sealed = "" if piece.seal is None else seals.wrap(piece.seal, NAME)
    if sealed and not piece.text and (piece.seal is None or piece.seal.kind != "thinking"):
        return {"type": "redacted_thinking", "data": sealed}
    return {"type": "thinking", "thinking": piece.text, "signature": sealed}


def cite_out(cite: Cite) -> dict[str, Any] | None:
    """One citation, as its maker wrote it where that was this dialect; None for one of a document: `char_location` and
    its kin count the documents of the question and the signs within."""
    if cite.raw is not None and cite.raw.dialect == NAME:
        return dict(cite.raw.data)
    if not cite.url:
        return None
    return {
        "type": "web_search_result_location",
        "url": cite.url,
        "title": cite.title,
        "cited_text": cite.quote,
        "encrypted_index": "",
    }


class MessagesRenderer:
    """See `Renderer`. A block is begun when something of it is known, so that redacted thinking can be told apart."""

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._open: dict[int, tuple[int, Kind]] = {}  # index of the event -> index here, and kind
        self._held: dict[int, BlockStart] = {}  # thinking that has not said anything yet
        self._sealed: dict[int, Opaque] = {}
        self._free: dict[int, list[str]] = {}  # what a free-form call says, which has to become JSON first
        self._blocks = 0
        self._count = Count()
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
            case BlockSeal():
                self._sealed[event.index] = event.seal
            case BlockCite():
                row = cite_out(event.cite)
                said = {"type": "citations_delta", "citation": row}
                return b"" if row is None else self._said(event.index, said)
            case Started():
                return self._greet(event)
            case Counted():
                self._count = event.count
            case Finished():
                self._finish = event if event.choice == 0 else self._finish
            case Done():
                return self._close()
            case _:
                pass
        return b""

    def _greet(self, event: Started) -> bytes:
        message: dict[str, Any] = {
            "id": event.id or f"msg_{self._head.id}",
            "type": "message",
            "role": "assistant",
            "model": _model(event.model, self._head),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(self._count),
        }
        return sse.frame(encode({"type": "message_start", "message": message}), "message_start")

    def _start(self, event: BlockStart) -> bytes:
        if event.choice:
            return b""
        if event.kind in (Kind.REASONING, Kind.SUMMARY):
            self._held[event.index] = event
            return b""
        opening = _opening(event.kind, event.id, event.name, event.raw)
        if opening is None:
            return b""
        if event.kind is Kind.SERVER_CALL:
            opening["input"] = {}
        return self._begin(event.index, event.kind, opening)

    def _begin(self, index: int, kind: Kind, opening: dict[str, Any]) -> bytes:
        at = self._blocks
        self._blocks += 1
        self._open[index] = (at, kind)
        said = {"type": "content_block_start", "index": at, "content_block": opening}
        return sse.frame(encode(said), "content_block_start")

    def _delta(self, event: BlockDelta) -> bytes:
        out = b""
        if self._held.pop(event.index, None) is not None:
            out = self._begin(event.index, Kind.REASONING, {"type": "thinking", "thinking": "", "signature": ""})
        found = self._open.get(event.index)
        if found is None:
            return b""
        match found[1]:
            case Kind.TEXT | Kind.REFUSAL:
                delta = {"type": "text_delta", "text": event.text}
            case Kind.REASONING:
                delta = {"type": "thinking_delta", "thinking": event.text}
            case Kind.CUSTOM_CALL:
                self._free.setdefault(event.index, []).append(event.text)
                return b""
            case Kind.FOREIGN:
                delta = {"type": "compaction_delta", "content": event.text}
            case _:
                delta = {"type": "input_json_delta", "partial_json": event.text}
        return out + self._said(event.index, delta)

    def _said(self, index: int, delta: dict[str, Any]) -> bytes:
        found = self._open.get(index)
        if found is None:
            return b""
        said = {"type": "content_block_delta", "index": found[0], "delta": delta}
        return sse.frame(encode(said), "content_block_delta")

    def _end(self, index: int) -> bytes:
        seal = self._sealed.pop(index, None)
        out = b""
        if self._held.pop(index, None) is not None:
            if seal is None:
                return b""
            out = self._begin(index, Kind.REASONING, _thinking(Piece(Kind.REASONING, seal=seal)))
        elif seal is not None:
            out = self._said(index, {"type": "signature_delta", "signature": seals.wrap(seal, NAME)})
        found = self._open.get(index)
        if found is None:
            return out
        if found[1] is Kind.CUSTOM_CALL:
            given = encode({"input": "".join(self._free.pop(index, ()))}).decode()
            out += self._said(index, {"type": "input_json_delta", "partial_json": given})
        del self._open[index]
        return out + sse.frame(encode({"type": "content_block_stop", "index": found[0]}), "content_block_stop")

    def _close(self) -> bytes:
        finish = self._finish
        said = {
            "type": "message_delta",
            "delta": _ending(finish),
            "usage": usage_of(self._count),
        }
        return sse.frame(encode(said), "message_delta") + sse.frame(b'{"type":"message_stop"}', "message_stop")
