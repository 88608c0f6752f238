"""What a failure closes: the whole connection, or one model there; and what can be told of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from config.model import Connection
from proxy.fault import Fault, FaultKind
from proxy.routing import BreakerState, Health, ModelReport, Report, Target, Ticket, plan

K = FaultKind
S = BreakerState
OF_A_MODEL = [K.OVERLOAD, K.UPSTREAM_5XX, K.TIMEOUT, K.STALL, K.BAD_UPSTREAM, K.TOO_LARGE]
OF_THE_WAY = [K.CONNECT, K.TLS, K.DNS, K.REDIRECT, K.INTERRUPTED]


@pytest.fixture
def health(clock: Any) -> Health:
    return Health(clock, lambda: 1.0)


@pytest.fixture
def alpha(world: Any) -> Connection:
    connection: Connection = world.connection("alpha")
    return connection


def _ask(health: Health, connection: Connection, model: str | None) -> Ticket:
    ticket = health.admit(connection, model)
    assert ticket is not None
    return ticket


def _fail(health: Health, connection: Connection, models: Sequence[str | None], kind: FaultKind, **more: Any) -> None:
    """One attempt after the other."""
    for model in models:
        health.failed(connection, model, Fault(kind, "no", **more), _ask(health, connection, model))


def _works(health: Health, connection: Connection, model: str | None) -> None:
    health.succeeded(connection, model, _ask(health, connection, model))


def _usable(health: Health, connection: Connection, *models: str | None) -> list[bool]:
    return [health.check(connection, model).usable for model in models]


# Which


@pytest.mark.parametrize("kind", OF_A_MODEL)
def test_what_is_said_of_a_model_closes_that_model(health: Health, alpha: Connection, kind: FaultKind) -> None:
    _works(health, alpha, "o")
    _fail(health, alpha, ["m"] * 5, kind)
    assert _usable(health, alpha, "m", "n", None) == [False, True, True]
    verdict = health.check(alpha, "m")
    assert (verdict.kind, verdict.retry_in) == (kind, 30.0)
    assert verdict.reason == f"it failed repeatedly with this model (last: {kind.value})"
    assert health.scope(alpha, None) is S.CLOSED


@pytest.mark.parametrize("kind", OF_THE_WAY)
def test_what_happens_on_the_way_closes_all(health: Health, alpha: Connection, kind: FaultKind) -> None:
    _fail(health, alpha, ["m"] * 5, kind)
    assert _usable(health, alpha, "m", "n", None) == [False, False, False]
    assert health.check(alpha, "n").reason == f"it failed repeatedly (last: {kind.value})"
    assert health.scope(alpha, None) is S.OPEN


@pytest.mark.parametrize("kind", [K.AUTH, K.QUOTA])
def test_what_is_said_of_the_key_closes_all(health: Health, alpha: Connection, kind: FaultKind) -> None:
    _fail(health, alpha, ["m"], kind, status=401)
    assert _usable(health, alpha, "m", "n", None) == [False, False, False]


def test_a_quota_of_one_model_leaves_the_others(health: Health, alpha: Connection, clock: Any) -> None:
    """Google's free tier counts by model, and gives none of some."""
    _fail(health, alpha, ["m"], K.QUOTA, of_model=True, status=429)
    assert _usable(health, alpha, "m", "n", None) == [False, True, True]
    verdict = health.check(alpha, "m")
    assert (verdict.retry_in, verdict.reason) == (3600.0, "its quota for this model is used up")
    assert health.admit(alpha, "m") is None
    assert health.report(alpha).models == (ModelReport("m", S.QUOTA, K.QUOTA, 3600.0),)
    clock.pass_(3600)
    probes = [health.admit(alpha, "m") for _ in range(10)]
    assert sum(ticket is not None for ticket in probes) == 1


@pytest.mark.parametrize("heard", [False, True])
def test_an_answer_that_breaks_off_is_about_its_model(health: Health, alpha: Connection, heard: bool) -> None:
    """The head of the answer shows it, or its first content."""
    for _ in range(5):
        ticket = _ask(health, alpha, "m")
        if heard:
            health.answering(alpha, ticket)
        health.failed(alpha, "m", Fault(K.INTERRUPTED, "no", status=None if heard else 200), ticket)
    assert _usable(health, alpha, "m", "n") == [False, True]


@pytest.mark.parametrize("kind", [*OF_A_MODEL, *OF_THE_WAY])
def test_without_a_model_it_is_the_connection(health: Health, alpha: Connection, kind: FaultKind) -> None:
    _fail(health, alpha, [None] * 5, kind)
    assert _usable(health, alpha, "m", None) == [False, False]
    assert health.scope(alpha, None) is S.OPEN


def test_a_wait_without_a_model_is_the_connections(health: Health, alpha: Connection) -> None:
    _fail(health, alpha, [None], K.RATE, retry_after=20.0)
    assert _usable(health, alpha, "m", None) == [False, False]
    assert health.scope(alpha, None) is S.COOLING


# Several models at once


@pytest.mark.parametrize(
    ("models", "whole"),
    [
        ("mnmnm", True),
        ("mnopq", True),
        ("mmmnn", True),
        ("mmmmn", False),  # of one model three count
        ("mmmmnn", True),
        ("mmnn", False),
    ],
)
def test_five_in_a_row_of_several_models(health: Health, alpha: Connection, models: str, whole: bool) -> None:
    _fail(health, alpha, models, K.UPSTREAM_5XX)
    assert (health.scope(alpha, None) is S.OPEN) is whole
    assert _usable(health, alpha, "z") == [not whole]


def test_a_success_of_any_model_ends_the_row(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, "mn", K.UPSTREAM_5XX)
    _works(health, alpha, "o")
    clock.pass_(31)
    _fail(health, alpha, "mnm", K.UPSTREAM_5XX)
    assert health.scope(alpha, None) is S.CLOSED
    assert health.report(alpha).failures == 3


@pytest.mark.parametrize(
    ("outcomes", "whole"),
    [
        ("m-n-o+m-n-", True),  # 4 of 5, and 2 of 3 without the worst
        ("m-m-m-n+n-", False),  # without m: 1 of 2
        ("m-m-n+m-n+", False),
        ("m-n+m-n-n-", True),  # 4 of 5; without the worst: 2 of 3 or 2 of 2
        ("m-n-o+o+n-m-", False),  # 4 of 6; without one of the worst 2 of 4
        ("m-m-m-m-n-", False),  # without m: one alone
    ],
)
def test_most_of_several_models_failed(
    health: Health, alpha: Connection, clock: Any, outcomes: str, whole: bool
) -> None:
    opened = False
    for at in range(0, len(outcomes), 2):
        model, well = outcomes[at], outcomes[at + 1] == "+"
        if well:
            _works(health, alpha, model)
        else:
            _fail(health, alpha, model, K.OVERLOAD)
        opened = opened or health.scope(alpha, None) is S.OPEN
        clock.pass_(1)
    assert opened is whole


def test_one_bad_model_does_not_close_its_good_neighbour(health: Health, alpha: Connection, clock: Any) -> None:
    """Asked as often as it may be, an hour long."""
    for _ in range(360):
        if health.check(alpha, "bad").usable:
            _fail(health, alpha, ["bad"], K.OVERLOAD)
        assert _usable(health, alpha, "good") == [True]
        _works(health, alpha, "good")
        clock.pass_(10)
    _fail(health, alpha, ["good"], K.OVERLOAD)
    assert _usable(health, alpha, "good") == [True]


def test_a_model_long_dead_counts_for_three_at_most(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, ["m"] * 5, K.UPSTREAM_5XX)
    for _ in range(20):
        clock.pass_(300)
        _fail(health, alpha, ["m"], K.UPSTREAM_5XX)
    _fail(health, alpha, ["n"], K.UPSTREAM_5XX)
    assert _usable(health, alpha, "n", "o") == [True, True]


# Limits


def test_a_limit_is_the_models(health: Health, alpha: Connection, clock: Any) -> None:
    _works(health, alpha, "o")
    _fail(health, alpha, ["m"], K.RATE, retry_after=60.0)
    assert _usable(health, alpha, "m", "n", None) == [False, True, True]
    assert health.scope(alpha, None) is S.CLOSED
    clock.pass_(60)
    assert _usable(health, alpha, "m") == [True]


def test_two_limits_at_once_are_the_accounts(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, ["m"], K.RATE, retry_after=60.0)
    clock.pass_(10)
    _fail(health, alpha, ["n"], K.RATE, retry_after=20.0)
    verdict = health.check(alpha, "o")
    assert (verdict.usable, verdict.kind, verdict.retry_in) == (False, K.RATE, 20.0)
    assert health.check(alpha, "m").retry_in == 50.0
    assert health.scope(alpha, None) is S.COOLING
    clock.pass_(20)
    assert _usable(health, alpha, "m", "n", "o") == [False, True, True]
    assert health.scope(alpha, None) is S.CLOSED


def test_two_limits_one_after_the_other_are_two(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, ["m"], K.RATE, retry_after=5.0)
    clock.pass_(5)
    _fail(health, alpha, ["n"], K.RATE, retry_after=5.0)
    assert _usable(health, alpha, "m", "n", "o") == [True, False, True]


def test_limits_of_a_connection_that_waits_for_other_reasons_change_nothing_there(
    health: Health, alpha: Connection
) -> None:
    early = [_ask(health, alpha, model) for model in "mn"]
    _fail(health, alpha, [None], K.QUOTA)
    for model, ticket in zip("mn", early, strict=True):
        health.failed(alpha, model, Fault(K.RATE, "no", retry_after=1.0), ticket)
    assert health.scope(alpha, None) is S.QUOTA
    assert health.report(alpha).next_probe == 3600.0


# Probes


def test_one_probe_of_a_hundred_for_each_scope(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, ["m"] * 5, K.OVERLOAD)
    clock.pass_(30)
    probes = [health.admit(alpha, "m") for _ in range(100)]
    assert sum(ticket is not None for ticket in probes) == 1
    assert all(health.admit(alpha, "n") is not None for _ in range(100))
    assert health.check(alpha, "m").probing


def test_one_probe_of_a_hundred_for_the_whole_whatever_they_ask_for(
    health: Health, alpha: Connection, clock: Any
) -> None:
    _fail(health, alpha, "mnopq", K.OVERLOAD)
    clock.pass_(30)
    probes = [health.admit(alpha, f"m{n % 7}") for n in range(100)]
    assert sum(ticket is not None for ticket in probes) == 1


def test_a_probe_that_nobody_holds_any_more_is_none(health: Health, alpha: Connection, clock: Any) -> None:
    """A task that is cancelled before its first step says nothing of its ticket: nobody else was ever let through."""
    _fail(health, alpha, ["m"] * 5, K.OVERLOAD)
    clock.pass_(30)
    ticket = _ask(health, alpha, "m")
    assert health.admit(alpha, "m") is None
    del ticket
    assert _usable(health, alpha, "m") == [True]
    _works(health, alpha, "m")
    assert health.report(alpha).models == ()


def test_a_probe_of_both_scopes_speaks_for_both(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, ["m"] * 5, K.OVERLOAD)
    _fail(health, alpha, ["n"] * 2, K.OVERLOAD)
    assert health.scope(alpha, None) is S.OPEN
    clock.pass_(30)
    probe = _ask(health, alpha, "m")
    assert health.admit(alpha, "n") is None
    health.succeeded(alpha, "m", probe)
    assert _usable(health, alpha, "m", "n") == [True, True]
    assert health.report(alpha).models == ()
    assert health.scope(alpha, None) is S.CLOSED


def test_an_error_shows_that_the_way_is_free(health: Health, alpha: Connection, clock: Any) -> None:
    """It took the refused model for a reason to keep the whole connection closed."""
    _fail(health, alpha, ["m"] * 5, K.CONNECT)
    clock.pass_(30)
    _fail(health, alpha, ["m"], K.UPSTREAM_5XX, status=500)
    assert health.scope(alpha, None) is S.CLOSED
    assert _usable(health, alpha, "m", "n") == [True, True]
    _fail(health, alpha, ["n"], K.CONNECT)
    assert _usable(health, alpha, "m", "n") == [True, True]


@pytest.mark.parametrize("kind", [K.CONNECT, K.TIMEOUT])
def test_no_answer_shows_nothing(health: Health, alpha: Connection, clock: Any, kind: FaultKind) -> None:
    _fail(health, alpha, ["m"] * 5, K.CONNECT)
    clock.pass_(30)
    _fail(health, alpha, ["n"], kind)
    assert health.scope(alpha, None) is S.OPEN
    assert health.report(alpha).next_probe == 60.0


@pytest.mark.parametrize("kind", [K.RATE, K.MODEL_MISSING])
def test_a_probe_that_hears_of_its_model_alone_leaves_room_for_another(
    health: Health, alpha: Connection, clock: Any, kind: FaultKind
) -> None:
    _fail(health, alpha, "mnopq", K.UPSTREAM_5XX)
    clock.pass_(30)
    _fail(health, alpha, ["m"], kind, status=429)
    assert health.scope(alpha, None) is S.HALF_OPEN
    assert _usable(health, alpha, "m", "n") == [False, True]
    _works(health, alpha, "n")
    assert health.scope(alpha, None) is S.CLOSED


def test_another_failure_says_nothing_of_a_quota(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, ["m"], K.QUOTA)
    clock.pass_(3600)
    _fail(health, alpha, ["m"], K.UPSTREAM_5XX, status=500)
    assert health.scope(alpha, None) is S.HALF_OPEN
    _works(health, alpha, "m")
    assert health.scope(alpha, None) is S.CLOSED


def test_an_engine_that_names_no_model_is_understood_by_what_it_says_later(
    health: Health, alpha: Connection, clock: Any
) -> None:
    _fail(health, alpha, ["m"] * 5, K.OVERLOAD)
    clock.pass_(30)
    ticket = _ask(health, alpha, None)
    health.succeeded(alpha, "m", ticket)
    assert health.report(alpha).models == ()


# What was under way


@pytest.mark.parametrize(("model", "kind"), [("m", K.CONNECT), ("m", K.OVERLOAD)])
def test_late_failures_lengthen_nothing(
    health: Health, alpha: Connection, clock: Any, model: str, kind: FaultKind
) -> None:
    """After the wait was over, an older request's failure closed it anew, and for longer."""
    early = [_ask(health, alpha, model) for _ in range(20)]
    for ticket in early[:5]:
        health.failed(alpha, model, Fault(kind, "no"), ticket)
    clock.pass_(30)
    for ticket in early[5:10]:
        health.failed(alpha, model, Fault(kind, "no"), ticket)
    assert _usable(health, alpha, model) == [True]
    probe = _ask(health, alpha, model)
    health.failed(alpha, model, Fault(kind, "no"), early[10])
    health.succeeded(alpha, model, probe)
    for ticket in early[11:]:
        health.failed(alpha, model, Fault(kind, "no"), ticket)
    assert _usable(health, alpha, model) == [True]
    assert health.report(alpha).failures == 0


def test_what_a_model_turned_to_hides_nothing_of_the_way(health: Health, alpha: Connection) -> None:
    """Requests under way when a model's breaker opened were not heard when they found no way to the provider."""
    early = [_ask(health, alpha, "m") for _ in range(10)]
    for ticket in early[:5]:
        health.failed(alpha, "m", Fault(K.OVERLOAD, "no", status=529), ticket)
    for ticket in early[5:]:
        health.failed(alpha, "m", Fault(K.CONNECT, "no"), ticket)
    assert health.state(alpha) is S.OPEN


def test_a_late_success_shortens_nothing(health: Health, alpha: Connection, clock: Any) -> None:
    early = [_ask(health, alpha, "m") for _ in range(3)]
    _fail(health, alpha, ["m"] * 5, K.OVERLOAD)
    health.succeeded(alpha, "m", early[0])
    assert _usable(health, alpha, "m") == [False]
    clock.pass_(30)
    health.succeeded(alpha, "m", early[1])
    probe = _ask(health, alpha, "m")
    health.succeeded(alpha, "m", early[2])
    assert health.admit(alpha, "m") is None
    health.failed(alpha, "m", Fault(K.OVERLOAD, "no"), probe)
    assert health.check(alpha, "m").retry_in == 60.0


@pytest.mark.parametrize(("second", "left"), [(None, 15.0), (3.0, 15.0), (40.0, 40.0)])
def test_a_late_limit_lengthens_only_by_the_providers_word(
    health: Health, alpha: Connection, clock: Any, second: float | None, left: float
) -> None:
    first, late = _ask(health, alpha, "m"), _ask(health, alpha, "m")
    health.failed(alpha, "m", Fault(K.RATE, "no", retry_after=20.0), first)
    clock.pass_(5)
    health.failed(alpha, "m", Fault(K.RATE, "no", retry_after=second), late)
    assert health.check(alpha, "m").retry_in == left


def test_failures_during_a_wait_shorten_nothing(health: Health, alpha: Connection, clock: Any) -> None:
    """They are remembered: after the wait one more opens it."""
    early = [_ask(health, alpha, "m") for _ in range(6)]
    _fail(health, alpha, ["m"], K.RATE, retry_after=600.0)
    for ticket in early:
        health.failed(alpha, "m", Fault(K.OVERLOAD, "no"), ticket)
    assert (health.check(alpha, "m").kind, health.check(alpha, "m").retry_in) == (K.RATE, 600.0)
    clock.pass_(600)
    assert _usable(health, alpha, "m") == [True]
    _fail(health, alpha, ["m"], K.OVERLOAD)
    assert _usable(health, alpha, "m") == [False]


def test_a_second_refusal_for_quota_or_model_lengthens_nothing(health: Health, alpha: Connection, clock: Any) -> None:
    for kind, wait in ((K.MODEL_MISSING, 600.0), (K.QUOTA, 3600.0)):
        first, late = _ask(health, alpha, "m"), _ask(health, alpha, "m")
        health.failed(alpha, "m", Fault(kind, "no"), first)
        clock.pass_(5)
        health.failed(alpha, "m", Fault(kind, "no"), late)
        assert health.check(alpha, "m").retry_in == wait - 5
        clock.pass_(600)


def test_a_quota_is_heard_while_the_breaker_is_open_but_not_after_it_has_recovered(
    health: Health, alpha: Connection, clock: Any
) -> None:
    early = [_ask(health, alpha, "m") for _ in range(2)]
    _fail(health, alpha, ["m"] * 5, K.CONNECT)
    clock.pass_(30)
    _works(health, alpha, "m")
    health.failed(alpha, "m", Fault(K.QUOTA, "no"), early[0])
    assert health.scope(alpha, None) is S.CLOSED
    _fail(health, alpha, ["m"] * 5, K.CONNECT)
    health.failed(alpha, "m", Fault(K.QUOTA, "no"), early[1])
    assert health.scope(alpha, None) is S.QUOTA


def test_what_overtakes_a_probe_is_not_undone_by_it(health: Health, alpha: Connection, clock: Any) -> None:
    early = _ask(health, alpha, "m")
    _fail(health, alpha, ["m"] * 5, K.OVERLOAD)
    clock.pass_(30)
    probe = _ask(health, alpha, "m")
    health.failed(alpha, "m", Fault(K.RATE, "no", retry_after=60.0), early)
    health.answering(alpha, probe)
    health.succeeded(alpha, "m", probe)
    assert health.check(alpha, "m").retry_in == 60.0


# Both closed


def test_the_longer_wait_is_told_and_what_no_attempt_would_help(health: Health, alpha: Connection) -> None:
    early = _ask(health, alpha, "m")
    _fail(health, alpha, ["m"], K.RATE, retry_after=8.0)
    _fail(health, alpha, ["n"] * 5, K.CONNECT)
    verdict = health.check(alpha, "m")
    assert (verdict.kind, verdict.retry_in) == (K.RATE, 30.0)
    assert health.admit(alpha, "m") is None
    assert plan([Target(alpha, "m")], health, 6).candidates == ()
    health.failed(alpha, "m", Fault(K.AUTH, "no"), early)
    assert (health.check(alpha, "m").kind, health.check(alpha, "m").retry_in) == (K.AUTH, None)


def test_of_open_models_the_one_nearest_recovery_is_tried(health: Health, alpha: Connection, clock: Any) -> None:
    """The reasons of its other models are still told."""
    _fail(health, alpha, ["m"] * 5, K.OVERLOAD)
    clock.pass_(30)
    _fail(health, alpha, ["m"], K.OVERLOAD)
    clock.pass_(31)
    _works(health, alpha, "fine")
    _fail(health, alpha, ["n"] * 5, K.OVERLOAD)
    made = plan([Target(alpha, "n"), Target(alpha, "m")], health, 6)
    assert [c.model for c in made.candidates] == ["m"]
    assert [(s.connection, s.kind, s.retry_in) for s in made.skipped] == [("alpha", K.OVERLOAD, 30.0)]


# Proven


def test_proven_is_what_was_last_seen_to_work(health: Health, alpha: Connection, world: Any) -> None:
    assert not health.proven(alpha, "m")
    _works(health, alpha, "m")
    assert health.proven(alpha, "m")
    assert not health.proven(alpha, "n")
    assert not health.proven(world.connection("beta"), "m")
    _fail(health, alpha, ["n"], K.OVERLOAD)
    assert health.proven(alpha, "m")
    _fail(health, alpha, ["m"], K.OVERLOAD)
    assert not health.proven(alpha, "m")
    health.answering(alpha, _ask(health, alpha, "m"))
    assert health.proven(alpha, "m")
    _fail(health, alpha, ["n"], K.CONNECT)  # the way is that of all
    assert not health.proven(alpha, "m")
    _works(health, alpha, None)
    assert health.proven(alpha, "m")


# Reports


def test_where_no_model_is_well_the_connection_is_not(health: Health, alpha: Connection, clock: Any) -> None:
    """It shows the model that is back soonest; what does not exist there says nothing."""
    _fail(health, alpha, ["m"], K.RATE, retry_after=60.0)
    _fail(health, alpha, ["made-up"], K.MODEL_MISSING)
    assert (health.state(alpha), health.report(alpha).next_probe) == (S.COOLING, 60.0)
    clock.pass_(1)
    _works(health, alpha, "n")
    assert (health.state(alpha), health.report(alpha).next_probe) == (S.CLOSED, None)


def test_nothing_to_report(health: Health, alpha: Connection, clock: Any) -> None:
    assert health.report(alpha) == Report()
    _works(health, alpha, "m")
    clock.pass_(9)
    assert health.report(alpha) == Report()


def test_the_report_of_a_breaker_over_its_life(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, [None] * 4, K.DNS)
    assert health.report(alpha) == Report(last_error=K.DNS, last_error_ago=0.0, failures=4)
    _fail(health, alpha, [None], K.TLS)
    clock.pass_(10)
    assert health.report(alpha) == Report(S.OPEN, 10.0, K.TLS, 10.0, 5, 20.0)
    clock.pass_(25)
    assert health.report(alpha) == Report(S.HALF_OPEN, 5.0, K.TLS, 35.0, 5)
    ticket = _ask(health, alpha, None)
    assert health.report(alpha).next_probe == 1.0
    health.succeeded(alpha, None, ticket)
    clock.pass_(7)
    assert health.report(alpha) == Report(S.CLOSED, 7.0, K.TLS, 42.0, 0)


def test_the_report_of_waits(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, ["m"], K.RATE, retry_after=30.0)
    _fail(health, alpha, ["n"], K.MODEL_MISSING)
    _fail(health, alpha, ["o"] * 5, K.STALL)
    _works(health, alpha, "p")
    clock.pass_(10)
    report = health.report(alpha)
    assert (report.state, report.since, report.last_error, report.failures) == (S.CLOSED, 10.0, K.STALL, 0)
    assert report.models == (
        ModelReport("m", S.COOLING, K.RATE, 20.0),
        ModelReport("n", S.OPEN, K.MODEL_MISSING, 590.0),
        ModelReport("o", S.OPEN, K.STALL, 20.0),
    )
    clock.pass_(1000)
    assert health.report(alpha).models == (ModelReport("o", S.HALF_OPEN, K.STALL, None),)


def test_the_report_of_a_connection_that_cooled_down(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, [None], K.RATE, retry_after=30.0)
    clock.pass_(40)
    assert health.report(alpha) == Report(S.CLOSED, 10.0, K.RATE, 40.0)
    _works(health, alpha, None)
    assert health.report(alpha).since == 10.0


def test_the_report_of_a_refused_key(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, ["m"], K.AUTH, status=401)
    clock.pass_(90)
    assert health.report(alpha) == Report(S.DISABLED, 90.0, K.AUTH, 90.0)


# Memory


def test_models_that_are_not_well_are_forgotten_last(health: Health, alpha: Connection) -> None:
    _fail(health, alpha, ["ill"] * 5, K.OVERLOAD)
    for number in range(300):
        _works(health, alpha, f"well-{number}")
        _fail(health, alpha, [f"made-up-{number}"], K.MODEL_MISSING)
    assert _usable(health, alpha, "ill") == [False]
    assert len(health.report(alpha).models) <= 256


def test_names_of_any_length_are_models(health: Health, alpha: Connection) -> None:
    name = "m" * 100_000
    _fail(health, alpha, [name], K.MODEL_MISSING)
    assert _usable(health, alpha, name) == [False]
    assert len(health.report(alpha).models[0].model) < 1000


# What is said of a connection


def test_a_connection_whose_only_model_is_unwell_is_said_to_be(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, ["m"], K.RATE, retry_after=60.0)
    clock.pass_(20)
    report = health.report(alpha)
    assert health.state(alpha) is report.state is S.COOLING
    assert (report.since, report.next_probe) == (20.0, 40.0)


def test_while_another_model_is_served_it_is_well(health: Health, alpha: Connection) -> None:
    _works(health, alpha, "n")
    _fail(health, alpha, ["m"], K.RATE, retry_after=60.0)
    assert health.state(alpha) is health.report(alpha).state is S.CLOSED
    assert [model.model for model in health.report(alpha).models] == ["m"]


def test_of_several_the_one_that_is_back_soonest_stands_for_it(health: Health, alpha: Connection) -> None:
    _fail(health, alpha, ["m"] * 5, K.OVERLOAD)
    _fail(health, alpha, ["n"], K.RATE, retry_after=7.0)
    assert health.state(alpha) is S.COOLING
    assert health.report(alpha).next_probe == 7.0


@pytest.mark.parametrize("kind", [K.UPSTREAM_5XX, K.INTERRUPTED, K.RATE])
def test_a_connection_is_well_since_its_only_model_is(
    health: Health, alpha: Connection, clock: Any, kind: FaultKind
) -> None:
    _fail(health, alpha, ["m"] * (1 if kind is K.RATE else 5), kind, status=500, retry_after=30.0)
    clock.pass_(40)
    if kind is not K.RATE:
        _works(health, alpha, "m")
    clock.pass_(7)
    report = health.report(alpha)
    assert (report.state, report.since) == (S.CLOSED, 17.0 if kind is K.RATE else 7.0)


def test_a_connection_is_well_since_another_model_is_asked(health: Health, alpha: Connection, clock: Any) -> None:
    _fail(health, alpha, ["m"] * 5, K.OVERLOAD)
    clock.pass_(3)
    _works(health, alpha, "n")
    clock.pass_(4)
    assert (health.report(alpha).state, health.report(alpha).since) == (S.CLOSED, 4.0)
    clock.pass_(30)
    _works(health, alpha, "m")
    assert health.report(alpha).since == 34.0


def test_since_when_it_is_well_does_not_move_with_one_of_several_models(
    health: Health, alpha: Connection, clock: Any
) -> None:
    _fail(health, alpha, ["m"], K.RATE, retry_after=5.0)
    clock.pass_(10)
    _works(health, alpha, "m")
    _works(health, alpha, "n")
    _fail(health, alpha, ["m"], K.RATE, retry_after=5.0)
    clock.pass_(10)
    _works(health, alpha, "m")
    assert health.report(alpha).since == 15.0


def test_a_missing_model_says_nothing_of_the_connection(health: Health, alpha: Connection) -> None:
    _fail(health, alpha, ["m"], K.MODEL_MISSING)
    assert health.state(alpha) is S.CLOSED
