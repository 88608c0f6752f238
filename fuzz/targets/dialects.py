"""Requests and answers of every dialect: read or refused, and what was read can be written in any other."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from fuzz import damage
from fuzz.damage import NAMES, head
from fuzz.draw import Draw
from proxy.dialects import sse
from proxy.dialects.base import DialectName, Target, Unreadable, dialect
from proxy.dialects.events import Broken, Event, Laws, fold, unfold
from proxy.dialects.json import decode_object
from proxy.dialects.request import BadRequest
from tests.support.maximal import MAXIMAL


def _body(draw: Draw, value: Any) -> dict[str, Any] | None:
    """A real body, damaged, as it comes over a wire; or JSON as the input has it."""
    if draw.number(3) == 0:
        return decode_object(draw.rest())
    return decode_object(json.dumps(damage.damaged(draw, value)).encode())


def requests(data: bytes) -> None:
    """A request is read or refused; what is written for another dialect is JSON, and that is read or refused again."""
    draw = Draw(data)
    here, there = draw.pick(damage.CLIENTS), draw.pick(NAMES)
    body = _body(draw, MAXIMAL[here])
    if body is None:
        return
    try:
        request = dialect(here).read_request(body)
    except BadRequest:
        return
    written, losses = dialect(there).write_request(request, Target("o", "m"))
    assert all(loss.what and loss.why for loss in losses)
    try:
        dialect(there).read_request(json.loads(json.dumps(written)))
    except BadRequest:
        return


def answers(data: bytes) -> None:
    """A whole answer is read or refused; folded and unfolded it is the same; it can be written in any dialect."""
    draw = Draw(data)
    name, there = draw.pick(NAMES), draw.pick(NAMES)
    body = _body(draw, damage.whole(name))
    if body is None:
        return
    try:
        answer = fold(dialect(name).read_answer(body, "o"))
    except (Unreadable, Broken):
        return
    assert fold(unfold(answer)) == answer or "nan" in repr(answer)
    json.dumps(dialect(there).write_answer(answer, head(there)))


def _heard(name: DialectName, pieces: list[bytes]) -> tuple[list[Event], bool]:
    """The events of a stream in these pieces, and whether it was refused."""
    parser = dialect(name).parser("o")
    found: list[Event] = []
    try:
        for piece in pieces:
            found += parser.feed(piece)
        return [*found, *parser.close()], False
    except (Unreadable, sse.EventTooLarge):
        return found, True


def parsers(data: bytes) -> None:
    """A stream is read or refused, the same in any pieces; its events are lawful and can be told in any dialect."""
    draw = Draw(data)
    name, there = draw.pick(NAMES), draw.pick(NAMES)
    places = sorted({draw.number(2048) for _ in range(6)})
    stream = b"".join(damage.frames(draw, name)) if draw.number(3) else draw.rest()
    edges = [0, *(place for place in places if place < len(stream)), len(stream)]
    events, refused = _heard(name, [stream[a:b] for a, b in pairwise(edges)])
    whole, also = _heard(name, [stream])
    assert refused == also
    if not refused:
        assert _said(whole) == _said(events)
    laws, written = Laws(), dialect(there).renderer(head(there))
    for event in events:
        written.event(laws.see(event))


def _said(events: list[Event]) -> Any:
    """What the events say, whatever the fragments."""
    rows: list[list[Any]] = []
    for event in events:
        row = [type(event).__name__, getattr(event, "index", None), getattr(event, "text", None)]
        if rows and row[0] == rows[-1][0] == "BlockDelta" and row[1] == rows[-1][1]:
            rows[-1][2] += row[2]
        else:
            rows.append(row)
    return rows
