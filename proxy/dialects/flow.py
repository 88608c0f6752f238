"""The blocks of an answer whose provider never says where one ends: whatever is of another kind ends the one before.

Owns what the parsers of such dialects have in common. Those that begin and end blocks by name use the `Ledger` alone.
"""

from __future__ import annotations

from proxy.dialects.blocks import Cite, Opaque
from proxy.dialects.events import BlockCite, BlockDelta, BlockSeal, Event, Kind, Ledger


class Flow:
    """One open block for each choice."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._open: dict[int, tuple[int, Kind]] = {}
        self._texts: dict[int, list[str]] = {}

    def text(self, choice: int, kind: Kind, text: str) -> list[Event]:
        """More of the open block of this kind, or a new one; no text is no block."""
        if not text:
            return []
        out: list[Event] = []
        found = self._open.get(choice)
        if found is None or found[1] is not kind:
            out += self.begin(choice, kind)
        index = self._open[choice][0]
        self._texts[choice].append(text)
        return [*out, BlockDelta(index, text)]

    def begin(
        self, choice: int, kind: Kind, ident: str = "", name: str = "", raw: Opaque | None = None, media: str = ""
    ) -> list[Event]:
        """A new block, behind the end of the one before."""
        out = self.close(choice)
        start = self._ledger.start(choice, kind, ident=ident, name=name, choice=choice, raw=raw, media=media)
        self._open[choice] = (start.index, kind)
        self._texts[choice] = []
        return [*out, start]

    def opened(self, choice: int) -> Kind | None:
        """What the open block is."""
        found = self._open.get(choice)
        return None if found is None else found[1]

    def said(self, choice: int) -> str:
        """The text of the open block so far."""
        return "".join(self._texts.get(choice, ()))

    def cite(self, choice: int, cite: Cite) -> list[Event]:
        """A source of the open text."""
        found = self._open.get(choice)
        return [BlockCite(found[0], cite)] if found is not None and found[1] is Kind.TEXT else []

    def index(self, choice: int) -> int | None:
        """The number of the open block."""
        found = self._open.get(choice)
        return None if found is None else found[0]

    def whole(
        self,
        choice: int,
        kind: Kind,
        text: str,
        ident: str = "",
        name: str = "",
        raw: Opaque | None = None,
        media: str = "",
    ) -> list[Event]:
        """A block that comes in one piece."""
        out = self.begin(choice, kind, ident, name, raw, media)
        if text:
            out.append(BlockDelta(self._open[choice][0], text))
        return [*out, *self.close(choice)]

    def seal(self, choice: int, seal: Opaque, *, alone: bool = False) -> list[Event]:
        """What proves the open thinking, which ends with it; `alone`: a block of its own."""
        out: list[Event] = []
        found = self._open.get(choice)
        if alone or found is None or found[1] not in (Kind.REASONING, Kind.SUMMARY):
            out += self.begin(choice, Kind.REASONING)
        return [*out, BlockSeal(self._open[choice][0], seal), *self.close(choice)]

    def close(self, choice: int | None = None) -> list[Event]:
        """End what is open, of one choice or of all."""
        keys = list(self._open) if choice is None else [choice]
        for key in keys:
            self._open.pop(key, None)
        return [event for key in keys for event in self._ledger.end(key)]
