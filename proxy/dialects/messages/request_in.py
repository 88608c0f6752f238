"""A client's request in Anthropic Messages, read into the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.dialects import read, seals
from proxy.dialects.base import DialectName
from proxy.dialects.blocks import (
    Block,
    Cache,
    Cite,
    Document,
    Foreign,
    Image,
    Opaque,
    Reasoning,
    ServerCall,
    Source,
    Text,
    ToolCall,
    ToolResult,
)
from proxy.dialects.json import encode
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

NAME: Final = DialectName.MESSAGES
SAME: Final = {
    "max_tokens": Param.MAX_TOKENS,
    "temperature": Param.TEMPERATURE,
    "top_p": Param.TOP_P,
    "top_k": Param.TOP_K,
    "stop_sequences": Param.STOP,
    "service_tier": Param.SERVICE_TIER,
}
SERVER_TOOLS: Final = {"web_search": "web_search", "code_execution": "code_execution", "web_fetch": "web_fetch"}
_STRUCTURE: Final = frozenset({"model", "messages", "system", "tools", "stream"})
# Blocks of Anthropic's alone that the question depends on.
_CONTENT: Final = frozenset({"container_upload", "compaction", "browser_state"})


def read_request(body: Mapping[str, Any]) -> Request:
    """See `Dialect`."""
    turns: list[Turn] = []
    system = tuple(_blocks(body.get("system"), "system"))
    if system:
        turns.append(Turn(Role.SYSTEM, system))
    for n, message in enumerate(read.must_list(body.get("messages"), "messages")):
        turns.append(_turn(message, f"messages[{n}]"))
    request = Request(NAME, read.text(body.get("model")) or None, tuple(turns), stream=body.get("stream") is True)
    request.tools = tuple(_tools(body.get("tools")))
    first = len(turns) - len(body["messages"])
    for n, turn in enumerate(turns):
        request.extras |= {f"messages[{n}].{name}": value for name, value in turn.extras.items()}
    if first:  # `system` is the first turn here
        request.places = {f"messages[{n + 1}]": f"messages[{n}]" for n in range(len(body["messages"]))}
        request.places |= {f"messages[0].content[{m}]": f"system[{m}]" for m in range(len(system))}
    for name, value in body.items():
        if name in _STRUCTURE or value is None:
            continue
        param = SAME.get(name)
        if param is not None:
            request.params[param] = value
            if param.value != name:
                request.names[param] = name
        elif name not in _READ or not _READ[name](value, request):
            request.extras[name] = value
    return checked(request)


def _turn(message: object, where: str) -> Turn:
    said = read.must_table(message, where)
    role = said.get("role")
    if role not in ("user", "assistant", "system"):
        raise BadRequest(f"`{where}.role` must be user or assistant", f"{where}.role")
    extras = {name: value for name, value in said.items() if name not in ("role", "content") and value is not None}
    return Turn(Role(role), tuple(_blocks(said.get("content"), f"{where}.content")), extras=extras)


def _blocks(content: object, where: str) -> Iterator[Block]:
    if content is None:
        return
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    for n, entry in enumerate(read.must_list(content, where)):
        yield block_of(read.must_table(entry, f"{where}[{n}]"), f"{where}[{n}]")


def block_of(entry: Mapping[str, Any], where: str) -> Block:
    """One content block. Raises BadRequest."""
    kind = read.text(entry.get("type"))
    cache = _cache(entry)
    match kind:
        case "text":
            text = read.must_text(entry.get("text"), f"{where}.text")
            return Text(text, tuple(cite_of(row) for row in read.rows(entry.get("citations"))), cache)
        case "thinking":
            return Reasoning(read.text(entry.get("thinking")), _seal(entry.get("signature"), kind))
        case "redacted_thinking":
            return Reasoning(seal=_seal(entry.get("data"), kind))
        case "image":
            return Image(_source(entry.get("source"), where), cache=cache)
        case "document":
            return _document(entry, where, cache)
        case "tool_use":
            return _call(entry, cache)
        case "search_result":
            return _search_result(entry, cache)
        case "tool_result":
            content = tuple(_blocks(entry.get("content"), f"{where}.content"))
            ident = read.must_text(entry.get("tool_use_id"), f"{where}.tool_use_id")
            return ToolResult(ident, content, error=entry.get("is_error") is True, cache=cache)
        case "server_tool_use":
            arguments = encode(entry.get("input") or {}).decode()
            raw = Opaque(NAME, kind, dict(entry))
            return ServerCall(read.text(entry.get("id")), read.text(entry.get("name")), arguments, raw)
        case _:
            return Foreign(Opaque(NAME, kind, dict(entry)), content=kind in _CONTENT)


def _call(entry: Mapping[str, Any], cache: Cache | None) -> ToolCall:
    """`seal` holds what else Anthropic says of a call, such as who made it."""
    known = ("type", "id", "name", "input", "cache_control")
    more = {name: value for name, value in entry.items() if name not in known and value is not None}
    seal = Opaque(NAME, "tool_use", more) if more else None
    arguments = encode(entry.get("input") or {}).decode()
    return ToolCall(read.text(entry.get("id")), read.text(entry.get("name")), arguments, seal=seal, cache=cache)


def _search_result(entry: Mapping[str, Any], cache: Cache | None) -> Document:
    """A source of text: where it is from stands in `context`."""
    text = "\n\n".join(read.text(row.get("text")) for row in read.rows(entry.get("content")))
    cited = read.table(entry.get("citations")).get("enabled") is True
    name, place = read.text(entry.get("title")) or None, read.text(entry.get("source")) or None
    raw = Opaque(NAME, "search_result", _unmarked(entry))
    return Document(Source(text=text, media_type="text/plain"), name, place, cited, cache, raw)


def _unmarked(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "cache_control"}


def _cache(entry: Mapping[str, Any]) -> Cache | None:
    mark = entry.get("cache_control")
    return Cache(read.text(mark.get("ttl")) or None) if isinstance(mark, dict) else None


def _seal(value: object, kind: str) -> Opaque | None:
    return seals.unwrap(value, NAME, kind) if isinstance(value, str) and value else None


def _source(value: object, where: str) -> Source:
    source = read.must_table(value, f"{where}.source")
    match source.get("type"):
        case "base64":
            return Source(data=read.text(source.get("data")), media_type=read.text(source.get("media_type")) or None)
        case "url":
            return Source(url=read.text(source.get("url")))
        case "file":
            return Source(file_id=read.text(source.get("file_id")))
        case "text":
            return Source(text=read.text(source.get("data")), media_type="text/plain")
        case _:
            raise BadRequest(f"`{where}.source.type` is not known", f"{where}.source.type")


def _document(entry: Mapping[str, Any], where: str, cache: Cache | None) -> Block:
    given = read.table(entry.get("source"))
    raw = None
    if given.get("type") == "content":
        content = given.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else read.rows(content)
        if any(part.get("type") != "text" for part in parts):
            return Foreign(Opaque(NAME, "document", dict(entry)), content=True)
        text = "\n\n".join(read.text(part.get("text")) for part in parts)
        source, raw = Source(text=text, media_type="text/plain"), Opaque(NAME, "document", _unmarked(entry))
    else:
        source = _source(entry.get("source"), where)
    title, context = read.text(entry.get("title")) or None, read.text(entry.get("context")) or None
    return Document(source, title, context, read.table(entry.get("citations")).get("enabled") is True, cache, raw)


def cite_of(row: Mapping[str, Any]) -> Cite:
    """A citation: of the web, of a document, of a search result."""
    start, end = row.get("start_char_index"), row.get("end_char_index")
    return Cite(
        read.text(row.get("url")) or read.text(row.get("source")),
        read.text(row.get("title")) or read.text(row.get("document_title")),
        read.text(row.get("cited_text")),
        start if isinstance(start, int) else None,
        end if isinstance(end, int) else None,
        Opaque(NAME, read.text(row.get("type")), dict(row)),
    )


def _tools(value: object) -> Iterator[Tool | ServerTool]:
    for n, entry in enumerate(read.must_list(value or [], "tools")):
        tool = read.must_table(entry, f"tools[{n}]")
        kind = tool.get("type")
        if kind in (None, "custom"):
            known = {"type", "name", "description", "input_schema", "strict", "cache_control"}
            strict = tool.get("strict")
            yield Tool(
                read.must_text(tool.get("name"), f"tools[{n}].name"),
                read.text(tool.get("description")) or None,
                tool.get("input_schema") or {"type": "object", "properties": {}},
                strict if isinstance(strict, bool) else None,
                cache=_cache(tool),
                extras={k: v for k, v in tool.items() if k not in known and v is not None},
            )
        else:
            family = str(kind).rpartition("_")[0]
            options = {k: v for k, v in tool.items() if k not in ("type", "name", "cache_control") and v is not None}
            yield ServerTool(SERVER_TOOLS.get(family, str(kind)), Opaque(NAME, str(kind), tool), options)


def _read_thinking(value: Any, request: Request) -> bool:
    """What is not understood stays among the extras."""
    spec = read.table(value)
    kind = read.text(spec.get("type"))
    enabled = {"enabled": True, "adaptive": True, "disabled": False}.get(kind)
    if enabled is None:
        return False
    before = request.params.get(Param.REASONING, Think())
    budget = (read.number(spec.get("budget_tokens")) or None) if kind == "enabled" else None
    summary = {"omitted": "omitted", "summarized": "auto"}.get(read.text(spec.get("display")))
    request.params[Param.REASONING] = Think(before.effort, budget, enabled, summary)
    request.names[Param.REASONING] = "thinking"
    _rest(spec, "thinking", {"type", "budget_tokens", *(["display"] if summary else [])}, request)
    return True


def _rest(spec: Mapping[str, Any], place: str, known: set[str], request: Request) -> None:
    """Fields that have no word in the hub are extras under their place."""
    request.extras |= {f"{place}.{name}": v for name, v in spec.items() if name not in known and v is not None}


def _read_output(value: Any, request: Request) -> bool:
    spec = read.table(value)
    if isinstance(spec.get("effort"), str):
        old = request.params.get(Param.REASONING, Think())
        request.params[Param.REASONING] = Think(spec["effort"], old.budget, old.enabled, old.summary)
        request.names.setdefault(Param.REASONING, "output_config.effort")
    known = {"effort"}
    if spec.get("format") is not None and _read_format(spec["format"], request):
        known.add("format")
    _rest(spec, "output_config", known, request)
    return True


def _read_format(value: Any, request: Request) -> bool:
    spec = read.table(value)
    if spec.get("type") != "json_schema":
        return False
    request.params[Param.FORMAT] = Format(spec.get("schema"), strict=True)
    request.names[Param.FORMAT] = "output_config.format"
    return True


def _read_choice(value: Any, request: Request) -> bool:
    spec = read.table(value)
    kind = read.text(spec.get("type"))
    mode = {"any": "required"}.get(kind, kind)
    if mode not in ("auto", "none", "required", "tool"):
        return False
    request.params[Param.TOOL_CHOICE] = Choice(mode, (read.text(spec.get("name")),) if mode == "tool" else ())
    if spec.get("disable_parallel_tool_use") is not None:
        request.params[Param.PARALLEL_TOOLS] = not spec["disable_parallel_tool_use"]
        request.names[Param.PARALLEL_TOOLS] = "tool_choice.disable_parallel_tool_use"
    return True


def _read_metadata(value: Any, request: Request) -> bool:
    spec = read.table(value)
    if isinstance(spec.get("user_id"), str):
        request.params[Param.USER] = spec["user_id"]
        request.names[Param.USER] = "metadata.user_id"
    _rest(spec, "metadata", {"user_id"}, request)
    return True


_READ: Final = {
    "thinking": _read_thinking,
    "output_config": _read_output,
    "output_format": _read_format,
    "tool_choice": _read_choice,
    "metadata": _read_metadata,
}
