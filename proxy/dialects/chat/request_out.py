"""A request of the hub, written in Chat Completions for a provider."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from proxy.dialects import seals
from proxy.dialects.base import DialectName, Target
from proxy.dialects.blocks import (
    Audio,
    Block,
    Document,
    Foreign,
    Image,
    Reasoning,
    Refusal,
    ServerCall,
    Text,
    ToolCall,
    ToolResult,
)
from proxy.dialects.chat.request_in import AUDIO_TYPES, SAME
from proxy.dialects.request import (
    Choice,
    Format,
    Loss,
    Param,
    Request,
    Role,
    Say,
    ServerTool,
    Think,
    Tool,
    Turn,
    Unsayable,
    say_params,
)

NAME: Final = DialectName.CHAT


def _say_think(value: Think, body: dict[str, Any]) -> None:
    effort = effort_of(value)
    if effort is None:
        raise Unsayable("an effort has no default here")
    body["reasoning_effort"] = effort


def effort_of(think: Think) -> str | None:
    """The word for how much to think; a budget in tokens is put into the nearest one."""
    if think.enabled is False:
        return "none"
    if think.effort is not None or think.budget is None:
        return think.effort
    return "low" if think.budget <= 2048 else "medium" if think.budget <= 10_000 else "high"


def _say_format(value: Format, body: dict[str, Any]) -> None:
    if value.schema is None:
        body["response_format"] = {"type": "json_object"}
        return
    spec = {"name": value.name, "schema": value.schema}
    spec |= {k: v for k, v in (("description", value.description), ("strict", value.strict)) if v is not None}
    body["response_format"] = {"type": "json_schema", "json_schema": spec}


def _say_choice(value: Choice, body: dict[str, Any]) -> None:
    if value.mode == "tool":
        body["tool_choice"] = {"type": "function", "function": {"name": value.names[0]}}
    elif value.names:
        tools = [{"type": "function", "function": {"name": name}} for name in value.names]
        body["tool_choice"] = {"type": "allowed_tools", "allowed_tools": {"mode": value.mode, "tools": tools}}
    else:
        body["tool_choice"] = value.mode


_TIERS: Final = frozenset({"auto", "default", "flex", "priority", "scale"})


def _say_tier(value: Any, body: dict[str, Any]) -> None:
    if value not in _TIERS:
        raise Unsayable(f"there is no service tier {value!s:.40}")
    body["service_tier"] = value


_WORDS: Final[Mapping[Param, str | Say]] = {
    **{param: name for name, param in SAME.items() if name != "max_tokens"},
    Param.STOP: "stop",
    Param.REASONING: _say_think,
    Param.FORMAT: _say_format,
    Param.TOOL_CHOICE: _say_choice,
    Param.SERVICE_TIER: _say_tier,
}


def write_request(request: Request, target: Target) -> tuple[dict[str, Any], list[Loss]]:
    """See `Dialect`."""
    body: dict[str, Any] = {"model": target.model}
    losses: list[Loss] = []
    messages: list[dict[str, Any]] = []
    for n, turn in enumerate(request.turns):
        messages += _messages(turn, target, f"messages[{n}]", losses)
    body["messages"] = messages
    tools = list(_tools_out(request.tools, losses, body))
    if tools:
        body["tools"] = tools
    losses += say_params(request, _WORDS, body)
    if not tools:
        body.pop("tool_choice", None)
        body.pop("parallel_tool_calls", None)
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return body, losses


def _messages(turn: Turn, target: Target, where: str, losses: list[Loss]) -> Iterator[dict[str, Any]]:
    if turn.role is Role.ASSISTANT:
        yield _assistant(turn, target, where, losses)
        return
    parts: list[dict[str, Any]] = []
    for n, block in enumerate(turn.content):
        if isinstance(block, ToolResult):
            message, pictures = _result(block, f"{where}.content[{n}]", losses)
            yield message
            parts += pictures
        else:
            part = _part_out(block, f"{where}.content[{n}]", losses)
            parts += [] if part is None else [part]
    if parts:
        said: dict[str, Any] = {"role": turn.role.value, "content": _plain(parts)}
        if turn.name:
            said["name"] = turn.name
        yield said


def _plain(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One text as a string, which every provider takes."""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return str(parts[0]["text"])
    return parts


def _result(block: ToolResult, where: str, losses: list[Loss]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The tool's message; what is no text goes into the user's message behind it."""
    parts = [p for p in (_part_out(inner, where, losses) for inner in block.content) if p is not None]
    texts = [p for p in parts if p["type"] == "text"]
    others = [p for p in parts if p["type"] != "text"]
    if block.error:
        losses.append(Loss(f"{where}.is_error", "a tool's result has no such mark; its text stands"))
    content: Any = _plain(texts) if texts else ("(see the next message)" if others else "")
    return {"role": "tool", "tool_call_id": block.call_id, "content": content}, others


def _part_out(block: Block, where: str, losses: list[Loss]) -> dict[str, Any] | None:
    part: dict[str, Any] | None = None
    if isinstance(block, Text):
        part = {"type": "text", "text": block.text}
    elif isinstance(block, Refusal):
        part = {"type": "refusal", "refusal": block.text}
    elif isinstance(block, Image):
        part = _image_out(block)
    elif isinstance(block, Document):
        part = _document_out(block)
    elif isinstance(block, Audio) and block.source.data is not None:
        form = block.format or {v: k for k, v in AUDIO_TYPES.items()}.get(block.source.media_type or "", "wav")
        part = {"type": "input_audio", "input_audio": {"data": block.source.data, "format": form}}
    elif isinstance(block, Foreign) and block.raw.dialect == NAME:
        part = dict(block.raw.data)
    if part is None:
        losses.append(Loss(where, f"{type(block).__name__.lower()} cannot stand in a message", content=True))
    elif isinstance(block, Text | Image | Document) and block.cache is not None:
        losses.append(Loss(f"{where}.cache_control", "prompts are cached without marks"))
    return part


def _image_out(block: Image) -> dict[str, Any] | None:
    source = block.source
    url = source.url or (source.data and f"data:{source.media_type or 'image/png'};base64,{source.data}")
    if not url:
        return None
    return {"type": "image_url", "image_url": {"url": url, **({"detail": block.detail} if block.detail else {})}}


def _document_out(block: Document) -> dict[str, Any] | None:
    source = block.source
    kind = source.media_type or "application/pdf"
    if source.file_id:
        return {"type": "file", "file": {"file_id": source.file_id}}
    if source.words is not None:
        return {"type": "text", "text": source.words}
    if source.data is None:
        return None
    return {
        "type": "file",
        "file": {"filename": block.name or "document.pdf", "file_data": f"data:{kind};base64,{source.data}"},
    }


def _assistant(turn: Turn, target: Target, where: str, losses: list[Loss]) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": None}
    texts = [block.text for block in turn.content if isinstance(block, Text)]
    calls = [call_out(block) for block in turn.content if isinstance(block, ToolCall)]
    thoughts = [block for block in turn.content if isinstance(block, Reasoning)]
    for n, block in enumerate(turn.content):
        at = f"{where}.content[{n}]"
        if isinstance(block, Text | ToolCall | Reasoning):
            continue
        if isinstance(block, Refusal):
            said["refusal"] = block.text
        elif isinstance(block, Foreign) and (block.raw.dialect, block.raw.kind) == (NAME, "audio"):
            said["audio"] = {"id": block.raw.data.get("id")}
        elif isinstance(block, ServerCall | Foreign):
            losses.append(Loss(at, "the work of another provider's own tools"))
        else:
            losses.append(Loss(at, f"{type(block).__name__.lower()} cannot stand in an answer", content=True))
    if texts:
        said["content"] = "".join(texts)
    if calls:
        said["tool_calls"] = calls
    if thoughts:
        _thoughts_out(thoughts, said, target, where, losses)
    if turn.name:
        said["name"] = turn.name
    return said


def _thoughts_out(
    thoughts: list[Reasoning], said: dict[str, Any], target: Target, where: str, losses: list[Loss]
) -> None:
    details = [t.seal.data for t in thoughts if t.seal is not None and seals.fits(t.seal, NAME, target.origin)]
    if details:
        said["reasoning_details"] = details
    elif target.reasoning_field:
        said[target.reasoning_field] = "".join(t.text for t in thoughts)
    else:
        losses.append(Loss(f"{where}.thinking", "this provider does not take thinking back"))


def call_out(block: ToolCall) -> dict[str, Any]:
    """One entry of `tool_calls`."""
    if block.custom:
        return {"id": block.id, "type": "custom", "custom": {"name": block.name, "input": block.arguments}}
    function = {"name": block.name, "arguments": block.arguments or "{}"}
    return {"id": block.id, "type": "function", "function": function}


def _tools_out(
    tools: Iterable[Tool | ServerTool], losses: list[Loss], body: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for n, tool in enumerate(tools):
        if isinstance(tool, ServerTool):
            if tool.raw.dialect == NAME:
                yield dict(tool.raw.data)
            elif tool.kind == "web_search":
                body["web_search_options"] = {}
            else:
                losses.append(Loss(f"tools[{n}]", f"there is no built-in tool {tool.kind}"))
        elif tool.custom:
            custom = {"name": tool.name, "description": tool.description, "format": tool.grammar}
            yield {"type": "custom", "custom": {k: v for k, v in custom.items() if v is not None}}
        else:
            function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
            function["strict"] = tool.strict
            yield {"type": "function", "function": {k: v for k, v in function.items() if v is not None}}
            losses += [Loss(f"tools[{n}].{name}", "tools have no such mark") for name in tool.extras]
