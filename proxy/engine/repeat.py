"""Whether a request may be sent a second time after a provider has perhaps begun to act on it.

Plain generation has no effect but its cost. What stores something, runs on by itself or lets the provider's own
tools act does: it is repeated only where the provider's answer proves that nothing was done.
"""

from __future__ import annotations

from typing import Any, Final

from config.model import Operation
from proxy.dialects.json import decode_object
from proxy.engine.call import Call
from proxy.fault import Fault, Phase

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
_CLIENT_TOOLS: Final = frozenset({"function", "custom", "namespace", "local_shell", "apply_patch"})


def may_repeat(call: Call, fault: Fault) -> bool:
    """Whether another attempt after `fault` can do no harm but a second generation."""
    if fault.phase is Phase.NOT_SENT or fault.status in _PROOF or call.method == "GET":
        return True
    return is_stateless(call)


def is_stateless(call: Call) -> bool:
    """Whether the request leaves nothing behind at the provider."""
    if call.operation in _STATELESS or call.method == "GET":
        return True
    if call.operation in _KEPT or call.body is None:
        return False
    if call.operation is Operation.AUDIO:
        return True
    if call.fields.isdisjoint((*_STATE_FIELDS, "tools")):
        return True
    body = decode_object(call.body) or {}
    if any(body.get(name) for name in _STATE_FIELDS):
        return False
    tools = body.get("tools")
    return not isinstance(tools, list) or not any(_acts_at_provider(tool) for tool in tools)


def _acts_at_provider(tool: Any) -> bool:
    """A tool of the provider's own (web search, code execution, remote MCP), not one that the client runs.

    Anthropic's client-side tools carry dated types (`bash_20250124`, `text_editor_...`, `computer_...`,
    `memory_...`); plain ones have no type or `custom`.
    """
    kind = tool.get("type") if isinstance(tool, dict) else None
    if not isinstance(kind, str) or kind in _CLIENT_TOOLS:
        return False
    return not kind.startswith(("bash_", "text_editor_", "computer_", "memory_", "computer_use", "shell"))
