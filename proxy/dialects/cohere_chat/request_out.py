"""A request of the hub, written in Cohere's Chat for a provider."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.dialects.base import Target
from proxy.dialects.blocks import (
    Block,
    Cite,
    Document,
    Foreign,
    Image,
    Reasoning,
    Refusal,
    ServerCall,
    Text,
    ToolCall,
    ToolResult,
    plainly,
)
from proxy.dialects.cohere_chat.cites import NAME, rows_for
from proxy.dialects.cohere_chat.request_in import SAME
from proxy.dialects.json import decode_object, encode
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
from proxy.dialects.shown import shown
from proxy.dialects.toolbox import results_first


def write_request(request: Request, target: Target) -> tuple[dict[str, Any], list[Loss]]:
    """See `Dialect`."""
    losses: list[Loss] = []
    body: dict[str, Any] = {"model": target.model}
    messages = [m for n, turn in shown(request.turns) for m in _messages(turn, f"messages[{n}]", losses)]
    body["messages"] = results_first(messages)
    tools = [entry for n, tool in enumerate(request.tools) for entry in _tool(tool, f"tools[{n}]", losses)]
    if tools:
        body["tools"] = tools
        losses += _strict(request, body)
    told = say_params(request, _WORDS, body)
    if request.home == NAME:
        body |= request.extras
        told = [loss for loss in told if loss.what not in request.extras]
    if not body.get("tools"):
        body.pop("tools", None)
        body.pop("tool_choice", None)
    if ("tools" in body or "documents" in body) and body.pop("response_format", None):  # Cohere, "Chat (V2)"
        name = request.names.get(Param.FORMAT, Param.FORMAT.value)
        told.append(Loss(name, "it does not go with tools or documents"))
    body["stream"] = request.stream
    return body, [*losses, *told]


def _strict(request: Request, body: dict[str, Any]) -> list[Loss]:
    """Strict are all tools or none, and only such as have to be given something (Cohere, "Parameter types for tool
    use")."""
    tools = [(n, tool) for n, tool in enumerate(request.tools) if isinstance(tool, Tool)]
    if all(tool.strict and isinstance(tool.schema, dict) and tool.schema.get("required") for _, tool in tools):
        body["strict_tools"] = True
        return []
    return [Loss(f"tools[{n}].strict", "strict are all tools or none") for n, tool in tools if tool.strict]


def _messages(turn: Turn, where: str, losses: list[Loss]) -> Iterator[dict[str, Any]]:
    if turn.name:
        losses.append(Loss(f"{where}.name", "speakers have no names"))
    if turn.role is Role.ASSISTANT:
        said = _assistant(turn, where, losses)
        if said.keys() != {"role"}:  # all of it was another's thinking
            yield said
        return
    role = "system" if turn.role is Role.DEVELOPER else turn.role.value
    parts: list[dict[str, Any]] = []
    for n, block in enumerate(turn.content):
        at = f"{where}.content[{n}]"
        if isinstance(block, ToolResult):
            said, pictures = _result(block, at, losses)
            yield said
            parts += pictures
        else:
            parts += _part(block, at, losses, pictures=role == "user")
    if parts:
        yield {"role": role, "content": _plain(parts)}


def _plain(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One text as a string."""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return str(parts[0]["text"])
    return parts


def _part(block: Block, at: str, losses: list[Loss], *, pictures: bool = False) -> Iterator[dict[str, Any]]:
    words = block.source.words if isinstance(block, Document) else None
    if isinstance(block, Text | Refusal):
        yield {"type": "text", "text": block.text}
    elif isinstance(block, Image) and pictures and (block.source.url or block.source.data):
        yield _picture(block, at, losses)
    elif isinstance(block, Document) and words is not None:
        yield {"type": "text", "text": words}
        told = {"title": block.name, "context": block.context, "citations": block.cited}
        losses += [Loss(f"{at}.{name}", "a document is its text alone") for name, value in told.items() if value]
    elif isinstance(block, Foreign) and block.raw.dialect == NAME:
        yield dict(block.raw.data)
    else:
        losses.append(Loss(at, f"{plainly(block)} cannot stand in such a message", content=True))
        return
    _unmarked(block, at, losses)


def _unmarked(block: Block, at: str, losses: list[Loss]) -> None:
    if getattr(block, "cache", None) is not None:
        losses.append(Loss(f"{at}.cache_control", "prompts are cached without marks"))


def _picture(block: Image, at: str, losses: list[Loss]) -> dict[str, Any]:
    source = block.source
    image = {"url": source.url or f"data:{source.kind or 'image/png'};base64,{source.data}"}
    if block.detail in ("auto", "low", "high"):
        image["detail"] = block.detail
    elif block.detail:
        losses.append(Loss(f"{at}.detail", "it is auto, low or high"))
    return {"type": "image_url", "image_url": image}


def _result(block: ToolResult, at: str, losses: list[Loss]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a tool said: texts, and documents that may be cited. Pictures go into the user's message behind it."""
    content: list[dict[str, Any]] = []
    pictures: list[dict[str, Any]] = []
    for n, inner in enumerate(block.content):
        words = inner.source.words if isinstance(inner, Document) else None
        if isinstance(inner, Document) and words is not None:
            data = decode_object(words.encode("utf-8", "surrogatepass"))
            document: dict[str, Any] = {"data": {"text": words} if data is None else data}
            content.append({"type": "document", "document": document | ({"id": inner.name} if inner.name else {})})
        elif isinstance(inner, Image):
            pictures += _part(inner, f"{at}.content[{n}]", losses, pictures=True)
        else:
            content += _part(inner, f"{at}.content[{n}]", losses)
    if block.error:
        losses.append(Loss(f"{at}.is_error", "a tool's result has no such mark; its text stands"))
    _unmarked(block, at, losses)
    told = _plain(content) if content else "(see the next message)" if pictures else ""
    return {"role": "tool", "tool_call_id": block.call_id, "content": told}, pictures


def _assistant(turn: Turn, where: str, losses: list[Loss]) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant"}
    calls = [_call(block) for block in turn.content if isinstance(block, ToolCall)]
    parts: list[dict[str, Any]] = []
    cites: list[Cite] = []
    for n, block in enumerate(turn.content):
        at = f"{where}.content[{n}]"
        if isinstance(block, Reasoning):
            _thought(block, said, parts, bool(calls), at, losses)
        elif isinstance(block, ServerCall) or (isinstance(block, Foreign) and block.raw.dialect != NAME):
            losses.append(Loss(at, "the work of another provider's own tools"))
        elif isinstance(block, ToolCall):
            _unmarked(block, at, losses)
        else:
            parts += _part(block, at, losses)
            cites += block.cites if isinstance(block, Text) else ()
    if parts:
        said["content"] = _plain(parts)
    if calls:
        said["tool_calls"] = calls
    rows = rows_for(cite for cite in cites if cite.raw is not None and cite.raw.dialect == NAME)
    return {**said, "citations": rows} if rows else said


def _thought(
    block: Reasoning, said: dict[str, Any], parts: list[dict[str, Any]], calls: bool, at: str, losses: list[Loss]
) -> None:
    if block.seal is not None or not block.text:
        losses.append(Loss(f"{at} (thinking)", "another connection made it, and only that one can read it"))
    elif block.summary and calls:
        said["tool_plan"] = said.get("tool_plan", "") + block.text
    else:
        parts.append({"type": "thinking", "thinking": block.text})


def _call(block: ToolCall) -> dict[str, Any]:
    given = encode({"input": block.arguments}).decode() if block.custom else block.arguments or "{}"
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": given}}


def _tool(tool: Tool | ServerTool, at: str, losses: list[Loss]) -> Iterator[dict[str, Any]]:
    if isinstance(tool, ServerTool):
        if tool.raw.dialect == NAME:
            yield dict(tool.raw.data)
        else:
            losses.append(Loss(at, f"there is no built-in tool {tool.kind}"))
        return
    schema = tool.schema or {"type": "object", "properties": {}}
    if tool.custom:  # free text in, as an object of one string
        schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
        if tool.grammar is not None:
            losses.append(Loss(f"{at}.format", "tools take JSON alone"))
    function = {"name": tool.name, "description": tool.description, "parameters": schema}
    yield {"type": "function", "function": {k: v for k, v in function.items() if v is not None}}
    lost = [*tool.extras, *(["cache_control"] if tool.cache is not None else [])]
    losses += [Loss(f"{at}.{name}", "tools have no such mark") for name in lost]


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
    """Models that can think do so unless told not to; those that cannot refuse to be told."""
    if value.enabled is False or value.effort == "none":
        body["thinking"] = {"type": "disabled"}
        return
    if value.enabled or value.budget:
        body["thinking"] = {"type": "enabled", **({"token_budget": value.budget} if value.budget else {})}
    if value.effort is not None:
        raise Unsayable("thinking has a budget, no effort")


def _within(name: str, low: float, high: float) -> Say:
    def say(value: Any, body: dict[str, Any]) -> None:
        body[name] = value
        if isinstance(value, int | float) and not low <= value <= high:
            body[name] = min(max(value, low), high)
            raise Unsayable(f"it is {low} to {high}; {body[name]} was taken")

    return say


def _say_stop(value: Any, body: dict[str, Any]) -> None:
    body["stop_sequences"] = value
    if isinstance(value, list) and len(value) > 5:
        body["stop_sequences"] = value[:5]
        raise Unsayable("there are at most five; the first were taken")


def _say_parallel(value: Any, _body: dict[str, Any]) -> None:
    if value is False:
        raise Unsayable("calls may always come together")


def _say_one(value: Any, _body: dict[str, Any]) -> None:
    if value != 1:
        raise Unsayable("there is one answer to a question")


_WORDS: Final[Mapping[Param, str | Say]] = {
    **{param: name for name, param in SAME.items()},
    Param.TOP_P: _within("p", 0.01, 0.99),
    Param.TOP_K: _within("k", 0, 500),
    Param.FREQUENCY_PENALTY: _within("frequency_penalty", 0, 1),
    Param.PRESENCE_PENALTY: _within("presence_penalty", 0, 1),
    Param.STOP: _say_stop,
    Param.TOOL_CHOICE: _say_choice,
    Param.FORMAT: _say_format,
    Param.REASONING: _say_think,
    Param.PARALLEL_TOOLS: _say_parallel,
    Param.N: _say_one,
}
