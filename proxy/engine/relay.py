"""An answer in the client's own dialect on its way through: the bytes untouched, an observer beside them.

Nothing reaches the client before the commit point, the first content of the answer; until then a failure is
returned and another connection may be tried. After it the answer ends with its terminator or with an error in the
client's dialect, never in silence. It cannot import the translating parsers and renderers, so it cannot damage
what it carries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

from config.model import Connection, Timeouts
from proxy.dialects import sealed, sse
from proxy.dialects.json import decode, encode
from proxy.dialects.scan import MalformedEvent, Scanner
from proxy.dialects.whole import judge_whole
from proxy.engine.call import Call, Reply
from proxy.engine.clocks import ClockExpired, Interrupt, Watchdog
from proxy.engine.outcome import MAX_BODY_BYTES, Follower, Incoming, Outcome, read_body
from proxy.engine.pace import Pace
from proxy.engine.pump import Pump
from proxy.fault import SHUTTING_DOWN, Fault, FaultKind
from proxy.upstream.client import UpstreamError


def scrubber(connection: Connection) -> Callable[[bytes], bytes]:
    """What takes the connection's own key out of what its provider says in an error."""
    return bytes if connection.secret is None else connection.secret.scrub


class Errand(Protocol):
    """What is carried for whom, and who hears how it goes. `follower`: of what goes out, where another connection may
    go on with what breaks off."""

    call: Call
    connection: Connection
    timeouts: Timeouts
    reply: Reply
    follower: Follower | None

    def head(self, headers: list[tuple[str, str]], missing: tuple[str, ...] = ()) -> list[tuple[str, str]]:
        """The client's headers, made out of the provider's. `missing`: what the answer had to leave out."""

    def begun(self, coming: Outcome) -> None:
        """The first content is there, with the outcome that is still to come."""


class Means(Protocol):
    """What all relays share."""

    @property
    def interrupt(self) -> Interrupt:
        """The end of the time to drain."""

    def classify(self, connection: Connection, error: Mapping[str, Any]) -> Fault:
        """What an error in an answer of this connection means."""


class Retold(Protocol):
    """An answer that came in another dialect."""

    @property
    def missing(self) -> tuple[str, ...]:
        """What it had to leave out, as far as it has been read."""

    def judge(self, error: Mapping[str, Any]) -> Fault:
        """What an error in it means."""


class Relay(msgspec.Struct):
    """Carries one answer. `now` is the loop's clock."""

    means: Means
    errand: Errand
    call: Call
    reply: Reply
    response: Incoming
    headers: list[tuple[str, str]] | None  # of the provider's, those that the client may see, until they are sent
    first_byte: float  # what is left of that clock, in seconds
    now: Callable[[], float]
    dog: Watchdog
    pace: Pace | None = None  # where the text has to come fast enough, before anything is sent on
    translated: Retold | None = None  # else the bytes are the provider's own: an error of the client's goes as it came
    outcome: Outcome = msgspec.field(default_factory=Outcome)

    @property
    def who(self) -> str:
        """The connection, for messages."""
        return self.errand.connection.provider

    def head(self) -> list[tuple[str, str]]:
        """The client's headers, as they are known when they go out: now. What they were made of is let go."""
        headers, self.headers = self.headers, None
        return self.errand.head(headers or [], self.translated.missing if self.translated is not None else ())

    def classify(self, error: Mapping[str, Any]) -> Fault:
        """What an error in the answer means."""
        if self.translated is not None:
            return self.translated.judge(error)
        return self.means.classify(self.errand.connection, error)

    def scrub(self, data: bytes) -> bytes:
        """What an error says, without the connection's key."""
        return scrubber(self.errand.connection)(data)

    async def whole(self) -> Outcome:
        """A JSON answer: read to its end, looked at, then sent as it came."""
        outcome = self.outcome
        try:
            with self.dog:
                body = await read_body(self.response, self.dog, self.errand.timeouts.total, MAX_BODY_BYTES)
        except (UpstreamError, ClockExpired) as exc:
            return Outcome(self._fault_of(exc))
        outcome.first_content = self.now()
        found = judge_whole(self.call.operation, body)
        if found.error is not None:
            return Outcome(self.classify(decode(self.scrub(encode(found.error)))))
        if found.wrong:
            return Outcome(self._bad(found.wrong))
        outcome.usage, outcome.made, outcome.committed = found.usage, found.made, True
        if self.translated is None:
            outcome.sealed = sealed.digests(self.call.operation, body)
        self.errand.begun(outcome)
        await self.reply.whole(self.response.status, self.head(), body)
        return outcome

    async def opaque(self) -> Outcome:
        """Bytes that no dialect describes (speech, files): committed with the first of them."""
        outcome, reply, dog = self.outcome, self.reply, self.dog
        try:
            with dog:
                dog.arm(FaultKind.TIMEOUT, self.first_byte)
                while piece := await self.response.read():
                    dog.rest()
                    if not outcome.committed:
                        outcome.committed, outcome.first_content = True, self.now()
                        self.errand.begun(outcome)
                        reply.begin(self.response.status, self.head())
                    reply.put(piece)
                    if reply.full:
                        await reply.drain()
                    dog.arm(FaultKind.STALL, self.errand.timeouts.idle)
        except (UpstreamError, ClockExpired) as exc:
            outcome.fault = self._fault_of(exc)
            if outcome.committed:
                reply.abort()  # there is no other way to say that these bytes are not all
            return outcome
        if not outcome.committed:
            return Outcome(self._bad("its answer is empty"))
        await reply.end()
        return outcome

    async def stream(self, scanner: Scanner) -> Outcome:
        """A stream of events, followed by `scanner`."""
        pump = Pump(self, scanner)
        going: Callable[[], Awaitable[None]] | None = pump.run
        while going is not None:
            try:
                with self.dog:
                    await going()
                    going = pump.then()
            except (UpstreamError, ClockExpired, MalformedEvent, sse.EventTooLarge, asyncio.CancelledError) as exc:
                going = self._broken(pump, exc)
            finally:
                self.outcome.usage = scanner.usage  # the client may have left
        return await pump.settle()

    def _broken(self, pump: Pump, exc: BaseException) -> Callable[[], Awaitable[None]] | None:
        """What it means that the stream went no further, and how it goes on if it does. Raises CancelledError where
        nobody waits for it."""
        if isinstance(exc, ClockExpired):
            if exc.kind is FaultKind.SLOW and self.pace is not None and self.pace.alone():
                return pump.go_on  # it drips and cannot be left
            try:
                if pump.finish(self.response.rest()):
                    return None
            except (MalformedEvent, sse.EventTooLarge) as other:
                exc = other
        if isinstance(exc, asyncio.CancelledError):
            self._interrupted(exc)
            whole = pump.whole
        else:
            whole = pump.scanner.complete
        pump.fault = pump.fault or (None if whole else self._meant(exc))
        return None

    def _interrupted(self, exc: asyncio.CancelledError) -> None:
        """The end of the time to drain, of a stream whose client is told so. Raises what it is given for all else."""
        task = asyncio.current_task()
        if not (self.means.interrupt.requested and self.outcome.committed and task is not None):
            raise exc
        task.uncancel()

    def _meant(self, exc: BaseException) -> Fault:
        match exc:
            case asyncio.CancelledError():
                return SHUTTING_DOWN
            case UpstreamError() | ClockExpired():
                return self._fault_of(exc)
            case sse.EventTooLarge():
                return self._bad(f"it sent {exc}", FaultKind.TOO_LARGE)
            case _:
                return self._bad(f"it sent {exc}")

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
