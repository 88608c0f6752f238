"""A request that is quoted in its refusal may say anything: it does not change the class."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.fault import FaultKind
from proxy.routing import classify_error, classify_response

WALL = datetime(2026, 11, 14, 12, 0, 0, tzinfo=UTC)
K = FaultKind


def _openai(message: str, kind: str | None = None, code: Any = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


_TAKEN = [
    "rate limit reached, please try again in 5s",
    "Invalid API key",
    "incorrect api key provided: x",
    "API key not valid",
    "unauthorized",
    "authentication_error",
    "Your credit balance is too low",
    "insufficient_quota",
    "insufficient quota",
    "You exceeded your current quota",
    "spending limit",
    "The model `x` does not exist",
    "model not found",
    "no such model",
    "the requested model is not supported",
    "maximum context length is 8192 tokens",
    "prompt is too long",
    "content policy",
    "your input was flagged by moderation",
    "User location is not supported",
    "overloaded",
    "It's said: it isn't. Invalid API key",
]
_QUOTES = [
    "Invalid value: '{}'. Supported values are: 'low' and 'high'.",
    "Invalid value at 'contents[0].parts[0]' (text), \"{}\"",
    "messages.0.content: unexpected value {}",
    "Input should be 'user' or 'assistant', got {}",
    "Could not parse the JSON body of your request near: {}",
    "Validation error: {}",
    "Value error, {}",
    "1 validation error for ChatRequest\nmessages.0.role\n  input_value={}",
    "Tool call validation failed: parameters for tool {} did not match the schema",
    "Unknown parameter: `{}`.",
    "[{{'role': 'user', 'content': '{}'}}] is not of type 'object'",
]


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("quote", _QUOTES)
@pytest.mark.parametrize("taken", _TAKEN)
def test_a_quoted_prompt_does_not_change_the_class(status: int, quote: str, taken: str) -> None:
    message = quote.format(taken)
    row = {"loc": ["body", "messages", 0, "content"], "msg": message, "type": "value_error", "input": taken}
    bodies = [
        _openai(message, "invalid_request_error", "invalid_value"),
        {"type": "error", "error": {"type": "invalid_request_error", "message": message}},
        {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}},
        {"message": message},
        {"error": message},
        {"detail": message},
        {"detail": [row]},
        {"error": {"message": message, "failed_generation": taken}},
    ]
    for body in bodies:
        fault = classify_response(status, [], json.dumps(body).encode(), connection="alpha", wall=WALL)
        assert fault.kind is K.CLIENT_INVALID, body
    error = {"type": "invalid_request_error", "code": "tool_use_failed", "message": message}
    assert classify_error(error, connection="alpha", wall=WALL).kind is K.CLIENT_INVALID


@pytest.mark.parametrize("status", [405, 409, 413, 415])
def test_other_refusals_of_a_request_are_never_the_key(status: int) -> None:
    for taken in _TAKEN:
        for body in (_openai(taken), {"detail": taken}):
            fault = classify_response(status, [], json.dumps(body).encode(), connection="alpha", wall=WALL)
            assert fault.kind in (K.CLIENT_INVALID, K.CONTEXT_LENGTH, K.CONTENT_FILTER)


@pytest.mark.parametrize("word", ["model ", "models/", "invalid request: ", "' \"`", "error: ", "file access model "])
@pytest.mark.parametrize("status", [200, 400, 403, 404, 429])
def test_no_message_takes_long(word: str, status: int) -> None:
    body = json.dumps(_openai(word * (20_000 // len(word)))).encode()
    began = time.process_time()
    classify_response(status, [], body, connection="alpha", wall=WALL)
    assert time.process_time() - began < 0.5
