"""What providers say when they refuse, recorded and documented, as the clients of every dialect get it.

Of each: the status of its class, the shape of the client's dialect, the provider's own words, whether to try again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.refusals import AGAIN, DOCUMENTED, Case, google, openai
from tests.support.speech import (
    ALL,
    ANTHROPIC,
    CHAT,
    COHERE,
    CONVERSE,
    GEMINI,
    OLLAMA,
    RESPONSES,
    Speech,
    parse,
)
from tests.support.upstream import Script, amazon_frame, answer, stream

NAMES = [f"c{number}" for number in range(8)]


def _shape(client: Speech, status: int, value: dict[str, Any], case: Case, *, told: bool) -> str:
    """The message, where the error has the shape of the client's dialect and the words of its class."""
    error = value["error"]
    if client is ANTHROPIC:
        kinds = {402: "billing_error", 404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error"}
        kinds |= {503: "overloaded_error", 504: "timeout_error"}
        assert value["type"] == "error"
        assert value["request_id"]
        assert error["type"] == kinds.get(status, "invalid_request_error" if status < 500 else "api_error")
    elif client is GEMINI:
        words = {402: "RESOURCE_EXHAUSTED", 404: "NOT_FOUND", 409: "ABORTED", 429: "RESOURCE_EXHAUSTED"}
        words |= {503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}
        assert (error["code"], error["status"]) == (
            status,
            words.get(status, "INVALID_ARGUMENT" if status < 500 else "UNAVAILABLE"),
        )
        delays = [detail.get("retryDelay") for detail in error["details"]]
        assert case.wait is None or f"{case.wait}s" in delays
    else:
        types = {402: "insufficient_quota", 429: "rate_limit_error"}
        assert set(error) == {"message", "type", "code", "param"}
        assert error["type"] == types.get(status, "invalid_request_error" if status < 500 else "api_error")
        assert not (told and case.param) or error["param"] == case.param
    return str(error["message"])


def check(client: Speech, case: Case, got: Any) -> None:
    """The answer to one client is what this error is in its dialect."""
    own = client is case.speech
    falls_back = case.told in AGAIN or case.again is False
    assert not got.broken
    assert got.headers["content-type"].startswith("application/json")
    if own and not falls_back:  # as the provider said it
        assert got.status == (case.relayed or case.status)
        assert json.loads(got.body) == case.body
    else:
        assert got.status == case.told, got.body
        message = _shape(client, got.status, json.loads(got.body), case, told=not falls_back)
        assert " ".join(case.words.split()) in " ".join(message.split())
    again = case.told in AGAIN if case.again is None else case.again
    assert got.headers["x-should-retry"] == str(again).lower()
    assert got.headers.get("retry-after") == (None if case.wait is None else str(case.wait))


async def many(redeo: Any, up: Any, speech: Speech) -> Any:
    """A daemon with eight connections to this provider, so that what one of them learnt leaves the others alone."""
    server = await redeo({name: {**speech.entry(up), "default_model": "m"} for name in NAMES})
    snapshot = server.daemon.store.current
    for name in NAMES:
        spec = snapshot.connection(name).spec
        speaks = {op: route for op, route in spec.speaks.items() if op.value in (speech.name, "models")}
        msgspec.structs.force_setattr(spec, "speaks", speaks)
    return server


async def everybody(server: Any, look: Callable[[Speech, Any, bool], None]) -> None:
    """Clients of every dialect ask, whole and streamed, each by a connection of its own."""
    names = iter(NAMES)
    for client in ALL:
        for streamed in (False, True):
            path, body = client.asked(model=f"{next(names)}/m", stream=streamed)
            look(client, await server.request("POST", path, json=body), streamed)


@pytest.mark.parametrize("case", DOCUMENTED, ids=lambda case: case.name)
async def test_a_documented_error_arrives_in_every_dialect(redeo: Any, provider: Any, case: Case) -> None:
    up = await provider(answer(case.body, case.status, case.headers))
    server = await many(redeo, up, case.speech)
    await everybody(server, lambda client, got, _: check(client, case, got))
    assert len(up.requests) == len(NAMES)


SPEAKERS = {
    "openai.chat": CHAT, "openai.responses": RESPONSES, "anthropic.messages": ANTHROPIC, "gemini.generate": GEMINI,
    "bedrock.converse": CONVERSE, "openai.embeddings": CHAT, "gemini.embeddings": GEMINI, "cohere.embeddings": COHERE,
    "anthropic.count_tokens": ANTHROPIC, "bedrock.count_tokens": CONVERSE,
}  # fmt: skip


def recorded(exchange: dict[str, Any]) -> Case:
    """The recorded error as a case: a missing model, a quota, a rate, or the client's own mistake."""
    status, body = exchange["response"]["status"], exchange["response"]["body"]
    error = body.get("error", body)
    message = error["message"]
    raw = (error.get("metadata") or {}).get("raw")
    told, wait, again = status, None, None
    if status == 404 or "model identifier is invalid" in message:
        told = 404
    elif status == 429:
        quota = error.get("code") == "insufficient_quota"
        told, wait, again = (402, None, False) if quota else (429, 10, True)
    words, param = raw or message, error.get("param")
    return Case(exchange["id"], SPEAKERS[exchange["dialect"]], status, body, told, words, {}, param, wait, again=again)


async def test_every_recorded_error_arrives_in_every_dialect(redeo: Any, provider: Any, recordings: Path) -> None:
    seen = 0
    for path in sorted(recordings.glob("*/*/*.json")):
        exchange = json.loads(path.read_bytes())
        if exchange["response"]["status"] < 400:
            continue
        case = recorded(exchange)
        up = await provider(answer(case.body, case.status))
        server = await many(redeo, up, case.speech)

        def look(client: Speech, got: Any, _: bool, case: Case = case) -> None:
            try:
                check(client, case, got)
            except AssertionError as exc:
                raise AssertionError(f"{case.name} for {client.name}: {got.status} {got.body!r}") from exc

        await everybody(server, look)
        seen += 1
    assert seen >= 25


def chat_error(body: Any) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def amazon_error(kind: str, message: str) -> bytes:
    headers = {":message-type": "exception", ":exception-type": kind, ":content-type": "application/json"}
    return amazon_frame(json.dumps({"message": message}).encode(), headers)


# Errors within a stream: who, the events, the status of the class, the words.
WITHIN: list[tuple[str, Speech, bytes, int, str]] = [
    ("anthropic-overloaded", ANTHROPIC, ANTHROPIC.failure("overloaded_error", "Overloaded"), 503, "Overloaded"),
    ("anthropic-rate", ANTHROPIC, ANTHROPIC.failure("rate_limit_error", "too fast"), 429, "too fast"),
    ("openai-server", RESPONSES, RESPONSES.failure("server_error", "it broke"), 502, "it broke"),
    ("openai-quota", RESPONSES, RESPONSES.failure("insufficient_quota", "You exceeded"), 402, "You exceeded"),
    ("openai-rate", RESPONSES, RESPONSES.failure("rate_limit_exceeded", "Rate limit"), 429, "Rate limit"),
    ("openai-long", RESPONSES, RESPONSES.failure("context_length_exceeded", "input exceeds the context window"), 400,
     "input exceeds the context window"),
    ("groq-tool", CHAT, chat_error({"error": {"message": "Failed to call a function", "type": "invalid_request_error",
     "code": "tool_use_failed", "status_code": 400}}), 400, "Failed to call a function"),
    ("openrouter", CHAT, chat_error({"error": {"code": 429, "message": "Provider returned error",
     "metadata": {"raw": "model is busy"}}, "choices": []}), 429, "model is busy"),
    ("gemini", GEMINI, chat_error(google(429, "RESOURCE_EXHAUSTED", "no more")), 429, "no more"),
    ("gemini-500", GEMINI, chat_error(google(500, "INTERNAL", "internal error")), 502, "internal error"),
    ("bedrock-throttling", CONVERSE, amazon_error("throttlingException", "wait"), 429, "wait"),
    ("bedrock-validation", CONVERSE, amazon_error("validationException", "tool is odd"), 400, "tool is odd"),
    ("bedrock-down", CONVERSE, amazon_error("serviceUnavailableException", "down"), 503, "down"),
    ("bedrock-model", CONVERSE, amazon_error("modelStreamErrorException", "the model"), 502, "the model"),
    ("cohere", COHERE, COHERE.failure("", "it is overloaded"), 503, "it is overloaded"),
    ("ollama", OLLAMA, OLLAMA.failure("", "out of memory"), 502, "out of memory"),
]  # fmt: skip
TYPES = {"converse": "application/vnd.amazon.eventstream", "ollama_chat": "application/x-ndjson"}


def said_within(speech: Speech, events: list[bytes]) -> Script:
    return stream(events, headers={"content-type": TYPES.get(speech.name, "text/event-stream")})


@pytest.mark.parametrize(("speech", "failure", "told", "words"), [w[1:] for w in WITHIN], ids=[w[0] for w in WITHIN])
async def test_an_error_behind_content_keeps_its_class(
    redeo: Any, provider: Any, speech: Speech, failure: bytes, told: int, words: str
) -> None:
    up = await provider(said_within(speech, [*speech.opening("good "), failure]))
    server = await many(redeo, up, speech)
    for number, client in enumerate(client for client in ALL if client is not speech):
        path, body = client.asked(model=f"{NAMES[number]}/m", stream=True)
        got = await server.request("POST", path, json=body)
        assert got.status == 200
        assert client.endings(got.body) == (0, 1), got.body
        error = client.error_of(got.body)
        assert words in error["message"]
        case = Case("", speech, told, {}, told, words)
        if client is RESPONSES:
            failed = json.loads(parse(got.body)[0][-1][1])
            assert words in failed["response"]["error"]["message"]
            assert failed["response"]["error"]["code"] == error["code"]
        else:
            _shape(client, told, {"type": "error", "request_id": "r", "error": error}, case, told=False)


@pytest.mark.parametrize(("speech", "failure", "told", "words"), [w[1:] for w in WITHIN], ids=[w[0] for w in WITHIN])
@pytest.mark.parametrize("greeted", [False, True])
async def test_an_error_before_any_content_is_an_answer_of_its_class(
    redeo: Any, provider: Any, speech: Speech, failure: bytes, told: int, words: str, greeted: bool
) -> None:
    events = [*(speech.opening()[:1] if greeted else []), failure]
    up = await provider(said_within(speech, events))
    server = await many(redeo, up, speech)
    for number, client in enumerate(client for client in ALL if client is not speech):
        path, body = client.asked(model=f"{NAMES[number]}/m", stream=True)
        got = await server.request("POST", path, json=body)
        assert got.status == told, got.body
        assert words in _shape(client, told, json.loads(got.body), Case("", speech, told, {}, told, ""), told=False)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("body", "told"),
    [
        (openai("it is overloaded", "server_error", "server_is_overloaded"), 503),
        (openai("temperature", "invalid_request_error"), 400),
        ({"error": "rate limit: it is too fast", "code": "rate_limit"}, 429),
    ],
)
async def test_an_error_in_place_of_an_answer_keeps_class_and_words(
    redeo: Any, provider: Any, body: dict[str, Any], told: int, streamed: bool
) -> None:
    server = await many(redeo, await provider(answer(body)), CHAT)
    error = body["error"]
    words = error if isinstance(error, str) else error["message"]
    for number, client in enumerate((ANTHROPIC, RESPONSES, GEMINI)):
        path, asked = client.asked(model=f"{NAMES[number]}/m", stream=streamed)
        got = await server.request("POST", path, json=asked)
        assert got.status == told, got.body
        assert words in _shape(client, told, json.loads(got.body), Case("", CHAT, told, {}, told, ""), told=False)


async def test_a_recorded_error_within_a_stream_arrives_in_every_dialect(
    redeo: Any, provider: Any, recordings: Path
) -> None:
    seen = 0
    for path in sorted(recordings.glob("*/*/*.json")):
        exchange = json.loads(path.read_bytes())
        if "error_in_200" not in exchange["features"] or "events" not in exchange["response"]:
            continue
        speech = SPEAKERS[exchange["dialect"]]
        events = [event.encode() for event in exchange["response"]["events"]]
        words = _said(events)
        server = await many(redeo, await provider(stream(events)), speech)
        for number, client in enumerate(client for client in ALL if client is not speech):
            where, body = client.asked(model=f"{NAMES[number]}/m", stream=True)
            got = await server.request("POST", where, json=body)
            error = client.error_of(got.body) if got.status == 200 else json.loads(got.body)["error"]
            assert words in error["message"], (path.name, client.name, got.body)
            assert got.status != 200 or client.endings(got.body) == (0, 1)
        seen += 1
    assert seen == 3


def _said(events: list[bytes]) -> str:
    for _, data in parse(b"".join(events))[0]:
        value = {} if data == "[DONE]" else json.loads(data)
        error = value.get("error") or (value.get("response") or {}).get("error")
        if error:
            return str(error["message"])[:200]
        if value.get("type") == "error":
            return str(value["message"])[:200]
    raise AssertionError("no error is recorded")
