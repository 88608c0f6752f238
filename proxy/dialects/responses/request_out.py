"""A request of the hub, written in OpenAI Responses for a provider. Nothing is stored there that the client did not ask
to be stored, so reasoning is asked for sealed."""

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
from proxy.dialects.chat.request_out import effort_of
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
from proxy.dialects.responses.request_in import SAME, STATE

NAME: Final = DialectName.RESPONSES
_TYPES: Final[Mapping[str, dict[str, Any]]] = {
    "web_search": {"type": "web_search"},
    "code_execution": {"type": "code_interpreter", "container": {"type": "auto"}},
}


def write_request(request: Request, target: Target) -> tuple[dict[str, Any], list[Loss]]:
    """See `Dialect`."""
    losses: list[Loss] = []
    body: dict[str, Any] = {"model": target.model}
    if request.home != NAME:
        body["store"] = False  # which is on where it is not said
    turns = list(enumerate(request.turns))
    if turns and turns[0][1].role is Role.SYSTEM and all(isinstance(b, Text) for b in turns[0][1].content):
        body["instructions"] = "".join(b.text for b in turns.pop(0)[1].content if isinstance(b, Text))
    body["input"] = [item for n, turn in turns for item in _items(turn, target, request.home, f"input[{n}]", losses)]
    tools = list(_tools_out(request.tools, losses))
    if tools:
        body["tools"] = tools
    home = {name: value for name, value in request.extras.items() if request.home == NAME and "." not in name}
    body |= home
    losses += [loss for loss in say_params(request, _WORDS, body) if loss.what not in home]
    if not tools:
        body.pop("tool_choice", None)
        body.pop("parallel_tool_calls", None)
    if request.stream:
        body["stream"] = True
    return body, losses


def echo(request: Request) -> dict[str, Any]:
    """What a response repeats of its request."""
    said: dict[str, Any] = {"tools": list(_tools_out(request.tools, [])), "tool_choice": "auto"}
    said |= {"parallel_tool_calls": True, "temperature": None, "top_p": None, "max_output_tokens": None}
    said |= {"instructions": None, "previous_response_id": None, "metadata": {}, "text": {"format": {"type": "text"}}}
    say_params(request, _WORDS, said)
    first = request.turns[0] if request.turns else None
    if first is not None and first.role is Role.SYSTEM:
        said["instructions"] = "".join(block.text for block in first.content if isinstance(block, Text)) or None
    said.pop("include", None)
    return {**said, "store": False, "truncation": "disabled"}


def state_of(request: Request) -> str | None:
    """The field that asks for something this dialect's provider has kept; nobody else can answer then."""
    return next((name for name in STATE if request.home == NAME and name in request.extras), None)


def _items(turn: Turn, target: Target, home: str, where: str, losses: list[Loss]) -> Iterator[dict[str, Any]]:
    """The items of one turn: what can stand in a message is collected, the rest stands for itself."""
    parts: list[dict[str, Any]] = []
    for n, block in enumerate(turn.content):
        at = f"{where}.content[{n}]"
        part = _part_out(block, turn.role is Role.ASSISTANT)
        if part is not None:
            parts.append(part)
            if getattr(block, "cache", None) is not None and home == NAME:
                part["prompt_cache_breakpoint"] = {"mode": "explicit"}
            elif getattr(block, "cache", None) is not None:
                losses.append(Loss(f"{at}.cache_control", "prompts are cached without marks"))
            continue
        if parts:
            yield _message(turn, parts)
            parts = []
        item = _item_out(block, target, at, losses)
        if item is not None:
            yield item
    if parts:
        yield _message(turn, parts)
    if turn.name:
        losses.append(Loss(f"{where}.name", "speakers have no names"))


def _message(turn: Turn, parts: list[dict[str, Any]]) -> dict[str, Any]:
    content: Any = parts
    if turn.role is not Role.ASSISTANT and len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        content = parts[0]["text"]
    return {"type": "message", "role": turn.role.value, "content": content}


def _part_out(block: Block, assistant: bool) -> dict[str, Any] | None:
    match block:
        case Text(text=text):
            return {"type": "output_text", "text": text, "annotations": []} if assistant else _input_text(text)
        case Refusal(text=text):
            return {"type": "refusal", "refusal": text}
        case Image(source=source, detail=detail):
            part: dict[str, Any] = {"type": "input_image", "detail": detail or "auto"}
            if source.file_id:
                return {**part, "file_id": source.file_id}
            url = source.url or f"data:{source.media_type or 'image/png'};base64,{source.data}"
            return {**part, "image_url": url}
        case Document():
            return _file(block)
        case Audio(source=source, format=form) if source.data is not None:
            return {"type": "input_audio", "input_audio": {"data": source.data, "format": form or "wav"}}
        case _:
            return None


def _input_text(text: str) -> dict[str, Any]:
    return {"type": "input_text", "text": text}


def _file(block: Document) -> dict[str, Any]:
    source = block.source
    if source.words is not None:
        return _input_text(source.words)
    if source.file_id:
        return {"type": "input_file", "file_id": source.file_id}
    if source.url:
        return {"type": "input_file", "file_url": source.url}
    data = f"data:{source.media_type or 'application/pdf'};base64,{source.data}"
    return {"type": "input_file", "filename": block.name or "document.pdf", "file_data": data}


def _item_out(block: Block, target: Target, where: str, losses: list[Loss]) -> dict[str, Any] | None:
    match block:
        case ToolCall():
            kind, key = ("custom_tool_call", "input") if block.custom else ("function_call", "arguments")
            text = block.arguments if block.custom else block.arguments or "{}"
            item = {"type": kind, "call_id": block.id, "name": block.name, key: text}
            beside = block.seal.data if block.seal is not None and block.seal.dialect == NAME else {}
            return {**item, **beside}
        case ToolResult():
            return _result(block, where, losses)
        case Reasoning():
            return _reasoning(block, target, where, losses)
        case ServerCall(raw=raw) | Foreign(raw=raw):
            if raw.dialect == NAME:
                return dict(raw.data)
            losses.append(Loss(where, "the work of another provider's own tools"))
        case _:
            losses.append(Loss(where, f"{type(block).__name__.lower()} cannot stand in a message", content=True))
    return None


def _result(block: ToolResult, where: str, losses: list[Loss]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    for n, inner in enumerate(block.content):
        part = _part_out(inner, False)
        if part is None:
            losses.append(Loss(f"{where}.content[{n}]", "it cannot stand in a tool's output", content=True))
        else:
            parts.append(part)
    output: Any = parts
    if all(part["type"] == "input_text" for part in parts) and len(parts) < 2:
        output = parts[0]["text"] if parts else ""
    if block.error:
        losses.append(Loss(f"{where}.is_error", "a tool's output has no such mark; its text stands"))
    kind = "custom_tool_call_output" if block.custom else "function_call_output"
    return {"type": kind, "call_id": block.call_id, "output": output}


def _reasoning(block: Reasoning, target: Target, where: str, losses: list[Loss]) -> dict[str, Any] | None:
    if block.seal is not None and seals.fits(block.seal, NAME, target.origin):
        return {k: v for k, v in block.seal.data.items() if k != "status"}
    losses.append(Loss(f"{where} (thinking)", "another connection made it, and only that one can read it"))
    return None


def _tools_out(tools: Iterable[Tool | ServerTool], losses: list[Loss]) -> Iterator[dict[str, Any]]:
    for n, tool in enumerate(tools):
        if isinstance(tool, ServerTool):
            if tool.raw.dialect == NAME:
                yield dict(tool.raw.data)
            elif tool.kind in _TYPES:
                yield dict(_TYPES[tool.kind])
            else:
                losses.append(Loss(f"tools[{n}]", f"there is no built-in tool {tool.kind}"))
            continue
        entry: dict[str, Any] = {"type": "custom" if tool.custom else "function", "name": tool.name}
        if tool.description:
            entry["description"] = tool.description
        if tool.custom:
            entry |= {} if tool.grammar is None else {"format": tool.grammar}
        else:  # `strict` is on where it is not said, which many schemas do not bear
            entry |= {"parameters": tool.schema, "strict": bool(tool.strict)}
        known = {"defer_loading", "output_schema"}
        losses += [Loss(f"tools[{n}].{name}", "tools have no such mark") for name in set(tool.extras) - known]
        yield {**entry, **{name: value for name, value in tool.extras.items() if name in known}}


def _say_think(value: Think, body: dict[str, Any]) -> None:
    reasoning: dict[str, Any] = {}
    effort = effort_of(value)
    if effort is not None:
        reasoning["effort"] = effort
    if value.summary not in (None, "omitted"):
        reasoning["summary"] = value.summary
    elif value.enabled and value.summary is None:
        reasoning["summary"] = "auto"
    if reasoning:
        body["reasoning"] = reasoning
    if effort != "none":
        body.setdefault("include", []).append("reasoning.encrypted_content")


def _say_format(value: Format, body: dict[str, Any]) -> None:
    form: dict[str, Any] = {"type": "json_object"}
    if value.schema is not None:
        form = {"type": "json_schema", "name": value.name, "schema": value.schema}
        form |= {k: v for k, v in (("description", value.description), ("strict", value.strict)) if v is not None}
    body.setdefault("text", {})["format"] = form


def _say_verbosity(value: Any, body: dict[str, Any]) -> None:
    body.setdefault("text", {})["verbosity"] = value


def _say_choice(value: Choice, body: dict[str, Any]) -> None:
    custom = {tool["name"] for tool in body.get("tools", []) if tool["type"] == "custom"}
    rows = [{"type": "custom" if name in custom else "function", "name": name} for name in value.names]
    if value.mode == "tool":
        body["tool_choice"] = rows[0]
    else:
        body["tool_choice"] = {"type": "allowed_tools", "mode": value.mode, "tools": rows} if rows else value.mode


def _say_logprobs(value: Any, body: dict[str, Any]) -> None:
    if value:
        body.setdefault("include", []).append("message.output_text.logprobs")


def _say_tier(value: Any, body: dict[str, Any]) -> None:
    word = {"standard_only": "default"}.get(value, value)
    if word not in ("auto", "default", "flex", "priority", "scale"):
        raise Unsayable(f"there is no service tier {value!s:.40}")
    body["service_tier"] = word


def _say_one(value: Any, body: dict[str, Any]) -> None:
    if value != 1:
        raise Unsayable("there is one answer to a question")


_WORDS: Final[Mapping[Param, str | Say]] = {
    **{param: name for name, param in SAME.items()},
    Param.REASONING: _say_think,
    Param.FORMAT: _say_format,
    Param.VERBOSITY: _say_verbosity,
    Param.TOOL_CHOICE: _say_choice,
    Param.LOGPROBS: _say_logprobs,
    Param.SERVICE_TIER: _say_tier,
    Param.N: _say_one,
}
