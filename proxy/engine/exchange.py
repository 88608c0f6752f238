"""Runs one request: plan, attempts one after the other, outcome. The only place that loops over connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from config.model import Connection, Operation, Snapshot
from proxy.dialects.counting import COUNTS
from proxy.dialects.request import BadRequest
from proxy.engine import told
from proxy.engine.attempt import Attempter, Hearer
from proxy.engine.call import Call, ClientGone, Reply
from proxy.engine.makers import Makers, is_refused
from proxy.engine.pinned import KEEPING, Owners, is_absent, searching, translatable, unknown_response
from proxy.engine.relay import Outcome, Refusal
from proxy.engine.repeat import may_repeat
from proxy.engine.translate import Translation, Unsaid, Written, counted, origin_of
from proxy.fault import Attempt, Exchange, Fault, FaultKind, Observer, Phase
from proxy.routing import (
    Candidate,
    GatewayAnswer,
    Health,
    ModelLists,
    NoPlan,
    Plan,
    Skipped,
    Target,
    Ticket,
    exhausted,
    needs_lists,
    plan,
    resolve,
)

_CACHE: Final = 1024  # resolved names kept; cleared whenever the configuration or a model list changes


class LiveLists(ModelLists, Protocol):
    """Model lists that can be asked to become known."""

    version: int

    async def ensure(self, connections: tuple[Connection, ...]) -> None:
        """Return once each list is known or known not to be had, within a bound."""


class Engine(msgspec.Struct):
    """Everything a request needs beside itself. One per process; `resolved` and `running` are its only state."""

    attempter: Attempter
    health: Health
    lists: LiveLists
    observer: Observer
    now: Callable[[], float]
    owners: Owners = msgspec.field(default_factory=Owners)
    makers: Makers = msgspec.field(default_factory=Makers)
    running: set[asyncio.Task[None]] = msgspec.field(default_factory=set)
    _resolved: dict[tuple[Operation, str | None, bool], tuple[Target, ...]] = msgspec.field(default_factory=dict)
    _resolved_for: tuple[int, int] = (-1, -1)

    async def run(self, call: Call, snapshot: Snapshot, reply: Reply, exchange: Exchange) -> None:
        """Serve one request to its end. Raises CancelledError alone: the client has left, the upstream is closed."""
        task = asyncio.current_task()
        if task is not None:
            self.running.add(task)
        exchange.generation = snapshot.generation
        self.observer.exchange_started(exchange)
        try:
            await _Run(self, call, snapshot, reply, exchange).serve()
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
        fault = Fault(FaultKind.GATEWAY, "the daemon is shutting down", code="gateway_shutting_down")
        exchange.fault = fault
        if reply.begun:
            reply.abort()
            return
        answer = GatewayAnswer(503, "gateway_shutting_down", fault.public, retry_after=1, should_retry=True)
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


class _Run:
    """One request on its way through its candidates."""

    def __init__(self, engine: Engine, call: Call, snapshot: Snapshot, reply: Reply, exchange: Exchange) -> None:
        self.engine = engine
        self.call = call
        self.snapshot = snapshot
        self.reply = reply
        self.exchange = exchange
        self._refusal: Refusal | None = None
        self._upstream = 0.0
        made = engine.makers.among(call)
        self._translation = Translation(call, int(engine.attempter.wall().timestamp()), made)
        self._refused_seals = False  # the last one refuses what another sealed, and may be asked without that
        self._bare = False  # it was asked without that
        self._written: Written | None = None  # what the last connection was sent instead of the client's own bytes
        self._dropped: tuple[str, ...] = ()  # what the last connection asked could not be told
        self._unsaid: list[tuple[Skipped, str | None, str]] = []  # why, at which parameter, and the code of that
        self._searching = searching(call)
        self._absent: tuple[Fault, Refusal | None] | None = None  # the first who did not have what was asked for

    async def serve(self) -> None:
        engine, call = self.engine, self.call
        if needs_lists(self.snapshot, call.model):
            await engine.lists.ensure(self.snapshot.connections)
        try:
            targets = self._targets()
            chosen = plan(targets, engine.health, self.snapshot.settings.routing.max_attempts)
        except NoPlan as exc:
            if exc.answer.code == "operation_not_supported" and await self._estimated():
                return
            self.exchange.fault = exc.fault
            await self._refuse(exc.answer)
            return
        spent: set[str] = set()  # an alias may name several models of a connection that has failed by now
        for candidate in chosen.candidates:
            seconds = self._seconds_left()
            if seconds <= 0 or candidate.connection.provider in spent:
                continue
            try:
                written = self._translation.write(candidate)
            except (Unsaid, BadRequest) as exc:
                self._leave_out(candidate, exc)
                continue
            ticket = engine.health.admit(candidate.connection)
            if ticket is None:
                continue
            if await self._try(candidate, seconds, ticket, written) or await self._try_bare(candidate):
                return
            fault = self.exchange.attempts[-1].fault
            if fault is not None and fault.kind is not FaultKind.MODEL_MISSING:
                spent.add(candidate.connection.provider)
        await self._give_up(chosen)

    def _targets(self) -> tuple[Target, ...]:
        """Who can serve this: where it names something that is kept, those who may have it. Raises NoPlan."""
        engine, call = self.engine, self.call
        try:
            found = engine.targets(self.snapshot, call)
        except NoPlan:
            engine.owners.narrow(call, ())  # who made it is a better reason, where that is known
            raise
        return engine.owners.narrow(call, found)

    async def _estimated(self) -> bool:
        """Where nobody counts tokens: our own number, told as one. Whether that was what is asked for.

        What lies at a provider (a conversation that goes on) cannot be weighed here.
        """
        if not translatable(self.call):
            return False
        try:
            body = counted(self.call)
        except BadRequest as exc:
            answer = GatewayAnswer(400, "invalid_request", exc.message, None, should_retry=False, param=exc.param)
            self.exchange.fault = Fault(FaultKind.CLIENT_INVALID, exc.message, Phase.NOT_SENT, code=answer.code)
            await self._refuse(answer)
            return True
        if body is None:
            return False
        headers = [("content-type", "application/json"), ("x-redeo-estimated", "true")]
        self.exchange.status = 200
        await self.reply.whole(200, [*headers, *self._told(set())], body)
        return True

    def _leave_out(self, candidate: Candidate, exc: Unsaid | BadRequest) -> None:
        skipped = Skipped(candidate.connection.provider, FaultKind.CLIENT_INVALID, exc.message, None)
        code = "unsupported_parameter" if isinstance(exc, Unsaid) else "invalid_request"
        self._unsaid.append((skipped, exc.param, code))

    def _seconds_left(self) -> float:
        timeouts = self.snapshot.settings.routing.timeouts
        passed = self.engine.now() - self.exchange.started
        return min(timeouts.first_byte, timeouts.before_answer - passed)

    async def _try(
        self, candidate: Candidate, seconds: float, ticket: Ticket, written: Written | None, *, bare: bool = False
    ) -> bool:
        """One attempt; whether the request is over with it."""
        engine, exchange = self.engine, self.exchange
        self._refused_seals, self._bare = False, bare
        connection, model = candidate.connection, candidate.model
        attempt = Attempt(connection.provider, model or "", engine.now())
        exchange.attempts.append(attempt)
        self._dropped = written.dropped if written is not None else ()
        self._written = written

        def answered(status: int) -> None:
            attempt.status = status

        partial = Outcome()

        def begun(coming: Outcome) -> None:
            nonlocal partial
            partial = coming
            engine.health.answering(connection, ticket)

        hearer = Hearer(self._head, answered, begun)
        outcome: Outcome | None = None
        try:
            routing = self.snapshot.settings.routing
            outcome = await engine.attempter.run(self.call, candidate, written, routing, seconds, self.reply, hearer)
        except (ClientGone, asyncio.CancelledError):
            attempt.fault = Fault(FaultKind.CLIENT_GONE, "the client left")
            exchange.connection, exchange.model = connection.provider, model
            if partial.first_content is not None:  # what was seen of the answer counts
                exchange.usage, exchange.first_content = partial.usage, partial.first_content
                exchange.upstream_seconds = self._upstream + partial.first_content - attempt.started
            raise
        finally:
            attempt.ended = engine.now()
            if outcome is None:
                engine.health.released(connection, ticket)
                engine.observer.attempt_ended(exchange, attempt)
        self._settle(candidate, attempt, outcome, ticket)
        return await self._over(candidate, outcome)

    async def _try_bare(self, candidate: Candidate) -> bool:
        """Once more at the same connection, without what it cannot read; whether the request is over with that."""
        fault, seconds = self.exchange.attempts[-1].fault, self._seconds_left()
        if not self._refused_seals or fault is None:
            return False
        try:
            written = self._translation.write(candidate, bare=True)
        except (Unsaid, BadRequest):
            written = None
        ticket = self.engine.health.admit(candidate.connection) if written is not None and seconds > 0 else None
        if ticket is None:
            self.exchange.connection, self.exchange.model = candidate.connection.provider, candidate.model
            await self._as_the_provider_said(fault, self._refusal)
            return True
        return await self._try(candidate, seconds, ticket, written, bare=True)

    def _settle(self, candidate: Candidate, attempt: Attempt, outcome: Outcome, ticket: Ticket) -> None:
        """What the attempt says about its connection, and to those who watch."""
        engine, fault = self.engine, outcome.fault
        attempt.fault = fault
        if fault is None:
            engine.health.succeeded(candidate.connection, candidate.model, ticket)
        elif fault.falls_back and self.call.operation not in COUNTS:  # it may answer well and not count at all
            engine.health.failed(candidate.connection, candidate.model, fault, ticket)
        else:
            engine.health.released(candidate.connection, ticket)
        first = outcome.first_content
        self._upstream += (first if first is not None else attempt.ended or attempt.started) - attempt.started
        engine.observer.attempt_ended(self.exchange, attempt)

    async def _over(self, candidate: Candidate, outcome: Outcome) -> bool:
        exchange, fault = self.exchange, outcome.fault
        exchange.upstream_seconds = self._upstream
        if outcome.committed:
            exchange.connection, exchange.model = candidate.connection.provider, candidate.model
            exchange.usage, exchange.first_content = outcome.usage, outcome.first_content
            exchange.status = exchange.attempts[-1].status
            exchange.fault = fault
            self.engine.makers.learn(outcome.sealed, origin_of(candidate.connection))
            if self.call.operation in KEEPING and self.call.method == "POST":
                self.engine.owners.learn(outcome.made, candidate.connection, kept=candidate.via is None)
            return True
        if fault is None:
            raise RuntimeError("an attempt ended with neither an answer nor a fault")
        self._refusal = outcome.refusal
        if self._searching and is_absent(fault):
            self._absent = self._absent or (fault, outcome.refusal)
            return False
        if self.call.operation in COUNTS and (candidate.via is not None or fault.falls_back):
            return False  # the next one, or an estimate
        if not self._bare and is_refused(self.call, fault):
            self._refused_seals = True
            return False
        if not fault.falls_back:
            exchange.connection, exchange.model = candidate.connection.provider, candidate.model
            await self._as_the_provider_said(fault, outcome.refusal)
            return True
        if not may_repeat(self.call, fault, self._written):
            exchange.fault = fault
            await self._refuse(told.uncertain(candidate.connection.provider, fault))
            return True
        return False

    async def _as_the_provider_said(self, fault: Fault, refusal: Refusal | None) -> None:
        """The client's own mistake, or the word of the only provider asked: its answer as it stands."""
        self.exchange.fault = fault
        if refusal is None or not refusal.body:
            status = fault.status if fault.status and 400 <= fault.status < 500 else 400
            answer = GatewayAnswer(status, fault.code or fault.kind.value, fault.public, None, should_retry=False)
            await self._refuse(answer)
            return
        said = [(n, v) for n, v in refusal.headers if n != "x-should-retry" and not n.startswith("x-redeo-")]
        headers = [*said, *self._told({name for name, _ in said}), ("x-should-retry", "false")]
        self.exchange.status = refusal.status
        await self.reply.whole(refusal.status, headers, refusal.body)

    async def _give_up(self, chosen: Plan) -> None:
        attempts = self.exchange.attempts
        fault = attempts[-1].fault if attempts else None
        if self._unsaid and not attempts and not chosen.skipped and self.call.operation not in COUNTS:
            why = "; ".join(dict.fromkeys(skipped.reason for skipped, _, _ in self._unsaid))
            _, param, code = self._unsaid[0]
            answer = GatewayAnswer(400, code, why, None, should_retry=False, param=param)
            self.exchange.fault = Fault(FaultKind.CLIENT_INVALID, why, Phase.NOT_SENT, code=answer.code)
            await self._refuse(answer)
            return
        if self._absent is not None and fault is not None and is_absent(fault):
            await self._say_absent(*self._absent)
            return
        chosen = Plan(chosen.candidates, (*chosen.skipped, *(skipped for skipped, _, _ in self._unsaid)))
        if self._refusal is not None and fault is not None and self._alone(chosen, fault):
            await self._as_the_provider_said(fault, self._refusal)
            return
        if await self._estimated():
            return
        answer = exhausted(chosen, attempts)
        self.exchange.fault = fault or Fault(FaultKind.GATEWAY, answer.message, Phase.NOT_SENT, code=answer.code)
        await self._refuse(answer)

    async def _say_absent(self, fault: Fault, refusal: Refusal | None) -> None:
        """Nobody has what the request names: as the first one said it, and what that may mean."""
        if self.call.tail or "previous_response_id" not in self.call.fields:
            await self._as_the_provider_said(fault, refusal)
            return
        self.exchange.fault = fault
        status = fault.status if fault.status and 400 <= fault.status < 500 else 400
        await self._refuse(unknown_response(status, fault.public))

    def _alone(self, chosen: Plan, fault: Fault) -> bool:
        """Whether nobody else was asked than the one who does not have the model, so that its own words say all."""
        counting = self.call.operation in COUNTS and any(candidate.via for candidate in chosen.candidates)
        alone = len(self.exchange.attempts) == 1 and not chosen.skipped
        return alone and fault.kind is FaultKind.MODEL_MISSING and not counting

    def _head(self, status: int, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The client's headers for an answer that comes from the current attempt."""
        return [*headers, *told.headers(self.call, self.exchange, {name for name, _ in headers})]

    def _told(self, given: set[str]) -> list[tuple[str, str]]:
        return told.headers(self.call, self.exchange, given, self._dropped)

    async def _refuse(self, answer: GatewayAnswer) -> None:
        await told.refuse(self.call, self.reply, self.exchange, answer, self._dropped)
