"""One request to one connection, to its end: build, send, judge, relay. Never loops, never decides what is next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from config.model import AuthScheme, Connection, Operation, Route, Routing, StreamUsage, Timeouts
from proxy.dialects import headers as passing
from proxy.dialects import multipart, scan, splice
from proxy.dialects.json import decode_object, encode
from proxy.engine import told
from proxy.engine.call import Call, Reply
from proxy.engine.clocks import ClockExpired, Interrupt, Ticker, Watchdog
from proxy.engine.heard import Translated
from proxy.engine.outcome import MAX_ERROR_BYTES, Follower, Incoming, Outcome, Refusal, read_body
from proxy.engine.pace import Pace
from proxy.engine.relay import ClassifyError, Relay
from proxy.engine.renamed import under_asked_name
from proxy.engine.repeat import is_stateless
from proxy.engine.sending import Sending
from proxy.engine.translate import Written, origin_of, to_client, to_upstream
from proxy.fault import Fault, FaultKind, Phase
from proxy.routing import Candidate, Said, classify_error, classify_response, said_in, said_of
from proxy.upstream.client import Client, Pieces, UpstreamError, UpstreamRequest, UpstreamResponse
from proxy.upstream.google import Tokens
from proxy.upstream.sign import MissingCredential, needs_token, sign

USER_AGENT: Final = "redeo-proxy"
_JSON: Final = ("application/json", "application/problem+json")
_VAGUE: Final = ("", "text/plain", "application/octet-stream")  # says nothing: the body has to be looked at
_LARGE: Final = 64 * 1024  # bytes: a body that is smaller is copied faster than it is sent in pieces
_ERROR_SECONDS: Final = 10.0  # for the body of an error: its status is known and can do without
_OPAQUE: Final = frozenset({Operation.AUDIO, Operation.FILES})
# Where `stream` is heeded for certain; OpenAI's older transcription models, for one, do not know it.
_DIALECTS: Final = frozenset(
    {Operation.CHAT, Operation.COMPLETIONS, Operation.MESSAGES, Operation.RESPONSES, Operation.GEMINI}
)


class Order(Protocol):
    """One attempt to be made, and who hears how it goes. `written`: what is sent instead of the client's own bytes;
    `seconds`: until its first content; `alone`: its text has to come fast enough unless this says so; `follower`: where
    another may go on with what breaks off."""

    call: Call
    candidate: Candidate
    written: Written | None
    routing: Routing
    timeouts: Timeouts
    seconds: float
    reply: Reply
    alone: Callable[[], bool] | None
    follower: Follower | None

    def head(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The client's headers, made out of the provider's."""

    def answered(self, status: int) -> None:
        """The provider has answered with this status."""

    def begun(self, coming: Outcome) -> None:
        """The first content is there, with the outcome that is still to come."""


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
        sending = _sending(order, dog, self.now)
        response: UpstreamResponse | None = None
        try:
            with dog:
                dog.arm(FaultKind.TIMEOUT, order.seconds)
                response, hide = await self._sent(order, sending)
            order.answered(response.status)
            left = order.seconds - (self.now() - started) if sending is None else sending.left()
            left = max(0.001, left)
            if not 200 <= response.status < 300:
                return await self._refused(order, response, dog, min(left, _ERROR_SECONDS))
            relay = self._relay(order, response, dog, left)
            outcome = await self._way(relay, response, hide)
        except MissingCredential:
            who = order.candidate.connection.provider
            return Outcome(Fault(FaultKind.AUTH, f"{who} has no API key", Phase.NOT_SENT))
        except (UpstreamError, ClockExpired) as exc:
            return Outcome(_unanswered(order.candidate.connection.provider, exc))
        finally:
            if sending is not None:
                sending.left()  # whatever still draws on it arms no clock of ours
            dog.close()
            if response is not None:
                response.close()
        return outcome if relay.verbatim else _told(order.call, relay.response, outcome)

    async def _sent(
        self, order: Order, sending: Sending | None, *, again: bool = True
    ) -> tuple[UpstreamResponse, bool]:
        """The head of the answer, and what `_request` says. `again`: an access token that is refused though it should
        still hold is replaced by a fresh one, once: nothing was done for it."""
        call, connection, written = order.call, order.candidate.connection, order.written
        operation = written.via if written is not None and written.translated else call.operation
        token = await self.tokens.token(connection) if needs_token(connection, operation) else None
        body: Sending | bytes | None = sending
        if sending is not None and connection.auth(operation).scheme is AuthScheme.AWS:
            body = await sending.whole()
        request, hide = self._request(order, token, body)
        response = await self.client.send(connection, request, again=partial(is_stateless, call))
        stale = response.status == 401 and token is not None and self.tokens.forget(connection, token)
        if not (stale and again) or (sending is not None and not sending.restart()):
            return response, hide
        response.close()
        return await self._sent(order, sending, again=False)

    def _relay(self, order: Order, response: UpstreamResponse, dog: Watchdog, left: float) -> Relay:
        """Who carries the answer to the client."""
        call, connection, written = order.call, order.candidate.connection, order.written
        headers = passing.to_client(response.headers)
        answer: Incoming
        if written is None or not written.translated:
            answer = under_asked_name(response, call, order.candidate.model, order.routing)
            classify: ClassifyError = partial(_classify, connection, self.wall)
            dropped = () if written is None else written.dropped
            head = partial(_head, order, headers, dropped)
        else:
            judge = partial(_judged, connection, self.wall)
            answer = translated = Translated(response, call, written, origin_of(connection), self.now, judge)
            classify = translated.judge
            head = partial(_head_of_translated, order, to_client(headers, stream=translated.streamed), translated)
        slowest = order.routing.min_chars_per_second
        return Relay(
            call=call,
            reply=order.reply,
            response=answer,
            head=head,
            timeouts=order.timeouts,
            first_byte=left,
            who=connection.provider,
            classify=classify,
            now=self.now,
            interrupt=self.interrupt,
            dog=dog,
            begun=order.begun,
            scrub=_scrubber(connection),
            verbatim=written is None or not written.translated,
            pace=None if order.alone is None else Pace(slowest, order.timeouts.first_byte, order.alone),
            follower=order.follower,
        )

    def _request(self, order: Order, token: str | None, upload: Sending | bytes | None) -> tuple[UpstreamRequest, bool]:
        """The request as it goes upstream, and whether the usage chunk was asked for by us alone. `upload`: sent where
        the call has no body."""
        call, candidate, written = order.call, order.candidate, order.written
        connection = candidate.connection
        operation, passed = call.operation, list(call.headers)
        if written is not None and written.translated:
            passed = passed if written.via is operation else to_upstream(call.headers)
            operation = written.via
            body: bytes | Pieces | Sending | None = written.body
            hide = call.stream and call.operation is Operation.CHAT and call.include_usage is not True
            url = connection.url(operation, model=candidate.model or call.model, stream=call.stream)
        else:
            body, hide = _body(call, candidate, order.routing) if written is None else (written.body, False)
            body = upload if upload is not None else body
            url = connection.url(
                operation,
                call.tail,
                model=candidate.model or call.model,
                stream=call.stream,
                continues=written is not None and written.more is not None,
            )
            url += ("&" if "?" in url else "?") + call.query if call.query else ""
        given = {name for name, _ in passed}
        passed += [(name, value) for name, value in connection.spec.headers.items() if name.lower() not in given]
        if "user-agent" not in given:
            passed.append(("user-agent", USER_AGENT))
        passed.append(("accept-encoding", "identity"))
        known = None if isinstance(body, Sending) else body
        url, credential = sign(connection, operation, url, method=call.method, headers=passed, body=known, token=token)
        return UpstreamRequest(call.method, url, [*passed, *credential], body, order.timeouts.connect), hide

    async def _refused(self, order: Order, response: UpstreamResponse, dog: Watchdog, seconds: float) -> Outcome:
        call, connection, written = order.call, order.candidate.connection, order.written
        try:
            with dog:
                body = await read_body(response, dog, seconds, MAX_ERROR_BYTES)
        except (UpstreamError, ClockExpired):
            body = b""  # the status alone has to do
        body = _scrubber(connection)(body)
        fault = classify_response(
            response.status, response.headers, body, connection=connection.provider, wall=self.wall()
        )
        status, passed = response.status, passing.to_client(response.headers)
        if written is not None and written.translated:
            passed = to_client(passed, stream=False)
            status, body = told.refused(call, fault, said_in(body, response.headers))
        return Outcome(fault, refusal=Refusal(status, order.head(passed), body))

    def _way(self, relay: Relay, response: UpstreamResponse, hide: bool) -> Awaitable[Outcome]:
        """How the answer goes, by its type."""
        call, answer = relay.call, relay.response
        kind = answer.header("content-type").partition(";")[0].strip().lower()
        if answer.header("content-encoding").lower() not in ("", "identity"):
            return _no_answer(relay, "answered in an encoding that was not asked for")
        asked = call.stream or call.method != "POST" or call.operation not in _DIALECTS
        if kind == "text/event-stream" and not asked:
            return _no_answer(relay, "answered with a stream that was not asked for")
        if kind == "text/event-stream" or (call.stream and kind in _VAGUE):
            scanner = scan.scanner(call.operation, hide_usage=hide, choices=_choices(call, relay))
            if isinstance(answer, Translated) and answer.begun is not None:
                scanner.begun, scanner.sequence = answer.begun
            return relay.stream(scanner)
        if kind in _JSON and call.stream and call.operation in _DIALECTS:
            return _whole_for_stream(relay, response)
        if call.operation in _OPAQUE and kind not in (*_JSON, "text/html"):
            return relay.opaque()
        if kind in _JSON or kind in _VAGUE:
            return relay.whole(relay.timeouts.total)
        return _no_answer(relay, f"answered with {kind or 'no content type'!s:.60}")


def _head(order: Order, headers: list[tuple[str, str]], dropped: tuple[str, ...]) -> list[tuple[str, str]]:
    told_of = told.named(dropped)
    return [*order.head(headers), *told_of] if told_of else order.head(headers)


def _head_of_translated(order: Order, headers: list[tuple[str, str]], answer: Translated) -> list[tuple[str, str]]:
    """With what question and answer had to leave out, as far as that is known when the head goes out."""
    written = order.written
    return _head(order, headers, (*(written.dropped if written is not None else ()), *answer.missing))


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
    if isinstance(relay.response, Translated) or "n" not in call.fields or call.body is None or not call.is_json:
        return 1
    wanted = splice.field(call.body, "n")
    return wanted if isinstance(wanted, int) and 1 <= wanted <= 1000 else 1


def _scrubber(connection: Connection) -> Callable[[bytes], bytes]:
    """What takes the connection's own key out of what its provider says in an error."""
    return bytes if connection.secret is None else connection.secret.scrub


def _body(call: Call, candidate: Candidate, routing: Routing) -> tuple[bytes | Pieces | None, bool]:
    """What is sent of the client's body, and whether the usage chunk was asked for by us alone."""
    body = call.body
    if body is None:
        return None, False
    route = candidate.connection.spec.speaks[call.operation]
    in_path = route.model_in_path and not call.tail
    model = _other_model(call, candidate)
    if not call.is_json:
        return multipart.with_model(body, call.content_type, model) if model is not None else body, False
    asks = _asks_usage(call, candidate, routing)
    if len(body) > _LARGE and _at_places(call, route, model, asks=asks):
        return (splice.at_places(body, model, call.model_at, usage=asks) if model is not None or asks else body), asks
    if not in_path:
        if model is not None:
            body = splice.with_model(body, model, call.model_at)
        body = splice.with_fields(body, route.adds) if route.adds else body
    elif "model" in call.fields or route.adds:
        body = splice.without_model(body, route.adds)
    for old, new in route.renames.items():
        body = splice.renamed(body, old, new) if old in call.fields else body
    return splice.with_usage_asked(body) if asks else body, asks


def _other_model(call: Call, candidate: Candidate) -> str | None:
    """The name that the body has to have for this one, where that is not its own."""
    in_path = candidate.connection.spec.speaks[call.operation].model_in_path and not call.tail
    return candidate.model if candidate.model != call.model and not in_path else None


def _sending(order: Order, dog: Watchdog, now: Callable[[], float]) -> Sending | None:
    upload = order.call.upload
    if upload is None:
        return None
    return Sending(upload, _other_model(order.call, order.candidate), dog, now, order.seconds)


def _at_places(call: Call, route: Route, model: str | None, *, asks: bool) -> bool:
    """Whether it is known where the body has to be edited, so that it need not be made anew for that."""
    as_it_is = not route.adds and not route.model_in_path and call.fields.isdisjoint(route.renames)
    return as_it_is and (model is None or call.model_at is not None) and not (asks and "stream_options" in call.fields)


def _asks_usage(call: Call, candidate: Candidate, routing: Routing) -> bool:
    return (
        routing.ask_usage
        and call.stream
        and call.operation in (Operation.CHAT, Operation.COMPLETIONS)
        and call.include_usage is not True
        and candidate.connection.spec.quirks.stream_usage is StreamUsage.ASKED
    )


def _classify(connection: Connection, wall: Callable[[], datetime], error: Mapping[str, Any]) -> Fault:
    return classify_error(error, connection=connection.provider, wall=wall())


def _judged(connection: Connection, wall: Callable[[], datetime], error: Mapping[str, Any]) -> tuple[Fault, Said]:
    """What an error under status 200 is, and what it says, without the connection's key."""
    clean = decode_object(_scrubber(connection)(encode(error))) or {}
    return _classify(connection, wall, clean), said_of(clean)


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
