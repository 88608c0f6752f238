"""What goes wrong with a stream, and what is then true of it. One function for each way; each draws from the dice.

The truth is known here by construction, from the bytes that are sent: nothing of the daemon is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from benchmarks.torture_streams import SSE, TYPES, Whole, failure
from tests.support.upstream import Received, Wire

ALL_AT_ONCE = [1 << 30]
LARGE = 17 * 1024 * 1024  # above the cap for one event
MARGIN = 4  # of the event that ends an answer only line ends are missing: a reader may go either way


class Truth(Enum):
    """What a client may be told."""

    WHOLE = "whole"  # all of it, and nothing else
    BROKEN = "broken"  # an error
    EITHER = "either"  # the provider said all of it, in a way that need not arrive


@dataclass
class Sent:
    """The bytes of one answer and how they go out. `ending`: end, fin, reset or hang; `spoiled`: from that byte on a
    chunk whose size is a lie."""

    truth: Truth
    body: bytes = b""
    ending: str = "end"
    framing: str = "chunked"
    declared: int | None = None
    spoiled: int | None = None
    lie: str = ""  # about that size
    kind: str = ""  # another content type
    silent: bool = False  # not even a head
    finish: bool = True  # the answer says why it ended
    sizes: list[int] = field(default_factory=list)


Fault = Callable[[Random, Whole], Sent]

# What is no event in any way, and what a reader by the letter of the format takes for lines of unknown fields.
WRONG = [b"data: {garbage\n\n", b"data: \xff\xfe\n\n", b"data: [1]\n\n", b'data: "text"\n\n']
STRANGE = [b"hello\n\n", b"<html><body>502</body></html>\n\n", b"\x00\x01\x02\n\n", b"0\r\n\r\n"]


def _truth(said: Whole, at: int) -> Truth:
    """Of a stream of which the first `at` bytes come."""
    if at >= said.edge:
        return Truth.WHOLE
    return Truth.EITHER if at >= said.edge - MARGIN and said.speech.name != "converse" else Truth.BROKEN


def _cut(dice: Random, said: Whole) -> int:
    """Somewhere in the stream: at any byte, between two events, or close to where it becomes whole."""
    size = len(said.body)
    near = min(size, max(0, said.edge + dice.randint(-6, 6)))
    return dice.choice([dice.randint(0, size), said.at(dice.randint(0, len(said.events))), near])


def _between(dice: Random, said: Whole) -> int:
    """The number of an event before or at the one that ends the answer."""
    return dice.randint(0, said.last)


def nothing(dice: Random, said: Whole) -> Sent:
    framing = dice.choice(["chunked", "close", "length"])
    return Sent(Truth.WHOLE, said.body, "fin" if framing == "close" else "end", framing)


def ended_early(dice: Random, said: Whole) -> Sent:
    """A clean end of the message, in the middle of the stream: by the last chunk, the length, or the close."""
    at = _cut(dice, said)
    framing = dice.choice(["chunked", "close", "length"])
    return Sent(_truth(said, at), said.body[:at], "fin" if framing == "close" else "end", framing)


def closed(dice: Random, said: Whole) -> Sent:
    """FIN without the last chunk."""
    at = _cut(dice, said)
    return Sent(_truth(said, at), said.body[:at], "fin")


def short(dice: Random, said: Whole) -> Sent:
    """FIN before as many bytes as the length promised."""
    at = _cut(dice, said)
    return Sent(_truth(said, at), said.body[:at], "fin", "length", declared=len(said.body) + dice.choice([0, 1, 999]))


def reset(dice: Random, said: Whole) -> Sent:
    """RST: what was not read yet is lost."""
    at = _cut(dice, said)
    truth = Truth.EITHER if _truth(said, at) is Truth.WHOLE else _truth(said, at)
    return Sent(truth, said.body[:at], "reset", dice.choice(["chunked", "close"]))


def stalled(dice: Random, said: Whole) -> Sent:
    """Silence from some byte on."""
    at = _cut(dice, said)
    return Sent(_truth(said, at), said.body[:at], "hang", dice.choice(["chunked", "close"]))


def _garbage(dice: Random, said: Whole) -> bytes:
    if said.speech.name == "converse":
        return dice.choice([b"\x00\x00\x00\x20garbage, and no frame at all...", b"HTTP/1.1 500 late", b"\x00" * 40])
    if said.speech.name == "ollama_chat":
        return dice.choice([b"{garbage\n", b"\xff\xfe\x00\n", b"<html>\n", b"[1, 2]\n"])
    return dice.choice([*WRONG, *STRANGE, b'data: {"choices": [{"delta": {"content": "x"}}\n\n'])


def garbage(dice: Random, said: Whole) -> Sent:
    """What is no event, among the events."""
    at, junk = _between(dice, said), _garbage(dice, said)
    truth = Truth.EITHER if junk in STRANGE else Truth.BROKEN
    return Sent(truth, b"".join([*said.events[:at], junk, *said.events[at:]]))


def garbage_behind(dice: Random, said: Whole) -> Sent:
    """What is no event, behind the last one: it is nobody's business."""
    behind = dice.choice([_garbage(dice, said), b"\r\n" * 3 if said.speech.name in SSE else b"", b"data: {"])
    if said.speech.name in ("chat", "messages", "responses") and dice.random() < 0.4:
        behind = dice.choice([failure(said.speech), said.events[dice.randint(0, said.last)]])
        if b"message_start" in behind or b"response.created" in behind:
            behind = b""  # a further answer begins there, and has to end
    return Sent(Truth.WHOLE, said.body + behind, dice.choice(["end", "end", "fin", "hang"]))


def invalid_text(dice: Random, said: Whole) -> Sent:
    """Bytes inside a text that are no UTF-8, or in a binary frame the checksum does not cover."""
    spoilt = [n for n, event in enumerate(said.events[: said.last]) if b"delta" in event or b'"text"' in event]
    if said.speech.name == "ollama_chat":
        spoilt = list(range(said.last))
    spoilt = [n for n in spoilt if b'"' in said.events[n]]
    if not spoilt:
        return garbage(dice, said)
    at = dice.choice(spoilt)
    event = said.events[at]
    place = event.rindex(b'"')
    wrong = dice.choice([b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe6\x97"])
    return Sent(
        Truth.BROKEN, b"".join([*said.events[:at], event[:place] + wrong + event[place:], *said.events[at + 1 :]])
    )


def failed(dice: Random, said: Whole) -> Sent:
    """The provider says that it failed: then it ends, goes on, hangs or breaks off."""
    at = _between(dice, said)
    rest = said.events[at:] if dice.random() < 0.4 else []
    body = b"".join([*said.events[:at], failure(said.speech), *rest])
    return Sent(Truth.BROKEN, body, dice.choice(["end", "end", "fin", "hang", "reset"]))


def too_large(dice: Random, said: Whole) -> Sent:
    """An event above the cap."""
    at = _between(dice, said)
    if said.speech.name == "converse":
        big = (LARGE).to_bytes(4, "big") + b"x" * LARGE
    else:
        big = b'data: {"x": "' + b"x" * LARGE + b'"}\n\n'
    return Sent(Truth.BROKEN, b"".join([*said.events[:at], big, *said.events[at:]]), sizes=[1 << 20])


def wrong_chunks(dice: Random, said: Whole) -> Sent:
    """A chunk whose size is wrong or is none. What came with it may be lost, so behind the end it is left open."""
    at = min(_cut(dice, said), len(said.body) - 1)
    lie = dice.choice(["longer", "shorter", "xyz", "-5", "", "f" * 18])
    comes = lie in ("longer", "shorter")  # the chunk itself does, and may hold the end
    truth = Truth.EITHER if comes or at >= said.edge - MARGIN else Truth.BROKEN
    return Sent(truth, said.body, dice.choice(["end", "fin"]), spoiled=at, lie=lie)


def ends_twice(dice: Random, said: Whole) -> Sent:
    """The last event several times."""
    times = dice.randint(1, 3)
    return Sent(Truth.WHOLE, said.body + said.events[-1] * times, dice.choice(["end", "fin"]))


def no_terminator(dice: Random, said: Whole) -> Sent:
    """Nothing behind the event that says why the answer ended."""
    return Sent(Truth.WHOLE, said.body[: said.edge], dice.choice(["end", "fin"]))


def no_reason(dice: Random, said: Whole) -> Sent:
    """A terminator, but nothing that says why. Where the two are one event, neither."""
    body = b"".join([*said.events[: said.last], *said.events[said.last + 1 :]])
    truth = Truth.EITHER if said.speech.name in ("chat", "messages", "converse") else Truth.BROKEN
    return Sent(truth, body, dice.choice(["end", "fin"]), finish=False)


def pings_only(dice: Random, said: Whole) -> Sent:
    """Life, but nothing said."""
    ping = (said.speech.ping or b": ping\n\n") if said.speech.name in SSE else b""
    return Sent(Truth.BROKEN, ping * dice.randint(0, 9), dice.choice(["end", "fin", "hang", "reset"]))


def no_answer(dice: Random, said: Whole) -> Sent:
    """Not even a head; or a page, or JSON, instead of a stream."""
    kind = dice.choice(["", "text/html", "application/json"])
    if not kind:
        return Sent(Truth.BROKEN, ending=dice.choice(["fin", "reset", "hang"]), silent=True)
    return Sent(Truth.BROKEN, b"<html>" if "html" in kind else b'{"error": {"message": "it broke"}}', kind=kind)


# How often each is drawn.
FAULTS: dict[str, tuple[float, Fault]] = {
    "nothing wrong": (12, nothing),
    "ended early, cleanly": (14, ended_early),
    "closed without the last chunk": (12, closed),
    "shorter than its length": (8, short),
    "reset": (10, reset),
    "silent from some byte on": (3, stalled),
    "garbage among the events": (7, garbage),
    "bytes behind the end": (6, garbage_behind),
    "invalid UTF-8": (5, invalid_text),
    "an error of the provider": (8, failed),
    "an event too large": (0.3, too_large),
    "wrong chunk sizes": (8, wrong_chunks),
    "the end several times": (4, ends_twice),
    "no terminator": (4, no_terminator),
    "no reason for the end": (4, no_reason),
    "pings only, or nothing": (3, pings_only),
    "no answer at all": (2, no_answer),
}


def draw(dice: Random, said: Whole) -> tuple[str, Sent]:
    """A fault for this stream, and the slices in which its bytes go out."""
    name = dice.choices(list(FAULTS), [weight for weight, _ in FAULTS.values()])[0]
    sent = FAULTS[name][1](dice, said)
    if not sent.sizes:
        finest = [1] if len(sent.body) < 3000 else [50]
        sent.sizes = dice.choice([ALL_AT_ONCE, ALL_AT_ONCE, finest, [2, 3, 7, 40], [1, 400], [17, 100, 1000]])
    return name, sent


async def play(sent: Sent, speech: str, received: Received, wire: Wire) -> None:
    """The answer as it is planned, on the provider's end of the connection."""
    if not sent.silent:
        headers = {"content-type": sent.kind or TYPES.get(speech, "text/event-stream")}
        if sent.framing == "length":
            headers["content-length"] = str(sent.declared if sent.declared is not None else len(sent.body))
        await wire.head(200, headers, framing=sent.framing)
        await _pieces(sent, wire)
    if sent.ending == "hang":
        await received.gone.wait()
    elif sent.ending == "reset":
        await asyncio.sleep(0.01)  # what was not read yet would be lost, and most resets come later than that
        wire.reset()
    elif sent.ending == "fin":
        wire.close()
    elif sent.framing == "chunked":
        await wire.end()


async def _pieces(sent: Sent, wire: Wire) -> None:
    at = turn = 0
    while at < len(sent.body):
        piece = sent.body[at : at + sent.sizes[turn % len(sent.sizes)]]
        if sent.spoiled is not None and at <= sent.spoiled < at + len(piece):
            await wire.send(_lying_chunk(piece, sent.lie))
        elif sent.framing == "chunked":
            await wire.chunk(piece)
        else:
            await wire.send(piece)
        at, turn = at + len(piece), turn + 1


def _lying_chunk(piece: bytes, lie: str) -> bytes:
    known = {"longer": b"%x" % (len(piece) + 2), "shorter": b"%x" % (len(piece) - 1) if len(piece) > 1 else b"xyz"}
    return known.get(lie, lie.encode()) + b"\r\n" + piece + b"\r\n"
