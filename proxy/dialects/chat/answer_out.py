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
from proxy.dialects.chat.request_in import LEGACY, SIGNED
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
    tells,
)
from proxy.dialects.json import encode
from proxy.dialects.media import joined
from proxy.dialects.request import Param
from proxy.dialects.toolbox import Restored

NAME: Final = DialectName.CHAT


UNTOLD: Final[Untold] = {
    Aspect.DOCUMENT_CITATIONS: "a citation is of an address",
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
    answer = Restored(head.request.tools).answer(answer)
    legacy = head.request.names.get(Param.TOOL_CHOICE) == LEGACY
    choices = []
    for at in sorted({*answer.finishes, *(piece.choice for piece in answer.pieces)} or {0}):
        pieces = [piece for piece in answer.pieces if piece.choice == at]
        message = _message(pieces, head)
        finish = answer.finishes.get(at)
        if finish is not None and tells(finish) and not (message["content"] or message["refusal"]):
            message["refusal"] = finish.note
        if legacy and "tool_calls" in message:
            message["function_call"] = message.pop("tool_calls")[0]["function"]
        choices.append(
            {
                "index": at,
                "message": message,
                "logprobs": _logprobs_of(pieces),
                "finish_reason": _ended(finish.reason if finish else Finish.STOP, legacy=legacy),
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


def _ended(reason: Finish, *, legacy: bool) -> str:
    return LEGACY if legacy and reason is Finish.TOOL_CALLS else _FINISH_WORDS[reason]


def _logprobs_of(pieces: list[Piece]) -> dict[str, Any] | None:
    said = [token for piece in pieces if piece.kind is not Kind.REFUSAL for token in piece.logprobs]
    refused = [token for piece in pieces if piece.kind is Kind.REFUSAL for token in piece.logprobs]
    return {"content": said or None, "refusal": refused or None} if said or refused else None


def _message(pieces: list[Piece], head: ReplyHead) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    texts = [piece for piece in pieces if piece.kind is Kind.TEXT]
    if texts:
        message["content"] = "".join(piece.text for piece in texts)
    cites = [_cite_out(cite) for piece in texts for cite in piece.cites if cite.url]
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
    sounds = [piece for piece in pieces if piece.kind is Kind.AUDIO]
    if sounds:
        about = sounds[0].seal.data if sounds[0].seal is not None else {}
        text = joined([piece.text for piece in sounds])
        message["audio"] = {**_sound(sounds[0].raw, sounds[0].media, head), **about, "data": text}
    pictures = [row for piece in pieces if (row := _picture(piece)) is not None]
    if pictures:
        message["images"] = pictures
    return message


_FORMATS: Final = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "l16": "pcm16", "pcm": "pcm16"}


def _sound(raw: Opaque | None, media: str, head: ReplyHead) -> dict[str, Any]:
    """What an audio says of itself. One of another dialect's is kept nowhere, so it expires at once; of what format it
    is has no field in OpenAI's own, where the client chose it."""
    if raw is not None and raw.dialect == NAME:
        return dict(raw.data)
    said: dict[str, Any] = {"id": f"audio_{head.id.removeprefix('req_')}", "expires_at": head.created, "transcript": ""}
    form = media.partition(";")[0].partition("/")[2].lower()
    return {**said, "format": _FORMATS.get(form, form)} if form else said


def _picture(piece: Piece) -> dict[str, Any] | None:
    """An entry of `images`, as OpenRouter has it ("Image generation"); None for what is no picture."""
    own = piece.raw is not None and (piece.raw.dialect, piece.raw.kind) == (NAME, "image_url")
    beside: dict[str, Any] = dict(piece.raw.data) if own and piece.raw is not None else {}
    if piece.kind is Kind.FOREIGN and own:
        return beside
    if piece.kind is not Kind.IMAGE:
        return None
    image = {**beside.get("image_url", {}), "url": f"data:{piece.media_type};base64,{piece.text}"}
    return {"type": "image_url", **beside, "image_url": image}


def _called(piece: Piece) -> dict[str, Any]:
    call = call_out(ToolCall(piece.id, piece.name, piece.text, piece.kind is Kind.CUSTOM_CALL))
    return call if piece.seal is None else {**call, "extra_content": _extra(piece.seal)}


def _extra(seal: Opaque) -> dict[str, Any]:
    """What belongs to a call, where Google's Chat has it: clients that keep it hand it back unaltered."""
    if seal.dialect == NAME and isinstance(seal.data, dict):
        return seal.data
    return {SIGNED: {"thought_signature": seals.wrap(seal, NAME)}}


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
    spot |= {"content": cite.quote} if cite.quote else {}  # as OpenRouter has it
    return {"type": "url_citation", "url_citation": spot}


class ChatRenderer:
    """See `Renderer`."""

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._base: dict[str, Any] = {}
        self._blocks: dict[int, tuple[Kind, int, int]] = {}  # index -> kind, choice, number of the call
        self._thoughts: dict[int, list[str]] = {}  # the texts of thinking, by block
        self._restored = Restored(head.request.tools)
        self._legacy = head.request.names.get(Param.TOOL_CHOICE) == LEGACY
        self._calls: dict[int, int] = {}
        self._numbers: dict[tuple[str, int], int] = {}  # of the next entry of a list
        self._greeted: set[int] = set()
        self._heard: set[int] = set()  # choices with an audio
        self._spoke: set[int] = set()  # choices with a text
        self._drawn: dict[int, Piece] = {}  # pictures: each goes out whole
        self._data: dict[int, list[str]] = {}
        self._count: Count | None = None

    @property
    def begun(self) -> tuple[dict[str, Any] | None, int]:
        """See `Renderer`."""
        return None, 0

    def event(self, event: Event) -> bytes:
        """See `Renderer`."""
        if self._restored.needed:
            return b"".join(self._event(told) for told in self._restored.event(event))
        return self._event(event)

    def _event(self, event: Event) -> bytes:
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
                return self._finish(event)
            case Done():
                return self._end()
            case BlockEnd():
                return self._picture(event.index)
            case Failed():
                pass
        return b""

    def _finish(self, event: Finished) -> bytes:
        """Why the answer ended, and, where nothing is said, what the provider tells people of it."""
        word = _ended(event.reason, legacy=self._legacy)
        told = tells(event) and event.choice not in self._spoke
        said = self._say(event.choice, {"refusal": event.note}) if told else b""
        return self._greet(event.choice) + said + self._say(event.choice, {}, word)

    def _beside(self, event: BlockSeal | BlockCite | BlockLogprobs) -> bytes:
        """What belongs to a block and is not its text."""
        if isinstance(event, BlockSeal):
            return self._seal(event)
        kind, choice, _ = self._blocks[event.index]
        if isinstance(event, BlockCite):
            if not event.cite.url:
                return b""
            return self._say(choice, {"annotations": [self._numbered("annotations", choice, _cite_out(event.cite))]})
        tokens = list(event.tokens)
        refused = kind is Kind.REFUSAL
        said = {"content": None, "refusal": tokens} if refused else {"content": tokens, "refusal": None}
        return self._say(choice, {}, logprobs=said)

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
            out += self._call(choice, number, event)
        elif event.kind is Kind.AUDIO and choice not in self._heard:  # there is one
            self._heard.add(choice)
            out += self._say(choice, {"audio": _sound(event.raw, event.media, self._head)})
        elif event.kind in (Kind.IMAGE, Kind.FOREIGN):
            self._drawn[event.index] = Piece(event.kind, choice=choice, raw=event.raw, media=event.media)
        self._blocks[event.index] = (event.kind, choice, number)
        return out

    def _call(self, choice: int, number: int, event: BlockStart) -> bytes:
        """A call begins; a client of the old kind can be told of the first alone."""
        if self._legacy:
            return b"" if number else self._say(choice, {LEGACY: {"name": event.name, "arguments": ""}})
        form, key = ("custom", "input") if event.kind is Kind.CUSTOM_CALL else ("function", "arguments")
        call = {"index": number, "id": event.id, "type": form, form: {"name": event.name, key: ""}}
        return self._say(choice, {"tool_calls": [call]})

    def _delta(self, event: BlockDelta) -> bytes:
        kind, choice, number = self._blocks[event.index]
        match kind:
            case Kind.TEXT:
                self._spoke.add(choice)
                return self._say(choice, {"content": event.text})
            case Kind.REASONING | Kind.SUMMARY:
                self._thoughts.setdefault(event.index, []).append(event.text)
                return self._say(choice, {"reasoning_content": event.text})
            case Kind.REFUSAL:
                self._spoke.add(choice)
                return self._say(choice, {"refusal": event.text})
            case Kind.TOOL_CALL if self._legacy:
                return b"" if number else self._say(choice, {LEGACY: {"arguments": event.text}})
            case Kind.TOOL_CALL:
                return self._say(choice, {"tool_calls": [{"index": number, "function": {"arguments": event.text}}]})
            case Kind.CUSTOM_CALL:
                return self._say(choice, {"tool_calls": [{"index": number, "custom": {"input": event.text}}]})
            case Kind.AUDIO:
                return self._say(choice, {"audio": {"data": event.text}})
            case Kind.IMAGE:
                self._data.setdefault(event.index, []).append(event.text)
                return b""
            case _:
                return b""

    def _picture(self, index: int) -> bytes:
        """A picture is whole."""
        piece = self._drawn.pop(index, None)
        if piece is None:
            return b""
        piece.text = "".join(self._data.pop(index, ()))
        row = _picture(piece)
        return (
            b"" if row is None else self._say(piece.choice, {"images": [self._numbered("images", piece.choice, row)]})
        )

    def _seal(self, event: BlockSeal) -> bytes:
        """The seal of thinking goes out with all of its text again: it has to come back as one."""
        kind, choice, number = self._blocks[event.index]
        match kind:
            case Kind.REASONING | Kind.SUMMARY:
                text = "".join(self._thoughts.pop(event.index, ()))
                detail = self._numbered("reasoning_details", choice, _detail_out(kind, text, event.seal))
                return self._say(choice, {"reasoning_details": [detail]})
            case Kind.TOOL_CALL if not self._legacy:
                beside = {"function": {"arguments": ""}, "extra_content": _extra(event.seal)}  # SDKs want a function
                return self._say(choice, {"tool_calls": [{"index": number, **beside}]})
            case Kind.AUDIO:
                return self._say(choice, {"audio": event.seal.data})
            case _:
                return b""

    def _end(self) -> bytes:
        usage = b""
        if self._count is not None and self._head.include_usage:
            usage = sse.frame(encode({**self._base, "choices": [], "usage": usage_of(self._count)}))
        return usage + b"data: [DONE]\n\n"
