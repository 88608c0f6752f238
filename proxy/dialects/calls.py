"""Tool calls that arrive in fragments, handed on one after the other, however a provider mixes them.

A call is streamed at once while it is the only one that is unfinished. Fragments of a later call wait until the one
before it is whole: complete JSON, or the end of the answer. So no argument is ever lost or put into another call, and
readers that know one open block at a time can follow.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.dialects.blocks import Opaque
from proxy.dialects.events import BlockDelta, BlockSeal, BlockStart, Event, Kind, Ledger
from proxy.dialects.json import decode

_OUTSIDE: Final = re.compile(r'[^"{}]*+')
_INSIDE: Final = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)


class _Arguments:
    """The arguments of one call so far, each fragment looked at once however often one asks whether they are whole."""

    __slots__ = ("_depth", "_inside", "_rest", "_seen", "_verdict", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._seen = 0  # fragments that have been looked at
        self._depth = 0
        self._inside = False  # a string
        self._rest = ""  # a backslash whose character is to come
        self._verdict: bool | None = None  # of what stands up to the brace that closes the first

    def whole(self) -> bool:
        """Whether they cannot go on: a complete JSON object."""
        fresh = self.texts[self._seen :]
        self._seen = len(self.texts)
        if self._verdict is None:
            self._look(self._rest + "".join(fresh))
        elif self._verdict and any(text.strip(" \t\r\n") for text in fresh):
            self._verdict = False  # something stands behind the object
        return self._verdict is True

    def _look(self, text: str) -> None:
        at = 0
        while at < len(text):
            found = (_INSIDE if self._inside else _OUTSIDE).match(text, at)
            at = found.end() if found else at
            mark = text[at : at + 1]
            if not mark or mark == "\\":
                break
            at += 1
            if mark == '"':
                self._inside = not self._inside
            else:
                self._depth += 1 if mark == "{" else -1
                if self._depth <= 0:
                    self._verdict = _is_object("".join(self.texts))
                    return
        self._rest = text[at:]


class Calls:
    """The calls of one choice. `ledger` numbers their blocks together with all others."""

    def __init__(self, ledger: Ledger, choice: int) -> None:
        self._ledger = ledger
        self._choice = choice
        self._ids: dict[object, str] = {}  # the call now known under a place, by its id
        self._serial = 0
        self._live: tuple[object, _Arguments] | None = None
        self._waiting: dict[object, tuple[Kind, str, str, list[str]]] = {}
        self._done: set[object] = set()  # calls of which the provider has said that they are whole
        self._seals: dict[object, Opaque] = {}
        self._free: set[object] = set()  # free-form calls, whose input may be empty

    @property
    def seen(self) -> bool:
        """Whether there was any call."""
        return self._serial > 0

    def fragment(
        self, place: object, kind: Kind, ident: str, name: str, text: str, seal: Opaque | None = None
    ) -> list[Event]:
        """More of the call at this place of the provider's. A new id at a known place is a new call."""
        known = self._ids.get(place)
        if seal is not None:
            self._seals[(place, ident)] = seal
        if known is None or (ident and name and ident != known):
            self._ids[place] = ident
            self._serial += 1
            return self._open((place, ident), kind, ident, name, text)
        key = (place, known)
        if key in self._waiting:
            self._waiting[key][3].append(text)
            return self.settle()
        return self._more(key, text)

    def _open(self, key: object, kind: Kind, ident: str, name: str, text: str) -> list[Event]:
        out = self.settle()
        if self._live is not None:
            self._waiting[key] = (kind, ident, name, [text])
            return out
        return [*out, *self._start(key, kind, ident, name, [text])]

    def _start(self, key: object, kind: Kind, ident: str, name: str, texts: list[str]) -> list[Event]:
        self._live = (key, _Arguments())
        if kind is Kind.CUSTOM_CALL:
            self._free.add(key)
        start: BlockStart = self._ledger.start(
            ("call", self._choice, key), kind, ident=ident, name=name, choice=self._choice
        )
        return [start, *self._more(key, "".join(texts))]

    def _more(self, key: object, text: str) -> list[Event]:
        index = self._ledger.index(("call", self._choice, key))
        if not text or index is None or self._live is None:
            return []
        self._live[1].texts.append(text)
        return [BlockDelta(index, text)]

    def done(self, place: object) -> list[Event]:
        """The provider says that the call at this place is whole."""
        self._done.add((place, self._ids.get(place, "")))
        return self.settle()

    def settle(self, *, over: bool = False) -> list[Event]:
        """Close what is whole and start what has waited for it; `over`: everything, the answer has ended."""
        out: list[Event] = []
        while self._live is not None and (over or self._live[0] in self._done or self._live[1].whole()):
            out += self._closed(self._live[0], self._live[1].texts)
            self._live = None
            if self._waiting:
                key = next(iter(self._waiting))
                out += self._start(key, *self._waiting.pop(key))
        return out

    def _closed(self, key: object, texts: list[str]) -> list[Event]:
        place = ("call", self._choice, key)
        index = self._ledger.index(place)
        if index is None:
            return []
        out: list[Event] = []
        if not texts and key not in self._free:
            out.append(BlockDelta(index, "{}"))  # no arguments is none
        if key in self._seals:
            out.append(BlockSeal(index, self._seals[key]))
        return [*out, *self._ledger.end(place)]


def _is_object(text: str) -> bool:
    if not text.rstrip(" \t\r\n").endswith("}"):
        return False
    try:
        decode(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return False
    return True
