"""Rows 15 to 24: streams that fail before their first content, and after it; never a silent end."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.matrix.framework import ANTHROPIC, CHAT, RESPONSES, Case, Row
from tests.matrix.rows_connect import NOISE, took
from tests.support.speech import Speech, outcome, parse
from tests.support.upstream import Received, Script, Wire, error, hang, stream

PINGS = Row(15, "a stream of nothing but pings", "the next one answers once the clock of the first byte is over")
STALL = Row(
    16, "silence after k events", "`upstream_stalled` in the stream once the idle clock is over; a failure of the first"
)
ERROR_FIRST = Row(17, "an error as the first event of a 200", "the next one answers; the first by the error's class")
ERROR_LATER = Row(
    18, "an error after k events", "those events and that error as they came; the first by the error's class"
)
CUT_CHUNKED = Row(
    19,
    "FIN in the middle, chunked or with a length",
    "before any content the next one answers, else 502; after it `upstream_stream_interrupted` in the stream",
)
CUT_CLOSED = Row(
    20, "FIN in the middle, framed by the close or ended in order", "the same, though the end looks like a clean one"
)
CUT_RESET = Row(21, "RST in the middle", "the same")
HALF = Row(22, "half an event, then FIN or RST", "the same; nothing of the half event is passed on")
UNTERMINATED = Row(
    23,
    "the reason for the end is there, the terminator is missing",
    "a whole answer: the terminator is added, and counted",
)
BEHIND = Row(24, "bytes behind the terminator, a second terminator", "one terminator, nothing behind it")

ADDED = 'redeo_streams_unended_total{connection="alpha"}'
WORDS = ("some ", "words ", "of ", "an ", "answer")


def cut(events: list[bytes], ending: str) -> Script:
    """A stream that says this and then ends in one of the ways in which streams break."""
    if ending == "fin":
        return stream(events, ending="fin")
    if ending == "fin, framed by the close":
        return stream(events, ending="fin", framing="close")
    if ending == "rst":
        return stream(events, ending="reset")
    if ending == "in order":
        return stream(events, ending="whole")
    headers = {"content-length": str(sum(map(len, events)) + 100)}
    return stream(events, ending="fin", framing="length", headers=headers)


CHUNKED = ("fin", "short of its length")
CLOSED = ("fin, framed by the close", "in order")
ENDINGS = (*CHUNKED, *CLOSED, "rst")


async def breaks_after(case: Case, events: list[bytes], code: str, result: str) -> dict[str, Any]:
    """Ask: these events come intact, then one error of this code, and nobody else is asked. The error."""
    got = await case.ask()
    bench = case.benches[-1]
    whole = b"".join(events)
    assert (got.status, got.attempts) == (200, "alpha=200")
    assert got.body.startswith(whole)
    assert case.speech.endings(got.body) == (0, 1)
    said = case.speech.error_of(got.body[len(whole) :])
    assert said["code"] == code
    assert "alpha" in said["message"]
    if case.speech is RESPONSES:
        assert parse(got.body)[0][-1][0] == "response.failed"
    assert not [up for name, up in bench.ups.items() if name != "alpha" and up.requests]
    assert await bench.server.metric(outcome("alpha", result)) == 1
    assert await bench.server.metric(f'redeo_streams_interrupted_total{{connection="alpha",reason="{result}"}}') == 1
    return said


# --- rows 15 and 16


def pings(ping: bytes, before: list[bytes]) -> Script:
    """A stream that begins like this and then has nothing but pings."""

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        for event in before:
            await wire.chunk(event)
        while not received.gone.is_set():
            await wire.chunk(ping)
            await asyncio.sleep(0.02)

    return script


@PINGS.case(whole=False, each=("from its head", "behind its opening", "comments", "silence"))
async def no_content(case: Case, how: str) -> None:
    opening = [] if how == "from its head" else case.speech.opening()
    ping = b": still at it\n\n" if how == "comments" else case.speech.ping
    first = stream(opening, ending="hang") if how == "silence" else pings(ping, opening)
    b = await case.bench(first, case.speech.good("full"))
    with took(0.4, 0.4 + NOISE):
        got = await case.moves_on("timeout")
    assert got.body == b"".join(case.speech.events("full"))
    async with asyncio.timeout(1):
        await b.p.wait_closed()


@PINGS.case(whole=False)
async def from_everybody(case: Case) -> None:
    await case.bench(pings(case.speech.ping, case.speech.opening()), hang())
    assert (await case.ask()).status == 504


@STALL.case(whole=False, each=(1, 5))
async def silence_after(case: Case, count: int) -> None:
    events = case.speech.opening(*WORDS[:count])
    b = await case.bench(stream(events, ending="hang"), case.good)
    with took(0.4, 0.4 + NOISE):
        said = await breaks_after(case, events, "upstream_stalled", "stall")
    assert "0.4 s" in said["message"]
    async with asyncio.timeout(1):
        await b.p.wait_closed()


@STALL.case(whole=False)
async def silence_after_half_an_event(case: Case) -> None:
    events = case.speech.opening("one")
    await case.bench(stream([*events, events[-1][:-9]], ending="hang"), case.good)
    await breaks_after(case, events, "upstream_stalled", "stall")


@STALL.case(stream=False)
async def whole_answer_stalls(case: Case) -> None:
    async def script(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "application/json"})
        await wire.chunk(b'{"id": ')
        await received.gone.wait()

    clocks = {"connect": 1, "first_byte": 0.4, "idle": 0.2, "total": 0.4, "before_answer": 5}
    await case.bench(script, case.good, routing={"timeouts": clocks})
    with took(0.4, 0.4 + NOISE):
        await case.moves_on("timeout")


@STALL.case(whole=False, fault_free=True)
async def pings_keep_it_alive(case: Case) -> None:
    events, begun = case.speech.events("one", "two"), len(case.speech.opening("one"))

    async def slow(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        for event in events[:begun]:
            await wire.chunk(event)
        for _ in range(8):  # 0.8 s, twice the clock
            await wire.chunk(case.speech.ping)
            await asyncio.sleep(0.1)
        for event in events[begun:]:
            await wire.chunk(event)
        await wire.end()

    await case.bench(slow, case.good)
    got = await case.ask()
    assert got.body == b"".join([*events[:begun], case.speech.ping * 8, *events[begun:]])


# --- rows 17 and 18

CODES = {
    "overload": ("overloaded_error", "overload", "closed"),
    "rate": ("rate_limit_error", "rate", "cooling"),
    "failure": ("server_error", "upstream_5xx", "closed"),
    "key": ("authentication_error", "auth", "disabled"),
    "quota": ("insufficient_quota", "quota", "quota"),
}


@ERROR_FIRST.case(whole=False, each=CODES)
async def at_once(case: Case, error_of: tuple[str, str, str]) -> None:
    code, kind, state = error_of
    await case.bench(stream([case.speech.failure(code, "it failed")]), case.speech.good("full"))
    assert (await case.moves_on(kind)).body == b"".join(case.speech.events("full"))
    assert await case.state() == state


@ERROR_FIRST.case(whole=False, each=CODES)
async def behind_its_opening(case: Case, error_of: tuple[str, str, str]) -> None:
    code, kind, state = error_of
    events = [case.speech.ping, *case.speech.opening(), case.speech.failure(code, "it failed")]
    await case.bench(stream(events), case.speech.good("full"))
    assert (await case.moves_on(kind)).body == b"".join(case.speech.events("full"))
    assert await case.state() == state


@ERROR_FIRST.case(whole=False)
async def of_the_client(case: Case) -> None:
    """What the client did wrong is told to it, and nobody else is asked."""
    events = [*case.speech.opening(), case.speech.failure("invalid_request_error", "bad `tools`")]
    b = await case.bench(stream(events), case.good)
    assert (await case.ask()).body == b"".join(events)
    assert not b.s.requests
    assert await b.server.metric(outcome("alpha", "client_invalid")) == 1


@ERROR_LATER.case(whole=False, each=CODES)
async def after_content(case: Case, error_of: tuple[str, str, str]) -> None:
    code, kind, state = error_of
    events = [*case.speech.opening(*WORDS), case.speech.failure(code, "it broke")]
    b = await case.bench(stream([*events, *case.speech.events()[-1:]]), case.good)
    got = await case.ask()
    assert (got.body, got.attempts) == (b"".join(events), "alpha=200")
    assert not b.s.requests
    assert await b.server.metric(outcome("alpha", kind)) == 1
    assert await case.state() == state


@ERROR_LATER.case(whole=False, dialects=(RESPONSES,), each=("whole", "fin", "reset", "hang"))
async def without_response_failed(case: Case, ending: str) -> None:
    """`error` alone does not reach every user of OpenAI's SDK: `response.failed` is put behind it."""
    events = [*RESPONSES.opening("one"), RESPONSES.failure("server_error", "it broke").partition(b"\n\n")[0] + b"\n\n"]
    b = await case.bench(stream(events, ending=ending), case.good)
    got = await case.ask()
    assert got.body.startswith(b"".join(events))
    assert [name for name, _ in parse(got.body)[0]][-2:] == ["error", "response.failed"]
    assert "it broke" in parse(got.body)[0][-1][1]
    assert await b.server.metric(outcome("alpha", "upstream_5xx")) == 1


# --- rows 19 to 22


async def _before_content(case: Case, ending: str) -> None:
    await case.bench(cut(case.speech.opening(), ending), case.speech.good("full"))
    assert (await case.moves_on("interrupted")).body == b"".join(case.speech.events("full"))


async def _after_content(case: Case, ending: str) -> None:
    events = case.speech.opening(*WORDS)
    await case.bench(cut(events, ending), case.good)
    await breaks_after(case, events, "upstream_stream_interrupted", "interrupted")


async def _nobody_else(case: Case, ending: str) -> None:
    await case.bench(cut(case.speech.opening(), ending))
    got = await case.ask()
    assert (got.status, got.json["error"]["code"]) == (502, "bad_upstream_response")


@CUT_CHUNKED.case(whole=False, each=CHUNKED)
async def chunked_before_content(case: Case, ending: str) -> None:
    await _before_content(case, ending)


@CUT_CHUNKED.case(whole=False, each=CHUNKED)
async def chunked_after_content(case: Case, ending: str) -> None:
    await _after_content(case, ending)


@CUT_CHUNKED.case(whole=False, each=CHUNKED)
async def chunked_nobody_else(case: Case, ending: str) -> None:
    await _nobody_else(case, ending)


@CUT_CLOSED.case(whole=False, each=CLOSED)
async def closed_before_content(case: Case, ending: str) -> None:
    await _before_content(case, ending)


@CUT_CLOSED.case(whole=False, each=CLOSED)
async def closed_after_content(case: Case, ending: str) -> None:
    await _after_content(case, ending)


@CUT_CLOSED.case(whole=False, each=CLOSED)
async def closed_nobody_else(case: Case, ending: str) -> None:
    await _nobody_else(case, ending)


@CUT_RESET.case(whole=False)
async def reset_before_content(case: Case) -> None:
    await _before_content(case, "rst")


@CUT_RESET.case(whole=False)
async def reset_after_content(case: Case) -> None:
    await _after_content(case, "rst")


@CUT_RESET.case(whole=False)
async def reset_nobody_else(case: Case) -> None:
    await _nobody_else(case, "rst")


def short(framing: str, *, reset: bool = False) -> Script:
    """A whole answer that breaks off."""

    async def script(received: Received, wire: Wire) -> None:
        headers = {"content-type": "application/json", **({"content-length": "5000"} if framing == "length" else {})}
        await wire.head(200, headers, framing=framing)
        await (wire.chunk if framing == "chunked" else wire.send)(b'{"id": "x", "choices": [')
        if reset:
            await asyncio.sleep(0.01)  # let the bytes arrive
            wire.reset()
        else:
            wire.close()

    return script


@CUT_CHUNKED.case(stream=False, each=("chunked", "length"))
async def whole_answer(case: Case, framing: str) -> None:
    await case.bench(short(framing), case.good)
    await case.moves_on("interrupted")


@CUT_CHUNKED.case(stream=False, each=("chunked", "length"))
async def whole_answer_nobody_else(case: Case, framing: str) -> None:
    await case.bench(short(framing))
    got = await case.ask()
    assert (got.status, got.json["error"]["code"]) == (502, "bad_upstream_response")


@CUT_CLOSED.case(stream=False)
async def whole_answer_closed(case: Case) -> None:
    await case.bench(short("close"), case.good)
    await case.moves_on("bad_upstream")  # nothing says that it is not all, but that it is no JSON


@CUT_RESET.case(stream=False, each=("chunked", "close", "length"))
async def whole_answer_reset(case: Case, framing: str) -> None:
    await case.bench(short(framing, reset=True), case.good)
    await case.moves_on("interrupted")


@CUT_RESET.case(whole=False)
async def with_something_kept(case: Case) -> None:
    """What leaves something behind does not move on from a broken stream."""
    b = await case.bench(cut(case.speech.opening(), "rst"), case.good)
    got = await case.ask(store=True)
    assert (got.status, got.json["error"]["code"]) == (502, "upstream_uncertain")
    assert not b.s.requests


@CUT_RESET.case(whole=False)
async def everyone_in_another_way(case: Case) -> None:
    opening = case.speech.opening()
    await case.bench(cut(opening, "rst"), error(500), stream(opening, ending="hang"))
    got = await case.ask()
    assert (got.status, got.attempts) == (504, "alpha=interrupted beta=500 gamma=timeout")
    assert all(name in got.json["error"]["message"] for name in ("alpha", "beta", "gamma"))


@HALF.case(whole=False, each=ENDINGS)
async def half(case: Case, ending: str) -> None:
    events = case.speech.opening("one", "two")
    halves = [events[-1][:-20], events[-1][:-2], b"data: {", b"event: x\n"]  # a fifth would open the breaker
    b = await case.bench(cut([*events, halves[0]], ending), case.good)
    b.p.scripts += [cut([*events, piece], ending) for piece in halves[1:]]
    for _ in halves:
        got = await case.ask()
        assert got.body.startswith(b"".join(events))
        behind, _ = parse(got.body[len(b"".join(events)) :])
        assert len(behind) == (2 if case.speech is RESPONSES else 1), got.body[-300:]
        assert case.speech.endings(got.body) == (0, 1)
    assert not b.s.requests


# --- rows 23 and 24


@UNTERMINATED.case(whole=False, dialects=(CHAT,), each=ENDINGS)
async def finished_chat(case: Case, ending: str) -> None:
    events = CHAT.events("one", "two")
    tails = [b"", b"data: [DO", b"data: [DONE]", b": x\n"]
    b = await case.bench(cut(events[:-1], ending), case.good)
    b.p.scripts += [cut([*events[:-1], tail], ending) for tail in tails[1:]]
    for _ in tails:
        assert (await case.ask()).body == b"".join(events)
    assert await b.server.metric(outcome("alpha", "ok")) == len(tails)
    assert await b.server.metric(ADDED) == len(tails)
    assert not b.s.requests


@UNTERMINATED.case(whole=False, dialects=(ANTHROPIC,), each=ENDINGS)
async def finished_message(case: Case, ending: str) -> None:
    events = ANTHROPIC.events("one", "two")
    b = await case.bench(cut(events[:-1], ending), case.good)
    got = await case.ask()
    assert ANTHROPIC.endings(got.body) == (1, 0)
    assert got.body.startswith(b"".join(events[:-1]))
    assert await b.server.metric(outcome("alpha", "ok")) == 1
    assert await b.server.metric(ADDED) == 1


@UNTERMINATED.case(whole=False)
async def finished_and_not_closed(case: Case) -> None:
    """The terminator is there, and the provider keeps its side open: the answer ends here all the same."""
    b = await case.bench(stream(case.speech.events("one"), ending="hang"))
    with took(0, 1 + NOISE):
        assert (await case.ask()).body == b"".join(case.speech.events("one"))
    assert await b.server.metric(outcome("alpha", "ok")) == 1


def junk(speech: Speech) -> dict[str, bytes]:
    """What providers send behind a terminator."""
    text = speech.opening("one")[-1]
    return {
        "terminator": speech.events("one")[-1],
        "comment": b": comment\n\n",
        "text": text,
        "no json": b"data: not json\n\n",
        "garbage": b"garbage",
        "error": speech.failure("server_error", "x"),
    }


@BEHIND.case(whole=False, each=(*junk(CHAT), "all"))
async def dropped(case: Case, what: str) -> None:
    events, found = case.speech.events("one"), junk(case.speech)
    behind = b"".join(found.values()) if what == "all" else found[what]
    b = await case.bench(stream([*events, behind]), case.good)
    b.p.scripts.append(stream([b"".join([*events, behind])]))
    for _ in range(2):  # apart from it, and in one piece with it
        assert (await case.ask()).body == b"".join(events)
    assert await b.server.metric(outcome("alpha", "ok")) == 2


@BEHIND.case(whole=False)
async def without_end(case: Case) -> None:
    events = case.speech.events("one")

    async def talkative(received: Received, wire: Wire) -> None:
        await stream(events, ending="none")(received, wire)
        while not received.gone.is_set():
            await wire.chunk(case.speech.ping)
            await asyncio.sleep(0.02)

    b = await case.bench(talkative)
    with took(0, 1.5):
        got = await case.ask()
    assert got.body.startswith(b"".join(events[:-1]))
    async with asyncio.timeout(1):
        await b.p.wait_closed()
