"""A request in Cohere's Chat, read into the hub: as Chat Completions has it, but for what is here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from proxy.dialects import read
from proxy.dialects.blocks import Block, Document, Foreign, Opaque, Reasoning, Source, Text, ToolResult
from proxy.dialects.chat.request_in import tools_of, turn_of
from proxy.dialects.cohere_chat.cites import NAME, cites_of
from proxy.dialects.json import encode
from proxy.dialects.request import Choice, Format, Param, Request, Think, Turn, checked

SAME: Final = {
    "max_tokens": Param.MAX_TOKENS,
    "temperature": Param.TEMPERATURE,
    "p": Param.TOP_P,
    "k": Param.TOP_K,
    "seed": Param.SEED,
    "stop_sequences": Param.STOP,
    "presence_penalty": Param.PRESENCE_PENALTY,
    "frequency_penalty": Param.FREQUENCY_PENALTY,
    "logprobs": Param.LOGPROBS,
}
_STRUCTURE: Final = frozenset({"model", "messages", "tools", "stream", "strict_tools"})


def read_request(body: Mapping[str, Any]) -> Request:
    """See `Dialect`."""
    turns = tuple(
        _turn(message, f"messages[{n}]") for n, message in enumerate(read.must_list(body.get("messages"), "messages"))
    )
    request = Request(NAME, read.text(body.get("model")) or None, turns, stream=body.get("stream") is True)
    strict = True if body.get("strict_tools") is True else None
    request.tools = tuple(
        replace(tool, strict=tool.strict or strict) if hasattr(tool, "strict") else tool for tool in tools_of(body)
    )
    for name, value in body.items():
        if name in _STRUCTURE or value is None:
            continue
        if name in SAME:
            request.params[SAME[name]] = value
            request.names[SAME[name]] = name
        elif name not in _READ or not _READ[name](value, request):
            request.extras[name] = value
    return checked(request)


def _turn(message: object, where: str) -> Turn:
    """A message: documents are Cohere's own form of what tools say, the plan is thinking beside the calls."""
    said = read.must_table(message, where)
    turn = turn_of({**said, "content": _parts(said.get("content"))}, where)
    plan = read.text(said.get("tool_plan"))
    blocks = tuple(
        replace(block, content=tuple(_document(inner) for inner in block.content))
        if isinstance(block, ToolResult)
        else _document(block)
        for block in turn.content
    )
    blocks = _cited(blocks, read.rows(said.get("citations")))
    return replace(turn, content=(*((Reasoning(plan, summary=True),) if plan else ()), *blocks))


def _cited(blocks: tuple[Block, ...], rows: list[Mapping[str, Any]]) -> tuple[Block, ...]:
    """Each citation with the text that it is of: the one that it names, or the last."""
    texts = [n for n, block in enumerate(blocks) if isinstance(block, Text)]
    found = list(blocks)
    for row in rows:
        at = row.get("content_index") if row.get("content_index") in texts else texts[-1] if texts else None
        block = found[at] if isinstance(at, int) else None
        if isinstance(at, int) and isinstance(block, Text):
            found[at] = replace(block, cites=(*block.cites, *cites_of(row)))
    return tuple(found)


def _parts(content: Any) -> Any:
    """Thinking stands in a text here, in a list of texts in the parts that Mistral has."""
    if not isinstance(content, list):
        return content
    return [
        {**part, "thinking": [{"text": part["thinking"]}]}
        if isinstance(part, dict) and isinstance(part.get("thinking"), str)
        else part
        for part in content
    ]


def _document(block: Any) -> Any:
    if not isinstance(block, Foreign) or block.raw.kind != "document":
        return (
            Foreign(Opaque(NAME, block.raw.kind, block.raw.data), block.content)
            if isinstance(block, Foreign)
            else block
        )
    document = read.table(block.raw.data.get("document"))
    data = document.get("data")
    words = data if isinstance(data, str) else encode(data).decode()
    return Document(Source(text=words, media_type="text/plain"), read.text(document.get("id")) or None)


def _read_choice(value: Any, request: Request) -> bool:
    mode = {"REQUIRED": "required", "NONE": "none"}.get(read.text(value).upper())
    if mode is not None:
        request.params[Param.TOOL_CHOICE] = Choice(mode)
    return mode is not None


def _read_format(value: Any, request: Request) -> bool:
    form = read.table(value)
    if form.get("type") == "json_object":
        request.params[Param.FORMAT] = Format(form.get("json_schema") or form.get("schema"))
        request.names[Param.FORMAT] = "response_format"
    return form.get("type") in ("json_object", "text")


def _read_thinking(value: Any, request: Request) -> bool:
    spec = read.table(value)
    enabled = {"enabled": True, "disabled": False}.get(read.text(spec.get("type")))
    request.params[Param.REASONING] = Think(budget=read.number(spec.get("token_budget")) or None, enabled=enabled)
    request.names[Param.REASONING] = "thinking"
    return enabled is not None


_READ: Final = {"tool_choice": _read_choice, "response_format": _read_format, "thinking": _read_thinking}
