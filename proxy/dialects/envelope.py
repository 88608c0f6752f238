"""Errors as each dialect writes them: whole answers and the frame that ends a broken stream.

Sources: OpenAI API reference, "Error codes" and "Streaming" (an `error` object in a chat chunk;
`response.failed` and `error` events of Responses); Anthropic API, "Errors" and "Streaming messages"
(`event: error`), read 2026-11. Measured against the official SDKs: a chat stream raises on
`data: {"error": ...}`, an Anthropic one on `event: error`, a Responses one needs `response.failed`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from proxy.dialects.json import encode
from proxy.dialects.sse import frame


class Form(StrEnum):
    """The shape that a client expects errors in."""

    OPENAI = "openai"
    RESPONSES = "responses"
    ANTHROPIC = "anthropic"
    GOOGLE = "google.rpc"


_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
# google.rpc.Code, by the HTTP status it stands for (Google Cloud API design guide, "Errors").
_RPC_CODES: Final = {
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
DONE: Final = b"data: [DONE]\n\n"
MESSAGE_STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def error_type(status: int) -> str:
    """The `type` of an error with this status."""
    if status == 401:
        return "authentication_error"
    if status == 402:
        return "insufficient_quota"
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "api_error"


def anthropic_type(status: int) -> str:
    """The same in Anthropic's words."""
    return _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


def error_body(
    form: Form,
    status: int,
    message: str,
    code: str | None,
    request_id: str,
    param: str | None = None,
    retry_after: int | None = None,
) -> bytes:
    """A whole error answer as JSON bytes. `retry_after` in seconds: Google's clients look for it in the body."""
    body = _error(form, status, message, code, request_id, param)
    if form is Form.GOOGLE and retry_after is not None:
        wait = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{retry_after}s"}
        body["error"]["details"].append(wait)
    return encode(body)


def _error(
    form: Form, status: int, message: str, code: str | None, request_id: str, param: str | None = None
) -> dict[str, Any]:
    if form is Form.ANTHROPIC:
        error: dict[str, Any] = {"type": anthropic_type(status), "message": message}
        if code is not None:
            error["code"] = code
        return {"type": "error", "error": error, "request_id": request_id}
    if form is Form.GOOGLE:
        word = _RPC_CODES.get(status, "INVALID_ARGUMENT" if status < 500 else "UNAVAILABLE")
        told = {"reason": code, "domain": "redeo", "metadata": {"request_id": request_id}}
        detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", **told}
        return {"error": {"code": status, "message": message, "status": word, "details": [detail]}}
    return {"error": {"message": message, "type": error_type(status), "code": code, "param": param}}


def error_frame(
    form: Form,
    status: int,
    message: str,
    code: str,
    request_id: str,
    response: dict[str, Any] | None = None,
    sequence: int = 0,
) -> bytes:
    """The event or events that end a broken stream so that the dialect's SDKs raise.

    `response` is the response object of a Responses stream, where it has been seen; `sequence` is the number
    that its next event carries.
    """
    body = _error(form, status, message, code, request_id)
    if form is Form.ANTHROPIC:
        return frame(encode(body), "error")
    if form is not Form.RESPONSES:
        return frame(encode(body))
    event = {"type": "error", "code": code, "message": message, "param": None, "sequence_number": sequence}
    out = frame(encode(event), "error")
    return out if response is None else out + failed_frame(response, message, code, sequence + 1)


def failed_frame(response: dict[str, Any], message: str, code: str, sequence: int) -> bytes:
    """The `response.failed` that ends a broken Responses stream; without it the SDKs do not raise."""
    failed = {**response, "status": "failed", "error": {"code": code, "message": message}}
    closing = {"type": "response.failed", "response": failed, "sequence_number": sequence}
    return frame(encode(closing), "response.failed")
