"""Calls whose arguments come in pieces (Vertex AI, `partialArgs`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from proxy.dialects import read

_STEP: Final = re.compile(r"\.([A-Za-z_$][\w$-]*)|\[(\d{1,9})\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")


class _Text:
    """A text whose pieces are still coming."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = [*pieces]


class Growing:
    """A call whose arguments come in pieces; its texts are put together once, when it is whole."""

    def __init__(self, name: str, ident: str, arguments: dict[str, Any]) -> None:
        self.name = name
        self.ident = ident
        self._arguments = arguments
        self._texts: list[tuple[Any, str | int, _Text]] = []

    def put(self, piece: Mapping[str, Any]) -> None:
        """Add one piece at its JSON path; texts are appended to what stands there."""
        path = read.text(piece.get("jsonPath"))
        steps: list[str | int] = [
            int(m[2]) if m[2] is not None else m[1] or m[3] or m[4] or "" for m in _STEP.finditer(path)
        ][:32]
        if not steps:
            return
        value = next((piece[k] for k in ("stringValue", "numberValue", "boolValue") if piece.get(k) is not None), None)
        spot: Any = self._arguments
        for step, following in pairwise(steps):
            spot = _within(spot, step, [] if isinstance(following, int) else {})
        last = steps[-1]
        if isinstance(value, str):
            self._text(spot, last, value)
        else:
            _within(spot, last, value, replace=True)

    def _text(self, spot: Any, last: str | int, value: str) -> None:
        before = _within(spot, last, "")
        if isinstance(before, _Text):
            before.pieces.append(value)
            return
        text = _Text(before, value) if isinstance(before, str) else _Text(value)
        _within(spot, last, text, replace=True)
        if _within(spot, last, None) is text:
            self._texts.append((spot, str(last) if isinstance(spot, dict) else last, text))

    def whole(self) -> dict[str, Any]:
        """The arguments."""
        for spot, last, text in self._texts:
            if spot[last] is text:
                spot[last] = "".join(text.pieces)
        return self._arguments


def _within(spot: Any, step: str | int, default: Any, *, replace: bool = False) -> Any:
    """What stands at one step of a path, made if it is not there."""
    if isinstance(spot, dict):
        key = str(step)
        if replace or key not in spot:
            spot[key] = default
        return spot[key]
    if isinstance(spot, list) and isinstance(step, int) and step <= len(spot) <= 10_000:
        if step == len(spot):
            spot.append(default)
        elif replace:
            spot[step] = default
        return spot[step]
    return default
