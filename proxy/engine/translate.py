"""Another dialect than the client's: its question written for the provider, the provider's answer written for it.

The answer is translated below the relay: `Translated` reads as if the provider had answered in the client's dialect.
So commit point, clocks, errors and terminators are the relay's, the same as for every other answer.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

import msgspec

from config.model import Connection, Operation
from proxy.dialects import counting, embeddings, seals, sse
from proxy.dialects.aspects import Aspect, missing
from proxy.dialects.base import DialectName, Renderer, ReplyHead, Target, Unreadable, dialect
from proxy.dialects.events import Broken, Done, Event, Failed, fold
from proxy.dialects.json import decode_object, encode
from proxy.dialects.request import BadRequest, Loss, Request, as_asked
from proxy.engine import told
from proxy.engine.call import Call
from proxy.engine.makers import placed
from proxy.fault import Fault, FaultKind, Phase
from proxy.routing import Candidate, Said
from proxy.upstream.client import UpstreamError, UpstreamResponse

SPOKEN: Final = {Operation(name.value): name for name in DialectName}
MAX_WHOLE_BYTES: Final = 64 * 1024 * 1024
EMBEDDED: Final = {
    Operation.EMBEDDINGS: embeddings.Form.OPENAI,
    Operation.GEMINI_EMBED: embeddings.Form.GOOGLE,
    Operation.GEMINI_EMBED_ONE: embeddings.Form.GOOGLE_ONE,
    Operation.COHERE_EMBED: embeddings.Form.COHERE,
    Operation.TITAN_EMBED: embeddings.Form.TITAN,
}
_PING_SECONDS: Final = 5.0
_TAIL_SECONDS: Final = 1.0
_PING: Final = b": ping\n\n"
# A client of Google's knows no comments (gemini-cli fails on one): an empty text does it.
_GOOGLE_PING: Final = b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":""}]},"index":0}]}\n\n'
_STREAMS: Final = frozenset({"application/vnd.amazon.eventstream", "application/x-ndjson"})
_PASSING: Final = frozenset({"accept", "content-type", "traceparent", "tracestate", "user-agent"})
_BACK: Final = frozenset({"cache-control", "request-id", "retry-after", "retry-after-ms", "x-request-id"})


class Written(msgspec.Struct, frozen=True):
    """A question as it goes to one connection: its operation there, and what could not be said, as the client named it.

    `head` is what the answer is written with; None: it comes in the client's own dialect and is relayed.
    """

    via: Operation
    body: bytes
    dropped: tuple[str, ...]
    head: ReplyHead | None
    plain: Callable[[dict[str, Any]], dict[str, Any]] | None = None  # makes the answer of one without events

    @property
    def translated(self) -> bool:
        """Whether question and answer are in another dialect than the client's."""
        return self.head is not None or self.plain is not None


class Unsaid(Exception):
    """This connection cannot be asked this: what is lost would change the question, or nothing may be lost."""

    def __init__(self, message: str, param: str | None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class Translation:
    """One client's question, read once however many connections it is written for."""

    def __init__(self, call: Call, created: int, makers: Mapping[bytes, str] = MappingProxyType({})) -> None:
        self._call = call
        self._makers = makers  # digest of what is sealed -> who made it
        self._created = created
        self._request: Request | None = None

    @property
    def marked(self) -> bool:
        """Whether the body holds what another dialect sealed: then it is written anew, also for its own dialect."""
        call = self._call
        mark = seals.MARK_64 if call.operation is Operation.GEMINI else seals.MARK
        return call.operation in SPOKEN and call.body is not None and mark.encode() in call.body

    def write(self, candidate: Candidate, *, bare: bool = False) -> Written | None:
        """The question for this connection; None where the client's own bytes go. Raises Unsaid and BadRequest.

        `bare`: without what is sealed and carries no mark.
        """
        call, connection = self._call, candidate.connection
        origin = origin_of(connection)
        foreign = bare or any(maker != origin for maker in self._makers.values())
        via = candidate.via or (call.operation if (foreign or self.marked) and not call.tail else None)
        if via is None:
            return None
        model = candidate.model or call.model or ""
        if call.operation in EMBEDDED:
            return self._embedding(candidate, via, model)
        if call.operation in counting.COUNTS:
            return self._counting(candidate, via, model)
        asked = placed(self._read(), self._makers, bare=bare)
        body, losses = dialect(SPOKEN[via]).write_request(asked, _target(connection, model))
        if via is Operation.CHAT and connection.spec.quirks.stream_usage != "asked":
            body.pop("stream_options", None)
        head = ReplyHead(call.id, self._created, self._read(), model) if via is not call.operation else None
        return Written(via, _ready(connection, via, body), _dropped(connection, losses, asked), head)

    def _embedding(self, candidate: Candidate, via: Operation, model: str) -> Written:
        mine, theirs = EMBEDDED[self._call.operation], EMBEDDED[via]
        asked = embeddings.read_question(mine, self._object())
        connection, ident = candidate.connection, self._call.id
        tasks = "task" in connection.spec.speaks[via].renames
        body, losses = embeddings.write_question(theirs, asked, model, tasks=tasks)

        def answer(value: dict[str, Any]) -> dict[str, Any]:
            return embeddings.write_vectors(mine, embeddings.read_vectors(theirs, value), asked, model, ident)

        return Written(via, _ready(connection, via, body), _dropped(connection, losses), None, answer)

    def _counting(self, candidate: Candidate, via: Operation, model: str) -> Written:
        mine, connection = self._call.operation, candidate.connection
        asked = counting.read_question(mine, self._object())
        body, losses = counting.write_question(via, asked, Target(origin_of(connection), model))

        def answer(value: dict[str, Any]) -> dict[str, Any]:
            return counting.write_count(mine, counting.read_count(via, value))

        return Written(via, _ready(connection, via, body), _dropped(connection, losses), None, answer)

    def _read(self) -> Request:
        if self._request is None:
            self._request = dialect(SPOKEN[self._call.operation]).read_request(self._object())
            self._request.model, self._request.stream = self._call.model, self._call.stream
        return self._request

    def _object(self) -> dict[str, Any]:
        value = decode_object(self._call.body or b"")
        if value is None:
            raise BadRequest("the body is not a JSON object")
        return value


def _target(connection: Connection, model: str) -> Target:
    quirks = connection.spec.quirks
    return Target(
        origin_of(connection),
        model,
        reasoning_field=quirks.reasoning_back,
        rejects=quirks.rejects,
        cache_marks=quirks.cache_marks,
        call_id_length=quirks.call_id_length,
    )


def _ready(connection: Connection, via: Operation, body: dict[str, Any]) -> bytes:
    """The body as the path of this operation wants it."""
    route = connection.spec.speaks[via]
    if route.model_in_path:
        body.pop("model", None)
    named = {route.renames.get(name, name): value for name, value in body.items()}
    return encode({**named, **route.adds})


def _dropped(connection: Connection, losses: list[Loss], asked: Request | None = None) -> tuple[str, ...]:
    """What could not be said, as the client named it. Raises Unsaid where that must not be."""
    if asked is not None:
        losses = [msgspec.structs.replace(loss, what=as_asked(loss.what, asked)) for loss in losses]
    strict = connection.spec.on_unsupported == "error"
    worst = next((loss for loss in losses if loss.content or strict), None)
    if worst is not None:
        raise Unsaid(f"{connection.provider}: it cannot be told `{worst.what[:100]}`: {worst.why}", worst.what[:100])
    return tuple(dict.fromkeys(loss.what for loss in losses))


def counted(call: Call) -> bytes | None:
    """The answer to a request to count tokens, estimated; None for another request. Raises BadRequest."""
    value = decode_object(call.body or b"")
    if call.operation not in counting.COUNTS or value is None:
        return None
    return encode(counting.estimated(call.operation, value))


def origin_of(connection: Connection) -> str:
    """Who made what is sealed: the provider at its address, told apart without naming it."""
    place = hashlib.sha256(connection.base_url.encode()).hexdigest()[:8]
    return f"{connection.provider}@{place}"


def to_upstream(headers: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """What of the client's headers means the same in every dialect."""
    return [(name, value) for name, value in headers if name in _PASSING]


def to_client(headers: list[tuple[str, str]], *, stream: bool) -> list[tuple[str, str]]:
    """What of the provider's headers does, with the type of the translated body."""
    kind = "text/event-stream; charset=utf-8" if stream else "application/json"
    return [("content-type", kind), *((name, value) for name, value in headers if name in _BACK)]


Judge = Callable[[Mapping[str, Any]], tuple[Fault, Said]]


class _Reader(Protocol):
    """Makes the client's bytes of the provider's, piece by piece."""

    missing: dict[Aspect, None]

    async def read(self) -> bytes: ...


class Translated:
    """A provider's answer that reads as one in the client's dialect. It has what the relay wants of an answer."""

    def __init__(
        self,
        response: UpstreamResponse,
        call: Call,
        written: Written,
        origin: str,
        now: Callable[[], float],
        judge: Judge,
    ) -> None:
        if not written.translated:
            raise ValueError("this answer is relayed")
        self.status = response.status
        self.headers = response.headers
        self.failure: tuple[Fault, Said] | None = None  # the error that the provider has ended its answer with
        self._response = response
        self._judge = judge
        self._reader: _Reader
        if call.stream and written.head is not None:
            self._reader = _Stream(response, call, written.via, written.head, origin, now, self._failed)
        else:
            self._reader = _Whole(response, call, written, origin)

    @property
    def missing(self) -> tuple[str, ...]:
        """What of the answer the client's dialect has no word for, as far as it has been read."""
        return tuple(aspect.value for aspect in self._reader.missing)

    def header(self, name: str) -> str:
        """The value of a header of the provider's, or an empty text; the type of a stream is the client's."""
        value = self._response.header(name)
        if name == "content-type" and value.partition(";")[0].strip().lower() in _STREAMS:
            return "text/event-stream"
        return value

    async def read(self) -> bytes:
        """More of the answer; empty at its end. Raises UpstreamError."""
        return await self._reader.read()

    def judge(self, error: Mapping[str, Any]) -> Fault:
        """The fault that an error of this answer is. The first one counts: later it may come in the client's words."""
        return self._failed(error)[0]

    def _failed(self, error: Mapping[str, Any]) -> tuple[Fault, Said]:
        if self.failure is None:
            self.failure = self._judge(error)
        return self.failure

    def close(self) -> None:
        """Let the provider go."""
        self._response.close()


class _Whole:
    def __init__(
        self,
        response: UpstreamResponse,
        call: Call,
        written: Written,
        origin: str,
    ) -> None:
        self._response = response
        self._call = call
        self._written_as = written
        self._origin = origin
        self._over = False
        self.missing: dict[Aspect, None] = {}

    async def read(self) -> bytes:
        if self._over:
            return b""
        self._over = True
        pieces: list[bytes] = []
        size = 0
        while piece := await self._response.read():
            size += len(piece)
            if size > MAX_WHOLE_BYTES:
                raise UpstreamError(
                    FaultKind.TOO_LARGE, Phase.SENT, f"its answer is larger than {MAX_WHOLE_BYTES} bytes"
                )
            pieces.append(piece)
        return self._written(b"".join(pieces))

    def _written(self, body: bytes) -> bytes:
        value = decode_object(body)
        if value is None:
            raise UpstreamError(FaultKind.BAD_UPSTREAM, Phase.SENT, "its answer is not a JSON object")
        try:
            return encode(self._made(value))
        except Broken as exc:
            return encode({"error": exc.error or {"message": "the answer is not whole"}})
        except Unreadable as exc:
            if isinstance(value.get("error"), dict):
                return encode({"error": value["error"]})
            raise UpstreamError(FaultKind.BAD_UPSTREAM, Phase.SENT, str(exc)) from None

    def _made(self, value: dict[str, Any]) -> dict[str, Any]:
        """The answer for the client. Raises Broken and Unreadable."""
        written = self._written_as
        if written.plain is not None:
            return written.plain(value)
        if written.head is None:
            raise ValueError("this answer is relayed")
        events = list(dialect(SPOKEN[written.via]).read_answer(value, self._origin))
        spoken = dialect(SPOKEN[self._call.operation])
        answer = spoken.write_answer(fold(events), written.head)
        self.missing = missing(events, spoken.untold)
        return answer


class _Stream:
    """`_trouble` waits until what came before it is out. What is missing in the answer is told before its end, in a
    comment: its head was out before that was known."""

    def __init__(
        self,
        response: UpstreamResponse,
        call: Call,
        via: Operation,
        head: ReplyHead,
        origin: str,
        now: Callable[[], float],
        judge: Judge,
    ) -> None:
        self._response = response
        self._call = call
        self._now = now
        self._judge = judge
        self._parser = dialect(SPOKEN[via]).parser(origin)
        spoken = dialect(SPOKEN[call.operation])
        self._renderer: Renderer = spoken.renderer(head)
        self._untold = spoken.untold
        self.missing: dict[Aspect, None] = {}
        self._comments = call.operation is not Operation.GEMINI
        self._ping = _PING if self._comments else _GOOGLE_PING
        self._trouble: UpstreamError | None = None
        self._over = False
        self._said_at = now()

    async def read(self) -> bytes:
        while self._trouble is not None or not self._over:
            if self._trouble is not None:
                raise self._trouble
            out = await self._more()
            if out:
                self._said_at = self._now()
                return out
            if self._now() - self._said_at >= _PING_SECONDS:
                self._said_at = self._now()
                return self._ping  # the provider lives, but says nothing that this dialect has a word for
        return b""

    async def _more(self) -> bytes:
        try:
            data = await self._next()
            events = self._parser.feed(data) if data else self._parser.close()
        except (Unreadable, sse.EventTooLarge) as exc:
            large = isinstance(exc, sse.EventTooLarge)
            kind = FaultKind.TOO_LARGE if large else FaultKind.BAD_UPSTREAM
            self._trouble = UpstreamError(kind, Phase.SENT, f"it sent {exc}")
            return b""
        self._over = not data
        return b"".join([self._render(event) for event in events])

    async def _next(self) -> bytes:
        """The next bytes. Behind its terminator the provider may say more, but need not even hang up."""
        if not self._parser.ended:
            return await self._response.read()
        try:
            async with asyncio.timeout(_TAIL_SECONDS):
                return await self._response.read()
        except (TimeoutError, UpstreamError):
            return b""

    def _render(self, event: Event) -> bytes:
        if not isinstance(event, Failed):
            self.missing |= missing((event,), self._untold)
            out = self._renderer.event(event)
            return self._comment() + out if isinstance(event, Done) else out
        if event.error is None:
            self._trouble = UpstreamError(FaultKind.INTERRUPTED, Phase.SENT, "its answer ended before its end")
            return b""
        return told.error_frame(self._call, *self._judge(event.error), self._renderer)

    def _comment(self) -> bytes:
        names = ", ".join(aspect.value for aspect in self.missing)
        return f": redeo-dropped: {names}\n\n".encode() if names and self._comments else b""
