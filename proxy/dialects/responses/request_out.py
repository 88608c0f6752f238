"""A request of the hub, written in OpenAI Responses for a provider. Nothing is stored there that the client did not ask
to be stored, so reasoning is asked for sealed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from proxy.dialects import read, seals
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
    plainly,
)
from proxy.dialects.chat.request_out import EFFORTS, effort_of
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
from proxy.dialects.responses.request_in import SAME
from proxy.dialects.shown import shown
from proxy.dialects.toolbox import flat_name

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
    turns = list(enumerate(request.turns) if request.home == NAME else shown(request.turns))
    if turns and turns[0][1].role is Role.SYSTEM and all(isinstance(b, Text) for b in turns[0][1].content):
        body["instructions"] = _instructions(turns.pop(0)[1], losses)
    body["input"] = [item for n, turn in turns for item in _items(turn, target, request.home, f"messages[{n}]", losses)]
    tools = list(_tools_out(request.tools, losses))
    if tools:
        body["tools"] = tools
    told = say_params(request, _WORDS, body)
    if request.home == NAME:
        told = [loss for loss in told if loss.what not in request.extras and loss.what not in SAME]
        _at_home(request, body)
    losses += told
    if not tools:
        body.pop("tool_choice", None)
        body.pop("parallel_tool_calls", None)
    if request.stream:
        body["stream"] = True
    return body, losses


def _instructions(turn: Turn, losses: list[Loss]) -> str:
    """The instructions in front as one text, which has no place for marks."""
    for n, block in enumerate(turn.content):
        if isinstance(block, Text) and block.cache is not None:
            losses.append(Loss(f"messages[0].content[{n}].cache_control", "prompts are cached without marks"))
    return "\n\n".join(block.text for block in turn.content if isinstance(block, Text))


def _at_home(request: Request, body: dict[str, Any]) -> None:
    """What a client of this dialect wrote, as it wrote it; the phases stand in the messages."""
    body |= {name: request.params[param] for name, param in SAME.items() if param in request.params}
    for name, value in request.extras.items():
        field, _, inner = name.partition(".")
        if not inner:
            body[name] = value
        elif field == "reasoning":
            body.setdefault(field, {})[inner] = value


def echo(request: Request) -> dict[str, Any]:
    """What a response repeats of its request."""
    said: dict[str, Any] = {"tools": list(_tools_out(request.tools, [])), "tool_choice": "auto"}
    said |= {"parallel_tool_calls": True, "temperature": None, "top_p": None, "max_output_tokens": None}
    said |= {"instructions": None, "previous_response_id": None, "metadata": {}, "text": {"format": {"type": "text"}}}
    say_params(request, _WORDS, said)
    first = request.turns[0] if request.turns else None
    if first is not None and first.role is Role.SYSTEM:
        said["instructions"] = "\n\n".join(block.text for block in first.content if isinstance(block, Text)) or None
    said.pop("include", None)
    return {**said, "store": False, "truncation": "disabled"}


def _items(turn: Turn, target: Target, home: str, where: str, losses: list[Loss]) -> Iterator[dict[str, Any]]:
    """The items of one turn: what can stand in a message is collected, the rest stands for itself."""
    parts: list[dict[str, Any]] = []
    for n, block in enumerate(turn.content):
        at = f"{where}.content[{n}]"
        part = _part_out(block, turn.role is Role.ASSISTANT, home)
        if part is not None:
            parts.append(part)
            _mark(block, part, at, losses)
            continue
        if parts:
            yield _message(turn, parts, home)
            parts = []
        item = _item_out(block, target, home, at, losses)
        if item is not None:
            yield item
    if parts:
        yield _message(turn, parts, home)
    if turn.name:
        losses.append(Loss(f"{where}.name", "speakers have no names"))


def _mark(block: Block, part: dict[str, Any], at: str, losses: list[Loss]) -> None:
    cache = getattr(block, "cache", None)
    if cache is not None and cache.point is not None:
        part["prompt_cache_breakpoint"] = cache.point
    elif cache is not None:
        losses.append(Loss(f"{at}.cache_control", "prompts are cached without marks"))
    if isinstance(block, Document) and block.cited:
        losses.append(Loss(f"{at}.citations", "answers do not cite what is in the input"))
    if isinstance(block, Document) and block.context:
        losses.append(Loss(f"{at}.context", "a file has no such text beside it"))


def _message(turn: Turn, parts: list[dict[str, Any]], home: str) -> dict[str, Any]:
    """A list of output parts belongs to a message with an id, which nobody else's answer has here: it is one text."""
    content: Any = parts
    if turn.role is Role.ASSISTANT and home != NAME and all(part["type"] == "output_text" for part in parts):
        content = "".join(part["text"] for part in parts)
    elif turn.role is not Role.ASSISTANT and len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        content = parts[0]["text"]
    return {"type": "message", "role": turn.role.value, "content": content, **(turn.extras if home == NAME else {})}


def _part_out(block: Block, assistant: bool, home: str) -> dict[str, Any] | None:
    match block:
        case Text(text=text) if assistant:
            cites = [dict(cite.raw.data) for cite in block.cites if cite.raw is not None and cite.raw.dialect == NAME]
            return {"type": "output_text", "text": text, "annotations": cites}
        case Text(text=text):
            return _input_text(text)
        case Refusal(text=text):
            return {"type": "refusal", "refusal": text} if assistant else _input_text(text)
        case Image() if not assistant:
            return _image(block)
        case Document() if not assistant:
            return _file(block)
        case Audio(source=source, format=form) if source.data is not None and home == NAME:
            return {"type": "input_audio", "input_audio": {"data": source.data, "format": form or "wav"}}
        case Foreign(raw=raw, content=True) if raw.dialect == NAME and raw.kind.startswith("input_"):
            return dict(raw.data)
        case _:
            return None


def _image(block: Image) -> dict[str, Any] | None:
    source = block.source
    part: dict[str, Any] = {"type": "input_image", "detail": block.detail or "auto"}
    if source.file_id:
        return {**part, "file_id": source.file_id}
    if source.url is None and source.data is None:
        return None
    return {**part, "image_url": source.url or f"data:{source.media_type or 'image/png'};base64,{source.data}"}


def _input_text(text: str) -> dict[str, Any]:
    return {"type": "input_text", "text": text}


def _file(block: Document) -> dict[str, Any] | None:
    source = block.source
    if source.words is not None:
        return _input_text(source.words)
    if source.file_id:
        return {"type": "input_file", "file_id": source.file_id}
    if source.url:
        return {"type": "input_file", "file_url": source.url}
    if source.data is None:
        return None
    data = f"data:{source.media_type or 'application/pdf'};base64,{source.data}"
    return {"type": "input_file", "filename": block.name or "document.pdf", "file_data": data}


def _item_out(block: Block, target: Target, home: str, where: str, losses: list[Loss]) -> dict[str, Any] | None:
    match block:
        case ToolCall():
            kind, key = ("custom_tool_call", "input") if block.custom else ("function_call", "arguments")
            text = block.arguments if block.custom else block.arguments or "{}"
            item = {"type": kind, "call_id": block.id, "name": block.name, key: text}
            beside = read.table(block.seal.data) if block.seal is not None and block.seal.dialect == NAME else {}
            return {**item, **beside}
        case ToolResult():
            return _result(block, home, where, losses)
        case Reasoning():
            return _reasoning(block, target, home, where, losses)
        case Image(raw=raw, source=source) if raw is not None and raw.dialect == NAME:
            return {**raw.data, "result": source.data}
        case ServerCall(raw=raw) | Foreign(raw=raw):
            if raw.dialect == NAME:
                return dict(raw.data)
            content = isinstance(block, Foreign) and block.content
            losses.append(Loss(where, "only another provider knows what it is", content=content))
        case _:
            losses.append(Loss(where, f"{plainly(block)} cannot stand in a message", content=True))
    return None


def _result(block: ToolResult, home: str, where: str, losses: list[Loss]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    for n, inner in enumerate(block.content):
        part = _part_out(inner, False, home)
        if part is None and isinstance(inner, Foreign) and inner.raw.dialect == NAME:
            part = dict(inner.raw.data)
        if part is None:
            content = not isinstance(inner, Foreign) or inner.content
            losses.append(Loss(f"{where}.content[{n}]", "it cannot stand in a tool's output", content=content))
        else:
            parts.append(part)
    output: Any = parts
    if all(part.keys() == {"type", "text"} for part in parts) and len(parts) < 2:
        output = parts[0]["text"] if parts else ""
    if block.error:
        losses.append(Loss(f"{where}.is_error", "a tool's output has no such mark; its text stands"))
    kind = "custom_tool_call_output" if block.custom else "function_call_output"
    return {"type": kind, "call_id": block.call_id, "output": output}


def _reasoning(block: Reasoning, target: Target, home: str, where: str, losses: list[Loss]) -> dict[str, Any] | None:
    if block.seal is not None and seals.fits(block.seal, NAME, target.origin):
        item = {k: v for k, v in block.seal.data.items() if k != "status"}
        if home == NAME or item.get("encrypted_content") or item.get("content"):
            return item
        losses.append(Loss(f"{where} (thinking)", "nothing of it was handed out, and nothing is stored"))
        return None
    losses.append(Loss(f"{where} (thinking)", "another connection made it, and only that one can read it"))
    return None


def _tools_out(tools: Iterable[Tool | ServerTool], losses: list[Loss]) -> Iterator[dict[str, Any]]:
    """The entries of `tools`. What came out of one namespace goes into it again."""
    spaces: dict[str, dict[str, Any]] = {}
    for n, tool in enumerate(tools):
        if isinstance(tool, ServerTool):
            yield from _server_tool(tool, losses, f"tools[{n}]")
        elif tool.space is None:
            yield _tool(tool, losses, f"tools[{n}]")
        elif tool.space.name in spaces:
            spaces[tool.space.name]["tools"].append(_tool(tool, losses, f"tools[{n}]"))
        else:
            space = {"type": "namespace", "name": tool.space.name, "description": tool.space.description}
            spaces[tool.space.name] = {**space, "tools": [_tool(tool, losses, f"tools[{n}]")]}
            yield spaces[tool.space.name]


def _server_tool(tool: ServerTool, losses: list[Loss], where: str) -> Iterator[dict[str, Any]]:
    if tool.raw.dialect == NAME:
        yield dict(tool.raw.data)
    elif tool.kind in _TYPES:
        entry = dict(_TYPES[tool.kind])
        for name, value in tool.options.items():
            if tool.kind == "web_search" and name == "allowed_domains":
                entry["filters"] = {"allowed_domains": value}
            elif tool.kind == "web_search" and name in ("search_context_size", "user_location"):
                entry[name] = value
            else:
                losses.append(Loss(f"{where}.{name}", "the tool has no such option"))
        yield entry
    else:
        losses.append(Loss(where, f"there is no built-in tool {tool.kind}"))


def _tool(tool: Tool, losses: list[Loss], where: str) -> dict[str, Any]:
    name = tool.name if tool.space is None else tool.space.inner
    entry: dict[str, Any] = {"type": "custom" if tool.custom else "function", "name": name}
    if tool.description:
        entry["description"] = tool.description
    if tool.custom:
        entry |= {} if tool.grammar is None else {"format": tool.grammar}
    else:  # `strict` is on where it is not said, which many schemas do not bear
        entry |= {"parameters": tool.schema, "strict": bool(tool.strict)}
    known = {"defer_loading", "output_schema", "allowed_callers", "async"}
    losses += [Loss(f"{where}.{name}", "tools have no such mark") for name in tool.extras if name not in known]
    if tool.cache is not None:
        losses.append(Loss(f"{where}.cache_control", "prompts are cached without marks"))
    return {**entry, **{name: value for name, value in tool.extras.items() if name in known}}


def _say_think(value: Think, body: dict[str, Any]) -> None:
    reasoning: dict[str, Any] = {}
    effort = effort_of(value)
    if effort in EFFORTS:
        reasoning["effort"] = effort
    if value.summary not in (None, "omitted"):
        reasoning["summary"] = value.summary
    elif value.enabled and value.summary is None:
        reasoning["summary"] = "auto"
    if reasoning:
        body["reasoning"] = reasoning
    if effort != "none":
        body.setdefault("include", []).append("reasoning.encrypted_content")
    if effort is not None and effort not in EFFORTS:
        raise Unsayable(f"there is no effort {effort:.20}")


def _say_format(value: Format, body: dict[str, Any]) -> None:
    form: dict[str, Any] = {"type": "json_object"}
    if value.schema is not None:
        form = {"type": "json_schema", "name": value.name, "schema": value.schema}
        form |= {k: v for k, v in (("description", value.description), ("strict", value.strict)) if v is not None}
    body.setdefault("text", {})["format"] = form


def _say_verbosity(value: Any, body: dict[str, Any]) -> None:
    body.setdefault("text", {})["verbosity"] = value


def _say_choice(value: Choice, body: dict[str, Any]) -> None:
    known: dict[str, dict[str, str]] = {}
    for tool in body.get("tools", []):
        spaced = tool.get("type") == "namespace"
        for inner in tool["tools"] if spaced else [tool]:
            if inner.get("type") in ("function", "custom"):
                name = flat_name(tool["name"] if spaced else "", inner["name"])
                known[name] = {"type": inner["type"], "name": inner["name"]}
    rows = [known.get(name, {"type": "function", "name": name}) for name in value.names]
    if value.mode == "tool":
        body["tool_choice"] = rows[0]
    else:
        body["tool_choice"] = {"type": "allowed_tools", "mode": value.mode, "tools": rows} if rows else value.mode


def _say_logprobs(value: Any, body: dict[str, Any]) -> None:
    if value:
        body.setdefault("include", []).append("message.output_text.logprobs")


def _say_tier(value: Any, body: dict[str, Any]) -> None:
    word = {"standard_only": "default"}.get(read.text(value), read.text(value))
    if word not in ("auto", "default", "flex", "priority", "scale", "fast", "ultrafast"):
        raise Unsayable(f"there is no service tier {value!s:.40}")
    body["service_tier"] = word


def _say_limit(value: Any, body: dict[str, Any]) -> None:
    """OpenAI gives 16 tokens at least."""
    body["max_output_tokens"] = value
    if isinstance(value, int) and value < 16:
        body["max_output_tokens"] = 16
        raise Unsayable("the least is 16, which was taken")


def _say_one(value: Any, body: dict[str, Any]) -> None:
    if value != 1:
        raise Unsayable("there is one answer to a question")


_WORDS: Final[Mapping[Param, str | Say]] = {
    **{param: name for name, param in SAME.items()},
    Param.MAX_TOKENS: _say_limit,
    Param.REASONING: _say_think,
    Param.FORMAT: _say_format,
    Param.VERBOSITY: _say_verbosity,
    Param.TOOL_CHOICE: _say_choice,
    Param.LOGPROBS: _say_logprobs,
    Param.SERVICE_TIER: _say_tier,
    Param.N: _say_one,
}
