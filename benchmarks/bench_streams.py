"""A client of very many streams at once, over epoll: counts their chunks, and holds that each of them ends rightly."""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Callable

from bench_process import Fault
from bench_provider import TEXT
from bench_requests import as_bytes

_AT_ONCE = 100  # streams that have been asked for and have not begun: so nobody's queue is what is measured
_NO_EVENT = 60.0  # seconds
_FRAME = re.compile(rb"\r\n[0-9a-f]+\r\n")  # between two pieces of a body: RFC 9112, 7.1
_TEXT = TEXT.encode()  # counted instead of events, which a proxy may put together


def count(raw: bytes) -> int:
    """How many whole chunks stand in a piece of an answer, wherever the proxy has cut it."""
    return _FRAME.sub(b"", raw).count(_TEXT)


class _Stream:
    __slots__ = ("begun", "link", "tail")

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.begun = False
        self.tail = b""


class Streams:
    """Streams of one subject. Close it with `close`; `chunks` counts those of all its streams so far."""

    def __init__(self, name: str, port: int, headers: dict[str, str], body: bytes) -> None:
        self.chunks = 0
        self.ended = 0
        self._name = name
        self._port = port
        self._request = as_bytes(port, headers, body)
        self._poll = select.epoll()
        self._open: dict[int, _Stream] = {}
        self._begun = 0

    def open(self, count: int, seconds: float) -> None:
        """`count` more; returns when the first event of each is there."""
        wanted, asked = self._begun + count, 0
        until = time.perf_counter() + seconds

        def all_begun() -> bool:
            nonlocal asked
            while asked < count and asked - (self._begun - wanted + count) < _AT_ONCE:
                self._ask()
                asked += 1
            if time.perf_counter() > until:
                raise Fault(f"{self._name}: only {self._begun} of {wanted} streams had begun after {seconds:.0f} s")
            return self._begun >= wanted

        self.run(all_begun)

    def finish(self, seconds: float) -> None:
        """Reads until all have ended; Fault where that takes longer than so many seconds."""
        until = time.perf_counter() + seconds

        def all_ended() -> bool:
            if self._open and time.perf_counter() > until:
                raise Fault(f"{self._name}: {len(self._open)} streams had not ended after {seconds:.0f} s")
            return not self._open

        self.run(all_ended)

    def run(self, until: Callable[[], bool]) -> None:
        """Reads what comes until `until` holds, which is asked after each round of epoll."""
        heard = time.perf_counter()
        while not until():
            ready = self._poll.poll(0.1)
            now = time.perf_counter()
            if ready:
                heard = now
            elif now - heard > _NO_EVENT:
                raise Fault(f"{self._name}: nothing came of {len(self._open)} streams for {_NO_EVENT:.0f} s")
            for number, _ in ready:
                self._read(self._open[number])

    def close(self) -> None:
        """Leaves what is still open."""
        for stream in self._open.values():
            stream.link.close()
        self._open.clear()
        self._poll.close()

    def _ask(self) -> None:
        link = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        link.sendall(self._request)
        link.setblocking(False)
        self._open[link.fileno()] = _Stream(link)
        self._poll.register(link.fileno(), select.EPOLLIN)

    def _read(self, stream: _Stream) -> None:
        got = stream.link.recv(65536)
        self.chunks += count(stream.tail + got) - count(stream.tail)
        if not stream.begun and b"data: " in stream.tail + got:
            stream.begun = True
            self._begun += 1
        if not stream.tail and not got.startswith(b"HTTP/1.1 200"):
            raise Fault(f"{self._name} answered a stream with {got[:400].decode(errors='replace')}")
        stream.tail = (stream.tail + got)[-64:]
        if not got or stream.tail.endswith(b"0\r\n\r\n"):
            self._end(stream)

    def _end(self, stream: _Stream) -> None:
        if b"data: [DONE]\n\n" not in _FRAME.sub(b"", stream.tail):
            end = stream.tail.decode(errors="replace")
            raise Fault(f"{self._name}: a stream broke off, its end was {end!r}")
        del self._open[stream.link.fileno()]
        stream.link.close()
        self.ended += 1
