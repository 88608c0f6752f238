"""What one process has learned of a connection, taken up by another: on one clock, by words that may be lost."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.model import Connection
from proxy.fault import Fault, FaultKind
from proxy.routing.health import BreakerState
from proxy.routing.news import News
from tests.support.led import Led

K = FaultKind
WIRE = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(News)


class Pair:
    """Two of them; what each tells waits in its `said`, as it goes over the line."""

    def __init__(self, clock: Any) -> None:
        self.said: tuple[list[bytes], list[bytes]] = ([], [])
        self.healths = Led(clock, lambda: 1.0), Led(clock, lambda: 1.0)
        for health, said in zip(self.healths, self.said, strict=True):
            health.tell = lambda news, said=said: said.append(WIRE[0].encode(news))  # type: ignore[misc]

    def deliver(self) -> None:
        for said, other in zip(self.said, reversed(self.healths), strict=True):
            for news in said:
                other.take_up(WIRE[1].decode(news))
            said.clear()


@pytest.fixture
def pair(clock: Any) -> Pair:
    return Pair(clock)


@pytest.fixture
def alpha(world: Any) -> Connection:
    connection: Connection = world.connection("alpha")
    return connection


def fail(health: Led, connection: Connection, kind: FaultKind, times: int = 1, **more: Any) -> None:
    for _ in range(times):
        assert health.admit(connection, "m")
        health.failed(connection, "m", Fault(kind, "no", **more))


@pytest.mark.parametrize(
    ("kind", "more", "seconds", "reason"),
    [
        (K.AUTH, {"status": 401}, None, "its key was refused"),
        (K.QUOTA, {"status": 402}, 3600.0, "its quota is used up"),
        (K.RATE, {"status": 429, "retry_after": 7.0}, 7.0, "it asked to wait"),
        (K.MODEL_MISSING, {"status": 404}, 600.0, "it does not have the model"),
    ],
)
def test_what_the_provider_said_holds_for_both(
    pair: Pair, alpha: Connection, clock: Any, kind: FaultKind, more: Any, seconds: float | None, reason: str
) -> None:
    one, other = pair.healths
    fail(one, alpha, kind, **more)
    assert other.check(alpha, "m").usable
    pair.deliver()
    assert other.check(alpha, "m") == one.check(alpha, "m")
    verdict = other.check(alpha, "m")
    assert (verdict.usable, verdict.retry_in, verdict.reason) == (False, seconds, reason)
    assert other.report(alpha) == one.report(alpha)
    assert pair.said == ([], []), "what was heard is not told again"


def test_failures_in_a_row_are_counted_together_and_the_probe_closes_both(
    pair: Pair, alpha: Connection, clock: Any
) -> None:
    one, other = pair.healths
    for number in range(5):
        assert one.check(alpha, "m").usable
        clock.now += 0.01
        fail(pair.healths[number % 2], alpha, K.CONNECT)
        pair.deliver()
    assert {health.state(alpha) for health in pair.healths} == {BreakerState.OPEN}
    clock.now += 31
    assert other.admit(alpha, "m")
    other.succeeded(alpha, "m")
    pair.deliver()
    assert {health.state(alpha) for health in pair.healths} == {BreakerState.CLOSED}


def test_a_success_ends_the_row_of_both(pair: Pair, alpha: Connection, clock: Any) -> None:
    one, other = pair.healths
    fail(one, alpha, K.CONNECT, 4)
    pair.deliver()
    clock.now += 31  # so that the window of outcomes, which each has for itself, is empty
    assert other.admit(alpha, "m")
    other.succeeded(alpha, "m")
    pair.deliver()
    fail(one, alpha, K.CONNECT)
    assert one.check(alpha, "m").usable


def test_a_failure_that_came_later_does_not_open_what_is_shut(pair: Pair, alpha: Connection, clock: Any) -> None:
    one, other = pair.healths
    fail(one, alpha, K.AUTH, status=401)
    clock.now += 0.001
    fail(other, alpha, K.CONNECT)
    pair.deliver()
    assert {health.state(alpha) for health in pair.healths} == {BreakerState.DISABLED}
    clock.now += 1
    other.revive(alpha)
    pair.deliver()
    assert {health.check(alpha, "m").usable for health in pair.healths} == {True}


def test_what_was_under_way_when_another_found_out_says_nothing_any_more(pair: Pair, alpha: Connection) -> None:
    one, other = pair.healths
    assert other.admit(alpha, "m")
    fail(one, alpha, K.AUTH, status=401)
    pair.deliver()
    other.succeeded(alpha, "m")
    pair.deliver()
    assert {health.state(alpha) for health in pair.healths} == {BreakerState.DISABLED}


def test_nobody_listening_costs_nothing(clock: Any, alpha: Connection) -> None:
    health = Led(clock)
    fail(health, alpha, K.CONNECT)
    health.take_up(News("x", None, 1.0, 1.0, K.AUTH, 0.0, 1.0, 0, 0, {}, K.AUTH, 1.0))
    assert health.check(alpha, "m").usable


STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from([None, K.CONNECT, K.UPSTREAM_5XX, K.AUTH, K.QUOTA, K.RATE, K.MODEL_MISSING]),
        st.sampled_from([0.001, 0.5, 20.0, 700.0]),
    ),
    max_size=25,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])  # neither keeps anything
@given(steps=STEPS)
def test_after_every_step_both_say_the_same(world: Any, clock: Any, steps: list[tuple[int, Any, float]]) -> None:
    pair, alpha = Pair(clock), world.connection("alpha")
    for who, kind, seconds in steps:
        health = pair.healths[who]
        clock.now += seconds
        if not health.admit(alpha, "m"):
            continue
        if kind is None:
            health.succeeded(alpha, "m")
        else:
            health.failed(alpha, "m", Fault(kind, "no", status=500))
        pair.deliver()
        one, other = pair.healths
        assert one.check(alpha, "m") == other.check(alpha, "m")
        assert one.state(alpha) is other.state(alpha)
