"""A provider's answer in Cohere's Chat, whole or streamed, read into events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, Final

from proxy.dialects import read, sse
from proxy.dialects.base import Unreadable
from proxy.dialects.blocks import Count, Finish
from proxy.dialects.cohere_chat.cites import cites_of
from proxy.dialects.events import BlockDelta, BlockLogprobs, Counted, Done, Event, Failed, Finished, Kind, Started
from proxy.dialects.flow import Flow
from proxy.dialects.json import decode

_FINISHES: Final = {
    "COMPLETE": Finish.STOP,
    "STOP_SEQUENCE": Finish.STOP_SEQUENCE,
    "MAX_TOKENS": Finish.LENGTH,
    "TOOL_CALL": Finish.TOOL_CALLS,
}


def count_of(usage: object) -> Count | None:
    """`usage`: the tokens that were read and written, not those that are billed."""
    given = read.table(usage)
    tokens = read.table(given.get("tokens")) or read.table(given.get("billed_units"))
    if not tokens:
        return None
    units = read.table(given.get("billed_units"))
    return Count(
        _whole(tokens.get("input_tokens")),
        _whole(tokens.get("output_tokens")),
        _whole(given.get("cached_tokens")),
        searches=_whole(units.get("search_units")),
    )


def _whole(value: object) -> int:
    """The count; the SDK has all of them as floats."""
    return read.number(int(value) if isinstance(value, float) and isfinite(value) else value)


def tokens_of(value: object) -> tuple[dict[str, Any], ...]:
    """`logprobs`, one entry or several, as the hub has each: a piece of text and how probable all of it was."""
    found = []
    for row in [value] if isinstance(value, dict) else read.rows(value):
        numbers = row.get("logprobs")
        if isinstance(numbers, list) and numbers and all(isinstance(n, int | float) for n in numbers):
            text = read.text(row.get("text"))
            seen = list(text.encode("utf-8", "surrogatepass"))
            found.append({"token": text, "logprob": sum(numbers), "bytes": seen, "top_logprobs": []})
    return tuple(found)


class CohereParser:
    """See `Parser`."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._splitter = sse.EventSplitter()
        self._flow = Flow()
        self._started = False
        self._over = False
        self._empty = False  # the open call has no arguments so far

    @property
    def ended(self) -> bool:
        """See `Parser`."""
        return self._over

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
        return [*events, Failed()]

    def _one(self, raw: bytes) -> list[Event]:
        data = sse.event_data(raw)
        if not data or self._over or data == b"[DONE]":
            return []
        try:
            value = decode(data)
        except ValueError:
            raise Unreadable("an event that is not JSON") from None
        if not isinstance(value, dict):
            raise Unreadable("an event that is not a JSON object")
        if "type" not in value and value.get("message"):
            return self._failed(str(value["message"])[:300])
        return [*self.greet(read.text(value.get("id"))), *self._event(value)]

    def greet(self, ident: str) -> list[Event]:
        """What begins every answer; Cohere does not say the model."""
        if self._started:
            return []
        self._started = True
        return [Started(ident, "")]

    def _failed(self, message: str) -> list[Event]:
        self._over = True
        return [Failed({"type": "api_error", "message": message})]

    def _event(self, value: Mapping[str, Any]) -> list[Event]:
        message = read.table(read.table(value.get("delta")).get("message"))
        match value.get("type"):
            case "content-start":
                return self._content(read.table(message.get("content")), begins=True)
            case "content-delta":
                out = self._content(read.table(message.get("content")), begins=False)
                return [*out, *self.logprobs(value.get("logprobs"))]
            case "tool-plan-delta":
                return self._flow.text(0, Kind.SUMMARY, read.text(message.get("tool_plan")))
            case "tool-call-start":
                return self._call(read.table(message.get("tool_calls")))
            case "tool-call-delta":
                function = read.table(read.table(message.get("tool_calls")).get("function"))
                return self._arguments(read.text(function.get("arguments")))
            case "tool-call-end":
                return self._called()
            case "citation-start":
                return self.cites(message.get("citations"))
            case "message-end":
                return self.finish(read.table(value.get("delta")))
            case _:
                return []

    def _content(self, content: Mapping[str, Any], *, begins: bool) -> list[Event]:
        """Texts of one kind that follow each other are told apart by where they begin."""
        thinking = content.get("type") == "thinking" or "thinking" in content
        kind = Kind.REASONING if thinking else Kind.TEXT
        out = self._flow.close(0) if begins else []
        return [*out, *self._flow.text(0, kind, read.text(content.get("thinking" if thinking else "text")))]

    def logprobs(self, value: object) -> list[Event]:
        """How probable the open text was."""
        tokens, index = tokens_of(value), self._flow.index(0)
        text = self._flow.opened(0) is Kind.TEXT
        return [BlockLogprobs(index, tokens)] if tokens and text and index is not None else []

    def _call(self, call: Mapping[str, Any]) -> list[Event]:
        function = read.table(call.get("function"))
        out = self._flow.begin(0, Kind.TOOL_CALL, read.text(call.get("id")), read.text(function.get("name")))
        self._empty = True
        return [*out, *self._arguments(read.text(function.get("arguments")))]

    def _arguments(self, text: str) -> list[Event]:
        index = self._flow.index(0)
        if self._flow.opened(0) is not Kind.TOOL_CALL or index is None:
            raise Unreadable("arguments without a call")
        if not text or (self._empty and text == "null"):
            return []
        self._empty = False
        return [BlockDelta(index, text)]

    def _called(self) -> list[Event]:
        index = self._flow.index(0)
        if self._flow.opened(0) is not Kind.TOOL_CALL or index is None:
            return []
        out: list[Event] = [BlockDelta(index, "{}")] if self._empty else []
        self._empty = False
        return [*out, *self._flow.close(0)]

    def cites(self, value: object) -> list[Event]:
        """Sources of the open text: one, or a list."""
        rows = [value] if isinstance(value, dict) else read.rows(value)
        return [e for row in rows for cite in cites_of(row, self._origin) for e in self._flow.cite(0, cite)]

    def finish(self, said: Mapping[str, Any]) -> list[Event]:
        """The end, with its reason and the usage."""
        reason = read.text(said.get("finish_reason"))
        if reason in ("ERROR", "ERROR_TOXIC", "ERROR_LIMIT", "TIMEOUT"):
            return self._failed(read.text(said.get("error")) or f"the model ended with {reason}")
        self._over = True
        out = [*self._called(), *self._flow.close()]
        count = count_of(said.get("usage"))
        if count is not None:
            out.append(Counted(count))
        return [*out, Finished(_FINISHES.get(reason, Finish.OTHER), reason), Done()]

    def message(self, message: Mapping[str, Any], logprobs: object = None) -> list[Event]:
        """The blocks of a whole message."""
        out = self._flow.text(0, Kind.SUMMARY, read.text(message.get("tool_plan")))
        parts, cites = read.rows(message.get("content")), read.rows(message.get("citations"))
        last = max((n for n, part in enumerate(parts) if "text" in part), default=-1)
        for n, part in enumerate(parts):
            out += self._content(part, begins=True)
            for row in cites:  # each belongs to the text that it names, or to the last
                at = row.get("content_index")
                texts = isinstance(at, int) and at < len(parts) and "text" in parts[at]
                out += self.cites(row) if n == (at if texts else last) else []
            out += self.logprobs(logprobs) if n == last else []
        for call in read.rows(message.get("tool_calls")):
            out += [*self._call(call), *self._called()]
        return out


def read_answer(body: Mapping[str, Any], origin: str) -> Iterable[Event]:
    """See `Dialect`."""
    if not isinstance(body.get("message"), dict):
        raise Unreadable("an answer without `message`")
    parser = CohereParser(origin)
    out = [*parser.greet(read.text(body.get("id"))), *parser.message(body["message"], body.get("logprobs"))]
    return [*out, *parser.finish({"finish_reason": "COMPLETE", **body})]
