"""Tools, and how they are chosen, in a request in Anthropic Messages.

Sources: Claude docs, "Define tools", "Web search tool", "Web fetch tool", "Code execution tool"; read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.dialects import read
from proxy.dialects.base import DialectName
from proxy.dialects.blocks import Cache
from proxy.dialects.messages.schemas import compiled, rooted
from proxy.dialects.names import plain
from proxy.dialects.request import Choice, Loss, Request, ServerTool, Tool

NAME: Final = DialectName.MESSAGES
_BUILT_IN: Final = {
    "web_search": "web_search_20250305",
    "web_fetch": "web_fetch_20250910",
    "code_execution": "code_execution_20260120",
}
_WHERE: Final = ("city", "region", "country", "timezone")
_DOMAINS: Final = ("allowed_domains", "blocked_domains")


def marked(entry: dict[str, Any], cache: Cache | None) -> dict[str, Any]:
    """The entry with its mark of the prompt cache, if it has one."""
    if cache is not None:
        entry["cache_control"] = {"type": "ephemeral", **({"ttl": cache.ttl} if cache.ttl else {})}
    return entry


def tools_out(request: Request, losses: list[Loss]) -> Iterator[dict[str, Any]]:
    """The entries of the request's tools, and what they cannot say."""
    for n, tool in enumerate(request.tools):
        if isinstance(tool, Tool):
            yield marked(_function(tool, f"tools[{n}]", request.home, losses), tool.cache)
        elif tool.raw.dialect == NAME:
            yield dict(tool.raw.data)
        elif tool.kind in _BUILT_IN:
            yield _built_in(tool, f"tools[{n}]", losses)
        else:
            losses.append(Loss(f"tools[{n}]", f"there is no built-in tool {tool.kind}"))


def _function(tool: Tool, at: str, home: str, losses: list[Loss]) -> dict[str, Any]:
    schema = tool.schema
    if tool.custom:  # free text in, as an object of one string
        schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
        if tool.grammar is not None:
            losses.append(Loss(f"{at}.format", "tools take JSON alone"))
    entry: dict[str, Any] = {"name": plain(tool.name), "input_schema": schema}
    if tool.description:
        entry["description"] = tool.description
    if tool.strict is not None:
        entry["strict"] = tool.strict
    if home == NAME:
        return {**entry, **tool.extras}
    losses += [Loss(f"{at}.{name}", "tools have no such mark") for name in tool.extras]
    return _fitting(entry, at, losses)


def _fitting(entry: dict[str, Any], at: str, losses: list[Loss]) -> dict[str, Any]:
    """A tool whose schema is another dialect's: an object at its root, and strict only where that can be."""
    lost: set[str] = set()
    entry["input_schema"] = rooted(entry["input_schema"], lost)
    losses += [Loss(f"{at}.parameters {key}", "alternatives cannot stand at the root") for key in sorted(lost)]
    if entry.get("strict"):
        schema = compiled(entry["input_schema"], lost)
        if lost:  # better all of the schema as advice than some of it as law
            del entry["strict"]
            losses.append(Loss(f"{at}.strict", f"strict tools have no {', '.join(sorted(lost))}"))
        else:
            entry["input_schema"] = schema
    return entry


def _built_in(tool: ServerTool, at: str, losses: list[Loss]) -> dict[str, Any]:
    """The provider's own tool of the same kind; of its options, what both have."""
    entry: dict[str, Any] = {"type": _BUILT_IN[tool.kind], "name": tool.kind}
    options = {name: value for name, value in tool.options.items() if value not in (None, {}, []) and name != "type"}
    if tool.kind in ("web_search", "web_fetch"):
        filters = dict(read.table(options.pop("filters", None)))
        for name in _DOMAINS:
            domains = filters.pop(name, None) or options.pop(name, None)
            if domains and not (name == "blocked_domains" and "allowed_domains" in entry):
                entry[name] = domains
        options |= {f"filters.{name}": value for name, value in filters.items()}
    if tool.kind == "web_search" and isinstance(options.get("user_location"), dict):
        entry |= _located(options.pop("user_location"))
    losses += [Loss(f"{at}.{name}", f"{tool.kind} has no such option") for name in options]
    return entry


def _located(place: Mapping[str, Any]) -> dict[str, Any]:
    given = read.table(place.get("approximate")) or place
    known = {name: given[name] for name in _WHERE if given.get(name)}
    return {"user_location": {"type": "approximate", **known}} if known else {}


def say_choice(value: Choice, body: dict[str, Any]) -> None:
    """Which tools may or must be called."""
    mode = {"required": "any"}.get(value.mode, value.mode)
    kept = body.get("tool_choice") or {}
    if value.names and value.mode != "tool":
        allowed = {plain(name) for name in value.names}
        body["tools"] = [tool for tool in body.get("tools", []) if tool.get("name") in allowed]
    if mode == "none":
        kept = {}  # nothing is said of calls that may not be
    body["tool_choice"] = {**kept, "type": mode, **({"name": plain(value.names[0])} if mode == "tool" else {})}


def say_parallel(value: Any, body: dict[str, Any]) -> None:
    """Whether calls may come together."""
    choice = body.get("tool_choice")
    if choice is not None and choice.get("type") == "none":
        return
    if value is False:
        body["tool_choice"] = {"type": "auto", **(choice or {}), "disable_parallel_tool_use": True}
    elif choice is not None:
        choice["disable_parallel_tool_use"] = False
