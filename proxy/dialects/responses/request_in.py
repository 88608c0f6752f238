"""A client's request in OpenAI Responses, read into the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec.structs import replace

from proxy.dialects import read, seals
from proxy.dialects.base import DialectName
from proxy.dialects.blocks import (
    Audio,
    Block,
    Cache,
    Cite,
    Document,
    Foreign,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    Source,
    Text,
    ToolCall,
    ToolResult,
)
from proxy.dialects.request import (
    BadRequest,
    Choice,
    Format,
    Param,
    Request,
    Role,
    ServerTool,
    Space,
    Think,
    Tool,
    Turn,
    checked,
    places_of,
)
from proxy.dialects.toolbox import flat_name

NAME: Final = DialectName.RESPONSES
SAME: Final = {
    "max_output_tokens": Param.MAX_TOKENS,
    "temperature": Param.TEMPERATURE,
    "top_p": Param.TOP_P,
    "top_logprobs": Param.TOP_LOGPROBS,
    "user": Param.USER,
    "metadata": Param.METADATA,
    "service_tier": Param.SERVICE_TIER,
    "parallel_tool_calls": Param.PARALLEL_TOOLS,
    "prompt_cache_key": Param.CACHE_KEY,
    "prompt_cache_retention": Param.CACHE_RETENTION,
    "prompt_cache_options": Param.CACHE_OPTIONS,
    "safety_identifier": Param.SAFETY_ID,
    "store": Param.STORE,
    "moderation": Param.MODERATION,
}
SERVER_TOOLS: Final = {
    "web_search": "web_search",
    "web_search_preview": "web_search",
    "web_search_preview_2025_03_11": "web_search",
    "code_interpreter": "code_execution",
}
PICTURE: Final = "image_generation_call"
_STRUCTURE: Final = frozenset({"model", "input", "instructions", "tools", "stream", "stream_options"})
_PLAIN: Final = {"truncation": ("disabled",), "background": (False,)}  # values that ask for nothing
# What has been said and cannot be said without it, or is kept elsewhere: the question is another without them.
_CONTENT: Final = frozenset({"item_reference", "compaction", "compaction_trigger", "context_compaction"})


def read_request(body: Mapping[str, Any]) -> Request:
    """See `Dialect`."""
    turns: list[Turn] = []
    spots: list[tuple[str, list[str]]] = []  # where each turn and its blocks stand
    instructions = body.get("instructions")
    if isinstance(instructions, str) and instructions:
        turns.append(Turn(Role.SYSTEM, (Text(instructions),)))
        spots.append(("instructions", ["instructions"]))
    request = Request(NAME, read.text(body.get("model")) or None, (), stream=body.get("stream") is True)
    tools = list(tools_of(body.get("tools"), "tools"))
    places = list(tool_places(body.get("tools"), "tools"))
    updates: list[Mapping[str, Any]] = []
    given = body.get("input")
    if isinstance(given, str):
        turns.append(Turn(Role.USER, (Text(given),)))
        spots.append(("input", ["input"]))
        given = []
    for n, entry in enumerate(read.must_list(given or [], "input")):
        item = read.must_table(entry, f"input[{n}]")
        if item.get("type") == "additional_tools":
            tools += tools_of(item.get("tools"), f"input[{n}].tools")
            places += tool_places(item.get("tools"), f"input[{n}].tools")
        elif item.get("type") == "configuration_update":
            updates.append(item)
        else:
            turn = _item(item, f"input[{n}]")
            inside = isinstance(item.get("content"), list) and "role" in item
            spot = [f"input[{n}].content[{m}]" if inside else f"input[{n}]" for m in range(len(turn.content))]
            if _add(turns, turn):
                spots.append((f"input[{n}]", spot))
            else:
                spots[-1][1].extend(spot)
    request.turns, request.tools = tuple(turns), tuple(tools)
    request.places = places_of(spots, places)
    _read_params(body, request)
    for update in updates:  # the last one holds
        _read_params({name: update[name] for name in ("reasoning", "text") if name in update}, request)
    if any(turn.extras for turn in turns):
        request.extras["input.phase"] = True
    return checked(request)


def _read_params(body: Mapping[str, Any], request: Request) -> None:
    for name, value in body.items():
        if name in _STRUCTURE or value is None or value in _PLAIN.get(name, ()):
            continue
        param = SAME.get(name)
        if param is not None:
            request.params[param] = value
            if param.value != name:
                request.names[param] = name
        elif name not in _READ or not _READ[name](value, request):
            request.extras[name] = value


def _add(turns: list[Turn], turn: Turn) -> bool:
    """What the assistant thought, said and called in a row is one turn of its, as far as it is of one phase. Whether a
    turn has begun."""
    last = turns[-1] if turns else None
    if last is None or turn.role is not Role.ASSISTANT or last.role is not Role.ASSISTANT:
        turns.append(turn)
        return True
    spoken = any(isinstance(block, Text | Refusal) for block in last.content)
    if turn.extras != last.extras and spoken and any(isinstance(b, Text | Refusal) for b in turn.content):
        turns.append(turn)
        return True
    turns[-1] = Turn(Role.ASSISTANT, last.content + turn.content, extras={**last.extras, **turn.extras})
    return False


def _item(item: Mapping[str, Any], where: str) -> Turn:
    kind = item.get("type") or ("message" if "role" in item or "id" not in item else "item_reference")
    match kind:
        case "message":
            role = item.get("role")
            if role not in ("system", "developer", "user", "assistant"):
                message = f"`{where}.role` must be system, developer, user or assistant"
                raise BadRequest(message, f"{where}.role")
            phase = {"phase": item["phase"]} if item.get("phase") else {}
            return Turn(Role(role), tuple(parts_of(item.get("content"), f"{where}.content")), extras=phase)
        case "function_call" | "custom_tool_call":
            return Turn(Role.ASSISTANT, (_call(item, kind),))
        case "function_call_output" | "custom_tool_call_output":
            content = tuple(parts_of(item.get("output"), f"{where}.output"))
            ident = read.must_text(item.get("call_id"), f"{where}.call_id")
            return Turn(Role.USER, (ToolResult(ident, content, custom=kind.startswith("custom")),))
        case "reasoning":
            return Turn(Role.ASSISTANT, (reasoning_of(item, None),))
        case "image_generation_call" if read.text(item.get("result")):
            return Turn(Role.ASSISTANT, (_picture(item),))
        case _:
            role = Role.USER if str(kind).endswith("_output") else Role.ASSISTANT
            raw = Opaque(NAME, str(kind), {"type": kind, **item})
            return Turn(role, (Foreign(raw, content=raw.kind in _CONTENT),))


def _picture(item: Mapping[str, Any]) -> Image:
    """A picture that was made; its data stand in the item itself."""
    form = read.text(item.get("output_format"))
    raw = Opaque(NAME, PICTURE, {name: value for name, value in item.items() if name != "result"})
    return Image(Source(data=read.text(item["result"]), media_type=f"image/{form}" if form else None), raw=raw)


def _call(item: Mapping[str, Any], kind: str) -> ToolCall:
    custom = kind == "custom_tool_call"
    return ToolCall(
        read.text(item.get("call_id")),
        name_of(item),
        read.text(item.get("input" if custom else "arguments")),
        custom,
        call_seal(item, None),
    )


def call_seal(item: Mapping[str, Any], origin: str | None) -> Opaque | None:
    """What belongs to a call beside its arguments: the namespace of its tool, the program that made it."""
    beside = {name: item[name] for name in ("namespace", "caller") if item.get(name) is not None}
    if beside:
        beside["name"] = item.get("name")
    return Opaque(NAME, read.text(item.get("type")), beside, origin) if beside else None


def name_of(item: Mapping[str, Any]) -> str:
    """The name of the tool that a call calls, its namespace included."""
    return flat_name(read.text(item.get("namespace")), read.text(item.get("name")))


def reasoning_of(item: Mapping[str, Any], origin: str | None) -> Reasoning:
    """A reasoning item. What it holds sealed is the item itself, which has to come back unaltered."""
    summary = "\n\n".join(read.text(row.get("text")) for row in read.rows(item.get("summary")))
    text = "".join(read.text(row.get("text")) for row in read.rows(item.get("content")))
    sealed = read.text(item.get("encrypted_content"))
    seal = Opaque(NAME, "reasoning", dict(item), origin)
    if sealed.startswith(seals.MARK):
        seal = seals.unwrap(sealed, NAME, "reasoning", dict(item))
    return Reasoning(text or summary, seal, bool(summary and not text))


def parts_of(content: object, where: str) -> Iterator[Block]:
    """The blocks of a message or of a tool's output. Raises BadRequest."""
    if content is None:
        return
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    for n, entry in enumerate(read.must_list(content, where)):
        yield _part(read.must_table(entry, f"{where}[{n}]"), f"{where}[{n}]")


def _part(part: dict[str, Any], where: str) -> Block:
    kind = read.text(part.get("type"))
    point = part.get("prompt_cache_breakpoint")
    cache = Cache(point=point) if point else None
    match kind:
        case "input_text" | "output_text" | "text":
            cites = tuple(cite_of(row) for row in read.rows(part.get("annotations")))
            return Text(read.must_text(part.get("text"), f"{where}.text"), cites, cache)
        case "refusal":
            return Refusal(read.text(part.get("refusal")))
        case "input_image":
            url = read.text(part.get("image_url"))
            source = _source(url) if url else Source(file_id=read.text(part.get("file_id")) or None)
            return Image(source, read.text(part.get("detail")) or None, cache)
        case "input_file":
            return _file(part, cache)
        case "input_audio":
            audio = read.table(part.get("input_audio"))
            form = read.text(audio.get("format")) or None
            media = {"mp3": "audio/mpeg"}.get(form, f"audio/{form}") if form else None
            return Audio(Source(data=read.text(audio.get("data")), media_type=media), form)
        case _:
            return Foreign(Opaque(NAME, kind, part), content=kind.startswith("input_"))


def _source(url: str) -> Source:
    inline = read.data_url(url)
    return Source(url=url) if inline is None else Source(media_type=inline[0], data=inline[1])


def _file(part: Mapping[str, Any], cache: Cache | None) -> Document:
    data, url, ident = (read.text(part.get(name)) for name in ("file_data", "file_url", "file_id"))
    if data:
        source = _source(data) if data.startswith("data:") else Source(data=data, media_type="application/pdf")
    else:
        source = Source(url=url or None, file_id=ident or None)
    return Document(source, read.text(part.get("filename")) or None, cache=cache)


def cite_of(row: Mapping[str, Any], origin: str | None = None) -> Cite:
    """An annotation of a text: of the web, of a file."""
    start, end = row.get("start_index"), row.get("end_index")
    return Cite(
        read.text(row.get("url")),
        read.text(row.get("title")) or read.text(row.get("filename")),
        "",
        start if isinstance(start, int) else None,
        end if isinstance(end, int) else None,
        None if row.get("type") == "url_citation" else Opaque(NAME, read.text(row.get("type")), dict(row), origin),
    )


def tools_of(value: object, where: str) -> Iterator[Tool | ServerTool]:
    """The tools of a list; those of a namespace each for itself. Raises BadRequest."""
    for n, entry in enumerate(read.must_list(value or [], where)):
        tool = read.must_table(entry, f"{where}[{n}]")
        kind = tool.get("type")
        if kind in ("function", "custom"):
            yield _tool(tool)
        elif kind == "namespace":
            space, described = read.text(tool.get("name")), read.text(tool.get("description"))
            for inner in tools_of(tool.get("tools"), f"{where}[{n}].tools"):
                if isinstance(inner, Tool):
                    name = flat_name(space, inner.name)
                    yield replace(inner, name=name, space=Space(space, inner.name, described))
                else:
                    yield inner
        else:
            options = {k: v for k, v in tool.items() if k != "type" and v is not None}
            known = SERVER_TOOLS.get(str(kind), str(kind))
            if known == "web_search":
                domains = read.table(options.pop("filters", None)).get("allowed_domains")
                options |= {"allowed_domains": domains} if domains else {}
            yield ServerTool(known, Opaque(NAME, str(kind), tool), options)


def tool_places(value: object, where: str) -> Iterator[str]:
    """Where each of these stands."""
    for n, tool in enumerate(value if isinstance(value, list) else ()):
        if tool.get("type") == "namespace":
            yield from tool_places(tool.get("tools"), f"{where}[{n}].tools")
        else:
            yield f"{where}[{n}]"


def _tool(tool: Mapping[str, Any]) -> Tool:
    name, description = read.text(tool.get("name")), read.text(tool.get("description")) or None
    known = {"type", "name", "description", "parameters", "strict", "format"}
    extras = {k: v for k, v in tool.items() if k not in known and v is not None}
    if tool.get("type") == "custom":
        return Tool(name, description, custom=True, grammar=tool.get("format"), extras=extras)
    strict = tool.get("strict")
    schema = tool.get("parameters") or {"type": "object", "properties": {}}
    return Tool(name, description, schema, strict if isinstance(strict, bool) else None, extras=extras)


def _read_reasoning(value: Any, request: Request) -> bool:
    spec = read.table(value)
    effort = read.text(spec.get("effort")) or None
    summary = read.text(spec.get("summary")) or read.text(spec.get("generate_summary")) or None
    before = request.params.get(Param.REASONING, Think())
    effort, summary = effort or before.effort, summary or before.summary
    if effort or summary:
        request.params[Param.REASONING] = Think(effort, enabled=False if effort == "none" else None, summary=summary)
    for name in spec:
        if name not in ("effort", "summary", "generate_summary") and spec[name] is not None:
            request.extras[f"reasoning.{name}"] = spec[name]
    return True


def _read_text(value: Any, request: Request) -> bool:
    spec = read.table(value)
    if spec.get("verbosity") is not None:
        request.params[Param.VERBOSITY] = spec["verbosity"]
        request.names[Param.VERBOSITY] = "text.verbosity"
    form = read.table(spec.get("format"))
    kind = form.get("type")
    if kind == "json_schema":
        name = read.text(form.get("name")) or "answer"
        request.params[Param.FORMAT] = Format(form.get("schema"), name, form.get("description"), form.get("strict"))
    elif kind == "json_object":
        request.params[Param.FORMAT] = Format()
    elif kind == "text":
        request.params.pop(Param.FORMAT, None)
    request.names[Param.FORMAT] = "text.format"
    return kind in (None, "text", "json_schema", "json_object")


def _read_choice(value: Any, request: Request) -> bool:
    if isinstance(value, str):
        if value not in ("auto", "none", "required"):
            return False
        request.params[Param.TOOL_CHOICE] = Choice(value)
        return True
    spec = read.table(value)
    if spec.get("type") == "allowed_tools":
        names = tuple(name_of(row) for row in read.rows(spec.get("tools")))
        if not all(names):
            return False  # built-in tools are among them
        request.params[Param.TOOL_CHOICE] = Choice(read.text(spec.get("mode")) or "auto", names)
        return True
    if spec.get("type") not in ("function", "custom"):
        return False
    request.params[Param.TOOL_CHOICE] = Choice("tool", (name_of(spec),))
    return True


def _read_include(value: Any, request: Request) -> bool:
    wanted = {read.text(word) for word in value} if isinstance(value, list) else {""}
    if "message.output_text.logprobs" in wanted:
        request.params[Param.LOGPROBS] = True
        request.names[Param.LOGPROBS] = "include"
    return not wanted - {"reasoning.encrypted_content", "message.output_text.logprobs"}


_READ: Final = {
    "reasoning": _read_reasoning,
    "text": _read_text,
    "tool_choice": _read_choice,
    "include": _read_include,
}
