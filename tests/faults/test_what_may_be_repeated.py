"""After a failure of unknown effect another connection is tried only where that can do no harm."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.speech import ANTHROPIC, CHAT, GEMINI, RESPONSES, Speech
from tests.support.upstream import drop, error

SEARCH: dict[str, list[Any]] = {
    "chat": [],
    "messages": [{"type": "web_search_20250305", "name": "web_search"}],
    "responses": [{"type": "web_search"}, {"type": "function", "name": "f", "parameters": {"type": "object"}}],
}
CODE: dict[str, list[Any]] = {
    "messages": [{"type": "code_execution_20260120", "name": "code_execution"}],
    "responses": [{"type": "code_interpreter", "container": {"type": "auto"}}],
}


def asked(speech: Speech) -> dict[str, Any]:
    return {"web_search_options": {}} if speech is CHAT else {"tools": SEARCH[speech.name]}


@pytest.mark.parametrize("status", [500, 503])
async def test_a_search_is_asked_again_where_the_provider_says_that_it_failed(
    bench: Any, speech: Speech, status: int
) -> None:
    b = await bench(error(status), speech.good(), speech=speech)
    assert (await b.ask(**asked(speech))).attempts == f"alpha={status} beta=200"


async def test_a_search_is_not_asked_again_where_the_connection_was_lost(bench: Any, speech: Speech) -> None:
    b = await bench(drop(), speech.good(), speech=speech)
    got = await b.ask(**asked(speech))
    assert (got.status, got.json["error"]["code"]) == (502, "upstream_uncertain")
    assert not b.s.requests


@pytest.mark.parametrize("speech", [ANTHROPIC, RESPONSES], ids=lambda speech: speech.name)
async def test_code_that_the_provider_ran_is_not_run_again(bench: Any, speech: Speech) -> None:
    b = await bench(error(500), speech.good(), speech=speech)
    got = await b.ask(tools=CODE[speech.name])
    assert (got.status, got.json["error"]["code"]) == (502, "upstream_uncertain")
    assert not b.s.requests


async def test_tools_that_come_among_the_input_count_too(bench: Any) -> None:
    b = await bench(error(500), RESPONSES.good(), speech=RESPONSES)
    later = {"type": "additional_tools", "tools": CODE["responses"]}
    got = await b.ask(input=[later, {"role": "user", "content": "x"}])
    assert (got.status, got.json["error"]["code"]) == (502, "upstream_uncertain")


@pytest.mark.parametrize(
    ("tools", "status"),
    [([{"googleSearch": {}}], 200), ([{"codeExecution": {}}], 502), ([{"functionDeclarations": []}], 200)],
)
async def test_googles_own_tools_are_told_apart(redeo: Any, provider: Any, tools: list[Any], status: int) -> None:
    ups = [await provider(error(500)), await provider(GEMINI.good())]
    server = await redeo({name: GEMINI.entry(up) for name, up in zip(("alpha", "beta"), ups, strict=True)})
    path, body = GEMINI.asked(tools=tools)
    assert (await server.request("POST", path, json=body)).status == status


async def test_a_tool_that_was_left_out_has_done_nothing(redeo: Any, provider: Any) -> None:
    """What was sent counts, not what the client had asked for."""
    ups = [await provider(error(500)), await provider(ANTHROPIC.good())]
    alpha = {"base_url": ups[0].base_url.removesuffix("/v1"), "dialect": "cohere"}
    server = await redeo({"alpha": alpha, "beta": ANTHROPIC.entry(ups[1])})
    path, body = RESPONSES.asked(tools=[*CODE["responses"], *SEARCH["responses"]])
    got = await server.request("POST", path, json=body)
    assert (got.status, got.attempts) == (200, "alpha=500 beta=200"), got.body
    assert "code_interpreter" not in json.dumps(ups[0].requests[0].json)
