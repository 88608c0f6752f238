"""JSON as real clients and providers send it: msgspec first, the standard library for what that refuses.

msgspec refuses lone surrogates and NaN, which agents that cut text inside an emoji do send; such texts are
valid enough for the providers and pass. Errors come as ValueError, whatever the reason.
"""

from __future__ import annotations

import codecs
import json
from typing import Any, Final, cast

import msgspec

EXACT: Final = (1 << 53) - 1  # the largest number that all readers agree on (RFC 8259, section 6)
_PIECE: Final = 1 << 16
_decode = msgspec.json.Decoder().decode
_heads = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def encode(value: Any) -> bytes:
    """The JSON text of a value, in as few bytes as can be."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # a lone surrogate: only escapes can say it
        return json.dumps(value, separators=(",", ":")).encode()


def decode(data: bytes | msgspec.Raw) -> Any:
    """The value of a JSON text. Raises ValueError for what is none."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
    return _lenient(bytes(data))


def decode_object(data: bytes) -> dict[str, Any] | None:
    """The object that `data` is, or None for anything else."""
    try:
        value = decode(data)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def top_level(data: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a JSON object with their values undecoded. Raises ValueError where it is no object."""
    try:
        return _heads(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
    value = _lenient(data)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return {key: msgspec.Raw(json.dumps(item).encode()) for key, item in value.items()}


def is_text(body: bytes) -> bool:
    """Whether it is UTF-8 (RFC 8259, section 8.1): strings that are not looked into could hold anything."""
    if body.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for at in range(0, len(body), _PIECE):  # in pieces: the whole as a text would take four times its room
            decoder.decode(body[at : at + _PIECE])
        decoder.decode(b"", True)
    except UnicodeDecodeError:
        return False
    return True


def _lenient(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
