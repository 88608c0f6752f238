"""Runs one request: plan, attempts one after the other, outcome. The only place that loops over connections.

What two attempts at once are about: `proxy.engine.race`. The last word when nobody answered: `proxy.engine.closing`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from proxy.dialects.request import BadRequest
from proxy.engine.budget import FREE, Place
from proxy.engine.call import Call
from proxy.engine.closing import Closing
from proxy.engine.job import Job
from proxy.engine.makers import is_refused
from proxy.engine.outcome import Outcome, Then
from proxy.engine.pinned import KEEPING, is_absent, searching
from proxy.engine.race import Race
from proxy.engine.repeat import may_be_doubled, may_repeat
from proxy.engine.rescue import Going, Rescue
from proxy.engine.translate import Translation, Unsaid, origin_of
from proxy.engine.trial import Trial
from proxy.fault import SHUTTING_DOWN, Blame, Fault, FaultKind, Start
from proxy.routing import Candidate, NoPlan, Target, needs_lists, plan

if TYPE_CHECKING:
    from proxy.engine.engine import Engine


class Run(msgspec.Struct):
    """One request on its way through its candidates."""

    job: Job
    engine: Engine
    call: Call
    _translation: Translation
    _queue: list[Candidate] = []
    _spent: tuple[str, ...] = ()  # an alias may name several models of a connection that has failed by now
    _needed: int = 0  # tokens of context: more than that of whoever said that the request is too long
    _last_word: Closing | None = None
    _rescue: Rescue | None = None
    _racing: Race | None = None

    @classmethod
    def of(cls, job: Job) -> Run:
        """That of this request."""
        call, engine = job.call, job.engine
        return cls(job, engine, call, Translation(call, engine.attempter.wall, engine.makers.among(call)))

    @property
    def _closing(self) -> Closing:
        """Made for those who need it: not everything goes well."""
        if self._last_word is None:
            self._last_word = Closing(self.job)
        return self._last_word

    async def serve(self) -> None:
        """To its end."""
        engine, job = self.engine, self.job
        if needs_lists(job.snapshot, self.call.model):
            await engine.lists.ensure(job.snapshot.connections)
        routing = job.snapshot.settings.routing
        try:
            chosen = plan(self._targets(), engine.health, routing.max_attempts)
        except NoPlan as exc:
            await self._unplanned(exc)
            return
        self._queue = list(chosen.candidates)
        if routing.rescue:
            self._rescue = Rescue.of(job, self._translation, chosen.candidates)
        if routing.hedge_after is not None and self._hedges():
            over = await self._race(routing.hedge_after)
        else:
            over = False
            while not over and (trial := await self._next()) is not None:
                over = await self._follow(trial, await trial.run())
        if not over:
            await self._closing.give_up(chosen)

    async def _unplanned(self, why: NoPlan) -> None:
        """Nobody can be asked."""
        if why.answer.code != "operation_not_supported" or not await self._closing.estimated():
            self.job.exchange.fault = why.fault
            await self._closing.refuse(why.answer)

    def _hedges(self) -> bool:
        """Whether two may be asked at once; an upload goes to one at a time."""
        return len(self._queue) > 1 and self.call.upload is None and may_be_doubled(self.call)

    async def _race(self, hedge_after: float) -> bool:
        """Whether one of the candidates has answered; a second one is asked beside each that is silent for so long."""
        race = self._racing = Race(hedge_after, self._next, self.engine.attempter.interrupt)
        try:
            while (ended := await race.ended()) is not None:
                trial, outcome = ended
                then = self._then(trial, outcome)
                if then is Then.OURS and race.running:
                    continue  # the other one has what it needs
                if then is not Then.NEXT:
                    await race.leave()
                if await self._follow(trial, outcome):
                    return True
                self._take_back()
        finally:
            await race.leave()
        return False

    def _alone(self, trial: Trial) -> Callable[[], bool] | None:
        """Where text must not drip: what says whether there is nobody to leave this one for."""
        who = trial.candidate.connection.provider

        def alone() -> bool:
            later = self._racing.behind(trial) if self._racing is not None else ()
            waiting = (other for other in self._queue if not self._passed_over(other))
            return all(other.connection.provider == who for other in (*later, *waiting))

        return None if alone() else alone

    def _take_back(self) -> None:
        """Who was left because another one seemed faster can be asked again, where that one did not do."""
        left = self._racing.left() if self._racing is not None else ()
        self._queue[:0] = [trial.candidate for trial in left]

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
        while (candidate := self._first(start)) is not None:
            first = not self.job.exchange.attempts and start is not Start.HEDGE
            place = FREE if first else await self._place(candidate, start)
            if place is None:
                return None
            self._queue.remove(candidate)
            trial = None
            try:
                trial = self._let_through(candidate, place, start)
            finally:
                if trial is None:
                    place.give()
            if trial is not None:
                return trial
        return None

    def _first(self, start: Start) -> Candidate | None:
        """The next that has not been left out by now; a hedge goes to a connection that is not being asked already."""
        for candidate in tuple(self._queue):
            if self._passed_over(candidate):
                self._queue.remove(candidate)
            elif start is not Start.HEDGE or not self._under_way(candidate):
                return candidate
        return None

    def _passed_over(self, candidate: Candidate) -> bool:
        connection = candidate.connection
        small = self._needed and connection.context_tokens(candidate.model) <= self._needed
        if connection.provider in self._spent or small:
            return True
        return bool(self.job.exchange.attempts) and self.job.seconds_left(candidate) <= 0

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
        if written is not None and self.job.seconds_left(candidate) <= 0:
            return None  # writing it took what was left
        ticket = self.engine.health.admit(candidate.connection, candidate.model)
        if ticket is None:
            return None
        follower = rescue.beginning if rescue is not None else None
        trial = Trial(self.job, candidate, written, ticket, place, start=start, follower=follower)
        if start is not Start.RESCUE and trial.routing.min_chars_per_second > 0:
            trial.alone = self._alone(trial)
        return trial

    async def _place(self, candidate: Candidate, start: Start) -> Place | None:
        """A place of the retry budget, which a first attempt and one at a connection that is well do not need."""
        engine, connection, model = self.engine, candidate.connection, candidate.model
        if start is Start.HEDGE:
            return engine.budget.take()
        return await engine.budget.place(
            lambda: not engine.health.proven(connection, model), lambda: self.job.seconds_left(candidate)
        )

    def _then(self, trial: Trial, outcome: Outcome) -> Then:
        """What follows. Changes nothing."""
        fault, call = outcome.fault, self.call
        if outcome.committed:
            return Then.OVER
        if fault is None:
            raise RuntimeError("an attempt ended with neither an answer nor a fault")
        if fault.blame is Blame.GATEWAY:
            return Then.OURS
        if is_absent(fault) and searching(call):
            return Then.NEXT
        if self.job.counting and (trial.candidate.via is not None or fault.falls_back):
            return Then.NEXT  # the next one, or an estimate
        if not trial.bare and is_refused(call, fault):
            return Then.BARE
        if fault.kind is FaultKind.CONTEXT_LENGTH and self._larger(trial.candidate):
            return Then.NEXT
        if not fault.falls_back:
            return Then.AS_SAID
        return Then.NEXT if may_repeat(call, fault, trial.written) else Then.UNCERTAIN

    def _larger(self, candidate: Candidate) -> int:
        """The context that this one is declared to have, where somebody with more is or can be asked; else 0."""
        mine = candidate.connection.context_tokens(candidate.model)
        asked = self._racing.behind() if self._racing is not None else ()
        able = any(mine < other.connection.context_tokens(other.model) for other in (*self._queue, *asked))
        return mine if mine and able else 0

    async def _follow(self, trial: Trial, outcome: Outcome) -> bool:
        """Do what follows; whether the request is over with it."""
        then = self._then(trial, outcome)
        if then is Then.OVER:
            if outcome.close is not None:
                self._begun(trial, outcome)
                trial, outcome = await self._gone_on(trial, outcome)
            self._answered(trial, outcome)
            return True
        fault, candidate, closing = outcome.fault, trial.candidate, self._closing
        assert fault is not None
        closing.refusal, closing.dropped = outcome.refusal, trial.dropped
        if then is Then.BARE:
            return await self._bare(trial, fault)
        if then is Then.AS_SAID:
            await closing.as_said(candidate, fault, outcome.refusal)
            return True
        if then is Then.UNCERTAIN:
            await closing.uncertain(candidate, fault)
            return True
        if then is Then.OURS:
            await closing.ours(fault)
            return True
        self._learn(candidate, fault, outcome)
        return await self._gone(fault)

    async def _gone(self, fault: Fault) -> bool:
        """Whether it is over because there is nothing left of an upload that somebody else could be sent."""
        upload, job = self.call.upload, self.job
        if upload is None:
            return False
        job.since = job.exchange.started + upload.waited  # what its client took is no provider's time
        if upload.repeatable or self._first(Start.PLAIN) is None:
            return False
        await self._closing.not_kept(fault)
        return True

    async def _gone_on(self, trial: Trial, outcome: Outcome) -> tuple[Trial, Outcome]:
        """A stream that was left open brought to its end: by others that go on with it, or with what broke it."""
        while outcome.close is not None:
            self._spent += (trial.candidate.connection.provider,)
            self._take_back()
            self.job.since = self.engine.now()
            more = await self._rescued()
            if more is None:
                over = self.engine.attempter.interrupt.requested
                outcome.fault = SHUTTING_DOWN if over else outcome.fault
                await outcome.close(SHUTTING_DOWN if over else None)
                break
            trial, outcome = more
        return trial, outcome

    async def _rescued(self) -> tuple[Trial, Outcome] | None:
        """What `_more` says; None, too, when the time to drain is over."""
        interrupt = self.engine.attempter.interrupt
        try:
            return None if interrupt.requested else await self._more()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not interrupt.requested:
                raise
            task.uncancel()
            return None

    async def _more(self) -> tuple[Trial, Outcome] | None:
        """The next one that has begun to go on with the text, at its end; None where there is nobody."""
        while (trial := await self._next(Start.RESCUE)) is not None:
            trial.reply = Going(self.job.reply)
            outcome = await trial.run()
            if outcome.committed:
                return trial, outcome
            if outcome.fault is not None and outcome.fault.blame is Blame.GATEWAY:
                break  # nobody else can be asked either
            self._spent += (trial.candidate.connection.provider,)
        return None

    def _learn(self, candidate: Candidate, fault: Fault, outcome: Outcome) -> None:
        """What an attempt says of those that are still to come."""
        if is_absent(fault) and searching(self.call):
            self._closing.absent(fault, outcome.refusal)
        if fault.kind is FaultKind.CONTEXT_LENGTH:
            self._needed = max(self._needed, self._larger(candidate))
        elif fault.kind is not FaultKind.MODEL_MISSING:
            self._spent += (candidate.connection.provider,)

    def _begun(self, trial: Trial, outcome: Outcome) -> None:
        exchange = self.job.exchange
        exchange.connection, exchange.model = trial.candidate.connection.provider, trial.candidate.model
        exchange.usage = outcome.usage or exchange.usage  # of one that breaks off in between nothing may be known
        if outcome.first_content is not None:
            self.job.heard(outcome.first_content)

    def _answered(self, trial: Trial, outcome: Outcome) -> None:
        exchange, connection = self.job.exchange, trial.candidate.connection
        self._begun(trial, outcome)
        exchange.status = trial.attempt.status
        exchange.fault = outcome.fault
        exchange.usage_estimated = trial.written is not None and bool(
            trial.written.more and trial.written.more.estimated
        )
        if outcome.sealed:
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
        follower = self._rescue.beginning if self._rescue is not None else None
        again = Trial(self.job, candidate, written, ticket, bare=True, follower=follower)
        return await self._follow(again, await again.run())
