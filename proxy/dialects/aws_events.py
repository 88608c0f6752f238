"""Amazon's binary event stream: frames out of bytes and back.

Source: AWS, "Amazon event stream encoding" (Amazon Transcribe and the Smithy specification have the same text), read
2026-11: total length, header length and their CRC-32, headers, payload, CRC-32 of everything before. botocore's parser
and the recorded traffic are the judges in the tests.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final
from zlib import crc32

import msgspec

MAX_FRAME_BYTES: Final = 24 * 1024 * 1024  # the format's own limit is 16 MiB of payload
_PRELUDE: Final = struct.Struct(">III")
_SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}  # of header values by type; 6 and 7 say theirs


class BadFrame(Exception):
    """Bytes that are no frame: damaged, too large or of another format."""


class Frame(msgspec.Struct, frozen=True):
    """One message: what its text headers say, and its payload."""

    headers: dict[str, str]
    payload: bytes


class FrameSplitter:
    """Takes bytes as they come and gives whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that these bytes complete. Raises BadFrame."""
        self._buffer += data
        while len(self._buffer) >= _PRELUDE.size:
            total, headers, check = _PRELUDE.unpack_from(self._buffer)
            if crc32(self._buffer[:8]) != check or not 16 + headers <= total <= MAX_FRAME_BYTES:
                raise BadFrame("a frame whose beginning is damaged")
            if len(self._buffer) < total:
                return
            raw = bytes(self._buffer[:total])
            del self._buffer[:total]
            if crc32(raw[:-4]) != int.from_bytes(raw[-4:], "big"):
                raise BadFrame("a frame whose checksum is wrong")
            yield Frame(_headers(raw[12 : 12 + headers]), raw[12 + headers : -4])

    @property
    def pending(self) -> bool:
        """Whether a frame was cut short."""
        return bool(self._buffer)


def _headers(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            size = data[at]
            name = data[at + 1 : at + 1 + size].decode()
            kind = data[at + 1 + size]
            at += 2 + size
            if kind in (6, 7):
                length = int.from_bytes(data[at : at + 2], "big")
                if kind == 7:
                    found[name] = data[at + 2 : at + 2 + length].decode()
                at += 2 + length
            else:
                at += _SIZES[kind]
    except (IndexError, KeyError, UnicodeDecodeError):
        raise BadFrame("a frame whose headers are damaged") from None
    if at != len(data):
        raise BadFrame("a frame whose last header ends beyond its headers")
    return found


def frame(payload: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of one message with text headers."""
    named = b"".join(
        bytes((len(name.encode()),)) + name.encode() + b"\x07" + len(value.encode()).to_bytes(2, "big") + value.encode()
        for name, value in headers.items()
    )
    start = struct.pack(">II", 16 + len(named) + len(payload), len(named))
    body = start + crc32(start).to_bytes(4, "big") + named + payload
    return body + crc32(body).to_bytes(4, "big")
