"""Random streams of any provider's dialect, and where in one what it takes to be whole is said.

Everything comes from a dice that is seeded: the same number gives the same stream.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random

from tests.support.speech import ALL, PROVIDERS_ONLY, Speech
from tests.support.upstream import amazon_frame

PROVIDERS = (*ALL, *PROVIDERS_ONLY)
SSE = frozenset({"chat", "messages", "responses", "gemini", "cohere_chat"})
TYPES = {"converse": "application/vnd.amazon.eventstream", "ollama_chat": "application/x-ndjson"}
WORDS = (
    "plain ", "word", " and ", "grüße", "日本語", "👩‍👩‍👧‍👦", "\u2028", "\r\n", "\n\n", '"quoted"', "\\", "data: x\n\n",
    "[DONE]", "</html>", "\x00", "\u200d", "event: error\n", "a" * 300, '{"error": {"message": "no"}}', "\t",
    "finish_reason", "0\r\n\r\n",
)  # fmt: skip
# Without them OpenAI's SDK has nothing to read the usage into.
DETAILS = b'"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}, '
# What the event holds that says why the answer ended, and the words for the two reasons that are used here.
REASONS = {
    "chat": (b'"finish_reason": "stop"', b'"stop"', b'"length"'),
    "messages": (b'"stop_reason": "end_turn"', b'"end_turn"', b'"max_tokens"'),
    "responses": (b'"response.completed"', b"", b""),
    "gemini": (b'"finishReason": "STOP"', b'"STOP"', b'"MAX_TOKENS"'),
    "converse": (b'"stopReason": "end_turn"', b"", b""),
    "cohere_chat": (b'"finish_reason": "COMPLETE"', b'"COMPLETE"', b'"MAX_TOKENS"'),
    "ollama_chat": (b'"done_reason": "stop"', b'"stop"', b'"length"'),
}


@dataclass
class Whole:
    """A stream as a provider that is well says it: `text` and `finish` are what a client has to be told."""

    speech: Speech
    texts: list[str]
    finish: str
    events: list[bytes]

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def body(self) -> bytes:
        return b"".join(self.events)

    @property
    def last(self) -> int:
        """The number of the event that says why the answer ended: with it the answer is whole."""
        marks = (REASONS[self.speech.name][0], _longer(self.speech))
        return max(n for n, event in enumerate(self.events) if any(mark in event for mark in marks))

    def at(self, number: int) -> int:
        """Where in the body that event begins."""
        return sum(len(event) for event in self.events[:number])

    @property
    def edge(self) -> int:
        """Where that event has come whole."""
        return self.at(self.last + 1)


def _longer(speech: Speech) -> bytes:
    mark, word, other = REASONS[speech.name]
    return mark.replace(word, other) if word else mark


def whole(dice: Random, speech: Speech) -> Whole:
    """A stream in this dialect."""
    texts = ["".join(dice.choices(WORDS, k=dice.randint(1, 4))) for _ in range(dice.choice((0, 1, 1, 2, 3, 5, 12)))]
    found = Whole(speech, texts, "stop", speech.events(*texts))
    if speech.name == "responses":
        found.events[-1] = found.events[-1].replace(b'"usage": {', b'"usage": {' + DETAILS)
    if REASONS[speech.name][1] and dice.random() < 0.3:
        mark = REASONS[speech.name][0]
        found.events[found.last] = found.events[found.last].replace(mark, _longer(speech))
        found.finish = "length"
    if speech.name in SSE:
        found.events = _worn(dice, speech, found.events)
    return found


def _worn(dice: Random, speech: Speech, events: list[bytes]) -> list[bytes]:
    """The same events as they may come: texts not escaped, other line ends, pings and comments between them."""
    if dice.random() < 0.5:
        events = [_unescaped(event) for event in events]
    if dice.random() < 0.3 and speech.name != "gemini":  # Google's own SDK fails on a comment
        pings = [b": keep-alive\n\n", b":\n\n", *([speech.ping] if speech.ping else [])]
        for _ in range(dice.randint(1, 4)):
            events.insert(dice.randint(0, len(events) - 1), dice.choice(pings))
    if dice.random() < 0.2:
        events = [event.replace(b"\n", b"\r\n") for event in events]
    return events


def _unescaped(event: bytes) -> bytes:
    lines = event.decode().split("\n")
    plain = [
        "data: " + json.dumps(json.loads(line[6:]), ensure_ascii=False) if line.startswith("data: {") else line
        for line in lines
    ]
    return "\n".join(plain).encode()


def failure(speech: Speech) -> bytes:
    """How this provider says in the middle of a stream that it failed."""
    if speech.name == "converse":
        headers = {":message-type": "exception", ":exception-type": "modelStreamErrorException"}
        return amazon_frame(b'{"message": "it broke"}', headers)
    return speech.failure("overloaded_error", "it broke")
