"""A provider's answer in another dialect than the client's, read as if it had come in that one.

It lies below the relay: commit point, clocks, errors and terminators are the relay's, as for every other answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from config.model import Operation
from proxy.dialects import sse
from proxy.dialects.aspects import Aspect, missing
from proxy.dialects.base import Renderer, ReplyHead, Unreadable, dialect
from proxy.dialects.events import Broken, Done, Event, Failed, fold
from proxy.dialects.joint import NotMore
from proxy.dialects.json import decode_object, encode
from proxy.engine import told
from proxy.engine.call import Call
from proxy.engine.translate import SPOKEN, Written
from proxy.fault import Fault, FaultKind, Phase
from proxy.routing import Said
from proxy.upstream.client import UpstreamError, UpstreamResponse

MAX_WHOLE_BYTES: Final = 64 * 1024 * 1024
MAX_STREAM_BYTES: Final = 256 * 1024 * 1024  # with what stands around each token
_PING_SECONDS: Final = 5.0
_TAIL_SECONDS: Final = 1.0
_PING: Final = b": ping\n\n"
# A client of Google's knows no comments (gemini-cli fails on one): an empty text does it.
_GOOGLE_PING: Final = b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":""}]},"index":0}]}\n\n'
_STREAMS: Final = frozenset({"application/vnd.amazon.eventstream", "application/x-ndjson"})

Judge = Callable[[Mapping[str, Any]], tuple[Fault, Said]]


class _Reader(Protocol):
    """Makes the client's bytes of the provider's, piece by piece."""

    missing: dict[Aspect, None]

    async def read(self) -> bytes: ...

    def rest(self) -> bytes: ...


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
        self.streamed = call.stream and written.head is not None
        self.begun = None if written.more is None else written.more.begun  # of a stream that is gone on with
        if self.streamed and written.head is not None:
            self._reader = _Stream(response, call, written, written.head, origin, now, self._failed)
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

    def forget_head(self) -> None:
        """Nobody asks for its headers any more."""
        self.headers = ()
        self._response.forget_head()

    async def read(self) -> bytes:
        """More of the answer; empty at its end. Raises UpstreamError."""
        return await self._reader.read()

    def rest(self) -> bytes:
        """What can be said though nothing more comes."""
        return self._reader.rest()

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

    def rest(self) -> bytes:
        return b""

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
        except RecursionError:
            raise UpstreamError(FaultKind.BAD_UPSTREAM, Phase.SENT, "its answer is nested too deeply") from None

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
        written: Written,
        head: ReplyHead,
        origin: str,
        now: Callable[[], float],
        judge: Judge,
    ) -> None:
        self._response = response
        self._call = call
        self._now = now
        self._judge = judge
        self._parser = dialect(SPOKEN[written.via]).parser(origin)
        spoken = dialect(SPOKEN[call.operation])
        self._renderer: Renderer = written.more or spoken.renderer(head)
        self._untold_before = written.dropped if written.more is not None else ()  # the head is out already
        self._untold = spoken.untold
        self.missing: dict[Aspect, None] = {}
        self._comments = call.operation is not Operation.GEMINI
        self._ping = _PING if self._comments else _GOOGLE_PING
        self._trouble: UpstreamError | None = None
        self._lost: UpstreamError | None = None  # what broke the provider's connection
        self._ended_at: float | None = None  # when its answer was whole
        self._size = 0
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
            data = self._weighed(await self._next())
            events = self._parser.feed(data) if data else self._parser.close()
            out = b"".join([self._render(event) for event in events])
        except RecursionError:
            self._trouble = UpstreamError(FaultKind.BAD_UPSTREAM, Phase.SENT, "it sent what is nested too deeply")
            return b""
        except NotMore as exc:
            self._trouble = UpstreamError(FaultKind.BAD_UPSTREAM, Phase.SENT, f"it does not go on with the text: {exc}")
            return b""
        except (Unreadable, sse.EventTooLarge) as exc:
            large = isinstance(exc, sse.EventTooLarge)
            kind = FaultKind.TOO_LARGE if large else FaultKind.BAD_UPSTREAM
            self._trouble = self._lost or UpstreamError(kind, Phase.SENT, f"it sent {exc}")
            return b""
        self._over = not data
        return out

    def rest(self) -> bytes:
        """The end of an answer that is whole as its dialect sees it, though its provider does not end it."""
        if self._over or self._trouble is not None:
            return b""
        try:
            events = self._parser.close()
            if any(isinstance(event, Failed) for event in events):
                return b""
            self._over = True
            return b"".join([self._render(event) for event in events])
        except (NotMore, Unreadable, RecursionError):
            return b""

    async def _next(self) -> bytes:
        """The next bytes; none where the connection broke: whether the answer is whole is for the parser to say.

        Behind its terminator the provider may say more for a moment, but need not even hang up.
        """
        left = None
        if self._parser.ended:
            self._ended_at = self._now() if self._ended_at is None else self._ended_at
            left = max(0.0, self._ended_at + _TAIL_SECONDS - self._now())
        else:
            self._ended_at = None
        try:
            async with asyncio.timeout(left):
                return await self._response.read()
        except TimeoutError:
            return b""
        except UpstreamError as exc:
            self._lost = exc
            return b""

    def _weighed(self, data: bytes) -> bytes:
        """What is kept of an answer until its end grows with it, in parser and renderer. Raises EventTooLarge."""
        self._size += len(data)
        if self._size > MAX_STREAM_BYTES:
            raise sse.EventTooLarge(f"more than {MAX_STREAM_BYTES} bytes")
        return data

    def _render(self, event: Event) -> bytes:
        if not isinstance(event, Failed):
            self.missing |= missing((event,), self._untold)
            out = self._renderer.event(event)
            return self._comment() + out if isinstance(event, Done) else out
        if event.error is None:
            short = UpstreamError(FaultKind.INTERRUPTED, Phase.SENT, "its answer ended before its end")
            self._trouble = self._lost or short
            return b""
        return told.error_frame(self._call, *self._judge(event.error), self._renderer)

    def _comment(self) -> bytes:
        names = ", ".join([*self._untold_before, *(aspect.value for aspect in self.missing)])
        return f": redeo-dropped: {names}\n\n".encode() if names and self._comments else b""
