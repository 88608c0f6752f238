"""Encrypted reasoning and signatures in bytes that pass, each told by its digest, without reading what is around it.

Who reads dialects is the hub; this only finds, so that the relay may use it. Sources: OpenAI Responses
(`encrypted_content` of a reasoning item); Anthropic Messages (`signature`, and `data` of redacted thinking); Gemini
(`thoughtSignature`); OpenRouter's `reasoning_details` in Chat; read 2026-11.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from config.model import Operation

_HINT: Final = re.compile(rb'ncrypted_content"|ignature"|redacted_thinking"|reasoning_details"')
_TEXT: Final = rb'"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_SIGNED: Final = re.compile(rb'"signature' + _TEXT)
_SIGNED_OR_HELD: Final = re.compile(rb'"(?:signature|data)' + _TEXT)
_FIELDS: Final = {
    Operation.RESPONSES: re.compile(rb'"encrypted_content' + _TEXT),
    Operation.GEMINI: re.compile(rb'"thought(?:S|_s)ignature' + _TEXT),
    Operation.MESSAGES: _SIGNED,
    Operation.CHAT: _SIGNED,
}
_HELD: Final = re.compile(rb'redacted_thinking"|reasoning\.encrypted"')  # then `data` is no medium alone
_SHORT: Final = 16


def digests(operation: Operation, data: bytes) -> list[bytes]:
    """What of this kind stands in a body or an event of this operation."""
    field = _FIELDS.get(operation)
    if field is None or _HINT.search(data) is None:
        return []
    if field is _SIGNED and _HELD.search(data):
        field = _SIGNED_OR_HELD
    return [_digest(text.replace(b"\\/", b"/")) for text in field.findall(data) if len(text) >= _SHORT]


def digest_of(text: str) -> bytes:
    """The digest of one such text, decoded."""
    return _digest(text.encode("utf-8", "surrogatepass"))


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).digest()
