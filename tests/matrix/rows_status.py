"""Rows 7 to 14: a provider that answers with an error status: who answers instead, and how long it is left alone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from tests.matrix.framework import ANTHROPIC, CHAT, RESPONSES, Case, Row
from tests.support.speech import Speech, wants_stream
from tests.support.upstream import Received, Script, Wire, answer, stream

FAILING = Row(7, "500, 502, 503, 504, 529, 520 to 526", "the next connection answers; a failure of the first")
RATE = Row(
    8,
    "429 with Retry-After in seconds, milliseconds, as a date, or without",
    "the next one answers; the first is left alone exactly so long, 10 s if it did not say",
)
RATES = Row(9, "429 from every connection", "429 with the soonest `Retry-After` of all, `x-should-retry: true`")
QUOTA = Row(10, "quota used up: 429 `insufficient_quota`, 402", "the next one answers; the first is not tried for 1 h")
KEY = Row(
    11,
    "401, or 403: key revoked",
    "the next one answers; the first is disabled at once: one request of 100 reaches it",
)
KEYS = Row(
    12,
    "401 from every connection",
    "502 `upstream_credentials_exhausted`, `x-should-retry: false`; never 401, the client's own key is good",
)
MISTAKE = Row(
    13,
    "400, 413, 422, content filter",
    "the client gets that very answer without what is not for it; nobody else is asked",
)
LENGTH = Row(14, "the context is too long", "the client gets the provider's answer; nobody else is asked")


def refusal(speech: Speech, status: int, code: str, message: str = "it failed", **headers: str) -> Script:
    """An error as a provider of this dialect says it."""
    error: dict[str, Any] = {"message": message, "type": code}
    if speech is ANTHROPIC:
        said = {"type": "error", "error": error, "request_id": "req_1"}
    else:
        said = {"error": {**error, "code": code, "param": None}}
    return answer(said, status, {name.replace("_", "-"): value for name, value in headers.items()})


@FAILING.case(each=(500, 501, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 529, 599))
async def status(case: Case, number: int) -> None:
    await case.bench(refusal(case.speech, number, "api_error"), case.good)
    await case.moves_on(str(number), "overload" if number in (503, 529) else "upstream_5xx")


@FAILING.case(each=("hangs", "fin", "endless"))
async def body_never_ends(case: Case, tail: str) -> None:
    """The status is known and can do without; what it costs is bounded by the clock."""

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(500, {"content-type": "application/json"})
        await wire.chunk(b'{"error": {"message": "')
        while tail == "endless" and not received.gone.is_set():
            await wire.chunk(b"x" * 65536)
        if tail == "fin":
            wire.close()
        else:
            await received.gone.wait()

    await case.bench(script, case.good)
    async with asyncio.timeout(2):
        await case.moves_on("500", "upstream_5xx")


@FAILING.case(each=(500, 502, 503, 504))
async def effect_unknown(case: Case, number: int) -> None:
    """What may have left something behind is not repeated."""
    b = await case.bench(refusal(case.speech, number, "api_error"), case.good)
    got = await case.ask(store=True)
    assert (got.status, got.json["error"]["code"]) == (502, "upstream_uncertain")
    assert not b.s.requests


@FAILING.case(each=(401, 403, 404, 429, 529))
async def nothing_was_done(case: Case, number: int) -> None:
    """These prove it, so what would leave something behind goes on as well."""
    code = "model_not_found" if number == 404 else "refused"
    await case.bench(refusal(case.speech, number, code), case.good)
    assert (await case.ask(store=True)).attempts == f"alpha={number} beta=200"


def later(seconds: float) -> str:
    """A date of HTTP."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


WAITS: dict[str, tuple[Callable[[], dict[str, str]], float]] = {
    "seconds": (lambda: {"retry_after": "2"}, 2.0),
    "float": (lambda: {"retry_after": "1.5"}, 1.5),
    "milliseconds": (lambda: {"retry_after_ms": "700"}, 0.7),
    "milliseconds of azure": (lambda: {"x_ms_retry_after_ms": "700"}, 0.7),
    "date": (lambda: {"date": later(0), "retry_after": later(3)}, 3.0),
    "none": (dict, 10.0),
    "garbage": (lambda: {"retry_after": "soon"}, 10.0),
    "several": (lambda: {"retry_after": "2", "retry_after_ms": "4000"}, 4.0),
    "too long": (lambda: {"retry_after": "86400"}, 900.0),
}


@RATE.case(each=WAITS)
async def left_alone(case: Case, wait: tuple[Callable[[], dict[str, str]], float]) -> None:
    make, seconds = wait
    b = await case.bench(refusal(case.speech, 429, "rate_limit_error", **make()), case.good)
    b.p.scripts.append(case.good)
    b.stop_clock()
    await case.moves_on("429", "rate")
    assert await case.state() == "cooling"
    assert (await case.ask()).attempts == "beta=200"
    case.shift(seconds - 0.1)
    assert (await case.ask()).attempts == "beta=200"
    case.shift(0.2)
    assert (await case.ask()).attempts == "alpha=200"


@RATE.case()
async def in_real_time(case: Case) -> None:
    b = await case.bench(refusal(case.speech, 429, "rate_limit_error", retry_after_ms="300"), case.good)
    b.p.scripts.append(case.good)
    begun = time.monotonic()
    while (await case.ask()).attempts != "alpha=200":
        assert time.monotonic() - begun < 2
    assert time.monotonic() - begun >= 0.3
    assert len(b.p.requests) == 2


@RATES.case()
async def everywhere(case: Case) -> None:
    waits = ("30", "7", "12")
    b = await case.bench(*(refusal(case.speech, 429, "rate_limit_error", retry_after=wait) for wait in waits))
    for attempts in ("alpha=429 beta=429 gamma=429", ""):  # asked, and then known
        got = await case.ask()
        assert (got.status, got.attempts) == (429, attempts)
        assert got.headers["retry-after"] == "7"
        assert got.headers["x-should-retry"] == "true"
        assert got.json["error"]["type"] == "rate_limit_error"
        assert all(name in got.json["error"]["message"] for name in b.ups)
    assert [len(up.requests) for up in b.ups.values()] == [1, 1, 1]


@RATES.case()
async def longer_than_sdks_heed(case: Case) -> None:
    await case.bench(refusal(case.speech, 429, "rate_limit_error", retry_after="600"))
    assert (await case.ask()).headers["retry-after"] == "60"


CREDIT = "Your credit balance is too low to access the Anthropic API."
QUOTAS: dict[str, tuple[int, str, str, dict[str, str]]] = {
    "insufficient_quota": (429, "insufficient_quota", "You exceeded your current quota", {"retry_after": "1"}),
    "402": (402, "payment_required", "no credit", {}),
    "spend limit": (429, "project_spend_limit_exceeded", "no more", {}),
    "enforced spend limit": (429, "enforced_spend_limit_reached", "no more", {}),
    "credit balance": (400, "invalid_request_error", CREDIT, {}),
}


@QUOTA.case(each=QUOTAS)
async def used_up(case: Case, said: tuple[int, str, str, dict[str, str]]) -> None:
    number, code, message, headers = said
    b = await case.bench(refusal(case.speech, number, code, message, **headers), case.good)
    b.p.scripts.append(case.good)
    b.stop_clock()
    await case.moves_on(str(number), "quota")
    assert await case.state() == "quota"
    case.shift(3599)
    assert (await case.ask()).attempts == "beta=200"
    case.shift(1)
    assert (await case.ask()).attempts == "alpha=200"
    assert await case.state() == "closed"


@QUOTA.case()
async def used_up_everywhere(case: Case) -> None:
    scripts = (refusal(case.speech, 429, "insufficient_quota"), refusal(case.speech, 402, "payment_required"))
    await case.bench(*scripts)
    got = await case.ask()
    assert (got.status, got.json["error"]["code"]) == (402, "insufficient_quota")
    assert got.headers["x-should-retry"] == "false"
    assert "retry-after" not in got.headers


KEYS_REFUSED: dict[str, tuple[int, str, str]] = {
    "401": (401, "authentication_error", "invalid x-api-key"),
    "403 revoked": (403, "permission_error", "this key was revoked"),
    "403 country": (403, "unsupported_country_region_territory", "Country, region, or territory not supported"),
    "400 key": (400, "API_KEY_INVALID", "API key not valid. Please pass a valid API key."),
    "401 address": (401, "invalid_request_error", "Your IP is not authorized"),
}


@KEY.case(each=KEYS_REFUSED)
async def used_once(case: Case, said: tuple[int, str, str]) -> None:
    b = await case.bench(refusal(case.speech, *said), case.good)
    await case.moves_on(str(said[0]), "auth")
    assert await case.state() == "disabled"
    assert await b.server.metric('redeo_connection_up{connection="alpha"}') == 0
    for _ in range(4):  # by four at once: who comes before the refusal may be refused too, who comes later not
        assert {got.attempts for got in await asyncio.gather(*(case.ask() for _ in range(25)))} == {"beta=200"}
    case.shift(100_000)
    assert (await case.ask()).attempts == "beta=200"
    assert len(b.p.requests) == 1


@KEY.case()
async def a_new_key_revives(case: Case) -> None:
    b = await case.bench(refusal(case.speech, 401, "authentication_error"), case.good)
    b.p.scripts.append(case.good)
    await case.moves_on("401", "auth")
    old = b.server.keys["alpha"]
    assert (await b.server.request("PATCH", "/v1/providers/alpha", json={"label": "other"})).status == 200
    assert (await case.ask()).attempts == "beta=200"
    assert (await b.server.connect("alpha")).status == 200
    assert (await case.ask()).attempts == "alpha=200"
    assert b.server.keys["alpha"].encode() in b.p.requests[-1].raw
    assert old.encode() not in b.p.requests[-1].raw
    assert await b.server.metric('redeo_connection_up{connection="alpha"}') == 1


@KEYS.case(each=(401, 403))
async def refused_everywhere(case: Case, number: int) -> None:
    b = await case.bench(*(refusal(case.speech, number, "authentication_error") for _ in range(3)))
    for attempts in (f"alpha={number} beta={number} gamma={number}", ""):
        got = await case.ask()
        assert (got.status, got.json["error"]["code"]) == (502, "upstream_credentials_exhausted")
        assert got.headers["x-should-retry"] == "false"
        assert got.attempts == attempts
        assert all(name in got.json["error"]["message"] for name in b.ups)
    assert [len(up.requests) for up in b.ups.values()] == [1, 1, 1]


MISTAKES = {
    "400": (400, "invalid_request_error", "`temperature` must be at most 2"),
    "413": (413, "request_too_large", "too many bytes"),
    "422": (422, "validation_error", "messages: field required"),
    "415": (415, "invalid_request_error", "no such media"),
    "405": (405, "method_not_allowed", "no"),
    "409": (409, "conflict", "try it differently"),
    "404 route": (404, "not_found", "no such route"),
    "filter of openai": (400, "content_policy_violation", "Your request was rejected by our safety system"),
    "filter of azure": (400, "content_filter", "The response was filtered"),
}
NOT_FOR_CLIENTS = ("set-cookie", "server", "x-powered-by", "location", "www-authenticate")


def parrot(speech: Speech, status: int, code: str, message: str) -> Script:
    """A refusal that repeats the key it was asked with, and has headers that are not for clients."""

    async def script(received: Received, wire: Wire) -> None:
        key = received.header("authorization") or received.header("x-api-key") or ""
        said = f"{message} ({key.removeprefix('Bearer ')})"
        headers = {name.replace("-", "_"): "http://elsewhere.example/" for name in NOT_FOR_CLIENTS}
        await refusal(speech, status, code, said, **headers)(received, wire)

    return script


@MISTAKE.case(each=MISTAKES)
async def of_the_client(case: Case, said: tuple[int, str, str]) -> None:
    number, code, message = said
    b = await case.bench(parrot(case.speech, *said), case.good)
    for _ in range(6):  # nor does it count against the connection
        got = await case.ask()
        assert (got.status, got.attempts) == (number, f"alpha={number}")
        assert got.json["error"]["type"] == code
        assert got.json["error"]["message"].startswith(f"{message} (")
        assert got.headers["x-should-retry"] == "false"
        assert b.server.keys["alpha"].encode() not in got.body
        assert not [name for name in NOT_FOR_CLIENTS if "elsewhere" in got.headers.get(name, "")]
    assert not b.s.requests
    assert await case.state() == "closed"


@MISTAKE.case()
async def told_without_a_body(case: Case) -> None:
    b = await case.bench(answer(b"", 422), case.good)
    got = await case.ask()
    assert got.status == 422
    assert "alpha" in got.json["error"]["message"]
    assert not b.s.requests


def filtered(speech: Speech) -> tuple[dict[str, Any], list[bytes]]:
    """An answer that its provider's filter ended, whole and as a stream. Sources: the references of OpenAI ("Chat
    Completions", "Responses") and Anthropic ("Handling stop reasons"), read 2026-11."""
    whole: dict[str, Any] = json.loads(json.dumps(speech.whole))
    if speech is CHAT:
        whole["choices"][0]["finish_reason"] = "content_filter"
        before, after = b'"finish_reason": "stop"', b'"finish_reason": "content_filter"'
    elif speech is ANTHROPIC:
        whole["stop_reason"] = "refusal"
        before, after = b'"stop_reason": "end_turn"', b'"stop_reason": "refusal"'
    else:
        reason = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
        whole.update(reason)
        before, after = (
            b'"model": "m", "output": [{',
            b'"incomplete_details": {"reason": "content_filter"}, "output": [{',
        )
    events = [event.replace(before, after) for event in speech.events("some ", "words")]
    if speech is RESPONSES:
        events[-1] = events[-1].replace(b"response.completed", b"response.incomplete")
    return whole, events


@MISTAKE.case(fault_free=True)
async def filtered_in_a_good_answer(case: Case) -> None:
    """No shopping for a laxer model: it is an answer, and goes on as it came."""
    whole, events = filtered(case.speech)

    async def script(received: Received, wire: Wire) -> None:
        await (stream(events) if wants_stream(received) else answer(whole))(received, wire)

    await case.bench(script, case.good)
    got = await case.ask()
    assert got.attempts == "alpha=200"
    assert got.body == (b"".join(events) if case.streamed else json.dumps(whole).encode())


LENGTHS = {
    "openai": (400, "context_length_exceeded", "This model's maximum context length is 8192 tokens"),
    "anthropic": (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
    "together": (403, "invalid_request_error", "too many tokens: the input is too long for this model"),
}


@LENGTH.case(each=LENGTHS)
async def too_long(case: Case, said: tuple[int, str, str]) -> None:
    number, code, message = said
    b = await case.bench(refusal(case.speech, *said), case.good)
    got = await case.ask()
    assert (got.status, got.attempts) == (number, f"alpha={number}")
    assert (got.json["error"]["type"], got.json["error"]["message"]) == (code, message)
    assert got.headers["x-should-retry"] == "false"
    assert not b.s.requests
    assert await b.server.metric('redeo_attempts_total{connection="alpha",result="context_length"}') == 1
    assert await case.state() == "closed"
