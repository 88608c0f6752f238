"""A request of the hub, written in Anthropic Messages for a provider."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from proxy.dialects import read, seals
from proxy.dialects.base import DialectName, Target
from proxy.dialects.blocks import (
    Block,
    Cache,
    Document,
    Foreign,
    Image,
    Reasoning,
    Refusal,
    ServerCall,
    Source,
    Text,
    ToolCall,
    ToolResult,
)
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

NAME: Final = DialectName.MESSAGES
_BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}
_NEWEST: Final = {"web_search": "web_search_20250305", "code_execution": "code_execution_20260120"}


def write_request(request: Request, target: Target) -> tuple[dict[str, Any], list[Loss]]:
    """See `Dialect`."""
    losses: list[Loss] = []
    body: dict[str, Any] = {"model": target.model, "max_tokens": target.max_tokens}
    system, turns = _split(request.turns)
    if system:
        body["system"] = _plain([e for n, b in enumerate(system) for e in _entry(b, target, f"system[{n}]", losses)])
    body["messages"] = _messages(turns, target, losses)
    tools = list(_tools_out(request.tools, losses))
    if tools:
        body["tools"] = tools
    losses += say_params(request, _WORDS, body)
    if not tools:
        body.pop("tool_choice", None)
    losses += _room_to_think(body)
    if request.stream:
        body["stream"] = True
    return body, losses


def _split(turns: tuple[Turn, ...]) -> tuple[list[Block], list[tuple[int, Turn]]]:
    """What the instructions in front say, and the rest. Later instructions are said by the user."""
    system: list[Block] = []
    rest: list[tuple[int, Turn]] = []
    for n, turn in enumerate(turns):
        instructs = turn.role in (Role.SYSTEM, Role.DEVELOPER)
        if instructs and not rest:
            system += turn.content
        else:
            rest.append((n, turn))
    return system, rest


def _messages(turns: Iterable[tuple[int, Turn]], target: Target, losses: list[Loss]) -> list[dict[str, Any]]:
    """Turns of one role in a row are one message: the roles must alternate."""
    messages: list[dict[str, Any]] = []
    for n, turn in turns:
        role = _role(turn)
        where = f"messages[{n}].content"
        entries = [e for m, b in enumerate(turn.content) for e in _entry(b, target, f"{where}[{m}]", losses)]
        if turn.name:
            losses.append(Loss(f"messages[{n}].name", "speakers have no names"))
        if not entries:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += entries
        else:
            messages.append({"role": role, "content": entries})
    for message in messages:
        if message["role"] == "user":  # results come first (Anthropic, "Tool use": they must)
            message["content"].sort(key=lambda entry: entry["type"] != "tool_result")
        message["content"] = _plain(message["content"])
    return messages


def _role(turn: Turn) -> str:
    """What a later instruction is said by: the system where it holds what only that can say, else the user."""
    own = any(isinstance(block, Foreign) and block.raw.dialect == NAME for block in turn.content)
    if own and turn.role in (Role.SYSTEM, Role.DEVELOPER):
        return "system"
    return "assistant" if turn.role is Role.ASSISTANT else "user"


def _plain(entries: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One text as a string."""
    if len(entries) == 1 and entries[0].keys() == {"type", "text"}:
        return str(entries[0]["text"])
    return entries


def _entry(block: Block, target: Target, where: str, losses: list[Loss]) -> Iterator[dict[str, Any]]:
    """The content block that says this one, or a loss."""
    if isinstance(block, Text | Refusal) and not block.text:
        return  # an empty one is refused
    entry = _said(block, target, where, losses)
    if entry is not None:
        yield _marked(entry, getattr(block, "cache", None))
    elif isinstance(block, Reasoning):
        losses.append(Loss(f"{where} (thinking)", "another connection made it, and only that one can read it"))
    elif isinstance(block, ServerCall) or (isinstance(block, Foreign) and not block.content):
        losses.append(Loss(where, "the work of another provider's own tools"))
    else:
        losses.append(Loss(where, f"{type(block).__name__.lower()} cannot stand in a message", content=True))


def _said(block: Block, target: Target, where: str, losses: list[Loss]) -> dict[str, Any] | None:
    match block:
        case Text(text=text) | Refusal(text=text):
            return {"type": "text", "text": text}
        case Image():
            return _media("image", block.source)
        case Document():
            return _document(block)
        case ToolCall():
            return _call(block, where, losses)
        case ToolResult():
            return _result(block, target, where, losses)
        case Reasoning():
            return _thinking(block, target)
        case ServerCall(raw=raw) | Foreign(raw=raw):
            return dict(raw.data) if raw.dialect == NAME else None
        case _:
            return None


def _marked(entry: dict[str, Any], cache: Cache | None) -> dict[str, Any]:
    if cache is not None:
        entry["cache_control"] = {"type": "ephemeral", **({"ttl": cache.ttl} if cache.ttl else {})}
    return entry


def _media(kind: str, source: Source) -> dict[str, Any] | None:
    if source.data is not None:
        given: dict[str, Any] = {"type": "base64", "media_type": source.media_type, "data": source.data}
    elif source.url is not None:
        given = {"type": "url", "url": source.url}
    elif source.file_id is not None:
        given = {"type": "file", "file_id": source.file_id}
    else:
        return None
    return {"type": kind, "source": given}


def _document(block: Document) -> dict[str, Any] | None:
    source = block.source
    words = source.words
    entry = _media("document", source)
    if words is not None:
        entry = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": words}}
    if entry is None:
        return None
    if block.name:
        entry["title"] = block.name
    if block.context:
        entry["context"] = block.context
    if block.cited:
        entry["citations"] = {"enabled": True}
    return entry


def _call(block: ToolCall, where: str, losses: list[Loss]) -> dict[str, Any]:
    given = {"input": block.arguments} if block.custom else decode_object(block.arguments.encode() or b"{}")
    if given is None:
        losses.append(Loss(f"{where}.arguments", "they are not a JSON object", content=True))
    return {"type": "tool_use", "id": block.id, "name": block.name, "input": given or {}}


def _result(block: ToolResult, target: Target, where: str, losses: list[Loss]) -> dict[str, Any]:
    entries = [e for n, b in enumerate(block.content) for e in _entry(b, target, f"{where}.content[{n}]", losses)]
    entry: dict[str, Any] = {"type": "tool_result", "tool_use_id": block.call_id}
    if entries:
        entry["content"] = _plain(entries)
    if block.error:
        entry["is_error"] = True
    return entry


def _thinking(block: Reasoning, target: Target) -> dict[str, Any] | None:
    if block.seal is None or not seals.fits(block.seal, NAME, target.origin):
        return None
    if block.seal.kind == "redacted_thinking":
        return {"type": "redacted_thinking", "data": block.seal.data}
    return {"type": "thinking", "thinking": block.text, "signature": block.seal.data}


def _tools_out(tools: Iterable[Tool | ServerTool], losses: list[Loss]) -> Iterator[dict[str, Any]]:
    for n, tool in enumerate(tools):
        if isinstance(tool, ServerTool):
            if tool.raw.dialect == NAME:
                yield dict(tool.raw.data)
            elif tool.kind in _NEWEST:
                yield {"type": _NEWEST[tool.kind], "name": tool.kind}
            else:
                losses.append(Loss(f"tools[{n}]", f"there is no built-in tool {tool.kind}"))
            continue
        schema = tool.schema
        if tool.custom:  # free text in, as an object of one string
            schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
            if tool.grammar is not None:
                losses.append(Loss(f"tools[{n}].format", "tools take JSON alone"))
        entry: dict[str, Any] = {"name": tool.name, "input_schema": schema}
        if tool.description:
            entry["description"] = tool.description
        if tool.strict is not None:
            entry["strict"] = tool.strict
        yield _marked({**entry, **tool.extras}, tool.cache)


def _say_choice(value: Choice, body: dict[str, Any]) -> None:
    mode = {"required": "any"}.get(value.mode, value.mode)
    kept = body.get("tool_choice") or {}
    if value.names and value.mode != "tool":
        allowed = set(value.names)
        body["tools"] = [tool for tool in body.get("tools", []) if tool.get("name") in allowed]
    body["tool_choice"] = {**kept, "type": mode, **({"name": value.names[0]} if mode == "tool" else {})}


def _say_parallel(value: Any, body: dict[str, Any]) -> None:
    if value is False:
        body["tool_choice"] = {"type": "auto", **(body.get("tool_choice") or {}), "disable_parallel_tool_use": True}
    elif body.get("tool_choice") is not None:
        body["tool_choice"]["disable_parallel_tool_use"] = False


def _say_think(value: Think, body: dict[str, Any]) -> None:
    if value.enabled is False or value.effort == "none":
        body["thinking"] = {"type": "disabled"}
        return
    budget = value.budget or (_BUDGETS.get(value.effort, 8192) if value.effort and value.enabled is None else None)
    if budget is not None:
        body["thinking"] = {"type": "enabled", "budget_tokens": max(1024, budget)}
    elif value.enabled:
        body["thinking"] = {"type": "adaptive"}
    if value.summary == "omitted" and "thinking" in body:
        body["thinking"]["display"] = "omitted"
    if value.effort and value.enabled:
        body.setdefault("output_config", {})["effort"] = value.effort


def _room_to_think(body: dict[str, Any]) -> list[Loss]:
    """The budget counts into `max_tokens` and has to be smaller; some parameters do not go with thinking (Anthropic,
    "Extended thinking")."""
    thinking = read.table(body.get("thinking"))
    budget = read.number(thinking.get("budget_tokens"))
    if budget and body["max_tokens"] <= budget:
        body["max_tokens"] += budget
    if thinking.get("type") != "enabled":
        return []
    barred = [name for name in ("temperature", "top_k") if body.pop(name, 1) != 1]
    return [Loss(name, "it does not go with thinking") for name in barred]


def _say_format(value: Format, body: dict[str, Any]) -> None:
    if value.schema is None:
        raise Unsayable("JSON without a schema cannot be asked for; ask for it in words")
    body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": value.schema}


def _say_tier(value: Any, body: dict[str, Any]) -> None:
    word = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}.get(value)
    if word is None:
        raise Unsayable(f"there is no service tier {value!s:.40}")
    body["service_tier"] = word


def _say_user(value: Any, body: dict[str, Any]) -> None:
    body["metadata"] = {"user_id": value}


def _say_one(value: Any, body: dict[str, Any]) -> None:
    if value != 1:
        raise Unsayable("there is one answer to a question")


def _say_temperature(value: Any, body: dict[str, Any]) -> None:
    body["temperature"] = value
    if isinstance(value, int | float) and value > 1:
        body["temperature"] = 1
        raise Unsayable("the scale ends at 1, which was taken")


_WORDS: Final[Mapping[Param, str | Say]] = {
    Param.MAX_TOKENS: "max_tokens",
    Param.TEMPERATURE: _say_temperature,
    Param.TOP_P: "top_p",
    Param.TOP_K: "top_k",
    Param.STOP: "stop_sequences",
    Param.SERVICE_TIER: _say_tier,
    Param.REASONING: _say_think,
    Param.FORMAT: _say_format,
    Param.TOOL_CHOICE: _say_choice,
    Param.PARALLEL_TOOLS: _say_parallel,
    Param.USER: _say_user,
    Param.SAFETY_ID: _say_user,
    Param.N: _say_one,
}
