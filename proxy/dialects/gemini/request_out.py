"""A request of the hub, written in generateContent for a provider."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from proxy.dialects import seals
from proxy.dialects.base import Target
from proxy.dialects.blocks import (
    Audio,
    Block,
    Document,
    Foreign,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    ServerCall,
    Text,
    ToolCall,
    ToolResult,
)
from proxy.dialects.gemini.parts import NAME, STAND_IN, media_for, mended, signature_for
from proxy.dialects.gemini.request_in import BUILT_IN, EFFORTS, SAME
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

_BUDGETS: Final = {"minimal": 512, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 24_576}


def write_request(request: Request, target: Target) -> tuple[dict[str, Any], list[Loss]]:
    """See `Dialect`. The model stands in the path."""
    return _Writer(request, target).write()


class _Writer:
    def __init__(self, request: Request, target: Target) -> None:
        self._request = request
        self._target = target
        self._old = target.model.removeprefix("models/").startswith(("gemini-1", "gemini-2"))  # before thinking levels
        self._losses: list[Loss] = []
        self._names = {
            block.id: block.name for turn in request.turns for block in turn.content if isinstance(block, ToolCall)
        }

    def write(self) -> tuple[dict[str, Any], list[Loss]]:
        body: dict[str, Any] = {}
        contents: list[dict[str, Any]] = []
        system: list[dict[str, Any]] = []
        for n, turn in enumerate(self._request.turns):
            parts = list(self._parts(turn, f"messages[{n}].content"))
            if turn.name:
                self._lose(f"messages[{n}].name", "speakers have no names")
            if turn.role in (Role.SYSTEM, Role.DEVELOPER) and not contents:
                system += parts
            elif parts:
                _append(contents, "model" if turn.role is Role.ASSISTANT else "user", parts)
        body["contents"] = contents
        if system:
            body["systemInstruction"] = {"parts": system}
        tools = self._tools(self._request.tools)
        if tools:
            body["tools"] = tools
        self._parameters(body)
        return body, self._losses

    def _lose(self, what: str, why: str, *, content: bool = False) -> None:
        self._losses.append(Loss(what, why, content))

    def _parameters(self, body: dict[str, Any]) -> None:
        config: dict[str, Any] = {}
        said = {"config": config, "body": body, "old": self._old, "losses": self._losses}
        losses = say_params(self._request, _WORDS, said)
        if self._request.home == NAME:
            losses = [loss for loss in losses if loss.what not in self._request.extras]
            for name, value in self._request.extras.items():
                place, _, inner = name.partition(".")
                {"generationConfig": config, "toolConfig": body.setdefault("toolConfig", {})}.get(place, body)[
                    inner or name
                ] = value
        self._losses += losses
        if not body.get("toolConfig") or not body.get("tools"):
            body.pop("toolConfig", None)
        if config:
            body["generationConfig"] = config

    def _parts(self, turn: Turn, where: str) -> Iterator[dict[str, Any]]:
        """Signatures go onto the part that they belong to: the call behind them, or the text before them."""
        waiting: Opaque | None = None
        called = False
        parts: list[dict[str, Any]] = []
        for n, block in enumerate(turn.content):
            at = f"{where}[{n}]"
            if isinstance(block, Reasoning):
                waiting = self._thinking(block, parts, waiting, at)
                continue
            part = self._part(block, at)
            if part is None:
                continue
            if isinstance(block, ToolCall):
                if waiting is not None:
                    part["thoughtSignature"] = signature_for(waiting)
                elif not called and not self._old:
                    part["thoughtSignature"] = STAND_IN  # the newer models refuse a call without any
                called, waiting = True, None
            parts.append(part)
        return iter(parts)

    def _thinking(
        self, block: Reasoning, parts: list[dict[str, Any]], waiting: Opaque | None, at: str
    ) -> Opaque | None:
        seal = block.seal
        if seal is None and block.text and self._request.home == NAME:
            parts.append({"text": block.text, "thought": True})
        elif seal is None or not seals.fits(seal, NAME, self._target.origin):
            self._lose(f"{at} (thinking)", "another connection made it, and only that one can read it")
        elif seal.kind == "call":
            return seal
        elif seal.kind == "part":
            plain = bool(parts) and "text" in parts[-1] and "thought" not in parts[-1]
            if not plain or "thoughtSignature" in parts[-1]:
                parts.append({"text": ""})
            parts[-1]["thoughtSignature"] = signature_for(seal)
        else:
            parts.append({"text": block.text, "thought": True, "thoughtSignature": signature_for(seal)})
        return waiting

    def _part(self, block: Block, at: str) -> dict[str, Any] | None:
        part: dict[str, Any] | None = None
        match block:
            case Text(text=text) | Refusal(text=text):
                part = {"text": text}
            case Image() | Document() | Audio():
                part = media_for(block)
            case ToolCall():
                part = self._call(block, at)
            case ToolResult():
                part = self._result(block, at)
            case ServerCall(raw=raw) | Foreign(raw=raw):
                part = dict(raw.data) if raw.dialect == NAME else None
            case _:
                pass
        if part is None:
            foreign = isinstance(block, ServerCall) or (isinstance(block, Foreign) and not block.content)
            why = "the work of another provider's own tools" if foreign else "it cannot stand in a message"
            self._lose(at, why, content=not foreign)
        elif getattr(block, "cache", None) is not None:
            self._lose(f"{at}.cache_control", "prompts are cached without marks")
        return part

    def _call(self, block: ToolCall, at: str) -> dict[str, Any]:
        given = {"input": block.arguments} if block.custom else decode_object(block.arguments.encode() or b"{}")
        if given is None:
            self._lose(f"{at}.arguments", "they are not a JSON object", content=True)
        call: dict[str, Any] = {"name": block.name, "args": given or {}}
        return {"functionCall": call if self._target.without_ids else {"id": block.id, **call}}

    def _result(self, block: ToolResult, at: str) -> dict[str, Any]:
        """What the tool said: an object as it is, a text as `output` or `error`; media beside it."""
        texts = [inner.text for inner in block.content if isinstance(inner, Text | Refusal)]
        media: list[dict[str, Any]] = []
        for n, inner in enumerate(block.content):
            if isinstance(inner, Text | Refusal):
                continue
            part = self._part(inner, f"{at}.content[{n}]")
            if part is not None and "text" in part:
                texts.append(str(part["text"]))
            elif part is not None:
                media.append(part)
        text = "".join(texts)
        whole = decode_object(text.encode("utf-8", "surrogatepass")) if text.startswith("{") else None
        response: dict[str, Any] = {"output": text} if whole is None else whole
        if block.error:
            response = {"error": text if whole is None else whole}
        name = block.name or self._names.get(block.call_id) or block.call_id
        said: dict[str, Any] = {"name": name, "response": response}
        if not self._target.without_ids:
            said = {"id": block.call_id, **said}
        if media:
            said["parts"] = media
        return {"functionResponse": said}

    def _tools(self, tools: Iterable[Tool | ServerTool]) -> list[dict[str, Any]]:
        declared: list[dict[str, Any]] = []
        entries: list[dict[str, Any]] = []
        own = {kind: key for key, kind in BUILT_IN.items()}
        for n, tool in enumerate(tools):
            if isinstance(tool, Tool):
                if not declared:
                    entries.append({"functionDeclarations": declared})
                declared.append(self._declared(tool, f"tools[{n}]"))
            elif tool.raw.dialect == NAME:
                entries.append(dict(tool.raw.data))
            elif tool.kind in own:
                entries.append({own[tool.kind]: {}})
            else:
                self._lose(f"tools[{n}]", f"there is no built-in tool {tool.kind}")
        return entries

    def _declared(self, tool: Tool, at: str) -> dict[str, Any]:
        schema = tool.schema
        if tool.custom:  # free text in, as an object of one string
            schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
            if tool.grammar is not None:
                self._lose(f"{at}.format", "tools take JSON alone")
        lost: set[str] = set()
        entry: dict[str, Any] = {"name": tool.name, "parametersJsonSchema": mended(schema, lost)}
        if tool.description:
            entry["description"] = tool.description
        for key in sorted(lost):
            self._lose(f"{at}.parameters {key}", "its schemas have no such word")
        if tool.strict:
            self._lose(f"{at}.strict", "tools have no such mark")
        if tool.cache is not None:
            self._lose(f"{at}.cache_control", "prompts are cached without marks")
        if self._request.home == NAME:
            return {**entry, **tool.extras}
        for key in tool.extras:
            self._lose(f"{at}.{key}", "tools have no such mark")
        return entry


def _append(contents: list[dict[str, Any]], role: str, parts: list[dict[str, Any]]) -> None:
    """Results of several calls belong into one content, whatever the client's dialect makes of them."""
    both = contents and contents[-1]["role"] == role
    if both and all("functionResponse" in part for part in (*contents[-1]["parts"], *parts)):
        contents[-1]["parts"] += parts
    else:
        contents.append({"role": role, "parts": parts})


def _in_config(name: str) -> Say:
    def say(value: Any, said: dict[str, Any]) -> None:
        said["config"][name] = value

    return say


def _say_think(value: Think, said: dict[str, Any]) -> None:
    spec: dict[str, Any] = {}
    off = value.enabled is False or value.effort == "none"
    level = {word: name for name, word in EFFORTS.items()}.get("xhigh" if value.effort == "max" else value.effort or "")
    if said["old"]:
        if off:
            spec["thinkingBudget"] = 0
        elif value.budget is not None or level is not None:
            spec["thinkingBudget"] = value.budget or _BUDGETS[str(value.effort)]
        elif value.enabled:
            spec["thinkingBudget"] = -1
    elif off:
        spec["thinkingLevel"] = "MINIMAL"
    elif level is not None:
        spec["thinkingLevel"] = level
    elif value.budget is not None:
        spec["thinkingBudget"] = value.budget
    if not off:
        spec["includeThoughts"] = value.summary != "omitted"
    said["config"]["thinkingConfig"] = spec
    if off and not said["old"]:
        raise Unsayable("thinking cannot be turned off; the least was asked for")


def _say_format(value: Format, said: dict[str, Any]) -> None:
    said["config"]["responseMimeType"] = "application/json"
    if value.schema is None:
        return
    lost: set[str] = set()
    said["config"]["responseJsonSchema"] = mended(value.schema, lost)
    said["losses"] += [Loss(f"response_format.schema {key}", "its schemas have no such word") for key in sorted(lost)]


def _say_choice(value: Choice, said: dict[str, Any]) -> None:
    mode = {"auto": "AUTO", "none": "NONE", "required": "ANY", "tool": "ANY"}.get(value.mode, "AUTO")
    spec: dict[str, Any] = {"mode": "VALIDATED" if mode == "AUTO" and value.names else mode}
    if value.names and mode != "NONE":
        spec["allowedFunctionNames"] = list(value.names)
    said["body"].setdefault("toolConfig", {})["functionCallingConfig"] = spec


def _say_parallel(value: Any, _said: dict[str, Any]) -> None:
    if value is False:
        raise Unsayable("calls may always come together")


def _say_modalities(value: Any, said: dict[str, Any]) -> None:
    said["config"]["responseModalities"] = [str(item).upper() for item in value] if isinstance(value, list) else []


def _say_tier(value: Any, said: dict[str, Any]) -> None:
    word = {"default": "standard", "standard_only": "standard", "flex": "flex", "priority": "priority"}.get(value)
    if word is not None:
        said["body"]["serviceTier"] = word
    elif value != "auto":
        raise Unsayable(f"there is no service tier {value!s:.40}")


def _say_search(_value: Any, said: dict[str, Any]) -> None:
    said["body"].setdefault("tools", []).append({"googleSearch": {}})


_WORDS: Final[Mapping[Param, str | Say]] = {
    **{param: _in_config(name) for name, param in SAME.items()},
    Param.REASONING: _say_think,
    Param.FORMAT: _say_format,
    Param.TOOL_CHOICE: _say_choice,
    Param.PARALLEL_TOOLS: _say_parallel,
    Param.MODALITIES: _say_modalities,
    Param.SERVICE_TIER: _say_tier,
    Param.WEB_SEARCH: _say_search,
}
