"""How long a provider asks to wait, from all the ways in which providers say it: seconds, or None.

Sources: RFC 9110 section 10.2.3 (`Retry-After`); OpenAI "Rate limits" (`retry-after-ms`, `x-ratelimit-reset-*` as Go
durations); Anthropic "Rate limits" (`anthropic-ratelimit-*-reset`, RFC 3339); Azure (`x-ms-retry-after-ms`); Google
`google.rpc.RetryInfo`; Groq's "try again in 5.289s". Read 2026-11.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from proxy.dialects.json import decode

MAX_SECONDS: Final = 900.0
# Digits are counted: an unbounded `[0-9]*\.?[0-9]+` takes cubic time on a header that is all digits.
_DIGITS: Final = r"(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})"
_PLAIN: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_GO: Final = re.compile(rf"({_DIGITS})(ms|us|µs|ns|h|m|s)")
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_TEXT: Final = re.compile(
    rf"(?:try again|retry)\s+(?:again\s+)?in\s+((?:{_DIGITS}(?:ms|h|m|s)\b\s*|{_DIGITS}(?:ms|h|m|s)(?=[0-9.]))+)",
    re.IGNORECASE,
)
_ANTHROPIC: Final = ("requests", "tokens", "input-tokens", "output-tokens")


def retry_after(headers: Sequence[tuple[str, str]], body: bytes, wall: datetime) -> float | None:
    """Seconds in [0, 900] until the provider may be asked again, or None where it does not say. Never raises.

    `headers` have lower-case names; `wall` is the present (aware), used where the answer has no `Date`.
    """
    given: dict[str, list[str]] = {}
    for name, value in headers:
        given.setdefault(name, []).append(value)
    for find in (_explicit, _anthropic, _resets):
        found = [seconds for seconds in find(given, wall) if seconds is not None]
        if found:
            return _bounded(max(found))
    told = _from_body(body)
    return _bounded(told) if told is not None else None


def _bounded(seconds: float) -> float:
    return min(MAX_SECONDS, max(0.0, seconds))


def _number(text: str) -> float | None:
    """A finite decimal number; what Python alone takes for one (`1_0`, `nan`, digits of other scripts) is none."""
    stripped = text.strip()
    if _PLAIN.fullmatch(stripped) is None:
        return None
    value = float(stripped)
    return value if math.isfinite(value) else None


def _explicit(given: Mapping[str, list[str]], wall: datetime) -> list[float | None]:
    found: list[float | None] = []
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        for text in given.get(name, []):
            number = _number(text)
            found.append(None if number is None else number / 1000)
    now = _date(given.get("date", [""])[0]) or wall
    for text in given.get("retry-after", []):
        number = _number(text)
        if number is None:
            when = _date(text)
            number = (when - now).total_seconds() if when is not None else None
        found.append(number)
    return found


def _date(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def _anthropic(given: Mapping[str, list[str]], wall: datetime) -> list[float | None]:
    found: list[float | None] = []
    for kind in _ANTHROPIC:
        remaining = given.get(f"anthropic-ratelimit-{kind}-remaining", [""])[0]
        if _number(remaining) == 0:
            found += [_until(text, wall) for text in given.get(f"anthropic-ratelimit-{kind}-reset", [])]
    for text in given.get("anthropic-ratelimit-unified-reset", []):
        number = _number(text)
        found.append(None if number is None else number - wall.timestamp())
    return found


def _until(text: str, wall: datetime) -> float | None:
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    aware = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return (aware - wall).total_seconds()


def _resets(given: Mapping[str, list[str]], wall: datetime) -> list[float | None]:
    found: list[float | None] = []
    for kind in ("requests", "tokens"):
        if _number(given.get(f"x-ratelimit-remaining-{kind}", [""])[0]) == 0:
            found += [_go_duration(text) for text in given.get(f"x-ratelimit-reset-{kind}", [])]
    return found


def _go_duration(text: str) -> float | None:
    """`6m0s`, `12ms`, `2m59.56s`; a plain number is seconds."""
    plain = _number(text)
    if plain is not None:
        return plain
    compact = text.replace(" ", "")
    parts = _GO.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        return None
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return seconds if math.isfinite(seconds) else None


def object_of(body: bytes) -> dict[str, Any] | None:
    """The object that an error body is; Gemini's OpenAI endpoint wraps it in a list of one."""
    try:
        value = decode(body)
    except ValueError:
        return None
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, dict) else None


def _from_body(body: bytes) -> float | None:
    if len(body) > 65_536:
        return None
    value = object_of(body)
    error = value.get("error") if value is not None else None
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else []:
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        seconds = _go_duration(delay) if isinstance(delay, str) else None
        if seconds is not None:
            return seconds
    told = _TEXT.search(body.decode("utf-8", "replace"))
    return _go_duration(told[1].strip()) if told is not None else None
