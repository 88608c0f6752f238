"""What providers say when they refuse: the class, the words that go on, and how long to wait."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from fuzz.draw import Draw
from proxy.dialects.json import decode_object
from proxy.fault import Blame, Fault, FaultKind
from proxy.routing.classify import classify_error, classify_response, clean
from proxy.routing.retry_after import MAX_SECONDS, retry_after
from proxy.routing.said import said_in, said_of

WALL = datetime(2026, 11, 25, 12, tzinfo=UTC)
_STATUSES = (200, 300, 302, 400, 401, 402, 403, 404, 408, 409, 413, 422, 424, 425, 429, 498, 500, 502, 503, 529, 599)
# Keys of known forms, whole: none of them may come through, wherever in a message it stands.
KEYS = (
    "sk-proj-Ab3dEf6hIj9lMn2pQr5tUv8xYz1",
    "sk-ant-api03-Zz9Yy8Xx7Ww6Vv5Uu4Tt3Ss2Rr1",
    "gsk_Ab3dEf6hIj9lMn2pQr5tUv8xYz1",
    "AIzaSyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6",
    "xai-Ab3dEf6hIj9lMn2pQr5tUv8x",
    "0123456789abcdef0123456789abcdef",
)
_NAMES = (
    *("retry-after", "retry-after-ms", "x-ms-retry-after-ms", "date", "x-amzn-errortype"),
    *("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "x-ratelimit-remaining-tokens"),
    *("x-ratelimit-reset-tokens", "anthropic-ratelimit-unified-reset", "anthropic-ratelimit-requests-remaining"),
    *("anthropic-ratelimit-requests-reset", "anthropic-ratelimit-tokens-remaining", "content-type"),
    *("anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-input-tokens-reset"),
)
_ZONES = (UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=12)))


def _headers(draw: Draw) -> list[tuple[str, str]]:
    return [(draw.pick(_NAMES), draw.text()) for _ in range(draw.number(5))]


def _with_key(body: bytes, draw: Draw) -> tuple[bytes, str]:
    """The body with a key where it says KEY, or as it is."""
    key = draw.pick(KEYS)
    return body.replace(b"KEY", key.encode()), key


def _right(fault: Fault, key: str) -> None:
    assert isinstance(fault.kind, FaultKind)
    assert fault.blame is not Blame.GATEWAY
    assert fault.kind is not FaultKind.CLIENT_GONE
    assert fault.retry_after is None or 0 <= fault.retry_after <= MAX_SECONDS
    assert len(fault.public) <= 1100
    assert fault.public.isprintable()
    assert fault.code is None or 0 < len(fault.code) <= 64
    for text in (fault.public, fault.code or ""):
        assert key not in text
        assert key[-12:] not in text


def classifier(data: bytes) -> None:
    """Every answer has a class; what of it goes on is one short line, and no key in it."""
    draw = Draw(data)
    status, headers, wall = draw.pick(_STATUSES), _headers(draw), WALL.astimezone(draw.pick(_ZONES))
    form = draw.number(3)
    body, key = _with_key(draw.rest(), draw)
    if form == 1:
        said = body.decode("utf-8", "replace").replace('"', "'").replace("\\", "")
        body = f'{{"error": {{"message": "{said}", "code": "{said[:80]}"}}}}'.encode()
    _right(classify_response(status, headers, body, connection="alpha", wall=wall), key)
    value = decode_object(body)
    if value is not None:
        _right(classify_error(value, connection="alpha", wall=wall), key)
        said_of(value)
    told = said_in(body, headers)
    assert isinstance(told.message, str)
    line = clean(body.decode("utf-8", "replace"))
    assert len(line) <= 1000
    assert "\n" not in line
    assert key not in line


_SECONDS = re.compile(r"[0-9]{1,9}")


def _plainly(headers: list[tuple[str, str]]) -> float | None:
    """The wait where only whole numbers of seconds and milliseconds are named: a second implementation of that case."""
    found = []
    for name, value in headers:
        factor = {"retry-after": 1, "retry-after-ms": 0.001, "x-ms-retry-after-ms": 0.001}.get(name)
        if factor is None:
            continue
        if not _SECONDS.fullmatch(value):
            return None
        found.append(int(value) * factor)
    return min(MAX_SECONDS, max(found)) if found else None


def retry(data: bytes) -> None:
    """Seconds in [0, 900] or none, whatever is said; whole numbers mean what they say."""
    draw = Draw(data)
    wall = WALL.astimezone(draw.pick(_ZONES))
    headers = _headers(draw)
    body = draw.rest()
    told = retry_after(headers, body, wall)
    assert told is None or 0 <= told <= MAX_SECONDS
    plain = _plainly(headers)
    assert plain is None or (told is not None and abs(told - plain) < 1e-6)
