"""One attempt that was let through: makes it, records it, and tells health and observers what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

from proxy.engine import told
from proxy.engine.budget import FREE, Place
from proxy.engine.call import ClientGone, Reply, Unfinished
from proxy.engine.job import Job
from proxy.engine.outcome import Follower, Outcome
from proxy.engine.translate import Written
from proxy.fault import SHUTTING_DOWN, Attempt, Fault, FaultKind, Start, Usage
from proxy.routing import Candidate, Ticket

_LEFT = Fault(FaultKind.CLIENT_GONE, "the client left")
_NOTHING: Final = Outcome()
_NO_FIELDS: Final[frozenset[str]] = frozenset()  # each empty one takes as much as one of a few
_OURS = Fault(FaultKind.GATEWAY, "the daemon failed")


class Trial:
    """`written`: what is sent instead of the client's own bytes; `bare`: without what only another can read;
    `place`: of the retry budget; `follower`: of what goes out, where another may go on with it. An Order of the
    attempter. The clock until its first content runs from now on.

    `alone`: its text must not drip unless this says so; `on_begun` is called before the head of its answer is made.
    """

    __slots__ = (
        "_partial", "_place", "_ticket", "alone", "attempt", "bare", "call", "candidate", "connection", "follower",
        "job", "on_begun", "reply", "routing", "seconds", "timeouts", "written",
    )  # fmt: skip

    def __init__(
        self,
        job: Job,
        candidate: Candidate,
        written: Written | None,
        ticket: Ticket,
        place: Place = FREE,
        *,
        bare: bool = False,
        start: Start = Start.PLAIN,
        follower: Follower | None = None,
    ) -> None:
        self.job = job
        self.call = job.call
        self.candidate = candidate
        self.written = written
        self.bare = bare
        self.routing = job.snapshot.settings.routing
        self.timeouts = job.timeouts(candidate)
        self.seconds = max(0.001, job.left(self.timeouts))
        self.reply: Reply = job.reply
        self.alone: Callable[[], bool] | None = None
        self.follower = follower
        self.on_begun: Callable[[], None] | None = None
        self._ticket = ticket
        self._place = place
        self._partial = _NOTHING
        self.connection = connection = candidate.connection
        self.attempt = Attempt(connection.provider, candidate.model or "", job.engine.now(), start=start)
        job.exchange.attempts.append(self.attempt)

    @property
    def dropped(self) -> tuple[str, ...]:
        """What this connection could not be told."""
        return self.written.dropped if self.written is not None else ()

    def run(self) -> Coroutine[None, None, Outcome]:
        """Make the attempt."""
        return self.job.engine.attempter.run(self)

    def begin(self) -> asyncio.Task[Outcome]:
        """The same in a task of its own, accounted also where that is cancelled before it has come to anything."""
        task = asyncio.ensure_future(self.run())
        task.add_done_callback(lambda _: self.over(None) if self.attempt.ended is None else None)
        return task

    def over(self, outcome: Outcome | None) -> None:
        """It has ended: what that says about its connection, and to those who watch. None: it has come to nothing."""
        engine, attempt = self.job.engine, self.attempt
        attempt.ended = engine.now()
        attempt.usage = self._counted(self._partial if outcome is None else outcome)
        if outcome is None:
            attempt.fault = attempt.fault or _OURS
            engine.health.released(self.connection, self._ticket)
        else:
            attempt.fault, attempt.ended_for = outcome.fault, outcome.ended_for
            self._judged(outcome.fault)
        engine.observer.attempt_ended(self.job.exchange, attempt)
        self.free()

    def _judged(self, fault: Fault | None) -> None:
        """Tell how it went; of one that does not count tokens that says little, for it may answer well."""
        connection, model, health = self.connection, self.candidate.model, self.job.engine.health
        if fault is None:
            health.succeeded(connection, model, self._ticket)
        elif fault.falls_back and not self.job.counting and not self._hurried(fault):
            health.failed(connection, model, fault, self._ticket)
        else:
            health.released(connection, self._ticket)

    def _counted(self, outcome: Outcome) -> Usage | None:
        """What this provider has counted: of a stream that was gone on with, the client is told the sum."""
        more = self.written.more if self.written is not None else None
        return outcome.usage if more is None else more.second

    def free(self) -> None:
        """Give back what was only needed until it was clear how it goes."""
        self._place.give()
        self.job.engine.budget.tell()

    def head(self, headers: list[tuple[str, str]], missing: tuple[str, ...] = ()) -> list[tuple[str, str]]:
        """The client's headers: the provider's, and what the daemon says of itself."""
        given, exchange = {name for name, _ in headers}, self.job.exchange
        return headers + told.headers(self.call, exchange, given, self.dropped + missing, self.attempt)

    def answered(self, status: int) -> None:
        """The provider has answered with this status."""
        self.attempt.status = status
        self._ticket.heard = True

    def begun(self, coming: Outcome) -> None:
        """The first content is there, with the outcome that is still to come."""
        self._partial = coming
        self.attempt.part = True
        if self.on_begun is not None:
            self.on_begun()
        self.job.engine.health.answering(self.connection, self._ticket)
        if self.follower is None:  # nobody else is sent it; a stream may stay open for long
            self.call.body, self.call.headers, self.call.fields = None, (), _NO_FIELDS
        self.free()

    def left(self, why: ClientGone | Unfinished | asyncio.CancelledError) -> None:
        """Nobody waits for its end any more; that is told unless it was because another was faster."""
        exchange, partial = self.job.exchange, self._partial
        if self.attempt.fault is not None:
            return
        if isinstance(why, Unfinished):
            self.attempt.fault = Fault(FaultKind.CLIENT_INVALID, why.message, code=why.code)
        else:
            shut = isinstance(why, asyncio.CancelledError) and self.job.engine.attempter.interrupt.requested
            self.attempt.fault = SHUTTING_DOWN if shut else _LEFT
        if partial.first_content is not None:  # what was seen of the answer counts
            self.job.heard(partial.first_content)
            exchange.usage = partial.usage
        if partial.first_content is not None or exchange.connection is None:
            exchange.connection, exchange.model = self.attempt.connection, self.candidate.model

    def _hurried(self, fault: Fault) -> bool:
        """Whether others had taken most of the time in which it was to speak: its silence says little of it."""
        silent = fault.kind is FaultKind.TIMEOUT and fault.status is None
        return silent and self.seconds * 2 < self.timeouts.first_byte
