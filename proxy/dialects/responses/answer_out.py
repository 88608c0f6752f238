"""An answer of the hub, written in OpenAI Responses for a client, whole or streamed.

A stream says every item twice, in pieces and whole. A whole answer is what the last event of the stream repeats.
"""

from __future__ import annotations

from typing import Any, Final

from proxy.dialects import seals
from proxy.dialects.aspects import Aspect, Untold
from proxy.dialects.base import DialectName, ReplyHead
from proxy.dialects.blocks import Count, Finish
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
    tells,
    unfold,
)
from proxy.dialects.json import decode_object, encode
from proxy.dialects.request import Tool
from proxy.dialects.responses.items import beside_call, cite_out, drawn, own, server_call
from proxy.dialects.responses.request_in import PICTURE
from proxy.dialects.responses.request_out import echo
from proxy.dialects.toolbox import Restored

NAME: Final = DialectName.RESPONSES
UNTOLD: Final[Untold] = {
    Aspect.DOCUMENT_CITATIONS: "a citation is of an address or of a file that OpenAI keeps",
    Aspect.CHOICES: "there is one answer to a question",
    Aspect.AUDIO: "answers have no sound",
    Aspect.BUILT_IN_TOOLS: "there is no place for the work of another provider's own tools",
    Aspect.AUDIO_TOKENS: "usage does not tell sound apart",
    Aspect.SEARCH_COUNT: "usage has no such count",
}
_INCOMPLETE: Final = {
    Finish.LENGTH: "max_output_tokens",
    Finish.CONTEXT: "max_output_tokens",
    Finish.CONTENT_FILTER: "content_filter",
    Finish.REFUSAL: "content_filter",
}
_WORDS: Final = frozenset({Kind.TEXT, Kind.REFUSAL})
_PREFIXES: Final = {
    Kind.REASONING: "rs",
    Kind.SUMMARY: "rs",
    Kind.TOOL_CALL: "fc",
    Kind.CUSTOM_CALL: "ctc",
    Kind.SERVER_CALL: "ws",
    Kind.IMAGE: "ig",
}


def usage_of(count: Count) -> dict[str, Any]:
    """The `usage` object that says this count."""
    inputs = {"cached_tokens": count.cached, "cache_write_tokens": count.cache_write}
    return {
        "input_tokens": count.input,
        "input_tokens_details": inputs,
        "output_tokens": count.output,
        "output_tokens_details": {"reasoning_tokens": count.reasoning},
        "total_tokens": count.input + count.output,
    }


def write_answer(answer: Answer, head: ReplyHead) -> dict[str, Any]:
    """See `Dialect`. Of several choices the first is taken; nobody can ask for more here."""
    writer = ResponsesRenderer(head)
    for event in unfold(answer):
        writer.event(event)
    return writer.response


class ResponsesRenderer:
    """See `Renderer`. Text after text is one message with several parts, as the providers write it."""

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._sequence = 0
        self._at = -1  # the item that is being said
        self._message: dict[str, Any] | None = None
        self._open: dict[int, tuple[int, Piece, dict[str, Any]]] = {}  # block -> its item's place, itself, its part
        self._texts: dict[int, list[str]] = {}
        self._count: Count | None = None
        self._finish: Finished | None = None
        self._restored = Restored(head.request.tools)
        tools = [tool for tool in head.request.tools if isinstance(tool, Tool)]
        self._spaces = {tool.name: tool.space for tool in tools if tool.space is not None}
        self.response: dict[str, Any] = {}

    @property
    def begun(self) -> tuple[dict[str, Any] | None, int]:
        """See `Renderer`."""
        return self.response or None, self._sequence

    def event(self, event: Event) -> bytes:
        """See `Renderer`."""
        if self._restored.needed:
            return b"".join(self._event(told) for told in self._restored.event(event))
        return self._event(event)

    def _event(self, event: Event) -> bytes:
        match event:
            case BlockDelta(index=index, text=text):
                return self._delta(index, text)
            case BlockStart():
                return self._start(event)
            case BlockEnd(index=index):
                return self._end(index)
            case BlockCite() | BlockLogprobs() | BlockSeal():
                return self._beside(event)
            case Started():
                self.response = _opening(event, self._head)
                return self._say("response.created", response=self.response) + self._say(
                    "response.in_progress", response=self.response
                )
            case Counted(count=count):
                self._count = count
            case Finished(choice=0):
                self._finish = event
                return self._explained(event)
            case Done():
                return self._done()
            case _:
                pass
        return b""

    def _explained(self, finish: Finished) -> bytes:
        """Why nothing is said, where the provider tells it to people: the words of a refusal."""
        if not tells(finish) or self._message is not None or any(i["type"] == "message" for i in self._output()):
            return b""
        start = BlockStart(-1, Kind.REFUSAL)
        return self._start(start) + self._delta(start.index, finish.note) + self._end(start.index)

    def _output(self) -> list[dict[str, Any]]:
        output: list[dict[str, Any]] = self.response["output"]
        return output

    def _say(self, kind: str, **fields: Any) -> bytes:
        body = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return b"event: " + kind.encode() + b"\ndata: " + encode(body) + b"\n\n"

    def _ident(self, kind: Kind) -> str:
        return f"{_PREFIXES.get(kind, 'msg')}_{self._head.id.removeprefix('req_')}_{self._at}"

    def _start(self, event: BlockStart) -> bytes:
        if event.choice:
            return b""
        piece = Piece(event.kind, event.id, event.name, raw=event.raw, media=event.media)
        self._texts[event.index] = []
        if event.kind in _WORDS:
            return self._part(event.index, piece)
        out = self._close_message()
        item = self._item(piece)
        if item is None:
            return out
        self._at += 1
        item.setdefault("id", self._ident(piece.kind))
        self._open[event.index] = (self._at, piece, item)
        out += self._say("response.output_item.added", output_index=self._at, item=item)
        if event.kind is Kind.IMAGE:
            place = {"item_id": item["id"], "output_index": self._at}
            out += self._say("response.image_generation_call.in_progress", **place)
            out += self._say("response.image_generation_call.generating", **place)
        return out

    def _item(self, piece: Piece) -> dict[str, Any] | None:
        """An item as it begins; None for what this dialect has no word for."""
        match piece.kind:
            case Kind.REASONING | Kind.SUMMARY:
                return {"type": "reasoning", "summary": []}
            case Kind.TOOL_CALL:
                call = {"type": "function_call", "call_id": piece.id, **self._named(piece.name), "arguments": ""}
                return {**call, "status": "in_progress"}
            case Kind.CUSTOM_CALL:
                call = {"type": "custom_tool_call", "call_id": piece.id, **self._named(piece.name), "input": ""}
                return {**call, "status": "in_progress"}
            case Kind.IMAGE:
                ident = {"id": piece.id} if own(piece) and piece.id else {}
                return {"type": PICTURE, **ident, "status": "in_progress", "result": None}
            case Kind.SERVER_CALL if piece.raw is not None and piece.raw.dialect != NAME:
                return server_call(piece)
            case Kind.SERVER_CALL | Kind.FOREIGN if piece.raw is not None and piece.raw.dialect == NAME:
                return dict(piece.raw.data)
            case _:
                return None

    def _named(self, name: str) -> dict[str, str]:
        """A tool as the client gave it."""
        space = self._spaces.get(name)
        return {"name": name} if space is None else {"name": space.inner, "namespace": space.name}

    def _part(self, index: int, piece: Piece) -> bytes:
        out = b""
        if self._message is None:
            self._at += 1
            ident = self._ident(piece.kind)
            self._message = {"type": "message", "id": ident, "status": "in_progress", "role": "assistant"}
            self._message["content"] = []
            out = self._say("response.output_item.added", output_index=self._at, item=self._message)
        part: dict[str, Any] = {"type": "refusal", "refusal": ""}
        if piece.kind is Kind.TEXT:
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        place = {"item_id": self._message["id"], "output_index": self._at}
        place["content_index"] = len(self._message["content"])
        out += self._say("response.content_part.added", **place, part=part)
        self._message["content"].append(part)
        self._open[index] = (self._at, piece, {"part": part, "place": place})
        return out

    def _delta(self, index: int, text: str) -> bytes:
        if index not in self._open:
            return b""
        at, piece, item = self._open[index]
        self._texts[index].append(text)
        place: dict[str, int] = {}
        match piece.kind:
            case Kind.TEXT:
                return self._say("response.output_text.delta", **item["place"], delta=text, logprobs=[])
            case Kind.REFUSAL:
                return self._say("response.refusal.delta", **item["place"], delta=text)
            case Kind.TOOL_CALL:
                kind = "response.function_call_arguments.delta"
            case Kind.CUSTOM_CALL:
                kind = "response.custom_tool_call_input.delta"
            case Kind.SUMMARY:
                kind, place = "response.reasoning_summary_text.delta", {"summary_index": 0}
            case Kind.REASONING:
                kind, place = "response.reasoning_text.delta", {"content_index": 0}
            case _:
                return b""
        out = b""
        if len(self._texts[index]) == 1:
            out = self._thinks(at, piece.kind, item)
        return out + self._say(kind, item_id=item["id"], output_index=at, **place, delta=text)

    def _thinks(self, at: int, kind: Kind, item: dict[str, Any]) -> bytes:
        """A reasoning's only part begins."""
        if kind is Kind.SUMMARY:
            part = {"type": "summary_text", "text": ""}
            return self._say(
                "response.reasoning_summary_part.added",
                item_id=item["id"], output_index=at, summary_index=0, part=part,
            )  # fmt: skip
        if kind is Kind.REASONING:
            part = {"type": "reasoning_text", "text": ""}
            return self._say(
                "response.content_part.added", item_id=item["id"], output_index=at, content_index=0, part=part
            )
        return b""

    def _beside(self, event: BlockCite | BlockLogprobs | BlockSeal) -> bytes:
        if event.index not in self._open:
            return b""
        _, piece, item = self._open[event.index]
        if isinstance(event, BlockSeal):
            piece.seal = event.seal
        elif isinstance(event, BlockLogprobs):
            if piece.kind is Kind.TEXT:
                item["part"]["logprobs"] += event.tokens
        elif piece.kind is Kind.TEXT and (row := cite_out(event.cite)) is not None:
            item["part"]["annotations"].append(row)
            n = len(item["part"]["annotations"]) - 1
            return self._say(
                "response.output_text.annotation.added", **item["place"], annotation_index=n, annotation=row
            )
        return b""

    def _end(self, index: int) -> bytes:
        if index not in self._open:
            return b""
        at, piece, item = self._open.pop(index)
        text = "".join(self._texts.pop(index))
        if piece.kind in _WORDS:
            return self._part_end(piece.kind, item, text)
        place = {"item_id": item["id"], "output_index": at}
        out = b""
        match piece.kind:
            case Kind.TOOL_CALL:
                item |= {"arguments": text, "status": "completed", **beside_call(piece)}
                out = self._say("response.function_call_arguments.done", **place, arguments=text, name=item["name"])
            case Kind.CUSTOM_CALL:
                item |= {"input": text, "status": "completed", **beside_call(piece)}
                out = self._say("response.custom_tool_call_input.done", **place, input=text)
            case Kind.REASONING | Kind.SUMMARY:
                out = self._thought(place, piece, item, text)
            case Kind.IMAGE:
                piece.text = text
                item |= drawn(piece)
                out = self._say("response.image_generation_call.completed", **place)
            case Kind.SERVER_CALL if piece.raw is not None and piece.raw.dialect != NAME:
                query = (decode_object(text.encode("utf-8", "surrogatepass")) or {}).get("query")
                item["status"] = "completed"
                item["action"] |= {"query": query} if isinstance(query, str) else {}
                out = self._say("response.web_search_call.completed", **place)
            case _:
                pass
        return out + self._item_end(at, item)

    def _item_end(self, at: int, item: dict[str, Any]) -> bytes:
        self.response["output"].append(item)
        return self._say("response.output_item.done", output_index=at, item=item)

    def _part_end(self, kind: Kind, item: dict[str, Any], text: str) -> bytes:
        part, place = item["part"], item["place"]
        if kind is Kind.TEXT:
            part["text"] = text
            out = self._say("response.output_text.done", **place, text=text, logprobs=part["logprobs"])
        else:
            part["refusal"] = text
            out = self._say("response.refusal.done", **place, refusal=text)
        return out + self._say("response.content_part.done", **place, part=part)

    def _thought(self, place: dict[str, Any], piece: Piece, item: dict[str, Any], text: str) -> bytes:
        out = b""
        if text and piece.kind is Kind.SUMMARY:
            part = {"type": "summary_text", "text": text}
            item["summary"] = [part]
            out = self._say("response.reasoning_summary_text.done", **place, summary_index=0, text=text)
            out += self._say("response.reasoning_summary_part.done", **place, summary_index=0, part=part)
        elif text:
            part = {"type": "reasoning_text", "text": text}
            item["content"] = [part]
            out = self._say("response.reasoning_text.done", **place, content_index=0, text=text)
            out += self._say("response.content_part.done", **place, content_index=0, part=part)
        seal = piece.seal
        if seal is not None and seal.dialect == NAME and isinstance(seal.data, dict):
            item.clear()
            item |= {**seal.data, "id": place["item_id"]} if "id" not in seal.data else seal.data
        elif seal is not None:
            item["encrypted_content"] = seals.wrap(seal, NAME)
        return out

    def _close_message(self, status: str = "completed") -> bytes:
        if self._message is None:
            return b""
        message, self._message = self._message, None
        message["status"] = status
        return self._item_end(self._at, message)

    def _done(self) -> bytes:
        reason = _INCOMPLETE.get(self._finish.reason) if self._finish else None
        out = self._close_message("incomplete" if reason else "completed")
        self.response["status"] = "incomplete" if reason else "completed"
        self.response["incomplete_details"] = {"reason": reason} if reason else None
        self.response["usage"] = usage_of(self._count) if self._count is not None else None
        return out + self._say(f"response.{self.response['status']}", response=self.response)


def _opening(event: Started, head: ReplyHead) -> dict[str, Any]:
    ident = event.id if event.id and head.request.home == NAME else f"resp_{head.id.removeprefix('req_')}"
    return {
        "id": ident,
        "object": "response",
        "created_at": event.created or head.created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": event.model or head.model,
        "output": [],
        "usage": None,
        **echo(head.request),
    }
