"""Breakers, cool-downs, refused keys and missing models: when a connection may be tried, on a clock that is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.model import Connection
from proxy.fault import CLIENT_KINDS, Fault, FaultKind
from proxy.routing import Health
from proxy.routing.health import BreakerState
from tests.support.led import Led

K = FaultKind
BREAKER = sorted(set(K) - CLIENT_KINDS - {K.GATEWAY, K.HEDGED, K.AUTH, K.QUOTA, K.RATE, K.MODEL_MISSING})


@pytest.fixture
def health(clock: Any) -> Health:
    return Led(clock, lambda: 1.0)


@pytest.fixture
def alpha(world: Any) -> Connection:
    connection: Connection = world.connection("alpha")
    return connection


def _fail(health: Health, connection: Connection, kind: FaultKind, times: int = 1, **more: Any) -> None:
    for _ in range(times):
        health.failed(connection, "m", Fault(kind, "no", **more))


def _usable(health: Health, connection: Connection, model: str | None = "m") -> bool:
    return health.check(connection, model).usable


def _state(health: Health, connection: Connection, model: str) -> BreakerState:
    """The worse of what the connection and the model are in."""
    report = health.report(connection)
    if report.state is not BreakerState.CLOSED:
        return report.state
    return next((m.state for m in report.models if m.model == model), BreakerState.CLOSED)


def test_a_connection_never_heard_of_is_well(health: Health, alpha: Connection) -> None:
    assert _usable(health, alpha)
    assert _usable(health, alpha, None)
    assert health.admit(alpha)
    assert health.state(alpha) is BreakerState.CLOSED
    health.released(alpha)
    health.succeeded(alpha, "m")
    assert _usable(health, alpha)


# The breaker


@pytest.mark.parametrize("kind", BREAKER)
def test_opens_at_five_in_a_row(health: Health, alpha: Connection, kind: FaultKind) -> None:
    _fail(health, alpha, kind, 4)
    assert _usable(health, alpha)
    _fail(health, alpha, kind)
    verdict = health.check(alpha, "m")
    assert not verdict.usable
    assert (verdict.kind, verdict.retry_in) == (kind, 30.0)
    assert kind.value in verdict.reason
    assert _state(health, alpha, "m") is BreakerState.OPEN


def test_five_in_a_row_however_slowly(health: Health, alpha: Connection, clock: Any) -> None:
    for _ in range(5):
        assert _usable(health, alpha)
        _fail(health, alpha, K.CONNECT)
        clock.pass_(100)
    assert health.state(alpha) is BreakerState.HALF_OPEN


def test_a_success_between_begins_the_row_anew(health: Health, alpha: Connection, clock: Any) -> None:
    for _ in range(6):
        _fail(health, alpha, K.UPSTREAM_5XX)
        clock.pass_(31)
        health.succeeded(alpha, "m")
        clock.pass_(31)
    assert _usable(health, alpha)


@pytest.mark.parametrize(
    ("outcomes", "opens"),
    [
        ("+--+-", True),  # 3 of 5
        ("-+-+-", True),
        ("--+-", False),  # 3 of 4: too few
        ("-+-+", False),
        ("-+-+-+", True),  # at the fifth
        ("+-+-+-", True),  # 3 of 6: half
        ("+-+-++-", False),  # 3 of 7
        ("+++++----", False),  # 4 of 9
        ("+++++--+---", False),  # 5 of 11
        ("++---+--", True),  # 3 of 5 at the fifth
        ("+++++-----", True),  # five in a row
    ],
)
def test_opens_at_half_of_five_and_more(
    health: Health, alpha: Connection, clock: Any, outcomes: str, opens: bool
) -> None:
    opened = False
    for outcome in outcomes:
        if outcome == "+":
            health.succeeded(alpha, "m")
        else:
            _fail(health, alpha, K.UPSTREAM_5XX)
        opened = opened or not _usable(health, alpha)
        clock.pass_(1)
    assert opened is opens


def test_outcomes_older_than_30_s_do_not_count(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, K.STALL, 3)
    health.succeeded(alpha, "m")
    clock.pass_(31)
    _fail(health, alpha, K.STALL)
    assert _usable(health, alpha)
    clock.pass_(1)
    _fail(health, alpha, K.STALL, 3)
    assert _usable(health, alpha)
    _fail(health, alpha, K.STALL)
    assert not _usable(health, alpha)


def test_exactly_one_probe(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, K.CONNECT, 5)
    clock.pass_(29.9)
    assert not _usable(health, alpha)
    clock.pass_(0.1)
    assert health.state(alpha) is BreakerState.HALF_OPEN
    assert _usable(health, alpha)
    assert sum(health.admit(alpha) is not None for _ in range(100)) == 1
    verdict = health.check(alpha, "m")
    assert not verdict.usable
    assert verdict.probing
    assert "probe" in verdict.reason
    health.succeeded(alpha, "m")
    assert health.state(alpha) is BreakerState.CLOSED
    assert all(health.admit(alpha) for _ in range(100))


def test_a_failed_probe_opens_it_for_longer(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, K.CONNECT, 5)
    waits = []
    for _ in range(12):
        verdict = health.check(alpha, "m")
        assert verdict.retry_in is not None
        waits.append(verdict.retry_in)
        clock.pass_(verdict.retry_in)
        assert health.admit(alpha)
        _fail(health, alpha, K.CONNECT)
    assert waits == [pytest.approx(min(30.0 * n, 300.0)) for n in range(1, 13)]
    clock.pass_(300)
    assert health.admit(alpha)
    health.succeeded(alpha, "m")
    clock.pass_(31)
    _fail(health, alpha, K.CONNECT, 5)
    assert health.check(alpha, "m").retry_in == pytest.approx(30.0)


def test_a_probe_that_says_nothing_leaves_room_for_another(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, K.CONNECT, 5)
    clock.pass_(30)
    assert health.admit(alpha)
    health.released(alpha)
    assert health.state(alpha) is BreakerState.HALF_OPEN
    assert health.admit(alpha)
    _fail(health, alpha, K.CONTENT_FILTER)  # the client's fault
    assert health.state(alpha) is BreakerState.HALF_OPEN
    assert health.admit(alpha)


def test_many_failures_at_once_are_one_opening(health: Health, alpha: Connection) -> None:
    """They counted each: twenty requests under way made it 300 s."""
    _fail(health, alpha, K.CONNECT, 20)
    assert health.check(alpha, "m").retry_in == 30.0


def test_the_opening_is_spread(alpha: Connection, clock: Any) -> None:
    waits = set()
    for _ in range(50):
        health = Led(clock)
        _fail(health, alpha, K.CONNECT, 5)
        wait = health.check(alpha, "m").retry_in
        assert wait is not None
        assert 24.0 <= wait <= 36.0
        waits.add(wait)
    assert len(waits) > 10


def test_an_open_breaker_admits_one_before_its_time(health: Health, alpha: Connection) -> None:
    """For the plan that has nobody else; a success closes it, a failure opens it for longer."""
    _fail(health, alpha, K.CONNECT, 5)
    assert health.admit(alpha)
    assert not health.admit(alpha)
    assert health.check(alpha, "m").probing
    _fail(health, alpha, K.TLS)
    verdict = health.check(alpha, "m")
    assert (verdict.kind, verdict.retry_in) == (K.TLS, 60.0)
    assert health.admit(alpha)
    health.succeeded(alpha, "m")
    assert _usable(health, alpha)


# Refused keys


def test_a_refused_key_is_not_tried_again(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, K.AUTH)
    for _ in range(3):
        clock.pass_(1_000_000)
        verdict = health.check(alpha, None)
        assert (verdict.usable, verdict.kind, verdict.retry_in) == (False, K.AUTH, None)
        assert not health.admit(alpha)
    assert health.state(alpha) is BreakerState.DISABLED


def test_a_new_key_begins_anew(health: Health, alpha: Connection, world: Any) -> None:
    _fail(health, alpha, K.AUTH)
    renewed = world.connection("alpha", key="other-" + "x" * 20)
    assert _usable(health, renewed)
    assert health.admit(renewed)
    assert not _usable(health, alpha)


@pytest.mark.parametrize("kind", [K.RATE, K.QUOTA, K.CONNECT])
def test_nothing_under_way_undoes_a_refused_key(health: Health, alpha: Connection, kind: FaultKind) -> None:
    _fail(health, alpha, K.AUTH)
    _fail(health, alpha, kind, 6)
    health.succeeded(alpha, "m")
    assert health.state(alpha) is BreakerState.DISABLED


# Quota


def test_quota_waits_an_hour_then_one_probe(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, K.QUOTA)
    assert health.state(alpha) is BreakerState.QUOTA
    assert not health.admit(alpha)
    clock.pass_(3599)
    assert health.check(alpha, "m").retry_in == pytest.approx(1.0)
    clock.pass_(1)
    assert _usable(health, alpha)
    assert [health.admit(alpha) is not None for _ in range(3)] == [True, False, False]
    _fail(health, alpha, K.QUOTA)
    assert health.check(alpha, "m").retry_in == pytest.approx(3600.0)
    clock.pass_(3600)
    assert health.admit(alpha)
    health.succeeded(alpha, "m")
    assert health.state(alpha) is BreakerState.CLOSED


# Rate


@pytest.mark.parametrize(
    ("told", "wait"), [(None, 10.0), (2.0, 2.0), (0.25, 0.25), (0.0, None), (900.0, 900.0), (5000.0, 900.0)]
)
def test_rate_cools_down(health: Health, alpha: Connection, clock: Any, told: float | None, wait: float | None) -> None:
    _fail(health, alpha, K.RATE, retry_after=told)
    if wait is None:
        assert _usable(health, alpha)
        return
    verdict = health.check(alpha, "m")
    assert (verdict.usable, verdict.kind, verdict.retry_in) == (False, K.RATE, pytest.approx(wait))
    assert _state(health, alpha, "m") is BreakerState.COOLING
    assert not health.admit(alpha, "m")
    clock.pass_(wait)
    assert _state(health, alpha, "m") is BreakerState.CLOSED
    assert _usable(health, alpha)
    assert all(health.admit(alpha, "m") for _ in range(5))  # no probe: the provider itself said when


def test_rates_do_not_open_the_breaker(health: Health, alpha: Connection, clock: Any) -> None:
    for _ in range(20):
        _fail(health, alpha, K.RATE, retry_after=0.1)
        clock.pass_(0.1)
    assert _usable(health, alpha)


def test_a_late_answer_does_not_shorten_a_wait(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, K.RATE, retry_after=60.0)
    _fail(health, alpha, K.RATE)  # 10 s, by default
    health.succeeded(alpha, "m")  # began before
    _fail(health, alpha, K.CONNECT, 5)
    verdict = health.check(alpha, "m")
    assert (verdict.kind, verdict.retry_in) == (K.RATE, 60.0)
    _fail(health, alpha, K.QUOTA)
    _fail(health, alpha, K.RATE)
    health.succeeded(alpha, "m")
    assert health.state(alpha) is BreakerState.QUOTA
    clock.pass_(3600)
    assert _usable(health, alpha)


def test_a_late_success_does_not_close_an_open_breaker(health: Health, alpha: Connection) -> None:
    _fail(health, alpha, K.CONNECT, 5)
    health.succeeded(alpha, "m")
    assert health.state(alpha) is BreakerState.OPEN


# Models


def test_a_missing_model_is_marked_for_ten_minutes(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, K.MODEL_MISSING, 10)
    verdict = health.check(alpha, "m")
    assert (verdict.usable, verdict.kind, verdict.retry_in) == (False, K.MODEL_MISSING, 600.0)
    assert _usable(health, alpha, "other")
    assert _usable(health, alpha, None)
    assert health.state(alpha) is BreakerState.CLOSED
    clock.pass_(600)
    assert _usable(health, alpha)


def test_a_success_takes_the_mark_off(health: Health, alpha: Connection) -> None:
    _fail(health, alpha, K.MODEL_MISSING)
    health.succeeded(alpha, "other")
    assert not _usable(health, alpha)
    health.succeeded(alpha, "m")
    assert _usable(health, alpha)


def test_no_model_no_mark(health: Health, alpha: Connection) -> None:
    health.failed(alpha, None, Fault(K.MODEL_MISSING, "no"))
    assert _usable(health, alpha, None)


def test_marks_are_bounded(health: Health, alpha: Connection, clock: Any) -> None:
    for number in range(1000):
        health.failed(alpha, f"m{number}", Fault(K.MODEL_MISSING, "no"))
    assert sum(not _usable(health, alpha, f"m{n}") for n in range(1000)) == 256
    clock.pass_(601)
    health.failed(alpha, "late", Fault(K.MODEL_MISSING, "no"))
    assert not _usable(health, alpha, "late")


# What is nobody's business, and memory


@pytest.mark.parametrize("kind", sorted(CLIENT_KINDS | {K.GATEWAY}))
def test_client_faults_leave_it_untouched(health: Health, alpha: Connection, kind: FaultKind) -> None:
    _fail(health, alpha, K.CONNECT, 4)
    _fail(health, alpha, kind, 50)
    assert _usable(health, alpha)
    _fail(health, alpha, K.CONNECT)
    assert not _usable(health, alpha)


def test_connections_are_apart(health: Health, alpha: Connection, world: Any) -> None:
    beta = world.connection("beta")
    _fail(health, alpha, K.AUTH)
    assert _usable(health, beta)


def test_state_survives_what_changes_neither_address_nor_key(health: Health, world: Any) -> None:
    key = "k-" + "y" * 30
    _fail(health, world.connection("alpha", key=key), K.AUTH)
    assert not _usable(health, world.connection("alpha", key=key, priority=7, label="renamed"))
    assert _usable(health, world.connection("alpha", key=key, base_url="https://elsewhere.example/v1"))


def test_retain_forgets_after_ten_minutes(health: Health, alpha: Connection, world: Any, clock: Any) -> None:
    beta = world.connection("beta")
    for connection in (alpha, beta):
        _fail(health, connection, K.AUTH)
    health.retain([beta])
    clock.pass_(600)
    health.retain([beta])
    assert not _usable(health, alpha)  # it may come back
    health.retain([alpha, beta])
    clock.pass_(10_000)
    health.retain([beta])
    clock.pass_(601)
    health.retain([beta])
    assert _usable(health, alpha)
    assert not _usable(health, beta)


_STEPS = st.lists(
    st.tuples(st.sampled_from(["fail", "ok", "admit", "release", "pass"]), st.sampled_from(list(K)), st.floats(0, 400)),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(_STEPS)
def test_laws(steps: list[tuple[str, FaultKind, float]]) -> None:
    """Whatever happens: check changes nothing, a refusal says why, there is one probe at most, waits have a cap."""
    now = [0.0]
    health = Led(lambda: now[0], lambda: 1.0)
    alpha: Any = SimpleNamespace(identity="alpha")
    refused = False
    for step, kind, seconds in steps:
        if step == "fail":
            health.failed(alpha, "m", Fault(kind, "no", retry_after=seconds))
            refused = refused or kind is K.AUTH
        elif step == "ok":
            health.succeeded(alpha, "m")
        elif step == "admit":
            limited = health.state(alpha) in (BreakerState.HALF_OPEN, BreakerState.OPEN)
            admitted = [health.admit(alpha, "m") is not None for _ in range(3)]
            assert not limited or sum(admitted) <= 1
        elif step == "release":
            health.released(alpha)
        else:
            now[0] += seconds
        verdict = health.check(alpha, "m")
        assert verdict == health.check(alpha, "m")
        assert verdict.usable == (verdict.kind is None) == (not verdict.reason)
        assert verdict.retry_in is None or 0 < verdict.retry_in <= 3600.001
        assert not refused or health.state(alpha) is BreakerState.DISABLED


# Who may speak for the probe


def _half_open(health: Led, alpha: Connection, clock: Any, kind: FaultKind = K.CONNECT) -> Any:
    _fail(health, alpha, kind, 5)
    clock.now += 31
    ticket = health.admit(alpha, "m")
    assert ticket is not None
    assert health.admit(alpha, "m") is None
    return ticket


def test_an_older_request_neither_ends_nor_passes_for_the_probe(health: Led, alpha: Connection, clock: Any) -> None:
    older = health.admit(alpha)
    assert older is not None
    probe = _half_open(health, alpha, clock)
    health.released(alpha, older)
    health.succeeded(alpha, "m", older)
    assert health.admit(alpha) is None
    health.failed(alpha, "m", Fault(K.CONNECT, "no"), older)
    assert health.admit(alpha) is None
    health.succeeded(alpha, "m", probe)
    assert _usable(health, alpha)


def test_a_probe_that_answers_lets_the_others_through(health: Led, alpha: Connection, clock: Any) -> None:
    probe = _half_open(health, alpha, clock, K.STALL)
    health.answering(alpha, probe)
    assert _usable(health, alpha)
    assert health.admit(alpha, "m") is not None
    health.failed(alpha, "m", Fault(K.STALL, "no"), probe)  # it broke off: one is enough now
    assert not _usable(health, alpha)
