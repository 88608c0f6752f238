"""A provider's answer in generateContent, whole or streamed, read into events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from proxy.dialects import read, sse
from proxy.dialects.base import Unreadable
from proxy.dialects.blocks import Cite, Count, Finish, Opaque
from proxy.dialects.events import (
    BlockLogprobs,
    Counted,
    Done,
    Event,
    Failed,
    Finished,
    Kind,
    Started,
)
from proxy.dialects.flow import Flow
from proxy.dialects.gemini.growing import Growing
from proxy.dialects.gemini.parts import NAME, PLAIN, in_text, signature_of
from proxy.dialects.gemini.request_in import server_call
from proxy.dialects.json import decode, encode
from proxy.dialects.read import camel

_FILTERED: Final = frozenset(
    {
        "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION", "MODEL_ARMOR", "ESCALATION", "PUP_LIMITED_DISABLED",
    }
)  # fmt: skip
# The model's fault, with nothing said: no answer, and another connection may do better.
_FAILED: Final = frozenset(
    {
        "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "NO_IMAGE",
        "MISSING_THOUGHT_SIGNATURE",
    }
)  # fmt: skip
_LENGTHS: Final = frozenset({"MAX_TOKENS", "CONTINUATION"})


def count_of(usage: object) -> Count | None:
    """`usageMetadata`; None where nothing is counted yet. Thinking is not in the candidates' tokens, what tools read
    not in the prompt's (Gemini API, "UsageMetadata")."""
    if not isinstance(usage, dict):
        return None
    given = camel(usage)
    if "promptTokenCount" not in given and "totalTokenCount" not in given:
        return None
    thoughts = read.number(given.get("thoughtsTokenCount"))
    return Count(
        input=read.number(given.get("promptTokenCount")) + read.number(given.get("toolUsePromptTokenCount")),
        output=read.number(given.get("candidatesTokenCount")) + thoughts,
        cached=read.number(given.get("cachedContentTokenCount")),
        reasoning=thoughts,
        audio_input=_of_sound(given.get("promptTokensDetails")),
        audio_output=_of_sound(given.get("candidatesTokensDetails")),
    )


def _of_sound(details: object) -> int:
    rows = read.rows(details)
    return sum(read.number(row.get("tokenCount")) for row in rows if row.get("modality") == "AUDIO")


class GeminiParser:
    """See `Parser`. A whole answer is read as a stream of one chunk."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._splitter = sse.EventSplitter()
        self._flow = Flow()
        self._started = False
        self._over = False
        self._id = ""
        self._calls = 0
        self._called: set[int] = set()
        self._spoke: set[int] = set()
        self._seen: set[int] = set()
        self._finished: dict[int, Finished] = {}
        self._seals: dict[int, Opaque] = {}  # of texts that are still open: sources may follow
        self._growing: dict[int, Growing] = {}  # a call whose arguments come in pieces

    @property
    def ended(self) -> bool:
        """See `Parser`. There is no terminator: it is whole when each choice has a finish reason."""
        return self._over or (bool(self._finished) and self._seen <= self._finished.keys())

    def feed(self, data: bytes) -> list[Event]:
        """See `Parser`."""
        return [event for raw in self._splitter.feed(data) for event in self._one(raw)]

    def close(self) -> list[Event]:
        """See `Parser`."""
        last = sse.ended(self._splitter.rest())
        events = [] if last is None else self._one(last)
        if self._over:
            return events
        whole = self.ended
        self._over = True
        if not whole:
            return [*events, Failed()]
        return [*events, *self._flow.close(), *self._finished.values(), Done()]

    def _one(self, raw: bytes) -> list[Event]:
        data = sse.event_data(raw)
        if not data or self._over or data == b"[DONE]":
            return []
        try:
            value = decode(data)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            if self.ended:  # nothing that is no answer counts behind a whole one
                return []
            raise Unreadable("an event that is not a JSON object")
        return self.chunk(value)

    def chunk(self, value: Mapping[str, Any]) -> list[Event]:
        """The events of one decoded chunk."""
        said = camel(value)
        error = said.get("error")
        if error:
            return self._failed(error if isinstance(error, dict) else {"message": str(error)[:300]})
        out: list[Event] = []
        if not self._started:
            self._started = True
            self._id = read.text(said.get("responseId"))
            out.append(Started(self._id, read.text(said.get("modelVersion")), _seconds(said.get("createTime"))))
        count = count_of(said.get("usageMetadata"))
        if count is not None:
            out.append(Counted(count))
        feedback = camel(read.table(said.get("promptFeedback")))
        blocked = read.text(feedback.get("blockReason"))
        if blocked and not said.get("candidates"):
            self._seen.add(0)
            note = read.text(feedback.get("blockReasonMessage"))
            self._finished.setdefault(0, Finished(Finish.CONTENT_FILTER, blocked, note=note))
        for candidate in read.rows(said.get("candidates")):
            self._candidate(camel(candidate), out)
            if self._over:
                break
        return out

    def _failed(self, error: dict[str, Any]) -> list[Event]:
        self._over = True
        return [Failed(error)]

    def _candidate(self, candidate: Mapping[str, Any], out: list[Event]) -> None:
        at = read.number(candidate.get("index"))
        if at in self._finished:
            return
        self._seen.add(at)
        ground = camel(read.table(candidate.get("groundingMetadata")))
        for part in read.rows(read.table(candidate.get("content")).get("parts")):
            self._part(at, camel(part), out)
        if self._flow.opened(at) is Kind.TEXT:
            self._ground(at, ground, out)
            self._quotes(at, camel(read.table(candidate.get("citationMetadata"))), out)
        tokens = _tokens(camel(read.table(candidate.get("logprobsResult"))))
        index = self._flow.index(at)
        if tokens and index is not None and self._flow.opened(at) is Kind.TEXT:
            out.append(BlockLogprobs(index, tuple(tokens)))
        reason = read.text(candidate.get("finishReason"))
        if reason and reason != "FINISH_REASON_UNSPECIFIED":
            self._finish(at, reason, read.text(candidate.get("finishMessage")), out)

    def _finish(self, at: int, reason: str, message: str, out: list[Event]) -> None:
        out += self._grown(at)
        if reason in _FAILED and at not in self._spoke:
            out += self._failed({"status": "INTERNAL", "message": message or f"the model ended with {reason}"})
            return
        known = Finish.OTHER
        if reason == "STOP":
            known = Finish.TOOL_CALLS if at in self._called else Finish.STOP
        elif reason in _LENGTHS:
            known = Finish.LENGTH
        elif reason in _FILTERED:
            known = Finish.CONTENT_FILTER
        self._settle(at, out)
        out += self._flow.close(at)
        note = message if known in (Finish.CONTENT_FILTER, Finish.OTHER) else ""
        self._finished[at] = Finished(known, reason, choice=at, note=note)

    def _part(self, at: int, part: Mapping[str, Any], out: list[Event]) -> None:
        text = part.get("text")
        if isinstance(text, str):
            self._text(at, text, part, out)
            return
        self._settle(at, out)
        if isinstance(part.get("functionCall"), dict):
            self._call(at, part, out)
        elif part.get("toolCall") or part.get("executableCode"):
            call = server_call(part, self._origin)
            out += self._flow.whole(at, Kind.SERVER_CALL, call.arguments, call.id, call.name, call.raw)
        elif (made := made_of(part)) is not None:
            self._made(at, made, part, out)
        elif part:
            kind = next((key for key in part if key != "thoughtSignature"), "part")
            out += self._flow.whole(at, Kind.FOREIGN, "", raw=Opaque(NAME, kind, dict(part), self._origin))
            self._spoke.add(at)

    def _made(self, at: int, kind: Kind, part: Mapping[str, Any], out: list[Event]) -> None:
        """A picture or a sound; its signature stands behind it, as that of a text does."""
        inline = camel(part["inlineData"])
        data, media = read.text(inline.pop("data", "")).translate(PLAIN), read.text(inline.get("mimeType"))
        beside = {name: value for name, value in part.items() if name != "thoughtSignature"}
        raw = Opaque(NAME, "inlineData", {**beside, "inlineData": inline}, self._origin)
        out += self._flow.whole(at, kind, data, raw=raw, media=media)
        self._spoke.add(at)
        seal = signature_of(part, "part", self._origin)
        if seal is not None:
            out += self._flow.seal(at, seal, alone=True)

    def _text(self, at: int, text: str, part: Mapping[str, Any], out: list[Event]) -> None:
        thought = part.get("thought") is True
        seal = signature_of(part, "thought" if thought else "part", self._origin)
        if text or thought:
            self._settle(at, out)
        if text and not thought:
            self._spoke.add(at)
        out += self._flow.text(at, Kind.REASONING if thought else Kind.TEXT, text)
        if seal is not None and thought:
            out += self._flow.seal(at, seal)
        elif seal is not None:
            self._settle(at, out)
            self._seals[at] = seal

    def _settle(self, at: int, out: list[Event]) -> None:
        """The signature of a text stands behind it."""
        seal = self._seals.pop(at, None)
        if seal is not None:
            out += self._flow.seal(at, seal, alone=True)

    def _call(self, at: int, part: Mapping[str, Any], out: list[Event]) -> None:
        """A call, whole or growing: then each piece says where it belongs (Vertex AI, `partialArgs`)."""
        call = camel(part["functionCall"])
        seal = signature_of(part, "call", self._origin)
        if seal is not None:
            out += self._flow.seal(at, seal, alone=True)
        name = read.text(call.get("name"))
        if name:
            out += self._grown(at)
            self._growing[at] = Growing(name, read.text(call.get("id")), dict(read.table(call.get("args"))))
        if at not in self._growing:
            return
        for piece in read.rows(call.get("partialArgs")):
            self._growing[at].put(camel(piece))
        if call.get("willContinue") is not True:
            out += self._grown(at)

    def _grown(self, at: int) -> list[Event]:
        if at not in self._growing:
            return []
        call = self._growing.pop(at)
        self._calls += 1
        self._called.add(at)
        self._spoke.add(at)
        ident = call.ident or f"call_{self._id}_{self._calls}"
        return self._flow.whole(at, Kind.TOOL_CALL, encode(call.whole()).decode(), ident, call.name)

    def _ground(self, at: int, ground: dict[str, Any], out: list[Event]) -> None:
        """Sources of the open text. Positions count bytes of it in UTF-8."""
        if not ground:
            return
        data = self._flow.said(at).encode("utf-8", "surrogatepass")
        chunks = read.rows(ground.get("groundingChunks"))
        supports = [camel(support) for support in read.rows(ground.get("groundingSupports"))]
        segments = [camel(read.table(support.get("segment"))) for support in supports]
        spans = [(read.number(s.get("startIndex")), read.number(s.get("endIndex"))) for s in segments]
        places = in_text(data, (place for span in spans for place in span))
        for given, segment, (start, end) in zip(supports, segments, spans, strict=True):
            numbers = given.get("groundingChunkIndices")
            for number in numbers if isinstance(numbers, list) else ():
                if isinstance(number, int) and 0 <= number < len(chunks):
                    source = _source(chunks[number])
                    cite = Cite(source[0], source[1], read.text(segment.get("text")), places[start], places[end])
                    out += self._flow.cite(at, cite)

    def _quotes(self, at: int, quoted: dict[str, Any], out: list[Event]) -> None:
        """Where the open text repeats something. Positions count bytes here too."""
        rows = [camel(row) for row in read.rows(quoted.get("citations") or quoted.get("citationSources"))]
        if not rows:
            return
        data = self._flow.said(at).encode("utf-8", "surrogatepass")
        spans = [(read.number(row.get("startIndex")), read.number(row.get("endIndex"))) for row in rows]
        places = in_text(data, (place for span in spans for place in span))
        for row, (start, end) in zip(rows, spans, strict=True):
            quote = data[start:end].decode("utf-8", "ignore")
            raw = Opaque(NAME, "citation", dict(row), self._origin)
            cite = Cite(read.text(row.get("uri")), read.text(row.get("title")), quote, places[start], places[end], raw)
            out += self._flow.cite(at, cite)


def made_of(part: Mapping[str, Any]) -> Kind | None:
    """What a part that is a picture or a sound becomes; a sketch that the model made while it thought is none."""
    inline = camel(read.table(part.get("inlineData")))
    if not read.text(inline.get("data")) or part.get("thought") is True:
        return None
    family = read.text(inline.get("mimeType")).partition("/")[0]
    return {"image": Kind.IMAGE, "audio": Kind.AUDIO}.get(family)


def _source(chunk: Mapping[str, Any]) -> tuple[str, str]:
    """Address and title of a grounding chunk."""
    given = camel(chunk)
    place = camel(read.table(given.get("web") or given.get("retrievedContext") or given.get("maps")))
    return read.text(place.get("uri")), read.text(place.get("title"))


def _tokens(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`logprobsResult` in OpenAI's form, which all events have."""
    tops = read.rows(result.get("topCandidates"))
    tokens: list[dict[str, Any]] = []
    for n, row in enumerate(read.rows(result.get("chosenCandidates"))):
        near = read.rows(read.table(tops[n]).get("candidates")) if n < len(tops) else []
        tokens.append({**_token(camel(row)), "top_logprobs": [_token(camel(top)) for top in near]})
    return tokens


def _token(row: Mapping[str, Any]) -> dict[str, Any]:
    text = read.text(row.get("token"))
    probability = row.get("logProbability")
    return {
        "token": text,
        "logprob": probability if isinstance(probability, int | float) else 0.0,
        "bytes": list(text.encode("utf-8", "surrogatepass")),
    }


def _seconds(when: object) -> int:
    try:
        return max(0, int(datetime.fromisoformat(read.text(when)).timestamp()))
    except (ValueError, OverflowError):
        return 0


def read_answer(body: Mapping[str, Any], origin: str) -> Iterable[Event]:
    """See `Dialect`."""
    said = camel(body)
    if not any(said.get(name) for name in ("candidates", "promptFeedback", "error")):
        raise Unreadable("an answer without `candidates`")
    parser = GeminiParser(origin)
    events = parser.chunk(body)
    if not parser.ended and said.get("candidates"):
        raise Unreadable("an answer without `finishReason`")
    return [*events, *parser.close()]
