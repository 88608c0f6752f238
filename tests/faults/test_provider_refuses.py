"""Providers that answer with an error status: which of them move on, which do not, and for how long."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tests.support.speech import ANTHROPIC, CHAT, Bench, Speech, outcome
from tests.support.upstream import Script, answer, chat, error

STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])


def said(bench: Bench) -> str:
    """The code of a refusal of the daemon's own."""
    return str(bench.answers[-1].json["error"]["code"])


@STREAMED
@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 529, 599])
async def test_a_failing_provider(bench: Any, status: int, streamed: bool) -> None:
    b = await bench(error(status), chat())
    got = await b.ask(stream=streamed)
    assert (got.status, got.attempts) == (200, f"alpha={status} beta=200")
    kind = "overload" if status in (503, 529) else "upstream_5xx"
    assert await b.server.metric(outcome("alpha", kind)) == 1


@STREAMED
@pytest.mark.parametrize("status", [500, 503, 529])
async def test_a_failing_provider_of_each_dialect(bench: Any, speech: Speech, status: int, streamed: bool) -> None:
    b = await bench(error(status), speech.good(), speech=speech)
    assert (await b.ask(stream=streamed)).attempts == f"alpha={status} beta=200"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_failure_of_unknown_effect_is_not_repeated(bench: Any, speech: Speech, status: int) -> None:
    b = await bench(error(status), speech.good(), speech=speech)
    assert (await b.ask(store=True)).status == 502
    assert said(b) == "upstream_uncertain"
    assert not b.s.requests


@pytest.mark.parametrize("status", [401, 403, 404, 429, 529])
async def test_a_refusal_proves_that_nothing_was_done(bench: Any, speech: Speech, status: int) -> None:
    b = await bench(error(status, "model_not_found" if status == 404 else "refused"), speech.good(), speech=speech)
    assert (await b.ask(store=True)).attempts == f"alpha={status} beta=200"


@pytest.mark.parametrize("status", [100, 101, 199, 600, 999])
async def test_a_status_that_means_nothing(bench: Any, status: int) -> None:
    async def odd(received: Any, wire: Any) -> None:
        await wire.head(status, {"content-length": "0"}, framing="length")
        wire.close()

    b = await bench(odd, chat())
    got = await b.ask()
    assert (got.status, got.headers["x-redeo-provider"]) == (200, "beta")


@pytest.mark.parametrize("tail", ["hang", "fin", "endless"])
async def test_a_failure_whose_body_never_ends_costs_no_more_than_the_clock(bench: Any, tail: str) -> None:
    async def trickle(received: Any, wire: Any) -> None:
        await wire.head(500, {"content-type": "application/json"})
        await wire.chunk(b'{"error": {"message": "')
        while tail == "endless" and not received.gone.is_set():
            await wire.chunk(b"x" * 65536)
        if tail == "fin":
            wire.close()
        else:
            await received.gone.wait()

    b = await bench(trickle, chat())
    begun = time.monotonic()
    assert (await b.ask()).attempts == "alpha=500 beta=200"
    assert time.monotonic() - begun < 1


def _in(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


WAITS = {
    "seconds": (lambda: {"retry_after": "2"}, 2.0),
    "float": (lambda: {"retry_after": "1.5"}, 1.5),
    "milliseconds": (lambda: {"retry_after_ms": "700"}, 0.7),
    "date": (lambda: {"date": _in(0), "retry_after": _in(3)}, 3.0),
    "none": (dict, 10.0),
    "garbage": (lambda: {"retry_after": "soon"}, 10.0),
    "too long": (lambda: {"retry_after": "86400"}, 900.0),
}


@STREAMED
@pytest.mark.parametrize("kind", WAITS)
async def test_after_a_429_it_is_left_alone_until_it_said(bench: Any, kind: str, streamed: bool) -> None:
    make, seconds = WAITS[kind]
    headers: dict[str, str] = make()
    b = await bench(error(429, "rate_limit_exceeded", **headers), chat())
    b.p.scripts.append(chat("again"))
    assert (await b.ask(stream=streamed)).attempts == "alpha=429 beta=200"
    assert (await b.ask(stream=streamed)).attempts == "beta=200"
    b.shift(seconds - 0.2)
    assert (await b.ask(stream=streamed)).attempts == "beta=200"
    b.shift(0.25)
    assert (await b.ask(stream=streamed)).attempts == "alpha=200"


async def test_after_a_429_it_is_asked_again_in_real_time(bench: Any) -> None:
    b = await bench(error(429, "rate_limit_exceeded", retry_after_ms="300"), chat())
    b.p.scripts.append(chat("again"))
    begun = time.monotonic()
    while (await b.ask()).attempts != "alpha=200":
        assert time.monotonic() - begun < 1
    assert 0.3 <= time.monotonic() - begun < 0.4
    assert len(b.p.requests) == 2


@STREAMED
async def test_429_on_all_tells_when_to_come_back(bench: Any, speech: Speech, streamed: bool) -> None:
    b = await bench(
        error(429, "rate_limit_exceeded", retry_after="30"),
        error(429, "rate_limit_exceeded", retry_after="7"),
        speech=speech,
    )
    for attempts in ("alpha=429 beta=429", ""):  # asked, and then known
        got = await b.ask(stream=streamed)
        assert got.status == 429
        assert got.attempts == attempts
        assert got.headers["retry-after"] == "7"
        assert got.headers["x-should-retry"] == "true"
        assert got.json["error"]["type"] == "rate_limit_error"
        assert "alpha" in got.json["error"]["message"]
        assert "beta" in got.json["error"]["message"]
    assert (len(b.p.requests), len(b.s.requests)) == (1, 1)


async def test_the_wait_told_is_one_that_sdks_heed(bench: Any) -> None:
    b = await bench(error(429, "rate_limit_exceeded", retry_after="600"))
    assert (await b.ask()).headers["retry-after"] == "60"


QUOTAS: dict[str, tuple[Script, Speech]] = {
    "insufficient_quota": (error(429, "insufficient_quota", retry_after="1"), CHAT),
    "402": (error(402, "payment_required"), CHAT),
    "spend limit": (error(429, "project_spend_limit_exceeded"), CHAT),
    "anthropic spend limit": (error(429, "enforced_spend_limit_reached"), ANTHROPIC),
    "anthropic credit": (
        error(400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
        ANTHROPIC,
    ),
}


@STREAMED
@pytest.mark.parametrize("kind", QUOTAS)
async def test_a_used_up_quota_rests_an_hour(bench: Any, kind: str, streamed: bool) -> None:
    script, speech = QUOTAS[kind]
    b = await bench(script, speech.good(), speech=speech)
    assert (await b.ask(stream=streamed)).headers["x-redeo-provider"] == "beta"
    b.shift(3590)
    assert (await b.ask(stream=streamed)).attempts == "beta=200"
    assert len(b.p.requests) == 1
    assert await b.server.metric('redeo_breaker_state{connection="alpha",state="quota"}') == 1
    b.shift(20)
    assert (await b.ask(stream=streamed)).attempts.startswith("alpha=4")
    assert len(b.p.requests) == 2


async def test_a_quota_used_up_everywhere_is_a_402(bench: Any, speech: Speech) -> None:
    b = await bench(error(429, "insufficient_quota"), error(402, "payment_required"), speech=speech)
    got = await b.ask(stream=True)
    assert (got.status, said(b)) == (402, "insufficient_quota")
    assert got.headers["x-should-retry"] == "false"
    assert "retry-after" not in got.headers


REFUSED_KEYS = {
    "401": (401, "invalid_api_key", "Incorrect API key provided"),
    "403 revoked": (403, "permission_error", "this key was revoked"),
    "403 country": (403, "unsupported_country_region_territory", "Country, region, or territory not supported"),
    "400 key": (400, "API_KEY_INVALID", "API key not valid. Please pass a valid API key."),
    "ip": (401, "invalid_request_error", "Your IP is not authorized"),
}


@STREAMED
@pytest.mark.parametrize("kind", REFUSED_KEYS)
async def test_a_refused_key_is_used_once(bench: Any, kind: str, streamed: bool) -> None:
    b = await bench(error(*REFUSED_KEYS[kind]), chat())
    assert (await b.ask(stream=streamed)).attempts == f"alpha={REFUSED_KEYS[kind][0]} beta=200"
    for _ in range(20):
        assert (await b.ask(stream=streamed)).attempts == "beta=200"
    assert len(b.p.requests) == 1
    assert await b.server.metric('redeo_breaker_state{connection="alpha",state="disabled"}') == 1
    assert await b.server.metric('redeo_connection_up{connection="alpha"}') == 0
    b.shift(100_000)
    assert (await b.ask(stream=streamed)).attempts == "beta=200"


async def test_a_new_key_revives(bench: Any, speech: Speech) -> None:
    b = await bench(error(401, "invalid_api_key"), speech.good(), speech=speech)
    b.p.scripts.append(speech.good())
    await b.ask()
    old = b.server.keys["alpha"]
    assert (await b.server.request("PATCH", "/v1/providers/alpha", json={"label": "other"})).status == 200
    assert (await b.ask()).attempts == "beta=200"
    assert (await b.server.connect("alpha")).status == 200
    assert (await b.ask()).attempts == "alpha=200"
    sent = dict((k.lower(), v) for k, v in b.p.requests[-1].headers)
    shown = sent.get("authorization") or sent["x-api-key"]
    assert b.server.keys["alpha"] in shown
    assert old not in shown
    assert await b.server.metric('redeo_connection_up{connection="alpha"}') == 1


@STREAMED
@pytest.mark.parametrize("status", [401, 403])
async def test_refused_keys_on_all_are_never_a_401(bench: Any, speech: Speech, status: int, streamed: bool) -> None:
    b = await bench(error(status, "invalid_api_key"), error(status, "invalid_api_key"), speech=speech)
    for attempts in (f"alpha={status} beta={status}", ""):
        got = await b.ask(stream=streamed)
        assert (got.status, said(b)) == (502, "upstream_credentials_exhausted")
        assert got.headers["x-should-retry"] == "false"
        assert got.attempts == attempts
        assert "alpha" in got.json["error"]["message"]
    assert (len(b.p.requests), len(b.s.requests)) == (1, 1)


MISTAKES = {
    "bad request": (400, "invalid_request_error", "`temperature` must be at most 2"),
    "too large": (413, "request_too_large", "too many bytes"),
    "unprocessable": (422, "validation_error", "messages: field required"),
    "unsupported": (415, "invalid_request_error", "no such media"),
    "method": (405, "method_not_allowed", "no"),
    "conflict": (409, "conflict", "try it differently"),
    "filtered": (400, "content_policy_violation", "Your request was rejected by our safety system"),
    "filtered by azure": (400, "content_filter", "The response was filtered"),
    "context": (400, "context_length_exceeded", "This model's maximum context length is 8192 tokens"),
    "context by words": (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
    "context at 403": (403, "invalid_request_error", "too many tokens: the input is too long for this model"),
}


@STREAMED
@pytest.mark.parametrize("kind", MISTAKES)
async def test_the_clients_own_mistake_comes_back_as_it_was_said(
    bench: Any, speech: Speech, kind: str, streamed: bool
) -> None:
    status, code, message = MISTAKES[kind]
    b = await bench(error(status, code, message), speech.good(), speech=speech)
    for _ in range(6):  # nor does it count against the connection
        got = await b.ask(stream=streamed)
        assert got.status == status
        assert got.json == {"error": {"message": message, "type": code, "code": code, "param": None}}
        assert got.headers["x-should-retry"] == "false"
        assert got.attempts == f"alpha={status}"
        assert got.headers["x-redeo-provider"] == "alpha"
    assert not b.s.requests
    assert await b.server.metric('redeo_breaker_state{connection="alpha",state="closed"}') == 1


async def test_a_mistake_told_without_a_body_is_told_in_our_words(bench: Any, speech: Speech) -> None:
    b = await bench(answer(b"", 422), speech.good(), speech=speech)
    got = await b.ask()
    assert got.status == 422
    assert "alpha" in got.json["error"]["message"]
    assert not b.s.requests


@STREAMED
async def test_a_model_that_is_not_there_is_looked_for_elsewhere(bench: Any, speech: Speech, streamed: bool) -> None:
    b = await bench(error(404, "model_not_found", "The model `x` does not exist"), speech.good(), speech=speech)
    assert (await b.ask(stream=streamed)).attempts == "alpha=404 beta=200"
    assert (await b.ask(stream=streamed)).attempts == "beta=200"
    b.shift(601)
    assert (await b.ask(stream=streamed)).attempts == "alpha=404 beta=200"
