"""JSON schemas as Gemini takes them, and Google's own form of schemas read as JSON schema.

Sources: Gemini API reference, `GenerationConfig.responseJsonSchema` (the keywords that are taken, and what may stand
beside `$ref`), `Schema` (the OpenAPI form); read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from proxy.dialects.read import camel

_KEPT: Final = frozenset(
    {
        "$id", "$anchor", "type", "format", "title", "description", "minItems", "maxItems", "minimum",
        "maximum", "required", "propertyOrdering", "minLength", "maxLength", "pattern", "nullable", "default",
        "minProperties", "maxProperties",
    }
)  # fmt: skip
_NAMED: Final = {"properties": "properties", "$defs": "$defs", "definitions": "$defs"}
_LISTED: Final = {"anyOf": "anyOf", "oneOf": "anyOf", "prefixItems": "prefixItems"}
_META: Final = frozenset({"$schema", "$comment"})  # says nothing about the value
_BOUNDS: Final = {"exclusiveMinimum": ("minimum", 1), "exclusiveMaximum": ("maximum", -1)}
_COUNTS: Final = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")


def mended(schema: Any, lost: set[str]) -> Any:
    """A JSON schema without what Gemini refuses; what had to go is put into `lost`.

    `const` is an enum of one, `oneOf` is read as `anyOf`, `definitions` are `$defs`, `allOf` is what it holds together.
    """
    if not isinstance(schema, dict):
        return {} if schema is True else schema
    if isinstance(schema.get("$ref"), str):
        return _reference(schema, lost)
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _KEPT:
            out[key] = value
        elif key in ("const", "enum"):
            _listed(out, [value] if key == "const" else value, lost)
        elif key in _BOUNDS:
            _bound(out, key, value, schema.get("type") == "integer", lost)
        elif not _inner(out, key, value, lost) and key not in _META:
            lost.add(str(key))
    return out


def _reference(schema: Mapping[str, Any], lost: set[str]) -> dict[str, Any]:
    """Only definitions may stand beside a reference: with anything else it is one alternative of one."""
    reference = {"$ref": schema["$ref"].replace("#/definitions/", "#/$defs/")}
    beside = mended({key: value for key, value in schema.items() if key != "$ref"}, lost)
    if all(key.startswith("$") for key in beside):
        return {**reference, **beside}
    if "anyOf" in beside:
        lost.add("$ref")
        return dict(beside)
    return {**beside, "anyOf": [reference]}


def _listed(out: dict[str, Any], values: Any, lost: set[str]) -> None:
    """Values to choose from: an empty text is refused, and so is no choice at all."""
    if not isinstance(values, list):
        return
    kept = [value for value in values if value != ""]
    if len(kept) < len(values):
        lost.add("enum ''")
    if kept:
        out["enum"] = kept


def _bound(out: dict[str, Any], key: str, value: Any, whole: bool, lost: set[str]) -> None:
    """More than 3 is at least 4, for whole numbers."""
    name, step = _BOUNDS[key]
    if whole and isinstance(value, int) and not isinstance(value, bool):
        out[name] = value + step
    else:
        lost.add(key)


def _inner(out: dict[str, Any], key: str, value: Any, lost: set[str]) -> bool:
    """Schemas within a schema: by name, in a list, or one."""
    if key in _NAMED and isinstance(value, dict):
        out[_NAMED[key]] = {name: mended(item, lost) for name, item in value.items()}
    elif key in _LISTED and isinstance(value, list):
        out[_LISTED[key]] = [mended(item, lost) for item in value]
    elif key == "allOf" and isinstance(value, list):
        _together(out, [mended(item, lost) for item in value if isinstance(item, dict)], lost)
    elif key == "items":
        out[key] = [mended(item, lost) for item in value] if isinstance(value, list) else mended(value, lost)
    elif key == "additionalProperties":
        out[key] = value if isinstance(value, bool) else mended(value, lost)
    else:
        return False
    return True


def _together(out: dict[str, Any], parts: list[dict[str, Any]], lost: set[str]) -> None:
    """All of several schemas as one, where they do not gainsay one another."""
    if len(parts) > 1 and any("$ref" in part for part in parts):
        lost.add("allOf")
        return
    for part in parts:
        for key, value in part.items():
            if key == "properties":
                out[key] = {**out.get(key, {}), **value}
            elif key == "required" and isinstance(value, list):
                before = out[key] if isinstance(out.get(key), list) else []
                out[key] = [*before, *(name for name in value if name not in before)]
            elif out.setdefault(key, value) != value:
                lost.add("allOf")


def json_schema(schema: Any) -> Any:
    """A schema in Google's OpenAPI form as JSON schema: types in lower case, `nullable` as a second type, the order of
    properties as their order."""
    if isinstance(schema, list):
        return [json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    given = camel(schema)
    out: dict[str, Any] = {}
    for key, value in given.items():
        if key not in ("nullable", "propertyOrdering") and not _says_nothing(key, value):
            out[_SPELT.get(key, key)] = _json_value(key, value)
    order = given.get("propertyOrdering")
    if isinstance(order, list) and isinstance(out.get("properties"), dict):
        fields = out["properties"]
        out["properties"] = {name: fields[name] for name in order if isinstance(name, str) and name in fields} | fields
    if given.get("nullable") is True:
        _nullable(out)
    return out


_SPELT: Final = {"defs": "$defs", "ref": "$ref", "example": "examples"}


def _says_nothing(key: str, value: Any) -> bool:
    return (key, value) in (("format", "enum"), ("type", "TYPE_UNSPECIFIED"))


def _nullable(out: dict[str, Any]) -> None:
    if isinstance(out.get("enum"), list) and None not in out["enum"]:
        out["enum"] = [*out["enum"], None]
    if isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
    elif isinstance(out.get("anyOf"), list):
        out["anyOf"] = [*out["anyOf"], {"type": "null"}]


def _json_value(key: str, value: Any) -> Any:
    if key == "type" and isinstance(value, str):
        return value.lower()
    if key in ("properties", "defs", "$defs") and isinstance(value, dict):
        return {name: json_schema(item) for name, item in value.items()}
    if key in ("items", "anyOf", "additionalProperties"):
        return json_schema(value)
    if key == "example":
        return [value]
    if key in _COUNTS and isinstance(value, str) and value.isdigit():
        return int(value)  # int64 is a string in ProtoJSON
    return value
