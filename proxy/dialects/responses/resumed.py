"""A stream of Responses that another provider goes on with: its items so far, and the rest.

What an item says in the end is said twice, in pieces and whole: so the beginning is kept by item and part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.dialects import read
from proxy.dialects.base import ReplyHead
from proxy.dialects.events import Kind, Piece
from proxy.dialects.responses.answer_out import ResponsesRenderer


class Track:
    """See `proxy.dialects.continuing.Track`."""

    def __init__(self) -> None:
        self.plain = True
        self.response: dict[str, Any] = {}
        self.sequence = 0
        self.last = -1  # the newest item
        self.done: list[dict[str, Any]] = []
        self.message: dict[str, Any] | None = None  # the open item, with its parts
        self.part: dict[str, Any] | None = None  # the open part of it
        self.texts: list[str] = []  # what that says so far

    @property
    def open(self) -> bool:
        """See `Track`."""
        return self.part is not None

    def see(self, value: Mapping[str, Any]) -> None:
        """See `Track`."""
        number = value.get("sequence_number")
        self.sequence = number + 1 if isinstance(number, int) else self.sequence + 1
        kind = read.text(value.get("type"))
        if kind in ("response.created", "response.queued", "response.in_progress"):
            self.response = dict(read.table(value.get("response"))) or self.response
        elif kind.startswith("response.output_item."):
            self._item(kind, read.number(value.get("output_index")), read.table(value.get("item")))
        elif kind.startswith("response.content_part."):
            self._part(kind, read.table(value.get("part")))
        elif kind == "response.output_text.delta":
            self.texts.append(read.text(value.get("delta")))
            self.plain = self.plain and self.open and bool(self.response)  # else it has no place to go on
        elif kind.endswith(".delta"):
            self.plain = False

    def _item(self, kind: str, at: int, item: Mapping[str, Any]) -> None:
        if item.get("type") != "message":
            self.plain = False
        elif kind.endswith(".added"):
            self.plain = self.plain and self.message is None
            self.last, self.message = at, {**item, "content": []}
        else:
            if self.part is not None:  # which some do not end by itself
                self._whole((read.rows(item.get("content")) or [{}])[-1])
            self.done.append(dict(item))
            self.message = self.part = None

    def _part(self, kind: str, part: Mapping[str, Any]) -> None:
        if self.message is None or self.last < 0 or part.get("type") != "output_text":
            self.plain = False
        elif kind.endswith(".added"):
            self.plain = self.plain and self.part is None
            self.part, self.texts = dict(part), [read.text(part.get("text"))]
        else:
            self._whole(part)
            self.message["content"].append(dict(part))
            self.part = None

    def _whole(self, part: Mapping[str, Any]) -> None:
        """A part that says in the end what it did not say piece by piece cannot be counted on."""
        self.plain = self.plain and read.text(part.get("text")) == "".join(self.texts)

    def renderer(self, head: ReplyHead) -> ResponsesRenderer:
        """See `Track`."""
        return _Resumed(head, self)


class _Resumed(ResponsesRenderer):
    def __init__(self, head: ReplyHead, track: Track) -> None:
        super().__init__(head)
        # Its first provider has half of it at most, and the second the other: nobody keeps the whole.
        self.response = {**track.response, "output": list(track.done), "store": False}
        self._sequence = track.sequence
        self._at = track.last
        if track.message is None:
            return
        self._message = {**track.message, "content": list(track.message["content"])}
        if track.part is None:
            return
        place = {"item_id": self._message.get("id", ""), "output_index": self._at}
        place["content_index"] = len(self._message["content"])
        part = {"annotations": [], "logprobs": [], **track.part}
        self._message["content"].append(part)
        self._open[0] = (self._at, Piece(Kind.TEXT), {"part": part, "place": place})
        self._texts[0] = ["".join(track.texts)]
