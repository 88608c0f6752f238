"""Reading decoded JSON that somebody else wrote: each value is what it should be, or absent, or an error by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.dialects.request import BadRequest

_SNAKE: Final = re.compile(r"_([a-z0-9])")


def text(value: object) -> str:
    """The string, or an empty one."""
    return value if isinstance(value, str) else ""


def number(value: object) -> int:
    """The count, or 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def table(value: object) -> Mapping[str, Any]:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def rows(value: object) -> list[Mapping[str, Any]]:
    """The objects of a list; what is none is left out."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def must_list(value: object, param: str) -> list[Any]:
    """The list. Raises BadRequest."""
    if not isinstance(value, list):
        raise BadRequest(f"`{param}` must be a list", param)
    return value


def must_table(value: object, param: str) -> dict[str, Any]:
    """The object. Raises BadRequest."""
    if not isinstance(value, dict):
        raise BadRequest(f"`{param}` must be an object", param)
    return value


def must_text(value: object, param: str) -> str:
    """The string. Raises BadRequest."""
    if not isinstance(value, str):
        raise BadRequest(f"`{param}` must be a string", param)
    return value


def camel(value: Mapping[str, Any]) -> dict[str, Any]:
    """The object with its own field names in lowerCamelCase: Google takes both spellings (protobuf's JSON)."""
    return {_SNAKE.sub(lambda m: m[1].upper(), key) if "_" in key else key: item for key, item in value.items()}


def data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 text of a `data:` URL (RFC 2397); None for another address."""
    if not url.startswith("data:"):
        return None
    head, comma, data = url[5:].partition(",")
    if not comma or not head.endswith(";base64"):
        return None
    return head[: -len(";base64")].partition(";")[0] or "application/octet-stream", data
