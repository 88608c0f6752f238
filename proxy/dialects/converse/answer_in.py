"""A provider's answer in Converse, whole or streamed, read into events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from proxy.dialects import read
from proxy.dialects.aws_events import BadFrame, Frame, FrameSplitter
from proxy.dialects.base import Unreadable
from proxy.dialects.blocks import Count, Finish, Opaque
from proxy.dialects.converse.parts import NAME, cite_of, redacted_of, thinking_of
from proxy.dialects.events import (
    BlockCite,
    BlockDelta,
    BlockSeal,
    Counted,
    Done,
    Event,
    Failed,
    Finished,
    Kind,
    Ledger,
    Started,
)
from proxy.dialects.json import decode_object, encode

_FINISHES: Final = {
    "end_turn": Finish.STOP,
    "tool_use": Finish.TOOL_CALLS,
    "max_tokens": Finish.LENGTH,
    "stop_sequence": Finish.STOP_SEQUENCE,
    "guardrail_intervened": Finish.CONTENT_FILTER,
    "content_filtered": Finish.CONTENT_FILTER,
    "model_context_window_exceeded": Finish.CONTEXT,
}


def count_of(usage: object, tier: str = "") -> Count | None:
    """`usage`; what was read from or written to a cache stands beside the input (the recorded totals show it)."""
    if not isinstance(usage, dict):
        return None
    cached, written = read.number(usage.get("cacheReadInputTokens")), read.number(usage.get("cacheWriteInputTokens"))
    hour = sum(read.number(r.get("inputTokens")) for r in read.rows(usage.get("cacheDetails")) if r.get("ttl") == "1h")
    return Count(
        input=read.number(usage.get("inputTokens")) + cached + written,
        output=read.number(usage.get("outputTokens")),
        cached=cached,
        cache_write=written,
        cache_write_1h=hour,
        tier=tier or None,
    )


class ConverseParser:
    """See `Parser`."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._splitter = FrameSplitter()
        self._ledger = Ledger()
        self._started = False
        self._over = False
        self._kinds: dict[int, Kind] = {}
        self._signatures: dict[int, list[str]] = {}
        self._empty: set[int] = set()
        self._held: dict[int, tuple[str, dict[str, Any]]] = {}
        self._finish: Finished | None = None
        self._counted = False

    @property
    def ended(self) -> bool:
        """See `Parser`. Usage follows the stop, or stands before it."""
        return self._over or (self._finish is not None and self._counted)

    def feed(self, data: bytes) -> list[Event]:
        """See `Parser`."""
        out: list[Event] = []
        try:
            for frame in self._splitter.feed(data):
                out += self._one(frame)
        except BadFrame as exc:
            if not self.ended:  # nothing that is no answer counts behind a whole one
                raise Unreadable(str(exc)) from None
        return out

    def close(self) -> list[Event]:
        """See `Parser`."""
        if self._over:
            return []
        self._over = True
        if self._finish is None:
            return [Failed()]
        return [*self._ledger.end_all(), self._finish, Done()]

    def _one(self, frame: Frame) -> list[Event]:
        if self.ended:
            return []
        kind = frame.headers.get(":message-type")
        value = decode_object(frame.payload or b"{}")
        if value is None:
            raise Unreadable("an event that is not a JSON object")
        if kind in ("exception", "error"):
            self._over = True
            said = frame.headers.get(":exception-type") or frame.headers.get(":error-code") or "error"
            message = read.text(value.get("message")) or frame.headers.get(":error-message") or said
            return [Failed({"type": said, "message": message})]
        return [*self.greeting(), *self.event(frame.headers.get(":event-type", ""), value)]

    def greeting(self) -> list[Event]:
        """What begins every answer; Converse says neither id nor model."""
        if self._started:
            return []
        self._started = True
        return [Started("", "")]

    def event(self, kind: str, value: Mapping[str, Any]) -> list[Event]:
        """The events of one decoded message."""
        at = value.get("contentBlockIndex")
        place = at if isinstance(at, int) else 0
        match kind:
            case "contentBlockStart":
                return self._start(place, read.table(value.get("start")))
            case "contentBlockDelta":
                return self._delta(place, read.table(value.get("delta")))
            case "contentBlockStop":
                return self.stop(place)
            case "messageStop":
                return self.finish(value)
            case "metadata":
                count = count_of(value.get("usage"), read.text(read.table(value.get("serviceTier")).get("type")))
                self._counted = self._counted or count is not None
                return [] if count is None else [Counted(count)]
            case _:
                return []

    def finish(self, value: Mapping[str, Any]) -> list[Event]:
        """Why the answer ended."""
        reason = read.text(value.get("stopReason"))
        known = _FINISHES.get(reason, Finish.OTHER)
        if reason.startswith("malformed_") and not self._kinds:
            self._over = True
            return [Failed({"type": "modelErrorException", "message": f"the model ended with {reason}"})]
        more = read.table(value.get("additionalModelResponseFields"))
        sequence = read.table(more.get("delta")).get("stop_sequence") or more.get("stop_sequence")
        self._finish = Finished(known, reason, sequence if isinstance(sequence, str) else None)
        return [event for at in [*self._kinds, *self._held] for event in self.stop(at)]

    def _start(self, at: int, start: Mapping[str, Any]) -> list[Event]:
        use = read.table(start.get("toolUse"))
        if use:
            ident, name = read.text(use.get("toolUseId")), read.text(use.get("name"))
            if use.get("type") == "server_tool_use":
                raw = Opaque(NAME, "toolUse", {"toolUse": dict(use)}, self._origin)
                return self._begin(at, Kind.SERVER_CALL, ident, name, raw)
            self._empty.add(at)
            return self._begin(at, Kind.TOOL_CALL, ident, name)
        for kind, given in start.items():  # what a tool of Amazon's said, or a picture: one that is handed on whole
            self._held[at] = (kind, dict(read.table(given)))
        return []

    def _begin(
        self, at: int, kind: Kind, ident: str = "", name: str = "", raw: Opaque | None = None, media: str = ""
    ) -> list[Event]:
        self._kinds[at] = kind
        return [*self._ledger.end(at), self._ledger.start(at, kind, ident=ident, name=name, raw=raw, media=media)]

    def _delta(self, at: int, delta: Mapping[str, Any]) -> list[Event]:
        if "text" in delta:
            return self._text(at, Kind.TEXT, read.text(delta.get("text")))
        if "toolUse" in delta:
            index = self._ledger.index(at)
            text = read.text(read.table(delta.get("toolUse")).get("input"))
            if index is None:
                raise Unreadable("arguments without a call")
            if not text:
                return []
            self._empty.discard(at)
            return [BlockDelta(index, text)]
        if "reasoningContent" in delta:
            return self._thinking(at, read.table(delta.get("reasoningContent")))
        if at in self._held:
            self._more(*self._held[at], delta)
            return []
        if "citation" in delta:
            return [*self._opened(at, Kind.TEXT), *self._cited(at, read.table(delta.get("citation")))]
        return []

    def _more(self, kind: str, held: dict[str, Any], delta: Mapping[str, Any]) -> None:
        more = delta.get(kind)
        if isinstance(more, list):
            said = held.get("content")
            if not isinstance(said, list):
                said = held["content"] = []
            said += more
        elif isinstance(more, dict):
            held |= more

    def _opened(self, at: int, kind: Kind) -> list[Event]:
        """Texts begin with their first delta; one of another kind at the same place is a block of its own."""
        same = self._ledger.index(at) is not None and self._kinds.get(at) is kind
        return [] if same else [*self.stop(at), *self._begin(at, kind)]

    def _text(self, at: int, kind: Kind, text: str) -> list[Event]:
        if not text and self._ledger.index(at) is not None:
            return []
        out = self._opened(at, kind)
        index = self._ledger.index(at)
        return out if index is None or not text else [*out, BlockDelta(index, text)]

    def _thinking(self, at: int, said: Mapping[str, Any]) -> list[Event]:
        out = self._text(at, Kind.REASONING, read.text(said.get("text")))
        signature = read.text(said.get("signature"))
        if signature:
            self._signatures.setdefault(at, []).append(signature)
        redacted = read.text(said.get("redactedContent"))
        index = self._ledger.index(at)
        seal = redacted_of(redacted, self._origin) if redacted else None
        if seal is not None and index is not None:
            out.append(BlockSeal(index, seal))
        return out

    def _cited(self, at: int, cite: Mapping[str, Any]) -> list[Event]:
        index = self._ledger.index(at)
        return [] if index is None else [BlockCite(index, cite_of(cite, self._origin))]

    def stop(self, at: int) -> list[Event]:
        """A block ends; a call without arguments has none."""
        if at in self._held:
            kind, held = self._held.pop(at)
            if kind == "image" and _bytes_of(held):
                return self._picture(at, held)
            raw = Opaque(NAME, kind, {kind: held}, self._origin)
            return [*self._begin(at, Kind.FOREIGN, raw=raw), *self._ledger.end(at)]
        index = self._ledger.index(at)
        if index is None:
            return []
        out: list[Event] = []
        if at in self._empty:
            self._empty.discard(at)
            out.append(BlockDelta(index, "{}"))
        signature = "".join(self._signatures.pop(at, ()))
        if signature:
            seal = thinking_of({"reasoningText": {"signature": signature}}, self._origin).seal
            out += [BlockSeal(index, seal)] if seal is not None else []
        return [*out, *self._ledger.end(at)]

    def _picture(self, at: int, image: Mapping[str, Any]) -> list[Event]:
        form = read.text(image.get("format"))
        out = self._begin(at, Kind.IMAGE, media=f"image/{form}" if form else "")
        index = self._ledger.index(at)
        out += [] if index is None else [BlockDelta(index, _bytes_of(image))]
        return [*out, *self._ledger.end(at)]

    def block(self, at: int, entry: Mapping[str, Any]) -> list[Event]:
        """A whole block."""
        use = read.table(entry.get("toolUse"))
        if use:
            out = self._start(at, {"toolUse": {k: v for k, v in use.items() if k != "input"}})
            given = use.get("input")
            out += self._delta(at, {"toolUse": {"input": encode(given).decode() if given else ""}})
        elif "reasoningContent" in entry:
            said = read.table(entry["reasoningContent"])
            inner = read.table(said.get("reasoningText"))
            out = self._thinking(at, {**inner, "redactedContent": said.get("redactedContent")})
        elif "citationsContent" in entry:
            said = read.table(entry["citationsContent"])
            out = self._text(at, Kind.TEXT, "".join(read.text(r.get("text")) for r in read.rows(said.get("content"))))
            out += [event for row in read.rows(said.get("citations")) for event in self._cited(at, row)]
        elif isinstance(entry.get("text"), str):
            out = self._text(at, Kind.TEXT, entry["text"])
        elif _bytes_of(read.table(entry.get("image"))):
            out = self._picture(at, read.table(entry["image"]))
        else:
            kind = next(iter(entry), "block")
            out = self._begin(at, Kind.FOREIGN, raw=Opaque(NAME, kind, dict(entry), self._origin))
        return [*out, *self.stop(at)]


def _bytes_of(image: Mapping[str, Any]) -> str:
    """The data of a picture; one that is kept in S3, or that went wrong, has none."""
    return read.text(read.table(image.get("source")).get("bytes"))


def read_answer(body: Mapping[str, Any], origin: str) -> Iterable[Event]:
    """See `Dialect`."""
    content = read.table(read.table(body.get("output")).get("message")).get("content")
    if not isinstance(content, list):
        raise Unreadable("an answer without `output.message.content`")
    parser = ConverseParser(origin)
    out = parser.greeting()
    for at, entry in enumerate(read.rows(content)):
        out += parser.block(at, entry)
    out += parser.event("metadata", body)
    out += parser.finish({"stopReason": "end_turn", **body})
    return [*out, *parser.close()]
