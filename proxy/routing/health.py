"""What is known of each connection's health: breakers, cool-downs, refused keys, missing models.

The only mutable state of the room. Keyed by Connection.identity (id, address, key), so that it survives a reload that
changes nothing and ends with a new key. The clock is monotonic seconds, injected.

Three scopes. The key (refused, quota used up) and the way to the provider (no connection, lost without an answer)
concern the whole connection; what the provider says in an answer concerns the model it was asked for, for providers
limit and overload by model. Several models that fail at once are the connection's again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from config.model import Connection
from proxy.fault import Fault, FaultKind
from proxy.routing.breaker import FIRM, Breaker, BreakerState, Ticket
from proxy.routing.news import News, changes, take_up
from proxy.routing.report import ModelReport, Report
from proxy.routing.standing import State, fallen, settle, standing

__all__ = ["BreakerState", "Health", "ModelReport", "Report", "Ticket", "Verdict"]

_QUOTA: Final = 3600.0
_RATE: Final = 10.0
_RATE_MAX: Final = 900.0
_MODEL: Final = 600.0
_FORGET: Final = 600.0
_MAX_MODELS: Final = 256
_MAX_NAME: Final = 256

# About the way to the provider, whichever model was asked for.
_OF_THE_WAY: Final = frozenset({FaultKind.CONNECT, FaultKind.DNS, FaultKind.TLS, FaultKind.REDIRECT})
_OF_THE_WHOLE: Final = _OF_THE_WAY | {FaultKind.AUTH, FaultKind.QUOTA}
_REASONS: Final = {
    FaultKind.AUTH: "its key was refused",
    FaultKind.QUOTA: "its quota is used up",
    FaultKind.RATE: "it asked to wait",
    FaultKind.MODEL_MISSING: "it does not have the model",
}
_OF_A_MODEL: Final = _REASONS | {FaultKind.QUOTA: "its quota for this model is used up"}


class Verdict(msgspec.Struct, frozen=True):
    """Whether a connection may be tried, and if not, why and for how many seconds."""

    usable: bool
    kind: FaultKind | None = None
    reason: str = ""
    retry_in: float | None = None
    probing: bool = False  # another request is finding out


_FINE: Final = Verdict(True)


class _Failure(msgspec.Struct, frozen=True, eq=False):
    """One failed attempt as the breakers see it."""

    fault: Fault
    about: Breaker
    own: Breaker | None
    source: str | None
    answered: bool  # the provider has said something: the way to it is free
    probed: list[Breaker]
    old: tuple[Breaker, ...]  # of these it says nothing any more

    def news(self, scope: Breaker) -> bool:
        """Whether it says something of now."""
        return scope in self.probed or scope not in self.old


def _spread() -> float:
    return random.uniform(0.8, 1.2)  # noqa: S311 - it spreads load, it guards nothing


class Health:
    """See the module. Every method is quick and none waits."""

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float] = _spread) -> None:
        self._now = clock
        self._jitter = jitter
        self._states: dict[str, State] = {}
        self.tell: Callable[[News], None] | None = None  # what other workers shall know
        self._turns = 0  # breakers opened and closed so far: the order in which attempts and turns came

    def check(self, connection: Connection, model: str | None) -> Verdict:
        """Whether it may be tried now. Changes nothing."""
        state = self._states.get(connection.identity)
        if state is None:
            return _FINE
        breaker = state.models.get(model[:_MAX_NAME]) if model is not None else None
        if state.whole.kind is None and (breaker is None or breaker.kind is None):
            return _FINE
        whole = _verdict(state.whole, now := self._now(), _REASONS)
        own = _FINE if breaker is None else _verdict(breaker, now, _OF_A_MODEL)
        if whole.usable or own.usable:
            return own if whole.usable else whole
        return _both(whole, own)

    def admit(self, connection: Connection, model: str | None = None) -> Ticket | None:
        """Call right before an attempt: None where a probe is under way already, or was refused since `check`.

        An open breaker alone admits before its time: the plan may have nobody better. The ticket goes with what is
        said of the attempt later, so that an older request cannot pass for the probe.
        """
        state = self._state(connection)
        whole, own = state.whole, self._own(state, model)
        ticket = Ticket(self._turns, model, own)
        if whole.kind is None and (own is None or own.kind is None):
            return ticket
        breakers, now = (whole,) if own is None else (whole, own), self._now()
        if not all(breaker.admits(now) for breaker in breakers):
            return None
        for breaker in breakers:
            breaker.probed_by(ticket)
        return ticket

    def answering(self, connection: Connection, ticket: Ticket) -> None:
        """The attempt has said its first content: if it is the probe, others need not wait for its end."""
        ticket.heard = True
        state = self._state(connection)
        state.whole.good = True
        if ticket.own is not None:
            ticket.own.good = True
        for scope in ticket.probes:
            if scope.probe is ticket:
                self._recovered(scope, ticket)
        self._told(connection, state, ticket.model, ticket.own)

    def succeeded(self, connection: Connection, model: str | None, ticket: Ticket) -> None:
        """An attempt ended well. One that began before the connection was closed does not open it again."""
        state, now = self._state(connection), self._now()
        self._well(state.whole, model, ticket, now)
        own = ticket.own if ticket.model == model else self._own(state, model)
        if own is not None:
            if own.kind is FaultKind.MODEL_MISSING:
                own.close(now, own.turn)
            self._well(own, None, ticket, now)
        self._told(connection, state, model, own)

    def _well(self, scope: Breaker, source: str | None, ticket: Ticket, now: float) -> None:
        scope.good = True
        if scope.kind is not None:
            late = scope.shut(now) or scope.probe is not None or not ticket.is_news_of(scope)
            if late and scope.probe is not ticket:
                return
            self._recovered(scope, ticket)
        elif not ticket.is_news_of(scope):
            return
        scope.succeeded(source, now)

    def _recovered(self, scope: Breaker, ticket: Ticket) -> None:
        """It is well again, and the ticket speaks for what comes after."""
        if scope.kind in _OF_THE_WAY:
            scope.forgive()
        scope.close(self._now(), self._turn())
        ticket.cured(scope)

    def failed(self, connection: Connection, model: str | None, fault: Fault, ticket: Ticket) -> None:
        """An attempt failed by the provider's fault; other faults change nothing.

        What was under way when a breaker turned says nothing of now: it neither opens nor lengthens. What the provider
        itself says (a refused key, a quota, how long to wait) holds all the same.
        """
        probed = [scope for scope in ticket.probes if scope.probe is ticket]
        self.released(connection, ticket)
        if not fault.falls_back:
            return
        state = self._state(connection)
        own = ticket.own if ticket.model == model else self._own(state, model)
        failure = _failure(state, own, model, fault, ticket, probed)
        whole, now = state.whole, self._now()
        settle(state, now)
        failure.about.good = False
        if failure.answered and whole in probed and whole.kind in _OF_THE_WAY:
            self._recovered(whole, ticket)
            probed.remove(whole)
        match fault.kind:
            case FaultKind.AUTH:
                whole.note(fault.kind, now)
                whole.turn = self._turn()
                whole.rest(FaultKind.AUTH, 0.0, now)
            case FaultKind.QUOTA:
                self._used_up(whole, failure, now)
            case FaultKind.RATE:
                self._limited(state, failure, now)
            case FaultKind.MODEL_MISSING:
                self._missing(whole, failure, now)
            case _:
                self._count(whole, failure, now)
        fallen(state, now)
        self._told(connection, state, model, own)

    def _used_up(self, whole: Breaker, failure: _Failure, now: float) -> None:
        """The quota of the key, or of the model there: an hour from when it was first said."""
        scope = failure.about
        known = scope.kind is FaultKind.QUOTA and scope.shut(now)
        recovered_since = scope.kind is None and not failure.news(scope)
        if known or recovered_since or scope.kind is FaultKind.AUTH:
            return
        for noting in (whole, scope):
            noting.note(FaultKind.QUOTA, now)
        scope.turn = self._turn()
        scope.rest(FaultKind.QUOTA, _QUOTA, now)

    def _limited(self, state: State, failure: _Failure, now: float) -> None:
        """It asked to wait. A late answer makes a wait longer only where the provider says for how long."""
        about, told = failure.about, failure.fault.retry_after
        wait = _RATE if told is None else min(told, _RATE_MAX)
        if about.kind is FaultKind.AUTH or (about.shut(now) and about.until >= now + wait):
            return
        if told is None and (about.shut(now) or not failure.news(about)):
            return
        about.note(FaultKind.RATE, now)
        state.whole.note(FaultKind.RATE, now)
        about.rest(FaultKind.RATE, wait, now)
        limited = [b.until for b in state.models.values() if b.kind is FaultKind.RATE and b.until > now]
        if about is not state.whole and len(limited) > 1:
            self._limited_as_a_whole(state.whole, min(limited), now)

    def _limited_as_a_whole(self, whole: Breaker, until: float, now: float) -> None:
        """Two models at once: the limit is the account's, until the first of them may be asked again."""
        if whole.kind in (None, FaultKind.RATE) and whole.until < until:
            whole.rest(FaultKind.RATE, until - now, now)

    def _missing(self, whole: Breaker, failure: _Failure, now: float) -> None:
        own = failure.own
        if own is None or not failure.news(own) or (own.shut(now) and own.until > now + _MODEL):
            return
        if own.kind is FaultKind.MODEL_MISSING and own.shut(now):
            return
        own.note(FaultKind.MODEL_MISSING, now)
        whole.note(FaultKind.MODEL_MISSING, now)
        own.rest(FaultKind.MODEL_MISSING, _MODEL, now)

    def _count(self, whole: Breaker, failure: _Failure, now: float) -> None:
        """A breaker failure: of the model it was about and, for the case that others fail too, of the whole."""
        if failure.about is whole:
            self._count_in(whole, None, failure, now)
        elif failure.news(failure.about):
            self._count_in(failure.about, None, failure, now)
            self._count_in(whole, failure.source, failure, now)

    def _count_in(self, scope: Breaker, source: str | None, failure: _Failure, now: float) -> None:
        if not failure.news(scope):
            return
        many = scope.failed(failure.fault.kind, source, now)
        # That something else fails says nothing of a quota: its probe is made again.
        probed = scope in failure.probed and scope.kind is not FaultKind.QUOTA
        if probed or (many and not scope.shut(now)):
            scope.open(failure.fault.kind, now, self._jitter(), self._turn())

    def released(self, connection: Connection, ticket: Ticket) -> None:
        """The attempt ended without saying anything of the provider (the client left, or erred)."""
        for scope in ticket.probes:
            if scope.probe is ticket:
                scope.out = None

    def revive(self, connection: Connection) -> None:
        """Its key was tried outside of requests, and taken: it is not refused any more."""
        state = self._states.get(connection.identity)
        if state is not None and state.whole.kind is FaultKind.AUTH:
            state.whole.close(self._now(), self._turn())
            self._told(connection, state, None, None)

    def _told(self, connection: Connection, state: State, model: str | None, own: Breaker | None) -> None:
        """Tell others what has changed, if anybody listens."""
        if self.tell is not None:
            for news in changes(connection, state.whole, model and model[:_MAX_NAME], own, self._now()):
                self.tell(news)

    def take_up(self, news: News) -> None:
        """Another worker has learned this."""
        state = self._states.setdefault(news.identity, State())
        take_up(state, self._own(state, news.model), news, self._now(), self._turn)

    def proven(self, connection: Connection, model: str | None) -> bool:
        """Whether the latest outcome seen of this model there (None: of the whole) was good; first content counts."""
        state = self._states.get(connection.identity)
        if state is None or model is None:
            return state is not None and state.whole.good is True
        own = state.models.get(model[:_MAX_NAME])
        return own is not None and own.good is True and state.whole.good is not False

    def retain(self, connections: Iterable[Connection]) -> None:
        """Forget what belongs to no connection any more, ten minutes later (a removal may be undone)."""
        now, wanted = self._now(), {c.identity for c in connections}
        for identity, state in list(self._states.items()):
            if identity in wanted:
                state.unused_since = None
            elif state.unused_since is None:
                state.unused_since = now
            elif now - state.unused_since > _FORGET:
                del self._states[identity]

    def state(self, connection: Connection) -> BreakerState:
        """What it is in, for metrics: that of the whole, or of all its models together."""
        state, now = self._states.get(connection.identity), self._now()
        return BreakerState.CLOSED if state is None else standing(state, now).state(now)

    def scope(self, connection: Connection, model: str | None) -> BreakerState:
        """Of one scope alone: this model there, or (None) the whole."""
        state = self._states.get(connection.identity)
        own = None if state is None else state.whole if model is None else state.models.get(model[:_MAX_NAME])
        return BreakerState.CLOSED if own is None else own.state(self._now())

    def report(self, connection: Connection) -> Report:
        """All that is known of it."""
        state = self._states.get(connection.identity)
        if state is None:
            return Report()
        now, whole = self._now(), state.whole
        settle(state, now)
        stands = standing(state, now)
        return Report(
            stands.state(now),
            stands.in_state_for(now),
            whole.last_error,
            None if whole.last_error is None else now - whole.last_error_at,
            stands.failures,
            stands.wait(now),
            tuple(
                ModelReport(name, own.state(now), own.last_error, own.wait(now))
                for name, own in state.models.items()
                if own.state(now) is not BreakerState.CLOSED
            ),
        )

    def _state(self, connection: Connection) -> State:
        return self._states.get(connection.identity) or self._states.setdefault(connection.identity, State())

    def _own(self, state: State, model: str | None) -> Breaker | None:
        """What is known of a model there, made where nothing is. Of too many the least is forgotten."""
        if model is None:
            return None
        name, models = model[:_MAX_NAME], state.models
        own = models.pop(name, None)
        if own is None:
            if len(models) >= _MAX_MODELS:
                del models[_least(models, self._now())]
            own = models[name] = Breaker()
            settle(state, self._now())
        models[name] = own
        return own

    def _turn(self) -> int:
        self._turns += 1
        return self._turns


def _least(models: Mapping[str, Breaker], now: float) -> str:
    """Who is forgotten first: the well, then the missing (names are easily made up), then what was used longest ago."""
    well = (name for name, own in models.items() if own.state(now) is BreakerState.CLOSED)
    missing = (name for name, own in models.items() if own.kind is FaultKind.MODEL_MISSING)
    return next(well, None) or next(missing, None) or next(iter(models))


def _failure(
    state: State, own: Breaker | None, model: str | None, fault: Fault, ticket: Ticket, probed: list[Breaker]
) -> _Failure:
    answered = (ticket.heard or fault.status is not None) and fault.kind not in _OF_THE_WAY
    lost = fault.kind is FaultKind.INTERRUPTED and not answered
    whole = lost or (fault.kind in _OF_THE_WHOLE and not fault.of_model)
    about = state.whole if own is None or whole else own
    return _Failure(fault, about, own, model, answered, probed, tuple(_old(state.whole, own, ticket)))


def _old(whole: Breaker, own: Breaker | None, ticket: Ticket) -> Iterator[Breaker]:
    """Of which breakers the attempt says nothing any more. What is known of the whole concerns each model."""
    past = not ticket.is_news_of(whole)
    if past:
        yield whole
    if own is not None and not (ticket.is_news_of(own) and (not past or ticket.closed(own))):
        yield own


def _verdict(breaker: Breaker, now: float, reasons: Mapping[FaultKind, str]) -> Verdict:
    wait = breaker.wait(now)
    if breaker.kind is None or (wait is None and breaker.kind is not FaultKind.AUTH):
        return _FINE
    of = " with this model" if reasons is _OF_A_MODEL else ""
    reason = reasons.get(breaker.kind, f"it failed repeatedly{of} (last: {breaker.kind.value})")
    if not breaker.shut(now):
        reason = f"{reason}; a probe is under way"
    return Verdict(False, breaker.kind, reason, wait, breaker.probe is not None)


def _both(whole: Verdict, own: Verdict) -> Verdict:
    """Neither may be tried: what no early attempt would help decides, and the longer wait."""
    if whole.retry_in is None or own.retry_in is None:
        return whole if whole.retry_in is None else own
    told = max(whole, own, key=lambda verdict: (verdict.kind in FIRM, verdict.retry_in))
    return replace(told, retry_in=max(whole.retry_in, own.retry_in), probing=whole.probing or own.probing)
