"""Pictures and sounds in answers: every client that has a word for them gets them, and hands them back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.dialects.base import DialectName, Target, dialect
from proxy.dialects.blocks import Image, Source
from proxy.dialects.request import Role

CHAT, GEMINI, MESSAGES, RESPONSES = (
    DialectName.CHAT, DialectName.GEMINI, DialectName.MESSAGES, DialectName.RESPONSES,
)  # fmt: skip
PNG, WEBP = "iVBORw0KGgo=", "UklGRgAAAABXRUJQ"


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
@pytest.mark.parametrize("there", ANSWERS)
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
