"""The recorded exchanges as the hub reads them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from proxy.dialects.base import Dialect, DialectName, ReplyHead, dialect
from proxy.dialects.events import Answer, Broken, Event, Laws, fold
from proxy.dialects.request import Request

DIALECTS = {
    "openai.chat": DialectName.CHAT,
    "anthropic.messages": DialectName.MESSAGES,
    "openai.responses": DialectName.RESPONSES,
    "gemini.generate": DialectName.GEMINI,
    "bedrock.converse": DialectName.CONVERSE,
    "cohere.chat": DialectName.COHERE,
}
CLIENTS = (DialectName.CHAT, DialectName.MESSAGES, DialectName.RESPONSES, DialectName.GEMINI)


def head(home: DialectName) -> ReplyHead:
    """What answers are written with here."""
    return ReplyHead("req_1", 1_700_000_000, Request(home, "m", ()), "m")


@cache
def _all(recordings: Path, of: DialectName) -> tuple[dict[str, Any], ...]:
    name = next((key for key, value in DIALECTS.items() if value is of), None)
    return tuple(json.loads(path.read_bytes()) for path in sorted(recordings.glob(f"*/{name}/*.json")))


def answers(recordings: Path, of: DialectName) -> list[dict[str, Any]]:
    """The exchanges of this dialect that were answered; they have to be there."""
    found = _all(recordings, of)
    assert len(found) > (5 if of is DialectName.COHERE else 30)
    return [x for x in found if x["response"]["status"] == 200]


def stream_of(exchange: dict[str, Any]) -> bytes:
    """The bytes of a streamed answer."""
    response = exchange["response"]
    if response.get("events_encoding") == "base64":
        return b"".join(base64.b64decode(event) for event in response["events"])
    return b"".join(event.encode("utf-8", "surrogatepass") for event in response["events"])


def lawful(events: list[Event]) -> list[Event]:
    """The events themselves, each held against the laws."""
    laws = Laws()
    return [laws.see(event) for event in events]


def streamed(spoken: Dialect, data: bytes) -> list[Event]:
    """The events of a streamed answer."""
    parser = spoken.parser("o")
    return lawful([*parser.feed(data), *parser.close()])


def heard(exchange: dict[str, Any], spoken: Dialect) -> list[Event]:
    """The events of a recorded answer."""
    if "events" in exchange["response"]:
        return streamed(spoken, stream_of(exchange))
    return lawful(list(spoken.read_answer(exchange["response"]["body"], "o")))


def folded(recordings: Path, of: DialectName) -> Iterator[tuple[dict[str, Any], Answer]]:
    """Every recorded answer of this dialect that is whole."""
    for exchange in answers(recordings, of):
        try:
            yield exchange, fold(heard(exchange, dialect(of)))
        except Broken:
            cut = "spliced" in exchange["id"]  # a message begins in the middle of a call of the one before
            assert cut or {"anomalous_stream", "error_in_200"} & set(exchange["features"]), exchange["id"]


def questions(recordings: Path, of: DialectName) -> Iterator[tuple[dict[str, Any], Request]]:
    """Every recorded request of this dialect that was answered."""
    if of not in DIALECTS.values():
        return
    for exchange in answers(recordings, of):
        body = exchange["request"].get("body")
        if isinstance(body, dict):
            yield exchange, dialect(of).read_request(body)


def requests(recordings: Path, of: DialectName | None = None) -> Iterator[tuple[str, Request]]:
    """The same with the ids of their exchanges; of all dialects where none is named."""
    for home in DIALECTS.values() if of is None else (of,):
        for exchange, request in questions(recordings, home):
            request.stream = bool(exchange["stream"])
            yield exchange["id"], request
