"""How long a provider asks to wait, from all the ways in which providers say it: seconds, or None.

Sources: RFC 9110 section 10.2.3 (`Retry-After`); OpenAI "Rate limits" (`retry-after-ms`, `x-ratelimit-reset-*` as Go
durations); Anthropic "Rate limits" (`anthropic-ratelimit-*-reset`, RFC 3339); Azure (`x-ms-retry-after-ms`); Google
`google.rpc.RetryInfo`; in the message: Groq's "try again in 5.289s", Azure's "retry after 26 seconds". Read 2026-11.
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
_WORDS: Final = r"(?:ms|milliseconds?|h(?:ours?)?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?)"
_TEXT: Final = re.compile(
    rf"(?:try again|retry)\s+(?:again\s+)?(?:in|after)\s+((?:{_DIGITS} ?{_WORDS}(?=[0-9.]|\b)\s?)+)", re.IGNORECASE
)
_PART: Final = re.compile(rf"({_DIGITS}) ?({_WORDS})", re.IGNORECASE)
_REMAINING: Final = "x-ratelimit-remaining"
_RESET: Final = "x-ratelimit-reset"
_EPOCH: Final = 1e9  # from here on a number of seconds is a date
_ANTHROPIC: Final = ("requests", "tokens", "input-tokens", "output-tokens")


def retry_after(headers: Sequence[tuple[str, str]], body: bytes, wall: datetime) -> float | None:
    """Seconds in [0, 900] until the provider may be asked again, or None where it does not say. Never raises.

    `headers` have lower-case names; `wall` is the present (aware), used where the answer has no `Date`.
    """
    given = _by_name(headers)
    now = _date(given.get("date", [""])[0]) or wall  # the provider's own clock, where it shows it
    for find in (_explicit, _anthropic, _resets):
        found = [seconds for seconds in find(given, now) if seconds is not None]
        if found:
            return _bounded(max(found))
    told = _from_body(body)
    return _bounded(told) if told is not None else None


def asked_for(headers: Sequence[tuple[str, str]], wall: datetime) -> bool:
    """Whether it says in so many words when to come back, and not only when its counts begin anew."""
    given = _by_name(headers)
    return any(seconds is not None for seconds in _explicit(given, wall))


def _by_name(headers: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    for name, value in headers:
        given.setdefault(name, []).append(value)
    return given


def _bounded(seconds: float) -> float:
    return min(MAX_SECONDS, max(0.0, seconds))


def _number(text: str) -> float | None:
    """A finite decimal number; what Python alone takes for one (`1_0`, `nan`, digits of other scripts) is none."""
    stripped = text.strip()
    if _PLAIN.fullmatch(stripped) is None:
        return None
    value = float(stripped)
    return value if math.isfinite(value) else None


def _explicit(given: Mapping[str, list[str]], now: datetime) -> list[float | None]:
    found: list[float | None] = []
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        for text in given.get(name, []):
            number = _number(text)
            found.append(None if number is None else number / 1000)
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


def _anthropic(given: Mapping[str, list[str]], now: datetime) -> list[float | None]:
    found: list[float | None] = []
    for kind in _ANTHROPIC:
        remaining = given.get(f"anthropic-ratelimit-{kind}-remaining", [""])[0]
        if _number(remaining) == 0:
            found += [_until(text, now) for text in given.get(f"anthropic-ratelimit-{kind}-reset", [])]
    if given.get("anthropic-ratelimit-unified-status", [""])[0].startswith("allowed"):
        return found  # a subscription's count that has not run out
    for text in given.get("anthropic-ratelimit-unified-reset", []):
        number = _number(text)
        found.append(None if number is None else number - now.timestamp())
    return found


def _until(text: str, now: datetime) -> float | None:
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    aware = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return (aware - now).total_seconds()


def _resets(given: Mapping[str, list[str]], now: datetime) -> list[float | None]:
    """Of each count that is used up, under whatever name: `-requests`, `-tokens-minute` (Cerebras), none at all."""
    found: list[float | None] = []
    for name, values in given.items():
        if name.startswith(_REMAINING) and _number(values[0]) == 0:
            found += [_reset(text, now) for text in given.get(_RESET + name.removeprefix(_REMAINING), [])]
    return found


def _reset(text: str, now: datetime) -> float | None:
    """A duration, a date, or a number: seconds, or (OpenRouter) milliseconds since 1970."""
    number = _number(text)
    if number is None or number < _EPOCH:
        return _until(text, now) if number is None and "-" in text else _go_duration(text)
    return number / (1000 if number >= _EPOCH * 1000 else 1) - now.timestamp()


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
    return sum(_in_words(*part) for part in _PART.findall(told[1])) if told is not None else None


def _in_words(number: str, unit: str) -> float:
    """`5.289s`, `1 minute`: the first letter tells, but for milliseconds."""
    short = unit.lower()
    return float(number) * _UNITS["ms" if short.startswith(("ms", "mil")) else short[0]]
