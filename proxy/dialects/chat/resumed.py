"""A stream of Chat Completions that another provider goes on with: what its chunks have in common, and the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from proxy.dialects import read
from proxy.dialects.base import ReplyHead
from proxy.dialects.chat.answer_out import ChatRenderer
from proxy.dialects.events import Kind

_COMMON: Final = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
_SOURCES: Final = ("citations", "search_results")  # Perplexity and xAI count the places in the text from these


class Track:
    """See `proxy.dialects.continuing.Track`."""

    def __init__(self) -> None:
        self.plain = True
        self.open = True
        self.common: dict[str, Any] = {}

    def see(self, value: Mapping[str, Any]) -> None:
        """See `Track`."""
        if any(value.get(name) for name in _SOURCES):
            self.plain = False
        for choice in read.rows(value.get("choices")):
            beside = read.table(choice.get("delta")).items()
            if choice.get("finish_reason") or any(said for name, said in beside if name not in ("role", "content")):
                self.plain = False
        for name in _COMMON:
            if name in value and not self.common.get(name):  # Azure's first chunk has no id and no model
                self.common[name] = value[name]

    def renderer(self, head: ReplyHead) -> ChatRenderer:
        """See `Track`."""
        return _Resumed(head, self)


class _Resumed(ChatRenderer):
    def __init__(self, head: ReplyHead, track: Track) -> None:
        super().__init__(head)
        self._base = track.common
        self._blocks[0] = (Kind.TEXT, 0, 0)
        self._greeted.add(0)
        self._spoke.add(0)
