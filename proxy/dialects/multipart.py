"""The `model` field of a multipart form, found and replaced on its bytes; every other part stays as it was.

Source: RFC 7578 (multipart/form-data) and RFC 2046 section 5.1 (boundaries).
"""

from __future__ import annotations

import re
from typing import Final

from proxy.dialects.splice import BadBody, Head

_BOUNDARY: Final = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^;\s"]{1,70}))', re.IGNORECASE)
_NAME: Final = re.compile(rb'content-disposition:[^\r\n]*;\s*name="?([^";\r\n]*)"?', re.IGNORECASE)


def _fields(body: bytes, content_type: str, *, whole: bool = True) -> list[tuple[str, int, int]]:
    """Name, start and end of the content of every part; not `whole`: of those that have come. Raises BadBody."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise BadBody("the multipart body has no boundary in its Content-Type", None, "invalid_multipart")
    mark = b"--" + (found[1] or found[2]).encode()
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
        raise BadBody("the form has two `model` fields", "model", "duplicate_model")
    model = body[slice(*models[0])].decode("utf-8", "replace") if models else None
    stream = any(name == "stream" and body[a:b].strip().lower() == b"true" for name, a, b in fields)
    return Head(model or None, stream, None, frozenset(name for name, _, _ in fields))


def with_model(body: bytes, content_type: str, model: str, *, whole: bool = True) -> bytes:
    """The form, or not `whole`: its beginning, asking for another model. Raises BadBody where it names none."""
    for name, start, end in _fields(body, content_type, whole=whole):
        if name == "model":
            return body[:start] + model.encode() + body[end:]
    raise BadBody("the form has no `model` field", "model", "missing_model")
