"""A stream of generateContent that another provider goes on with: what its chunks have in common, and the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from proxy.dialects import read
from proxy.dialects.base import ReplyHead
from proxy.dialects.events import Kind, Piece
from proxy.dialects.gemini.answer_out import GeminiRenderer

_COMMON: Final = ("modelVersion", "responseId", "createTime")


class Track:
    """See `proxy.dialects.continuing.Track`."""

    def __init__(self) -> None:
        self.plain = True
        self.open = True
        self.common: dict[str, Any] = {}

    def see(self, value: Mapping[str, Any]) -> None:
        """See `Track`."""
        if any(candidate.get("finishReason") for candidate in read.rows(value.get("candidates"))):
            self.plain = False
        self.common = {name: value[name] for name in _COMMON if name in value} or self.common

    def renderer(self, head: ReplyHead) -> GeminiRenderer:
        """See `Track`."""
        return _Resumed(head, self)


class _Resumed(GeminiRenderer):
    def __init__(self, head: ReplyHead, track: Track) -> None:
        super().__init__(head)
        self._base = track.common or self._base
        self._open[0] = Piece(Kind.TEXT)
        self._texts[0] = []
