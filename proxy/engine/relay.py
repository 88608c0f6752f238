"""An answer in the client's own dialect on its way through: the bytes untouched, an observer beside them.

Nothing reaches the client before the commit point, the first content of the answer; until then a failure is
returned and another connection may be tried. After it the answer ends with its terminator or with an error in the
client's dialect, never in silence. It cannot import the translating parsers and renderers, so it cannot damage
what it carries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from config.model import Operation, Timeouts
from proxy.dialects import envelope, sealed, sse
from proxy.dialects.envelope import Form
from proxy.dialects.json import decode, encode
from proxy.dialects.scan import MalformedEvent, Progress, Scanner, judge_whole
from proxy.engine.call import Call, Reply
from proxy.engine.clocks import ClockExpired, Interrupt, Watchdog
from proxy.engine.pace import Pace
from proxy.fault import Fault, FaultKind, Phase, Usage
from proxy.upstream.client import UpstreamError

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
MAX_ERROR_BYTES: Final = 1024 * 1024
_HELD_BYTES: Final = 256 * 1024  # before the first content, beside what echoes the request
_HELD_EVENTS: Final = 64
_ECHOES: Final = 3  # times that lifecycle events of Responses repeat instructions and tools of the request
_MAX_SEALED: Final = 1000  # of one answer: no client hands back more
_PING_LIFE: Final = 300.0  # seconds for which pings alone keep a stream alive
_TAIL_SECONDS: Final = 1.0  # for what a provider says behind its terminator

_TERMINATORS: Final = {
    Operation.CHAT: envelope.DONE,
    Operation.COMPLETIONS: envelope.DONE,
    Operation.MESSAGES: envelope.MESSAGE_STOP,
}

ClassifyError = Callable[[Mapping[str, Any]], Fault]


class Outcome(msgspec.Struct):
    """How an attempt ended: `fault` is None when the client has the whole answer. `committed`: its head is out."""

    fault: Fault | None = None
    committed: bool = False
    usage: Usage | None = None
    first_content: float | None = None
    refusal: Refusal | None = None
    made: object = None  # the id of what the provider keeps, as far as the answer has one
    sealed: list[bytes] = msgspec.field(default_factory=list)  # digests of what only the provider can read


class Refusal(msgspec.Struct, frozen=True):
    """An error answer as the provider gave it, its headers filtered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Incoming(Protocol):
    """A provider's answer as it comes in."""

    @property
    def status(self) -> int:
        """Its status."""

    def header(self, name: str) -> str:
        """The value of a header, or an empty text."""

    async def read(self) -> bytes:
        """More of the body; empty at its end. Raises UpstreamError."""


async def read_body(response: Incoming, dog: Watchdog, seconds: float, limit: int) -> bytes:
    """The whole body within `seconds`. Raises UpstreamError (`too_large` beyond `limit`) and ClockExpired."""
    dog.arm(FaultKind.TIMEOUT, seconds)
    pieces: list[bytes] = []
    size = 0
    while piece := await response.read():
        size += len(piece)
        if size > limit:
            raise UpstreamError(FaultKind.TOO_LARGE, Phase.SENT, f"its answer is larger than {limit} bytes")
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


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
    _outcome: Outcome = msgspec.field(default_factory=Outcome)

    async def whole(self, seconds: float) -> Outcome:
        """A JSON answer: read to its end, looked at, then sent as it came."""
        try:
            with Watchdog() as dog:
                body = await read_body(self.response, dog, seconds, MAX_BODY_BYTES)
        except (UpstreamError, ClockExpired) as exc:
            return Outcome(self._fault_of(exc))
        self._outcome.first_content = self.now()
        fault = self._judge(body)
        if fault is not None:
            return Outcome(fault)
        self._outcome.committed = True
        if self.verbatim:
            self._outcome.sealed = sealed.digests(self.call.operation, body)
        self.begun(self._outcome)
        await self.reply.whole(self.response.status, self.head(), body)
        return self._outcome

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
        self._outcome.usage = usage
        self._outcome.made = value.get("id") if isinstance(value, dict) else None
        return self._bad(wrong) if wrong else None

    async def opaque(self) -> Outcome:
        """Bytes that no dialect describes (speech, files): committed with the first of them."""
        outcome = self._outcome
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
        pump = _Pump(self, scanner)
        try:
            with Watchdog() as dog:
                await pump.run(dog)
        except (UpstreamError, ClockExpired) as exc:
            pump.fault = pump.fault or (None if scanner.complete else self._fault_of(exc))
        except (MalformedEvent, sse.EventTooLarge) as exc:
            kind = FaultKind.TOO_LARGE if isinstance(exc, sse.EventTooLarge) else FaultKind.BAD_UPSTREAM
            pump.fault = pump.fault or (None if scanner.complete else self._bad(f"it sent {exc}", kind))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not (self.interrupt.requested and self._outcome.committed and task is not None):
                raise
            task.uncancel()
            pump.fault = Fault(FaultKind.GATEWAY, "the daemon is shutting down", code="gateway_shutting_down")
        return await pump.settle()

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


class _Pump:
    """Events from one relay's provider to its client."""

    def __init__(self, relay: Relay, scanner: Scanner) -> None:
        self.relay = relay
        self.scanner = scanner
        self.fault: Fault | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._limit = _HELD_BYTES + _ECHOES * len(relay.call.body or b"")
        self._splitter = sse.EventSplitter()
        # What another connection could not read; a translated answer carries marks instead.
        self._find = sealed.finder(relay.call.operation) if relay.verbatim else None
        self._over = False  # the terminator or an error is out: nothing more may follow
        self._done_sent = False
        self._done_at = 0.0
        self._progress_at = relay.now()

    async def run(self, dog: Watchdog) -> None:
        """Until the end of the stream, its terminator or its error."""
        relay = self.relay
        dog.arm(FaultKind.TIMEOUT, relay.first_byte)
        while chunk := await relay.response.read():
            dog.rest()
            for event in self._splitter.feed(chunk):
                await self._take(event)
                if self._over:
                    return
            self._rearm(dog)
        last = sse.ended(self._splitter.rest())
        if last is not None:
            await self._take(last)

    def _rearm(self, dog: Watchdog) -> None:
        relay = self.relay
        if self._done_sent:
            dog.arm(FaultKind.STALL, max(0.0, self._done_at + _TAIL_SECONDS - relay.now()))
        elif relay._outcome.committed or self.scanner.complete:
            left = self._progress_at + _PING_LIFE - relay.now()
            dog.arm(FaultKind.STALL, max(0.0, min(relay.timeouts.idle, left)))
        elif relay.pace is not None and relay.pace.since is not None:
            dog.arm(FaultKind.SLOW, relay.pace.left(relay.now()))
        else:
            waited = relay.now() - self._progress_at
            dog.arm(FaultKind.TIMEOUT, max(0.0, relay.first_byte - waited))

    async def _take(self, event: bytes) -> None:
        if self._done_sent and self.relay.call.form is Form.OPENAI:
            return  # nothing counts behind `[DONE]`, and a second one is not passed on
        progress = self.scanner.see(event)
        self.relay._outcome.usage = self.scanner.usage  # the client may leave before the end
        if progress is Progress.DONE:
            await self._done(event)
            return
        if self._done_sent and self.scanner.complete:
            return  # behind the other terminators only a further answer counts
        self._done_sent = False
        if progress is Progress.ERROR:
            await self._error(event)
        elif self.fault is not None or progress is Progress.HIDDEN:
            return
        elif progress in (Progress.LIFECYCLE, Progress.PING):
            if self.relay._outcome.committed:
                await self.relay.reply.write(event)
            elif progress is Progress.LIFECYCLE or len(self._held) < _HELD_EVENTS:
                await self._hold(event)  # signs of life beyond that have done their work
        else:
            await self._content(event, last=progress is Progress.TERMINAL)

    async def _content(self, event: bytes, *, last: bool) -> None:
        relay = self.relay
        if self._find is not None and (found := self._find(event)):
            relay._outcome.sealed = [*relay._outcome.sealed, *found][-_MAX_SEALED:]
        if not (last or self._fast_enough(event)):
            await self._hold(event, most=self._limit)
            return
        self._progress_at = relay.now()
        if not relay._outcome.committed:
            await self._commit()
        await relay.reply.write(event)
        if last:
            self._done_sent, self._done_at = True, self._progress_at

    def _fast_enough(self, event: bytes) -> bool:
        relay = self.relay
        if relay.pace is None or relay._outcome.committed or self.scanner.complete:
            return True
        return relay.pace.enough(event, relay.now())

    async def _done(self, event: bytes) -> None:
        """`[DONE]` where it is no terminator: passed on behind that; without it the answer is not whole."""
        self._over = True
        if self._done_sent:
            await self.relay.reply.write(event)

    async def _hold(self, event: bytes, most: int = _HELD_EVENTS) -> None:
        self._held.append(event)
        self._held_bytes += len(event)
        if self._held_bytes > self._limit or len(self._held) > most:
            await self._commit()

    async def _commit(self) -> None:
        relay = self.relay
        relay._outcome.committed = True
        relay._outcome.first_content = relay.now()
        relay.begun(relay._outcome)
        await relay.reply.begin(relay.response.status, relay.head())
        if self._held:
            await relay.reply.write(b"".join(self._held))
            self._held.clear()

    async def _error(self, event: bytes) -> None:
        """An error the provider said: before the commit point it is ours to act on, after it the client's."""
        said = decode(self.relay.scrub(encode(self.scanner.error or {})))
        self.fault = self.fault or self.relay.classify(said)
        if not self.relay._outcome.committed and (self.fault.falls_back or not self.relay.verbatim):
            self._over = True
            return
        if not self.relay._outcome.committed:
            await self._commit()
        await self.relay.reply.write(self.relay.scrub(event))
        if self.relay.call.operation is not Operation.RESPONSES or b"response.failed" in event:
            self._over = True  # a Responses stream says `error` first and `response.failed` behind it

    async def settle(self) -> Outcome:
        """The end of the stream as the client sees it, and what it means."""
        outcome = self.relay._outcome
        outcome.usage = self.scanner.usage
        outcome.made = self.scanner.begun.get("id") if self.scanner.begun else None
        if self.fault is None and not self.scanner.complete:
            self.fault = Fault(FaultKind.INTERRUPTED, f"{self.relay.who}: its stream ended before its end")
        outcome.fault = self.fault
        if not outcome.committed:
            if self.fault is not None:
                return outcome
            await self._commit()  # a whole answer without any content
        closing = self._closing()
        if closing:
            await self.relay.reply.write(closing)
        await self.relay.reply.end()
        return outcome

    def _closing(self) -> bytes:
        """What the provider left unsaid: the terminator of a whole answer, or the error of a broken one."""
        operation = self.relay.call.operation
        if self.fault is None:
            return b"" if self._done_sent else _TERMINATORS.get(operation, b"")
        if self.scanner.error is None:
            return self._error_frame(self.fault)
        if operation is not Operation.RESPONSES or self._over or not self.scanner.begun:
            return b""
        code = self.fault.code or "upstream_stream_interrupted"
        return envelope.failed_frame(dict(self.scanner.begun), self.fault.public, code, self.scanner.sequence)

    def _error_frame(self, fault: Fault) -> bytes:
        status, code = {
            FaultKind.STALL: (504, "upstream_stalled"),
            FaultKind.TOO_LARGE: (502, "event_too_large"),
            FaultKind.GATEWAY: (503, "gateway_shutting_down"),
        }.get(fault.kind, (502, "upstream_stream_interrupted"))
        begun = dict(self.scanner.begun) if self.scanner.begun else None
        call = self.relay.call
        return envelope.error_frame(call.form, status, fault.public, code, call.id, begun, self.scanner.sequence)
