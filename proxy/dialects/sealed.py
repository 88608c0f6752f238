"""Encrypted reasoning and signatures in bytes that pass, each told by its digest, without reading what is around it.

Who reads dialects is the hub; this only finds, so that the relay may use it. Sources: OpenAI Responses
(`encrypted_content` of a reasoning item); Anthropic Messages (`signature`, and `data` of redacted thinking); Gemini
(`thoughtSignature`); OpenRouter's `reasoning_details` in Chat; read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from typing import Final

from config.model import Operation

_TEXT: Final = rb'"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_SIGNED: Final = re.compile(rb'"signature' + _TEXT)
_SIGNED_OR_HELD: Final = re.compile(rb'"(?:signature|data)' + _TEXT)
# By operation: what has to stand there at all (an event costs no more than that search), and the field.
_FIELDS: Final = {
    Operation.RESPONSES: ((b'encrypted_content"',), re.compile(rb'"encrypted_content' + _TEXT)),
    Operation.GEMINI: ((b'thoughtSignature"', b'thought_signature"'), re.compile(rb'"thought(?:S|_s)ignature' + _TEXT)),
    Operation.MESSAGES: ((b'"signature"', b'redacted_thinking"'), _SIGNED),
    Operation.CHAT: ((b'"reasoning_details"',), _SIGNED),
}
_HELD: Final = (b'redacted_thinking"', b'reasoning.encrypted"')  # then `data` is no medium alone
_SHORT: Final = 16
_LONG: Final = 1024 * 1024  # longer ones are media


Find = Callable[[bytes], list[bytes]]


@cache
def finder(operation: Operation) -> Find:
    """Finds the digests of what is sealed in a body or an event of this operation."""
    known = _FIELDS.get(operation)
    if known is None:
        return lambda data: []
    signs, plain = known

    def find(data: bytes) -> list[bytes]:
        for sign in signs:
            if sign in data:
                break
        else:
            return []
        held = plain is _SIGNED and any(sign in data for sign in _HELD)
        found = (_SIGNED_OR_HELD if held else plain).findall(data)
        return [_digest(text.replace(b"\\/", b"/")) for text in found if _SHORT <= len(text) <= _LONG]

    return find


def digests(operation: Operation, data: bytes) -> list[bytes]:
    """What of this kind stands in one body."""
    return finder(operation)(data)


def digest_of(text: str) -> bytes:
    """The digest of one such text, decoded."""
    return _digest(text.encode("utf-8", "surrogatepass"))


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).digest()
