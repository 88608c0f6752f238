"""An answer in the client's own dialect on its way through: the bytes untouched, an observer beside them.

Nothing reaches the client before the commit point, the first content of the answer; until then a failure is
returned and another connection may be tried. After it the answer ends with its terminator or with an error in the
client's dialect, never in silence. It cannot import the translating parsers and renderers, so it cannot damage
what it carries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from config.model import Timeouts
from proxy.dialects import sealed, sse
from proxy.dialects.json import decode, encode
from proxy.dialects.scan import MalformedEvent, Scanner, judge_whole
from proxy.engine.call import Call, Reply
from proxy.engine.clocks import ClockExpired, Interrupt, Watchdog
from proxy.engine.outcome import MAX_BODY_BYTES, Follower, Incoming, Outcome, read_body
from proxy.engine.pace import Pace
from proxy.engine.pump import Pump
from proxy.fault import SHUTTING_DOWN, Fault, FaultKind
from proxy.upstream.client import UpstreamError

ClassifyError = Callable[[Mapping[str, Any]], Fault]


class Relay(msgspec.Struct):
    """Carries one answer. `who` names the connection in messages; `now` is the loop's clock."""

    call: Call
    reply: Reply
    response: Incoming
    head: Callable[[], list[tuple[str, str]]]  # the client's headers, as they are known when they go out
    timeouts: Timeouts
    first_byte: float  # what is left of that clock, in seconds
    who: str
    classify: ClassifyError
    now: Callable[[], float]
    interrupt: Interrupt
    begun: Callable[[Outcome], None]  # at the first content, with what will be known
    scrub: Callable[[bytes], bytes]  # takes the key out of what an error says
    verbatim: bool = True  # the bytes are the provider's own: an error of the client's goes on as it came
    pace: Pace | None = None  # where the text has to come fast enough, before anything is sent on
    follower: Follower | None = None  # where another connection may go on with what breaks off
    outcome: Outcome = msgspec.field(default_factory=Outcome)

    async def whole(self, seconds: float) -> Outcome:
        """A JSON answer: read to its end, looked at, then sent as it came."""
        try:
            with Watchdog() as dog:
                body = await read_body(self.response, dog, seconds, MAX_BODY_BYTES)
        except (UpstreamError, ClockExpired) as exc:
            return Outcome(self._fault_of(exc))
        self.outcome.first_content = self.now()
        fault = self._judge(body)
        if fault is not None:
            return Outcome(fault)
        self.outcome.committed = True
        if self.verbatim:
            self.outcome.sealed = sealed.digests(self.call.operation, body)
        self.begun(self.outcome)
        await self.reply.whole(self.response.status, self.head(), body)
        return self.outcome

    def _judge(self, body: bytes) -> Fault | None:
        if not body.strip():
            return self._bad("its answer is empty")
        try:
            value = decode(body)
        except ValueError:
            return self._bad("its answer is not JSON")
        usage, error, wrong = judge_whole(self.call.operation, value)
        if error is not None:
            return self.classify(decode(self.scrub(encode(error))))
        self.outcome.usage = usage
        self.outcome.made = value.get("id") if isinstance(value, dict) else None
        return self._bad(wrong) if wrong else None

    async def opaque(self) -> Outcome:
        """Bytes that no dialect describes (speech, files): committed with the first of them."""
        outcome = self.outcome
        try:
            with Watchdog() as dog:
                dog.arm(FaultKind.TIMEOUT, self.first_byte)
                while piece := await self.response.read():
                    dog.rest()
                    if not outcome.committed:
                        outcome.committed, outcome.first_content = True, self.now()
                        self.begun(outcome)
                        await self.reply.begin(self.response.status, self.head())
                    await self.reply.write(piece)
                    dog.arm(FaultKind.STALL, self.timeouts.idle)
        except (UpstreamError, ClockExpired) as exc:
            outcome.fault = self._fault_of(exc)
            if outcome.committed:
                self.reply.abort()  # there is no other way to say that these bytes are not all
            return outcome
        if not outcome.committed:
            return Outcome(self._bad("its answer is empty"))
        await self.reply.end()
        return outcome

    async def stream(self, scanner: Scanner) -> Outcome:
        """A stream of events, followed by `scanner`."""
        pump = Pump(self, scanner)
        try:
            try:
                await self._pumped(pump)
            except ClockExpired:
                if not await pump.finish(self.response.rest()):
                    raise
        except (UpstreamError, ClockExpired) as exc:
            pump.fault = pump.fault or (None if scanner.complete else self._fault_of(exc))
        except (MalformedEvent, sse.EventTooLarge) as exc:
            kind = FaultKind.TOO_LARGE if isinstance(exc, sse.EventTooLarge) else FaultKind.BAD_UPSTREAM
            pump.fault = pump.fault or (None if scanner.complete else self._bad(f"it sent {exc}", kind))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not (self.interrupt.requested and self.outcome.committed and task is not None):
                raise
            task.uncancel()
            pump.fault = pump.fault or (None if pump.whole else SHUTTING_DOWN)
        return await pump.settle()

    async def _pumped(self, pump: Pump) -> None:
        """Once through; of a stream that drips and cannot be left, what has been held goes on."""
        try:
            with Watchdog() as dog:
                await pump.run(dog)
        except ClockExpired as exc:
            if exc.kind is not FaultKind.SLOW or self.pace is None or not self.pace.alone():
                raise
            with Watchdog() as dog:
                await pump.go_on(dog)

    def _bad(self, what: str, kind: FaultKind = FaultKind.BAD_UPSTREAM) -> Fault:
        return Fault(kind, f"{self.who}: {what}")

    def _fault_of(self, exc: UpstreamError | ClockExpired) -> Fault:
        if isinstance(exc, ClockExpired):
            if exc.kind is FaultKind.SLOW and self.pace is not None:
                return self._bad(f"its text drips, less than {self.pace.floor:g} characters a second", exc.kind)
            what = "no content" if exc.kind is FaultKind.TIMEOUT else "nothing more"
            return Fault(exc.kind, f"{self.who}: {what} within {exc.seconds:g} s")
        said = "its answer ended before its end" if exc.kind is FaultKind.INTERRUPTED else exc.detail
        return Fault(exc.kind, f"{self.who}: {said}", detail=exc.detail)
