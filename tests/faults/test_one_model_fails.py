"""One model of a connection fails: its others go on being served by it, and the key is not to blame."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.speech import CHAT, Speech
from tests.support.upstream import Received, Script, Wire, error

STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
MODELS = {"sick": ["alpha/bad", "beta/bad"], "well": ["alpha/good", "beta/good"], "other": ["alpha/worse", "beta/ok"]}


def picky(speech: Speech, failing: Script, *names: str) -> Script:
    """Fails for some of its models."""

    async def script(received: Received, wire: Wire) -> None:
        asked = f"{received.json.get('model', '')} {received.target}"
        one = failing if any(name in asked for name in names or ("bad", "worse")) else speech.good()
        await one(received, wire)

    return script


@STREAMED
async def test_an_overloaded_model_leaves_the_others(bench: Any, speech: Speech, streamed: bool) -> None:
    b = await bench(picky(speech, error(529)), speech.good(), speech=speech, models=MODELS)
    for _ in range(5):
        assert (await b.ask(stream=streamed, model="sick")).attempts == "alpha=529 beta=200"
    for _ in range(3):
        assert (await b.ask(stream=streamed, model="sick")).attempts == "beta=200"
        assert (await b.ask(stream=streamed, model="well")).attempts == "alpha=200"
    assert await b.server.metric('redeo_breaker_state{connection="alpha",state="closed"}') == 1


async def test_one_probe_of_many_finds_out(bench: Any) -> None:
    b = await bench(error(529))
    for _ in range(5):
        await b.ask(model="alpha/bad")
    assert len(b.p.requests) == 5
    b.shift(40)
    release = asyncio.Event()

    async def slow(received: Received, wire: Wire) -> None:
        await release.wait()
        await b.speech.good()(received, wire)

    b.p.scripts[:] = [slow]
    waiting = [asyncio.create_task(b.ask(model="alpha/bad")) for _ in range(30)]
    ended = asyncio.as_completed(waiting)
    for _ in range(29):  # all but the probe are told to come back
        assert (await next(ended)).status == 503
    assert len(b.p.requests) == 6
    release.set()
    assert (await next(ended)).status == 200
    assert (await b.ask(model="alpha/bad")).status == 200


async def test_two_limited_models_are_the_accounts_limit(bench: Any) -> None:
    b = await bench(picky(CHAT, error(429, "rate_limit_exceeded", retry_after="60")), CHAT.good(), models=MODELS)
    assert (await b.ask(model="sick")).attempts == "alpha=429 beta=200"
    assert (await b.ask(model="well")).attempts == "alpha=200"
    assert (await b.ask(model="other")).attempts == "alpha=429 beta=200"
    assert (await b.ask(model="well")).attempts == "beta=200"
    assert await b.server.metric('redeo_breaker_state{connection="alpha",state="cooling"}') == 1
    b.shift(61)
    assert (await b.ask(model="well")).attempts == "alpha=200"


@STREAMED
@pytest.mark.parametrize("status", [401, 403])
async def test_a_model_that_the_key_may_not_use_leaves_the_others(bench: Any, streamed: bool, status: int) -> None:
    refused = error(status, "invalid_request_error", "You are not allowed to sample from this model")
    b = await bench(picky(CHAT, refused), CHAT.good(), models=MODELS)
    assert (await b.ask(stream=streamed, model="sick")).attempts == f"alpha={status} beta=200"
    assert (await b.ask(stream=streamed, model="sick")).attempts == "beta=200"
    assert (await b.ask(stream=streamed, model="well")).attempts == "alpha=200"


async def test_a_prompt_in_a_refusal_costs_nobody_the_connection(bench: Any, speech: Speech) -> None:
    """Whoever wrote a prompt could take the connection away from everybody."""
    message = "Invalid value: 'Incorrect API key provided'. Your credit balance is too low"
    b = await bench(picky(speech, error(400, "invalid_value", message)), speech.good(), speech=speech, models=MODELS)
    for _ in range(2):
        assert (await b.ask(model="sick")).attempts == "alpha=400"
    assert (await b.ask(model="well")).attempts == "alpha=200"


async def test_a_model_that_the_key_may_not_use_is_no_401_for_the_client(bench: Any, speech: Speech) -> None:
    refused = error(401, "invalid_request_error", "You are not allowed to sample from this model")
    b = await bench(refused, speech=speech)
    assert (await b.ask(model="alpha/bad")).status == 404


async def test_an_answer_that_breaks_off_before_its_content_is_about_its_model(bench: Any) -> None:
    async def cut(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        await wire.chunk(b": hello\n\n")
        wire.close()

    b = await bench(picky(CHAT, cut), CHAT.good(), models=MODELS)
    for _ in range(5):
        assert (await b.ask(stream=True, model="sick")).headers["x-redeo-provider"] == "beta"
    assert (await b.ask(stream=True, model="sick")).attempts == "beta=200"
    assert (await b.ask(stream=True, model="well")).attempts == "alpha=200"
