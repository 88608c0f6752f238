"""Tools in a request in generateContent.

Sources: Gemini API docs, "Function calling", "Grounding with Google Search", "Tool combination"; read 2026-11.
"""

from __future__ import annotations

from typing import Any, Final

from proxy.dialects.gemini.parts import NAME
from proxy.dialects.gemini.request_in import BUILT_IN
from proxy.dialects.gemini.schemas import mended
from proxy.dialects.request import Loss, Request, ServerTool, Tool

_OWN: Final = {kind: key for key, kind in BUILT_IN.items()}


def tools_out(request: Request, losses: list[Loss]) -> list[dict[str, Any]]:
    """The entries of the request's tools, and what they cannot say.

    Functions and built-in tools go together in newer models alone, and there in one way with the Gemini API and in
    another with Vertex AI: who did not ask for it in this dialect gets the functions.
    """
    declared: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    both = request.home == NAME or not any(isinstance(tool, Tool) for tool in request.tools)
    for n, tool in enumerate(request.tools):
        at = f"tools[{n}]"
        if isinstance(tool, Tool):
            if not declared:
                entries.append({"functionDeclarations": declared})
            declared.append(_declared(tool, at, request.home, losses))
        elif tool.raw.dialect == NAME:
            entries.append(dict(tool.raw.data))
        elif tool.kind not in _OWN:
            losses.append(Loss(at, f"there is no built-in tool {tool.kind}"))
        elif not both:
            losses.append(Loss(at, "built-in tools do not go with functions"))
        else:
            entries.append({_OWN[tool.kind]: {}})
            losses += _options(tool, at)
    return entries


def _options(tool: ServerTool, at: str) -> list[Loss]:
    told = {name for name, value in tool.options.items() if value not in (None, {}, [])} - {"type", "name"}
    return [Loss(f"{at}.{name}", f"{_OWN[tool.kind]} has no such option") for name in sorted(told)]


def _declared(tool: Tool, at: str, home: str, losses: list[Loss]) -> dict[str, Any]:
    schema = tool.schema
    if tool.custom:  # free text in, as an object of one string
        schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
        if tool.grammar is not None:
            losses.append(Loss(f"{at}.format", "tools take JSON alone"))
    entry: dict[str, Any] = {"name": tool.name, "parametersJsonSchema": schema}
    if tool.description:
        entry["description"] = tool.description
    if home == NAME:
        return {**entry, **tool.extras}
    lost: set[str] = set()
    entry["parametersJsonSchema"] = mended(schema, lost)
    losses += [Loss(f"{at}.parameters {key}", "its schemas have no such word") for key in sorted(lost)]
    if tool.strict:
        losses.append(Loss(f"{at}.strict", "tools have no such mark"))
    if tool.cache is not None:
        losses.append(Loss(f"{at}.cache_control", "prompts are cached without marks"))
    losses += [Loss(f"{at}.{key}", "tools have no such mark") for key in tool.extras]
    return entry
