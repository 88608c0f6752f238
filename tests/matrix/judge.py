"""The official SDKs as judges of every answer of the fault matrix: a whole one reads as whole, a broken one is noticed.

A stream that breaks must raise in the SDK of Chat Completions and in Anthropic's. OpenAI's hands the events `error` and
`response.failed` of Responses to its user without raising; there the user must be able to see one of them, and no
completed response.
"""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from proxy.dialects.base import DialectName
from tests.support import judges
from tests.support.daemon import Answer
from tests.support.speech import Speech, parse

DIALECTS = {"chat": DialectName.CHAT, "messages": DialectName.MESSAGES, "responses": DialectName.RESPONSES}
# What an SDK raises for a stream that says it failed, and for one whose connection broke off.
FAILED = (openai.APIError, anthropic.APIError)
REFUSED = (openai.APIStatusError, anthropic.APIStatusError)
BROKEN = (openai.APIConnectionError, anthropic.APIConnectionError, httpx2.TransportError)


def judge(speech: Speech, answer: Answer) -> None:
    """Have the SDK of the dialect read an answer as it went over the wire."""
    streamed = answer.headers.get("content-type", "").startswith("text/event-stream")
    if answer.status >= 400:
        _refused(speech, answer)
    elif not streamed:
        assert not answer.broken
        assert judges.JUDGES[DIALECTS[speech.name]](answer.body, False).finish
    elif answer.broken:
        with pytest.raises(BROKEN), judges.broken_off():
            judges.JUDGES[DIALECTS[speech.name]](answer.body, True)
    elif speech.endings(answer.body) == (1, 0):
        told = judges.JUDGES[DIALECTS[speech.name]](answer.body, True)
        assert told.text == said(answer.body)
        assert told.finish
    elif speech.name == "responses":
        _seen(judges.response_events(answer.body))
    else:
        with pytest.raises(FAILED):
            judges.JUDGES[DIALECTS[speech.name]](answer.body, True)


def _refused(speech: Speech, answer: Answer) -> None:
    """A refusal raises with its status, and what it says is there to be read."""
    with judges.refused(answer.status), pytest.raises(REFUSED) as raised:
        judges.JUDGES[DIALECTS[speech.name]](answer.body, False)
    told: Any = raised.value
    assert told.status_code == answer.status
    assert told.message


def _seen(events: list[Any]) -> None:
    """The user of a broken stream of Responses is told so, and told of no completed response."""
    kinds = [event.type for event in events]
    assert {"error", "response.failed"} & set(kinds)
    assert kinds[-1] in ("error", "response.failed")
    assert not {"response.completed", "response.incomplete"} & set(kinds)


def said(body: bytes) -> str:
    """The text of a stream, as it stands on the wire."""
    texts = []
    for _, data in parse(body)[0]:
        value = {} if data == "[DONE]" else json.loads(data)
        if value.get("type") == "response.output_text.delta":
            texts.append(value["delta"])
        elif value.get("type") == "content_block_delta":
            texts.append(value["delta"].get("text", ""))
        for choice in value.get("choices", ()):
            texts.append(choice["delta"].get("content") or "")
    return "".join(texts)
