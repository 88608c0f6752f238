"""A client's request in generateContent, read into the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.dialects import read
from proxy.dialects.blocks import Block, Foreign, Opaque, Reasoning, ServerCall, Text, ToolCall, ToolResult
from proxy.dialects.gemini.parts import NAME, carried, content_parts, media_of, response_text, signature_of
from proxy.dialects.gemini.schemas import json_schema
from proxy.dialects.json import encode
from proxy.dialects.read import camel
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
    places_of,
)

SAME: Final = {
    "maxOutputTokens": Param.MAX_TOKENS,
    "temperature": Param.TEMPERATURE,
    "topP": Param.TOP_P,
    "topK": Param.TOP_K,
    "seed": Param.SEED,
    "candidateCount": Param.N,
    "stopSequences": Param.STOP,
    "presencePenalty": Param.PRESENCE_PENALTY,
    "frequencyPenalty": Param.FREQUENCY_PENALTY,
    "responseLogprobs": Param.LOGPROBS,
    "logprobs": Param.TOP_LOGPROBS,
}
BUILT_IN: Final = {"googleSearch": "web_search", "codeExecution": "code_execution", "urlContext": "web_fetch"}
_ALSO: Final = {"googleSearchRetrieval": "web_search", "enterpriseWebSearch": "web_search"}
EFFORTS: Final = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high", "XHIGH": "xhigh"}
_MODES: Final = {"AUTO": "auto", "NONE": "none", "ANY": "required", "VALIDATED": "auto"}
_STRUCTURE: Final = frozenset({"model", "contents", "systemInstruction", "tools", "toolConfig", "generationConfig"})


def read_request(body: Mapping[str, Any]) -> Request:
    """See `Dialect`. Model and streaming stand in the path, not here."""
    said = camel(body)
    turns: list[Turn] = []
    spots: list[tuple[str, list[str]]] = []  # where each turn and its blocks stand
    system = tuple(block for part in content_parts(said.get("systemInstruction")) for block in _blocks(part, "", {}))
    if system:
        turns.append(Turn(Role.SYSTEM, system))
        spots.append(("systemInstruction", ["systemInstruction"] * len(system)))
    contents = said.get("contents")
    calls: dict[str, list[str]] = {}
    listed = [contents] if isinstance(contents, dict | str) else read.must_list(contents, "contents")
    for n, content in enumerate(listed):
        spots.append((f"contents[{n}]", []))
        turns.append(_turn(content, f"contents[{n}]", calls, spots[-1][1]))
    request = Request(NAME, read.text(said.get("model")) or None, tuple(turns))
    request.tools = tuple(_tools(said.get("tools")))
    request.places = places_of(spots, _tool_places(said.get("tools")))
    request.extras = {name: value for name, value in said.items() if name not in _STRUCTURE and value is not None}
    _read_config(camel(read.table(said.get("generationConfig"))), request)
    _read_tool_config(camel(read.table(said.get("toolConfig"))), request)
    tier = request.extras.pop("serviceTier", None)
    if tier is not None:
        request.params[Param.SERVICE_TIER] = {"standard": "default", "unspecified": "auto"}.get(str(tier), tier)
        request.names[Param.SERVICE_TIER] = "serviceTier"
    return checked(request)


def _turn(content: object, where: str, calls: dict[str, list[str]], spots: list[str]) -> Turn:
    if not isinstance(content, str):
        content = read.must_table(content, where)
        if content.get("role") not in (None, "user", "model", "function", "system"):
            raise BadRequest(f"`{where}.role` must be user or model", f"{where}.role")
    role = content.get("role") if isinstance(content, dict) else None
    place = where.replace("[", "_").rstrip("]")
    parts = enumerate(content_parts(content))
    blocks: list[Block] = []
    for n, part in parts:
        thoughts = carried(signature_of(part, "part"))
        for thought in thoughts:
            _put_back(thought, blocks)
        left = {key: value for key, value in part.items() if key != "thoughtSignature" or not thoughts}
        blocks += _blocks(left, f"{place}_{n}", calls)
        spots += [f"{where}.parts[{n}]"] * (len(blocks) - len(spots))
    named = {"model": Role.ASSISTANT, "system": Role.SYSTEM}.get(str(role), Role.USER)
    return Turn(named, tuple(blocks))


def _put_back(thought: Reasoning, blocks: list[Block]) -> None:
    """In place of its text, which was shown in pieces, else before what was said behind it."""
    start = len(blocks)
    while start and _unsealed(blocks[start - 1]):
        start -= 1
    at, first = 0, start
    for n in range(start, len(blocks)):
        block = blocks[n]
        if not isinstance(block, Reasoning):
            at, first = 0, n + 1
        elif thought.text.startswith(block.text, at):
            at += len(block.text)
            if at == len(thought.text):
                blocks[first : n + 1] = [thought]
                return
        else:
            at = len(thought.text) + 1  # not this run
    blocks.insert(start, thought)


def _unsealed(block: Block) -> bool:
    """Whether it belongs to what was thought and said since the last seal or call."""
    return isinstance(block, Text) or (isinstance(block, Reasoning) and block.seal is None)


def _blocks(part: Mapping[str, Any], where: str, calls: dict[str, list[str]]) -> Iterator[Block]:
    """The blocks of one part. `calls`: ids of calls without an answer so far, by the function's name."""
    if isinstance(part.get("functionCall"), dict):
        yield from _call(part, where, calls)
    elif isinstance(part.get("functionResponse"), dict):
        yield _result(camel(part["functionResponse"]), calls)
    elif isinstance(part.get("text"), str):
        yield from _text(part)
    elif (media := media_of(part)) is not None:
        yield media
        seal = None if isinstance(media, Foreign) else signature_of(part, "part")
        if seal is not None:
            yield Reasoning(seal=seal)
    elif isinstance(part.get("toolCall"), dict) or isinstance(part.get("executableCode"), dict):
        yield server_call(part)
    elif part:
        kind = next((key for key in part if key != "thoughtSignature"), "part")
        yield Foreign(Opaque(NAME, kind, dict(part)))


def _text(part: Mapping[str, Any]) -> Iterator[Block]:
    if part.get("thought") is True:
        seal = signature_of(part, "thought")
        if part["text"] or seal is not None:
            yield Reasoning(part["text"], seal)
        return
    if part["text"]:
        yield Text(part["text"])
    seal = signature_of(part, "part")
    if seal is not None:
        yield Reasoning(seal=seal)


def _call(part: Mapping[str, Any], where: str, calls: dict[str, list[str]]) -> Iterator[Block]:
    call = camel(part["functionCall"])
    seal = signature_of(part, "call")
    if seal is not None:
        yield Reasoning(seal=seal)
    name = read.text(call.get("name"))
    ident = read.text(call.get("id")) or f"call_{where}"
    calls.setdefault(name, []).append(ident)
    yield ToolCall(ident, name, encode(call.get("args") or {}).decode())


def _result(response: Mapping[str, Any], calls: dict[str, list[str]]) -> ToolResult:
    """The answer of a function; without an id it belongs to the first unanswered call of its name."""
    name = read.text(response.get("name"))
    waiting = calls.get(name) or []
    ident = read.text(response.get("id"))
    if not ident:
        ident = waiting[0] if waiting else f"call_{name}"
    if ident in waiting:
        waiting.remove(ident)
    text, failed = response_text(response.get("response"))
    media = [block for part in read.rows(response.get("parts")) if (block := media_of(camel(part))) is not None]
    return ToolResult(ident, (Text(text), *media), name or None, failed)


def server_call(part: Mapping[str, Any], origin: str | None = None) -> ServerCall:
    """The provider's own call in a part, kept as it is."""
    kind = "toolCall" if "toolCall" in part else "executableCode"
    call = camel(read.table(part.get(kind)))
    name = "code_execution" if kind == "executableCode" else read.text(call.get("toolType")).lower()
    known = "web_search" if name.startswith("google_search") else name
    arguments = encode(call.get("args") or {k: v for k, v in call.items() if k != "id"}).decode()
    return ServerCall(read.text(call.get("id")), known, arguments, Opaque(NAME, kind, dict(part), origin))


def _tools(value: object) -> Iterator[Tool | ServerTool]:
    listed = [value] if isinstance(value, dict) else read.must_list(value or [], "tools")
    for n, entry in enumerate(listed):
        for key, given in camel(read.must_table(entry, f"tools[{n}]")).items():
            if key == "functionDeclarations":
                yield from (_tool(camel(row), f"tools[{n}]") for row in read.rows(given))
            elif given is not None:
                options = dict(given) if isinstance(given, dict) else {}
                yield ServerTool(BUILT_IN.get(key) or _ALSO.get(key, key), Opaque(NAME, key, {key: given}), options)


def _tool_places(value: object) -> Iterator[str]:
    listed = [value] if isinstance(value, dict) else value if isinstance(value, list) else []
    for n, entry in enumerate(listed):
        for key, given in camel(entry).items():
            if key == "functionDeclarations":
                yield from (f"tools[{n}].functionDeclarations[{m}]" for m in range(len(read.rows(given))))
            elif given is not None:
                yield f"tools[{n}].{key}"


def _tool(declared: Mapping[str, Any], where: str) -> Tool:
    schema = declared.get("parametersJsonSchema")
    if schema is None:
        schema = json_schema(declared.get("parameters")) or {"type": "object", "properties": {}}
    known = {"name", "description", "parameters", "parametersJsonSchema"}
    return Tool(
        read.must_text(declared.get("name"), f"{where}.functionDeclarations.name"),
        read.text(declared.get("description")) or None,
        schema,
        extras={k: v for k, v in declared.items() if k not in known and v is not None},
    )


def _read_config(config: dict[str, Any], request: Request) -> None:
    for name, value in config.items():
        if value is None:
            continue
        if name in SAME:
            request.params[SAME[name]] = value
            request.names[SAME[name]] = f"generationConfig.{name}"
        elif name == "thinkingConfig":
            _read_thinking(camel(read.table(value)), request)
        elif name == "responseModalities":
            request.params[Param.MODALITIES] = [str(item).lower() for item in value] if isinstance(value, list) else []
            request.names[Param.MODALITIES] = "generationConfig.responseModalities"
        elif name not in ("responseMimeType", "responseSchema", "responseJsonSchema"):
            request.extras[f"generationConfig.{name}"] = value
    _read_format(config, request)


def _read_format(config: Mapping[str, Any], request: Request) -> None:
    kind = config.get("responseMimeType")
    if kind == "text/x.enum":  # one of the values, without quotes
        places = ("responseMimeType", "responseSchema", "responseJsonSchema")
        request.extras |= {f"generationConfig.{name}": config[name] for name in places if name in config}
        return
    schema = config.get("responseJsonSchema")
    if schema is None:
        schema = json_schema(config.get("responseSchema"))
    if schema is not None or kind == "application/json":
        request.params[Param.FORMAT] = Format(schema, strict=True if schema is not None else None)
        request.names[Param.FORMAT] = "generationConfig.responseJsonSchema"
    elif kind not in (None, "", "text/plain"):
        request.extras["generationConfig.responseMimeType"] = kind


def _read_thinking(spec: Mapping[str, Any], request: Request) -> None:
    """A budget of 0 is no thinking, one of -1 as much as the model likes."""
    budget = spec.get("thinkingBudget")
    shown = spec.get("includeThoughts")
    effort = EFFORTS.get(read.text(spec.get("thinkingLevel")).upper())
    for name in set(spec) - {"thinkingBudget", "includeThoughts", "thinkingLevel"}:
        request.extras[f"generationConfig.thinkingConfig.{name}"] = spec[name]
    enabled = False if budget == 0 else True if budget == -1 else None
    summary = {True: "auto", False: "omitted"}.get(shown) if isinstance(shown, bool) else None
    request.params[Param.REASONING] = Think(effort, read.number(budget) or None, enabled, summary)
    request.names[Param.REASONING] = "generationConfig.thinkingConfig"


def _read_tool_config(config: dict[str, Any], request: Request) -> None:
    spec = camel(read.table(config.pop("functionCallingConfig", None)))
    for name in set(spec) - {"mode", "allowedFunctionNames"}:
        request.extras[f"toolConfig.functionCallingConfig.{name}"] = spec[name]
    listed = spec.get("allowedFunctionNames")
    names = tuple(name for name in (listed if isinstance(listed, list) else ()) if isinstance(name, str))
    mode = _MODES.get(read.text(spec.get("mode")).upper())
    if mode == "required" and len(names) == 1:
        mode = "tool"
    if mode is not None:
        request.params[Param.TOOL_CHOICE] = Choice(mode, names)
        request.names[Param.TOOL_CHOICE] = "toolConfig.functionCallingConfig"
    request.extras |= {f"toolConfig.{name}": value for name, value in config.items() if value is not None}
