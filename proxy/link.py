"""The line between a worker and its supervisor: who serves, who lives, and what one worker has learned for the others.

A pair of datagram sockets for each worker, made before the fork; nothing on it is ever waited for. What does not fit
in is lost, and nothing depends on it: who missed a word finds out by itself, as a single worker would.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from hashlib import blake2b
from typing import Final

from proxy.front.turns import Turn

_MOST: Final = 65_536  # bytes of one word
_KEY: Final = 16
LEAVE: Final = signal.SIGUSR2  # to one worker: finish, for the others stay
PULSE: Final = 2.0  # seconds between two signs of life


class Word(Enum):
    """What a worker says: the first byte of each datagram."""

    SERVING = b"s"
    ANSWERING = b"a"  # a request of its own was answered
    TURNING = b"t"  # its loop turns
    CONFIGURED = b"c"  # it has taken up another configuration
    NEWS = b"n"  # of what it follows: a key, and the news
    WELL = b"w"  # the same, and nothing to keep for those who come later


_WORDS: Final = {word.value: word for word in Word}


def pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of one line."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in ends:
        end.setblocking(False)
    return ends


def say(end: socket.socket, word: Word, more: bytes = b"") -> None:
    """Send it if there is room, and somebody at the other end."""
    with contextlib.suppress(OSError):
        end.send(word.value + more)


def heard(end: socket.socket) -> Iterator[tuple[Word, bytes]]:
    """What has come."""
    while True:
        try:
            said = end.recv(_MOST)
        except OSError:
            return
        word = _WORDS.get(said[:1])
        if word is None:
            return
        yield word, said[1:]


def of_news(said: bytes) -> tuple[bytes, bytes]:
    """The key and the news."""
    return said[:_KEY], said[_KEY:]


class Link:
    """The worker's end. `known`: what others had learned before it was born. `turn`: its own at listening sockets."""

    def __init__(self, end: socket.socket, turn: Turn, known: Mapping[bytes, bytes]) -> None:
        self._end = end
        self.turn = turn
        self.known = tuple(known.values())

    def serving(self) -> None:
        """It serves, by the configuration there is."""
        say(self._end, Word.SERVING)

    def answering(self) -> None:
        """It was asked, and has answered."""
        say(self._end, Word.ANSWERING)

    def configured(self) -> None:
        """It has taken up another configuration."""
        say(self._end, Word.CONFIGURED)

    def tell(self, of: str, news: bytes, *, well: bool) -> None:
        """All others shall know; later news `of` the same replace these. `well`: who comes later need not know."""
        key = blake2b(of.encode("utf-8", "surrogatepass"), digest_size=_KEY).digest()
        say(self._end, Word.WELL if well else Word.NEWS, key + news)

    def follow(self, take_up: Callable[[bytes], None]) -> None:
        """From now on `take_up` is given what others have learned, first what is known already. Needs a loop."""
        for said in self.known:
            take_up(of_news(said)[1])
        asyncio.get_running_loop().add_reader(self._end, self._hear, take_up)

    def _hear(self, take_up: Callable[[bytes], None]) -> None:
        for _, said in heard(self._end):
            take_up(of_news(said)[1])

    async def pulse(self, beat: Callable[[], None]) -> None:
        """Say again and again that the loop turns, with `beat` each time, until cancelled."""
        while True:
            say(self._end, Word.TURNING)
            beat()
            await asyncio.sleep(PULSE)
