"""A provider's answer in OpenAI Responses, whole or streamed, read into events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, Final

from proxy.dialects import read, sse
from proxy.dialects.base import DialectName, Unreadable
from proxy.dialects.blocks import Count, Finish, Opaque
from proxy.dialects.calls import Calls
from proxy.dialects.events import (
    BlockCite,
    BlockDelta,
    BlockLogprobs,
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
from proxy.dialects.json import decode
from proxy.dialects.responses.request_in import PICTURE, call_seal, cite_of, name_of, reasoning_of

NAME: Final = DialectName.RESPONSES
_CALLS: Final = {
    "function_call": (Kind.TOOL_CALL, "arguments"),
    "custom_tool_call": (Kind.CUSTOM_CALL, "input"),
}
_SERVER_CALLS: Final = frozenset({"web_search_call", "code_interpreter_call", "file_search_call", "mcp_call"})
_PARTS: Final = {"output_text": (Kind.TEXT, "text"), "refusal": (Kind.REFUSAL, "refusal")}
_REASONS: Final = {"max_output_tokens": Finish.LENGTH, "content_filter": Finish.CONTENT_FILTER}


def count_of(usage: object) -> Count | None:
    """The `usage` object; None where there is none."""
    if not isinstance(usage, dict):
        return None
    inputs, outputs = read.table(usage.get("input_tokens_details")), read.table(usage.get("output_tokens_details"))
    return Count(
        input=read.number(usage.get("input_tokens")),
        output=read.number(usage.get("output_tokens")),
        cached=read.number(inputs.get("cached_tokens")),
        cache_write=read.number(inputs.get("cache_write_tokens")),
        reasoning=read.number(outputs.get("reasoning_tokens")),
    )


class ResponsesParser:
    """See `Parser`. An item is read piece by piece as its deltas come, and whole when it is done without any."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._splitter = sse.EventSplitter()
        self._ledger = Ledger()
        self._calls = Calls(self._ledger, 0)
        self._filled: set[object] = set()  # blocks that have had a delta
        self._cited: set[object] = set()
        self._parts: set[tuple[int, int]] = set()  # parts of messages that have been read
        self._items: set[int] = set()  # items that are done
        self._places: dict[str, int] = {}  # of items by their ids
        self._summary: dict[int, int] = {}  # the last part of each item's summary
        self._started = False
        self._finish: Finished | None = None
        self._over = False

    @property
    def ended(self) -> bool:
        """See `Parser`."""
        return self._over or self._finish is not None

    def feed(self, data: bytes) -> list[Event]:
        """See `Parser`."""
        return [event for raw in self._splitter.feed(data) for event in self._one(raw)]

    def close(self) -> list[Event]:
        """See `Parser`."""
        last = sse.ended(self._splitter.rest())
        events = [] if last is None else self._one(last)
        if self._over:
            return events
        self._over = True
        return [*events, *([Failed()] if self._finish is None else [Done()])]

    def _one(self, raw: bytes) -> list[Event]:
        data = sse.event_data(raw)
        if not data or self._over or self._finish is not None or data == b"[DONE]":
            return []
        try:
            value = decode(data)
        except ValueError:
            raise Unreadable("an event that is not JSON") from None
        if not isinstance(value, dict):
            raise Unreadable("an event that is not a JSON object")
        return self.event(value)

    def event(self, value: Mapping[str, Any]) -> list[Event]:
        """The events that one decoded event of the stream stands for."""
        kind = read.text(value.get("type"))
        at, part = read.number(value.get("output_index")), read.number(value.get("content_index"))
        out: list[Event] = []
        if kind in _ENDS:
            return self._end(kind, read.table(value.get("response")) or value)
        if not kind.startswith("response."):
            return out  # a sign of life
        if not self._started:
            self._start(read.table(value.get("response")), out)
        if kind == "response.output_item.added":
            self._added(at, read.table(value.get("item")), out)
        elif kind == "response.output_item.done":
            self._item(at, read.table(value.get("item")), out)
        elif kind == "response.content_part.added":
            self._part(at, part, read.table(value.get("part")), out)
        elif kind == "response.content_part.done":
            self._part(at, part, read.table(value.get("part")), out, whole=True)
        elif kind == "response.output_text.annotation.added":
            self._cite((at, part), read.table(value.get("annotation")), out)
        elif kind.endswith(".delta"):
            self._delta(kind, at, part, value, out)
        return out

    def _start(self, response: Mapping[str, Any], out: list[Event]) -> None:
        self._started = True
        created = response.get("created_at")
        given = 0 if isinstance(created, float) and not isfinite(created) else created
        seconds = int(given) if isinstance(given, int | float) else 0
        out.append(Started(read.text(response.get("id")), read.text(response.get("model")), seconds))

    def _added(self, at: int, item: Mapping[str, Any], out: list[Event]) -> None:
        kind = read.text(item.get("type"))
        self._places[_ident(item) or f"#{at}"] = at
        if kind in _CALLS and at not in self._items:
            self._call(at, item, read.text(item.get(_CALLS[kind][1])), out)

    def _call(self, at: int, item: Mapping[str, Any], text: str, out: list[Event]) -> None:
        ident = read.text(item.get("call_id")) or read.text(item.get("id"))
        if text:
            self._filled.add(at)
        kind = _CALLS[read.text(item.get("type"))][0]
        out += self._calls.fragment(at, kind, ident, name_of(item), text, call_seal(item, self._origin))

    def _delta(self, kind: str, at: int, part: int, value: Mapping[str, Any], out: list[Event]) -> None:
        text = read.text(value.get("delta"))
        match kind.removeprefix("response."):
            case "output_text.delta":
                self._words((at, part), Kind.TEXT, text, out)
                self._logprobs((at, part), value.get("logprobs"), out)
            case "refusal.delta":
                self._words((at, part), Kind.REFUSAL, text, out)
            case "function_call_arguments.delta" | "custom_tool_call_input.delta":
                self._filled.add(at)
                out += self._calls.fragment(at, Kind.TOOL_CALL, "", "", text)
            case "reasoning_text.delta":
                self._thought(at, Kind.REASONING, text, out)
            case "reasoning_summary_text.delta" | "reasoning_summary.delta":
                n = read.number(value.get("summary_index"))
                gap = "\n\n" if self._summary.setdefault(at, n) != n else ""
                self._summary[at] = n
                self._thought(at, Kind.SUMMARY, gap + text, out)
            case _:
                pass  # of an item that counts when it is done

    def _words(self, key: tuple[int, int], kind: Kind, text: str, out: list[Event]) -> None:
        if key[0] in self._items:
            return
        index = self._ledger.index(key)
        if index is None:
            if key in self._parts:
                return
            start = self._ledger.start(key, kind)
            self._parts.add(key)
            out.append(start)
            index = start.index
        if text:
            self._filled.add(key)
            out.append(BlockDelta(index, text))

    def _logprobs(self, key: tuple[int, int], given: object, out: list[Event]) -> None:
        tokens, index = read.rows(given), self._ledger.index(key)
        if tokens and index is not None:
            self._filled.add((key, "logprobs"))
            out.append(BlockLogprobs(index, tuple(tokens)))

    def _thought(self, at: int, kind: Kind, text: str, out: list[Event]) -> None:
        """One block an item, of the kind that comes first; the whole item is its seal."""
        key = ("reasoning", at)
        index = self._ledger.index((*key, kind))
        if index is None:
            if key in self._filled or at in self._items:
                return
            start = self._ledger.start((*key, kind), kind)
            self._filled.add(key)
            out.append(start)
            index = start.index
        if text:
            out.append(BlockDelta(index, text))

    def _part(self, at: int, n: int, part: Mapping[str, Any], out: list[Event], *, whole: bool = False) -> None:
        kind, field = _PARTS.get(read.text(part.get("type")), (None, ""))
        if kind is None:
            if part.get("type") == "reasoning_text" and whole and ("reasoning", at) not in self._filled:
                self._thought(at, Kind.REASONING, read.text(part.get("text")), out)
            return
        key = (at, n)
        self._words(key, kind, "" if key in self._filled else read.text(part.get(field)), out)
        if key not in self._cited:
            for row in read.rows(part.get("annotations")):
                self._cite(key, row, out)
        if (key, "logprobs") not in self._filled:
            self._logprobs(key, part.get("logprobs"), out)
        if whole:
            out += self._ledger.end(key)

    def _cite(self, key: tuple[int, int], row: Mapping[str, Any], out: list[Event]) -> None:
        index = self._ledger.index(key)
        if index is not None and row:
            self._cited.add(key)
            out.append(BlockCite(index, cite_of(row, self._origin)))

    def _item(self, at: int, item: Mapping[str, Any], out: list[Event]) -> None:
        """An item is done: whatever of it has not come as deltas comes now."""
        if at in self._items:
            return
        self._places.setdefault(_ident(item) or f"#{at}", at)
        kind = read.text(item.get("type"))
        if kind == "message":
            for n, part in enumerate(read.rows(item.get("content"))):
                if (at, n) not in self._parts or self._ledger.index((at, n)) is not None:
                    self._part(at, n, part, out, whole=True)
        elif kind in _CALLS:
            self._call(at, item, "" if at in self._filled else read.text(item.get(_CALLS[kind][1])), out)
            out += self._calls.done(at)
        elif kind == "reasoning":
            self._reasoned(at, item, out)
        elif kind == PICTURE and read.text(item.get("result")):
            self._picture(item, out)
        elif kind:
            self._foreign(kind, item, out)
        self._items.add(at)

    def _reasoned(self, at: int, item: Mapping[str, Any], out: list[Event]) -> None:
        block = reasoning_of(item, self._origin)
        if ("reasoning", at) not in self._filled:
            self._thought(at, Kind.SUMMARY if block.summary else Kind.REASONING, block.text, out)
        for kind in (Kind.REASONING, Kind.SUMMARY):
            index = self._ledger.index(("reasoning", at, kind))
            if index is not None and block.seal is not None:
                out.append(BlockSeal(index, block.seal))
            out += self._ledger.end(("reasoning", at, kind))

    def _picture(self, item: Mapping[str, Any], out: list[Event]) -> None:
        """A picture that was made, when it is whole; the sketches of it that a client may ask for are not told."""
        form = read.text(item.get("output_format"))
        raw = Opaque(NAME, PICTURE, {name: value for name, value in item.items() if name != "result"}, self._origin)
        ident, media = read.text(item.get("id")), f"image/{form}" if form else ""
        start = self._ledger.start("item", Kind.IMAGE, ident=ident, raw=raw, media=media)
        out += [start, BlockDelta(start.index, read.text(item.get("result")))]
        out += self._ledger.end("item")

    def _foreign(self, kind: str, item: Mapping[str, Any], out: list[Event]) -> None:
        of = Kind.SERVER_CALL if kind in _SERVER_CALLS else Kind.FOREIGN
        name = kind.removesuffix("_call") if of is Kind.SERVER_CALL else ""
        raw = Opaque(NAME, kind, dict(item), self._origin)
        out.append(self._ledger.start("item", of, ident=read.text(item.get("id")), name=name, raw=raw))
        out += self._ledger.end("item")

    def _end(self, kind: str, response: Mapping[str, Any]) -> list[Event]:
        if kind in ("error", "response.failed") or response.get("status") in ("failed", "cancelled"):
            self._over = True
            error = response.get("error")
            said = error if isinstance(error, dict) else {k: response.get(k) for k in ("code", "message", "param")}
            return [Failed({name: value for name, value in said.items() if value is not None})]
        out: list[Event] = []
        if not self._started:
            self._start(response, out)
        items = read.rows(response.get("output"))
        seen = sorted(set(self._places.values()))
        order = seen if len(seen) == len(items) else range(len(items))  # some change even the ids (GitHub Copilot)
        for at, item in zip(order, items, strict=True):
            self._item(self._places.get(_ident(item), at), item, out)
        out += self._calls.settle(over=True)
        out += self._ledger.end_all()
        count = count_of(response.get("usage"))
        if count is not None:
            out.append(Counted(count))
        self._finish = self._finished(kind, response)
        return [*out, self._finish]

    def _finished(self, kind: str, response: Mapping[str, Any]) -> Finished:
        reason = read.text(read.table(response.get("incomplete_details")).get("reason"))
        if kind == "response.incomplete" or response.get("status") == "incomplete":
            return Finished(_REASONS.get(reason, Finish.OTHER), reason)
        return Finished(Finish.TOOL_CALLS if self._calls.seen else Finish.STOP, read.text(response.get("status")))


def _ident(item: Mapping[str, Any]) -> str:
    """By what an item of the whole response is known again: its place there need not be its number in the stream."""
    return read.text(item.get("id")) or read.text(item.get("call_id"))


_ENDS: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled", "error"}
)


def read_answer(body: Mapping[str, Any], origin: str) -> Iterable[Event]:
    """See `Dialect`."""
    if not isinstance(body.get("output"), list) and not body.get("error"):
        raise Unreadable("an answer without `output`")
    if body.get("status") in ("queued", "in_progress"):
        raise Unreadable("an answer that is still being made")
    parser = ResponsesParser(origin)
    kind = "response.failed" if body.get("error") else "response.completed"
    return [*parser.event({"type": kind, "response": body}), *parser.close()]
