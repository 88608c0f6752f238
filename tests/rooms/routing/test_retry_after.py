"""Every way in which a provider says how long to wait; and that no text at all can make the reader fail or hang."""

from __future__ import annotations

import json
import math
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.routing.retry_after import asked_for, retry_after

WALL = datetime(2026, 11, 14, 12, 0, 0, tzinfo=UTC)
Headers = list[tuple[str, str]]


def _groq(text: str) -> bytes:
    return json.dumps({"error": {"message": text, "code": "rate_limit_exceeded"}}).encode()


def _google(*details: object) -> bytes:
    return json.dumps({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": list(details)}}).encode()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        # retry-after, as a number
        ([("retry-after", "7")], 7.0),
        ([("retry-after", " 7 ")], 7.0),
        ([("retry-after", "0.25")], 0.25),
        ([("retry-after", "1e2")], 100.0),
        ([("retry-after", "0")], 0.0),
        ([("retry-after", "-3")], 0.0),
        ([("retry-after", "901")], 900.0),
        ([("retry-after", "86400")], 900.0),
        # as a date: against the answer's own clock, else ours
        ([("retry-after", "Sat, 14 Nov 2026 12:00:30 GMT")], 30.0),
        ([("retry-after", "Sat, 14 Nov 2026 12:00:30 GMT"), ("date", "Sat, 14 Nov 2026 12:00:10 GMT")], 20.0),
        ([("retry-after", "Sat, 14 Nov 2026 12:00:30 GMT"), ("date", "yesterday")], 30.0),
        ([("retry-after", "Sat, 14 Nov 2026 11:00:00 GMT")], 0.0),
        ([("retry-after", "Sat, 14 Nov 2026 12:00:30 -0000")], 30.0),
        ([("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")], 900.0),
        # milliseconds
        ([("retry-after-ms", "1500")], 1.5),
        ([("x-ms-retry-after-ms", "26000")], 26.0),
        # several: the largest
        ([("retry-after-ms", "1500"), ("retry-after", "4")], 4.0),
        ([("retry-after", "2"), ("retry-after", "9")], 9.0),
        ([("retry-after", "garbage"), ("retry-after-ms", "500")], 0.5),
        # garbage is as if it were not there
        ([("retry-after", "NaN")], None),
        ([("retry-after", "inf")], None),
        ([("retry-after", "-Infinity")], None),
        ([("retry-after", "1e999")], None),
        ([("retry-after", "1_0")], None),
        ([("retry-after", "١٢")], None),
        ([("retry-after", "")], None),
        ([("retry-after", "soon")], None),
        ([("retry-after", "Sat, 99 Nov 2026 12:00:30 GMT")], None),
        ([], None),
        # Anthropic: only where nothing remains
        (
            [
                ("anthropic-ratelimit-requests-remaining", "0"),
                ("anthropic-ratelimit-requests-reset", "2026-11-14T12:00:20Z"),
            ],
            20.0,
        ),
        (
            [
                ("anthropic-ratelimit-requests-remaining", "12"),
                ("anthropic-ratelimit-requests-reset", "2026-11-14T12:00:20Z"),
            ],
            None,
        ),
        ([("anthropic-ratelimit-tokens-reset", "2026-11-14T12:00:20Z")], None),
        (
            [
                ("anthropic-ratelimit-input-tokens-remaining", "0"),
                ("anthropic-ratelimit-input-tokens-reset", "2026-11-14T12:00:20Z"),
                ("anthropic-ratelimit-output-tokens-remaining", "0"),
                ("anthropic-ratelimit-output-tokens-reset", "2026-11-14T13:00:50+01:00"),
            ],
            50.0,
        ),
        (
            [
                ("anthropic-ratelimit-tokens-remaining", "0"),
                ("anthropic-ratelimit-tokens-reset", "2026-11-14T12:00:05"),
            ],
            5.0,
        ),
        (
            [("anthropic-ratelimit-tokens-remaining", "0"), ("anthropic-ratelimit-tokens-reset", "tomorrow")],
            None,
        ),
        ([("anthropic-ratelimit-unified-reset", str(int(WALL.timestamp()) + 42))], 42.0),
        ([("anthropic-ratelimit-unified-reset", str(int(WALL.timestamp()) - 42))], 0.0),
        ([("anthropic-ratelimit-unified-reset", "?")], None),
        # OpenAI and Groq: Go durations, only where nothing remains
        ([("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6m0s")], 360.0),
        ([("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "12ms")], 0.012),
        ([("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "2m59.56s")], 179.56),
        ([("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "1h2m")], 900.0),
        ([("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "17")], 17.0),
        ([("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", ".5s")], 0.5),
        ([("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0s and a bit")], None),
        ([("x-ratelimit-remaining-tokens", "5"), ("x-ratelimit-reset-tokens", "6m0s")], None),
        ([("x-ratelimit-reset-tokens", "6m0s")], None),
        (
            [
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "1s"),
                ("x-ratelimit-remaining-tokens", "0"),
                ("x-ratelimit-reset-tokens", "2s"),
            ],
            2.0,
        ),
        # whatever the count is called
        ([("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "12")], 12.0),
        ([("x-ratelimit-remaining-tokens-minute", "0"), ("x-ratelimit-reset-tokens-minute", "31.5")], 31.5),
        (
            [
                ("x-ratelimit-remaining-requests-day", "7"),
                ("x-ratelimit-reset-requests-day", "33011"),
                ("x-ratelimit-remaining-tokens-minute", "0"),
                ("x-ratelimit-reset-tokens-minute", "3"),
            ],
            3.0,
        ),
        # as a date: seconds or (OpenRouter) milliseconds since 1970, or RFC 3339
        ([("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", str(int(WALL.timestamp()) + 9))], 9.0),
        ([("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", str(int(WALL.timestamp()) * 1000 + 9500))], 9.5),
        ([("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "2026-11-14T12:00:20Z")], 20.0),
        # a subscription's count that has not run out says nothing
        (
            [
                ("anthropic-ratelimit-unified-status", "allowed_warning"),
                ("anthropic-ratelimit-unified-reset", str(int(WALL.timestamp()) + 42)),
            ],
            None,
        ),
        (
            [
                ("anthropic-ratelimit-unified-status", "rejected"),
                ("anthropic-ratelimit-unified-reset", str(int(WALL.timestamp()) + 42)),
            ],
            42.0,
        ),
        # what is said outright goes before what is reckoned
        (
            [
                ("retry-after", "3"),
                ("anthropic-ratelimit-requests-remaining", "0"),
                ("anthropic-ratelimit-requests-reset", "2026-11-14T12:00:20Z"),
            ],
            3.0,
        ),
    ],
)
def test_headers(headers: Headers, expected: float | None) -> None:
    found = retry_after(headers, b"", WALL)
    assert found == (pytest.approx(expected) if expected is not None else None)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (_google({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38s"}), 38.0),
        (_google({"retryDelay": "38.25s"}), 38.25),
        (_google({"reason": "x"}, {"retryDelay": "2s"}), 2.0),
        (_google({"retryDelay": "soon"}, {"retryDelay": "2s"}), 2.0),
        (_google({"retryDelay": 38}, None, 7), None),
        # Gemini's OpenAI endpoint wraps the same in a list
        (b"[" + _google({"retryDelay": "38s"}) + b"]", 38.0),
        (_groq("Rate limit reached for model `x`. Please try again in 5.289s. Need more tokens?"), 5.289),
        (_groq("Please try again in 7m12.5s."), 432.5),
        (_groq("Please try again in 6ms."), 0.006),
        (_groq("Please retry in 38.2s."), 38.2),
        (_groq("Please TRY AGAIN IN 2s"), 2.0),
        (_groq("try again in 3h"), 900.0),
        (_groq("Please retry after 26 seconds. Contact support"), 26.0),
        (_groq("Please retry after 86400 seconds."), 900.0),
        (_groq("Try again in 1 seconds."), 1.0),
        (_groq("try again in 2 minutes"), 120.0),
        (_groq("try again in 1 minute 5 seconds"), 65.0),
        (_groq("retry in 250 milliseconds"), 0.25),
        (_groq("retry after 3 attempts"), None),
        (_groq("try again in 5 months"), None),
        (_groq("try again in 5months"), None),
        (_groq("try again in a while"), None),
        (b"please try again in 1.5s", 1.5),
        (b"", None),
        (b"null", None),
        (b"[]", None),
        (b'{"error": "no"}', None),
        (b"\xff\xfe try again in 2s", 2.0),
        (b"try again in 2s" + b" " * 70_000, None),
    ],
)
def test_bodies(body: bytes, expected: float | None) -> None:
    found = retry_after([], body, WALL)
    assert found == (pytest.approx(expected) if expected is not None else None)


def test_a_header_goes_before_the_body() -> None:
    assert retry_after([("retry-after", "1")], _groq("try again in 9s"), WALL) == 1.0
    assert retry_after([("retry-after", "?")], _groq("try again in 9s"), WALL) == 9.0


@pytest.mark.parametrize("text", ["1" * 8000 + "x", "1." * 4000, ".1" * 4000, "1s" * 4000 + "!", " " * 8000 + "x"])
def test_no_text_takes_long(text: str) -> None:
    """An unbounded expression needed 20 s for 2 000 digits: a provider could have held up the whole daemon."""
    began = time.process_time()
    named = [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", text), ("retry-after", text)]
    retry_after(named, b"", WALL)
    retry_after([], b"try again in " + text.encode() * 8, WALL)
    retry_after([], b"retry" + text.encode() * 8, WALL)
    assert time.process_time() - began < 0.5


_NAMES = (
    "retry-after",
    "retry-after-ms",
    "x-ms-retry-after-ms",
    "date",
    "anthropic-ratelimit-unified-reset",
    *(f"anthropic-ratelimit-{k}-{w}" for k in ("requests", "tokens", "input-tokens") for w in ("remaining", "reset")),
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "anthropic-ratelimit-unified-status",
    *(f"x-ratelimit-{w}-{k}" for k in ("requests", "tokens") for w in ("remaining", "reset")),
)
_value = st.one_of(
    st.text(max_size=40),
    st.floats().map(str),
    st.integers().map(str),
    st.just("0"),
    st.datetimes().map(lambda when: when.isoformat()),
    st.datetimes(timezones=st.timezones()).map(lambda when: when.isoformat()),
    st.from_regex(
        r"[A-Z][a-z]{2}, [0-9]{1,3} (?:Jan|Nov) [0-9]{1,5} [0-9]{2}:[0-9]{2}:[0-9]{2} (?:GMT|[+-][0-9]{4,6})"
    ),
    st.from_regex(r"(?:[0-9.]{1,20}(?:ms|us|µs|ns|h|m|s)){1,4}"),
)
_headers = st.lists(st.tuples(st.sampled_from(_NAMES), _value), max_size=6)
_body = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=60).map(lambda text: f"try again in {text}".encode("utf-8", "replace")),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=20) | st.floats(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["error", "details", "retryDelay", "message"]), inner, max_size=3)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=200, deadline=None)
@given(_headers, _body, st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(9998, 1, 1)))  # noqa: DTZ001
@example([("retry-after", "9" * 400)], b"", datetime(2026, 1, 1))  # noqa: DTZ001
@example([("retry-after", "1 Jan 0001 00:00:00 +2359")], b"", datetime(2026, 1, 1))  # noqa: DTZ001
@example([], b"[" * 60_000, datetime(2026, 1, 1))  # noqa: DTZ001
@example([], b'{"error":' * 2_000, datetime(2026, 1, 1))  # noqa: DTZ001
def test_always_a_wait_in_bounds_or_none(headers: Headers, body: bytes, wall: datetime) -> None:
    found = retry_after(headers, body, wall.replace(tzinfo=UTC))
    assert found is None or (math.isfinite(found) and 0.0 <= found <= 900.0)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2000))
def test_all_spellings_of_a_wait_agree(seconds: int) -> None:
    expected = float(min(seconds, 900))
    when = WALL + timedelta(seconds=seconds)
    zero = [("anthropic-ratelimit-tokens-remaining", "0"), ("x-ratelimit-remaining-tokens", "0")]
    spelled: list[Headers] = [
        [("retry-after", str(seconds))],
        [("retry-after", f"{seconds}.0")],
        [("retry-after-ms", str(seconds * 1000))],
        [("retry-after", when.strftime("%a, %d %b %Y %H:%M:%S GMT"))],
        [*zero, ("anthropic-ratelimit-tokens-reset", when.isoformat())],
        [("anthropic-ratelimit-unified-reset", str(when.timestamp()))],
        [*zero, ("x-ratelimit-reset-tokens", f"{seconds // 60}m{seconds % 60}s")],
    ]
    assert {retry_after(headers, b"", WALL) for headers in spelled} == {expected}


_waits = st.lists(st.floats(-100, 2000, allow_nan=False).map(lambda seconds: round(seconds, 3)), min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(_waits, st.permutations(["nan", "soon", ""]))
def test_of_several_the_largest_and_garbage_is_as_if_it_were_not_there(waits: list[float], garbage: list[str]) -> None:
    names = ("retry-after", "retry-after-ms", "x-ms-retry-after-ms")
    headers = [(names[0], text) for text in garbage]
    for number, seconds in enumerate(waits):
        name = names[number % 3]
        headers.append((name, str(seconds if name == "retry-after" else seconds * 1000)))
    assert retry_after(headers, b"", WALL) == pytest.approx(min(900.0, max(0.0, max(waits))))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 900), st.integers(-(10**7), 10**7))
def test_dates_are_reckoned_by_the_clock_of_who_says_them(seconds: int, skew: int) -> None:
    """A daemon whose clock is an hour off waited an hour too long, or not at all."""
    theirs = WALL + timedelta(seconds=skew)
    when = theirs + timedelta(seconds=seconds)
    date = ("date", theirs.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    spelled: list[Headers] = [
        [("retry-after", when.strftime("%a, %d %b %Y %H:%M:%S GMT"))],
        [("anthropic-ratelimit-tokens-remaining", "0"), ("anthropic-ratelimit-tokens-reset", when.isoformat())],
        [("anthropic-ratelimit-unified-reset", str(int(when.timestamp())))],
        [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", str(int(when.timestamp()) * 1000))],
    ]
    assert {retry_after([*headers, date], b"", WALL) for headers in spelled} == {float(seconds)}


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10**9), st.sampled_from(["", "-requests", "-tokens", "-tokens-minute"]), st.integers(1, 900))
def test_a_count_that_is_not_used_up_says_nothing(remaining: int, name: str, seconds: int) -> None:
    reset = (f"x-ratelimit-reset{name}", str(seconds))
    assert retry_after([(f"x-ratelimit-remaining{name}", str(remaining)), reset], b"", WALL) is None
    assert retry_after([reset], b"", WALL) is None
    assert retry_after([(f"x-ratelimit-remaining{name}", "0"), reset], b"", WALL) == seconds


def test_only_what_is_said_outright_is_a_time_to_come_back() -> None:
    assert asked_for([("retry-after", "3")], WALL)
    assert asked_for([("retry-after-ms", "3")], WALL)
    assert not asked_for([("retry-after", "soon")], WALL)
    assert not asked_for([("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "3")], WALL)
