"""What each provider says when it refuses, as it says it: the class, the code that is passed on, the wait.

The shapes are those of the providers' error pages and of answers seen in the open (read 2026-11); the words are ours
wherever the class does not hang on them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from proxy.fault import FaultKind
from proxy.routing import classify_error, classify_response

WALL = datetime(2026, 11, 14, 12, 0, 0, tzinfo=UTC)
K = FaultKind


def _openai(message: str, kind: str | None = None, code: Any = None, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


def _google(code: int, status: str, message: str, *details: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def _quota(*ids: str, delay: str = "36s") -> tuple[Any, Any]:
    failure = {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaMetric": "x/free_tier_requests", "quotaId": i, "quotaValue": "20"} for i in ids],
    }
    return failure, {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


# One answer a line: who, status, headers, body (or text), and what it is.
_ROWS = [json.loads(line) for line in (Path(__file__).parent / "refusals.jsonl").read_text("utf-8").splitlines()]


def test_the_table_has_what_the_class_table_is_made_from() -> None:
    assert len({row["who"].partition(":")[0] for row in _ROWS}) >= 20
    assert {row["class"] for row in _ROWS} >= {K.QUOTA, K.RATE, K.OVERLOAD, K.AUTH, K.MODEL_MISSING, K.CONTEXT_LENGTH}


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: f"{row['who']}-{row['status']}-{row['class']}")
def test_what_it_says(row: dict[str, Any]) -> None:
    data = row["text"].encode() if "text" in row else json.dumps(row["body"]).encode()
    headers = list(row.get("headers", {}).items())
    fault = classify_response(row["status"], headers, data, connection="alpha", wall=WALL)
    assert (fault.kind, fault.code, fault.status) == (row["class"], row["code"], row["status"])


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        ({"x-ratelimit-remaining-tokens-minute": "0", "x-ratelimit-reset-tokens-minute": "31.5"}, b"{}", 31.5),
        ({}, json.dumps(_google(429, "RESOURCE_EXHAUSTED", "no", *_quota("PerMinute", delay="36s"))).encode(), 36.0),
        ({}, b'{"error":{"code":"429","message":"Please retry after 26 seconds."}}', 26.0),
        ({}, b'{"statusCode":429,"message":"Rate limit is exceeded. Try again in 1 seconds."}', 1.0),
        ({"retry-after": "12"}, b"{}", 12.0),
    ],
)
def test_how_long_it_asks_to_wait(headers: dict[str, str], body: bytes, wait: float) -> None:
    fault = classify_response(429, list(headers.items()), body, connection="alpha", wall=WALL)
    assert (fault.kind, fault.retry_after) == (K.RATE, wait)


@pytest.mark.parametrize(
    ("body", "of_model"),
    [
        (_google(429, "RESOURCE_EXHAUSTED", "no", *_quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")), True),
        (_google(429, "RESOURCE_EXHAUSTED", "no", *_quota("RequestsPerDayPerProject")), False),
        (
            _google(429, "RESOURCE_EXHAUSTED", "no", *_quota("RequestsPerDayPerModel", "RequestsPerDayPerProject")),
            False,
        ),
        (_openai("Too many requests per day"), True),  # mostly; and if not, each model is refused once
        (_openai("no", code="insufficient_quota"), False),
    ],
)
def test_whose_quota_it_is(body: Any, of_model: bool) -> None:
    fault = classify_response(429, [], json.dumps(body).encode(), connection="alpha", wall=WALL)
    assert (fault.kind, fault.of_model) == (K.QUOTA, of_model)


def test_a_throttled_stream_is_no_prompt_that_is_too_long() -> None:
    """Amazon says it inside the stream: "too many tokens" stood for the context there."""
    error = {"code": "throttlingException", "message": "Too many tokens, please wait before trying again."}
    assert classify_error(error, connection="alpha", wall=WALL).kind is K.RATE


# Every recorded error answer: class and code

_RECORDED: dict[str, tuple[FaultKind, str | None]] = {
    "anthropic-test-anthropic-count-tokens-error-0-85a733b0": (K.MODEL_MISSING, None),
    "anthropic-test-anthropic-explicit-effort-xhigh-unsupported-model-b651615c": (K.CLIENT_INVALID, None),
    "bedrock-test-bedrock-error-0-b4501fa4": (K.MODEL_MISSING, None),
    "bedrock-test-bedrock-streaming-error-0-1a5ce7da": (K.MODEL_MISSING, None),
    "bedrock-test-model-name-suggestion-bedrock-0-f8e531da": (K.MODEL_MISSING, None),
    "bedrock-test-multimodal-tool-return-matrix-direct-uploaded-file-657e957b": (K.CLIENT_INVALID, None),
    "bedrock-test-multimodal-tool-return-matrix-direct-uploaded-file-a71080b0": (K.CLIENT_INVALID, None),
    "bedrock-test-multimodal-tool-return-matrix-direct-uploaded-file-ca1d15ac": (K.CLIENT_INVALID, None),
    "bedrock-test-multimodal-tool-return-matrix-tool-return-content-u-01911258": (K.CLIENT_INVALID, None),
    "bedrock-test-anthropic-bedrock-count-tokens-error-0-cfa06da0": (K.CLIENT_INVALID, None),
    "bedrock-test-bedrock-count-tokens-error-0-ac5d0597": (K.MODEL_MISSING, None),
    "cohere-testcohere-test-embed-error-0-26666bcb": (K.MODEL_MISSING, None),
    "deepseek-test-deepseek-responses-rejects-interleaved-function-ca-abef5e97": (
        K.CLIENT_INVALID,
        "invalid_request_error",
    ),
    "gemini-testgoogle-test-embed-error-0-e7f5370b": (K.MODEL_MISSING, None),
    "gemini-test-model-name-suggestion-google-0-1df0cb12": (K.MODEL_MISSING, None),
    "groq-test-tool-use-failed-error-0-8e1e5997": (K.CLIENT_INVALID, "tool_use_failed"),
    "groq-test-tool-use-failed-error-streaming-0-eaa5cc11": (K.CLIENT_INVALID, "tool_use_failed"),
    "groq-test-tool-use-failed-error-with-text-0-3a8f2969": (K.CLIENT_INVALID, "tool_use_failed"),
    "openai-reasoning-model-legacy-parameter-error-json-71395ff4": (K.CLIENT_INVALID, "unsupported_parameter"),
    "openai-test-model-name-suggestion-openai-chat-0-c50d45d4": (K.MODEL_MISSING, "model_not_found"),
    "openai-test-multimodal-tool-return-matrix-direct-url-audio-opena-be2c429e": (K.CLIENT_INVALID, "invalid_value"),
    "openai-test-openai-o1-mini-system-role-developer-0-71fffce9": (K.CLIENT_INVALID, "unsupported_value"),
    "openai-test-openai-web-search-tool-model-not-supported-0-79227739": (K.CLIENT_INVALID, None),
    "openai-testopenai-test-embed-error-0-0ca04d03": (K.MODEL_MISSING, "model_not_found"),
    "openai-openai-error-1-json-9049be93": (K.QUOTA, "insufficient_quota"),
    "openai-openai-error-1-stream-85bc66be": (K.QUOTA, "insufficient_quota"),
    "openai-test-multimodal-tool-return-matrix-direct-url-audio-opena-7c40b0ce": (K.CLIENT_INVALID, "unsupported_file"),
    "openai-test-multimodal-tool-return-matrix-direct-url-force-downl-b27ed432": (K.CLIENT_INVALID, "invalid_value"),
    "openai-test-multimodal-tool-return-matrix-tool-return-content-ur-7cb3253a": (K.CLIENT_INVALID, "unsupported_file"),
    "openai-test-openai-responses-model-http-error-0-ea8280d0": (K.CLIENT_INVALID, "decimal_below_min_value"),
    "openrouter-test-openrouter-errors-raised-0-913fd603": (K.RATE, None),
    "openrouter-test-openrouter-stream-error-0-2a23ca22": (K.CLIENT_INVALID, None),
    "vertex-test-multimodal-tool-return-matrix-direct-url-image-googl-d8da59e5": (K.CLIENT_INVALID, None),
}


def _error_in(events: list[str]) -> dict[str, Any]:
    """The first error object of a recorded stream."""
    for event in events:
        for line in event.splitlines():
            if line.startswith("data: {"):
                value = json.loads(line[6:])
                if value.get("type") == "error" or "error" in value:
                    return dict(value.get("error") or value)
    raise AssertionError("no error in the stream")


@pytest.mark.recordings
def test_every_recorded_error_has_its_class_and_code(recordings: Path) -> None:
    seen = set()
    for path in sorted(recordings.glob("*/*/*.json")):
        exchange = json.loads(path.read_text())
        response = exchange["response"]
        inside = "error_in_200" in exchange["features"]
        if response["status"] < 400 and not inside:
            continue
        if inside:
            fault = classify_error(_error_in(response["events"]), connection="alpha", wall=WALL)
        else:
            headers = [(k.lower(), v) for k, v in response["headers"].items()]
            data = json.dumps(response["body"]).encode()
            fault = classify_response(response["status"], headers, data, connection="alpha", wall=WALL)
        assert (fault.kind, fault.code) == _RECORDED[exchange["id"]], exchange["id"]
        seen.add(exchange["id"])
    assert seen == set(_RECORDED)
