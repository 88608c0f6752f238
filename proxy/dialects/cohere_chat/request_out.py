"""A request of the hub, written in Cohere's Chat for a provider."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.dialects.base import Target
from proxy.dialects.blocks import (
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
from proxy.dialects.chat.request_out import call_out
from proxy.dialects.cohere_chat.request_in import NAME, SAME
from proxy.dialects.json import decode_object
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


def write_request(request: Request, target: Target) -> tuple[dict[str, Any], list[Loss]]:
    """See `Dialect`."""
    losses: list[Loss] = []
    body: dict[str, Any] = {"model": target.model}
    body["messages"] = [m for n, turn in enumerate(request.turns) for m in _messages(turn, f"messages[{n}]", losses)]
    tools = [entry for n, tool in enumerate(request.tools) for entry in _tool(tool, f"tools[{n}]", losses)]
    if tools:
        body["tools"] = tools
        if any(isinstance(tool, Tool) and tool.strict for tool in request.tools):
            body["strict_tools"] = True
    told = say_params(request, _WORDS, body)
    if request.home == NAME:
        body |= request.extras
        told = [loss for loss in told if loss.what not in request.extras]
    if not tools:
        body.pop("tool_choice", None)
    body["stream"] = request.stream
    return body, [*losses, *told]


def _messages(turn: Turn, where: str, losses: list[Loss]) -> Iterator[dict[str, Any]]:
    if turn.name:
        losses.append(Loss(f"{where}.name", "speakers have no names"))
    if turn.role is Role.ASSISTANT:
        yield _assistant(turn, where, losses)
        return
    parts: list[dict[str, Any]] = []
    for n, block in enumerate(turn.content):
        at = f"{where}.content[{n}]"
        if isinstance(block, ToolResult):
            yield _result(block, at, losses)
        else:
            parts += _part(block, at, losses)
    if parts:
        role = "system" if turn.role is Role.DEVELOPER else turn.role.value
        yield {"role": role, "content": _plain(parts)}


def _plain(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One text as a string."""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return str(parts[0]["text"])
    return parts


def _part(block: Block, at: str, losses: list[Loss]) -> Iterator[dict[str, Any]]:
    words = block.source.words if isinstance(block, Document) else None
    if isinstance(block, Text | Refusal):
        yield {"type": "text", "text": block.text}
    elif isinstance(block, Image) and (block.source.url or block.source.data):
        source = block.source
        url = source.url or f"data:{source.media_type or 'image/png'};base64,{source.data}"
        yield {"type": "image_url", "image_url": {"url": url, **({"detail": block.detail} if block.detail else {})}}
    elif words is not None:
        yield {"type": "text", "text": words}
    elif isinstance(block, Foreign) and block.raw.dialect == NAME:
        yield dict(block.raw.data)
    else:
        losses.append(Loss(at, f"{type(block).__name__.lower()} cannot stand in a message", content=True))
        return
    if getattr(block, "cache", None) is not None:
        losses.append(Loss(f"{at}.cache_control", "prompts are cached without marks"))


def _result(block: ToolResult, at: str, losses: list[Loss]) -> dict[str, Any]:
    """What a tool said: texts, and documents that the answer may cite."""
    content: list[dict[str, Any]] = []
    for n, inner in enumerate(block.content):
        if isinstance(inner, Document) and inner.source.text is not None:
            data = decode_object(inner.source.text.encode("utf-8", "surrogatepass"))
            document: dict[str, Any] = {"data": inner.source.text if data is None else data}
            content.append({"type": "document", "document": document | ({"id": inner.name} if inner.name else {})})
        else:
            content += _part(inner, f"{at}.content[{n}]", losses)
    if block.error:
        losses.append(Loss(f"{at}.is_error", "a tool's result has no such mark; its text stands"))
    return {"role": "tool", "tool_call_id": block.call_id, "content": _plain(content) if content else ""}


def _assistant(turn: Turn, where: str, losses: list[Loss]) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant"}
    calls = [call_out(block) for block in turn.content if isinstance(block, ToolCall) and not block.custom]
    parts: list[dict[str, Any]] = []
    for n, block in enumerate(turn.content):
        at = f"{where}.content[{n}]"
        if isinstance(block, Reasoning):
            if block.seal is not None or not block.text:
                losses.append(Loss(f"{at} (thinking)", "another connection made it, and only that one can read it"))
            elif block.summary and calls:
                said["tool_plan"] = said.get("tool_plan", "") + block.text
            else:
                parts.append({"type": "thinking", "thinking": block.text})
        elif isinstance(block, ServerCall) or (isinstance(block, Foreign) and block.raw.dialect != NAME):
            losses.append(Loss(at, "the work of another provider's own tools"))
        elif isinstance(block, ToolCall) and block.custom:
            losses.append(Loss(at, "calls take JSON alone", content=True))
        elif not isinstance(block, ToolCall):
            parts += _part(block, at, losses)
    if parts:
        said["content"] = _plain(parts)
    if calls:
        said["tool_calls"] = calls
    return said


def _tool(tool: Tool | ServerTool, at: str, losses: list[Loss]) -> Iterator[dict[str, Any]]:
    if isinstance(tool, ServerTool):
        if tool.raw.dialect == NAME:
            yield dict(tool.raw.data)
        else:
            losses.append(Loss(at, f"there is no built-in tool {tool.kind}"))
        return
    if tool.custom:
        losses.append(Loss(at, "tools take JSON alone"))
        return
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    yield {"type": "function", "function": {k: v for k, v in function.items() if v is not None}}
    losses += [Loss(f"{at}.{name}", "tools have no such mark") for name in tool.extras]
    if tool.cache is not None:
        losses.append(Loss(f"{at}.cache_control", "prompts are cached without marks"))


def _say_choice(value: Choice, body: dict[str, Any]) -> None:
    """There is only REQUIRED and NONE: one tool is asked for by leaving the others out."""
    if value.names:
        names = set(value.names)
        body["tools"] = [tool for tool in body.get("tools", []) if tool.get("function", {}).get("name") in names]
    word = {"required": "REQUIRED", "tool": "REQUIRED", "none": "NONE"}.get(value.mode)
    if word is not None:
        body["tool_choice"] = word


def _say_format(value: Format, body: dict[str, Any]) -> None:
    form: dict[str, Any] = {"type": "json_object"}
    if value.schema is not None:
        form["json_schema"] = value.schema
    body["response_format"] = form


def _say_think(value: Think, body: dict[str, Any]) -> None:
    if value.enabled is False or value.effort == "none":
        body["thinking"] = {"type": "disabled"}
        return
    body["thinking"] = {"type": "enabled", **({"token_budget": value.budget} if value.budget else {})}
    if value.effort is not None:
        raise Unsayable("thinking is on or off; it was put on")


def _say_parallel(value: Any, _body: dict[str, Any]) -> None:
    if value is False:
        raise Unsayable("calls may always come together")


def _say_one(value: Any, _body: dict[str, Any]) -> None:
    if value != 1:
        raise Unsayable("there is one answer to a question")


_WORDS: Final[Mapping[Param, str | Say]] = {
    **{param: name for name, param in SAME.items()},
    Param.TOOL_CHOICE: _say_choice,
    Param.FORMAT: _say_format,
    Param.REASONING: _say_think,
    Param.PARALLEL_TOOLS: _say_parallel,
    Param.N: _say_one,
}
