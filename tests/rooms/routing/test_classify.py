"""Real error answers and every signal of the class table to their class; and nothing key-like in what is passed on."""

# ruff: noqa: SIM905 - a list of words is words
from __future__ import annotations

import json
import string
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.fault import Fault, FaultKind
from proxy.routing import classify_error, classify_response
from proxy.routing.classify import clean

WALL = datetime(2026, 11, 14, 12, 0, 0, tzinfo=UTC)
K = FaultKind


def _answer(status: int, body: Any, *headers: tuple[str, str]) -> Fault:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify_response(status, headers, data, connection="alpha", wall=WALL)


def _error(message: str, code: Any = None, kind: Any = None, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "code": code, "type": kind, **more}}


def _anthropic(kind: str, message: str, **more: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message, **more}}


# Bodies of ../shared/recordings, by their ids: cassettes of pydantic/pydantic-ai (MIT), fixtures of vercel/ai
# (Apache-2.0).
_RECORDED: list[tuple[int, Any, FaultKind]] = [
    # anthropic-test-anthropic-count-tokens-error-0-85a733b0
    (404, _anthropic("not_found_error", "model: claude-does-not-exist"), K.MODEL_MISSING),
    # anthropic-test-anthropic-explicit-effort-xhigh-unsupported-model-b651615c
    (
        400,
        _anthropic(
            "invalid_request_error",
            "This model does not support effort level 'xhigh'. Supported levels: high, low, max, medium.",
        ),
        K.CLIENT_INVALID,
    ),
    # xAI refuses what is asked, not the key
    (
        403,
        {"code": "forbidden", "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"},
        K.CONTENT_FILTER,
    ),
    # The model is named, and something else is missing.
    (400, _error("The model called a tool `find` that was not found in `tools`"), K.CLIENT_INVALID),
    (400, _error("The model `gpt-9` does not exist", "invalid_request_error"), K.MODEL_MISSING),
    # bedrock-test-bedrock-error-0-b4501fa4
    (400, {"message": "The provided model identifier is invalid."}, K.MODEL_MISSING),
    # bedrock-test-multimodal-tool-return-matrix-direct-uploaded-file-657e957b
    (400, {"message": "This model doesn't support the s3Uri field. Remove s3Uri and try again."}, K.CLIENT_INVALID),
    # bedrock-test-multimodal-tool-return-matrix-direct-uploaded-file-a71080b0
    (
        400,
        {
            "message": "The model returned the following errors: Malformed input request: #/messages/2/content/0: "
            "extraneous key [toolResult] is not permitted, please reformat your input and try again."
        },
        K.CLIENT_INVALID,
    ),
    # bedrock-test-anthropic-bedrock-count-tokens-error-0-cfa06da0
    (400, {"message": "The provided model doesn't support counting tokens."}, K.CLIENT_INVALID),
    # cohere-testcohere-test-embed-error-0-26666bcb
    (
        404,
        {
            "id": "8bd5b608-887c-49f7-a6b3-d3bd5830c3de",
            "message": "model 'nonexistent' not found, make sure the correct model ID was used and that you have "
            "access to the model.",
        },
        K.MODEL_MISSING,
    ),
    # deepseek-test-deepseek-responses-rejects-interleaved-function-ca-abef5e97
    (
        400,
        _error("No tool output found for tool call call-a.", "invalid_request_error", "invalid_request_error"),
        K.CLIENT_INVALID,
    ),
    # gemini-testgoogle-test-embed-error-0-e7f5370b
    (
        404,
        _error(
            "models/nonexistent-model is not found for API version v1beta, or is not supported for embedContent. "
            "Call ListModels to see the list of available models and their supported methods.",
            404,
            status="NOT_FOUND",
        ),
        K.MODEL_MISSING,
    ),
    # groq-test-tool-use-failed-error-0-8e1e5997
    (
        400,
        _error(
            "Tool call validation failed: tool call validation failed: parameters for tool get_something_by_name did "
            "not match schema: errors: [missing properties: 'name', additionalProperties 'foo' not allowed]",
            "tool_use_failed",
            "invalid_request_error",
        ),
        K.CLIENT_INVALID,
    ),
    # groq-test-tool-use-failed-error-with-text-0-3a8f2969
    (
        400,
        _error("Tool choice is required, but model did not call a tool", "tool_use_failed", "invalid_request_error"),
        K.CLIENT_INVALID,
    ),
    # openai-reasoning-model-legacy-parameter-error-json-71395ff4
    (
        400,
        _error(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use another.",
            "unsupported_parameter",
            "invalid_request_error",
        ),
        K.CLIENT_INVALID,
    ),
    # openai-test-model-name-suggestion-openai-chat-0-c50d45d4
    (
        404,
        _error(
            "The model `gpt-5.2-proo` does not exist or you do not have access to it.",
            "model_not_found",
            "invalid_request_error",
        ),
        K.MODEL_MISSING,
    ),
    # openai-test-openai-o1-mini-system-role-developer-0-71fffce9
    (
        400,
        _error(
            "Unsupported value: 'messages[0].role' does not support 'developer' with this model.",
            "unsupported_value",
            "invalid_request_error",
        ),
        K.CLIENT_INVALID,
    ),
    # openai-test-openai-web-search-tool-model-not-supported-0-79227739
    (400, _error("Web search options not supported with this model.", None, "invalid_request_error"), K.CLIENT_INVALID),
    # openai-test-multimodal-tool-return-matrix-direct-url-audio-opena-7c40b0ce
    (
        400,
        _error(
            "The file type you uploaded is not supported. Please try again with a pdf",
            "unsupported_file",
            "invalid_request_error",
        ),
        K.CLIENT_INVALID,
    ),
    # openai-openai-error-1-json-9049be93
    (
        429,
        _error(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
        K.QUOTA,
    ),
    # openrouter-test-openrouter-errors-raised-0-913fd603
    (429, _error("Provider returned error", 429, metadata={"provider_name": "Google"}), K.RATE),
    # vertex-test-multimodal-tool-return-matrix-direct-url-image-googl-d8da59e5
    (
        400,
        _error("Cannot fetch content from the provided URL. Status: URL_ROBOTED", 400, status="INVALID_ARGUMENT"),
        K.CLIENT_INVALID,
    ),
]


@pytest.mark.parametrize(("status", "body", "kind"), _RECORDED)
def test_recorded(status: int, body: Any, kind: FaultKind) -> None:
    assert _answer(status, body).kind is kind


@pytest.mark.recordings
def test_every_recorded_error_has_the_class_of_its_row(recordings: Path) -> None:
    """All errors of the index: a model that is missing, a quota, a rate, else the client's own."""
    lines = (recordings / "INDEX.tsv").read_text().splitlines()
    names = lines[0].split("\t")
    rows = [dict(zip(names, line.split("\t"), strict=True)) for line in lines[1:]]
    seen = 0
    for row in rows:
        if int(row["status"]) < 400:
            continue
        path = recordings / row["provider"] / row["dialect"] / f"{row['id']}.json"
        body = json.loads(path.read_text())["response"]["body"]
        missing = row["status"] == "404" or "model identifier is invalid" in json.dumps(body)
        limited = K.QUOTA if "insufficient_quota" in json.dumps(body) else K.RATE
        expected = K.MODEL_MISSING if missing else limited if row["status"] == "429" else K.CLIENT_INVALID
        assert _answer(int(row["status"]), body).kind is expected, row["id"]
        seen += 1
    assert seen >= 25


_PER_MINUTE = [{"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]}]
_PER_DAY = [{"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}, {"retryDelay": "38s"}]
_GEMINI_QUOTA = "You exceeded your current quota, please check your plan and billing details. Please retry in 38s."


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        # redirect
        *[(status, b"", K.REDIRECT) for status in (300, 301, 302, 303, 304, 307, 308)],
        # quota
        (402, b"", K.QUOTA),
        (402, _error("Insufficient Balance", "invalid_request_error"), K.QUOTA),
        (429, _error("", "credit_balance_exhausted", "insufficient_quota"), K.QUOTA),
        (429, _error("", "project_spend_limit_exceeded", "insufficient_quota"), K.QUOTA),
        (429, _error("", "organization_spend_limit_exceeded"), K.QUOTA),
        (429, _error("", "billing_not_active"), K.QUOTA),
        (400, _error("Billing hard limit has been reached", "billing_hard_limit_reached"), K.QUOTA),
        (
            400,
            _anthropic(
                "invalid_request_error",
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
            ),
            K.QUOTA,
        ),
        (
            400,
            _anthropic(
                "invalid_request_error",
                "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
            ),
            K.QUOTA,
        ),
        (429, _anthropic("rate_limit_error", "", details={"error_code": "enforced_spend_limit_reached"}), K.QUOTA),
        (429, _error(_GEMINI_QUOTA, 429, status="RESOURCE_EXHAUSTED", details=_PER_DAY), K.QUOTA),
        (429, _error(_GEMINI_QUOTA, 429, status="RESOURCE_EXHAUSTED", details=_PER_DAY + _PER_MINUTE), K.QUOTA),
        (429, _error("Your prepayment credits are depleted.", 429, status="RESOURCE_EXHAUSTED"), K.QUOTA),
        (403, {"code": "x", "error": "Your newly created team doesn't have any credits yet."}, K.QUOTA),
        (403, _error("Key limit exceeded (total limit).", 403), K.QUOTA),
        (429, _error("", kind="exceeded_current_quota_error"), K.QUOTA),
        (429, _error("Free quota used up: requests per day"), K.QUOTA),
        # rate
        (429, b"", K.RATE),
        (429, b"<html>slow</html>", K.RATE),
        (429, _error("Rate limit reached", "rate_limit_exceeded", "tokens"), K.RATE),
        (429, _anthropic("rate_limit_error", "This request would exceed the rate limit"), K.RATE),
        (429, _error(_GEMINI_QUOTA, 429, status="RESOURCE_EXHAUSTED", details=_PER_MINUTE), K.RATE),
        (429, _error("Resource exhausted. Please try again later.", 429, status="RESOURCE_EXHAUSTED"), K.RATE),
        (
            429,
            _error("Limit 100000 on tokens per day (TPD). Please try again in 8m12.5s.", "rate_limit_exceeded"),
            K.RATE,
        ),
        (498, _error("Flex tier capacity exceeded", "capacity_exceeded"), K.RATE),
        # overload
        (529, _anthropic("overloaded_error", "Overloaded"), K.OVERLOAD),
        (503, b"", K.OVERLOAD),
        (503, _error("Slow down", "slow_down"), K.OVERLOAD),
        (500, _anthropic("overloaded_error", "Overloaded"), K.OVERLOAD),
        (429, _error("", kind="engine_overloaded_error"), K.OVERLOAD),
        (429, _error("", "server_is_overloaded"), K.OVERLOAD),
        # upstream_5xx
        *[
            (status, b"<html>", K.UPSTREAM_5XX)
            for status in (500, 501, 502, 504, 520, 521, 522, 523, 524, 525, 526, 530)
        ],
        (500, _anthropic("api_error", "Internal server error"), K.UPSTREAM_5XX),
        # context length
        (
            400,
            _error("This model's maximum context length is 8192 tokens.", "context_length_exceeded"),
            K.CONTEXT_LENGTH,
        ),
        (
            400,
            _anthropic("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
            K.CONTEXT_LENGTH,
        ),
        (403, _error("Input token count + max_tokens must be less than the model context length"), K.CONTEXT_LENGTH),
        (403, _error("too many tokens"), K.CONTEXT_LENGTH),
        (422, _error("`inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000"), K.CONTEXT_LENGTH),
        (
            400,
            _error("The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).", 400),
            K.CONTEXT_LENGTH,
        ),
        (400, {"message": "Input is too long for requested model."}, K.CONTEXT_LENGTH),
        (413, _error("Please reduce the length of the messages"), K.CONTEXT_LENGTH),
        # content filter
        (400, _error("Your request was rejected", "content_policy_violation"), K.CONTENT_FILTER),
        (400, _error("triggering Azure OpenAI's content management policy", "content_filter"), K.CONTENT_FILTER),
        (400, _error("Invalid prompt: your prompt was flagged as violating", "invalid_prompt"), K.CONTENT_FILTER),
        (403, _error("Your input was flagged by moderation", 403), K.CONTENT_FILTER),
        # auth
        (401, b"", K.AUTH),
        (401, _error("Incorrect API key provided: abc.", "invalid_api_key", "invalid_request_error"), K.AUTH),
        (401, _anthropic("authentication_error", "invalid x-api-key"), K.AUTH),
        (401, _error("IP not authorized", kind="invalid_request_error"), K.AUTH),
        (401, _error("No auth credentials found", 401), K.AUTH),
        (403, b"", K.AUTH),
        (403, _anthropic("permission_error", "Your API key does not have permission"), K.AUTH),
        (403, _error("Country, region, or territory not supported", "unsupported_country_region_territory"), K.AUTH),
        (403, _error("Your API key was reported as leaked.", 403, status="PERMISSION_DENIED"), K.AUTH),
        (
            400,
            _error(
                "API key not valid. Please pass a valid API key.",
                400,
                status="INVALID_ARGUMENT",
                details=[{"reason": "API_KEY_INVALID", "domain": "googleapis.com"}],
            ),
            K.AUTH,
        ),
        # Gemini's OpenAI endpoint wraps its errors in a list
        (400, [_error("API key not valid. Please pass a valid API key.", 400, status="INVALID_ARGUMENT")], K.AUTH),
        (400, _error("API key expired. Please renew the API key.", 400), K.AUTH),
        (400, _error("User location is not supported for the API use.", 400, status="FAILED_PRECONDITION"), K.AUTH),
        (407, b"", K.AUTH),
        # the model
        (403, _error("Project `proj_x` does not have access to model `gpt-5`", "model_not_found"), K.MODEL_MISSING),
        (403, {"message": "You don't have access to the model with the specified model ID."}, K.MODEL_MISSING),
        (400, {"message": "Invalid model: foo", "type": "invalid_model", "code": "1500"}, K.MODEL_MISSING),
        (400, _error("Model Not Exist", "invalid_request_error"), K.MODEL_MISSING),
        (400, _error("foo/bar is not a valid model ID", 400), K.MODEL_MISSING),
        (400, _error("The requested model is not supported.", "model_not_supported"), K.MODEL_MISSING),
        (400, _error("The requested model is not supported."), K.MODEL_MISSING),
        (400, _error("The model `x` has been decommissioned", "model_decommissioned"), K.MODEL_MISSING),
        (400, _error("Unable to access non-serverless model", "model_not_available"), K.MODEL_MISSING),
        (404, {"error": "model 'llama9' not found"}, K.MODEL_MISSING),
        (
            404,
            {"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError"},
            K.MODEL_MISSING,
        ),
        (404, _error("No endpoints found for foo/bar.", 404), K.MODEL_MISSING),
        (404, _error("No models loaded. Please load a model."), K.MODEL_MISSING),
        (404, _error("The API deployment for this resource does not exist.", "DeploymentNotFound"), K.MODEL_MISSING),
        (404, _error("Not found the model x or Permission denied", kind="resource_not_found_error"), K.MODEL_MISSING),
        # the client's own
        (404, b"404 page not found", K.CLIENT_INVALID),
        (404, {"detail": "Not Found"}, K.CLIENT_INVALID),
        (404, _error("Invalid URL (POST /v1/chat/completionss)", kind="invalid_request_error"), K.CLIENT_INVALID),
        (404, _anthropic("not_found_error", "Not Found"), K.CLIENT_INVALID),
        (404, _anthropic("not_found_error", "File not found: file_1"), K.CLIENT_INVALID),
        (
            404,
            _error("This is not a chat model and thus not supported in the v1/chat/completions endpoint."),
            K.CLIENT_INVALID,
        ),
        (400, _error("For this model, 'temperature' is not supported."), K.CLIENT_INVALID),
        (400, _error("Model x: the parameter logit_bias is not supported"), K.CLIENT_INVALID),
        (400, _error("no model specified"), K.CLIENT_INVALID),
        (400, b"", K.CLIENT_INVALID),
        (400, b"\xff\xfe{", K.CLIENT_INVALID),
        (422, {"detail": [{"loc": ["body"], "msg": "field required", "type": "missing"}]}, K.CLIENT_INVALID),
        *[
            (status, b"", K.CLIENT_INVALID)
            for status in (404, 405, 406, 409, 410, 411, 413, 414, 415, 418, 422, 431, 451)
        ],
        # timeouts that the provider tells
        (408, b"", K.TIMEOUT),
        (425, b"", K.TIMEOUT),
        # no status of HTTP at all
        (100, b"", K.BAD_UPSTREAM),
        (600, b"", K.BAD_UPSTREAM),
        (999, _error("no"), K.BAD_UPSTREAM),
    ],
)
def test_signals(status: int, body: Any, kind: FaultKind) -> None:
    fault = _answer(status, body)
    assert fault.kind is kind
    assert fault.status == status


def test_a_spend_limit_that_says_when_is_a_rate() -> None:
    body = _anthropic("rate_limit_error", "", details={"error_code": "enforced_spend_limit_reached"})
    fault = _answer(429, body, ("retry-after", "30"))
    assert (fault.kind, fault.retry_after) == (K.RATE, 30.0)


def test_a_daily_limit_that_says_when_is_a_rate() -> None:
    assert _answer(429, _error("Limit of requests per day"), ("retry-after", "492")).kind is K.RATE


def test_what_the_fault_holds() -> None:
    fault = _answer(429, _error("Slow,\n please", "rate_limit_exceeded"), ("retry-after", "7"))
    assert fault == Fault(
        K.RATE, "alpha answered 429: Slow, please", status=429, retry_after=7.0, code="rate_limit_exceeded"
    )
    assert _answer(500, b"").public == "alpha answered 500"
    assert _answer(400, _error("x", 400)).code is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        # groq-test-tool-use-failed-error-streaming-0-eaa5cc11
        (
            {
                "message": "Tool call validation failed: parameters did not match schema",
                "type": "invalid_request_error",
                "code": "tool_use_failed",
                "status_code": 400,
            },
            K.CLIENT_INVALID,
        ),
        # openai-openai-error-1-stream-85bc66be, `error` and `response.failed`
        (
            {"type": "insufficient_quota", "code": "insufficient_quota", "message": "You exceeded your current quota"},
            K.QUOTA,
        ),
        ({"code": "insufficient_quota", "message": "You exceeded your current quota"}, K.QUOTA),
        # openrouter-test-openrouter-stream-error-0-2a23ca22
        ({"code": 400, "message": "Token limit reached"}, K.CLIENT_INVALID),
        # as documented
        ({"type": "overloaded_error", "message": "Overloaded"}, K.OVERLOAD),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, K.OVERLOAD),
        ({"type": "rate_limit_error", "message": "slow"}, K.RATE),
        ({"type": "api_error", "message": "Internal server error"}, K.UPSTREAM_5XX),
        ({"type": "authentication_error", "message": "invalid x-api-key"}, K.AUTH),
        ({"type": "invalid_request_error", "message": "prompt is too long: 5 > 4"}, K.CONTEXT_LENGTH),
        ({"type": "invalid_request_error", "message": "bad"}, K.CLIENT_INVALID),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "slow"}, K.RATE),
        ({"code": "server_error", "message": "The model had an error"}, K.UPSTREAM_5XX),
        ({"code": "invalid_prompt", "message": "no"}, K.CONTENT_FILTER),
        ({"code": 429, "message": "Rate limit exceeded"}, K.RATE),
        ({"code": 502, "message": "Provider returned error"}, K.UPSTREAM_5XX),
        ({"code": 503, "message": "No capacity"}, K.OVERLOAD),
        ({"code": 401, "message": "User not found."}, K.AUTH),
        ({"code": "401", "message": "User not found."}, K.AUTH),
        ({"code": "429", "message": "no"}, K.RATE),
        ({"code": 402, "message": "Insufficient credits"}, K.QUOTA),
        ({"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Resource exhausted"}, K.RATE),
        ({"code": 503, "status": "UNAVAILABLE", "message": "The model is overloaded."}, K.OVERLOAD),
        ({"message": "overloaded"}, K.OVERLOAD),
        ({}, K.UPSTREAM_5XX),
        ({"status": 7, "code": True, "message": None}, K.UPSTREAM_5XX),
    ],
)
def test_an_error_under_status_200(error: dict[str, Any], kind: FaultKind) -> None:
    fault = classify_error(error, connection="alpha", wall=WALL)
    assert fault.kind is kind
    assert fault.status is None
    assert fault.public.startswith("alpha answered with an error")


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        ({"code": "rate_limit_exceeded", "message": "Rate limit reached. Please try again in 5.289s."}, 5.289),
        ({"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "no", "details": [{"retryDelay": "38s"}]}, 38.0),
        ({"error": {"code": 429, "message": "Please retry after 86400 seconds"}}, 900.0),
        ({"code": "rate_limit_exceeded", "message": ["try again in 5s"]}, 5.0),
        ({"code": "rate_limit_exceeded", "message": "slow"}, None),
        ({"code": "rate_limit_exceeded", "details": "38s", "message": None}, None),
    ],
)
def test_how_long_an_error_under_status_200_asks_to_wait(error: dict[str, Any], wait: float | None) -> None:
    """It was not heard: the connection was asked again after 10 s."""
    fault = classify_error(error, connection="alpha", wall=WALL)
    assert (fault.kind, fault.retry_after) == (K.RATE, wait)


_KEYISH = string.ascii_letters + string.digits
_secret = st.one_of(
    st.tuples(
        st.sampled_from("sk- sk-proj- sk-ant-api03- sk_ csk- xai- gsk_ pplx- hf_ nvapi- fw_ rk-".split(" ")),
        st.text(_KEYISH, min_size=16, max_size=90),
    ),
    st.tuples(st.sampled_from(["AIza", "AKIA"]), st.text(_KEYISH, min_size=16, max_size=40)),
    st.tuples(st.just(""), st.text(_KEYISH + "-_", min_size=32, max_size=120)),
)
_around = st.sampled_from(["", " ", ": ", "'", '"', "(", "\n", "\t", ". ", ", ", "=", "key "])


@settings(max_examples=200, deadline=None)
@given(_secret, _around, _around, st.integers(400, 599), st.booleans())
def test_nothing_like_a_key_is_passed_on(
    parts: tuple[str, str], before: str, after: str, status: int, as_code: bool
) -> None:
    secret = "".join(parts)
    message = f"Incorrect API key provided{before} {secret}{after} find it at x.com"
    code = f"x-{secret}9" if as_code else "c"
    faults = [
        _answer(status, _error(message, code)),
        _answer(status, {"error": message, "code": code}),
        _answer(status, {"detail": message}),
        classify_error({"message": message, "code": code}, connection="alpha", wall=WALL),
    ]
    for fault in faults:
        told = f"{fault.public} {fault.detail} {fault.code}"
        assert secret not in told
        assert secret[-12:] not in told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bearer abc.def is wrong", "*** is wrong"),
        ("Your api key: ****ab12 is invalid", "Your api key: *** is invalid"),
        ("key sk-proj-****************wxyz.", "key ***"),
        (
            "see https://x.ai/docs/guides/error-codes/api-errors.",
            "see https://x.ai/docs/guides/error-codes/api-errors.",
        ),
        ("skipping the skeleton, forward the hfile", "skipping the skeleton, forward the hfile"),
        ("two\r\nlines\x00 and \u202ea trick", "two lines and a trick"),
        ("a b " * 600, None),
        ("", ""),
    ],
)
def test_clean(text: str, expected: str | None) -> None:
    cleaned = clean(text)
    assert len(cleaned) <= 1000
    if expected is not None:
        assert cleaned == expected


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "error errors detail details message code type status violations quotaId reason".split(" ")
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 999), _json, st.binary(max_size=60))
def test_every_answer_has_a_class(status: int, value: Any, junk: bytes) -> None:
    for body in (json.dumps(value).encode(), junk, json.dumps({"error": value}).encode()):
        fault = _answer(status, body)
        assert len(fault.public) < 1100
        assert len(fault.code or "") <= 64
        assert fault.public.isprintable()
    if isinstance(value, dict):
        assert classify_error(value, connection="alpha", wall=WALL).kind in FaultKind


@pytest.mark.parametrize("field", ["message", "code", "type", "status", "details", "reason"])
def test_a_deep_value_in_place_of_a_text(field: str) -> None:
    """Printing it for the message went deeper than the interpreter goes."""
    for depth in range(850, 1000, 5):
        deep = b"[" * depth + b"]" * depth
        assert _answer(429, b'{"error":{"%s":%s}}' % (field.encode(), deep)).kind is K.RATE


def test_a_page_of_a_firewall_says_nothing_of_the_key() -> None:
    page = classify_response(403, [], b"<html>Attention</html>", connection="alpha", wall=WALL)
    assert page.kind is K.BAD_UPSTREAM
    assert classify_response(403, [], b"", connection="alpha", wall=WALL).kind is K.AUTH
