"""The `model` field of a multipart form, found and replaced on its bytes; every other part stays as it was.

Source: RFC 7578 (multipart/form-data) and RFC 2046 section 5.1 (boundaries).
"""

from __future__ import annotations

import re
from typing import Final

from proxy.dialects.splice import BadBody, Head

_BOUNDARY: Final = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^;\s"]{1,70}))', re.IGNORECASE)
_NAME: Final = re.compile(rb'content-disposition:[^\r\n]*;\s*name="?([^";\r\n]*)"?', re.IGNORECASE)

_HEAD: Final = 8192  # bytes of a part's head; what is longer is none


def _mark(content_type: str) -> bytes:
    """What stands before every part. Raises BadBody."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise BadBody("the multipart body has no boundary in its Content-Type", None, "invalid_multipart")
    return b"--" + (found[1] or found[2]).encode()


def _fields(body: bytes, content_type: str, *, whole: bool = True) -> list[tuple[str, int, int]]:
    """Name, start and end of the content of every part; not `whole`: of those that have come. Raises BadBody."""
    mark = _mark(content_type)
    fields: list[tuple[str, int, int]] = []
    at = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2
    while at >= 0 and body.startswith(mark, at) and not body.startswith(mark + b"--", at):
        head_end = body.find(b"\r\n\r\n", at)
        end = body.find(b"\r\n" + mark, at)
        if head_end < 0 or end < 0:
            break
        name = _NAME.search(body, at, head_end)
        if name is not None and head_end + 4 <= end:
            fields.append((name[1].decode("utf-8", "replace"), head_end + 4, end))
        at = end + 2
    if whole and not body.startswith(mark + b"--", at):
        raise BadBody("the multipart body is cut short", None, "invalid_multipart")
    return fields


def peek(body: bytes, content_type: str, *, whole: bool = True) -> Head:
    """What has to be known of the form; not `whole`: as far as it has come. Raises BadBody."""
    fields = _fields(body, content_type, whole=whole)
    models = [(start, end) for name, start, end in fields if name == "model"]
    if len(models) > 1:
        raise two_models()
    model = body[slice(*models[0])].decode("utf-8", "replace") if models else None
    stream = any(name == "stream" and body[a:b].strip().lower() == b"true" for name, a, b in fields)
    return Head(model or None, stream, None, frozenset(name for name, _, _ in fields))


def two_models() -> BadBody:
    """Why a form is refused that names two: readers disagree which one counts."""
    return BadBody("the form has two `model` fields", "model", "duplicate_model")


class Models:
    """Counts the `model` fields of a form that passes in pieces. Raises BadBody where it has no boundary."""

    def __init__(self, content_type: str) -> None:
        self._mark = b"\r\n" + _mark(content_type)
        self._tail = b"\r\n"  # the first part has no line before it
        self._count = 0

    def see(self, piece: bytes) -> int:
        """How many there were up to the end of this piece."""
        data, mark, at = self._tail + piece, self._mark, 0
        while (start := data.find(mark, at)) >= 0:
            end = data.find(b"\r\n\r\n", start + len(mark), start + _HEAD)
            if end < 0 and len(data) < start + _HEAD:
                self._tail = data[start:]
                return self._count
            name = _NAME.search(data, start, end) if end >= 0 else None
            self._count += name is not None and name[1] == b"model"
            at = end + 2 if end >= 0 else start + len(mark)
        self._tail = data[max(at, len(data) - len(mark) + 1) :]
        return self._count


def with_model(body: bytes, content_type: str, model: str, *, whole: bool = True) -> bytes:
    """The form, or not `whole`: its beginning, asking for another model. Raises BadBody where it names none."""
    for name, start, end in _fields(body, content_type, whole=whole):
        if name == "model":
            return body[:start] + model.encode() + body[end:]
    raise BadBody("the form has no `model` field", "model", "missing_model")
