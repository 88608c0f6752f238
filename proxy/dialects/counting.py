"""How many tokens a question has: the forms in which that is asked and answered, through the hub as the question is.

Sources: Anthropic API, "Count tokens"; OpenAI API reference, "Get input token counts"; Gemini API,
`models.countTokens`; Vertex AI, `countTokens`; Amazon Bedrock API reference, "CountTokens"; read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from config.model import Operation
from proxy.dialects import estimate, read
from proxy.dialects.base import DialectName, Target, Unreadable, dialect
from proxy.dialects.request import Loss, Param, Request


class _Form(msgspec.Struct, frozen=True):
    """`fields` of its dialect's question that weigh, the places that they stand `within`, the names of the answer."""

    dialect: DialectName
    fields: frozenset[str]
    answer: str
    within: tuple[str, ...] = ()


_GOOGLE: Final = frozenset({"contents", "systemInstruction", "tools", "generationConfig"})
_FORMS: Final = {
    Operation.COUNT_TOKENS: _Form(
        DialectName.MESSAGES,
        frozenset(
            {"messages", "model", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control"}
        ),
        "input_tokens",
    ),
    Operation.RESPONSES_COUNT: _Form(
        DialectName.RESPONSES,
        frozenset(
            {"input", "instructions", "model", "tools", "tool_choice", "reasoning", "text", "parallel_tool_calls"}
        ),
        "input_tokens",
    ),
    Operation.GEMINI_COUNT: _Form(
        DialectName.GEMINI, _GOOGLE | {"toolConfig"}, "totalTokens", ("generateContentRequest",)
    ),
    Operation.VERTEX_COUNT: _Form(DialectName.GEMINI, _GOOGLE, "totalTokens"),
    Operation.CONVERSE_COUNT: _Form(
        DialectName.CONVERSE,
        frozenset({"messages", "system", "toolConfig", "additionalModelRequestFields"}),
        "inputTokens",
        ("input", "converse"),
    ),
}
COUNTS: Final = frozenset(_FORMS)
# What else can be asked for does not weigh: it is left out, and nothing is lost by that.
_WEIGHING: Final = frozenset({Param.REASONING, Param.FORMAT, Param.TOOL_CHOICE, Param.PARALLEL_TOOLS, Param.VERBOSITY})


def read_question(operation: Operation, body: Mapping[str, Any]) -> Request:
    """What is to be counted. Raises BadRequest."""
    form = _FORMS[operation]
    for step in form.within:
        inner = body.get(step)
        body = inner if isinstance(inner, dict) else body
    request = dialect(form.dialect).read_request(body)
    request.params = {param: value for param, value in request.params.items() if param in _WEIGHING}
    return request


def write_question(operation: Operation, request: Request, target: Target) -> tuple[dict[str, Any], list[Loss]]:
    """The question in the form of this provider, and what of it cannot be counted there."""
    form = _FORMS[operation]
    written, losses = dialect(form.dialect).write_request(request, target)
    body: dict[str, Any] = {name: value for name, value in written.items() if name in form.fields}
    if operation is Operation.GEMINI_COUNT:
        body["model"] = f"models/{target.model}"
    for step in reversed(form.within):
        body = {step: body}
    return body, losses


def read_count(operation: Operation, value: Mapping[str, Any]) -> int:
    """What was counted. Raises Unreadable."""
    name = _FORMS[operation].answer
    count = value.get(name)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise Unreadable(f"an answer without `{name}`")
    return read.number(count)


def write_count(operation: Operation, count: int) -> dict[str, Any]:
    """The answer for a client."""
    kind = {"object": "response.input_tokens"} if operation is Operation.RESPONSES_COUNT else {}
    return {**kind, _FORMS[operation].answer: count}


def estimated(operation: Operation, body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer where nobody counts. Raises BadRequest."""
    return write_count(operation, estimate.of_request(read_question(operation, body)))
