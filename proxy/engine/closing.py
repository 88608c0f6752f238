"""The end of a request that no connection has answered: what the client is told, and why."""

from __future__ import annotations

import asyncio
from typing import Final

from proxy.dialects.request import BadRequest
from proxy.engine import told
from proxy.engine.job import Job
from proxy.engine.outcome import Refusal
from proxy.engine.pinned import is_absent, translatable, unknown_response
from proxy.engine.translate import Unsaid, counted
from proxy.fault import Fault, FaultKind, Phase
from proxy.routing import Candidate, GatewayAnswer, Plan, Skipped, exhausted

_LARGE: Final = 64 * 1024  # bytes: counted aside, for megabytes take seconds
_OF_KEYS: Final = (401, 403, 407)  # to a client they say that its own key is wrong, which it is not


class Closing:
    """Keeps what was learned on the way, and says the last word. One per request.

    `refusal`: what the last connection said; `dropped`: what it could not be told.
    """

    __slots__ = ("_absent", "_job", "_unsaid", "dropped", "refusal")

    def __init__(self, job: Job) -> None:
        self._job = job
        self.refusal: Refusal | None = None
        self.dropped: tuple[str, ...] = ()
        self._unsaid: list[tuple[Skipped, str | None, str]] = []  # why, at which parameter, and the code of that
        self._absent: tuple[Fault, Refusal | None] | None = None  # the first who did not have what was asked for

    def left_out(self, candidate: Candidate, exc: Unsaid | BadRequest) -> None:
        """This connection cannot be asked this."""
        skipped = Skipped(candidate.connection.provider, FaultKind.CLIENT_INVALID, exc.message, None)
        code = "unsupported_parameter" if isinstance(exc, Unsaid) else "invalid_request"
        self._unsaid.append((skipped, exc.param, code))

    def absent(self, fault: Fault, refusal: Refusal | None) -> None:
        """This connection does not have what the request names."""
        self._absent = self._absent or (fault, refusal)

    async def estimated(self) -> bool:
        """Where nobody counts tokens: our own number, told as one. Whether that was what is asked for.

        What lies at a provider (a conversation that goes on) cannot be weighed here.
        """
        job = self._job
        if not translatable(job.call):
            return False
        try:
            large = len(job.call.body or b"") > _LARGE
            body = await asyncio.to_thread(counted, job.call) if large else counted(job.call)
        except BadRequest as exc:
            answer = GatewayAnswer(400, "invalid_request", exc.message, None, should_retry=False, param=exc.param)
            job.exchange.fault = Fault(FaultKind.CLIENT_INVALID, exc.message, Phase.NOT_SENT, code=answer.code)
            await self.refuse(answer)
            return True
        if body is None:
            return False
        headers = [("content-type", "application/json"), ("x-redeo-estimated", "true")]
        job.exchange.status = 200
        await job.reply.whole(200, [*headers, *job.headers(set(), self.dropped)], body)
        return True

    async def as_said(self, candidate: Candidate, fault: Fault, refusal: Refusal | None) -> None:
        """The client's own mistake: the answer of the provider as it stands."""
        exchange = self._job.exchange
        exchange.connection, exchange.model = candidate.connection.provider, candidate.model
        await self._as_said(fault, refusal)

    async def _as_said(self, fault: Fault, refusal: Refusal | None) -> None:
        job = self._job
        job.exchange.fault = fault
        if refusal is None or not refusal.body:
            status = fault.status if fault.status and 400 <= fault.status < 500 else 400
            answer = GatewayAnswer(status, fault.code or fault.kind.value, fault.public, None, should_retry=False)
            await self.refuse(answer)
            return
        said = [(n, v) for n, v in refusal.headers if n != "x-should-retry" and not n.startswith("x-redeo-")]
        own = job.headers({name for name, _ in said}, self.dropped)
        job.exchange.status = refusal.status
        await job.reply.whole(refusal.status, [*said, *own, ("x-should-retry", "false")], refusal.body)

    async def uncertain(self, candidate: Candidate, fault: Fault) -> None:
        """It must not be repeated, though it is not known whether it was done."""
        self._job.exchange.fault = fault
        await self.refuse(told.uncertain(candidate.connection.provider, fault))

    async def not_kept(self, fault: Fault) -> None:
        """Others could be asked, but for an upload that is gone."""
        self._job.exchange.fault = fault
        await self.refuse(told.not_kept(fault))

    async def ours(self, fault: Fault) -> None:
        """The daemon lacks what an attempt needs: no provider is to blame, and it passes."""
        self._job.exchange.fault = fault
        code = fault.code or "gateway_overloaded"
        await self.refuse(GatewayAnswer(503, code, fault.public, retry_after=1, should_retry=True))

    async def give_up(self, chosen: Plan) -> None:
        """Everybody was tried or left out."""
        job, attempts = self._job, self._job.exchange.attempts
        fault = attempts[-1].fault if attempts else None
        if self._unsaid and not attempts and not chosen.skipped and not job.counting:
            await self._unsayable()
            return
        if self._absent is not None and self._nowhere(chosen):
            await self._say_absent(*self._absent)
            return
        chosen = Plan(chosen.candidates, (*chosen.skipped, *(skipped for skipped, _, _ in self._unsaid)))
        said = self.refusal is not None and self.refusal.status not in _OF_KEYS
        if said and fault is not None and self._alone(chosen, fault):
            await self._as_said(fault, self.refusal)
            return
        if await self.estimated():
            return
        answer = exhausted(chosen, attempts)
        fault = next((a.fault for a in reversed(attempts) if a.fault is not None and a.fault.falls_back), fault)
        job.exchange.fault = fault or Fault(FaultKind.GATEWAY, answer.message, Phase.NOT_SENT, code=answer.code)
        await self.refuse(answer)

    async def _unsayable(self) -> None:
        why = "; ".join(dict.fromkeys(skipped.reason for skipped, _, _ in self._unsaid))
        _, param, code = self._unsaid[0]
        answer = GatewayAnswer(400, code, why, None, should_retry=False, param=param)
        self._job.exchange.fault = Fault(FaultKind.CLIENT_INVALID, why, Phase.NOT_SENT, code=code)
        await self.refuse(answer)

    async def _say_absent(self, fault: Fault, refusal: Refusal | None) -> None:
        """Nobody has what the request names: as the first one said it, and what that may mean."""
        call = self._job.call
        if call.tail or "previous_response_id" not in call.fields:
            await self._as_said(fault, refusal)
            return
        self._job.exchange.fault = fault
        status = fault.status if fault.status and 400 <= fault.status < 500 else 400
        await self.refuse(unknown_response(status, fault.public))

    def _nowhere(self, chosen: Plan) -> bool:
        """Whether everybody who may have what the request names was asked, and does not."""
        faults = [attempt.fault for attempt in self._job.exchange.attempts if attempt.fault is not None]
        said = [fault for fault in faults if fault.kind is not FaultKind.HEDGED]
        return not chosen.skipped and all(is_absent(fault) for fault in said)

    def _alone(self, chosen: Plan, fault: Fault) -> bool:
        """Whether nobody else was asked than the one who does not have the model, so that its own words say all."""
        counting = self._job.counting and any(candidate.via for candidate in chosen.candidates)
        alone = len(self._job.exchange.attempts) == 1 and not chosen.skipped
        return alone and fault.kind is FaultKind.MODEL_MISSING and not counting

    async def refuse(self, answer: GatewayAnswer) -> None:
        """An error of the daemon's own."""
        await told.refuse(self._job.call, self._job.reply, self._job.exchange, answer, self.dropped)
