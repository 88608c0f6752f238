"""One connection to a provider, an exchange at a time: bytes out, and an answer parsed as it arrives.

Framing: RFC 9112, by llhttp (httptools). It forgives what aiohttp's client forgave: lines that end in LF alone,
blanks behind the size of a chunk, odd characters in a header's value. NUL in one, and more than one opinion on where
a body ends, are refused.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from proxy.upstream.errors import garbled, interrupted
from proxy.upstream.outgoing import ENOUGH, Outgoing

if TYPE_CHECKING:
    from proxy.upstream.answer import UpstreamResponse
    from proxy.upstream.pool import Pool
    from proxy.upstream.request import Body, Pieces

_LINE: Final = 8190  # of a head: what the daemon's own server takes, too
_HEADERS: Final = 128
_HEAD: Final = _LINE * _HEADERS  # of all that comes before a body, interim answers too
_QUIET: Final = 64 * 1024  # of chunk extensions and trailers, with nothing of a body between
_READ: Final = 256 * 1024  # at most, at a time: what the event loops ask a socket for
_MUCH: Final = 64 * 1024  # at a time, behind which others have their turn: uvloop reads a full socket 32 times at once


class _NoHttp(Exception):
    """Stops the parser."""


class Wire(Outgoing):
    """See the module. `heard`: something has come since the question was put; `drawn`: its body was begun to be read;
    `since`: when it was idle first, by the loop's clock, and of no meaning while it is not."""

    __slots__ = (
        "_answer",
        "_bare",
        "_keep",
        "_line",
        "_parser",
        "_paused",
        "_pool",
        "_quiet",
        "_to_end",
        "head",
        "heard",
        "interim",
        "since",
        "whole",
    )

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool.loop, pool.outbox)
        self.heard = False
        self.since = 0.0
        self._pool = pool
        self._parser: HttpResponseParser | None = None
        self._answer: UpstreamResponse | None = None
        self._bare = False  # its answer has no body, whatever its head says
        self.head: list[bytes] | None = None  # names and values by turns, while it is still coming
        self._to_end = False  # its body ends with the connection
        self.interim = False  # what comes is a 1xx
        self._line = 0  # bytes of the line of the head that is not whole yet
        self._quiet = 0
        self.whole = False
        self._keep = False
        self._paused = False

    # --- for the pool and the client

    @property
    def usable(self) -> bool:
        """Whether a question can be put."""
        return self._transport is not None and not self._transport.is_closing()

    def begin(
        self, answer: UpstreamResponse, head: bytes, body: bytes | Pieces | Body | None, *, bare: bool = False
    ) -> None:
        """Put a question whose answer is given to `answer`. `bare`: it was HEAD."""
        self._answer = answer
        self.heard = self.whole = self._keep = False
        self.head, self._bare, self._line, self._quiet = [], bare, 0, 0
        self.say(head, body)

    def pause(self) -> None:
        """Read no more of the socket."""
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _let_others(self) -> None:
        """Read on when the loop has come round."""
        if self._transport is not None and not self._paused:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        if self.usable and not self._paused and self._transport is not None:
            self._transport.resume_reading()

    def give_up(self, why: str = "the connection was given up") -> None:
        """Close the socket now; an answer that is still coming breaks off."""
        self._end(interrupted(why))

    def _end(self, error: Exception | None) -> None:
        """Be of no more use: to the answer that is coming, if one is, and to anybody else."""
        answer, self._answer = self._answer, None
        self.stop()
        self._pool.leave(self)
        if self._transport is not None:
            self._transport.abort()
        if answer is not None:
            answer.ended(error)

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there, TLS included."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(ENOUGH)  # TLS has eight times that of its own accord
        self._parser = HttpResponseParser(self._pool.ear)
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    def data_received(self, data: bytes) -> None:
        """More of the answer, or what nobody has asked for: then nobody is to take it for his answer."""
        answer, parser = self._answer, self._parser
        if answer is None or parser is None:
            self._end(None)
            return
        self.heard = True
        ear = self._pool.ear
        ear.wire = self
        try:
            parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._garbled(answer, ear.pieces)
            return
        pieces = ear.pieces
        if pieces:
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self._quiet = 0
            answer.arrived(body)
            if answer is not self._answer:
                return  # it was closed by whoever it was given to
        elif not self.whole:
            self._look(data, answer)
        if self.whole:
            self._release()
        elif len(data) >= _MUCH:
            self._let_others()

    def eof_received(self) -> None:
        """No more comes: the end of an answer that has no other, and in the middle of any other no end."""
        if self._answer is not None and self.head is None and self._to_end:
            self._end(None)
        else:
            self._end(interrupted(self._cut()))

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone. Without a reason, and if nobody here closed it, that is an end like any other: not
        every server says goodbye in TLS."""
        self._transport = self._parser = None
        if exc is None:
            self.eof_received()
        else:
            self._end(interrupted("the connection was reset" if self.head is None else self._cut()))
        self._full = False
        self._drain()
        self._pool.lost(self)

    # --- what the parser says, by way of the ear

    def head_ends(self) -> None:
        """The head is there."""
        parser, answer, head = self._parser, self._answer, self.head
        assert parser is not None
        assert answer is not None
        assert head is not None
        status, names, values = parser.get_status_code(), b"\n".join(head[::2]), b"\n".join(head[1::2])
        long = len(names) + len(values) > _LINE - 2 and _has_long_line(head)
        if long or len(head) > 2 * _HEADERS or b"\0" in values:
            raise _NoHttp
        if status < 200:
            if status < 100 or status == 101:
                raise _NoHttp
            self.interim = True
            return
        self._keep = parser.should_keep_alive()
        self._to_end = not self._keep and _until_closed(head)
        self.head = None
        self._quiet = -_READ  # what came with the head
        if status >= 300:
            self._refused()
        answer.began(status, names, values)
        if self._bare:
            self.whole, self._keep = True, False
            raise _NoHttp

    def _refused(self) -> None:
        """What is left of the request would be for nobody."""
        if not self.said_all:
            self._keep = False
            self.stop()

    def failed(self, error: Exception) -> None:
        """The source of the request's body has failed: that is what the exchange ends with."""
        self._end(error)

    # --- how an answer ends

    def _release(self) -> None:
        """The answer is whole: the connection is free for the next one if nothing speaks against it."""
        transport, answer = self._transport, self._answer
        if (
            not (self._keep and self.said_all)
            or transport is None
            or transport.is_closing()
            or transport.get_write_buffer_size()
        ):
            self._end(None)
            return
        self._answer = None
        self._sender = None
        if self._paused:
            self.resume()
        self._pool.give(self)
        assert answer is not None
        answer.ended(None)

    def _garbled(self, answer: UpstreamResponse, pieces: list[bytes]) -> None:
        """What came last does not belong to an answer; what came before it does."""
        body = b"".join(pieces)
        pieces.clear()
        if body and not self._bare:
            answer.arrived(body)
        if answer is not self._answer:
            return
        error = garbled() if self.head is not None else interrupted("the framing of its answer is broken")
        self._end(None if self.whole else error)

    def _look(self, data: bytes, answer: UpstreamResponse) -> None:
        """Neither a head nor anything of a body: there is an end to what the parser keeps of that."""
        self._quiet += len(data)
        if self.head is not None:
            cut = data.rfind(b"\n")
            self._line = self._line + len(data) if cut < 0 else len(data) - cut - 1
            if self._line > _LINE or len(self.head) > 2 * _HEADERS or self._quiet > _HEAD:
                self._garbled(answer, [])
        elif self._quiet > _QUIET:
            self._garbled(answer, [])

    def _cut(self) -> str:
        return "the connection was closed" if self.head is None else "it closed the connection without an answer"


class Ear:
    """Hears what the parser of a wire says, and hands it to that wire: the one that is being fed.

    All wires of a pool share one, for a parser keeps what it calls: methods of each wire's own took twice the room of
    the parser itself.
    """

    __slots__ = (
        "on_body",
        "on_header",
        "on_headers_complete",
        "on_message_begin",
        "on_message_complete",
        "on_status",
        "pieces",
        "wire",
    )

    def __init__(self) -> None:
        self.wire: Wire  # once one is fed
        self.pieces: list[bytes] = []  # of a body
        self.on_body = self.pieces.append
        self.on_header = self._header
        self.on_headers_complete = self._head_ends
        self.on_message_begin = self._begins
        self.on_message_complete = self._ends
        self.on_status = _reason

    def _begins(self) -> None:
        """Another answer, of which only an interim one may be followed."""
        if self.wire.whole:
            raise _NoHttp

    def _header(self, name: bytes, value: bytes) -> None:
        """A line of the head; those behind a body are nobody's business."""
        head = self.wire.head
        if head is not None:
            head += (name, value)

    def _head_ends(self) -> None:
        self.wire.head_ends()

    def _ends(self) -> None:
        """The end of an answer, or of an interim one."""
        wire = self.wire
        if wire.interim:
            wire.interim, wire.head = False, []
        else:
            wire.whole = True


def _reason(text: bytes) -> None:
    """The words beside the status; nobody reads them."""
    if len(text) > _LINE:
        raise _NoHttp


def _has_long_line(head: list[bytes]) -> bool:
    return any(len(name) + len(value) + 2 > _LINE for name, value in zip(head[::2], head[1::2], strict=True))


def _until_closed(head: list[bytes]) -> bool:
    """Whether the end of the connection is the end of the body. Raises _NoHttp."""
    lines = [(name.lower(), value) for name, value in zip(head[::2], head[1::2], strict=True)]
    codings = [value for name, value in lines if name == b"transfer-encoding"]
    coding = codings[-1].rpartition(b",")[2].strip().lower() if codings else b""  # the one that was put on last
    if coding not in (b"", b"chunked", b"identity"):
        raise _NoHttp  # nobody has asked for that, and nobody would undo it
    return coding != b"chunked" and all(name != b"content-length" for name, _ in lines)
