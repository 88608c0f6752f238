"""The providers of a soak: one that fails in every way in turn, one that flaps, and some that are well.

Each request carries a tag in its text, `tag-<number>-<pieces>-<pace>`. What was answered to it is kept under that
number, so that each failure can be held against what was really done to it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from benchmarks.torture_faults import FAULTS, Sent, Truth, play
from benchmarks.torture_streams import TYPES, Whole, whole
from tests.support.speech import ANTHROPIC, CHAT, CONVERSE, GEMINI, RESPONSES, Speech, wants_stream
from tests.support.upstream import Received, Script, Upstream, Wire, answer, drop, error, hang

TAG = re.compile(rb"tag-(\d+)-(\d+)-([a-z]+)")
PACE = {"quick": 0.0, "long": 0.15, "broad": 0.0}  # seconds between two events
# 17 MB come and go with one that is too large, in which no growth of memory could be seen; `torture` has them.
BREAKS = [name for name in FAULTS if name != "an event too large"]
PATHS = {"chat/completions": CHAT, "/responses": RESPONSES, "/messages": ANTHROPIC, "enerateContent": GEMINI}
HTML = {"content-type": "text/html"}
# What a provider may do instead of a whole answer. The word is what a failure is counted under.
REFUSALS: dict[str, Script] = {
    "500": error(500),
    "502, a page": answer(b"<html>Bad Gateway</html>", 502, HTML),
    "503": error(503),
    "520": answer(b"", 520),
    "529": error(529, "overloaded_error"),
    "429 for a second": error(429, "rate_limit_error", retry_after="1"),
    "reset": drop(),
    "closed": drop(reset=False),
    "silence": hang(),
    "a page": answer(b"<html>", headers=HTML),
    "nothing": answer(b""),
    "an error under 200": answer({"error": {"message": "it broke", "type": "server_error"}}),
    "redirected": answer(b"", 302, {"location": "http://127.0.0.1:9/"}),
    "an encoding": answer(b"\x1f\x8b\x08\x00", headers={"content-encoding": "gzip"}),
    "half of JSON": answer(b'{"id": "x", "choices": [{"index": 0, "mess'),
    "shorter than its length": answer(b'{"id": "x"', headers={"Content-Length": "999"}),
}


@dataclass
class Said:
    """One answer of a provider: `fault` is empty where it was well."""

    provider: str
    fault: str
    text: str
    sent: Sent | None = None
    whole: Whole | None = None


def text_of(pieces: int, pace: str) -> list[str]:
    """What a provider that is well says."""
    size = 8000 if pace == "broad" else 0
    return [f"w{n} " + "x" * size for n in range(pieces)]


def whole_of(speech: Speech, text: str) -> Any:
    """An answer that is not streamed, with this text."""
    if speech is RESPONSES:
        data = speech.events(text)[-1].split(b"data: ", 1)[1]
        return json.loads(data)["response"]
    return json.loads(json.dumps(speech.whole).replace('"hello"', json.dumps(text)))


@dataclass
class Providers:
    """All of them behind one port; the first part of a path says which one is asked."""

    dice: Random
    said: dict[int, list[Said]] = field(default_factory=dict)
    hits: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    _turns: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.up = Upstream(self._serve)

    async def _serve(self, received: Received, wire: Wire) -> None:
        self.up.requests.clear()
        found = TAG.search(received.body)
        provider = received.target.split("/")[1].partition("~")[0]
        if found is None:
            await answer({"error": {"message": "no tag"}}, 400)(received, wire)
            return
        number, pieces, pace = int(found[1]), int(found[2]), found[3].decode()
        speech = next((s for part, s in PATHS.items() if part in received.target), CONVERSE)
        self.hits[provider] += 1
        fails = provider.startswith("bad") or (provider.startswith("flap") and self.dice.random() < 0.5)
        if fails:
            await self._fail(provider, speech, number, received, wire)
            return
        texts = text_of(pieces, pace)
        self._note(number, Said(provider, "", "".join(texts)))
        await _well(speech, texts, PACE[pace], received, wire)

    def _note(self, number: int, said: Said) -> None:
        self.said.setdefault(number, []).append(said)
        if said.fault:
            self.faults[said.fault] += 1

    async def _fail(self, provider: str, speech: Speech, number: int, received: Received, wire: Wire) -> None:
        """The next way to fail: of a stream every second time in the middle of it."""
        turn = next(self._turns)
        if wants_stream(received) and turn % 2:
            name = BREAKS[turn // 2 % len(BREAKS)]
            stream = whole(self.dice, speech)
            sent = FAULTS[name][1](self.dice, stream)
            sent.sizes = sent.sizes or self.dice.choice([[1 << 30], [1, 400], [17, 100, 1000]])
            fault = "" if sent.truth is Truth.WHOLE else name
            self._note(number, Said(provider, fault, stream.text, sent, stream))
            await play(sent, speech.name, received, wire)
            return
        name = list(REFUSALS)[turn // 2 % len(REFUSALS)]
        self._note(number, Said(provider, name, ""))
        await REFUSALS[name](received, wire)


async def _well(speech: Speech, texts: list[str], pause: float, received: Received, wire: Wire) -> None:
    if not wants_stream(received):
        await answer(whole_of(speech, "".join(texts)))(received, wire)
        return
    await wire.head(200, {"content-type": TYPES.get(speech.name, "text/event-stream")})
    for event in speech.events(*texts):
        await wire.chunk(event)
        if pause:
            await asyncio.sleep(pause)
    await wire.end()


def told(speech: Speech, body: bytes) -> str:
    """The text of an answer that is not streamed. Raises where it is none."""
    value = json.loads(body)
    if speech is CHAT:
        return str(value["choices"][0]["message"]["content"])
    if speech is ANTHROPIC:
        return "".join(block["text"] for block in value["content"])
    if speech is GEMINI:
        return "".join(part["text"] for part in value["candidates"][0]["content"]["parts"])
    return "".join(part["text"] for item in value["output"] for part in item["content"])
