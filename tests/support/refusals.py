"""Errors as providers say them, each from the error page of its documentation, and what class each is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.support.speech import ANTHROPIC, CHAT, COHERE, CONVERSE, GEMINI, OLLAMA, RESPONSES, Speech

AGAIN = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Case:
    """One error of a provider: how it says it, and what class it is, as a status."""

    name: str
    speech: Speech
    status: int
    body: Any
    told: int  # the status that a client of another dialect gets
    words: str  # the provider's message
    headers: dict[str, str] = field(default_factory=dict)
    param: str | None = None
    wait: int | None = None
    relayed: int | None = None  # the status for clients of its own dialect, where the provider's stands
    again: bool | None = None


def openai(message: str, kind: str, code: Any = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "code": code, "param": param}}


def google(status: int, word: str, message: str, *details: Any) -> dict[str, Any]:
    return {"error": {"code": status, "status": word, "message": message, "details": list(details)}}


def anthropic(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38s"}
DELAYED = "You exceeded your current quota. \n* Quota exceeded for metric: free_tier_requests, limit: 20"
LONG = "This model's maximum context length is 8192 tokens, your messages are 9000."
AMAZON = "x-amzn-errortype"
CORAL = "http://internal.amazon.com/coral/com.amazon.bedrock/"
# Each from the error page of the provider's documentation, in the words of a real or documented answer.
DOCUMENTED = [
    Case("openai-invalid", CHAT, 400, openai("Bad temperature.", "invalid_request_error", param="temperature"), 400,
         "Bad temperature.", param="temperature"),
    Case("openai-key", CHAT, 401, openai("Key is wrong.", "invalid_request_error", "invalid_api_key"), 502,
         "Key is wrong.", again=False),
    Case("openai-model", RESPONSES, 404, openai("The model `x` does not exist", "invalid_request_error",
         "model_not_found", "model"), 404, "The model `x` does not exist", param="model", relayed=404),
    Case("openai-rate", RESPONSES, 429, openai("Slow down a bit.", "requests", "rate_limit_exceeded"), 429,
         "Slow down a bit.", {"retry-after": "7"}, wait=7),
    Case("openai-quota", CHAT, 429, openai("You exceeded your current quota.", "insufficient_quota",
         "insufficient_quota"), 402, "You exceeded your current quota.", again=False),
    Case("openai-context", CHAT, 400, openai(LONG, "invalid_request_error", "context_length_exceeded"), 400, LONG),
    Case("openai-filter", CHAT, 400, openai("Rejected by the safety system.", "image_generation_user_error",
         "content_policy_violation"), 400, "Rejected by the safety system."),
    Case("openai-500", RESPONSES, 500, openai("The server had an error.", "server_error"), 502,
         "The server had an error."),
    Case("openai-503", CHAT, 503, openai("The engine is currently overloaded.", "server_error"), 503,
         "The engine is currently overloaded.", wait=10),
    Case("azure-filter", CHAT, 400, {"error": {"code": "content_filter", "status": 400, "type": None, "param": "prompt",
         "message": "The response was filtered.", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, 400,
         "The response was filtered.", param="prompt"),
    Case("azure-key", CHAT, 401, {"statusCode": 401, "message": "Access denied due to a wrong subscription key."}, 502,
         "Access denied due to a wrong subscription key.", again=False),
    Case("azure-deployment", CHAT, 404, {"error": {"code": "DeploymentNotFound",
         "message": "The API deployment for this resource does not exist."}}, 404,
         "The API deployment for this resource does not exist.", relayed=404),
    Case("anthropic-invalid", ANTHROPIC, 400, anthropic("invalid_request_error", "max_tokens: Field required"), 400,
         "max_tokens: Field required"),
    Case("anthropic-long", ANTHROPIC, 400, anthropic("invalid_request_error", "prompt is too long: 9 tokens > 8"), 400,
         "prompt is too long: 9 tokens > 8"),
    Case("anthropic-large", ANTHROPIC, 413, anthropic("request_too_large", "Request exceeds the maximum size"), 413,
         "Request exceeds the maximum size"),
    Case("anthropic-overloaded", ANTHROPIC, 529, anthropic("overloaded_error", "Overloaded"), 503, "Overloaded",
         wait=10),
    Case("anthropic-rate", ANTHROPIC, 429, anthropic("rate_limit_error", "Number of requests has exceeded"), 429,
         "Number of requests has exceeded", {"retry-after": "12"}, wait=12),
    Case("anthropic-billing", ANTHROPIC, 400, anthropic("invalid_request_error",
         "Your credit balance is too low to access the Anthropic API."), 402, "Your credit balance is too low",
         again=False),
    Case("gemini-rate", GEMINI, 429, google(429, "RESOURCE_EXHAUSTED", DELAYED, RETRY), 429,
         "Quota exceeded for metric: free_tier_requests, limit: 20", wait=38),
    Case("gemini-invalid", GEMINI, 400, google(400, "INVALID_ARGUMENT", "Unknown name \"x\" at 'contents'"), 400,
         "Unknown name \"x\" at 'contents'"),
    Case("gemini-key", GEMINI, 400, google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
         502, "API key not valid.", again=False),
    Case("gemini-overloaded", GEMINI, 503, google(503, "UNAVAILABLE", "The model is overloaded."), 503,
         "The model is overloaded.", wait=10),
    Case("gemini-slow", GEMINI, 504, google(504, "DEADLINE_EXCEEDED", "Deadline expired."), 502, "Deadline expired."),
    Case("gemini-cache", GEMINI, 403, google(403, "PERMISSION_DENIED",
         "CachedContent not found (or permission denied)"), 400, "CachedContent not found (or", relayed=403),
    Case("gemini-list", GEMINI, 400, [google(400, "INVALID_ARGUMENT", "It is no JSON.")], 400, "It is no JSON."),
    Case("bedrock-validation", CONVERSE, 400, {"message": "The maximum tokens you requested exceeds the limit."}, 400,
         "The maximum tokens you requested exceeds the limit.", {AMAZON: "ValidationException:" + CORAL}),
    Case("bedrock-throttled", CONVERSE, 429, {"message": "Too many requests, please wait."}, 429,
         "Too many requests, please wait.", {AMAZON: "ThrottlingException"}, wait=10),
    Case("bedrock-throttled-type", CONVERSE, 400, {"__type": "com.amazon.coral.service#ThrottlingException",
         "message": "Rate exceeded"}, 429, "Rate exceeded", wait=10),
    Case("bedrock-quota", CONVERSE, 400, {"message": "It exceeds the service quota."}, 429,
         "It exceeds the service quota.", {AMAZON: "ServiceQuotaExceededException:" + CORAL}, wait=10),
    Case("bedrock-denied", CONVERSE, 403, {"Message": "User is not authorized to perform bedrock:InvokeModel"}, 502,
         "User is not authorized to perform bedrock:InvokeModel", {AMAZON: "AccessDeniedException"}, again=False),
    Case("bedrock-loading", CONVERSE, 429, {"message": "Model is not ready for inference."}, 503,
         "Model is not ready for inference.", {AMAZON: "ModelNotReadyException"}, wait=10),
    Case("bedrock-failed", CONVERSE, 424, {"message": "The model failed.", "originalStatusCode": 500}, 502,
         "The model failed.", {AMAZON: "ModelErrorException"}),
    Case("bedrock-slow", CONVERSE, 408, {"message": "Model has timed out."}, 504, "Model has timed out.",
         {AMAZON: "ModelTimeoutException"}),
    Case("cohere-invalid", COHERE, 400, {"id": "1", "message": "invalid request: temperature is off"}, 400,
         "invalid request: temperature is off"),
    Case("cohere-key", COHERE, 401, {"message": "invalid api token"}, 502, "invalid api token", again=False),
    Case("cohere-trial", COHERE, 429, {"message": "You are using a Trial key, which is limited to 20 calls / minute."},
         429, "You are using a Trial key", wait=10),
    Case("cohere-unprocessable", COHERE, 422, {"message": "no messages"}, 422, "no messages"),
    Case("ollama-model", OLLAMA, 404, {"error": "model 'x' not found"}, 404, "model 'x' not found"),
    Case("ollama-tools", OLLAMA, 400, {"error": "registry/x does not support tools"}, 400, "does not support tools"),
    Case("ollama-500", OLLAMA, 500, {"error": "llama runner process has terminated"}, 502, "llama runner process has"),
    Case("mistral-detail", CHAT, 422, {"detail": [{"type": "missing", "loc": ["body", "messages"],
         "msg": "Field required"}]}, 422, "body.messages: Field required"),
    Case("mistral-text", CHAT, 401, {"detail": "Unauthorized"}, 502, "Unauthorized", again=False),
    Case("mistral-object", CHAT, 400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model",
         "param": None, "code": "1500"}, 404, "Invalid model: x", relayed=400),
    Case("mistral-nested", CHAT, 422, {"object": "error", "message": {"detail": [{"loc": ["body", "top_p"],
         "msg": "too large"}]}, "type": "invalid_request_error"}, 422, "body.top_p: too large"),
    Case("groq-large", CHAT, 413, openai("Request too large for model `x` on tokens per minute (TPM): Limit 6000.",
         "tokens", "rate_limit_exceeded"), 429, "Request too large for model `x`", wait=10),
    Case("groq-busy", CHAT, 498, openai("Flex tier capacity exceeded.", "server_error", "capacity_exceeded"), 429,
         "Flex tier capacity exceeded.", wait=10),
    Case("openrouter-credits", CHAT, 402, {"error": {"code": 402, "message": "Insufficient credits"}}, 402,
         "Insufficient credits", again=False),
    Case("openrouter-upstream", CHAT, 400, {"error": {"code": 400, "message": "Provider returned error",
         "metadata": {"raw": "tools is not supported", "provider_name": "X"}}}, 400, "tools is not supported"),
    Case("openrouter-bad", CHAT, 502, {"error": {"code": 502, "message": "Your chosen model is down"}}, 502,
         "Your chosen model is down"),
    Case("xai-invalid", CHAT, 400, {"code": "Client specified an invalid argument", "error": "n must be 1"}, 400,
         "n must be 1"),
    Case("xai-key", CHAT, 400, {"code": "invalid-argument", "error": "Incorrect API key provided: ab."}, 502,
         "Incorrect API key provided", again=False),
    Case("deepseek-balance", CHAT, 402, openai("Insufficient Balance", "unknown_error", "invalid_request_error"), 402,
         "Insufficient Balance", again=False),
    Case("deepseek-invalid", CHAT, 422, openai("Failed to deserialize", "invalid_request_error"), 422,
         "Failed to deserialize"),
    Case("plain-text", OLLAMA, 404, b"404 page not found", 404, "404 page not found"),
]  # fmt: skip
