"""Another dialect than the client's: its question written for the provider. The answer: `proxy.engine.heard`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from config.model import Connection, Operation
from proxy.dialects import counting, seals
from proxy.dialects.base import DialectName, ReplyHead, Target, dialect
from proxy.dialects.json import decode_object, encode
from proxy.dialects.request import BadRequest, Loss, Request, as_asked
from proxy.engine.call import Call
from proxy.engine.makers import placed
from proxy.engine.pinned import translatable
from proxy.routing import Candidate

if TYPE_CHECKING:
    from proxy.dialects.continuing import Beginning, Continuation

SPOKEN: Final = {Operation(name.value): name for name in DialectName}
_EMBEDDING: Final = frozenset(
    {Operation.EMBEDDINGS, Operation.GEMINI_EMBED, Operation.GEMINI_EMBED_ONE}
    | {Operation.COHERE_EMBED, Operation.TITAN_EMBED}
)
_TOO_DEEP: Final = "the body is nested too deeply to be told in another dialect"
_MARK: Final = seals.MARK.encode()
_MARK_64: Final = seals.MARK_64.encode()
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
    more: Continuation | None = None  # writes the answer as more of a stream that has begun

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


class Translation(msgspec.Struct):
    """One client's question, read once however many connections it is written for. `wall` tells the date; `makers` who
    made what is sealed, by its digest."""

    _call: Call
    _wall: Callable[[], datetime]
    _makers: Mapping[bytes, str]
    _request: Request | None = None

    def write(self, candidate: Candidate, *, bare: bool = False) -> Written | None:
        """The question for this connection; None where the client's own bytes go. Raises Unsaid and BadRequest.

        `bare`: without what is sealed and carries no mark.
        """
        call, via = self._call, candidate.via
        if via is None:
            if call.tail or not (bare or self._foreign(candidate) or _marked(call)):
                return None
            via = call.operation
        try:
            return self._write(candidate, via, bare=bare)
        except RecursionError:
            raise BadRequest(_TOO_DEEP) from None

    def _foreign(self, candidate: Candidate) -> bool:
        """Whether the body holds what this connection has not sealed itself."""
        if not self._makers:
            return False
        origin = origin_of(candidate.connection)
        return any(maker != origin for maker in self._makers.values())

    def _write(self, candidate: Candidate, via: Operation, *, bare: bool) -> Written:
        call, connection = self._call, candidate.connection
        model = candidate.model or call.model or ""
        if call.operation in _EMBEDDING:
            return self._embedding(candidate, via, model)
        if call.operation in counting.COUNTS:
            return self._counting(candidate, via, model)
        asked = placed(self._read(), self._makers, origin_of(connection), bare=bare)
        body, losses = dialect(SPOKEN[via]).write_request(asked, _target(connection, model))
        if via is Operation.CHAT and connection.spec.quirks.stream_usage != "asked":
            body.pop("stream_options", None)
        head = (
            ReplyHead(call.id, int(self._wall().timestamp()), self._read(), model)
            if via is not call.operation
            else None
        )
        return Written(via, _ready(connection, via, body), _dropped(connection, losses, asked), head)

    def continuable(self) -> bool:
        """Whether the answer may be put together of two providers' words. Raises BadRequest."""
        from proxy.dialects.continuing import continuable

        try:
            return translatable(self._call) and continuable(self._read())
        except RecursionError:
            return False

    def go_on(self, candidate: Candidate, via: Operation, beginning: Beginning, between: tuple[str, ...]) -> Written:
        """The question with the beginning of its answer, for a connection that goes on from it by this operation.

        `between`: who said what there is, and who is asked. Raises Unsaid and BadRequest.
        """
        try:
            return self._go_on(candidate, via, beginning, between)
        except RecursionError:
            raise BadRequest(_TOO_DEEP) from None

    def _go_on(self, candidate: Candidate, via: Operation, beginning: Beginning, between: tuple[str, ...]) -> Written:
        from proxy.dialects.continuing import Continuation, continued

        connection, model = candidate.connection, candidate.model or self._call.model or ""
        further = connection.continues(via, model)
        if further is None or beginning.text is None:
            raise Unsaid(f"{connection.provider}: it cannot go on from this beginning", None)
        request = placed(self._read(), self._makers, origin_of(connection), bare=False)
        asked, cut = continued(request, beginning.text)
        target = msgspec.structs.replace(_target(connection, model), continues=further.way)
        body, losses = dialect(SPOKEN[via]).write_request(asked, target)
        if via is Operation.CHAT and connection.spec.quirks.stream_usage != "asked":
            body.pop("stream_options", None)
        head = ReplyHead(self._call.id, int(self._wall().timestamp()), self._read(), model)
        more = Continuation(beginning, head, asked, cut, between, echoes=further.echoes)
        return Written(via, _ready(connection, via, body), _dropped(connection, losses, asked), head, more=more)

    def _embedding(self, candidate: Candidate, via: Operation, model: str) -> Written:
        from proxy.dialects import embeddings  # as the dialects: when they are first spoken

        mine, theirs = embeddings.FORMS[self._call.operation], embeddings.FORMS[via]
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


def _marked(call: Call) -> bool:
    """Whether the body holds what another dialect sealed: then it is written anew, also for its own dialect."""
    if call.body is None or call.operation not in SPOKEN:
        return False
    # From behind, which CPython searches five times as fast.
    return call.body.rfind(_MARK_64 if call.operation is Operation.GEMINI else _MARK) >= 0


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
    value = decode_object(call.body or b"") if call.operation in counting.COUNTS else None
    if value is None:
        return None
    try:
        return encode(counting.estimated(call.operation, value))
    except RecursionError:
        raise BadRequest("the body is nested too deeply to be counted") from None


def origin_of(connection: Connection) -> str:
    """Who made what is sealed: the provider at its address, told apart without naming it."""
    return f"{connection.provider}@{_place(connection.base_url)}"


@lru_cache(256)
def _place(base_url: str) -> str:
    return hashlib.sha256(base_url.encode()).hexdigest()[:8]


def to_upstream(headers: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """What of the client's headers means the same in every dialect."""
    return [(name, value) for name, value in headers if name in _PASSING]


def to_client(headers: list[tuple[str, str]], *, stream: bool) -> list[tuple[str, str]]:
    """What of the provider's headers does, with the type of the translated body."""
    kind = "text/event-stream; charset=utf-8" if stream else "application/json"
    return [("content-type", kind), *((name, value) for name, value in headers if name in _BACK)]
