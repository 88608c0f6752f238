"""A request in Converse, read into the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec.structs import replace

from proxy.dialects import read
from proxy.dialects.blocks import (
    Block,
    Cache,
    Document,
    Foreign,
    Image,
    Opaque,
    ServerCall,
    Text,
    ToolCall,
    ToolResult,
)
from proxy.dialects.converse.parts import NAME, cite_of, media_of, result_text, thinking_of
from proxy.dialects.json import decode_object, encode
from proxy.dialects.request import (
    BadRequest,
    Choice,
    Format,
    Param,
    Request,
    Role,
    ServerTool,
    Think,
    Tool,
    Turn,
    checked,
)

SAME: Final = {
    "maxTokens": Param.MAX_TOKENS,
    "temperature": Param.TEMPERATURE,
    "topP": Param.TOP_P,
    "stopSequences": Param.STOP,
}
_STRUCTURE: Final = frozenset({"messages", "system", "toolConfig", "inferenceConfig", "modelId", "outputConfig"})


def read_request(body: Mapping[str, Any]) -> Request:
    """See `Dialect`. The model stands in the path."""
    turns: list[Turn] = []
    system = tuple(_blocks(body.get("system"), "system"))
    if system:
        turns.append(Turn(Role.SYSTEM, system))
    for n, message in enumerate(read.must_list(body.get("messages"), "messages")):
        said = read.must_table(message, f"messages[{n}]")
        if said.get("role") not in ("user", "assistant", "system"):
            raise BadRequest(f"`messages[{n}].role` must be user or assistant", f"messages[{n}].role")
        turns.append(Turn(Role(said["role"]), tuple(_blocks(said.get("content"), f"messages[{n}].content"))))
    request = Request(NAME, None, tuple(turns))
    request.extras = {name: value for name, value in body.items() if name not in _STRUCTURE and value is not None}
    _read_tools(read.table(body.get("toolConfig")), request)
    for name, value in read.table(body.get("inferenceConfig")).items():
        if name in SAME and value is not None:
            request.params[SAME[name]] = value
            request.names[SAME[name]] = f"inferenceConfig.{name}"
        elif value is not None:
            request.extras[f"inferenceConfig.{name}"] = value
    _read_more(request, read.table(body.get("outputConfig")))
    return checked(request)


def _blocks(content: object, where: str) -> Iterator[Block]:
    """The content blocks. A cache point marks the one before it."""
    waiting: Block | None = None
    for n, entry in enumerate(read.must_list(content or [], where)):
        given = read.must_table(entry, f"{where}[{n}]")
        point = given.get("cachePoint")
        if isinstance(point, dict) and isinstance(waiting, _MARKED):
            waiting = replace(waiting, cache=Cache(read.text(point.get("ttl")) or None))
            continue
        if waiting is not None:
            yield waiting
        waiting = block_of(given)
    if waiting is not None:
        yield waiting


_MARKED: Final = (Text, Image, Document, ToolCall, ToolResult)


def block_of(entry: Mapping[str, Any]) -> Block:
    """One content block."""
    if isinstance(entry.get("text"), str):
        return Text(entry["text"])
    media = media_of(entry)
    if media is not None:
        return media
    if isinstance(entry.get("reasoningContent"), dict):
        return thinking_of(entry["reasoningContent"])
    if isinstance(entry.get("toolUse"), dict):
        return _call(entry["toolUse"])
    if isinstance(entry.get("citationsContent"), dict):
        said = entry["citationsContent"]
        text = "".join(read.text(row.get("text")) for row in read.rows(said.get("content")))
        return Text(text, tuple(cite_of(row) for row in read.rows(said.get("citations"))))
    result = entry.get("toolResult")
    if isinstance(result, dict) and not result.get("type"):
        content = tuple(_result_block(row) for row in read.rows(result.get("content")))
        return ToolResult(read.text(result.get("toolUseId")), content, error=result.get("status") == "error")
    kind = next(iter(entry), "block")
    return Foreign(Opaque(NAME, kind, dict(entry)), content=kind in ("video", "searchResult"))


def _call(use: Mapping[str, Any]) -> Block:
    arguments = encode(use.get("input") or {}).decode()
    ident, name = read.text(use.get("toolUseId")), read.text(use.get("name"))
    if use.get("type") == "server_tool_use":
        return ServerCall(ident, name, arguments, Opaque(NAME, "toolUse", {"toolUse": dict(use)}))
    return ToolCall(ident, name, arguments)


def _result_block(row: Mapping[str, Any]) -> Block:
    if "text" in row or "json" in row:
        return Text(result_text(row))
    return media_of(row) or Foreign(Opaque(NAME, next(iter(row), "content"), dict(row)), content=True)


def _read_tools(config: Mapping[str, Any], request: Request) -> None:
    tools: list[Tool | ServerTool] = []
    for row in read.rows(config.get("tools")):
        spec = read.table(row.get("toolSpec"))
        if spec:
            schema = read.table(spec.get("inputSchema")).get("json") or {"type": "object", "properties": {}}
            strict = spec.get("strict")
            tools.append(
                Tool(
                    read.text(spec.get("name")),
                    read.text(spec.get("description")) or None,
                    schema,
                    strict if isinstance(strict, bool) else None,
                )
            )
        elif "cachePoint" in row and tools and isinstance(tools[-1], Tool):
            tools[-1] = replace(tools[-1], cache=Cache(read.text(read.table(row["cachePoint"]).get("ttl")) or None))
        else:
            kind = read.text(read.table(row.get("systemTool")).get("name")) or next(iter(row), "tool")
            tools.append(ServerTool(kind, Opaque(NAME, kind, dict(row))))
    request.tools = tuple(tools)
    choice = read.table(config.get("toolChoice"))
    for kind, given in choice.items():
        mode = {"any": "required"}.get(kind, kind)
        names = (read.text(read.table(given).get("name")),) if kind == "tool" else ()
        request.params[Param.TOOL_CHOICE] = Choice(mode, names)
        request.names[Param.TOOL_CHOICE] = "toolConfig.toolChoice"


def _read_more(request: Request, output: Mapping[str, Any]) -> None:
    form = read.table(read.table(read.table(output.get("textFormat")).get("structure")).get("jsonSchema"))
    if form:
        schema = decode_object(read.text(form.get("schema")).encode("utf-8", "surrogatepass"))
        request.params[Param.FORMAT] = Format(schema, read.text(form.get("name")) or "answer", form.get("description"))
        request.names[Param.FORMAT] = "outputConfig.textFormat"
    more = request.extras.pop("additionalModelRequestFields", None) or {}
    if isinstance(more, dict):
        thinking = read.table(more.get("thinking"))
        inner = read.text(read.table(more.get("output_config")).get("effort"))
        effort = read.text(output.get("effort")) or read.text(more.get("reasoning_effort")) or inner
        if thinking or effort:
            enabled = {"enabled": True, "adaptive": True, "disabled": False}.get(read.text(thinking.get("type")))
            budget = read.number(thinking.get("budget_tokens")) or None
            request.params[Param.REASONING] = Think(effort or None, budget, enabled)
        known = ("thinking", "reasoning_effort", "output_config")
        rest = {name: value for name, value in more.items() if name not in known}
        if isinstance(rest.get("top_k"), int):
            request.params[Param.TOP_K] = rest.pop("top_k")
        if rest:
            request.extras["additionalModelRequestFields"] = rest
    tier = read.table(request.extras.pop("serviceTier", None)).get("type")
    if tier:
        request.params[Param.SERVICE_TIER] = tier
    metadata = request.extras.pop("requestMetadata", None)
    if metadata:
        request.params[Param.METADATA] = metadata
