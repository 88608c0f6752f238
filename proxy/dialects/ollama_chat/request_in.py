"""A request in Ollama's chat, read into the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.dialects import read
from proxy.dialects.base import DialectName
from proxy.dialects.blocks import Block, Image, Reasoning, Source, Text, ToolCall, ToolResult
from proxy.dialects.chat.request_in import tools_of
from proxy.dialects.json import encode
from proxy.dialects.request import BadRequest, Format, Param, Request, Role, Think, Turn, checked

NAME: Final = DialectName.OLLAMA
OPTIONS: Final = {
    "num_predict": Param.MAX_TOKENS,
    "temperature": Param.TEMPERATURE,
    "top_p": Param.TOP_P,
    "top_k": Param.TOP_K,
    "min_p": Param.MIN_P,
    "seed": Param.SEED,
    "stop": Param.STOP,
    "presence_penalty": Param.PRESENCE_PENALTY,
    "frequency_penalty": Param.FREQUENCY_PENALTY,
}
SAME: Final = {"logprobs": Param.LOGPROBS, "top_logprobs": Param.TOP_LOGPROBS}
_STRUCTURE: Final = frozenset({"model", "messages", "tools", "stream", "options", "format", "think"})


def read_request(body: Mapping[str, Any]) -> Request:
    """See `Dialect`. A stream is what comes where nothing else is said."""
    calls: dict[str, list[str]] = {}
    turns = tuple(
        _turn(message, f"messages[{n}]", n, calls)
        for n, message in enumerate(read.must_list(body.get("messages"), "messages"))
    )
    request = Request(NAME, read.text(body.get("model")) or None, turns, stream=body.get("stream") is not False)
    request.tools = tuple(tools_of({"tools": body.get("tools")}))
    for name, value in body.items():
        if name in SAME and value is not None:
            request.params[SAME[name]] = value
        elif name not in _STRUCTURE and value is not None:
            request.extras[name] = value
    for name, value in read.table(body.get("options")).items():
        if name in OPTIONS:
            request.params[OPTIONS[name]] = [value] if name == "stop" and isinstance(value, str) else value
            request.names[OPTIONS[name]] = f"options.{name}"
        elif value is not None:
            request.extras[f"options.{name}"] = value
    form, think = body.get("format"), body.get("think")
    if form == "json" or isinstance(form, dict):
        request.params[Param.FORMAT] = Format(form if isinstance(form, dict) else None)
        request.names[Param.FORMAT] = "format"
    if form is not None and form != "" and Param.FORMAT not in request.params:
        request.extras["format"] = form
    if isinstance(think, bool | str):
        effort = think if isinstance(think, str) else None
        request.params[Param.REASONING] = Think(effort, enabled=think if isinstance(think, bool) else None)
        request.names[Param.REASONING] = "think"
    return checked(request)


def _turn(message: object, where: str, number: int, calls: dict[str, list[str]]) -> Turn:
    said = read.must_table(message, where)
    role = said.get("role")
    if role == "tool":
        name = read.text(said.get("tool_name"))
        waiting = calls.get(name) or next((ids for ids in calls.values() if ids), [])
        ident = read.text(said.get("tool_call_id")) or (waiting[0] if waiting else f"call_{name}")
        if ident in waiting:
            waiting.remove(ident)
        content: tuple[Block, ...] = (Text(read.text(said.get("content"))), *_images(said))
        return Turn(Role.USER, (ToolResult(ident, content, name or None),))
    if role not in ("system", "user", "assistant"):
        raise BadRequest(f"`{where}.role` must be system, user, assistant or tool", f"{where}.role")
    return Turn(Role(role), tuple(_blocks(said, number, calls)))


def _blocks(said: Mapping[str, Any], number: int, calls: dict[str, list[str]]) -> Iterator[Block]:
    if said.get("thinking"):
        yield Reasoning(read.text(said["thinking"]))
    if said.get("content"):
        yield Text(read.text(said["content"]))
    yield from _images(said)
    for n, call in enumerate(read.rows(said.get("tool_calls"))):
        function = read.table(call.get("function"))
        name = read.text(function.get("name"))
        ident = read.text(call.get("id")) or f"call_{number}_{n}"
        calls.setdefault(name, []).append(ident)
        yield ToolCall(ident, name, encode(function.get("arguments") or {}).decode())


_KINDS: Final = (("/9j/", "image/jpeg"), ("R0lG", "image/gif"), ("UklG", "image/webp"))


def _images(said: Mapping[str, Any]) -> Iterator[Image]:
    """Ollama does not say of what kind a picture is: its first bytes do."""
    images = said.get("images")
    for data in images if isinstance(images, list) else ():
        text = read.text(data)
        kind = next((kind for start, kind in _KINDS if text.startswith(start)), "image/png")
        yield Image(Source(data=text, media_type=kind))
