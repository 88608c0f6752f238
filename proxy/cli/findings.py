"""One thing that `redeo doctor` looked at: what it found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """`warn`: it works, but likely not as meant; `fail`: it does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` names what was looked at (`port`, `key`, ...), stable for scripts; no text holds a key."""

    check: str
    status: Status
    message: str
    advice: str = ""


def ok(check: str, message: str) -> Finding:
    """As it should be."""
    return Finding(check, Status.OK, message)


def warn(check: str, message: str, advice: str) -> Finding:
    """Works, but likely not as meant."""
    return Finding(check, Status.WARN, message, advice)


def fail(check: str, message: str, advice: str) -> Finding:
    """Does not work."""
    return Finding(check, Status.FAIL, message, advice)
