"""What the benchmark of translation translates: streams of answers and a large request, as bytes in each dialect.

One answer and one question are made in the hub and written in every dialect, so that all of them say the same.
"""

from __future__ import annotations

import json
from typing import Any

from proxy.dialects.base import DialectName, ReplyHead, Target, dialect
from proxy.dialects.blocks import Count, Finish
from proxy.dialects.events import (
    BlockDelta,
    BlockEnd,
    BlockStart,
    Counted,
    Done,
    Event,
    Finished,
    Kind,
    Started,
)
from proxy.dialects.request import Request

MODELS = {
    DialectName.CHAT: "gpt-4o",
    DialectName.RESPONSES: "gpt-4o",
    DialectName.MESSAGES: "claude-sonnet-4-5",
    DialectName.GEMINI: "gemini-2.5-flash",
    DialectName.CONVERSE: "anthropic.claude-3-5-sonnet-20240620-v1:0",
}
DELTAS = 200
_WORDS = (
    "Every gateway translates; few say what it costs to do it, delta by delta, \u2014 caf\u00e9 and \U0001f600 too. "
)
_CODE = "def area(shapes):\n    return {name: sum({x * y for x, y in it}) for name, it in shapes.items()}\n\n"


def _cut(text: str, pieces: int) -> list[str]:
    size = max(1, -(-len(text) // pieces))
    return [text[n : n + size] for n in range(0, len(text), size)]


def words(pieces: int = DELTAS) -> list[str]:
    """The deltas of a text, about 20 characters each."""
    return _cut((_WORDS * (pieces // 4 + 1))[: 20 * pieces], pieces)


def arguments(pieces: int = DELTAS) -> list[str]:
    """The fragments of one call's arguments: a file of code, full of braces, as coding agents write them."""
    code = (_CODE * (pieces // 4 + 1))[: 20 * pieces - 100]
    return _cut(json.dumps({"path": "src/shapes.py", "content": code}), pieces)


def answer(kind: Kind, deltas: list[str]) -> list[Event]:
    """An answer of one block."""
    call = kind is Kind.TOOL_CALL
    return [
        Started("answer_01", "the-model", 1_760_000_000),
        BlockStart(0, kind, "call_0123456789abcdef" if call else "", "write_file" if call else ""),
        *(BlockDelta(0, text) for text in deltas),
        BlockEnd(0),
        Counted(Count(input=2300, output=400, cached=2048)),
        Finished(Finish.TOOL_CALLS if call else Finish.STOP),
        Done(),
    ]


def head(name: DialectName) -> ReplyHead:
    """What an answer is written with for a client of this dialect."""
    return ReplyHead("req_01", 1_760_000_000, Request(home=name.value, model="the-model", turns=()), "the-model")


def stream(name: DialectName, kind: Kind, deltas: list[str]) -> list[bytes]:
    """The answer as a provider of this dialect streams it: one event a chunk."""
    renderer = dialect(name).renderer(head(name))
    chunks = [renderer.event(event) for event in answer(kind, deltas)]
    return [piece for chunk in chunks if chunk for piece in _events(name, chunk)]


def _events(name: DialectName, chunk: bytes) -> list[bytes]:
    if name is DialectName.CONVERSE:
        return [chunk]
    return [event + b"\n\n" for event in chunk.split(b"\n\n") if event]


def _schema(n: int) -> dict[str, Any]:
    fields: dict[str, Any] = {
        f"field_{k}": {
            "type": ["string", "integer", "boolean"][k % 3],
            "description": f"What field {k} of tool {n} is for, said in a sentence of the usual length.",
        }
        for k in range(5)
    }
    fields["options"] = {
        "type": "object",
        "properties": {"mode": {"type": "string", "enum": ["fast", "careful"]}, "limit": {"type": "integer"}},
        "required": ["mode"],
    }
    fields["paths"] = {"type": "array", "items": {"type": "string"}, "description": "The files that it is about."}
    return {"type": "object", "properties": fields, "required": ["field_0", "paths"]}


def _turns(n: int) -> list[dict[str, Any]]:
    call = {"name": f"tool_{n % 25}", "arguments": json.dumps({"field_0": f"value {n}", "paths": [f"src/{n}.py"]})}
    said = _WORDS * 3
    return [
        {"role": "user", "content": f"{n}. {said}"},
        {
            "role": "assistant",
            "content": f"I look at it. {_WORDS}",
            "tool_calls": [{"id": f"call_{n:016d}", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": f"call_{n:016d}", "content": _CODE * 9},
        {"role": "assistant", "content": f"Done with {n}. {_WORDS}"},
    ]


def question() -> dict[str, Any]:
    """What a coding agent sends in the middle of its work, in Chat: about 100 kB."""
    tools = [
        {
            "type": "function",
            "function": {"name": f"tool_{n}", "description": f"Tool {n}. {_WORDS * 2}", "parameters": _schema(n)},
        }
        for n in range(25)
    ]
    turns = [turn for n in range(40) for turn in _turns(n)]
    return {
        "model": MODELS[DialectName.CHAT],
        "messages": [
            {"role": "system", "content": _WORDS * 150},
            *turns,
            {"role": "user", "content": "Go on."},
        ],
        "tools": tools,
        "tool_choice": "auto",
        "temperature": 0.2,
        "max_tokens": 4096,
        "stream": True,
    }


def request_bytes(name: DialectName) -> bytes:
    """The question as a client of this dialect sends it."""
    asked = question()
    if name is not DialectName.CHAT:
        read = dialect(DialectName.CHAT).read_request(asked)
        read.model, read.stream = MODELS[name], True
        asked, _ = dialect(name).write_request(read, Target("nobody", MODELS[name]))
    return json.dumps(asked, ensure_ascii=False, separators=(",", ":")).encode()
