"""Real bodies and streams with a few places damaged, as the input says: bytes at random are seldom JSON."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

from fuzz.draw import Draw
from proxy.dialects import sse
from proxy.dialects.base import DialectName, ReplyHead, dialect
from proxy.dialects.blocks import Cite, Count, Finish
from proxy.dialects.events import Answer, Finished, Kind, Piece
from proxy.dialects.request import Request
from tests.support.maximal import MAXIMAL
from tests.support.speech import ALL, PROVIDERS_ONLY, Speech

NAMES = tuple(DialectName)
CLIENTS = tuple(MAXIMAL)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**70, 1.5, float("nan"), float("inf"), "", "x", "\ud83d", "\0", "ü" * 40),
    *([], {}, [[]], [None], {"type": "text"}, {"text": None}, [{"type": "x"}], {"": {}}, "user", "assistant", "tool"),
    *("text", "function", "tool_use", "stop", "[DONE]", "data:image/png;base64,AA==", '{"a": 1}', "{"),
)


def _deep() -> Any:
    value: Any = None
    for _ in range(200):
        value = [value]
    return value


def head(home: DialectName) -> ReplyHead:
    """What answers are written with here."""
    return ReplyHead("req_1", 1_700_000_000, Request(home, "m", ()), "m")


def _answer() -> Answer:
    pieces = [
        Piece(Kind.REASONING, text="let me see"),
        Piece(Kind.TEXT, text="so", cites=[Cite("https://example.com", "t", "q", 0, 2)]),
        Piece(Kind.TOOL_CALL, "call_1", "add", text='{"a": 1}'),
        Piece(Kind.TOOL_CALL, "call_2", "add", text="{}"),
    ]
    return Answer("r1", "m", 1, pieces, {0: Finished(Finish.TOOL_CALLS)}, Count(9, 8, 3, 1, 0, 2))


@cache
def whole(name: DialectName) -> Any:
    """A whole answer that says much, in this dialect."""
    return json.loads(json.dumps(dialect(name).write_answer(_answer(), head(name))))


def speech(name: DialectName) -> Speech:
    """The scripted provider's way of speaking this dialect."""
    return next(spoken for spoken in (*ALL, *PROVIDERS_ONLY) if spoken.name == name.value)


def damaged(draw: Draw, value: Any) -> Any:
    """The value with up to four places taken away, replaced, moved or said twice."""
    out: dict[str, Any] = {"": copy.deepcopy(value)}
    for _ in range(1 + draw.number(4)):
        holder: Any = out
        key: Any = ""
        while isinstance(holder[key], dict | list) and holder[key] and (holder is out or draw.number(4)):
            holder = holder[key]
            key = draw.pick(list(holder) if isinstance(holder, dict) else range(len(holder)))
        _change(draw, holder, key)
        if not isinstance(out.get(""), dict):  # the whole stays an object
            out = {"": {"x": out.get("")}}
    return out[""]


def _change(draw: Draw, holder: Any, key: Any) -> None:
    way = draw.number(8)
    if way == 0:
        holder[key] = _deep()
    elif way == 1:
        del holder[key]
    elif way == 2 and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    elif way == 3 and isinstance(holder, dict):
        other = draw.pick(list(holder))
        holder[key], holder[other] = holder[other], holder[key]
    elif way == 4:
        holder[key] = draw.text()
    elif way == 5:
        holder[key] = [holder[key]]
    else:
        holder[key] = copy.deepcopy(draw.pick(_VALUES))


def frames(draw: Draw, name: DialectName) -> list[bytes]:
    """The frames of a stream, one or more of them damaged, lost, doubled or in another's place."""
    events = speech(name).events("so", "it", "is")
    found = [json.dumps(_dressed(event)).encode() if b"{" in event else event for event in events]
    for _ in range(1 + draw.number(3)):
        at, way = draw.number(len(found)), draw.number(6)
        if way == 0 and len(found) > 1:
            del found[at]
        elif way == 1:
            found.insert(at, found[draw.number(len(found))])
        elif found[at].startswith(b"{"):
            found[at] = json.dumps(damaged(draw, json.loads(found[at]))).encode()
    return [_framed(name, data) for data in found]


def _dressed(event: bytes) -> Any:
    """What a frame says, with its name where only the frame has that."""
    start = event.index(b"{")
    value, _ = json.JSONDecoder().raw_decode(event[start:].decode("utf-8", "replace"))
    kind = event[:start].partition(b":event-type\x07")[2]
    return {**value, "\0kind": kind[2 : 2 + int.from_bytes(kind[:2], "big")].decode()} if kind else value


def _framed(name: DialectName, data: bytes) -> bytes:
    if name is DialectName.OLLAMA:
        return data + b"\n"
    if name is not DialectName.CONVERSE:
        return data if not data.startswith(b"{") else sse.frame(data)
    from tests.support.upstream import amazon_frame

    value = json.loads(data)
    kind = value.pop("\0kind", "x") if isinstance(value, dict) else "x"
    headers = {":event-type": kind if isinstance(kind, str) and kind.isascii() else "x", ":message-type": "event"}
    return amazon_frame(json.dumps(value).encode(), headers)
