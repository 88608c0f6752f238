"""JSON schemas as Anthropic compiles them for structured outputs and strict tools, and as tools must begin.

Sources: Claude docs, "Structured outputs" (JSON Schema limitations), "Define tools"; read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from proxy.dialects import read

_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_KEPT: Final = frozenset({"type", "enum", "const", "description", "title", "default", "required", "pattern", "$id"})
_META: Final = frozenset({"$schema", "$comment"})
_NAMED: Final = {"properties": "properties", "$defs": "$defs", "definitions": "$defs"}
_LISTED: Final = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}


def compiled(schema: Any, lost: set[str]) -> Any:
    """The schema without what cannot be compiled, which is put into `lost`; objects are closed."""
    if not isinstance(schema, dict):
        return schema if schema is not True else {}
    if isinstance(schema.get("$ref"), str):
        return _reference(schema, lost)
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, dict):
            out[_NAMED[key]] = {name: compiled(item, lost) for name, item in value.items()}
        elif key in _LISTED and isinstance(value, list):
            out[_LISTED[key]] = [compiled(item, lost) for item in value]
        elif key == "items":
            out[key] = compiled(value, lost)
        elif _takes(key, value):
            out[key] = value
        elif key not in _META and (key, value) != ("additionalProperties", False):
            lost.add(str(key))
    return _either(_closed(out))


def _takes(key: str, value: Any) -> bool:
    if key == "format":
        return isinstance(value, str) and value in _FORMATS
    return key in _KEPT or (key == "minItems" and value in (0, 1))


def _reference(schema: Mapping[str, Any], lost: set[str]) -> dict[str, Any]:
    """A reference stands alone, but for the definitions."""
    out: dict[str, Any] = {"$ref": schema["$ref"].replace("#/definitions/", "#/$defs/")}
    for key in ("$defs", "definitions"):
        if isinstance(schema.get(key), dict):
            out["$defs"] = {name: compiled(item, lost) for name, item in schema[key].items()}
    return out


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = schema.get("type")
    if kinds == "object" or "properties" in schema or (isinstance(kinds, list) and "object" in kinds):
        schema["additionalProperties"] = False
    return schema


def _either(schema: dict[str, Any]) -> dict[str, Any]:
    """One of several types is one of several schemas; an enum says its types itself."""
    kinds = schema.get("type")
    if not isinstance(kinds, list):
        return schema
    rest = {key: value for key, value in schema.items() if key not in ("type", "description", "title", "$defs")}
    out: dict[str, Any] = {key: schema[key] for key in ("description", "title", "$defs") if key in schema}
    if "enum" in rest:
        return {**out, **rest}
    return {**out, "anyOf": [{"type": kind, **(rest if kind != "null" else {})} for kind in kinds]}


def rooted(schema: Any, lost: set[str]) -> dict[str, Any]:
    """The schema of a tool's input: an object at its root, where no alternatives may stand."""
    root = dict(schema) if isinstance(schema, dict) else {}
    for key in ("anyOf", "oneOf", "allOf"):
        branches = root.pop(key, None)
        if isinstance(branches, list):
            _merge(root, [_resolved(row, root) for row in read.rows(branches)], every=key == "allOf")
            lost.update({key} if key != "allOf" else set())
    if root.get("type") != "object":
        root = {"type": "object", **{name: value for name, value in root.items() if name != "type"}}
    return root


def _resolved(branch: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    place = read.text(branch.get("$ref")).removeprefix("#/").split("/")
    if len(place) != 2:
        return branch
    return read.table(read.table(root.get(place[0])).get(place[1]))


def _merge(root: dict[str, Any], branches: list[Mapping[str, Any]], *, every: bool) -> None:
    """Put the fields of all branches into the root; needed is what all need, or any with `every`."""
    fields = dict(read.table(root.get("properties")))
    for branch in branches:
        fields = {**read.table(branch.get("properties")), **fields}
    needed = [set(_names(branch.get("required"))) for branch in branches]
    common = (set.union if every else set.intersection)(*needed) if needed else set()
    root["properties"] = fields
    kept = _names(root.get("required"))
    root["required"] = [*kept, *sorted(name for name in common if name not in kept)]


def _names(value: object) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []
