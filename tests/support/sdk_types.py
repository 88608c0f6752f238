"""The parameter types of the official openai package, as judges of what is sent upstream.

The types are TypedDicts; the judge is strict: of each object no key may be unknown, but for those that are named.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypeAliasType, get_type_hints, is_typeddict


class Judge:
    """Says what is wrong with a body that should be of this type. `allowed`: keys that may stand beside the known."""

    def __init__(self, *wanted: Any, allowed: Iterable[str] = ()) -> None:
        self._wanted = wanted
        self._allowed = frozenset(allowed)
        self._hints: dict[Any, dict[str, Any]] = {}
        self._adapters: dict[Any, TypeAdapter[Any]] = {}

    def faults(self, body: Mapping[str, Any]) -> list[str]:
        """The places of what the type does not have; empty for a good body."""
        return self._union(self._wanted, body, "body")

    def _look(self, kind: Any, value: Any, at: str) -> list[str]:
        origin = get_origin(kind)
        if isinstance(kind, TypeAliasType):
            return self._look(kind.__value__, value, at)
        if origin in (typing.Required, typing.NotRequired, typing.Annotated):
            return self._look(get_args(kind)[0], value, at)
        if is_typeddict(kind):
            return self._table(kind, value, at)
        if origin in (Union, types.UnionType):
            return self._union(get_args(kind), value, at)
        if isinstance(value, list) and origin is not None and issubclass(origin, Iterable) and origin is not dict:
            return [f for n, item in enumerate(value) for f in self._look(get_args(kind)[0], item, f"{at}[{n}]")]
        if isinstance(value, list) and kind not in (Any, object):
            return [f"{at}: a list"]
        return self._plain(kind, value, at)

    def _plain(self, kind: Any, value: Any, at: str) -> list[str]:
        if kind is object or kind is Any:
            return []
        if kind not in self._adapters:
            self._adapters[kind] = TypeAdapter(kind)
        try:
            self._adapters[kind].validate_python(value, strict=True)
        except ValidationError:
            return [f"{at}: {value!r:.60} is no {kind}"]
        return []

    def _table(self, kind: Any, value: Any, at: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{at}: no object"]
        if kind not in self._hints:
            self._hints[kind] = get_type_hints(kind, include_extras=True)
        hints = self._hints[kind]
        faults = [f"{at}.{name}: missing" for name in kind.__required_keys__ if name not in value]
        for name, inner in value.items():
            if name in hints:
                faults += self._look(hints[name], inner, f"{at}.{name}")
            elif name not in self._allowed:
                faults.append(f"{at}.{name}: unknown")
        return faults

    def _union(self, kinds: Iterable[Any], value: Any, at: str) -> list[str]:
        """No fault where one fits, else those of the one that comes nearest."""
        best: list[str] | None = None
        for kind in kinds:
            faults = self._look(kind, value, at)
            if not faults:
                return []
            if best is None or _weight(faults) < _weight(best):
                best = faults
        return best or []


def _weight(faults: list[str]) -> tuple[bool, bool, int]:
    other = any(fault.endswith((": a list", ": no object")) for fault in faults)
    return other, any(".type:" in fault or ".role:" in fault for fault in faults), len(faults)
