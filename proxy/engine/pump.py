"""The events of one stream on their way from its provider to its client: held, committed, passed on, ended.

The relay that it works for says how long it waits, and what a failure is: `proxy.engine.relay`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from config.model import Operation
from proxy.dialects import envelope, sealed, sse
from proxy.dialects.envelope import Form
from proxy.dialects.json import decode, encode
from proxy.dialects.scan import Progress, Scanner
from proxy.engine.outcome import Incoming, Outcome
from proxy.fault import Fault, FaultKind
from proxy.upstream.client import UpstreamResponse

if TYPE_CHECKING:
    from proxy.engine.relay import Relay

_HELD_BYTES: Final = 256 * 1024  # before the first content, beside what echoes the request
_HELD_EVENTS: Final = 64
_ECHOES: Final = 3  # times that lifecycle events of Responses repeat instructions and tools of the request
OWN_COMMENT: Final = b": redeo-"  # what the daemon says beside a translated answer
_MAX_SEALED: Final = 1000  # of one answer: no client hands back more
_PING_LIFE: Final = 300.0  # seconds for which pings alone keep a stream alive
_TAIL_SECONDS: Final = 1.0  # for what a provider says behind its terminator
_CONTENT: Final = Progress.CONTENT  # asked for with each event, as in `scan`
_STALL: Final = FaultKind.STALL

_TERMINATORS: Final = {
    Operation.CHAT: envelope.DONE,
    Operation.COMPLETIONS: envelope.DONE,
    Operation.MESSAGES: envelope.MESSAGE_STOP,
}


class Pump:
    """See the module. `relay` is whose answer it is, `scanner` follows its dialect.

    What goes to the client is gathered and put there once for each piece that the provider sends.
    """

    __slots__ = (
        "_behind", "_done_at", "_done_sent", "_find", "_held", "_held_bytes", "_out", "_over", "_progress_at",
        "_splitter", "_stopped", "_unsaid", "fault", "relay", "scanner",
    )  # fmt: skip

    def __init__(self, relay: Relay, scanner: Scanner) -> None:
        self.relay = relay
        self.scanner = scanner
        self.fault: Fault | None = None
        self._held: list[bytes] | None = None
        self._held_bytes = 0
        self._splitter = sse.EventSplitter()
        # What another connection could not read; a translated answer carries marks instead.
        self._find = sealed.finder(relay.call.operation) if relay.translated is None else None
        self._out: list[bytes] | None = None
        self._stopped = False  # nothing more is taken for now
        self._over = False  # the terminator or an error is out: nothing more may follow
        self._behind = False  # an event was seen, and is held back
        self._unsaid = b""  # an error of the provider's that is kept back while another may go on
        self._done_sent = False
        self._done_at = 0.0
        self._progress_at = relay.now()

    @property
    def whole(self) -> bool:
        """Whether the client has the whole answer, but for its terminator."""
        return self.scanner.complete and not self._behind

    def run(self) -> Awaitable[None]:
        """Pass on what comes: to be awaited, and gone on with by what `then` says."""
        relay = self.relay
        relay.dog.arm(FaultKind.TIMEOUT, relay.first_byte)
        return self._pass_on()

    async def go_on(self) -> None:
        """The same of a stream that has not come fast enough: nobody else is left."""
        self._progress_at = self.relay.now()
        self._commit()
        self._flush()
        await self._when_drained()

    def then(self) -> Callable[[], Awaitable[None]] | None:
        """What is next when that is done; None: it was the end of the stream, its terminator or its error."""
        if self._over:
            return None
        if self._stopped:
            return self._when_drained
        last = sse.ended(self._splitter.rest())
        if last is not None:
            self._take_all([last])
        return None

    def _pass_on(self) -> Awaitable[None]:
        """Until the end of what comes, or until the client's side has no room."""
        response = self.relay.response
        self._stopped = False
        if isinstance(response, UpstreamResponse):
            return response.pour(self.feed)  # from within the socket's callback: no task is woken for a piece
        return self._read(response)

    async def _read(self, response: Incoming) -> None:
        while not self._stopped and (chunk := await response.read()):
            self.feed(chunk)

    async def _when_drained(self) -> None:
        await self._drained()
        await self._pass_on()

    async def _drained(self) -> None:
        """Return once the client's side has room; meanwhile no clock counts against the provider."""
        relay = self.relay
        relay.dog.rest()
        began = relay.now()
        await relay.reply.drain()
        self._progress_at += relay.now() - began
        self._rearm()

    def feed(self, chunk: bytes) -> bool:
        """What the provider has sent, passed on; whether nothing more is to come before `_drained`, or at all."""
        self._take_all(self._splitter.feed(chunk))
        if self._over:
            self.relay.dog.rest()
        else:
            self._rearm()
        self._stopped = self._over or self.relay.reply.full
        return self._stopped

    def finish(self, rest: bytes) -> bool:
        """Nothing more comes but this. Whether that makes the answer whole."""
        if not self._over:
            self._take_all(self._splitter.feed(rest))
        return self.scanner.complete

    def _take_all(self, events: list[bytes]) -> None:
        see = self.scanner.see
        try:
            for event in events:
                if self._done_sent and self._is_behind(event):
                    continue
                progress = see(event)
                if progress is _CONTENT and self.fault is None:
                    self._content(event, last=False)
                elif progress is Progress.TERMINAL and self.fault is None:
                    self._content(event, last=True)
                else:
                    self._other(event, progress)
                if self._over:
                    return
        finally:  # what came before a malformed one is the client's
            self._flush()

    def _flush(self) -> None:
        out = self._out
        if out is not None:
            self._out = None
            self.relay.reply.put(out[0] if len(out) == 1 else b"".join(out))

    def _say(self, data: bytes) -> None:
        """To the client, with the next `_flush`."""
        if self._out is None:
            self._out = [data]
        else:
            self._out.append(data)

    def _rearm(self) -> None:
        relay = self.relay
        dog = relay.dog
        if self._done_sent:
            dog.arm(FaultKind.STALL, max(0.0, self._done_at + _TAIL_SECONDS - relay.now()))
        elif relay.outcome.committed or self.scanner.complete:
            idle, left = relay.errand.timeouts.idle, self._progress_at + _PING_LIFE - relay.now()
            dog.arm(_STALL, idle if idle < left else max(0.0, left))
        elif relay.pace is not None and relay.pace.since is not None:
            dog.arm(FaultKind.SLOW, relay.pace.left(relay.now()))
        else:
            waited = relay.now() - self._progress_at
            dog.arm(FaultKind.TIMEOUT, max(0.0, relay.first_byte - waited))

    def _is_behind(self, event: bytes) -> bool:
        """Whether it stands behind the end, where only a further answer counts."""
        if event.startswith(OWN_COMMENT) and self.relay.translated is not None:
            self._say(event)
            return True
        return self.relay.call.form is Form.OPENAI  # nothing counts behind `[DONE]`, nor a second one

    def _other(self, event: bytes, progress: Progress) -> None:
        """What is neither content nor the end of an answer that goes well."""
        if progress is Progress.DONE:
            self._done(event)
            return
        if self._done_sent and self.scanner.complete:
            return  # behind the other terminators only a further answer counts
        self._done_sent = False
        if progress is Progress.ERROR:
            self._error(event)
        elif self.fault is not None or progress is Progress.HIDDEN:
            return
        elif self.relay.outcome.committed:
            self._put(event)
        elif progress is Progress.LIFECYCLE or len(self._held or ()) < _HELD_EVENTS:
            self._hold(event)  # signs of life beyond that have done their work

    def _content(self, event: bytes, *, last: bool) -> None:
        relay = self.relay
        if self._done_sent:
            if self.scanner.complete:
                return
            self._done_sent = False
        if self._find is not None and (found := self._find(event)):
            relay.outcome.sealed = [*relay.outcome.sealed, *found][-_MAX_SEALED:]
        if not (last or relay.outcome.committed or self._fast_enough(event)):
            self._behind = True
            self._hold(event, most=None)
            return
        self._progress_at = relay.now()
        if not relay.outcome.committed:
            self._commit()
        self._behind = False
        if last:
            self._done_sent, self._done_at = True, self._progress_at
        self._put(event)

    def _put(self, event: bytes) -> None:
        follower = self.relay.errand.follower
        if follower is not None:
            follower.see(event)
        self._say(event)

    def _fast_enough(self, event: bytes) -> bool:
        relay = self.relay
        if relay.pace is None or self.scanner.complete:
            return True
        return relay.pace.enough(event, relay.now())

    def _done(self, event: bytes) -> None:
        """`[DONE]` where it is no terminator: passed on behind that; without it the answer is not whole."""
        self._over = True
        if self._done_sent:
            self._say(event)

    def _hold(self, event: bytes, most: int | None = _HELD_EVENTS) -> None:
        held = self._held = self._held or []
        held.append(event)
        self._held_bytes += len(event)
        limit = _HELD_BYTES + _ECHOES * len(self.relay.call.body or b"")
        if self._held_bytes > limit or (most is not None and len(held) > most):
            self._commit()

    def _commit(self) -> None:
        relay = self.relay
        relay.outcome.committed = True
        relay.outcome.first_content = relay.now()
        relay.errand.begun(relay.outcome)
        relay.reply.begin(relay.response.status, relay.head())
        relay.response.forget_head()
        for event in self._held or ():
            self._put(event)
        self._held = None

    def _error(self, event: bytes) -> None:
        """An error the provider said: before the commit point it is ours to act on, after it the client's."""
        said = decode(self.relay.scrub(encode(self.scanner.error or {})))
        self.fault = self.fault or self.relay.classify(said)
        if not self.relay.outcome.committed and (self.fault.falls_back or self.relay.translated is not None):
            self._over = True
            return
        if not self.relay.outcome.committed:
            self._commit()
        elif self._left_open():
            self._over, self._unsaid = True, self.relay.scrub(event)
            return
        if self.relay.call.operation is not Operation.RESPONSES or b"response.failed" in event:
            self._over = True  # a Responses stream says `error` first and `response.failed` behind it
        self._say(self.relay.scrub(event))

    async def settle(self) -> Outcome:
        """The end of the stream as the client sees it, and what it means."""
        outcome = self.relay.outcome
        outcome.usage = self.scanner.usage
        outcome.made = self.scanner.begun.get("id") if self.scanner.begun else None
        if self.fault is None and not self.scanner.complete:
            self.fault = Fault(FaultKind.INTERRUPTED, f"{self.relay.who}: its stream ended before its end")
        outcome.fault = self.fault
        if not outcome.committed:
            if self.fault is not None:
                return outcome
            self._commit()  # a whole answer without any content
        if self._left_open():
            outcome.close = self._close
        else:
            await self._close()
        return outcome

    def _left_open(self) -> bool:
        """Whether another connection may go on."""
        follower = self.relay.errand.follower
        if follower is None or self.fault is None or not self.fault.falls_back:
            return False
        return follower.text is not None

    async def _close(self, fault: Fault | None = None) -> None:
        if fault is not None:  # not what broke it, but what keeps others from going on with it
            self.fault, self.scanner.error, self._unsaid = fault, None, b""
        closing = self._closing()
        if closing:
            self._say(closing)
        self._flush()
        await self.relay.reply.end()

    def _closing(self) -> bytes:
        """What the provider left unsaid: the terminator of a whole answer, or the error of a broken one."""
        operation = self.relay.call.operation
        if self.fault is None:
            missing = b"" if self._done_sent else _TERMINATORS.get(operation, b"")
            self.relay.outcome.ended_for = bool(missing)
            return missing
        if self.scanner.error is None:
            return self._error_frame(self.fault)
        over = b"response.failed" in self._unsaid if self._unsaid else self._over
        if operation is not Operation.RESPONSES or over or not self.scanner.begun:
            return self._unsaid
        code = self.fault.code or "upstream_stream_interrupted"
        begun = dict(self.scanner.begun)
        return self._unsaid + envelope.failed_frame(begun, self.fault.public, code, self.scanner.sequence)

    def _error_frame(self, fault: Fault) -> bytes:
        status, code = {
            FaultKind.STALL: (504, "upstream_stalled"),
            FaultKind.TOO_LARGE: (502, "event_too_large"),
            FaultKind.GATEWAY: (503, "gateway_shutting_down"),
        }.get(fault.kind, (502, "upstream_stream_interrupted"))
        begun = dict(self.scanner.begun) if self.scanner.begun else None
        call = self.relay.call
        return envelope.error_frame(call.form, status, fault.public, code, call.id, begun, self.scanner.sequence)
