"""A provider's answer in Chat Completions, whole or streamed, read into events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from proxy.dialects import read, sse
from proxy.dialects.base import DialectName, Unreadable
from proxy.dialects.blocks import (
    Cite,
    Count,
    Finish,
    Opaque,
)
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
from proxy.dialects.json import decode, encode

NAME: Final = DialectName.CHAT


_FINISHES: Final = {
    "stop": Finish.STOP,
    "length": Finish.LENGTH,
    "tool_calls": Finish.TOOL_CALLS,
    "function_call": Finish.TOOL_CALLS,
    "content_filter": Finish.CONTENT_FILTER,
    "refusal": Finish.REFUSAL,
    "model_length": Finish.CONTEXT,
}


def count_of(usage: object) -> Count | None:
    """The `usage` object; None where there is none."""
    if not isinstance(usage, dict):
        return None
    inputs, outputs = read.table(usage.get("prompt_tokens_details")), read.table(usage.get("completion_tokens_details"))
    read_in, written = read.number(usage.get("prompt_tokens")), read.number(usage.get("completion_tokens"))
    thought = read.number(outputs.get("reasoning_tokens"))
    if thought and read.number(usage.get("total_tokens")) >= read_in + written + thought:
        written += thought  # xAI counts reasoning beside the completion, as its totals show (recorded so)
    return Count(
        input=read_in,
        output=written,
        cached=read.number(inputs.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))),
        cache_write=read.number(inputs.get("cache_write_tokens")),
        reasoning=thought,
        audio_input=read.number(inputs.get("audio_tokens")),
        audio_output=read.number(outputs.get("audio_tokens")),
    )


class ChatParser:
    """See `Parser`. A whole answer is read as one chunk whose `message` is its only delta."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._splitter = sse.EventSplitter()
        self._ledger = Ledger()
        self._started = False
        self._over = False
        self._finished: dict[int, Finished] = {}
        self._calls: dict[int, Calls] = {}

    @property
    def ended(self) -> bool:
        """See `Parser`."""
        return self._over

    def feed(self, data: bytes) -> list[Event]:
        """See `Parser`."""
        return [event for raw in self._splitter.feed(data) for event in self._one(raw)]

    def close(self, *, whole: bool = False) -> list[Event]:
        """See `Parser`. `whole`: it was no stream, so that nothing can be missing."""
        last = sse.ended(self._splitter.rest())
        events = [] if last is None else self._one(last)
        return events if self._over else [*events, *self._end(whole=whole)]

    def _end(self, *, whole: bool = False) -> list[Event]:
        """Whole with a finish reason or with the terminator, cut short without."""
        self._over = True
        if not self._finished and whole and self._started:
            self._finished[0] = Finished(Finish.TOOL_CALLS if 0 in self._calls else Finish.STOP)
        if not self._finished:
            return [Failed()]
        out: list[Event] = []
        for calls in self._calls.values():
            out += calls.settle(over=True)
        return [*out, *self._ledger.end_all(), *self._finished.values(), Done()]

    def _one(self, raw: bytes) -> list[Event]:
        data = sse.event_data(raw)
        if not data or self._over:
            return []
        if data == b"[DONE]":
            return self._end(whole=True)
        try:
            value = decode(data)
        except ValueError:
            raise Unreadable("an event that is not JSON") from None
        if not isinstance(value, dict):
            raise Unreadable("an event that is not a JSON object")
        return self.chunk(value)

    def chunk(self, value: Mapping[str, Any]) -> list[Event]:
        """The events of one decoded chunk."""
        error = value.get("error")
        if error:
            self._over = True
            return [Failed(error if isinstance(error, dict) else {"message": str(error)[:300]})]
        out: list[Event] = []
        if not self._started:
            self._started = True
            created = read.number(value.get("created"))
            out.append(Started(read.text(value.get("id")), read.text(value.get("model")), created))
        for choice in read.rows(value.get("choices")):
            self._choice(choice, out)
        usage = value.get("usage") or read.table(value.get("x_groq")).get("usage")
        count = count_of(usage)
        if count is not None:
            out.append(Counted(count))
        return out

    def _choice(self, choice: Mapping[str, Any], out: list[Event]) -> None:
        at = read.number(choice.get("index"))
        delta = read.table(choice.get("delta") or choice.get("message"))
        if delta and at not in self._finished:
            self._delta(at, delta, out)
            tokens = read.table(choice.get("logprobs")).get("content")
            index = self._ledger.index((at, Kind.TEXT))
            if isinstance(tokens, list) and tokens and index is not None:
                out.append(BlockLogprobs(index, tuple(tokens)))
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason and at not in self._finished:
            known = _FINISHES.get(reason, Finish.OTHER)
            if known is Finish.STOP and at in self._calls:
                known = Finish.TOOL_CALLS  # some providers say `stop` behind calls (recorded so)
            self._finished[at] = Finished(known, reason, choice=at)

    def _delta(self, at: int, delta: Mapping[str, Any], out: list[Event]) -> None:
        for row in read.rows(delta.get("reasoning_details")):
            self._detail(at, row, out)
        if not delta.get("reasoning_details"):
            self._text(at, Kind.REASONING, read.text(delta.get("reasoning_content") or delta.get("reasoning")), out)
        content = delta.get("content")
        if isinstance(content, str):
            self._text(at, Kind.TEXT, content, out)
        for part in read.rows(content):
            thinking = "".join(read.text(row.get("text")) for row in read.rows(part.get("thinking")))
            self._text(at, Kind.REASONING, thinking, out)
            self._text(at, Kind.TEXT, read.text(part.get("text")), out)
        self._text(at, Kind.REFUSAL, read.text(delta.get("refusal")), out)
        for row in read.rows(delta.get("annotations")):
            self._cite(at, row, out)
        for n, call in enumerate(read.rows(delta.get("tool_calls"))):
            self._call(at, call.get("index", n), call, out)
        legacy = read.table(delta.get("function_call"))
        if legacy.get("name") or legacy.get("arguments"):  # Snowflake fills what is not there with empty texts
            self._call(at, "legacy", {"function": legacy, "id": legacy.get("name")}, out)
        audio = read.table(delta.get("audio"))
        if audio.get("id") or audio.get("data"):
            self._audio(at, audio, out)

    def _text(self, at: int, kind: Kind, text: str, out: list[Event]) -> None:
        if text:
            out.append(BlockDelta(self._block(at, kind, out), text))

    def _block(self, at: int, kind: Kind, out: list[Event], ident: str = "", raw: Opaque | None = None) -> int:
        """The open block of this kind; a new one closes what stood open before it, but for unfinished calls."""
        index = self._ledger.index((at, kind))
        if index is not None:
            return index
        for other in _TEXTS:
            out += self._ledger.end((at, other))
        if at in self._calls:
            out += self._calls[at].settle()
        start = self._ledger.start((at, kind), kind, ident=ident, choice=at, raw=raw)
        out.append(start)
        return start.index

    def _detail(self, at: int, row: Mapping[str, Any], out: list[Event]) -> None:
        """One of OpenRouter's `reasoning_details`: text, or what holds it."""
        text = read.text(row.get("text")) or read.text(row.get("summary"))
        kind = Kind.SUMMARY if row.get("type") == "reasoning.summary" else Kind.REASONING
        self._text(at, kind, text, out)
        if row.get("signature") or row.get("data"):
            index = self._block(at, kind, out)
            out.append(BlockSeal(index, Opaque(NAME, read.text(row.get("type")), dict(row), self._origin)))
            out += self._ledger.end((at, kind))

    def _cite(self, at: int, row: Mapping[str, Any], out: list[Event]) -> None:
        cite = read.table(row.get("url_citation"))
        index = self._ledger.index((at, Kind.TEXT))
        if not cite or index is None:
            return
        start, end = cite.get("start_index"), cite.get("end_index")
        out.append(
            BlockCite(
                index,
                Cite(
                    read.text(cite.get("url")),
                    read.text(cite.get("title")),
                    read.text(cite.get("content")),
                    start if isinstance(start, int) else None,
                    end if isinstance(end, int) else None,
                ),
            )
        )

    def _call(self, at: int, place: object, call: Mapping[str, Any], out: list[Event]) -> None:
        free = call.get("type") == "custom" or ("custom" in call and "function" not in call)
        kind = Kind.CUSTOM_CALL if free else Kind.TOOL_CALL
        function = read.table(call.get("custom" if kind is Kind.CUSTOM_CALL else "function"))
        given = function.get("input" if kind is Kind.CUSTOM_CALL else "arguments")
        text = given if isinstance(given, str) else encode(given).decode() if given is not None else ""
        if at not in self._calls:
            self._calls[at] = Calls(self._ledger, at)
        for other in _TEXTS:
            out += self._ledger.end((at, other))
        out += self._calls[at].fragment(place, kind, read.text(call.get("id")), read.text(function.get("name")), text)

    def _audio(self, at: int, audio: Mapping[str, Any], out: list[Event]) -> None:
        raw = Opaque(NAME, "audio", {k: v for k, v in audio.items() if k != "data"}, self._origin)
        index = self._block(at, Kind.AUDIO, out, read.text(audio.get("id")), raw)
        data = read.text(audio.get("data"))
        if data:
            out.append(BlockDelta(index, data))


_TEXTS: Final = (Kind.TEXT, Kind.REASONING, Kind.SUMMARY, Kind.REFUSAL, Kind.AUDIO)


def read_answer(body: Mapping[str, Any], origin: str) -> Iterable[Event]:
    """See `Dialect`."""
    if not read.rows(body.get("choices")) and not body.get("error"):
        raise Unreadable("an answer without `choices`")
    parser = ChatParser(origin)
    return [*parser.chunk(body), *parser.close(whole=True)]
