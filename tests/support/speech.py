"""The three dialects as fault tests need them, and what must be true after every fault.

The reader of event streams here is its own, by the letter of WHATWG's specification, so that it does not share
the daemon's mistakes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.daemon import Answer, Redeo
from tests.support.upstream import (
    Received,
    Script,
    Upstream,
    Wire,
    amazon_frame,
    answer,
    chat_body,
    chat_events,
    cohere_events,
    converse_events,
    event,
    gemini_events,
    message_events,
    ollama_events,
    response_events,
    stream,
)


@dataclass(frozen=True)
class Speech:
    """One dialect: where it is asked, what a good provider says, how it says that it failed."""

    name: str
    path: str
    body: dict[str, Any]
    events: Callable[..., list[bytes]]  # (*texts, stop=True)
    whole: dict[str, Any]
    ping: bytes
    failure: Callable[[str, str], bytes]  # the error event or events of (code, message)
    stream_path: str = ""  # where streams are asked for, if elsewhere

    def asked(self, **fields: Any) -> tuple[str, dict[str, Any]]:
        """Path and body of a request with these fields; in Gemini's dialect the path says model and streaming."""
        body = {**self.body, **fields}
        if not self.stream_path:
            return self.path, body
        path = self.stream_path if body.pop("stream", False) else self.path
        return path.replace("auto", body.pop("model", "auto")), body

    def opening(self, *texts: str) -> list[bytes]:
        """The events of a stream up to its last text: there is more to come."""
        return self.events(*texts, stop=False)

    def entry(self, upstream: Upstream | str) -> dict[str, Any]:
        """The entry of redeo.yaml for a provider of this dialect."""
        base = upstream if isinstance(upstream, str) else upstream.base_url
        if self.name == "messages":
            return {"base_url": base.removesuffix("/v1"), "dialect": "anthropic"}
        if self.name not in ("chat", "responses"):
            return {"base_url": base.removesuffix("/v1"), "dialect": self.name.removesuffix("_chat")}
        return {"base_url": base}

    def good(self, *texts: str) -> Script:
        """Answers well, streamed where that was asked."""

        async def script(received: Received, wire: Wire) -> None:
            streamed = stream(self.events(*(texts or ("yes",)))) if wants_stream(received) else answer(self.whole)
            await streamed(received, wire)

        return script

    def endings(self, body: bytes) -> tuple[int, int]:
        """How many terminators and how many errors a stream has. Its last event has to be one of them."""
        events, rest = parse(body)
        if rest == "data: [DONE]\n":  # every SDK takes that line for the end, as some providers send it so
            events, rest = [*events, ("", "[DONE]")], ""
        assert not rest, f"an event cut short: {rest[-80:]!r}"
        kinds = [self._kind(data) for _, data in events]
        assert kinds, "a stream without events"
        assert kinds[-1] in ("end", "error", "failed"), f"{kinds[-1]}: nothing ends the stream"
        errors = kinds.count("error")
        assert kinds.count("end") <= 1 or self.name != "gemini"
        if "failed" in kinds:
            assert kinds.count("failed") == 1
            assert kinds[-1] == "failed"
            assert errors <= 1
            errors = 1
        return kinds.count("end"), errors

    def _kind(self, data: str) -> str:
        if data == "[DONE]":
            return "end"
        value = json.loads(data)
        kind = value.get("type")
        if kind in ("message_stop", "response.completed", "response.incomplete"):
            return "end"
        if kind == "response.failed":
            return "failed"
        if any(candidate.get("finishReason") for candidate in value.get("candidates", ())):
            return "end"
        return "error" if value.get("error") or kind == "error" else ""

    def error_of(self, body: bytes) -> dict[str, Any]:
        """The error object of the error event."""
        for _, data in parse(body)[0]:
            value = {} if data == "[DONE]" else json.loads(data)
            if isinstance(value.get("error"), dict):
                return dict(value["error"])
            if value.get("type") == "error":
                return dict(value)
        raise AssertionError("the stream has no error event")


def wants_stream(received: Received) -> bool:
    """Whether a stream was asked for, in the body or by the path."""
    return bool(received.json.get("stream")) or "stream" in received.target


def parse(body: bytes) -> tuple[list[tuple[str, str]], str]:
    """(event name, data) of every event with data, and what stands behind the last empty line."""
    text = body.decode("utf-8").removeprefix("\ufeff")
    *lines, rest = re.split("\r\n|\n|\r", text)
    found: list[tuple[str, str]] = []
    name, data, fresh = "", [], True
    for line in lines:
        fresh = not line
        if not line:
            if data:
                found.append((name, "\n".join(data)))
            name, data = "", []
            continue
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "data":
            data.append(value)
        elif key == "event":
            name = value
    return found, rest if fresh else f"{lines[-1]}\n{rest}"


MESSAGES: Any = [{"role": "user", "content": "hello"}]


def _chat_failure(code: str, message: str) -> bytes:
    return event({"error": {"type": code, "code": code, "message": message, "param": None}})


def _messages_failure(code: str, message: str) -> bytes:
    body = {"type": "error", "error": {"type": code, "message": message}}
    return f"event: error\ndata: {json.dumps(body)}\n\n".encode()


def _responses_failure(code: str, message: str) -> bytes:
    said = {"type": "error", "code": code, "message": message, "param": None, "sequence_number": 90}
    failed = {"id": "resp_1", "object": "response", "status": "failed", "error": {"code": code, "message": message}}
    closing = {"type": "response.failed", "response": failed, "sequence_number": 91}
    return (
        f"event: error\ndata: {json.dumps(said)}\n\nevent: response.failed\ndata: {json.dumps(closing)}\n\n"
    ).encode()


def _chat_events(*texts: str, stop: bool = True) -> list[bytes]:
    return chat_events(*texts, finish=stop, done=stop)


def _gemini_failure(code: str, message: str) -> bytes:
    return event({"error": {"code": 503, "status": code.upper(), "message": message}})


CHAT = Speech(
    "chat",
    "/v1/chat/completions",
    {"model": "auto", "messages": MESSAGES},
    _chat_events,
    chat_body(),
    b": ping\n\n",
    _chat_failure,
)
ANTHROPIC = Speech(
    "messages",
    "/v1/messages",
    {"model": "auto", "max_tokens": 9, "messages": MESSAGES},
    message_events,
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "content": [{"type": "text", "text": "hello"}],
        "usage": {"input_tokens": 3, "output_tokens": 5},
    },
    b'event: ping\ndata: {"type": "ping"}\n\n',
    _messages_failure,
)
RESPONSES = Speech(
    "responses",
    "/v1/responses",
    {"model": "auto", "input": "hello"},
    response_events,
    {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [], "created_at": 1},
    b": ping\n\n",
    _responses_failure,
)
GEMINI = Speech(
    "gemini",
    "/v1beta/models/auto:generateContent",
    {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
    gemini_events,
    {
        "candidates": [
            {"content": {"role": "model", "parts": [{"text": "hello"}]}, "finishReason": "STOP", "index": 0}
        ],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5, "totalTokenCount": 8},
        "modelVersion": "m",
        "responseId": "r1",
    },
    b"",
    _gemini_failure,
    "/v1beta/models/auto:streamGenerateContent?alt=sse",
)
# What only providers speak. Their failures come in the middle of a stream.
CONVERSE = Speech(
    "converse",
    "/model/alpha-model/converse",
    {},
    converse_events,
    {
        "output": {"message": {"role": "assistant", "content": [{"text": "hello"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8},
    },
    b"",
    lambda code, message: amazon_frame(
        json.dumps({"message": message}).encode(), {":message-type": "exception", ":exception-type": code}
    ),
    "/model/alpha-model/converse-stream",
)
COHERE = Speech(
    "cohere_chat",
    "/v2/chat",
    {},
    cohere_events,
    {
        "id": "c1",
        "finish_reason": "COMPLETE",
        "message": {"role": "assistant", "content": [{"type": "text", "text": "hello"}]},
        "usage": {"tokens": {"input_tokens": 3, "output_tokens": 5}},
    },
    b"",
    lambda _code, message: (
        "event: message-end\ndata: "
        + json.dumps({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": message}})
        + "\n\n"
    ).encode(),
)
OLLAMA = Speech(
    "ollama_chat",
    "/api/chat",
    {},
    ollama_events,
    {
        "model": "m",
        "created_at": "2026-11-24T10:00:00Z",
        "message": {"role": "assistant", "content": "hello"},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 3,
        "eval_count": 5,
    },
    b"",
    lambda _code, message: json.dumps({"error": message}).encode() + b"\n",
)
PROVIDERS_ONLY = (CONVERSE, COHERE, OLLAMA)
SPEECHES = (CHAT, ANTHROPIC, RESPONSES)  # what the fault tests go through
ALL = (*SPEECHES, GEMINI)


@dataclass
class Bench:
    """A daemon in front of `ups`, first to last; every request is kept, and `check` looks at all of them."""

    speech: Speech
    server: Redeo
    ups: dict[str, Upstream]
    answers: list[Answer] = field(default_factory=list)
    eligible: int = 3  # connections that may be tried
    left: int = 0  # requests whose client did not wait for the answer
    beside: int = 0  # attempts that those were, beside their first
    resent: int = 0  # requests that a dead pooled socket made the daemon send twice

    @classmethod
    async def start(cls, redeo: Any, provider: Any, *places: Any, speech: Speech = CHAT, **settings: Any) -> Bench:
        """A daemon in front of these (script, Upstream or base URL), connected as alpha, beta and gamma."""
        entries: dict[str, Any] = {}
        ups: dict[str, Upstream] = {}
        for name, place in zip(("alpha", "beta", "gamma"), places, strict=False):
            up = await provider(place) if callable(place) else place
            entries[name] = speech.entry(up)
            if isinstance(up, Upstream):
                ups[name] = up
        return cls(speech, await redeo(entries, **settings), ups, eligible=len(entries))

    @property
    def p(self) -> Upstream:
        """The connection tried first."""
        return self.ups["alpha"]

    @property
    def s(self) -> Upstream:
        """The one tried next."""
        return self.ups["beta"]

    async def ask(self, *, stream: bool = False, heard: Callable[[bytes], None] | None = None, **fields: Any) -> Answer:
        """One request in the dialect. `heard`: told what comes, as it comes."""
        body = {**self.speech.body, "stream": stream, **fields}
        got = await self.server.request("POST", self.speech.path, heard=heard, json=body)
        self.answers.append(got)
        return got

    def shift(self, seconds: float) -> None:
        """Let the clock by which connections rest jump forward."""
        health = self.server.daemon.front.engine.health
        now = health._now
        health._now = lambda: now() + seconds

    async def metric_sum(self, name: str, *labels: str) -> float:
        """The sum of all series of a counter that carry these labels."""
        return total(await self.server.metrics(), name, *labels)

    async def check(self) -> None:
        """What holds after every fault, by its number in the fault matrix."""
        tried: Counter[str] = Counter()
        for got in self.answers:
            assert not got.broken
            names = [part.partition("=")[0] for part in got.attempts.split()]
            assert len(names) == len(set(names)) <= self.eligible, got.attempts  # I2
            tried.update(names)
            if got.headers.get("content-type", "").startswith("text/event-stream"):  # I1
                assert self.speech.endings(got.body) in ((1, 0), (0, 1)), got.body[-400:]
            elif got.status >= 400:
                assert got.headers["x-should-retry"] in ("true", "false")
            assert got.headers["x-redeo-request-id"].startswith("req_")
        assert not self.server.daemon.front.engine.running
        metrics = await self.server.metrics()
        assert total(metrics, "redeo_requests_in_flight") == 0
        # I3: what was tried stood in the head of each answer, so nobody was tried behind it
        assert total(metrics, "redeo_attempts_total") == tried.total() + self.left + self.beside
        # I7: the counters add up to the requests sent, each under the status that its client saw
        assert total(metrics, "redeo_requests_total") == len(self.answers) + self.left
        for status, count in Counter(got.status for got in self.answers).items():
            assert total(metrics, "redeo_requests_total", f'status="{status}"') == count
        hits = sum(len(up.requests) for up in self.ups.values())
        assert hits <= tried.total() + self.left + self.beside + self.resent
        for name, up in self.ups.items():
            assert len(up.requests) <= tried[name] + self.left + self.resent


def total(metrics: str, name: str, *labels: str) -> float:
    """The sum of all series of this name that carry these labels."""
    lines = [line for line in metrics.splitlines() if line.startswith(name)]
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(label in line for label in labels))


def outcome(name: str, result: str) -> str:
    """The series that counts the attempts of one connection that ended so."""
    return f'redeo_attempts_total{{connection="{name}",result="{result}"}}'
