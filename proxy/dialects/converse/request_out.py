"""A request of the hub, written in Converse for a provider."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.dialects import read, seals
from proxy.dialects.base import Target
from proxy.dialects.blocks import (
    Audio,
    Block,
    Cache,
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
from proxy.dialects.converse.parts import NAME, media_for, thinking_for
from proxy.dialects.converse.request_in import SAME
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

_BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768, "max": 32_768}


def write_request(request: Request, target: Target) -> tuple[dict[str, Any], list[Loss]]:
    """See `Dialect`. The model stands in the path."""
    return _Writer(request, target).write()


class _Writer:
    def __init__(self, request: Request, target: Target) -> None:
        self._request = request
        self._target = target
        self._losses: list[Loss] = []
        self._names: set[str] = set()  # of documents
        self._points: list[dict[str, Any]] = []

    def write(self) -> tuple[dict[str, Any], list[Loss]]:
        request = self._request
        body: dict[str, Any] = {}
        system: list[dict[str, Any]] = []
        messages: list[dict[str, Any]] = []
        for n, turn in enumerate(request.turns):
            entries = [e for m, b in enumerate(turn.content) for e in self._entries(b, f"messages[{n}].content[{m}]")]
            if turn.name:
                self._lose(f"messages[{n}].name", "speakers have no names")
            if turn.role in (Role.SYSTEM, Role.DEVELOPER) and not messages:
                system += entries
            elif entries:
                _append(messages, turn, entries)
        body["messages"] = messages
        if system:
            body["system"] = system
        tools = [entry for n, tool in enumerate(request.tools) for entry in self._tool(tool, f"tools[{n}]")]
        if tools:
            body["toolConfig"] = {"tools": tools}
        self._parameters(body)
        return body, self._losses

    def _parameters(self, body: dict[str, Any]) -> None:
        said: dict[str, Any] = {"body": body, "model": self._target.model, "more": {}, "config": {}}
        losses = say_params(self._request, _WORDS, said)
        if self._request.home == NAME:
            extras = dict(self._request.extras)
            losses = [loss for loss in losses if loss.what not in extras]
            said["more"] |= read.table(extras.pop("additionalModelRequestFields", None))
            body |= {name: value for name, value in extras.items() if "." not in name}
            said["config"] |= {name.partition(".")[2]: value for name, value in extras.items() if "." in name}
        self._losses += losses
        if said["config"]:
            body["inferenceConfig"] = said["config"]
        if said["more"]:
            body["additionalModelRequestFields"] = said["more"]

    def _lose(self, what: str, why: str, *, content: bool = False) -> None:
        self._losses.append(Loss(what, why, content))

    def _entries(self, block: Block, at: str) -> Iterator[dict[str, Any]]:
        if isinstance(block, Text | Refusal) and not block.text:
            return  # an empty one is refused
        entry = self._entry(block, at)
        if entry is not None:
            yield entry
            cache = getattr(block, "cache", None)
            if cache is not None:
                yield point(cache)
            if isinstance(block, ToolResult) and self._points:
                yield self._points.pop()
        elif isinstance(block, Reasoning):
            self._lose(f"{at} (thinking)", "another connection made it, and only that one can read it")
        elif isinstance(block, ServerCall) or (isinstance(block, Foreign) and not block.content):
            self._lose(at, "the work of another provider's own tools")
        else:
            self._lose(at, f"{type(block).__name__.lower()} cannot stand in a message", content=True)

    def _entry(self, block: Block, at: str) -> dict[str, Any] | None:
        match block:
            case Text(text=text) | Refusal(text=text):
                return {"text": text}
            case Image() | Document() | Audio():
                return media_for(block, self._names)
            case ToolCall():
                return self._call(block, at)
            case ToolResult():
                return self._result(block, at)
            case Reasoning():
                return thinking_for(block) if seals.fits(block.seal, NAME, self._target.origin) else None
            case ServerCall(raw=raw) | Foreign(raw=raw):
                return dict(raw.data) if raw.dialect == NAME else None

    def _call(self, block: ToolCall, at: str) -> dict[str, Any]:
        given = {"input": block.arguments} if block.custom else decode_object(block.arguments.encode() or b"{}")
        if given is None:
            self._lose(f"{at}.arguments", "they are not a JSON object", content=True)
        return {"toolUse": {"toolUseId": block.id, "name": block.name, "input": given or {}}}

    def _result(self, block: ToolResult, at: str) -> dict[str, Any]:
        listed = (e for n, inner in enumerate(block.content) for e in self._entries(inner, f"{at}.content[{n}]"))
        content: list[dict[str, Any]] = []
        points: list[dict[str, Any]] = []
        for entry in listed:
            (points if "cachePoint" in entry else content).append(entry)
        said: dict[str, Any] = {"toolUseId": block.call_id, "content": content or [{"text": ""}]}
        if block.error:
            said["status"] = "error"
        if points and block.cache is None:  # within a result there is no such mark: it stands behind it
            self._points.append(points[-1])
        return {"toolResult": said}

    def _tool(self, tool: Tool | ServerTool, at: str) -> Iterator[dict[str, Any]]:
        if isinstance(tool, ServerTool):
            if tool.raw.dialect == NAME:
                yield dict(tool.raw.data)
            else:
                self._lose(at, f"there is no built-in tool {tool.kind}")
            return
        schema = tool.schema
        if tool.custom:  # free text in, as an object of one string
            schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
            if tool.grammar is not None:
                self._lose(f"{at}.format", "tools take JSON alone")
        spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": schema}}
        if tool.description:
            spec["description"] = tool.description
        if tool.strict is not None:
            spec["strict"] = tool.strict
        for name in tool.extras:
            self._lose(f"{at}.{name}", "tools have no such mark")
        yield {"toolSpec": spec}
        if tool.cache is not None:
            yield point(tool.cache)


def point(cache: Cache) -> dict[str, Any]:
    """The mark behind which the prompt may be cached."""
    return {"cachePoint": {"type": "default", **({"ttl": cache.ttl} if cache.ttl else {})}}


def _append(messages: list[dict[str, Any]], turn: Turn, entries: list[dict[str, Any]]) -> None:
    """Turns of one role in a row are one message: the roles must alternate."""
    role = "assistant" if turn.role is Role.ASSISTANT else "user"
    if messages and messages[-1]["role"] == role:
        messages[-1]["content"] += entries
    else:
        messages.append({"role": role, "content": entries})


def _in_config(name: str) -> Say:
    def say(value: Any, said: dict[str, Any]) -> None:
        said["config"][name] = value

    return say


def _is_claude(said: Mapping[str, Any]) -> bool:
    return "claude" in said["model"] or "anthropic." in said["model"]


def _say_top_k(value: Any, said: dict[str, Any]) -> None:
    if not _is_claude(said):
        raise Unsayable("this model has no such parameter")
    said["more"]["top_k"] = value


def _say_think(value: Think, said: dict[str, Any]) -> None:
    off = value.enabled is False or value.effort == "none"
    if not _is_claude(said):
        if off or value.effort is None:
            raise Unsayable("this model thinks as it likes")
        said["more"]["reasoning_effort"] = value.effort
        return
    if off:
        said["more"]["thinking"] = {"type": "disabled"}
        return
    budget = value.budget or (_BUDGETS.get(value.effort or "") if value.enabled is None else None)
    if budget is not None:
        said["more"]["thinking"] = {"type": "enabled", "budget_tokens": max(1024, budget)}
        room = said["config"].get("maxTokens")
        if isinstance(room, int) and room <= budget:  # the budget counts into it
            said["config"]["maxTokens"] = room + budget
    elif value.enabled:
        said["more"]["thinking"] = {"type": "adaptive"}
    if value.effort and budget is None:
        said["more"]["output_config"] = {"effort": value.effort}


def _say_format(value: Format, said: dict[str, Any]) -> None:
    if value.schema is None:
        raise Unsayable("JSON without a schema cannot be asked for; ask for it in words")
    form: dict[str, Any] = {"name": value.name, "schema": encode(value.schema).decode()}
    if value.description:
        form["description"] = value.description
    said["body"]["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": form}}}


def _say_choice(value: Choice, said: dict[str, Any]) -> None:
    config = said["body"].get("toolConfig")
    if config is None:
        return
    if value.mode == "none":
        raise Unsayable("tools cannot be held back")
    if value.names and value.mode != "tool":
        names = set(value.names)
        config["tools"] = [t for t in config["tools"] if t.get("toolSpec", {}).get("name") in names]
    mode = {"required": "any"}.get(value.mode, value.mode)
    config["toolChoice"] = {mode: {"name": value.names[0]} if mode == "tool" else {}}


def _say_parallel(value: Any, _said: dict[str, Any]) -> None:
    if value is False:
        raise Unsayable("calls may always come together")


def _say_one(value: Any, _said: dict[str, Any]) -> None:
    if value != 1:
        raise Unsayable("there is one answer to a question")


def _say_tier(value: Any, said: dict[str, Any]) -> None:
    if value not in ("priority", "default", "flex", "reserved", "auto"):
        raise Unsayable(f"there is no service tier {value!s:.40}")
    if value != "auto":
        said["body"]["serviceTier"] = {"type": value}


def _say_metadata(value: Any, said: dict[str, Any]) -> None:
    said["body"]["requestMetadata"] = value


_WORDS: Final[Mapping[Param, str | Say]] = {
    **{param: _in_config(name) for name, param in SAME.items()},
    Param.TOP_K: _say_top_k,
    Param.REASONING: _say_think,
    Param.FORMAT: _say_format,
    Param.TOOL_CHOICE: _say_choice,
    Param.PARALLEL_TOOLS: _say_parallel,
    Param.N: _say_one,
    Param.SERVICE_TIER: _say_tier,
    Param.METADATA: _say_metadata,
}
