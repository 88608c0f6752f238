"""Streams that fail before their first content, and after it, in each dialect: never a silent end."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.support.speech import ANTHROPIC, CHAT, RESPONSES, Bench, Speech, outcome, parse
from tests.support.upstream import Script, Wire, error, stream


def cut(events: list[bytes], ending: str) -> Script:
    """A stream that says this and then ends in one of the ways in which streams break."""
    if ending == "fin chunked":
        return stream(events, ending="fin")
    if ending == "fin close-framed":
        return stream(events, ending="fin", framing="close")
    if ending == "rst":
        return stream(events, ending="reset")
    if ending == "clean end":
        return stream(events, ending="whole")
    headers = {"content-length": str(sum(map(len, events)) + 100)}
    return stream(events, ending="fin", framing="length", headers=headers)


ENDINGS = ["fin chunked", "fin close-framed", "rst", "clean end", "short of its length"]
BREAKS = pytest.mark.parametrize("ending", ENDINGS)


async def broken_after(b: Bench, events: list[bytes], code: str, result: str) -> dict[str, Any]:
    """Ask, and hold the answer against: these events intact, then one error, nobody else asked. The error."""
    got = await b.ask(stream=True)
    assert got.status == 200
    assert got.attempts == "alpha=200"
    whole = b"".join(events)
    assert got.body.startswith(whole)
    assert b.speech.endings(got.body) == (0, 1)
    said = b.speech.error_of(got.body[len(whole) :])
    assert said["code"] == code
    assert "alpha" in said["message"]
    if b.speech is RESPONSES:
        assert parse(got.body)[0][-1][0] == "response.failed"
    if "beta" in b.ups:
        assert not b.s.requests
    assert await b.server.metric(outcome("alpha", result)) == 1
    assert await b.server.metric(f'redeo_streams_interrupted_total{{connection="alpha",reason="{result}"}}') == 1
    return said


@BREAKS
async def test_a_stream_that_ends_before_its_content_falls_back(bench: Any, speech: Speech, ending: str) -> None:
    b = await bench(cut(speech.opening(), ending), speech.good("full"), speech=speech)
    got = await b.ask(stream=True)
    assert got.status == 200
    assert got.attempts == "alpha=interrupted beta=200"
    assert got.body == b"".join(speech.events("full"))


@BREAKS
async def test_a_stream_that_ends_before_its_content_and_nobody_else_is_there(
    bench: Any, speech: Speech, ending: str
) -> None:
    b = await bench(cut(speech.opening(), ending), speech=speech)
    got = await b.ask(stream=True)
    assert got.status == 502
    assert got.json["error"]["code"] == "bad_upstream_response"


@BREAKS
async def test_a_stream_that_ends_in_its_middle_says_so(bench: Any, speech: Speech, ending: str) -> None:
    events = speech.opening(*["some", "words", "of", "an", "answer"])
    b = await bench(cut(events, ending), speech.good(), speech=speech)
    await broken_after(b, events, "upstream_stream_interrupted", "interrupted")


@BREAKS
async def test_half_an_event_is_not_passed_on(bench: Any, speech: Speech, ending: str) -> None:
    events = speech.opening("one", "two")
    halves = [events[-1][:-20], events[-1][:-2], b"data: {", b"event: x\n"]  # a fifth would open the breaker
    b = await bench(cut([*events, halves[0]], ending), speech=speech)
    b.p.scripts += [cut([*events, half], ending) for half in halves[1:]]
    for _ in halves:
        got = await b.ask(stream=True)
        assert got.body.startswith(b"".join(events))
        behind, _ = parse(got.body[len(b"".join(events)) :])
        assert len(behind) == (2 if speech is RESPONSES else 1), got.body[-300:]
        assert speech.endings(got.body) == (0, 1)


async def test_a_whole_answer_cut_short_falls_back(bench: Any, speech: Speech) -> None:
    async def short(received: Any, wire: Wire) -> None:
        await wire.head(200, {"content-type": "application/json", "content-length": "5000"}, framing="length")
        await wire.send(b'{"choices": [')
        wire.close()

    b = await bench(short, speech.good(), speech=speech)
    assert (await b.ask()).attempts == "alpha=interrupted beta=200"


@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize("reset", [True, False], ids=["rst", "fin"])
async def test_a_whole_answer_that_breaks_off_falls_back(bench: Any, speech: Speech, framing: str, reset: bool) -> None:
    async def short(received: Any, wire: Wire) -> None:
        await wire.head(200, {"content-type": "application/json"}, framing=framing)
        await (wire.chunk if framing == "chunked" else wire.send)(b'{"choices": [')
        wire.reset() if reset else wire.close()

    b = await bench(short, speech.good(), speech=speech)
    got = await b.ask()
    assert (got.status, got.headers["x-redeo-provider"]) == (200, "beta")


async def test_only_pings_are_no_answer(bench: Any, speech: Speech) -> None:
    async def pings(received: Any, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        for event in speech.opening():
            await wire.chunk(event)
        while not received.gone.is_set():
            await wire.chunk(speech.ping)
            await asyncio.sleep(0.02)

    b = await bench(pings, speech.good(), speech=speech)
    begun = time.monotonic()
    got = await b.ask(stream=True)
    assert got.attempts == "alpha=timeout beta=200"
    assert 0.4 <= time.monotonic() - begun < 0.7
    assert got.body == b"".join(speech.events("yes"))


async def test_silence_before_the_content_falls_back(bench: Any, speech: Speech) -> None:
    b = await bench(stream(speech.opening(), ending="hang"), speech.good(), speech=speech)
    assert (await b.ask(stream=True)).attempts == "alpha=timeout beta=200"


async def test_silence_after_content_is_a_stall(bench: Any, speech: Speech) -> None:
    events = speech.opening("one", "two")
    b = await bench(stream(events, ending="hang"), speech.good(), speech=speech)
    begun = time.monotonic()
    said = await broken_after(b, events, "upstream_stalled", "stall")
    assert 0.4 <= time.monotonic() - begun < 0.6
    assert "0.4 s" in said["message"]
    async with asyncio.timeout(1):
        await b.p.requests[0].gone.wait()


async def test_half_an_event_and_silence_is_a_stall(bench: Any, speech: Speech) -> None:
    events = speech.opening("one")
    b = await bench(stream([*events, events[-1][:-9]], ending="hang"), speech.good(), speech=speech)
    await broken_after(b, events, "upstream_stalled", "stall")


async def test_pings_keep_a_stream_alive(bench: Any, speech: Speech) -> None:
    ends = speech.events("one", "two")
    begun = len(speech.opening("one"))

    async def slow(received: Any, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        for event in ends[:begun]:
            await wire.chunk(event)
        for _ in range(8):  # 0.8 s, twice the clock
            await wire.chunk(speech.ping)
            await asyncio.sleep(0.1)
        for event in ends[begun:]:
            await wire.chunk(event)
        await wire.end()

    b = await bench(slow, speech.good(), speech=speech)
    got = await b.ask(stream=True)
    assert speech.endings(got.body) == (1, 0)
    assert got.body == b"".join([*ends[:begun], speech.ping * 8, *ends[begun:]])


async def test_pings_alone_do_not_keep_it_alive_for_ever(
    bench: Any, speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.engine.pump._PING_LIFE", 0.5)

    async def pings(received: Any, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        for event in speech.opening("one"):
            await wire.chunk(event)
        while not received.gone.is_set():
            await wire.chunk(speech.ping)
            await asyncio.sleep(0.02)

    b = await bench(pings, speech.good(), speech=speech)
    await broken_after(b, speech.opening("one"), "upstream_stalled", "stall")


@pytest.mark.parametrize("code", ["overloaded_error", "rate_limit_error", "server_error", "authentication_error"])
async def test_an_error_as_first_event_falls_back(bench: Any, speech: Speech, code: str) -> None:
    failure = speech.failure(code, "it failed")
    kinds = {"overloaded_error": "overload", "rate_limit_error": "rate", "server_error": "upstream_5xx"}
    for before in ([], [speech.ping, *speech.opening()]):
        b = await bench(stream([*before, failure]), speech.good(), speech=speech)
        got = await b.ask(stream=True)
        assert got.attempts == f"alpha={kinds.get(code, 'auth')} beta=200"
        assert got.body == b"".join(speech.events("yes"))


async def test_an_error_in_the_middle_is_passed_on_as_it_was_said(bench: Any, speech: Speech) -> None:
    events = [*speech.opening("one", "two"), speech.failure("overloaded_error", "Overloaded")]
    b = await bench(stream([*events, *speech.events()[-1:]]), speech.good(), speech=speech)
    got = await b.ask(stream=True)
    assert got.body == b"".join(events)
    assert got.attempts == "alpha=200"
    assert not b.s.requests
    assert await b.server.metric(outcome("alpha", "overload")) == 1


async def test_an_error_of_the_clients_own_in_a_stream_does_not_move_on(bench: Any, speech: Speech) -> None:
    events = [*speech.opening(), speech.failure("invalid_request_error", "bad `tools`")]
    b = await bench(stream(events), speech.good(), speech=speech)
    got = await b.ask(stream=True)
    assert got.body == b"".join(events)
    assert not b.s.requests
    assert await b.server.metric(outcome("alpha", "client_invalid")) == 1


@pytest.mark.parametrize("ending", ["whole", "fin", "reset", "hang"])
async def test_a_bare_error_event_of_responses_gets_its_response_failed(bench: Any, ending: str) -> None:
    events = [*RESPONSES.opening("one"), RESPONSES.failure("server_error", "it broke").partition(b"\n\n")[0] + b"\n\n"]
    b = await bench(stream(events, ending=ending), RESPONSES.good(), speech=RESPONSES)
    got = await b.ask(stream=True)
    assert got.body.startswith(b"".join(events))
    names = [name for name, _ in parse(got.body)[0]]
    assert names[-2:] == ["error", "response.failed"]
    assert "it broke" in parse(got.body)[0][-1][1]
    assert await b.server.metric(outcome("alpha", "upstream_5xx")) == 1


@BREAKS
async def test_a_finished_chat_without_its_terminator_gets_one(bench: Any, ending: str) -> None:
    events = CHAT.events("one", "two")
    tails = [b"", b"data: [DO", b"data: [DONE]", b": x\n"]
    b = await bench(cut([*events[:-1], b""], ending), CHAT.good())
    b.p.scripts = [cut([*events[:-1], *filter(None, [tail])], ending) for tail in tails]
    for _ in tails:
        assert (await b.ask(stream=True)).body == b"".join(events)
    assert await b.server.metric(outcome("alpha", "ok")) == len(tails)


@BREAKS
async def test_a_finished_message_without_its_terminator_gets_one(bench: Any, ending: str) -> None:
    events = ANTHROPIC.events("one", "two")
    b = await bench(cut(events[:-1], ending), ANTHROPIC.good(), speech=ANTHROPIC)
    got = await b.ask(stream=True)
    assert ANTHROPIC.endings(got.body) == (1, 0)
    assert got.body.startswith(b"".join(events[:-1]))
    assert await b.server.metric(outcome("alpha", "ok")) == 1


async def test_a_finished_stream_that_is_not_closed_is_closed_here(bench: Any, speech: Speech) -> None:
    b = await bench(stream(speech.events("one"), ending="hang"), speech=speech)
    begun = time.monotonic()
    got = await b.ask(stream=True)
    assert got.body == b"".join(speech.events("one"))
    assert time.monotonic() - begun < 1.3
    assert await b.server.metric(outcome("alpha", "ok")) == 1


@pytest.mark.parametrize("ending", ["clean end", "fin close-framed"])
async def test_a_last_event_without_its_empty_line_is_made_whole(bench: Any, speech: Speech, ending: str) -> None:
    ways = [b"".join(speech.events("one")).replace(b"\n", line_end) for line_end in (b"\n", b"\r\n", b"\r")]
    lacking = [way[: -2 if way.endswith(b"\r\n") else -1] for way in ways]
    b = await bench(speech.good(), speech=speech)
    b.p.scripts = [cut([plain], ending) for plain in lacking]
    for plain, short in zip(ways, lacking, strict=True):
        got = await b.ask(stream=True)
        if speech is CHAT:  # `[DONE]` is understood as it is, so it stays as it is
            assert got.body == short
        else:
            assert parse(got.body) == parse(plain)


async def test_nothing_follows_a_terminator(bench: Any, speech: Speech) -> None:
    events = speech.events("one")
    text = speech.opening("one")[-1]
    junk = [events[-1], b": comment\n\n", text, b"data: not json\n\n", b"garbage", speech.failure("server_error", "x")]
    b = await bench(speech.good(), speech=speech)
    b.p.scripts = [stream([*events, behind]) for behind in junk] + [stream([b"".join([*events, *junk])])]
    for _ in [*junk, "all"]:
        assert (await b.ask(stream=True)).body == b"".join(events)
    assert await b.server.metric(outcome("alpha", "ok")) == len(junk) + 1


async def test_a_provider_that_talks_on_behind_its_terminator_is_left(bench: Any, speech: Speech) -> None:
    events = speech.events("one")

    async def talkative(received: Any, wire: Wire) -> None:
        await stream(events, ending="none")(received, wire)
        while not received.gone.is_set():
            await wire.chunk(speech.ping)
            await asyncio.sleep(0.02)

    b = await bench(talkative, speech=speech)
    begun = time.monotonic()
    got = await b.ask(stream=True)
    assert time.monotonic() - begun < 1.5
    assert got.body.startswith(b"".join(events[:-1]))
    async with asyncio.timeout(1):
        await b.p.requests[0].gone.wait()


async def test_what_leaves_something_behind_does_not_move_on_from_a_broken_stream(bench: Any, speech: Speech) -> None:
    b = await bench(cut(speech.opening(), "rst"), speech.good(), speech=speech)
    got = await b.ask(stream=True, store=True)
    assert (got.status, got.json["error"]["code"]) == (502, "upstream_uncertain")
    assert not b.s.requests


async def test_every_one_of_them_broken_is_one_error(bench: Any, speech: Speech) -> None:
    b = await bench(cut(speech.opening(), "rst"), error(500), stream(speech.opening(), ending="hang"), speech=speech)
    got = await b.ask(stream=True)
    assert got.attempts == "alpha=interrupted beta=500 gamma=timeout"
    assert got.status == 504
    for name in ("alpha", "beta", "gamma"):
        assert name in got.json["error"]["message"]
