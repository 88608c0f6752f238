"""One request to one connection, to its end: send, judge, relay. Never loops, never decides what is next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Final, Protocol

import msgspec

from config.model import Connection, Operation, Routing
from proxy.dialects import headers as passing
from proxy.dialects import scan, splice
from proxy.dialects.json import decode_object, encode
from proxy.engine import told
from proxy.engine.asking import other_model, request, way
from proxy.engine.call import Call, ClientGone, Unfinished
from proxy.engine.clocks import ClockExpired, Interrupt, Ticker, Watchdog
from proxy.engine.heard import Translated
from proxy.engine.outcome import MAX_ERROR_BYTES, Incoming, Outcome, Refusal, read_body
from proxy.engine.pace import Pace
from proxy.engine.relay import Errand, Relay, scrubber
from proxy.engine.renamed import under_asked_name
from proxy.engine.repeat import is_stateless
from proxy.engine.sending import Sending
from proxy.engine.translate import Written, origin_of, to_client
from proxy.fault import Fault, FaultKind, Phase
from proxy.routing import Candidate, Said, classify_error, classify_response, said_in, said_of
from proxy.upstream.client import Client, UpstreamError, UpstreamResponse
from proxy.upstream.google import Tokens
from proxy.upstream.sign import MissingCredential

_JSON: Final = ("application/json", "application/problem+json")
_VAGUE: Final = ("", "text/plain", "application/octet-stream")  # says nothing: the body has to be looked at
_ERROR_SECONDS: Final = 10.0  # for the body of an error: its status is known and can do without
_OPAQUE: Final = frozenset({Operation.AUDIO, Operation.FILES})
# Where `stream` is heeded for certain; OpenAI's older transcription models, for one, do not know it.
_DIALECTS: Final = frozenset(
    {Operation.CHAT, Operation.COMPLETIONS, Operation.MESSAGES, Operation.RESPONSES, Operation.GEMINI}
)


class Order(Errand, Protocol):
    """One attempt to be made, and who hears how it goes. `written`: what is sent instead of the client's own bytes;
    `seconds`: until its first content; `alone`: its text has to come fast enough unless this says so."""

    candidate: Candidate
    written: Written | None
    routing: Routing
    seconds: float
    alone: Callable[[], bool] | None

    def answered(self, status: int) -> None:
        """The provider has answered with this status."""

    def left(self, why: ClientGone | Unfinished | asyncio.CancelledError) -> None:
        """Nobody waits for its end any more, and so it is over."""

    def over(self, outcome: Outcome | None) -> None:
        """It has ended, with that; None: it has come to nothing."""


class Attempter(msgspec.Struct, frozen=True):
    """Makes attempts, on one loop. `now` is its monotonic clock in seconds, `wall` tells the date."""

    client: Client
    tokens: Tokens
    ticker: Ticker
    now: Callable[[], float]
    wall: Callable[[], datetime]
    interrupt: Interrupt

    async def run(self, order: Order) -> Outcome:
        """One attempt to its end."""
        started, dog = self.now(), Watchdog(self.ticker)
        sending: Sending | None = None
        response: UpstreamResponse | None = None
        outcome: Outcome | None = None
        try:
            sending = self._sending(order, dog)
            with dog:
                dog.arm(FaultKind.TIMEOUT, order.seconds)
                response, hide = await self._sent(order, sending)
            order.answered(response.status)
            left = order.seconds - (self.now() - started) if sending is None else sending.left()
            left = max(0.001, left)
            if 200 <= response.status < 300:
                relay = self._relay(order, response, dog, left)
                ended = await _carried(relay, response, hide)
                outcome = ended if relay.translated is None else _told(order.call, relay.response, ended)
            else:
                outcome = await self._refused(order, response, dog, min(left, _ERROR_SECONDS))
        except MissingCredential:
            outcome = Outcome(Fault(FaultKind.AUTH, f"{order.connection.provider} has no API key", Phase.NOT_SENT))
        except (UpstreamError, ClockExpired) as exc:
            outcome = Outcome(_unanswered(order.connection.provider, exc))
        except (ClientGone, Unfinished, asyncio.CancelledError) as exc:
            order.left(exc)
            raise
        finally:
            if sending is not None:
                sending.left()  # whatever still draws on it arms no clock of ours
            dog.close()
            if response is not None:
                response.close()
            order.over(outcome)
        return outcome

    def _sending(self, order: Order, dog: Watchdog) -> Sending | None:
        upload = order.call.upload
        if upload is None:
            return None
        return Sending(upload, other_model(order.call, order.candidate), dog, self.now, order.seconds)

    async def _sent(
        self, order: Order, sending: Sending | None, *, again: bool = True
    ) -> tuple[UpstreamResponse, bool]:
        """The head of the answer, and what `request` says. `again`: an access token that is refused though it should
        still hold is replaced by a fresh one, once: nothing was done for it."""
        connection, by = order.connection, way(order)
        token = await self.tokens.token(connection) if by.token else None
        body = sending if sending is None or not by.whole else await sending.whole()
        question, hide = request(order, by, token, body)
        response = await self.client.send(connection, question, again=partial(is_stateless, order.call))
        stale = response.status == 401 and token is not None and self.tokens.forget(connection, token)
        if not (stale and again) or (sending is not None and not sending.restart()):
            return response, hide
        response.close()
        return await self._sent(order, sending, again=False)

    def _relay(self, order: Order, response: UpstreamResponse, dog: Watchdog, left: float) -> Relay:
        """Who carries the answer to the client."""
        call, written, connection = order.call, order.written, order.connection
        headers, pace = passing.to_client(response.headers), None
        if order.alone is not None:
            pace = Pace(order.routing.min_chars_per_second, order.timeouts.first_byte, order.alone)
        if written is None or not written.translated:
            answer = under_asked_name(response, call, order.candidate.model, order.routing)
            return Relay(self, order, call, order.reply, answer, headers, left, self.now, dog, pace)
        judge = partial(_judged, connection, self.wall)
        heard = Translated(response, call, written, origin_of(connection), self.now, judge)
        headers = to_client(headers, stream=heard.streamed)
        return Relay(self, order, call, order.reply, heard, headers, left, self.now, dog, pace, heard)

    def classify(self, connection: Connection, error: Mapping[str, Any]) -> Fault:
        """What the error in an answer of this connection means."""
        return classify_error(error, connection=connection.provider, wall=self.wall())

    async def _refused(self, order: Order, response: UpstreamResponse, dog: Watchdog, seconds: float) -> Outcome:
        call, connection, written = order.call, order.connection, order.written
        try:
            with dog:
                body = await read_body(response, dog, seconds, MAX_ERROR_BYTES)
        except (UpstreamError, ClockExpired):
            body = b""  # the status alone has to do
        body = scrubber(connection)(body)
        fault = classify_response(
            response.status, response.headers, body, connection=connection.provider, wall=self.wall()
        )
        status, passed = response.status, passing.to_client(response.headers)
        if written is not None and written.translated:
            passed = to_client(passed, stream=False)
            status, body = told.refused(call, fault, said_in(body, response.headers))
        return Outcome(fault, refusal=Refusal(status, order.head(passed), body))


def _carried(relay: Relay, response: UpstreamResponse, hide: bool) -> Awaitable[Outcome]:
    """The answer to its end: how it goes depends on its type."""
    call, answer = relay.call, relay.response
    if answer.header("content-encoding").lower() not in ("", "identity"):
        return _no_answer(relay, "answered in an encoding that was not asked for")
    kind = _kind(answer.header("content-type"))
    if kind in _JSON:
        return _whole_for_stream(relay, response) if call.stream and call.operation in _DIALECTS else relay.whole()
    asked = call.stream or call.method != "POST" or call.operation not in _DIALECTS
    if kind == "text/event-stream" and not asked:
        return _no_answer(relay, "answered with a stream that was not asked for")
    if kind == "text/event-stream" or (call.stream and kind in _VAGUE):
        scanner = scan.scanner(call.operation, hide_usage=hide, choices=_choices(call, relay))
        if isinstance(answer, Translated) and answer.begun is not None:
            scanner.begun, scanner.sequence = answer.begun
        return relay.stream(scanner)
    if call.operation in _OPAQUE and kind != "text/html":
        return relay.opaque()
    if kind in _VAGUE:
        return relay.whole()
    return _no_answer(relay, f"answered with {kind or 'no content type'!s:.60}")


@lru_cache(64)
def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


async def _whole_for_stream(relay: Relay, response: UpstreamResponse) -> Outcome:
    """A stream was asked for and one JSON text came: an error under status 200, or no answer at all."""
    try:
        with relay.dog:
            body = await read_body(response, relay.dog, relay.first_byte, MAX_ERROR_BYTES)
    except (UpstreamError, ClockExpired) as exc:
        return Outcome(_unanswered(relay.who, exc))
    value = decode_object(relay.scrub(body)) or {}
    error = value.get("error")
    if error and isinstance(error, dict | str):
        return Outcome(relay.classify(error if isinstance(error, dict) else value))
    return Outcome(Fault(FaultKind.BAD_UPSTREAM, f"{relay.who} answered with one JSON text instead of a stream"))


async def _no_answer(relay: Relay, what: str) -> Outcome:
    return Outcome(Fault(FaultKind.BAD_UPSTREAM, f"{relay.who} {what}"))


def _choices(call: Call, relay: Relay) -> int:
    """How many answers to the one question are coming."""
    if relay.translated is not None or "n" not in call.fields or call.body is None or not call.is_json:
        return 1
    wanted = splice.field(call.body, "n")
    return wanted if isinstance(wanted, int) and 1 <= wanted <= 1000 else 1


def _judged(connection: Connection, wall: Callable[[], datetime], error: Mapping[str, Any]) -> tuple[Fault, Said]:
    """What an error under status 200 is, and what it says, without the connection's key."""
    clean = decode_object(scrubber(connection)(encode(error))) or {}
    return classify_error(clean, connection=connection.provider, wall=wall()), said_of(clean)


def _told(call: Call, answer: Incoming, outcome: Outcome) -> Outcome:
    """The outcome with the client's own mistake in its dialect, where the provider said it under status 200."""
    fault = outcome.fault
    mistaken = fault is not None and not outcome.committed and not fault.falls_back
    if mistaken and isinstance(answer, Translated) and answer.failure is not None:
        status, body = told.refused(call, *answer.failure)
        outcome.refusal = Refusal(status, to_client(passing.to_client(answer.headers), stream=False), body)
    return outcome


def _unanswered(who: str, exc: UpstreamError | ClockExpired) -> Fault:
    if isinstance(exc, ClockExpired):
        return Fault(exc.kind, f"{who}: no answer within {exc.seconds:g} s")
    code = "gateway_overloaded" if exc.kind is FaultKind.GATEWAY else None
    return Fault(exc.kind, f"{who}: {exc.detail}", exc.phase, code=code, detail=exc.detail)
