"""Runs one request: plan, attempts one after the other, outcome. The only place that loops over connections.

What two attempts at once are about: `proxy.engine.race`. The last word when nobody answered: `proxy.engine.closing`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

from config.model import Connection, Operation, Snapshot
from proxy.dialects.request import BadRequest
from proxy.engine import told
from proxy.engine.attempt import Attempter
from proxy.engine.budget import Budget, Place
from proxy.engine.call import Call, ClientGone, Reply
from proxy.engine.closing import Closing
from proxy.engine.job import Job
from proxy.engine.makers import Makers, is_refused
from proxy.engine.outcome import Outcome
from proxy.engine.pinned import KEEPING, Owners, is_absent, searching, translatable
from proxy.engine.race import Race
from proxy.engine.repeat import may_be_doubled, may_repeat
from proxy.engine.rescue import Going, Rescue
from proxy.engine.translate import Translation, Unsaid, origin_of
from proxy.engine.trial import Trial
from proxy.fault import SHUTTING_DOWN, Blame, Exchange, Fault, FaultKind, Observer, Start
from proxy.routing import Candidate, GatewayAnswer, Health, ModelLists, NoPlan, Target, needs_lists, plan, resolve

_CACHE: Final = 1024  # resolved names kept; cleared whenever the configuration or a model list changes


class LiveLists(ModelLists, Protocol):
    """Model lists that can be asked to become known."""

    version: int

    async def ensure(self, connections: tuple[Connection, ...]) -> None:
        """Return once each list is known or known not to be had, within a bound."""


class Engine:
    """Everything a request needs beside itself. One per process; owns what is resolved, running, and the budget."""

    def __init__(
        self,
        attempter: Attempter,
        health: Health,
        lists: LiveLists,
        observer: Observer,
        now: Callable[[], float],
    ) -> None:
        self.attempter = attempter
        self.health = health
        self.lists = lists
        self.observer = observer
        self.now = now
        self.owners = Owners()
        self.makers = Makers()
        self.running: set[asyncio.Task[None]] = set()
        self.budget = Budget(lambda: len(self.running))
        self._resolved: dict[tuple[Operation, str | None, bool], tuple[Target, ...]] = {}
        self._resolved_for = (-1, -1)

    async def run(self, call: Call, snapshot: Snapshot, reply: Reply, exchange: Exchange) -> None:
        """Serve one request to its end. Raises CancelledError alone: the client has left, the upstream is closed."""
        task = asyncio.current_task()
        if task is not None:
            self.running.add(task)
        exchange.generation = snapshot.generation
        self.observer.exchange_started(exchange)
        try:
            await _Run(Job(self, call, snapshot, reply, exchange)).serve()
        except ClientGone:
            exchange.fault = Fault(FaultKind.CLIENT_GONE, "the client left")
            reply.abort()
        except asyncio.CancelledError:
            if not self.attempter.interrupt.requested or task is None:
                exchange.fault = Fault(FaultKind.CLIENT_GONE, "the client left")
                raise
            task.uncancel()
            await self._shut(call, reply, exchange)
        except Exception:
            if reply.begun:  # an error of ours that came behind the head would stand in the body
                reply.abort()
            raise
        finally:
            if task is not None:
                self.running.discard(task)
            exchange.ended = self.now()
            self.observer.exchange_ended(exchange)

    async def _shut(self, call: Call, reply: Reply, exchange: Exchange) -> None:
        exchange.fault = SHUTTING_DOWN
        if reply.begun:
            reply.abort()
            return
        answer = GatewayAnswer(503, "gateway_shutting_down", SHUTTING_DOWN.public, retry_after=1, should_retry=True)
        with contextlib.suppress(ClientGone):
            await told.refuse(call, reply, exchange, answer)

    def interrupt(self) -> None:
        """The time to drain is over: every running request ends now, with an error of ours."""
        self.attempter.interrupt.requested = True
        for task in self.running:
            task.cancel()

    def targets(self, snapshot: Snapshot, call: Call) -> tuple[Target, ...]:
        """Who serves what the call asks for, in order. Raises NoPlan."""
        version = (snapshot.generation, self.lists.version)
        if version != self._resolved_for or len(self._resolved) > _CACHE:
            self._resolved.clear()
            self._resolved_for = version
        key = (call.operation, call.model, translatable(call))
        found = self._resolved.get(key)
        if found is None:
            found = resolve(snapshot, call.operation, call.model, self.lists, translate=key[2])
            self._resolved[key] = found
        return found


class _Then(Enum):
    """What follows from an attempt."""

    OVER = "over"  # the client has its answer
    NEXT = "next"
    BARE = "bare"  # once more the same one, without what it cannot read
    AS_SAID = "as_said"  # the provider's refusal is the answer
    UNCERTAIN = "uncertain"  # it must not be repeated
    OURS = "ours"  # the daemon itself is in want: another connection would not go better


class _Run:
    """One request on its way through its candidates."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.engine = job.engine
        self.call = job.call
        made = job.engine.makers.among(job.call)
        self._translation = Translation(job.call, int(job.engine.attempter.wall().timestamp()), made)
        self._closing = Closing(job)
        self._queue: deque[Candidate] = deque()
        self._spent: set[str] = set()  # an alias may name several models of a connection that has failed by now
        self._needed = 0  # tokens of context: more than that of whoever said that the request is too long
        self._searching = searching(job.call)
        self._rescue: Rescue | None = None

    async def serve(self) -> None:
        engine, job = self.engine, self.job
        if needs_lists(job.snapshot, self.call.model):
            await engine.lists.ensure(job.snapshot.connections)
        routing = job.snapshot.settings.routing
        try:
            chosen = plan(self._targets(), engine.health, routing.max_attempts)
        except NoPlan as exc:
            if exc.answer.code == "operation_not_supported" and await self._closing.estimated():
                return
            job.exchange.fault = exc.fault
            await self._closing.refuse(exc.answer)
            return
        self._queue.extend(chosen.candidates)
        self._rescue = Rescue.of(job, self._translation, chosen.candidates) if routing.rescue else None
        hedges = routing.hedge_after is not None and len(self._queue) > 1 and may_be_doubled(self.call)
        if await (self._race(routing.hedge_after or 0.0) if hedges else self._one_by_one()):
            return
        await self._closing.give_up(chosen)

    async def _one_by_one(self) -> bool:
        """Whether one of the candidates has answered, or ended it."""
        while (trial := await self._next()) is not None:
            outcome = await trial.run(*self._means(trial), patient=self._patient())
            if await self._follow(trial, outcome):
                return True
        return False

    async def _race(self, hedge_after: float) -> bool:
        """The same with a second one beside each that is silent for so long."""
        race = Race(hedge_after, self._start)
        try:
            while (ended := await race.ended()) is not None:
                trial, outcome = ended
                then = self._then(trial, outcome)
                if then is _Then.OURS and race.running:
                    continue  # the other one has what it needs
                if then is not _Then.NEXT:
                    await race.leave()
                if await self._follow(trial, outcome):
                    return True
        finally:
            await race.leave()
        return False

    async def _start(self, hedge: bool) -> tuple[Trial, Callable[[], asyncio.Task[Outcome]]] | None:
        trial = await self._next(Start.HEDGE if hedge else Start.PLAIN)
        if trial is None:
            return None
        means, patient = self._means(trial), self._patient()
        return trial, lambda: asyncio.ensure_future(trial.run(*means, patient=patient))

    def _means(self, trial: Trial) -> tuple[float, Reply]:
        return max(0.001, self.job.seconds_left(trial.candidate)), self.job.reply

    def _patient(self) -> bool:
        return not self._queue or self.job.snapshot.settings.routing.min_chars_per_second <= 0

    def _targets(self) -> tuple[Target, ...]:
        """Who can serve this: where it names something that is kept, those who may have it. Raises NoPlan."""
        engine, call = self.engine, self.call
        try:
            found = engine.targets(self.job.snapshot, call)
        except NoPlan:
            engine.owners.narrow(call, ())  # who made it is a better reason, where that is known
            raise
        return engine.owners.narrow(call, found)

    async def _next(self, start: Start = Start.PLAIN) -> Trial | None:
        """The next candidate that can be asked, let through; None where there is none (for a hedge: none at once)."""
        while self._queue:
            candidate = self._queue[0]
            if self._passed_over(candidate):
                self._queue.popleft()
                continue
            if start is Start.HEDGE and self._under_way(candidate):
                return None
            place = await self._place(candidate, wait=start is not Start.HEDGE)
            if place is None:
                return None
            self._queue.popleft()
            trial = self._let_through(candidate, place, start)
            if trial is not None:
                return trial
            place.give()
        return None

    def _passed_over(self, candidate: Candidate) -> bool:
        connection = candidate.connection
        small = self._needed and connection.context_tokens(candidate.model) <= self._needed
        return connection.provider in self._spent or bool(small) or self.job.seconds_left(candidate) <= 0

    def _under_way(self, candidate: Candidate) -> bool:
        who = candidate.connection.provider
        return any(attempt.connection == who and attempt.ended is None for attempt in self.job.exchange.attempts)

    def _let_through(self, candidate: Candidate, place: Place, start: Start) -> Trial | None:
        rescue = self._rescue
        try:
            going_on = start is Start.RESCUE and rescue is not None
            written = rescue.write(candidate) if going_on and rescue else self._translation.write(candidate)
        except (Unsaid, BadRequest) as exc:
            self._closing.left_out(candidate, exc)
            return None
        if self.job.seconds_left(candidate) <= 0:
            return None
        ticket = self.engine.health.admit(candidate.connection, candidate.model)
        if ticket is None:
            return None
        follower = rescue.beginning if rescue is not None else None
        return Trial(self.job, candidate, written, ticket, place, start=start, follower=follower)

    async def _place(self, candidate: Candidate, *, wait: bool) -> Place | None:
        """A place of the retry budget, which a first attempt and one at a connection that is well do not need."""
        engine, attempts = self.engine, self.job.exchange.attempts
        while wait and attempts and not engine.health.proven(candidate.connection, candidate.model):
            place = engine.budget.take()
            if place is not None:
                return place
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self.job.seconds_left(candidate))):
                    await engine.budget.changed()
            if self.job.seconds_left(candidate) <= 0:
                break
        return engine.budget.take() if not wait else Place()

    def _then(self, trial: Trial, outcome: Outcome) -> _Then:
        """What follows. Changes nothing."""
        fault, call = outcome.fault, self.call
        if outcome.committed:
            return _Then.OVER
        if fault is None:
            raise RuntimeError("an attempt ended with neither an answer nor a fault")
        if fault.blame is Blame.GATEWAY:
            return _Then.OURS
        if self._searching and is_absent(fault):
            return _Then.NEXT
        if self.job.counting and (trial.candidate.via is not None or fault.falls_back):
            return _Then.NEXT  # the next one, or an estimate
        if not trial.bare and is_refused(call, fault):
            return _Then.BARE
        if fault.kind is FaultKind.CONTEXT_LENGTH and self._larger(trial.candidate):
            return _Then.NEXT
        if not fault.falls_back:
            return _Then.AS_SAID
        return _Then.NEXT if may_repeat(call, fault, trial.written) else _Then.UNCERTAIN

    def _larger(self, candidate: Candidate) -> int:
        """The context that this one is declared to have, where somebody with more is still to be asked; else 0."""
        mine = candidate.connection.context_tokens(candidate.model)
        able = any(mine < other.connection.context_tokens(other.model) for other in self._queue)
        return mine if mine and able else 0

    async def _follow(self, trial: Trial, outcome: Outcome) -> bool:
        """Do what follows; whether the request is over with it."""
        fault, candidate, closing = outcome.fault, trial.candidate, self._closing
        self.job.exchange.upstream_seconds = self.job.waited
        then = self._then(trial, outcome)
        if then is _Then.OVER:
            self._answered(*await self._gone_on(trial, outcome))
            return True
        assert fault is not None
        closing.refusal, closing.dropped = outcome.refusal, trial.dropped
        if then is _Then.BARE:
            return await self._bare(trial, fault)
        if then is _Then.AS_SAID:
            await closing.as_said(candidate, fault, outcome.refusal)
            return True
        if then is _Then.UNCERTAIN:
            await closing.uncertain(candidate, fault)
            return True
        if then is _Then.OURS:
            await closing.ours(fault)
            return True
        self._learn(candidate, fault, outcome)
        return False

    async def _gone_on(self, trial: Trial, outcome: Outcome) -> tuple[Trial, Outcome]:
        """A stream that was left open brought to its end: by others that go on with it, or with what broke it."""
        while outcome.close is not None:
            self._spent.add(trial.candidate.connection.provider)
            self.job.since = self.engine.now()
            try:
                more = await self._more()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or not self.engine.attempter.interrupt.requested:
                    raise
                task.uncancel()
                outcome.fault = SHUTTING_DOWN
                more = None
            if more is None:
                await outcome.close(outcome.fault if outcome.fault is SHUTTING_DOWN else None)
                break
            trial, outcome = more
        return trial, outcome

    async def _more(self) -> tuple[Trial, Outcome] | None:
        """The next one that has begun to go on with the text, at its end; None where there is nobody."""
        while (trial := await self._next(Start.RESCUE)) is not None:
            outcome = await trial.run(max(0.001, self.job.seconds_left(trial.candidate)), Going(self.job.reply))
            if outcome.committed:
                return trial, outcome
            if outcome.fault is not None and outcome.fault.blame is Blame.GATEWAY:
                break  # nobody else can be asked either
            self._spent.add(trial.candidate.connection.provider)
        return None

    def _learn(self, candidate: Candidate, fault: Fault, outcome: Outcome) -> None:
        """What an attempt says of those that are still to come."""
        if self._searching and is_absent(fault):
            self._closing.absent(fault, outcome.refusal)
        if fault.kind is FaultKind.CONTEXT_LENGTH:
            self._needed = max(self._needed, self._larger(candidate))
        elif fault.kind is not FaultKind.MODEL_MISSING:
            self._spent.add(candidate.connection.provider)

    def _answered(self, trial: Trial, outcome: Outcome) -> None:
        exchange, connection = self.job.exchange, trial.candidate.connection
        exchange.connection, exchange.model = connection.provider, trial.candidate.model
        exchange.usage, exchange.first_content = outcome.usage, outcome.first_content
        exchange.status = trial.attempt.status
        exchange.fault = outcome.fault
        exchange.usage_estimated = trial.written is not None and bool(
            trial.written.more and trial.written.more.estimated
        )
        self.engine.makers.learn(outcome.sealed, origin_of(connection))
        if self.call.operation in KEEPING and self.call.method == "POST":
            self.engine.owners.learn(
                outcome.made, connection, kept=trial.written is None or not trial.written.translated
            )

    async def _bare(self, trial: Trial, fault: Fault) -> bool:
        """Once more at the same connection, without what it cannot read; whether the request is over with that."""
        candidate, seconds = trial.candidate, self.job.seconds_left(trial.candidate)
        try:
            written = self._translation.write(candidate, bare=True)
        except (Unsaid, BadRequest):
            written = None
        health = self.engine.health
        ticket = health.admit(candidate.connection, candidate.model) if written is not None and seconds > 0 else None
        if ticket is None:
            await self._closing.as_said(candidate, fault, self._closing.refusal)
            return True
        again = Trial(self.job, candidate, written, ticket, bare=True)
        return await self._follow(again, await again.run(*self._means(again)))
