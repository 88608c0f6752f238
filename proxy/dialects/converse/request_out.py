"""A request of the hub, written in Converse for a provider."""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final

from proxy.dialects import seals
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
    plainly,
)
from proxy.dialects.converse.params import caches, called, maker, write_params
from proxy.dialects.converse.parts import NAME, cited_for, media_for, thinking_for
from proxy.dialects.request import Loss, Request, Role, ServerTool, Tool, Turn
from proxy.dialects.shown import shown
from proxy.dialects.toolbox import given_to

_IDENT: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_TOOL: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_STATUS: Final = ("", "anthropic", "amazon")  # whose models know that a tool failed ("ToolResultBlock")
_MEDIA: Final = frozenset({"image", "document", "video", "audio"})
# What may stand where (the unions of botocore's model; "Message" for the media of the model's turns).
_SYSTEM: Final = frozenset({"text", "guardContent", "cachePoint"})
_RESULT: Final = frozenset({"text", "json", "image", "document", "video", "searchResult", "cachePoint"})


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
        self._place = ""  # what is written: system, user, assistant, result

    def write(self) -> tuple[dict[str, Any], list[Loss]]:
        body: dict[str, Any] = {}
        system: list[dict[str, Any]] = []
        messages: list[dict[str, Any]] = []
        for n, turn in shown(self._request.turns):
            instructs = turn.role in (Role.SYSTEM, Role.DEVELOPER) and not messages
            self._place = "system" if instructs else turn.role.value
            entries = [e for m, b in enumerate(turn.content) for e in self._entries(b, f"messages[{n}].content[{m}]")]
            if turn.name:
                self._lose(f"messages[{n}].name", "speakers have no names")
            if instructs:
                system += entries
            elif entries:
                _append(messages, turn, entries)
        for message in messages:
            self._check(message)
        body["messages"] = messages
        if system:
            body["system"] = system
        tools = [entry for n, tool in enumerate(self._request.tools) for entry in self._tool(tool, f"tools[{n}]")]
        if tools or called(messages):
            body["toolConfig"] = {"tools": tools or [_forgotten(name) for name in called(messages)]}
        self._losses += write_params(self._request, self._target.model, body)
        return body, self._losses

    def _check(self, message: dict[str, Any]) -> None:
        """What holds for a whole message: results come first, and documents have words beside them."""
        content = message["content"]
        if message["role"] == "user":
            groups: list[list[dict[str, Any]]] = []
            for entry in content:
                if "cachePoint" in entry and groups:
                    groups[-1].append(entry)
                else:
                    groups.append([entry])
            groups.sort(key=lambda group: "toolResult" not in group[0])
            message["content"] = [entry for group in groups for entry in group]
        if any("document" in entry for entry in content) and not any("text" in entry for entry in content):
            self._lose("messages.content (document)", "a document needs a text beside it", content=True)

    def _lose(self, what: str, why: str, *, content: bool = False) -> None:
        self._losses.append(Loss(what, why, content))

    def _entries(self, block: Block, at: str) -> Iterator[dict[str, Any]]:
        if isinstance(block, Text | Refusal) and not block.text:
            return  # an empty one is refused
        entry = self._entry(block, at)
        if entry is not None and self._stands(entry):
            yield entry
            yield from self._point(getattr(block, "cache", None), at)
            if isinstance(block, Image) and block.detail not in (None, "auto"):
                self._lose(f"{at}.detail", "there is no such mark")
            if isinstance(block, ToolResult) and self._points:
                yield self._points.pop()
        elif isinstance(block, Reasoning):
            self._lose(f"{at} (thinking)", "another connection made it, and only that one can read it")
        elif isinstance(block, ServerCall) or (isinstance(block, Foreign) and not block.content):
            self._lose(at, "the work of another provider's own tools")
        else:
            self._lose(at, f"{plainly(block)} cannot stand in such a message", content=True)

    def _stands(self, entry: dict[str, Any]) -> bool:
        kind = next(iter(entry), "")
        if self._place == "system":
            return kind in _SYSTEM
        if self._place == "result":
            return kind in _RESULT
        return self._place != Role.ASSISTANT or kind not in _MEDIA

    def _point(self, cache: Cache | None, at: str) -> Iterator[dict[str, Any]]:
        """The mark behind which the prompt may be cached."""
        if cache is None:
            return
        if not caches(self._target.model):
            self._lose(f"{at}.cache_control", "this model's prompts are cached without marks, if at all")
            return
        nova = maker(self._target.model) == "amazon"
        if cache.ttl and nova:
            self._lose(f"{at}.cache_control.ttl", "this model caches for five minutes")
        yield {"cachePoint": {"type": "default", **({"ttl": cache.ttl} if cache.ttl and not nova else {})}}

    def _entry(self, block: Block, at: str) -> dict[str, Any] | None:
        match block:
            case Text(cites=cites) if cites and all(c.raw and c.raw.dialect == NAME for c in cites):
                return cited_for(block.text, cites)
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
        given = given_to(block)
        if given is None:
            self._lose(f"{at}.arguments", "they are not a JSON object", content=True)
        self._named(block.name, at)
        return {"toolUse": {"toolUseId": _ident(block.id), "name": block.name, "input": given or {}}}

    def _named(self, name: str, at: str) -> None:
        if _TOOL.fullmatch(name) is None:
            self._lose(f"{at}.name", "a tool's name is at most 64 letters, digits, _ and -", content=True)

    def _result(self, block: ToolResult, at: str) -> dict[str, Any]:
        outside, self._place = self._place, "result"
        listed = [e for n, inner in enumerate(block.content) for e in self._entries(inner, f"{at}.content[{n}]")]
        self._place = outside
        content: list[dict[str, Any]] = []
        points: list[dict[str, Any]] = []
        for entry in listed:
            (points if "cachePoint" in entry else content).append(entry)
        said: dict[str, Any] = {"toolUseId": _ident(block.call_id), "content": content or [{"text": ""}]}
        if block.error and maker(self._target.model) in _STATUS:
            said["status"] = "error"
        elif block.error:
            self._lose(f"{at}.is_error", "results for this model have no such mark; their text stands")
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
        self._named(tool.name, at)
        spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": _object(schema)}}
        if tool.description:
            spec["description"] = tool.description
        if tool.strict:  # not all models know the field, and off is what they all are without it
            spec["strict"] = True
        for name in tool.extras:
            self._lose(f"{at}.{name}", "tools have no such mark")
        yield {"toolSpec": spec}
        if maker(self._target.model) != "amazon":
            yield from self._point(tool.cache, at)
        elif tool.cache is not None:  # Nova has marks in messages and instructions alone
            self._lose(f"{at}.cache_control", "this model's tools take no mark")


def _ident(ident: str) -> str:
    """The id of a call in the letters that are allowed; the same for the call and for its result."""
    return (
        ident if _IDENT.fullmatch(ident) else f"call_{sha256(ident.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
    )


def _object(schema: Any) -> dict[str, Any]:
    """The schema of a tool's input, which has to say that it is an object."""
    given = schema if isinstance(schema, dict) else {}
    return given if "type" in given else {"type": "object", "properties": {}, **given}


def _forgotten(name: str) -> dict[str, Any]:
    """A tool that was called earlier and is no longer offered: calls among the messages need it named."""
    return {"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}}


def _append(messages: list[dict[str, Any]], turn: Turn, entries: list[dict[str, Any]]) -> None:
    """Turns of one role in a row are one message: the roles must alternate."""
    role = "assistant" if turn.role is Role.ASSISTANT else "user"
    if messages and messages[-1]["role"] == role:
        messages[-1]["content"] += entries
    else:
        messages.append({"role": role, "content": entries})
