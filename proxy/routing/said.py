"""What a provider said when it refused: its message, code and parameter, out of whatever envelope they came in.

Owns the shapes of error bodies; what they mean is for `proxy.routing.classify`. Sources: OpenAI "Error codes";
Anthropic "Errors"; Google `google.rpc.Status`; Amazon Bedrock API reference, "Common errors" (`x-amzn-errortype`,
`__type`, `message` or `Message`); Cohere "Errors" (`message` alone); Mistral and FastAPI (`detail`, a text or a list of
`msg` with `loc`); Ollama and xAI (`error` as a text); OpenRouter "Errors" (`metadata.raw`); read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from proxy.routing.retry_after import object_of

_PLAIN: Final = 300  # characters of a body that is no JSON
_ROWS: Final = 5  # of a list of faults
_DEEP: Final = 3


class Said(msgspec.Struct, frozen=True):
    """The provider's own words; empty or None where it has none."""

    message: str = ""
    code: str | None = None
    param: str | None = None


def said_in(body: bytes, headers: Sequence[tuple[str, str]] = ()) -> Said:
    """The words of an error answer. `headers` have lower-case names."""
    value = object_of(body)
    if value is None:
        text = body.decode("utf-8", "replace").strip()
        return Said("" if text.startswith("<") else text[:_PLAIN])
    return _words(error_of(value, headers))


def said_of(error: Mapping[str, Any]) -> Said:
    """The words of an error object, or of what it stands in."""
    return _words(error_of(error if "error" in error else {"error": dict(error)}))


def _words(error: Mapping[str, Any]) -> Said:
    message, code, param = (error.get(name) for name in ("message", "code", "param"))
    return Said(
        message if isinstance(message, str) else "",
        code if isinstance(code, str) and code else None,
        param if isinstance(param, str) and param else None,
    )


def error_of(value: Mapping[str, Any], headers: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """The error object with its `message` as one text, and its `code` wherever the provider puts that."""
    found = _inner(value)
    message = found.get("message", found.get("Message"))
    text = _text(message) or _text(found.get("detail")) or _text(found.get("msg"))
    raw = found.get("metadata")
    more = _behind(raw.get("raw")) if isinstance(raw, dict) else ""
    if more and more not in text:
        text = f"{text}: {more}" if text else more
    if text:
        found["message"] = text
    named = next((v for k, v in headers if k == "x-amzn-errortype"), None) or found.get("__type")
    if isinstance(named, str) and named and not found.get("code"):
        found["code"] = named.partition(":")[0].rpartition("#")[2]
    return found


def _behind(raw: object) -> str:
    """What a provider behind the provider said: its message, or its very words."""
    if not isinstance(raw, str):
        return ""
    inner = object_of(raw.encode("utf-8", "replace"))
    found = _inner(inner) if inner is not None else {}
    return _text(found.get("message", found.get("Message"))) or raw


def _inner(value: Mapping[str, Any]) -> dict[str, Any]:
    """The error object, without what stands around it."""
    error = value.get("error", value.get("detail", value.get("errors")))
    if isinstance(error, dict):
        return dict(error)
    text = _text(error)
    first = error[0] if isinstance(error, list) and error and isinstance(error[0], dict) else {}
    return {**value, **first, "message": text} if text else {**value, **first}


def _text(value: object, depth: int = 0) -> str:
    """A message, also where it is a list of faults, each with its place."""
    if isinstance(value, str):
        return value
    if depth >= _DEEP:
        return ""
    if isinstance(value, list):
        return "; ".join(filter(None, (_text(row, depth + 1) for row in value[:_ROWS])))
    if not isinstance(value, dict):
        return ""
    found = next((t for k in ("message", "msg", "detail") if (t := _text(value.get(k), depth + 1))), "")
    place = value.get("loc")
    steps = [str(step) for step in place if isinstance(step, str | int)] if isinstance(place, list) else []
    return f"{'.'.join(steps)}: {found}" if steps and found else found
