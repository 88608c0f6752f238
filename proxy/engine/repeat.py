"""Whether a request may be sent a second time after a provider has perhaps begun to act on it.

Plain generation has no effect but its cost. What stores something, runs on by itself or lets the provider's own
tools act does: it is repeated only where the provider's answer proves that nothing was done. Tools that only look
things up change nothing: with them it is repeated, too, where the provider itself says that it has failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any, Final, Protocol

from config.model import Operation
from proxy.dialects.json import decode, top_level
from proxy.engine.call import Call
from proxy.fault import Fault, FaultKind, Phase

_PROOF: Final = frozenset({401, 403, 404, 429, 529})
_STATELESS: Final = frozenset(
    {
        Operation.COMPLETIONS,
        Operation.EMBEDDINGS,
        Operation.COUNT_TOKENS,
        Operation.GEMINI_COUNT,
        Operation.RESPONSES_COUNT,
        Operation.GEMINI_EMBED,
        Operation.GEMINI_EMBED_ONE,
        Operation.COHERE_EMBED,
        Operation.MODERATIONS,
        Operation.RERANK,
        Operation.MODELS,
    }
)
_KEPT: Final = frozenset({Operation.FILES, Operation.IMAGES, Operation.BATCHES, Operation.MESSAGE_BATCHES})
_STATE_FIELDS: Final = ("store", "background", "previous_response_id", "conversation", "container", "mcp_servers")
_TOOL_FIELDS: Final = ("tools", "toolConfig", "web_search_options")
_LATER_TOOLS: Final = b'"additional_tools"'  # an item among the input of Responses
_CLIENT_TOOLS: Final = frozenset({"function", "custom", "namespace", "local_shell", "apply_patch"})
_CLIENT_KINDS: Final = ("bash_", "text_editor_", "computer_", "memory_", "computer_use", "shell")
_READING_KINDS: Final = ("web_search", "web_fetch", "file_search", "tool_search", "x_search")
# Entries that have no type: Anthropic's and Ollama's, Google's, Amazon's.
_CLIENT_ENTRIES: Final = frozenset({"name", "function", "functionDeclarations", "function_declarations", "toolSpec"})
_READING_ENTRIES: Final = frozenset(
    {"googleSearch", "google_search", "googleSearchRetrieval", "enterpriseWebSearch", "urlContext", "url_context"}
    | {"googleMaps", "fileSearch", "cachePoint"}
)
# Said by the provider itself: it has given up, and does not go on where nobody sees it.
_SAID: Final = frozenset({FaultKind.OVERLOAD, FaultKind.UPSTREAM_5XX})


class Effect(IntEnum):
    """What a request may leave behind at a provider that has begun to act on it."""

    NOTHING = 0
    READS = 1  # the provider's own tools look things up: it costs, and changes nothing
    ACTS = 2  # something is stored, runs on or is done


class Sent(Protocol):
    """A question as it was written for another dialect."""

    @property
    def via(self) -> Operation:
        """Its operation there."""

    @property
    def body(self) -> bytes:
        """What was sent."""


def may_repeat(call: Call, fault: Fault, written: Sent | None = None) -> bool:
    """Whether another attempt after `fault` can do no harm but a second generation. `written`: what was sent, where
    that was not the client's own body: a tool that was left out has done nothing."""
    if fault.phase is Phase.NOT_SENT or fault.status in _PROOF or call.method == "GET":
        return True
    effect = effect_of(call) if written is None else _effect_of(written.via, written.body)
    return effect is Effect.NOTHING or (effect is Effect.READS and fault.kind in _SAID)


def may_be_doubled(call: Call) -> bool:
    """Whether asking two providers at once, or one after the other for parts, can do no harm but its cost."""
    return effect_of(call) is not Effect.ACTS


def is_stateless(call: Call) -> bool:
    """Whether the request leaves nothing behind at the provider."""
    return effect_of(call) is Effect.NOTHING


def effect_of(call: Call) -> Effect:
    """What the client's own request may leave behind."""
    if call.operation in _STATELESS or call.method == "GET":
        return Effect.NOTHING
    if call.operation is Operation.AUDIO and (call.body is not None or call.upload is not None):
        return Effect.NOTHING
    if call.operation in _KEPT or call.body is None:
        return Effect.ACTS
    later = call.operation is Operation.RESPONSES and call.body.rfind(_LATER_TOOLS) >= 0
    if call.fields.isdisjoint((*_STATE_FIELDS, *_TOOL_FIELDS)) and not later:
        return Effect.NOTHING
    return _effect_of(call.operation, call.body)


def _effect_of(operation: Operation, data: bytes) -> Effect:
    if operation in _STATELESS:
        return Effect.NOTHING
    body = _read(data)
    if any(body.get(name) for name in _STATE_FIELDS):
        return Effect.ACTS
    searched = Effect.READS if body.get("web_search_options") is not None else Effect.NOTHING
    return max((searched, *(_effect_of_tool(tool) for tool in _tools(body))))


def _read(data: bytes) -> dict[str, Any]:
    """Those fields that matter here: a prompt is many times larger, and is not decoded for them."""
    try:
        fields = top_level(data)
    except ValueError:
        return {}
    wanted = (*_STATE_FIELDS, *_TOOL_FIELDS, *(("input",) if data.rfind(_LATER_TOOLS) >= 0 else ()))
    return {name: decode(fields[name]) for name in wanted if name in fields}


def _tools(body: dict[str, Any]) -> Iterator[Any]:
    """All tools that a request offers, wherever its dialect has them."""
    config, given = body.get("toolConfig"), body.get("input")
    items = [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []
    later = [item.get("tools") for item in items if item.get("type") == "additional_tools"]
    for listed in (body.get("tools"), config.get("tools") if isinstance(config, dict) else None, *later):
        yield from listed if isinstance(listed, list) else ()


def _effect_of_tool(tool: Any) -> Effect:
    """A tool of the provider's own (web search, code execution, remote MCP) is told from one that the client runs.

    Anthropic's client-side tools carry dated types (`bash_20250124`, `text_editor_...`, `computer_...`,
    `memory_...`); plain ones have no type or `custom`.
    """
    if not isinstance(tool, dict):
        return Effect.NOTHING
    kind = tool.get("type")
    if isinstance(kind, str):
        if kind in _CLIENT_TOOLS or kind.startswith(_CLIENT_KINDS):
            return Effect.NOTHING
        return Effect.READS if kind.startswith(_READING_KINDS) else Effect.ACTS
    if not _CLIENT_ENTRIES.isdisjoint(tool) or not tool:
        return Effect.NOTHING
    return Effect.READS if _READING_ENTRIES.issuperset(tool) else Effect.ACTS
