"""The laws of the breakers, whatever comes in whatever order: at most one probe, no way past a wait, bounded memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.fault import CLIENT_KINDS, Fault, FaultKind
from proxy.routing import BreakerState, Health, Ticket

K = FaultKind
S = BreakerState
MODELS = (None, "m", "n")
ASKED = st.sampled_from(MODELS)
FAILING = sorted(set(K) - CLIENT_KINDS - {K.GATEWAY})
PROBED = (S.HALF_OPEN, S.OPEN)


class Breakers(RuleBasedStateMachine):
    """A connection asked for a few models by requests that overlap in every way."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.health = Health(lambda: self.now, lambda: 1.0)
        self.alpha: Any = SimpleNamespace(identity="alpha")
        self.running: list[tuple[Ticket, str | None]] = []
        self.probes: dict[str | None, Ticket] = {}  # who finds out, by model; None: about the whole
        self.refused = False
        self.quota_until = 0.0
        self.waits: dict[str | None, float] = {}  # until when a provider asked to wait

    def states(self, model: str | None) -> dict[str | None, BreakerState]:
        """Of the whole, and of that model."""
        state = self.health._states.get("alpha")
        whole = S.CLOSED if state is None else state.whole.state(self.now)
        own = next((m.state for m in self.health.report(self.alpha).models if m.model == model), S.CLOSED)
        return {None: whole} if model is None else {None: whole, model: own}

    def missing(self, model: str | None) -> bool:
        """Whether this model is waited for because it is not there; of the whole nobody says that."""
        state = self.health._states.get("alpha")
        own = None if state is None or model is None else state.models.get(model)
        return own is not None and own.kind is K.MODEL_MISSING and own.shut(self.now)

    @rule(model=ASKED)
    def ask(self, model: str | None) -> None:
        before = self.states(model)
        verdict = self.health.check(self.alpha, model)
        ticket = self.health.admit(self.alpha, model)
        assert ticket is not None or not verdict.usable
        if ticket is None:
            return
        self.running.append((ticket, model))
        for scope, state in before.items():
            assert state not in (S.DISABLED, S.QUOTA, S.COOLING)
            if state in PROBED:
                assert scope not in self.probes, "two probes at once"
                self.probes[scope] = ticket
                assert self.health.admit(self.alpha, model) is None

    @rule(model=ASKED)
    def crowd(self, model: str | None) -> None:
        for _ in range(6):
            self.ask(model)

    @precondition(lambda self: self.running)
    @rule(kind=st.sampled_from([K.CONNECT, K.OVERLOAD, K.RATE]), late=st.booleans())
    def outage(self, kind: FaultKind, late: bool) -> None:
        """The oldest or the newest requests fail, one after the other."""
        for _ in range(min(6, len(self.running))):
            self.fail(0 if late else len(self.running) - 1, kind, None, None)

    @rule(model=ASKED)
    def wait_out(self, model: str | None) -> None:
        self.now += self.health.check(self.alpha, model).retry_in or 0.0

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 29.0, 31.0, 301.0, 3601.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    def end(self, number: int) -> tuple[Ticket, str | None]:
        """A running request ends."""
        return self.running.pop(number % len(self.running))

    def over(self, ticket: Ticket) -> list[str | None]:
        """The scopes whose probe it was."""
        mine = [scope for scope, probe in self.probes.items() if probe is ticket]
        for scope in mine:
            del self.probes[scope]
        return mine

    @precondition(lambda self: self.running)
    @rule(number=st.integers(0, 99), heard=st.booleans())
    def succeed(self, number: int, heard: bool) -> None:
        ticket, model = self.end(number)
        if heard:
            self.health.answering(self.alpha, ticket)
        self.health.succeeded(self.alpha, model, ticket)
        for scope in self.over(ticket):
            assert self.states(model)[scope] is S.CLOSED, "a success after opening closes"

    @precondition(lambda self: self.running)
    @rule(number=st.integers(0, 99))
    def answer(self, number: int) -> None:
        ticket, model = self.running[number % len(self.running)]
        self.health.answering(self.alpha, ticket)
        for scope in self.over(ticket):
            assert self.states(model)[scope] is S.CLOSED

    @precondition(lambda self: self.running)
    @rule(number=st.integers(0, 99))
    def release(self, number: int) -> None:
        ticket, model = self.end(number)
        before = self.states(model)
        self.health.released(self.alpha, ticket)
        self.over(ticket)
        assert self.states(model) == before

    @precondition(lambda self: self.running)
    @rule(
        number=st.integers(0, 99),
        kind=st.sampled_from(FAILING),
        told=st.one_of(st.none(), st.sampled_from([0.0, 2.0, 60.0, 5000.0])),
        status=st.sampled_from([None, 500]),
    )
    def fail(self, number: int, kind: FaultKind, told: float | None, status: int | None) -> None:
        ticket, model = self.end(number)
        before = self.health.check(self.alpha, model)
        whole, was_probe = self.states(None)[None], bool(self.over(ticket))
        self.health.failed(self.alpha, model, Fault(kind, "no", retry_after=told, status=status), ticket)
        after = self.health.check(self.alpha, model)
        if kind is K.AUTH:
            self.refused = True
        elif kind is K.QUOTA and self.states(None)[None] is S.QUOTA and whole is not S.QUOTA:
            self.quota_until = self.now + 3600
        elif kind is K.RATE and told and not self.refused:
            asked = self.now + min(told, 900.0)
            self.waits[model] = max(asked, self.waits.get(model, 0.0))
        if not (was_probe or ticket.heard) and before.retry_in is not None and before.retry_in > 1.0:
            assert after.retry_in is None or after.retry_in >= before.retry_in, "a late failure shortens nothing"
            if kind not in (K.AUTH, K.QUOTA, K.RATE, K.MODEL_MISSING) and whole in PROBED:
                assert after.retry_in == before.retry_in, "a late failure lengthens nothing"
        for scope, state in self.states(model).items():
            if state not in PROBED or (kind is K.MODEL_MISSING and self.missing(scope)):
                self.probes.pop(scope, None)  # something firm came between: the probe is none now

    @rule()
    def reload(self) -> None:
        before = self.health.report(self.alpha)
        self.health.retain([self.alpha])
        assert self.health.report(self.alpha) == before

    @invariant()
    def nobody_passes_a_wait(self) -> None:
        for model in MODELS:
            verdict = self.health.check(self.alpha, model)
            assert verdict == self.health.check(self.alpha, model)
            assert verdict.usable == (verdict.kind is None) == (not verdict.reason)
            assert verdict.retry_in is None or 0.0 < verdict.retry_in <= 3600.001
            waits = max(self.waits.get(model, 0.0), self.waits.get(None, 0.0))
            assert not (self.refused or self.quota_until > self.now or waits > self.now) or not verdict.usable

    @invariant()
    def the_report_is_sound(self) -> None:
        report = self.health.report(self.alpha)
        assert report.state is self.health.state(self.alpha)
        assert report.failures >= 0
        assert report.since is None or report.since >= 0.0
        assert (report.last_error is None) == (report.last_error_ago is None)
        assert report.state is S.CLOSED or report.last_error is not None
        for wait in (report.next_probe, *(m.next_probe for m in report.models)):
            assert wait is None or wait > 0.0
        assert all(m.state is not S.CLOSED and m.last_error is not None for m in report.models)


TestBreakers = Breakers.TestCase
TestBreakers.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)


def test_memory_is_bounded() -> None:
    """Ten thousand names, each failing in its own way, none ever right."""
    now = 0.0
    health = Health(lambda: now, lambda: 1.0)
    alpha: Any = SimpleNamespace(identity="alpha")
    for number in range(10_000):
        now += 40.0
        ticket = health.admit(alpha, f"m{number}") or Ticket()
        kind = (K.MODEL_MISSING, K.RATE, K.UPSTREAM_5XX, K.CONNECT)[number % 4]
        health.failed(alpha, f"m{number}", Fault(kind, "no", retry_after=900.0), ticket)
        assert len(health.report(alpha).models) <= 256
    (state,) = health._states.values()
    assert len(state.models) <= 256
    assert len(state.whole.row) <= 8
    assert len(state.whole.outcomes) <= 64
