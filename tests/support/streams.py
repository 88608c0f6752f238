"""What a stream says, in each dialect of clients: how often it begins, how it counts, its text."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from tests.support.daemon import Redeo
from tests.support.speech import ANTHROPIC, CHAT, RESPONSES, Speech, parse
from tests.support.upstream import Script, Upstream, stream

TYPES = {"converse": "application/vnd.amazon.eventstream", "ollama_chat": "application/x-ndjson"}


def beginnings(speech: Speech, body: bytes) -> int:
    """How often the stream begins, in the word of its dialect."""
    events = [json.loads(data) for _, data in parse(body)[0] if data != "[DONE]"]
    if speech is CHAT:
        return sum(1 for e in events for c in e["choices"] if c["delta"].get("role"))
    if speech is ANTHROPIC:
        return sum(1 for e in events if e["type"] == "message_start")
    if speech is RESPONSES:
        return sum(1 for e in events if e["type"] == "response.created")
    return len({e["responseId"] for e in events})


def numbered(speech: Speech, body: bytes) -> None:
    """What counts or names events does so from the beginning and without a gap."""
    events = [json.loads(data) for _, data in parse(body)[0] if data != "[DONE]"]
    if speech is RESPONSES:
        assert [e["sequence_number"] for e in events] == list(range(len(events)))
        assert len({e["response"]["id"] for e in events if "response" in e}) == 1
    elif speech is ANTHROPIC:
        assert [e["index"] for e in events if e["type"] == "content_block_start"] == [0]
        assert events[0]["type"] == "message_start"
    elif speech is CHAT:
        assert len({e["id"] for e in events}) == 1
        assert [c["finish_reason"] for e in events for c in e["choices"] if c["finish_reason"]] == ["stop"]


def text_of(speech: Speech, body: bytes) -> str:
    events = [json.loads(data) for _, data in parse(body)[0] if data != "[DONE]"]
    if speech is CHAT:
        return "".join(c["delta"].get("content") or "" for e in events for c in e["choices"])
    if speech is ANTHROPIC:
        return "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta")
    if speech is RESPONSES:
        return "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
    return "".join(part["text"] for e in events for part in e["candidates"][0]["content"]["parts"])


def spoken(speech: Speech, events: list[bytes], **options: Any) -> Script:
    """The events as a provider of this dialect streams them."""
    return stream(events, headers={"content-type": TYPES.get(speech.name, "text/event-stream")}, **options)


async def behind(
    redeo: Any, provider: Any, *speakers: tuple[Speech, Script], entry: dict[str, Any] | None = None, **settings: Any
) -> tuple[Redeo, list[Upstream]]:
    """A daemon in front of these, each speaking one dialect alone. `entry`: what stands with each in redeo.yaml."""
    ups = [await provider(script) for _, script in speakers]
    names = ("alpha", "beta", "gamma")[: len(ups)]
    more = entry or {}
    entries = {n: {**speech.entry(up), **more} for n, up, (speech, _) in zip(names, ups, speakers, strict=True)}
    server: Redeo = await redeo(entries, **settings)
    for name, (speech, _) in zip(names, speakers, strict=True):
        connection = server.daemon.store.current.connection(name)
        assert connection is not None
        speaks = {op: r for op, r in connection.spec.speaks.items() if op.value in (speech.name, "models")}
        msgspec.structs.force_setattr(connection.spec, "speaks", speaks)
    return server, ups
