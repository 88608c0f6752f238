"""Tools as Chat Completions writes them, read into the hub and written from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from proxy.dialects import read
from proxy.dialects.base import DialectName
from proxy.dialects.blocks import Cache, Opaque
from proxy.dialects.request import Loss, ServerTool, Tool
from proxy.dialects.toolbox import FREE_SCHEMA

NAME: Final = DialectName.CHAT
SEARCH: Final = "web_search_options"  # a built-in tool that is no entry of `tools`


def cache_of(part: Mapping[str, Any]) -> Cache | None:
    """OpenRouter and others take Anthropic's `cache_control` on parts; OpenAI has `prompt_cache_breakpoint`."""
    mark = part.get("cache_control")
    if isinstance(mark, dict):
        return Cache(read.text(mark.get("ttl")) or None)
    point = part.get("prompt_cache_breakpoint")
    return Cache(point=point) if point else None


def tools_of(body: Mapping[str, Any]) -> Iterator[Tool | ServerTool]:
    """What stands in `tools`. Raises BadRequest."""
    for n, entry in enumerate(read.must_list(body.get("tools") or [], "tools")):
        tool = read.must_table(entry, f"tools[{n}]")
        kind = tool.get("type", "function")
        if kind == "function":
            yield _function(read.must_table(tool.get("function"), f"tools[{n}].function"), cache_of(tool))
        elif kind == "custom":
            custom = read.must_table(tool.get("custom"), f"tools[{n}].custom")
            name, described = read.text(custom.get("name")), read.text(custom.get("description")) or None
            yield Tool(name, described, custom=True, grammar=_grammar_in(read.table(custom.get("format"))))
        else:
            yield ServerTool(str(kind), Opaque(NAME, str(kind), tool))
    if isinstance(body.get(SEARCH), dict):
        yield _search(body[SEARCH])
    for n, entry in enumerate(read.must_list(body.get("functions") or [], "functions")):
        yield _function(read.must_table(entry, f"functions[{n}]"), None)


def tool_places(body: Mapping[str, Any]) -> list[str]:
    """Where each of these stands in the body."""
    listed = [f"tools[{n}]" for n in range(len(body.get("tools") or ()))]
    searched = [SEARCH] if isinstance(body.get(SEARCH), dict) else []
    return [*listed, *searched, *(f"functions[{n}]" for n in range(len(body.get("functions") or ())))]


def _grammar_in(form: Mapping[str, Any]) -> Any:
    """The format of a free-form tool, flat as in Responses."""
    return {"type": form.get("type"), **read.table(form.get("grammar"))} if form else None


def _search(given: dict[str, Any]) -> ServerTool:
    """The options that ask for a search of the web, as other dialects write those of the tool."""
    options = {name: value for name, value in given.items() if value is not None}
    place = read.table(read.table(options.get("user_location")).get("approximate"))
    if place:
        options["user_location"] = {"type": "approximate", **place}
    return ServerTool("web_search", Opaque(NAME, SEARCH, given), options)


def _function(function: Mapping[str, Any], cache: Cache | None) -> Tool:
    strict = function.get("strict")
    return Tool(
        read.must_text(function.get("name"), "tools.function.name"),
        read.text(function.get("description")) or None,
        function.get("parameters") or {"type": "object", "properties": {}},
        strict if isinstance(strict, bool) else None,
        cache=cache,
    )


def tools_out(
    tools: Iterable[Tool | ServerTool], losses: list[Loss], body: dict[str, Any], *, home: bool
) -> Iterator[dict[str, Any]]:
    """The entries of `tools` that say these; `home`: the client speaks this dialect too."""
    for n, tool in enumerate(tools):
        if isinstance(tool, ServerTool):
            yield from _server_tool(tool, losses, body, f"tools[{n}]")
        elif tool.custom and home:
            custom = {"name": tool.name, "description": tool.description, "format": _grammar(tool.grammar)}
            yield {"type": "custom", "custom": {k: v for k, v in custom.items() if v is not None}}
        else:
            function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
            function["strict"] = tool.strict
            if tool.custom:  # OpenAI's newest models alone take free text
                function["parameters"] = FREE_SCHEMA
            if tool.custom and read.table(tool.grammar).get("type") not in (None, "text"):
                losses.append(Loss(f"tools[{n}].format", "tools take JSON alone"))
            entry = {"type": "function", "function": {k: v for k, v in function.items() if v is not None}}
            if tool.cache is not None and home:
                entry["cache_control"] = {"type": "ephemeral", **({"ttl": tool.cache.ttl} if tool.cache.ttl else {})}
            elif tool.cache is not None:
                losses.append(Loss(f"tools[{n}].cache_control", "prompts are cached without marks"))
            yield entry
            losses += [Loss(f"tools[{n}].{name}", "tools have no such mark") for name in tool.extras]


def _grammar(value: Any) -> Any:
    """The format of a free-form tool: what it says of a grammar stands one level deeper than in Responses."""
    form = read.table(value)
    if form.get("type") != "grammar":
        return value
    return {"type": "grammar", "grammar": {name: given for name, given in form.items() if name != "type"}}


def _server_tool(tool: ServerTool, losses: list[Loss], body: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """A search of the web is asked for by its options, which OpenAI's models for it alone take ("Web search")."""
    if tool.raw.dialect == NAME and tool.raw.kind == SEARCH:
        body[SEARCH] = tool.raw.data
    elif tool.raw.dialect == NAME:
        yield dict(tool.raw.data)
    elif tool.kind == "web_search" and "-search" in body["model"]:
        size, place = tool.options.get("search_context_size"), dict(read.table(tool.options.get("user_location")))
        said: dict[str, Any] = {} if size is None else {"search_context_size": size}
        if place:
            place.pop("type", None)
            said["user_location"] = {"type": "approximate", "approximate": place}
        body[SEARCH] = said
        known = {"search_context_size", "user_location"}
        losses += [
            Loss(f"{where}.{name}", "the search has no such option") for name in tool.options if name not in known
        ]
    else:
        losses.append(Loss(where, f"there is no built-in tool {tool.kind}"))
