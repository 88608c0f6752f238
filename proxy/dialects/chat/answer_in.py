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
from proxy.dialects.chat.request_in import call_seal
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
    "model_length": Finish.CONTEXT,  # Mistral
    "model_context_window_exceeded": Finish.CONTEXT,  # Z.ai
    "eos": Finish.STOP,  # Together
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP_SEQUENCE,
    "max_tokens": Finish.LENGTH,
    "tool_use": Finish.TOOL_CALLS,
    "sensitive": Finish.CONTENT_FILTER,  # Z.ai
}
_TROUBLE: Final = frozenset({"error", "network_error", "insufficient_system_resource"})  # OpenRouter, Z.ai, DeepSeek
_CACHED: Final = ("cached_tokens", "num_cached_tokens", "prompt_cache_hit_tokens")  # Moonshot, Mistral, DeepSeek


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
        cached=read.number(inputs.get("cached_tokens")) or max(read.number(usage.get(name)) for name in _CACHED),
        cache_write=read.number(inputs.get("cache_write_tokens")) or read.number(inputs.get("cache_creation_tokens")),
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
        self._seen: set[int] = set()  # choices that have begun
        self._finished: dict[int, Finished] = {}
        self._calls: dict[int, Calls] = {}
        self._thoughts: dict[int, Thought] = {}  # the open row of `reasoning_details` of each choice
        self._plain: dict[int, list[str]] = {}  # the open thinking that came without rows
        self._heard: dict[int, dict[str, Any]] = {}  # what an audio says of itself, by choice
        self._spoken: dict[int, list[str]] = {}  # and its transcript, in pieces
        self._sources: list[str] = []  # addresses beside the answer
        self._cited = False  # its text says itself what it cites

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
        """Whole with a finish reason of each choice or with the terminator, cut short without."""
        self._over = True
        for at in sorted(self._seen - self._finished.keys()) if whole else ():
            self._finished[at] = Finished(Finish.TOOL_CALLS if at in self._calls else Finish.STOP, choice=at)
        if not self._finished or not self._seen <= self._finished.keys():
            return [Failed()]
        out: list[Event] = []
        index = self._ledger.index((0, Kind.TEXT))
        if index is not None and not self._cited:
            out += [BlockCite(index, Cite(url)) for url in self._sources]
        for at in {*self._thoughts, *self._heard}:
            self._close(at, out)
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
            if self._over:
                return out
        cited = value.get("citations")  # Perplexity, xAI
        if isinstance(cited, list):
            self._sources = [url for url in cited if isinstance(url, str)]
        usage = value.get("usage") or read.table(value.get("x_groq")).get("usage")
        if not usage:  # Moonshot counts inside the choice
            usage = next((row["usage"] for row in read.rows(value.get("choices")) if row.get("usage")), None)
        count = count_of(usage)
        if count is not None:
            out.append(Counted(count))
        return out

    def _choice(self, choice: Mapping[str, Any], out: list[Event]) -> None:
        at = read.number(choice.get("index"))
        self._seen.add(at)
        delta = read.table(choice.get("delta") or choice.get("message"))
        if at not in self._finished:
            self._delta(at, delta, out)
            self._logprobs(at, read.table(choice.get("logprobs")), out)
        reason = choice.get("finish_reason")
        error = choice.get("error")
        if (isinstance(reason, str) and reason in _TROUBLE) or isinstance(error, dict):
            self._over = True
            said = {"code": reason, "message": "the provider could not finish its answer"}
            out.append(Failed(dict(error) if isinstance(error, dict) else said))
            return
        if isinstance(reason, str) and reason and at not in self._finished:
            known = _FINISHES.get(reason, Finish.OTHER)
            if known is Finish.STOP and at in self._calls:
                known = Finish.TOOL_CALLS  # some providers say `stop` behind calls (recorded so)
            self._finished[at] = Finished(known, reason, choice=at)

    def _logprobs(self, at: int, given: Mapping[str, Any], out: list[Event]) -> None:
        for name, kind in (("content", Kind.TEXT), ("refusal", Kind.REFUSAL)):
            tokens = read.rows(given.get(name))
            index = self._ledger.index((at, kind))
            if tokens and index is not None:
                out.append(BlockLogprobs(index, tuple(tokens)))

    def _delta(self, at: int, delta: Mapping[str, Any], out: list[Event]) -> None:
        for row in read.rows(delta.get("reasoning_details")):
            self._detail(at, row, out)
        if not delta.get("reasoning_details"):
            plain = read.text(delta.get("reasoning_content") or delta.get("reasoning"))
            self._text(at, Kind.REASONING, plain, out)
            if plain:
                self._plain.setdefault(at, []).append(plain)
        content = delta.get("content")
        if isinstance(content, str):
            self._text(at, Kind.TEXT, content, out)
        for part in read.rows(content):
            self._part(at, part, out)
        self._text(at, Kind.REFUSAL, read.text(delta.get("refusal")), out)
        self._beside(at, delta, out)
        for n, call in enumerate(read.rows(delta.get("tool_calls"))):
            place = call.get("index", n)
            self._call(at, place if isinstance(place, int) else n, call, out)
        legacy = read.table(delta.get("function_call"))
        if legacy.get("name") or legacy.get("arguments"):  # Snowflake fills what is not there with empty texts
            self._call(at, "legacy", {"function": legacy, "id": legacy.get("name")}, out)
        audio = read.table(delta.get("audio"))
        if audio:
            self._audio(at, audio, out)

    def _beside(self, at: int, delta: Mapping[str, Any], out: list[Event]) -> None:
        for row in read.rows(delta.get("annotations")):
            self._cite(at, row, out)
        for row in read.rows(delta.get("images")):
            self._picture(at, row, out)

    def _part(self, at: int, part: Mapping[str, Any], out: list[Event]) -> None:
        thinking = "".join(read.text(row.get("text")) for row in read.rows(part.get("thinking")))
        self._text(at, Kind.REASONING, thinking, out)
        self._text(at, Kind.TEXT, read.text(part.get("text")), out)
        self._picture(at, part, out)

    def _text(self, at: int, kind: Kind, text: str, out: list[Event]) -> None:
        if text:
            out.append(BlockDelta(self._block(at, kind, out), text))

    def _block(
        self,
        at: int,
        kind: Kind,
        out: list[Event],
        ident: str = "",
        raw: Opaque | None = None,
        media: str = "",
        *,
        keep: bool = False,
    ) -> int:
        """The open block of this kind; a new one closes what stood open before it, but for unfinished calls. `keep`:
        that has been done."""
        index = self._ledger.index((at, kind))
        if index is not None:
            return index
        if not keep:
            self._close(at, out)
        if at in self._calls:
            out += self._calls[at].settle()
        start = self._ledger.start((at, kind), kind, ident=ident, choice=at, raw=raw, media=media)
        out.append(start)
        return start.index

    def _close(self, at: int, out: list[Event]) -> None:
        """End what is open of one choice but for its calls, with what proves it."""
        self._plain.pop(at, None)
        thought = self._thoughts.pop(at, None)
        index = None if thought is None else self._ledger.index((at, thought.kind))
        if thought is not None and index is not None and thought.own:
            out.append(BlockSeal(index, Opaque(NAME, thought.type, thought.whole(), self._origin)))
        index = self._ledger.index((at, Kind.AUDIO))
        spoken = self._spoken.pop(at, None)
        if spoken is not None:
            self._heard.setdefault(at, {})["transcript"] = "".join(spoken)
        if index is not None and self._heard.get(at):
            out.append(BlockSeal(index, Opaque(NAME, "audio", self._heard.pop(at), self._origin)))
        for other in _TEXTS:
            out += self._ledger.end((at, other))

    def _detail(self, at: int, row: Mapping[str, Any], out: list[Event]) -> None:
        """One of OpenRouter's `reasoning_details`, or a piece of one: it has to go back as it was, so it is kept."""
        thought = self._thoughts.get(at)
        plain = "".join(self._plain.pop(at, ()))
        if thought is None and plain and plain in (row.get("text"), row.get("summary")):
            thought = self._thoughts[at] = Thought(row, plain)  # ours: the whole of what went before, with its seal
        elif thought is None or not thought.goes_on(row):
            self._close(at, out)
            thought = self._thoughts[at] = Thought(row)
            self._block(at, thought.kind, out, keep=True)
        text = thought.add(row)
        self._text(at, thought.kind, text, out)

    def _cite(self, at: int, row: Mapping[str, Any], out: list[Event]) -> None:
        cite = read.table(row.get("url_citation"))
        index = self._ledger.index((at, Kind.TEXT))
        if not cite or index is None:
            return
        self._cited = True
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
        self._close(at, out)
        ident, name, seal = read.text(call.get("id")), read.text(function.get("name")), call_seal(call, self._origin)
        out += self._calls[at].fragment(place, kind, ident, name, text, seal)

    def _picture(self, at: int, row: Mapping[str, Any], out: list[Event]) -> None:
        """A picture comes in one piece (OpenRouter, "Image generation"); one at an address has no data to tell."""
        given = read.table(row.get("image_url"))
        url = read.text(given.get("url"))
        if not url:
            return
        inline = read.data_url(url)
        kind = Kind.FOREIGN if inline is None else Kind.IMAGE
        beside = {"image_url": {name: value for name, value in given.items() if name != "url" or inline is None}}
        whole = {name: value for name, value in row.items() if name != "index"} | beside
        raw = Opaque(NAME, "image_url", whole, self._origin)
        index = self._block(at, kind, out, raw=raw, media="" if inline is None else inline[0])
        out += [] if inline is None else [BlockDelta(index, inline[1])]
        out += self._ledger.end((at, kind))

    def _audio(self, at: int, audio: Mapping[str, Any], out: list[Event]) -> None:
        """Its transcript comes in pieces too, and when it expires at last."""
        if self._ledger.index((at, Kind.AUDIO)) is None:
            raw = Opaque(NAME, "audio", {"id": audio.get("id")}, self._origin)
            self._block(at, Kind.AUDIO, out, read.text(audio.get("id")), raw)
        about = self._heard.setdefault(at, {})
        if audio.get("transcript"):
            self._spoken.setdefault(at, []).append(read.text(audio.get("transcript")))
        about |= {name: value for name, value in audio.items() if name not in ("id", "data", "transcript")}
        index, data = self._ledger.index((at, Kind.AUDIO)), read.text(audio.get("data"))
        if data and index is not None:
            out.append(BlockDelta(index, data))


class Thought:
    """One row of `reasoning_details`, however many pieces it comes in."""

    def __init__(self, row: Mapping[str, Any], said: str = "") -> None:
        self.type = read.text(row.get("type"))
        self.kind = Kind.SUMMARY if self.type == "reasoning.summary" and not said else Kind.REASONING
        self._row: dict[str, Any] = {}
        self._texts = [said] if said else []
        self._repeated = bool(said)  # the first piece says again what was said
        self._sealed = False

    def goes_on(self, row: Mapping[str, Any]) -> bool:
        """Whether this is more of the same row."""
        places = ("type", "index", "id")
        return not self._sealed and all(row.get(name, self._row.get(name)) == self._row.get(name) for name in places)

    @property
    def own(self) -> bool:
        """Whether there is more to it than its text."""
        return any(self._row.get(name) is not None for name in self._row if name not in ("type", "text", "summary"))

    def add(self, row: Mapping[str, Any]) -> str:
        """The text that a piece adds; one that repeats all of it, for the sake of a signature, adds none."""
        self._row |= {name: value for name, value in row.items() if value is not None or name not in self._row}
        self._sealed = bool(row.get("signature") or row.get("data"))
        text = read.text(row.get("text")) or read.text(row.get("summary"))
        if (self._sealed or self._repeated) and self._texts and text == "".join(self._texts):
            self._repeated = False
            return ""
        self._texts.append(text)
        return text

    def whole(self) -> dict[str, Any]:
        """The row with all of its text."""
        name = "summary" if self.type == "reasoning.summary" else "text"
        text = "".join(self._texts)
        return {**self._row, name: text} if text or name in self._row else self._row


_TEXTS: Final = (Kind.TEXT, Kind.REASONING, Kind.SUMMARY, Kind.REFUSAL, Kind.AUDIO)


def read_answer(body: Mapping[str, Any], origin: str) -> Iterable[Event]:
    """See `Dialect`."""
    if not read.rows(body.get("choices")) and not body.get("error"):
        raise Unreadable("an answer without `choices`")
    parser = ChatParser(origin)
    return [*parser.chunk(body), *parser.close(whole=True)]
