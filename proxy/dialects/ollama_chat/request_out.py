"""A request of the hub, written in Ollama's chat for a server."""

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
    plainly,
)
from proxy.dialects.ollama_chat.request_in import NAME, OPTIONS, SAME
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
    described,
    say_params,
)
from proxy.dialects.toolbox import given_to


def write_request(request: Request, target: Target) -> tuple[dict[str, Any], list[Loss]]:
    """See `Dialect`."""
    losses: list[Loss] = []
    names = {b.id: b.name for turn in request.turns for b in turn.content if isinstance(b, ToolCall)}
    body: dict[str, Any] = {"model": target.model, "stream": request.stream}
    body["messages"] = [
        message for n, turn in enumerate(request.turns) for message in _messages(turn, f"messages[{n}]", names, losses)
    ]
    tools = [entry for n, tool in enumerate(request.tools) for entry in _tool(tool, f"tools[{n}]", losses)]
    if tools:
        body["tools"] = tools
    told = say_params(request, _WORDS, body)
    if request.home == NAME:
        told = [loss for loss in told if loss.what not in request.extras]
        for name, value in request.extras.items():
            place, _, inner = name.partition(".")
            (body.setdefault("options", {}) if inner else body)[inner or place] = value
    return body, [*losses, *told]


def _messages(turn: Turn, where: str, names: Mapping[str, str], losses: list[Loss]) -> Iterator[dict[str, Any]]:
    role = {Role.DEVELOPER: "system"}.get(turn.role, turn.role.value)
    said: dict[str, Any] = {"role": role, "content": ""}
    before = len(losses)
    if turn.name:
        losses.append(Loss(f"{where}.name", "speakers have no names"))
    for n, block in enumerate(turn.content):
        at = f"{where}.content[{n}]"
        if isinstance(block, ToolResult):
            yield _result(block, at, names, losses)
        else:
            _add(block, said, at, losses)
    if said.keys() > {"role", "content"} or said["content"] or (not turn.content and before == len(losses)):
        yield said


def _add(block: Block, said: dict[str, Any], at: str, losses: list[Loss]) -> None:
    words = block.source.words if isinstance(block, Document) else None
    if isinstance(block, Text | Refusal):
        _write(block.text, said)
    elif isinstance(block, Document) and words is not None:
        _write(words, said)
        told = {"title": block.name, "context": block.context, "citations": block.cited}
        losses += [Loss(f"{at}.{name}", "a document is its text alone") for name, value in told.items() if value]
    elif isinstance(block, Image) and block.source.data is not None:
        said.setdefault("images", []).append(block.source.data)
        if block.detail not in (None, "auto"):
            losses.append(Loss(f"{at}.detail", "there is no such mark"))
    elif isinstance(block, ToolCall):
        _call(block, said, at, losses)
    elif isinstance(block, Reasoning) and block.text and block.seal is None:
        said["thinking"] = said.get("thinking", "") + block.text
    elif isinstance(block, Reasoning):
        losses.append(Loss(f"{at} (thinking)", "another connection made it, and only that one can read it"))
    elif isinstance(block, ServerCall) or (isinstance(block, Foreign) and not block.content):
        losses.append(Loss(at, "the work of another provider's own tools"))
    else:
        losses.append(Loss(at, f"{plainly(block)} cannot stand in a message", content=True))
    _unmarked(block, at, losses)


def _write(text: str, said: dict[str, Any]) -> None:
    """Texts of one message become one; those of an answer go on, all others stand by themselves."""
    apart = "\n\n" if said["content"] and text and said["role"] != Role.ASSISTANT else ""
    said["content"] += apart + text


def _unmarked(block: Block, at: str, losses: list[Loss]) -> None:
    if getattr(block, "cache", None) is not None:
        losses.append(Loss(f"{at}.cache_control", "prompts are cached without marks"))


def _call(block: ToolCall, said: dict[str, Any], at: str, losses: list[Loss]) -> None:
    given = given_to(block)
    if given is None:
        losses.append(Loss(f"{at}.arguments", "they are not a JSON object", content=True))
    function = {"name": block.name, "arguments": given or {}}
    said.setdefault("tool_calls", []).append({"id": block.id, "function": function})


def _result(block: ToolResult, at: str, names: Mapping[str, str], losses: list[Loss]) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "tool", "content": "", "tool_call_id": block.call_id}
    name = block.name or names.get(block.call_id)
    if name:
        said["tool_name"] = name
    for n, inner in enumerate(block.content):
        _add(inner, said, f"{at}.content[{n}]", losses)
    if block.error:
        losses.append(Loss(f"{at}.is_error", "a tool's result has no such mark; its text stands"))
    _unmarked(block, at, losses)
    return said


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
    lost = [*tool.extras, *(["strict"] if tool.strict else []), *(["cache_control"] if tool.cache else [])]
    losses += [Loss(f"{at}.{name}", "tools have no such mark") for name in lost]


def _in_options(name: str) -> Say:
    def say(value: Any, body: dict[str, Any]) -> None:
        body.setdefault("options", {})[name] = value

    return say


def _say_format(value: Format, body: dict[str, Any]) -> None:
    body["format"] = "json" if value.schema is None else described(value)


_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "max"}


def _say_think(value: Think, body: dict[str, Any]) -> None:
    if value.enabled is False or value.effort == "none":
        body["think"] = False
        return
    body["think"] = _EFFORTS.get(value.effort or "", True)
    if value.effort is not None and value.effort != body["think"]:
        taken = "it was put on" if body["think"] is True else f"{body['think']} was taken"
        raise Unsayable(f"how much to think is low, medium, high or max; {taken}")
    if value.budget is not None:
        raise Unsayable("thinking has no budget; it was put on")
    if value.summary not in (None, "omitted"):
        raise Unsayable("whether thinking is shown cannot be asked for; it was put on")


def _say_choice(value: Choice, body: dict[str, Any]) -> None:
    """A call cannot be asked for; but what is not to be called is not offered."""
    if value.mode == "none":
        body.pop("tools", None)
        return
    if value.names:
        names = set(value.names)
        body["tools"] = [tool for tool in body.get("tools", []) if tool.get("function", {}).get("name") in names]
    if not body.get("tools"):
        body.pop("tools", None)
    elif value.mode != "auto":
        raise Unsayable("a call cannot be asked for")


def _say_parallel(value: Any, _body: dict[str, Any]) -> None:
    if value is False:
        raise Unsayable("calls may always come together")


def _say_one(value: Any, _body: dict[str, Any]) -> None:
    if value != 1:
        raise Unsayable("there is one answer to a question")


_WORDS: Final[Mapping[Param, str | Say]] = {
    **{param: _in_options(name) for name, param in OPTIONS.items()},
    **{param: name for name, param in SAME.items()},
    Param.FORMAT: _say_format,
    Param.REASONING: _say_think,
    Param.TOOL_CHOICE: _say_choice,
    Param.PARALLEL_TOOLS: _say_parallel,
    Param.N: _say_one,
}
