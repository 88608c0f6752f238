"""An answer of the hub, written in generateContent for a client, whole or streamed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from proxy.dialects import read, sse
from proxy.dialects.aspects import Aspect, Untold
from proxy.dialects.base import ReplyHead
from proxy.dialects.blocks import Count, Finish, Opaque
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
    Finished,
    Kind,
    Piece,
    Started,
)
from proxy.dialects.gemini.parts import NAME, carry, in_bytes, signature_for
from proxy.dialects.json import decode_object, encode
from proxy.dialects.names import known

UNTOLD: Final[Untold] = {
    Aspect.SEARCHES: "a search of another provider's is told by its citations alone",
    Aspect.BUILT_IN_TOOLS: "there is no place for the work of another provider's own tools",
    Aspect.CACHE_WRITES: "usage has no such count",
    Aspect.SEARCH_COUNT: "usage has no such count",
}
_FINISH_WORDS: Final = {
    Finish.STOP: "STOP",
    Finish.STOP_SEQUENCE: "STOP",
    Finish.LENGTH: "MAX_TOKENS",
    Finish.CONTEXT: "MAX_TOKENS",
    Finish.TOOL_CALLS: "STOP",
    Finish.CONTENT_FILTER: "SAFETY",
    Finish.REFUSAL: "SAFETY",
    Finish.PAUSE: "STOP",
    Finish.OTHER: "OTHER",
}
_CALLS: Final = (Kind.TOOL_CALL, Kind.CUSTOM_CALL)
_STREAMED: Final = {Kind.TEXT: {}, Kind.REFUSAL: {}, Kind.REASONING: {"thought": True}, Kind.SUMMARY: {"thought": True}}


def usage_of(count: Count) -> dict[str, Any]:
    """The `usageMetadata` that says this count."""
    usage: dict[str, Any] = {
        "promptTokenCount": count.input,
        "candidatesTokenCount": max(0, count.output - count.reasoning),
        "totalTokenCount": count.input + count.output,
    }
    if count.reasoning:
        usage["thoughtsTokenCount"] = count.reasoning
    if count.cached:
        usage["cachedContentTokenCount"] = count.cached
    for name, sound in (("promptTokensDetails", count.audio_input), ("candidatesTokensDetails", count.audio_output)):
        if sound:
            usage[name] = [{"modality": "AUDIO", "tokenCount": sound}]
    return usage


def write_answer(answer: Answer, head: ReplyHead) -> dict[str, Any]:
    """See `Dialect`."""
    candidates = []
    names = known(head.request)
    for at in sorted({*answer.finishes, *(piece.choice for piece in answer.pieces)} or {0}):
        pieces = [piece for piece in answer.pieces if piece.choice == at]
        finish = answer.finishes.get(at)
        candidate = _candidate(at, _parts(pieces, names), finish)
        candidate |= _grounding([piece for piece in pieces if piece.cites])
        tokens = [token for piece in pieces for token in piece.logprobs]
        if tokens:
            candidate["logprobsResult"] = _logprobs(tokens)
        candidates.append(candidate)
    body: dict[str, Any] = {"candidates": candidates, **_frame(answer.id, answer.model, answer.created, head)}
    if answer.count is not None:
        body["usageMetadata"] = usage_of(answer.count)
    return body


def _frame(ident: str, model: str, created: int, head: ReplyHead) -> dict[str, Any]:
    frame = {"modelVersion": model or head.model, "responseId": ident or head.id}
    if created:
        frame["createTime"] = datetime.fromtimestamp(min(created, 253_402_300_799), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return frame


def _candidate(at: int, parts: list[dict[str, Any]], finish: Finished | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {
        "content": {"role": "model", "parts": parts},
        "finishReason": _FINISH_WORDS[finish.reason] if finish else "STOP",
        "index": at,
    }
    if finish is not None and finish.note:
        candidate["finishMessage"] = finish.note
    return candidate


def _parts(pieces: Iterable[Piece], names: Mapping[str, str]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    waiting = ""  # the signature of the call to come
    for piece in pieces:
        if piece.kind in (Kind.REASONING, Kind.SUMMARY) and piece.seal is not None and not piece.text:
            signature = signature_for(piece.seal)
            if piece.seal.dialect == NAME and piece.seal.kind == "call":
                waiting = signature
                continue
            if piece.seal.dialect == NAME and piece.seal.kind == "part" and parts and _takes_seal(parts[-1]):
                parts[-1]["thoughtSignature"] = signature
                continue
        part = part_of(piece, names)
        if part is None:
            continue
        if waiting and piece.kind in _CALLS:
            part["thoughtSignature"], waiting = waiting, ""
        parts.append(part)
    return parts


def _takes_seal(part: dict[str, Any]) -> bool:
    return part.keys() == {"text"} or ("inlineData" in part and "thoughtSignature" not in part)


def part_of(piece: Piece, names: Mapping[str, str]) -> dict[str, Any] | None:
    """One part; None for what has no place here. `names`: what the client calls its functions."""
    match piece.kind:
        case Kind.TEXT | Kind.REFUSAL:
            return {"text": piece.text}
        case Kind.REASONING | Kind.SUMMARY:
            plain = piece.seal is not None and piece.seal.dialect == NAME and piece.seal.kind == "part"
            said: dict[str, Any] = {"text": piece.text} if plain else {"text": piece.text, "thought": True}
            if piece.seal is not None:
                said["thoughtSignature"] = signature_for(piece.seal)
            return said
        case Kind.TOOL_CALL | Kind.CUSTOM_CALL:
            given = decode_object(piece.text.encode("utf-8", "surrogatepass") or b"{}")
            if given is None or piece.kind is Kind.CUSTOM_CALL:
                given = {"input": piece.text}
            return {"functionCall": {"id": piece.id, "name": names.get(piece.name, piece.name), "args": given}}
        case Kind.AUDIO | Kind.IMAGE:
            beside: dict[str, Any] = dict(piece.raw.data) if piece.raw is not None and piece.raw.dialect == NAME else {}
            inline = {"mimeType": piece.media_type, **beside.get("inlineData", {}), "data": piece.text}
            return {**beside, "inlineData": inline}
        case Kind.SERVER_CALL | Kind.FOREIGN:
            return dict(piece.raw.data) if piece.raw is not None and piece.raw.dialect == NAME else None


def _grounding(pieces: list[Piece]) -> dict[str, Any]:
    """The sources of all texts; positions count bytes in UTF-8."""
    places: dict[tuple[str, str], int] = {}
    supports: list[dict[str, Any]] = []
    quotes: list[dict[str, Any]] = []
    for piece in pieces:
        sizes = in_bytes(piece.text, (n or 0 for cite in piece.cites for n in (cite.start, cite.end)))
        for cite in piece.cites:
            if cite.raw is not None and (cite.raw.dialect, cite.raw.kind) == (NAME, "citation"):
                quotes.append(dict(cite.raw.data))
                continue
            number = places.setdefault((cite.url, cite.title), len(places))
            segment = {"startIndex": sizes[cite.start or 0], "endIndex": sizes[cite.end or 0], "text": cite.quote}
            supports.append({"segment": segment, "groundingChunkIndices": [number]})
    quoted = {"citationMetadata": {"citations": quotes}} if quotes else {}
    if not supports:
        return quoted
    chunks: list[dict[str, Any]] = [
        {"web": {"uri": url, "title": title}} if url else {"retrievedContext": {"title": title}}
        for url, title in places
    ]
    return {"groundingMetadata": {"groundingChunks": chunks, "groundingSupports": supports}, **quoted}


def _logprobs(tokens: list[Any]) -> dict[str, Any]:
    rows = [token for token in tokens if isinstance(token, dict)]
    tops = [{"candidates": [_token(top) for top in read.rows(row.get("top_logprobs"))]} for row in rows]
    return {"chosenCandidates": [_token(row) for row in rows], "topCandidates": tops}


def _token(row: Any) -> dict[str, Any]:
    return {"token": row.get("token", ""), "logProbability": row.get("logprob", 0.0)} if isinstance(row, dict) else {}


class GeminiRenderer:
    """See `Renderer`. Texts go out as they come, a call when it is whole, sources and usage with the last chunk."""

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._names = known(head.request)
        self._base: dict[str, Any] = _frame("", "", 0, head)
        self._open: dict[int, Piece] = {}
        self._texts: dict[int, list[str]] = {}
        self._cited: dict[int, list[Piece]] = {}
        self._waiting: dict[int, str] = {}
        self._held: dict[int, list[tuple[str, Opaque]]] = {}  # thinking of others, for the call to come
        self._finishes: list[Finished] = []
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
                said = Piece(event.kind, event.id, event.name, event.choice, raw=event.raw, media=event.media)
                self._open[event.index] = said
                self._texts[event.index] = []
            case BlockEnd():
                return self._end(self._open.pop(event.index), self._texts.pop(event.index))
            case BlockSeal() | BlockCite() | BlockLogprobs():
                self._beside(event)
            case Started():
                self._base = _frame(event.id, event.model, event.created, self._head)
            case Counted():
                self._count = event.count
            case Finished():
                self._finishes.append(event)
            case Done():
                return self._close()
            case _:
                pass
        return b""

    def _beside(self, event: BlockSeal | BlockCite | BlockLogprobs) -> None:
        piece = self._open[event.index]
        if isinstance(event, BlockSeal):
            piece.seal = event.seal
        elif isinstance(event, BlockCite):
            piece.cites.append(event.cite)
        else:
            piece.logprobs += event.tokens

    def _say(self, choice: int, part: dict[str, Any]) -> bytes:
        candidate = {"content": {"role": "model", "parts": [part]}, "index": choice}
        return sse.frame(encode({"candidates": [candidate], **self._base}))

    def _delta(self, event: BlockDelta) -> bytes:
        piece = self._open[event.index]
        self._texts[event.index].append(event.text)
        mark = _STREAMED.get(piece.kind)
        return b"" if mark is None else self._say(piece.choice, {"text": event.text, **mark})

    def _end(self, piece: Piece, texts: list[str]) -> bytes:
        piece.text = "".join(texts)
        if piece.cites or piece.logprobs:
            self._cited.setdefault(piece.choice, []).append(piece)
        if piece.kind in _STREAMED:
            return self._sealed(piece)
        part = part_of(piece, self._names)
        if part is None:
            return b""
        if piece.kind in _CALLS:
            held = self._held.pop(piece.choice, None)
            waiting = self._waiting.pop(piece.choice, "") or (carry(held) if held else "")
            part |= {"thoughtSignature": waiting} if waiting else {}
        return self._say(piece.choice, part)

    def _sealed(self, piece: Piece) -> bytes:
        if piece.seal is None:
            return b""
        if piece.seal.dialect != NAME:
            self._held.setdefault(piece.choice, []).append((piece.text, piece.seal))
            return b""
        if piece.seal.kind == "call":
            self._waiting[piece.choice] = signature_for(piece.seal)
            return b""
        part = part_of(Piece(piece.kind, seal=piece.seal), self._names)
        return self._say(piece.choice, part) if part is not None else b""

    def _close(self) -> bytes:
        candidates = []
        for finish in self._finishes:
            candidate = _candidate(finish.choice, [{"text": ""}], finish)
            cited = self._cited.get(finish.choice, [])
            candidate |= _grounding(cited)
            tokens = [token for piece in cited for token in piece.logprobs]
            if tokens:
                candidate["logprobsResult"] = _logprobs(tokens)
            candidates.append(candidate)
        held = {choice: {"text": "", "thought": True, "thoughtSignature": carry(h)} for choice, h in self._held.items()}
        out = b"".join(self._say(choice, part) for choice, part in held.items())
        said: dict[str, Any] = {"candidates": candidates, **self._base}
        if self._count is not None:
            said["usageMetadata"] = usage_of(self._count)
        return out + sse.frame(encode(said))
