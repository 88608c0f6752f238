"""Pictures and sounds in answers: every client that has a word for them gets them, and hands them back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.dialects.aspects import Aspect, missing
from proxy.dialects.base import DialectName, ReplyHead, Target, dialect
from proxy.dialects.blocks import Finish, Image, Source
from proxy.dialects.events import Answer, Event, Finished, Kind, Piece, fold, unfold
from proxy.dialects.request import Request, Role
from tests.support.judges import JUDGES, Told
from tests.support.recorded import DIALECTS, folded, head, lawful, streamed

CHAT, GEMINI, MESSAGES, RESPONSES = (
    DialectName.CHAT, DialectName.GEMINI, DialectName.MESSAGES, DialectName.RESPONSES,
)  # fmt: skip
PNG, WEBP = "iVBORw0KGgo=", "UklGRgAAAABXRUJQ"
DRAW = (*(name for name in JUDGES if name not in (MESSAGES, DialectName.COHERE)), DialectName.OLLAMA)
SEEN = [name for name in DRAW if name in JUDGES]
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # google-genai's, of aiohttp


def answer(*pieces: Piece) -> Answer:
    return Answer("a", "m", 1, list(pieces), {0: Finished(Finish.STOP)})


def drawn(found: Answer) -> list[tuple[str, str]]:
    return [(piece.media_type, piece.text) for piece in found.pieces if piece.kind is Kind.IMAGE]


def wire(name: DialectName, given: Answer) -> tuple[bytes, bytes]:
    """Whole, and as a stream."""
    spoken = dialect(name)
    renderer = spoken.renderer(head(name))
    stream = b"".join(renderer.event(event) for event in unfold(given))
    return json.dumps(spoken.write_answer(given, head(name))).encode(), stream


def both(name: DialectName, given: Answer) -> list[Answer]:
    spoken = dialect(name)
    body, stream = wire(name, given)
    whole = lawful(list(spoken.read_answer(json.loads(body), "o")))
    return [fold(whole), fold(streamed(spoken, stream))]


def read(name: DialectName, body: dict[str, Any]) -> Answer:
    return fold(lawful(list(dialect(name).read_answer(body, "o"))))


def judged(name: DialectName, given: Answer) -> list[Told]:
    body, stream = wire(name, given)
    return [JUDGES[name](body, False), JUDGES[name](stream, True)]


# --- out of what providers wrote


@pytest.mark.recordings
@pytest.mark.parametrize(("of", "least"), [(GEMINI, 2), (RESPONSES, 4)])
def test_recorded_pictures_are_read_and_told_in_every_dialect_that_has_them(
    recordings: Path, of: DialectName, least: int
) -> None:
    found = [given for _, given in folded(recordings, of) if drawn(given)]
    assert len(found) >= least
    for given in found:
        for there in DRAW:
            for again in both(there, given):
                assert [data for _, data in drawn(again)] == [data for _, data in drawn(given)], there
        for there in (MESSAGES, DialectName.COHERE):
            assert Aspect.IMAGES in missing(unfold(given), dialect(there).untold)
            assert "iVBOR" not in str(dialect(there).write_answer(given, head(there)))


@pytest.mark.recordings
def test_a_sketch_of_a_picture_is_not_the_picture(recordings: Path) -> None:
    """Streams repeat the picture as a partial one before it is done."""
    streams = [found for exchange, found in folded(recordings, RESPONSES) if exchange["stream"] and drawn(found)]
    assert len(streams) >= 2
    assert all(len(drawn(found)) == 1 for found in streams)


@pytest.mark.parametrize("there", SEEN)
def test_its_sdk_shows_the_pictures(there: DialectName) -> None:
    given = answer(
        Piece(Kind.TEXT, text="here "), Piece(Kind.IMAGE, text=PNG), Piece(Kind.IMAGE, text=WEBP, media="image/webp")
    )
    for told in judged(there, given):
        assert told.pictures == [("image/png", PNG), ("image/webp", WEBP)]
        assert told.text == "here "
        assert told.finish == "stop"


@pytest.mark.parametrize("there", DRAW)
def test_data_in_fragments_are_one_picture(there: DialectName) -> None:
    spoken = dialect(there)
    renderer = spoken.renderer(head(there))
    events: list[Event] = []
    for event in unfold(answer(Piece(Kind.IMAGE, text=PNG, media="image/png"))):
        text = getattr(event, "text", "")
        events += [type(event)(0, piece) for piece in (text[:3], text[3:])] if text else [event]  # type: ignore[call-arg]
    stream = b"".join(renderer.event(event) for event in lawful(events))
    assert drawn(fold(streamed(spoken, stream))) == [("image/png", PNG)]


def test_what_stands_beside_a_picture_stays_beside_it_at_home() -> None:
    part = {
        "inlineData": {"mimeType": "image/png", "data": PNG, "displayName": "cat.png"},
        "mediaResolution": {"level": "MEDIA_RESOLUTION_HIGH"}, "thoughtSignature": "BBBB",
    }  # fmt: skip
    body: dict[str, Any] = {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]}
    given = read(GEMINI, body)
    assert drawn(given) == [("image/png", PNG)]
    written = dialect(GEMINI).write_answer(given, head(GEMINI))
    assert written["candidates"][0]["content"]["parts"] == [part]
    item = {
        "type": "image_generation_call", "id": "ig_1", "status": "completed", "result": WEBP, "output_format": "webp",
        "revised_prompt": "a cat", "size": "1024x1024",
    }  # fmt: skip
    given = read(RESPONSES, {"output": [item], "status": "completed"})
    assert dialect(RESPONSES).write_answer(given, head(RESPONSES))["output"] == [item]
    row = {"type": "image_url", "image_url": {"url": f"data:image/webp;base64,{WEBP}", "detail": "high"}, "seed": 1}
    given = read(CHAT, chat({"content": "x", "images": [row]}))
    assert drawn(given) == [("image/webp", WEBP)]
    assert dialect(CHAT).write_answer(given, head(CHAT))["choices"][0]["message"]["images"] == [row]


def chat(message: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": "stop", "index": 0}]}


def test_pictures_in_a_stream_of_openrouters() -> None:
    row = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}, "index": 0}
    deltas = [{"content": "here "}, {"content": "", "images": [row]}, {"content": "it is"}]
    said = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    said.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    stream = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in said) + b"data: [DONE]\n\n"
    found = fold(streamed(dialect(CHAT), stream))
    assert [(piece.kind, piece.text) for piece in found.pieces] == [
        (Kind.TEXT, "here "), (Kind.IMAGE, PNG), (Kind.TEXT, "it is"),
    ]  # fmt: skip


def test_a_picture_at_an_address_stays_one_at_home_and_is_missed_elsewhere() -> None:
    row = {"type": "image_url", "image_url": {"url": "https://a.example/cat.png"}}
    given = read(CHAT, chat({"content": None, "images": [row]}))
    for again in both(CHAT, given):
        assert [piece.raw.data for piece in again.pieces if piece.raw] == [row]
    for there in (MESSAGES, RESPONSES, GEMINI):
        assert missing(unfold(given), dialect(there).untold)


def test_a_sketch_that_was_made_while_thinking_is_no_picture_of_the_answer() -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": PNG}, "thought": True}
    given = read(GEMINI, {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]})
    assert drawn(given) == []
    assert dialect(GEMINI).write_answer(given, head(GEMINI))["candidates"][0]["content"]["parts"] == [part]


@pytest.mark.parametrize("whole", [True, False])
def test_a_picture_of_amazons(whole: bool) -> None:
    given = answer(Piece(Kind.IMAGE, text=PNG, media="image/png"))
    found = both(DialectName.CONVERSE, given)[0 if whole else 1]
    assert drawn(found) == [("image/png", PNG)]
    kept = {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://a/b.png"}}}}
    found = read(DialectName.CONVERSE, {"output": {"message": {"content": [kept]}}, "stopReason": "end_turn"})
    assert [(piece.kind, piece.raw and piece.raw.data) for piece in found.pieces] == [(Kind.FOREIGN, kept)]


# --- sounds


SOUND = {"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": "AAA="}}


def test_what_gemini_says_aloud_is_heard_by_a_client_of_chat() -> None:
    parts = [SOUND, {"inlineData": {"mimeType": SOUND["inlineData"]["mimeType"], "data": "AQE="}}]
    given = read(GEMINI, {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]})
    assert [(piece.kind, piece.text) for piece in given.pieces] == [(Kind.AUDIO, "AAA="), (Kind.AUDIO, "AQE=")]
    body, _ = wire(CHAT, given)
    assert JUDGES[CHAT](body, False).sounds == [("pcm16", "AAABAQ==")]
    audio = json.loads(body)["choices"][0]["message"]["audio"]
    assert audio["expires_at"] <= ReplyHead("r", 1_700_000_000, Request(CHAT, "m", ()), "m").created
    assert dialect(GEMINI).write_answer(given, head(GEMINI))["candidates"][0]["content"]["parts"] == parts


def test_a_sound_of_geminis_in_a_stream_of_chat() -> None:
    given = read(GEMINI, {"candidates": [{"content": {"parts": [SOUND]}, "finishReason": "STOP"}]})
    _, stream = wire(CHAT, given)
    assert JUDGES[CHAT](stream, True).sounds == [("pcm16", "AAA=")]


# --- handed back


def asked(name: DialectName, assistant: Any) -> dict[str, Any]:
    """What a client sends that hands back an answer with a picture."""
    if name is CHAT:
        turns = [{"role": "user", "content": "draw"}, assistant, {"role": "user", "content": "bigger"}]
        return {"model": "m", "messages": turns}
    if name is RESPONSES:
        first, last = ({"role": "user", "content": text} for text in ("draw", "bigger"))
        return {"model": "m", "input": [first, assistant, last]}
    first, last = ({"role": "user", "parts": [{"text": text}]} for text in ("draw", "bigger"))
    return {"contents": [first, assistant, last]}


ANSWERS = {
    CHAT: {
        "role": "assistant", "content": "here",
        "images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}],
    },
    RESPONSES: {
        "type": "image_generation_call", "id": "ig_1", "status": "completed", "result": PNG, "output_format": "png",
    },
    GEMINI: {"role": "model", "parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]},
}  # fmt: skip


@pytest.mark.parametrize("here", ANSWERS)
def test_a_picture_that_is_handed_back_is_a_picture_of_the_assistants(here: DialectName) -> None:
    request = dialect(here).read_request(asked(here, ANSWERS[here]))
    assert [turn.role for turn in request.turns] == [Role.USER, Role.ASSISTANT, Role.USER]
    (image,) = (block for block in request.turns[1].content if isinstance(block, Image))
    assert image.source == Source(data=PNG, media_type="image/png")
    assert not any("images" in name for name in request.extras)


@pytest.mark.parametrize("here", ANSWERS)
@pytest.mark.parametrize("there", [*ANSWERS, MESSAGES, DialectName.CONVERSE, DialectName.COHERE])
def test_another_provider_gets_the_picture_that_is_handed_back(here: DialectName, there: DialectName) -> None:
    request = dialect(here).read_request(asked(here, ANSWERS[here]))
    body, losses = dialect(there).write_request(request, Target("o", "gemini-2.5-flash-image"))
    assert [loss for loss in losses if loss.content] == []
    turns = dialect(there).read_request(json.loads(json.dumps(body))).turns
    (of,) = (turn.role for turn in turns for block in turn.content if isinstance(block, Image))
    assert of is (Role.ASSISTANT if there in (here, GEMINI) else Role.USER)  # where no answer holds one, the user does
    assert [turn.role for turn in turns][-1] is Role.USER
    assert PNG in json.dumps(body)
    if here is there:
        assert ANSWERS[here] in (body.get("messages") or body.get("input") or body["contents"])


def test_results_still_stand_behind_the_calls_of_an_answer_with_a_picture() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body = asked(CHAT, {**ANSWERS[CHAT], "tool_calls": [call]})
    body["messages"].insert(2, {"role": "tool", "tool_call_id": "c1", "content": "7"})
    request = dialect(CHAT).read_request(body)
    request.home = MESSAGES
    written, _ = dialect(CHAT).write_request(request, Target("o", "m"))
    assert [message["role"] for message in written["messages"]] == ["user", "assistant", "tool", "user", "user"]


def test_images_of_another_form_are_dropped_by_name() -> None:
    request = dialect(CHAT).read_request(asked(CHAT, {"role": "assistant", "content": "x", "images": ["AAAA"]}))
    assert "messages[1].images" in request.extras


def test_every_dialect_either_draws_or_says_that_it_does_not() -> None:
    given = answer(Piece(Kind.IMAGE, text=PNG, media="image/png"), Piece(Kind.TEXT, text="so"))
    for name in DialectName:
        told = [bool(drawn(found)) for found in both(name, given)]
        assert told == [Aspect.IMAGES not in dialect(name).untold] * 2, name
    assert set(DIALECTS.values()) < set(DialectName)
