"""Opaque things in a dialect that has only a text for them: marked with who made them, so that they find back.

A thinking block of Gemini's that a client of Messages is to keep travels as `redeo1.<dialect>.<kind>.<origin>.<text>`
in the field that the client hands back unaltered. What carries no mark is the client dialect's own.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final

from proxy.dialects.blocks import Opaque
from proxy.dialects.json import decode, encode

MARK: Final = "redeo1."
CARRIED: Final = "carried"  # the kind of several in one: a list
# What a seal of each dialect is, where it is no text; anything else under a mark was not written here.
_FORMS: Final[dict[str, Any]] = {"chat": dict, "responses": dict, "messages": str | dict}
MARK_64: Final = "cmVkZW8xL"  # how base64 of a mark begins, for fields that are bytes


def may_be(dialect: object, kind: object, data: object) -> bool:
    """Whether a seal of this dialect and kind can hold this."""
    return isinstance(data, list if kind == CARRIED else _FORMS.get(str(dialect), str))


def wrap(seal: Opaque, home: str) -> str:
    """The text that stands for a seal in dialect `home`: its own text at home, marked abroad."""
    if seal.dialect == home and isinstance(seal.data, str):
        return seal.data
    inner = encode([seal.dialect, seal.kind, seal.origin, seal.data])
    return MARK + urlsafe_b64encode(inner).decode().rstrip("=")


def unwrap(text: str, home: str, kind: str, own: Any = None) -> Opaque:
    """The seal that a text stands for; a damaged mark is taken for `home`'s own, whose provider will refuse it: `own`,
    where a seal there is more than its text."""
    if text.startswith(MARK):
        raw = text[len(MARK) :]
        try:
            dialect, of, origin, data = decode(urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))
            if may_be(dialect, of, data):
                return Opaque(str(dialect), str(of), data, origin if isinstance(origin, str) else None)
        except (ValueError, TypeError):
            pass
    return Opaque(home, kind, text if own is None else own)


def fits(seal: Opaque | None, home: str, origin: str) -> bool:
    """Whether this connection made the seal, or may have: one without a mark is known by its dialect alone."""
    if seal is None or seal.kind == CARRIED:  # those in it are for whom they were taken out
        return False
    return seal.dialect == home and seal.origin in (None, origin)
