"""Every provider's dialect behind every client's, failing in every way: the client sees one ending, a true one."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from time import process_time
from typing import Any

import aiohttp
import pytest

from proxy.dialects.base import DialectName, Unreadable, dialect
from proxy.dialects.blocks import Finish
from proxy.dialects.events import Done, Failed, Finished
from proxy.engine import heard as hearing
from tests.dialects.test_translation import IDS, PAIRS, REPLIES, TYPES, behind, text_of
from tests.support.speech import ANTHROPIC, CHAT, GEMINI, Speech
from tests.support.upstream import Received, Script, Wire, amazon_frame, answer, event

TEXTS = ("good ", "day, ", "to you")
# How many of a stream's events from its end may be missing of an answer that is whole all the same: what says why it
# ended is there, the terminator or the usage behind it is not (docs/what-fails-over.md).
SPARE = {"chat": 1, "messages": 1, "converse": 1}
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
GARBAGE = {"converse": b"\x00\x00\x00\x20garbage, and no frame", "ollama_chat": b"{garbage\n"}
LIST = {
    "converse": amazon_frame(b"[1]", {":event-type": "metadata", ":message-type": "event"}),
    "ollama_chat": b"[1]\n",
}
SECOND = {
    "ollama_chat": b'{"error": "late"}\n',
    "converse": b"HTTP/1.1 500 late",
    "cohere_chat": b'event: message-end\ndata: {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}\n\n',
}


@dataclass(frozen=True)
class Fault:
    """What the provider does, and whether the client has a whole answer all the same."""

    name: str
    script: Script
    whole: bool = False
    stream: bool = True
    says: str = ""  # what of the provider's words reaches the client


def _sent(speech: Speech, pieces: list[bytes], *, kind: str = "", reset: bool = False) -> Script:
    """A stream of these pieces, each in a chunk of its own; `reset`: and the connection breaks."""

    async def script(_received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": kind or TYPES.get(speech.name, "text/event-stream")})
        for piece in pieces:
            await wire.chunk(piece)
        if reset:
            wire.close()  # without the last chunk
        else:
            await wire.end()

    return script


def _cuts(speech: Speech) -> Iterator[Fault]:
    events = speech.events(*TEXTS)
    enough = len(events) - SPARE.get(speech.name, 0)
    for at in range(len(events)):
        whole = at >= enough
        yield Fault(f"cut before event {at}", _sent(speech, events[:at]), whole)
        yield Fault(f"lost before event {at}", _sent(speech, events[:at], reset=True), whole)
        half = events[at][: len(events[at]) // 2]
        if not whole:
            yield Fault(f"cut inside event {at}", _sent(speech, [*events[:at], half]))


def _faults(speech: Speech) -> Iterator[Fault]:
    events, opening = speech.events(*TEXTS), speech.opening(*TEXTS)
    failure = speech.failure("overloaded_error", "it broke")
    garbage = GARBAGE.get(speech.name, b"data: {garbage\n\n")
    second = SECOND.get(speech.name, events[-1])
    no_object = LIST.get(speech.name, b"data: [1]\n\n")
    yield from _cuts(speech)
    yield Fault("nothing wrong", _sent(speech, events), True)
    yield Fault("all in one piece", _sent(speech, [b"".join(events)]), True)
    yield Fault("an error first", _sent(speech, [failure]), says="it broke")
    yield Fault("an error behind content", _sent(speech, [*opening, failure]), says="it broke")
    yield Fault("an error and more behind it", _sent(speech, [*opening, failure, *events[-2:]]), says="it broke")
    yield Fault("garbage first", _sent(speech, [garbage, *events]))
    yield Fault("garbage behind content", _sent(speech, [*opening, garbage, *events[len(opening) :]]))
    yield Fault("the end twice", _sent(speech, [*events, second]), True)
    yield Fault("the end twice, at once", _sent(speech, [b"".join(events) + second]), True)
    yield Fault("garbage behind the end", _sent(speech, [*events, garbage]), True)
    yield Fault("garbage behind the end, at once", _sent(speech, [b"".join(events) + garbage]), True)
    yield Fault("a list behind the end, at once", _sent(speech, [b"".join(events) + no_object]), True)
    if speech.name in ("chat", "messages", "responses", "converse"):  # the others have no terminator before it
        yield Fault("an error behind the end", _sent(speech, [*events, failure]), True)
        yield Fault("more text behind the end, at once", _sent(speech, [b"".join(events) + opening[-1]]), True)
    yield Fault("a page", _sent(speech, [HTML], kind="text/html"))
    yield Fault("a page as a stream", _sent(speech, [HTML]))
    yield Fault("nothing as a stream", _sent(speech, []))
    yield Fault("nothing", answer(b""))
    whole = REPLIES.get(speech.name, speech.whole)
    yield Fault("JSON for a stream", answer(whole))
    yield Fault("an error for a stream", answer({"error": {"message": "it broke", "code": 503}}), says="it broke")
    yield Fault("a stream for JSON", _sent(speech, events), stream=False)
    yield Fault("a page for JSON", answer(HTML, headers={"content-type": "text/html"}), stream=False)
    yield Fault("nothing for JSON", answer(b""), stream=False)
    yield Fault("half of JSON", answer(json.dumps(whole).encode()[:-9]), stream=False)
    yield Fault("an empty object", answer({}), stream=False)
    yield Fault("a list", answer([whole]), stream=False)
    yield Fault("an error for JSON", answer({"error": {"message": "it broke"}}), stream=False, says="it broke")


@pytest.mark.parametrize(("client", "speech"), PAIRS, ids=IDS)
async def test_a_client_sees_one_ending_whatever_the_provider_does(
    redeo: Any, provider: Any, client: Speech, speech: Speech
) -> None:
    faults = list(_faults(speech))
    server, _ = await behind(redeo, provider, (speech, faults[0].script))
    (up,) = _
    health = server.daemon.front.engine.health
    wrong = []
    for fault in faults:
        health._states.clear()  # each fault meets a connection without a past
        up.scripts[:] = [fault.script]
        path, body = client.asked(stream=fault.stream)
        got = await server.request("POST", path, json=body)
        try:
            _check(client, fault, got)
        except AssertionError as exc:
            wrong.append(f"{fault.name}: {got.status} {got.body[-300:]!r}: {exc}")
    assert not wrong, "\n".join(wrong)


def _check(client: Speech, fault: Fault, got: Any) -> None:
    """One ending, and the right one, in the client's words; what it was told of the text is true."""
    assert not got.broken, "broken off"
    text = "".join(TEXTS)
    streamed = got.headers["content-type"].startswith("text/event-stream")
    if streamed:
        assert got.status == 200
        assert client.endings(got.body) == ((1, 0) if fault.whole else (0, 1))
        said = _said(client, got.body)
        assert said == text if fault.whole else text.startswith(said)
    else:
        assert not fault.whole, "an answer that is whole"
        assert got.status >= 400
        assert got.headers["x-should-retry"] in ("true", "false")
    if not fault.whole:
        error = client.error_of(got.body) if streamed else got.json["error"]
        assert fault.says in error["message"]
        assert "garbage" not in got.body.decode()
        assert "Bad Gateway" not in got.body.decode()
    assert got.attempts == ("alpha=200" if fault.whole or streamed else got.attempts)


async def test_a_provider_that_talks_on_behind_its_end_keeps_nobody_waiting(redeo: Any, provider: Any) -> None:
    async def script(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        await wire.chunk(b"".join(ANTHROPIC.events(*TEXTS)))
        while not received.gone.is_set():
            await wire.chunk(ANTHROPIC.ping)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(received.gone.wait(), 0.05)

    up = await provider(script)
    server = await redeo({"alpha": ANTHROPIC.entry(up)}, routing={"timeouts": {"idle": 30}})
    path, body = GEMINI.asked(stream=True)
    async with asyncio.timeout(10):  # the clock of its silence has not run out by then
        got = await server.request("POST", path, json=body)
    assert (got.status, GEMINI.endings(got.body)) == (200, (1, 0))
    assert text_of(GEMINI, got.body, streamed=True) == "".join(TEXTS)


async def test_an_answer_without_end_is_too_large_at_last(
    redeo: Any, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "MAX_STREAM_BYTES", 1_000_000)
    endless = [*ANTHROPIC.opening("good "), *([ANTHROPIC.opening("x" * 10_000)[-1]] * 300)]
    server, _ = await behind(redeo, provider, (ANTHROPIC, _sent(ANTHROPIC, endless)))
    path, body = CHAT.asked(stream=True)
    got = await server.request("POST", path, json=body)
    assert CHAT.endings(got.body) == (0, 1)
    assert CHAT.error_of(got.body)["code"] == "event_too_large"


async def test_a_mistake_of_our_own_breaks_the_answer_off(
    redeo: Any, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def script(_received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        await wire.chunk(b"".join(ANTHROPIC.opening("good ")))
        await begun.wait()
        monkeypatch.setattr(hearing, "MAX_STREAM_BYTES", None)  # as good a mistake as any
        await wire.chunk(b"".join(ANTHROPIC.events("day")[-3:]))

    server, _ = await behind(redeo, provider, (ANTHROPIC, script))
    path, body = CHAT.asked(stream=True)
    got, error = b"", ""
    headers = {"Authorization": f"Bearer {server.key}"}
    async with asyncio.timeout(10), server.session.post(server.base + path, json=body, headers=headers) as response:
        try:
            async for piece in response.content.iter_any():
                got += piece
                begun.set()
        except aiohttp.ClientError as exc:
            error = repr(exc)
    assert b"good" in got
    assert b"[DONE]" not in got
    assert error, "an answer cut short passes for whole"
    assert "chunk size" not in error, "an answer within the answer"


def heard(name: DialectName, *pieces: bytes) -> list[Any]:
    parser = dialect(name).parser("o")
    return [*(event for piece in pieces for event in parser.feed(piece)), *parser.close()]


def choice(at: int, **fields: Any) -> bytes:
    return event({"id": "c1", "model": "m", "choices": [{"index": at, "delta": {"content": "so"}, **fields}]})


def test_of_two_answers_both_have_to_be_whole() -> None:
    one_of_two = [choice(0), choice(1), choice(0, finish_reason="stop")]
    assert heard(DialectName.CHAT, *one_of_two)[-1] == Failed()
    both = heard(DialectName.CHAT, *one_of_two, choice(1, finish_reason="length"))
    assert [e.choice for e in both if isinstance(e, Finished)] == [0, 1]
    said = heard(DialectName.CHAT, *one_of_two, b"data: [DONE]\n\n")
    assert [e.choice for e in said if isinstance(e, Finished)] == [0, 1], "that says it of all of them"
    assert isinstance(said[-1], Done)


def test_an_end_is_no_answer() -> None:
    for nothing in (b"", event({"id": "c1", "model": "m", "choices": []})):
        assert heard(DialectName.CHAT, nothing, b"data: [DONE]\n\n")[-1] == Failed()


def test_an_answer_that_is_still_being_made_is_none() -> None:
    with pytest.raises(Unreadable):
        list(dialect(DialectName.RESPONSES).read_answer({"id": "r", "status": "in_progress", "output": []}, "o"))


def test_an_incomplete_answer_is_told_as_one() -> None:
    ended = event({"type": "response.incomplete", "response": {"id": "r", "output": []}})
    assert [e.reason for e in heard(DialectName.RESPONSES, ended) if isinstance(e, Finished)] == [Finish.OTHER]


@pytest.mark.parametrize("when", ["NaN", "Infinity", "1e999", "9" * 400])
def test_a_date_may_be_any_number(when: str) -> None:
    begun = event({"type": "response.created", "response": {"id": "r", "created_at": 0}})
    ended = event({"type": "response.completed", "response": {"id": "r", "output": []}})
    assert isinstance(heard(DialectName.RESPONSES, begun.replace(b": 0", b": " + when.encode()), ended)[-1], Done)


def test_a_place_in_arguments_may_be_any_number() -> None:
    piece = {"jsonPath": f"$.a[{'9' * 5000}]", "stringValue": "x"}
    call = {"functionCall": {"name": "f", "partialArgs": [piece], "willContinue": False}}
    said = {"candidates": [{"content": {"parts": [call]}, "finishReason": "STOP"}]}
    assert isinstance(heard(DialectName.GEMINI, event(said))[-1], Done)


def _in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _line() -> list[bytes]:
    line = {"message": {"content": "x" * 12_000_000}, "done": True}
    return _in_pieces(json.dumps(line).encode() + b"\n", 1000)


def _signed() -> list[bytes]:
    delta = {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "s" * 1000}}}
    named = {":event-type": "contentBlockDelta", ":message-type": "event"}
    end = amazon_frame(b'{"stopReason": "end_turn"}', {**named, ":event-type": "messageStop"})
    return [*[amazon_frame(json.dumps(delta).encode(), named)] * 12_000, end]


def _searched() -> list[bytes]:
    delta = {"contentBlockIndex": 0, "delta": {"toolResult": [{"text": "x"}]}}
    named = {":event-type": "contentBlockDelta", ":message-type": "event"}
    start = {"contentBlockIndex": 0, "start": {"toolResult": {"toolUseId": "t"}}}
    begin = amazon_frame(json.dumps(start).encode(), {**named, ":event-type": "contentBlockStart"})
    end = amazon_frame(b'{"stopReason": "end_turn"}', {**named, ":event-type": "messageStop"})
    return [begin, *[amazon_frame(json.dumps(delta).encode(), named)] * 30_000, end]


def _spoken() -> list[bytes]:
    audio = {"id": "a", "transcript": "t" * 1000}
    delta = event({"choices": [{"index": 0, "delta": {"audio": audio}}]})
    return [*[delta] * 12_000, b"data: [DONE]\n\n"]


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        (DialectName.OLLAMA, _line),
        (DialectName.CONVERSE, _signed),
        (DialectName.CONVERSE, _searched),
        (DialectName.CHAT, _spoken),
    ],
)
def test_what_comes_in_many_pieces_costs_no_more_than_its_size(name: DialectName, pieces: Any) -> None:
    given = pieces()
    begun = process_time()
    assert isinstance(heard(name, *given)[-1], Done)
    assert process_time() - begun < 3, "quadratic: half a minute and more"


def _said(client: Speech, body: bytes) -> str:
    """The text so far: the events of the ending left out."""
    kept = []
    for raw in body.split(b"\n\n"):
        if raw and b'"error"' not in raw and b"response.failed" not in raw:
            kept.append(raw + b"\n\n")
    return text_of(client, b"".join(kept), streamed=True)
