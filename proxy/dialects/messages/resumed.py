"""A stream of Messages that another provider goes on with: its blocks so far, and the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.dialects import read
from proxy.dialects.base import ReplyHead
from proxy.dialects.events import Kind
from proxy.dialects.messages.answer_out import MessagesRenderer


class Track:
    """See `proxy.dialects.continuing.Track`."""

    def __init__(self) -> None:
        self.plain = True
        self.blocks = 0
        self._at: int | None = None  # the open block

    @property
    def open(self) -> bool:
        """See `Track`."""
        return self._at is not None

    def see(self, value: Mapping[str, Any]) -> None:
        """See `Track`. Blocks come one after the other ("Streaming messages", read 2026-11)."""
        at = read.number(value.get("index"))
        if value.get("type") == "content_block_start":
            self._at, self.blocks = at, max(self.blocks, at + 1)
        elif value.get("type") == "content_block_stop":
            self._at = None
        elif value.get("type") == "message_delta" or (value.get("type") == "message_start" and self.blocks):
            self.plain = False  # it has ended, or there are several (recorded so: tool search)

    def renderer(self, head: ReplyHead) -> MessagesRenderer:
        """See `Track`."""
        return _Resumed(head, self.blocks, self._at)


class _Resumed(MessagesRenderer):
    def __init__(self, head: ReplyHead, blocks: int, at: int | None) -> None:
        super().__init__(head)
        self._blocks = blocks
        if at is not None:
            self._open[0] = (at, Kind.TEXT)
