"""What the client is told when nobody could serve it: one status out of many failures, never 401, and who said what."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.fault import CLIENT_KINDS, Attempt, Fault, FaultKind
from proxy.routing import GatewayAnswer, Plan, Skipped, exhausted

K = FaultKind


def _tried(kind: FaultKind, connection: str = "alpha", retry_after: float | None = None) -> Attempt:
    fault = Fault(kind, f"{connection} answered badly", retry_after=retry_after)
    return Attempt(connection=connection, model="m", started=0.0, fault=fault)


def _left(kind: FaultKind, connection: str = "beta", retry_in: float | None = None) -> Skipped:
    return Skipped(connection, kind, f"{connection}: why", retry_in)


def _told(attempts: Sequence[Attempt], skipped: Sequence[Skipped] = ()) -> GatewayAnswer:
    return exhausted(Plan((), tuple(skipped)), attempts)


@pytest.mark.parametrize(
    ("kind", "status", "code", "again"),
    [
        (K.RATE, 429, "rate_limit_exceeded", True),
        (K.OVERLOAD, 503, "upstream_overloaded", True),
        (K.TIMEOUT, 504, "upstream_timeout", True),
        (K.STALL, 504, "upstream_timeout", True),
        (K.UPSTREAM_5XX, 502, "upstream_error", True),
        (K.CONNECT, 502, "upstream_unreachable", True),
        (K.DNS, 502, "upstream_unreachable", True),
        (K.TLS, 502, "upstream_unreachable", False),
        (K.INTERRUPTED, 502, "bad_upstream_response", True),
        (K.BAD_UPSTREAM, 502, "bad_upstream_response", True),
        (K.TOO_LARGE, 502, "bad_upstream_response", False),
        (K.REDIRECT, 502, "bad_upstream_response", False),
        (K.QUOTA, 402, "insufficient_quota", False),
        (K.AUTH, 502, "upstream_credentials_exhausted", False),
        (K.MODEL_MISSING, 404, "model_not_found", False),
        (K.GATEWAY, 503, "no_usable_connection", False),
    ],
)
def test_all_alike(kind: FaultKind, status: int, code: str, again: bool) -> None:
    for answer in (
        _told([_tried(kind), _tried(kind, "beta")]),
        _told([_tried(kind)], [_left(kind)]),
        _told([], [_left(kind, "alpha"), _left(kind)]),
    ):
        assert (answer.status, answer.code, answer.should_retry) == (status, code, again)
        assert answer.param == ("model" if kind is K.MODEL_MISSING else None)
        assert (answer.retry_after is not None) == (kind in (K.RATE, K.OVERLOAD))
        assert "alpha" in answer.message
        assert "beta" in answer.message


@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        # what passes by itself tells more than what does not
        ((K.AUTH, K.RATE), 429),
        ((K.QUOTA, K.RATE, K.UPSTREAM_5XX), 429),
        ((K.OVERLOAD, K.RATE), 429),
        ((K.OVERLOAD, K.AUTH, K.UPSTREAM_5XX), 503),
        ((K.UPSTREAM_5XX, K.TIMEOUT), 504),
        ((K.CONNECT, K.AUTH), 502),
        ((K.UPSTREAM_5XX, K.MODEL_MISSING), 502),
        # of what does not: what one can pay for, then the keys, then the model
        ((K.QUOTA, K.AUTH), 402),
        ((K.QUOTA, K.MODEL_MISSING), 402),
        ((K.AUTH, K.MODEL_MISSING), 502),
        ((K.AUTH, K.GATEWAY), 502),
        ((K.MODEL_MISSING, K.GATEWAY), 404),
    ],
)
def test_mixes(kinds: tuple[FaultKind, ...], status: int) -> None:
    assert _told([_tried(kind) for kind in kinds]).status == status
    assert _told([_tried(kind) for kind in reversed(kinds)]).status == status
    assert _told([_tried(kinds[0])], [_left(kind) for kind in kinds[1:]]).status == status


@pytest.mark.parametrize(
    ("tried", "left", "expected"),
    [
        ([30.0, 7.0], [], 7),
        ([30.0], [12.2], 13),
        ([None], [], 10),
        ([None], [3.0], 3),
        ([0.0], [], 1),
        ([0.2], [], 1),
        ([900.0], [600.0], 60),
        ([], [59.5], 60),
        ([], [None, 44.0], 44),
    ],
)
def test_retry_after_is_the_soonest(tried: list[float | None], left: list[float | None], expected: int) -> None:
    attempts = [_tried(K.RATE, retry_after=wait) for wait in tried]
    skipped = [_left(K.RATE, retry_in=wait) for wait in left]
    assert _told(attempts, skipped).retry_after == expected


def test_a_breaker_that_recovers_sooner_counts() -> None:
    answer = _told(
        [_tried(K.RATE, retry_after=50.0)], [_left(K.CONNECT, retry_in=4.0), _left(K.QUOTA, retry_in=3600.0)]
    )
    assert (answer.status, answer.retry_after) == (429, 4)


def test_the_message_names_each_and_why() -> None:
    answer = _told(
        [_tried(K.RATE), _tried(K.AUTH, "beta")],
        [
            Skipped("gamma", K.QUOTA, "gamma: its quota is used up", 1799.2),
            Skipped("delta", K.GATEWAY, "delta: no key", None),
        ],
    )
    assert answer.message == (
        "no connection could serve this: alpha answered badly; beta answered badly; "
        "gamma: its quota is used up (not tried for another 1800 s); delta: no key (not tried)"
    )


def test_nobody_at_all() -> None:
    answer = _told([])
    assert (answer.status, answer.code) == (503, "no_usable_connection")
    assert answer.message == "no connection could be tried"


_kinds = st.sampled_from(sorted(set(K) - CLIENT_KINDS - {K.HEDGED}))
_waits = st.one_of(st.none(), st.floats(0, 4000))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(_kinds, _waits), max_size=5), st.lists(st.tuples(_kinds, _waits), max_size=5))
def test_laws(tried: list[tuple[FaultKind, float | None]], left: list[tuple[FaultKind, float | None]]) -> None:
    attempts = [_tried(kind, f"t{n}", wait) for n, (kind, wait) in enumerate(tried)]
    skipped = [_left(kind, f"s{n}", wait) for n, (kind, wait) in enumerate(left)]
    answer = _told(attempts, skipped)
    assert answer.status in (402, 404, 429, 502, 503, 504)  # the client's own key is good: never 401
    assert answer.retry_after is None or (answer.should_retry and 1 <= answer.retry_after <= 60)
    assert answer.status != 429 or answer.retry_after is not None
    for name in [a.connection for a in attempts] + [s.connection for s in skipped]:
        assert name in answer.message
    kinds = {kind for kind, _ in tried + left}
    assert (answer.status == 429) == (K.RATE in kinds)
    assert not kinds or (answer.code == "upstream_credentials_exhausted") == (
        K.AUTH in kinds and kinds <= {K.AUTH, K.MODEL_MISSING, K.GATEWAY}
    )
