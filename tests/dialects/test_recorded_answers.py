"""Every recorded answer, read into the hub and written again: in its own dialect equal in meaning, in the others too.

What may differ in its own dialect: white space inside JSON arguments, the provider's own extra fields, the ids of
items, a date that was not given, whether thinking counts as text or as its summary, and where it is cut into blocks.
What must be equal in another: texts, tool calls, finish reason, usage.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import anthropic.types
import google.genai.types
import openai.types.chat
import openai.types.responses
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.dialects.base import Dialect, DialectName, ReplyHead, Target, dialect
from proxy.dialects.blocks import Finish
from proxy.dialects.events import Answer, Broken, Event, Kind, Laws, Piece, fold, unfold
from proxy.dialects.request import BadRequest, Request

DIALECTS = {
    "openai.chat": DialectName.CHAT,
    "anthropic.messages": DialectName.MESSAGES,
    "openai.responses": DialectName.RESPONSES,
    "gemini.generate": DialectName.GEMINI,
    "bedrock.converse": DialectName.CONVERSE,
    "cohere.chat": DialectName.COHERE,
}
CLIENTS = (DialectName.CHAT, DialectName.MESSAGES, DialectName.RESPONSES, DialectName.GEMINI)
SDK: dict[DialectName, Any] = {
    DialectName.CHAT: openai.types.chat.ChatCompletion,
    DialectName.MESSAGES: anthropic.types.Message,
    DialectName.RESPONSES: openai.types.responses.Response,
    DialectName.GEMINI: google.genai.types.GenerateContentResponse,
}
CALLS = (Kind.TOOL_CALL, Kind.CUSTOM_CALL)
OBJECTS = (DialectName.MESSAGES, DialectName.GEMINI)  # where arguments are objects, not texts
PAIRS = [(here, there) for here in DIALECTS.values() for there in CLIENTS if here is not there]


def head(home: DialectName) -> ReplyHead:
    return ReplyHead("req_1", 1_700_000_000, Request(home, "m", ()), "m")


def answers(recordings: Path, of: DialectName) -> list[dict[str, Any]]:
    name = next(key for key, value in DIALECTS.items() if value is of)
    found = [json.loads(path.read_bytes()) for path in sorted(recordings.glob(f"*/{name}/*.json"))]
    assert len(found) > (5 if of is DialectName.COHERE else 30)
    return [x for x in found if x["response"]["status"] == 200]


def stream_of(exchange: dict[str, Any]) -> bytes:
    response = exchange["response"]
    if response.get("events_encoding") == "base64":
        return b"".join(base64.b64decode(event) for event in response["events"])
    return b"".join(event.encode("utf-8", "surrogatepass") for event in response["events"])


def lawful(events: list[Event]) -> list[Event]:
    laws = Laws()
    return [laws.see(event) for event in events]


def streamed(spoken: Dialect, data: bytes) -> list[Event]:
    parser = spoken.parser("o")
    return lawful([*parser.feed(data), *parser.close()])


def heard(exchange: dict[str, Any], spoken: Dialect) -> list[Event]:
    if "events" in exchange["response"]:
        return streamed(spoken, stream_of(exchange))
    return lawful(list(spoken.read_answer(exchange["response"]["body"], "o")))


def meaning(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def of_piece(piece: Piece) -> Any:
    raw = dict(piece.raw.data) if piece.raw is not None and isinstance(piece.raw.data, dict) else None
    for name in ("input", "content") if (raw and piece.kind is Kind.SERVER_CALL) or (raw and piece.text) else ():
        raw.pop(name, None)
    text = meaning(piece.text) if piece.kind in (*CALLS, Kind.SERVER_CALL) else piece.text
    cites = [(cite.url, cite.title, cite.quote) for cite in piece.cites]
    seal = piece.seal.data if piece.seal is not None else None
    if isinstance(seal, dict):  # with its text beside it, or without
        seal = [seal.get(name) for name in ("signature", "data", "encrypted_content")]
    kind = Kind.REASONING if piece.kind is Kind.SUMMARY else piece.kind
    return kind, piece.id if piece.kind in CALLS else "", piece.name, piece.choice, text, cites, seal, raw


def whole(answer: Answer) -> Any:
    finishes = {at: finish.reason for at, finish in answer.finishes.items()}
    tokens = [token for piece in answer.pieces for token in piece.logprobs]
    pieces = [of_piece(piece) for piece in answer.pieces if piece.kind not in (Kind.REASONING, Kind.SUMMARY)]
    thoughts = [of_piece(piece) for piece in answer.pieces if piece.kind in (Kind.REASONING, Kind.SUMMARY)]
    thinking = "".join(row[4] for row in thoughts), [row[6] for row in thoughts if row[6]]
    return pieces, thinking, finishes, answer.count, tokens


@pytest.mark.parametrize("of", DIALECTS.values())
def test_an_answer_written_in_its_own_dialect_means_the_same(recordings: Path, of: DialectName) -> None:
    spoken = dialect(of)
    for exchange in answers(recordings, of):
        try:
            answer = fold(heard(exchange, spoken))
        except Broken:
            assert {"anomalous_stream", "error_in_200"} & set(exchange["features"]), exchange["id"]
            continue
        renderer = spoken.renderer(head(of))
        again = streamed(spoken, b"".join(renderer.event(event) for event in unfold(answer)))
        assert whole(fold(again)) == whole(answer), f"{exchange['id']}: the stream"
        if "spliced" in exchange["id"]:
            continue  # its arguments end in the middle, which no whole answer can say
        body = json.loads(json.dumps(spoken.write_answer(answer, head(of))))
        assert whole(fold(lawful(list(spoken.read_answer(body, "o"))))) == whole(answer), f"{exchange['id']}: whole"


def told(answer: Answer) -> Any:
    """What every dialect can tell of the first choice."""
    texts = "".join(p.text for p in answer.pieces if p.kind in (Kind.TEXT, Kind.REFUSAL) and p.choice == 0)
    calls = [(p.id, p.name, meaning(p.text)) for p in answer.pieces if p.kind in CALLS and p.choice == 0]
    count = answer.count
    usage = None if count is None else (count.input, count.output, count.cached)
    return texts, calls, usage


# A finish that another dialect has no word for, and the nearest that it has.
NEAREST = {
    Finish.STOP_SEQUENCE: Finish.STOP,
    Finish.REFUSAL: Finish.CONTENT_FILTER,
    Finish.CONTEXT: Finish.LENGTH,
    Finish.PAUSE: Finish.STOP,
    Finish.OTHER: Finish.STOP,
}


def ending(answer: Answer) -> Any:
    reason = answer.finishes[0].reason
    calls = any(p.kind in CALLS for p in answer.pieces)
    plain = NEAREST.get(reason, reason)
    return Finish.TOOL_CALLS if calls and plain is Finish.STOP else plain


@pytest.mark.parametrize(("here", "there"), PAIRS)
def test_an_answer_in_another_dialect_says_the_same(recordings: Path, here: DialectName, there: DialectName) -> None:
    spoken, wanted = dialect(here), dialect(there)
    for exchange in answers(recordings, here):
        try:
            answer = fold(heard(exchange, spoken))
        except Broken:
            continue
        if there in OBJECTS and ("spliced" in exchange["id"] or any(p.kind is Kind.CUSTOM_CALL for p in answer.pieces)):
            continue  # what is no JSON object becomes one of one string there
        renderer = wanted.renderer(head(there))
        events = streamed(wanted, b"".join(renderer.event(event) for event in unfold(answer)))
        body = json.loads(json.dumps(wanted.write_answer(answer, head(there))))
        SDK[there].model_validate(body)
        for got in (fold(events), fold(lawful(list(wanted.read_answer(body, "o"))))):
            texts, calls, usage = told(answer)
            named = [call if known[0] else ("", *call[1:]) for call, known in zip(told(got)[1], calls, strict=True)]
            assert (told(got)[0], named) == (texts, calls), exchange["id"]
            assert usage is None or told(got)[2] == usage, exchange["id"]
            assert ending(got) == ending(answer), exchange["id"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_split_of_a_stream_reads_the_same(recordings: Path, data: st.DataObject) -> None:
    of = data.draw(st.sampled_from(list(DIALECTS.values())))
    streams = [x for x in answers(recordings, of) if "events" in x["response"]]
    text = stream_of(data.draw(st.sampled_from(streams)))[:60_000]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    parser = dialect(of).parser("o")
    events = [event for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) for event in parser.feed(text[a:b])]
    assert lawful([*events, *parser.close()]) == streamed(dialect(of), text)


@pytest.mark.parametrize("of", DIALECTS.values())
def test_a_recorded_request_written_again_reads_the_same(recordings: Path, of: DialectName) -> None:
    spoken = dialect(of)
    read = 0
    for exchange in answers(recordings, of):
        body = exchange["request"].get("body")
        if not isinstance(body, dict):
            continue
        try:
            request = spoken.read_request(body)
        except BadRequest:
            continue
        written, losses = spoken.write_request(request, Target("o", "m"))
        if not losses:
            again = spoken.read_request(json.loads(json.dumps(written)))
            assert (again.turns, again.tools) == (request.turns, request.tools), exchange["id"]
            read += 1
    assert read >= (2 if of is DialectName.COHERE else 15)
