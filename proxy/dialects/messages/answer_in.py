"""A provider's answer in Anthropic Messages, whole or streamed, read into events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from proxy.dialects import read, sse
from proxy.dialects.base import DialectName, Unreadable
from proxy.dialects.blocks import Cite, Count, Finish, Opaque
from proxy.dialects.events import (
    BlockCite,
    BlockDelta,
    BlockSeal,
    BlockStart,
    Counted,
    Done,
    Event,
    Failed,
    Finished,
    Kind,
    Ledger,
    Started,
)
from proxy.dialects.json import decode, encode
from proxy.dialects.messages.request_in import cite_of

NAME: Final = DialectName.MESSAGES
FINISHES: Final = {
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP_SEQUENCE,
    "max_tokens": Finish.LENGTH,
    "tool_use": Finish.TOOL_CALLS,
    "pause_turn": Finish.PAUSE,
    "refusal": Finish.REFUSAL,
    "model_context_window_exceeded": Finish.CONTEXT,
}
_KINDS: Final = {
    "text": Kind.TEXT,
    "thinking": Kind.REASONING,
    "redacted_thinking": Kind.REASONING,
    "tool_use": Kind.TOOL_CALL,
    "server_tool_use": Kind.SERVER_CALL,
    "mcp_tool_use": Kind.SERVER_CALL,
}


def count_of(usage: Mapping[str, Any], before: Count | None = None) -> Count:
    """Anthropic's `usage`, which keeps the cached part apart; what a later one leaves out stands as it was `before`."""
    old = before or Count()
    cached = _number(usage, "cache_read_input_tokens", old.cached)
    write = _number(usage, "cache_creation_input_tokens", old.cache_write)
    fresh = _number(usage, "input_tokens", old.input - old.cached - old.cache_write)
    creation = read.table(usage.get("cache_creation"))
    details = read.table(usage.get("output_tokens_details"))
    return Count(
        input=fresh + cached + write,
        output=_number(usage, "output_tokens", old.output),
        cached=cached,
        cache_write=write,
        cache_write_1h=_number(creation, "ephemeral_1h_input_tokens", old.cache_write_1h),
        reasoning=_number(details, "thinking_tokens", old.reasoning),
        searches=_number(read.table(usage.get("server_tool_use")), "web_search_requests", old.searches),
        tier=read.text(usage.get("service_tier")) or old.tier,
    )


def _without_text(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A block of Anthropic's own as it begins: its text (of a compaction) comes as deltas, as in a stream."""
    return {name: value for name, value in entry.items() if name != "content" or not isinstance(value, str | None)}


def _number(usage: Mapping[str, Any], name: str, otherwise: int) -> int:
    value = usage.get(name)
    return read.number(value) if isinstance(value, int) else otherwise


class MessagesParser:
    """See `Parser`."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._splitter = sse.EventSplitter()
        self._ledger = Ledger()
        self._given: dict[int, str] = {}  # arguments that a call began with; what is streamed stands for them
        self._calling: set[int] = set()  # calls that have not ended
        self._count: Count | None = None
        self._finish: Finished | None = None
        self._started = False
        self._over = False
        self._stopped = False
        self._message = 0  # some streams hold several messages (recorded so: tool search)

    @property
    def ended(self) -> bool:
        """See `Parser`."""
        return self._over or self._stopped

    def feed(self, data: bytes) -> list[Event]:
        """See `Parser`."""
        return [event for raw in self._splitter.feed(data) for event in self._one(raw)]

    def close(self) -> list[Event]:
        """See `Parser`."""
        last = sse.ended(self._splitter.rest())
        events = [] if last is None else self._one(last)
        return events if self._over else [*events, *self._end()]

    def _end(self) -> list[Event]:
        """Whole with a stop reason, cut short without."""
        self._over = True
        if self._finish is None:
            return [Failed()]
        open_calls = [event for at in list(self._given) for event in self.stop(at)]
        return [*open_calls, *self._ledger.end_all(), self._finish, Done()]

    def _one(self, raw: bytes) -> list[Event]:
        data = sse.event_data(raw)
        if not data or self._over or data == b"[DONE]":
            return []
        try:
            value = decode(data)
        except ValueError:
            value = None
        if self._stopped and not (isinstance(value, dict) and value.get("type") == "message_start"):
            return []  # behind a whole answer only a further one counts
        if not isinstance(value, dict):
            raise Unreadable("an event that is not a JSON object")
        return self.event(value)

    def event(self, value: Mapping[str, Any]) -> list[Event]:
        """The events that one decoded event of the stream stands for."""
        match value.get("type"):
            case "content_block_delta":
                return self._delta(read.number(value.get("index")), read.table(value.get("delta")))
            case "content_block_start":
                return self.block(read.number(value.get("index")), read.table(value.get("content_block")))
            case "content_block_stop":
                return self.stop(read.number(value.get("index")))
            case "message_stop":
                self._stopped = True  # but more may follow: the end of the stream says that it is all
                return []
            case "message_start":
                self._stopped = False
                return self._start(read.table(value.get("message")))
            case "message_delta":
                return self._message_delta(value)
            case "error":
                self._over = True
                error = value.get("error")
                return [Failed(error if isinstance(error, dict) else {"message": str(error)[:300]})]
            case _:
                return []

    def _start(self, message: Mapping[str, Any]) -> list[Event]:
        usage = self._counted(message.get("usage"))
        self._finish = None
        if self._calling:  # a call of which the rest will never come must not be made
            self._over = True
            return [Failed()]
        if self._started:
            ends = [event for at in list(self._given) for event in self.stop(at)]
            self._message += 1
            return [*ends, *usage]
        self._started = True
        return [Started(read.text(message.get("id")), read.text(message.get("model"))), *usage]

    def _counted(self, usage: object) -> list[Event]:
        if not isinstance(usage, dict):
            return []
        self._count = count_of(usage, self._count)
        return [Counted(self._count)]

    def _message_delta(self, value: Mapping[str, Any]) -> list[Event]:
        delta = read.table(value.get("delta"))
        reason = read.text(delta.get("stop_reason"))
        if reason:
            sequence = read.text(delta.get("stop_sequence")) or None
            details = read.table(delta.get("stop_details"))
            self._finish = Finished(
                FINISHES.get(reason, Finish.OTHER),
                reason,
                sequence,
                note=read.text(details.get("explanation")),
                details=Opaque(NAME, "stop_details", dict(details), self._origin) if details else None,
            )
        return [*self._begun(), *self._counted(value.get("usage"))]

    def _begun(self) -> list[Event]:
        """The beginning of a message that has none."""
        return [] if self._started else self._start({})

    def block(self, at: int, entry: Mapping[str, Any]) -> list[Event]:
        """A block begins, in a stream or whole."""
        key = (self._message, at)
        kind = _KINDS.get(read.text(entry.get("type")), Kind.FOREIGN)
        before = [*self._begun(), *self.stop(at)]  # a provider may forget either
        raw = None
        if kind in (Kind.FOREIGN, Kind.SERVER_CALL):
            raw = Opaque(NAME, read.text(entry.get("type")), _without_text(entry), self._origin)
        ident, name = read.text(entry.get("id")), read.text(entry.get("name"))
        start: BlockStart = self._ledger.start(key, kind, ident=ident, name=name, raw=raw)
        out: list[Event] = [*before, start]
        text = read.text(entry.get("text")) or read.text(entry.get("thinking"))
        if kind is Kind.FOREIGN:
            text = read.text(entry.get("content"))
        if kind is Kind.TOOL_CALL:
            self._calling.add(at)
        if kind in (Kind.TOOL_CALL, Kind.SERVER_CALL):
            self._given[at] = encode(entry["input"]).decode() if entry.get("input") else "{}"
        if text:
            out.append(BlockDelta(start.index, text))
        out += [BlockCite(start.index, _cite(row)) for row in read.rows(entry.get("citations"))]
        sealed = read.text(entry.get("signature")) or read.text(entry.get("data"))
        if kind is Kind.REASONING and sealed:
            out.append(self._sealed(start.index, read.text(entry.get("type")), sealed))
        return out

    def _sealed(self, index: int, kind: str, text: str) -> BlockSeal:
        return BlockSeal(index, Opaque(NAME, kind, text, self._origin))

    def _delta(self, at: int, delta: Mapping[str, Any]) -> list[Event]:
        index = self._ledger.index((self._message, at))
        if index is None:
            raise Unreadable("a delta without a block")
        match delta.get("type"):
            case "text_delta":
                text = read.text(delta.get("text"))
            case "input_json_delta":
                text = read.text(delta.get("partial_json"))
            case "thinking_delta":
                text = read.text(delta.get("thinking"))
            case "signature_delta":
                return [self._sealed(index, "thinking", read.text(delta.get("signature")))]
            case "citations_delta":
                return [BlockCite(index, _cite(read.table(delta.get("citation"))))]
            case _:
                text = read.text(delta.get("content"))
        if not text:
            return []
        self._given.pop(at, None)
        return [BlockDelta(index, text)]

    def stop(self, at: int) -> list[Event]:
        """A block ends; a call without arguments has none."""
        self._calling.discard(at)
        index = self._ledger.index((self._message, at))
        given = self._given.pop(at, None)
        ends = self._ledger.end((self._message, at))
        return [BlockDelta(index, given), *ends] if given is not None and index is not None else ends

    def whole(self, body: Mapping[str, Any]) -> list[Event]:
        """The events of a whole answer."""
        out = self._start(body)
        for at, entry in enumerate(read.rows(body.get("content"))):
            out += [*self.block(at, entry), *self.stop(at)]
        reason = read.text(body.get("stop_reason")) or "end_turn"
        more = {name: body.get(name) for name in ("stop_sequence", "stop_details")}
        out += self._message_delta({"delta": {"stop_reason": reason, **more}})
        return [*out, *self._end()]


def _cite(row: Mapping[str, Any]) -> Cite:
    """A citation of the block that it stands in; where in its source it is, is no place of the answer."""
    return replace(cite_of(row), start=None, end=None)


def read_answer(body: Mapping[str, Any], origin: str) -> Iterable[Event]:
    """See `Dialect`."""
    if not isinstance(body.get("content"), list):
        raise Unreadable("an answer without `content`")
    return MessagesParser(origin).whole(body)
