"""Mid-stream rescue: a text that breaks off is gone on with by another connection, and its client reads one stream.

Only where `routing.rescue` is on, for answers of words alone, and by those who are documented to go on from a beginning
(`continues` in the catalogue). How the two are put together: `proxy.dialects.continuing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from config.model import Operation
from proxy.dialects.request import BadRequest
from proxy.engine.call import Reply
from proxy.engine.job import Job
from proxy.engine.repeat import may_be_doubled
from proxy.engine.translate import Translation, Unsaid, Written
from proxy.routing import Candidate

if TYPE_CHECKING:
    from proxy.dialects.continuing import Beginning

_SPOKEN: Final = frozenset({Operation.CHAT, Operation.MESSAGES, Operation.RESPONSES, Operation.GEMINI})


class Rescue:
    """Of one request. `beginning` follows what its client is sent."""

    def __init__(self, job: Job, translation: Translation) -> None:
        from proxy.dialects.continuing import Beginning  # with the dialects: when it is first needed

        self._job = job
        self._translation = translation
        self.beginning: Beginning = Beginning(job.call.operation)

    @classmethod
    def of(cls, job: Job, translation: Translation, candidates: Sequence[Candidate]) -> Rescue | None:
        """Where it is on, and the request and one of the candidates behind the first allow it."""
        call = job.call
        if not job.snapshot.settings.routing.rescue or not call.stream or call.operation not in _SPOKEN:
            return None
        able = any(_operation(job, candidate) for candidate in candidates[1:])
        try:
            possible = able and may_be_doubled(call) and translation.continuable()
        except BadRequest:
            return None
        return cls(job, translation) if possible else None

    def write(self, candidate: Candidate) -> Written:
        """The question with the beginning of its answer. Raises Unsaid and BadRequest."""
        operation = _operation(self._job, candidate)
        if operation is None:
            who = candidate.connection.provider
            raise Unsaid(f"{who}: it is not known to go on from the beginning of an answer", None)
        said = [attempt.connection for attempt in self._job.exchange.attempts if attempt.part]
        between = (*said, candidate.connection.provider)
        return self._translation.go_on(candidate, operation, self.beginning, between)


def _operation(job: Job, candidate: Candidate) -> Operation | None:
    first = candidate.via or job.call.operation
    return candidate.connection.continuing(candidate.model or job.call.model, first)


class Going:
    """The client's side of a stream that has begun: its head is out."""

    begun = True

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    async def whole(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """There is no other answer any more."""
        raise RuntimeError("a stream has begun")

    @property
    def full(self) -> bool:
        """Whether the client's side has no room left."""
        return self._reply.full

    def begin(self, status: int, headers: list[tuple[str, str]]) -> None:
        """It has."""

    def put(self, data: bytes) -> None:
        """A further piece."""
        self._reply.put(data)

    async def drain(self) -> None:
        """Return once there is room."""
        await self._reply.drain()

    async def end(self) -> None:
        """The end of all of it."""
        await self._reply.end()

    def abort(self) -> None:
        """Break it off."""
        self._reply.abort()
