"""Counting tokens: by the provider that serves the model, in its own form, else by an estimate that says so."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from config.model import Operation
from proxy.dialects import counting
from proxy.dialects.base import Target
from tests.dialects.test_cloud_providers import account
from tests.support.speech import ANTHROPIC, CHAT, CONVERSE, GEMINI, RESPONSES, Speech
from tests.support.upstream import answer

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
CLIENTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "messages": (
        "/v1/messages/count_tokens",
        {
            "model": "alpha/m",
            "system": "be brief",
            "messages": [{"role": "user", "content": "hello"}],
            "tools": [{"name": "add", "description": "adds", "input_schema": SCHEMA}],
        },
        "input_tokens",
    ),
    "responses": (
        "/v1/responses/input_tokens",
        {
            "model": "alpha/m",
            "instructions": "be brief",
            "input": "hello",
            "tools": [{"type": "function", "name": "add", "description": "adds", "parameters": SCHEMA}],
        },
        "input_tokens",
    ),
    "gemini": (
        "/v1beta/models/alpha%2Fm:countTokens",
        {
            "generateContentRequest": {
                "systemInstruction": {"parts": [{"text": "be brief"}]},
                "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
                "tools": [{"functionDeclarations": [{"name": "add", "description": "adds", "parameters": SCHEMA}]}],
            }
        },
        "totalTokens",
    ),
}
PROVIDERS: list[tuple[str, Speech, str, dict[str, Any]]] = [
    ("messages", ANTHROPIC, "/v1/messages/count_tokens", {"input_tokens": 41}),
    ("responses", CHAT, "/v1/responses/input_tokens", {"object": "response.input_tokens", "input_tokens": 41}),
    ("gemini", GEMINI, "/v1beta/models/m:countTokens", {"totalTokens": 41}),
    ("converse", CONVERSE, "/model/m/count-tokens", {"inputTokens": 41}),
]
PAIRS = [(client, *row) for client in CLIENTS for row in PROVIDERS]


@pytest.mark.parametrize(
    ("client", "name", "speech", "target", "said"), PAIRS, ids=[f"{row[0]}-by-{row[1]}" for row in PAIRS]
)
async def test_the_providers_own_count_arrives_whatever_it_speaks(
    redeo: Any, provider: Any, client: str, name: str, speech: Speech, target: str, said: dict[str, Any]
) -> None:
    up = await provider(answer(said))
    server = await redeo({"alpha": speech.entry(up)})
    path, body, field = CLIENTS[client]
    got = await server.request("POST", path, json=body)
    assert (got.status, got.json[field]) == (200, 41)
    assert "x-redeo-estimated" not in got.headers
    assert "x-redeo-dropped" not in got.headers
    sent = up.requests[0]
    assert sent.target == target
    for words in ("be brief", "hello", "adds", "integer"):
        assert words in sent.body.decode().lower()
    if client == name:
        assert sent.json == {**body, "model": "m"} if "model" in body else body
    elif name == "gemini":
        assert sent.json["generateContentRequest"]["model"] == "models/m"
    else:
        assert set(sent.json) <= {"model", "input", "instructions", "messages", "system", "tools"}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    "script",
    [
        answer({"message": "The provided model doesn't support counting tokens."}, 400),
        answer({"message": "not found"}, 404),
        answer({"message": "slow down"}, 429),
        answer({"message": "it broke"}, 500),
        answer({"inputTokens": "many"}),
        answer(b"<html>", 200, {"content-type": "text/html"}),
    ],
)
async def test_where_the_counter_fails_the_count_is_an_estimate(
    redeo: Any, provider: Any, client: str, script: Any
) -> None:
    up = await provider(script, script, CONVERSE.good())
    server = await redeo({"alpha": CONVERSE.entry(up)})
    path, body, field = CLIENTS[client]
    for _ in range(2):  # a counter that fails says nothing of the connection
        got = await server.request("POST", path, json=body)
        assert (got.status, got.headers["x-redeo-estimated"]) == (200, "true")
        assert 10 < got.json[field] < 200
        assert got.attempts.startswith("alpha=")
    assert (await server.chat("alpha/m")).status == 200
    assert len(up.requests) == 3


async def test_others_are_served_while_a_large_question_is_weighed(redeo: Any, provider: Any) -> None:
    """Some megabytes take seconds."""
    broken = await provider(answer({"message": "it broke"}, 500))
    server = await redeo({"alpha": CONVERSE.entry(broken)})
    asked = io.BytesIO(json.dumps({"model": "auto", "input": "x=1;y(2);" * 300_000}).encode())
    typed = {"Content-Type": "application/json"}
    weighed = asyncio.create_task(server.request("POST", "/v1/responses/input_tokens", data=asked, headers=typed))
    served = 0
    while not weighed.done():
        assert (await server.request("GET", "/healthz")).status == 200
        served += 1
    assert weighed.result().json["input_tokens"] > 2_000_000
    assert served > 10


async def test_a_question_that_is_none_is_refused_by_its_own_provider(redeo: Any, provider: Any) -> None:
    said = {"type": "error", "error": {"type": "invalid_request_error", "message": "messages: Field required"}}
    up = await provider(answer(said, 400))
    server = await redeo({"alpha": ANTHROPIC.entry(up)})
    got = await server.request("POST", "/v1/messages/count_tokens", json={"model": "alpha/m"})
    assert (got.status, got.json) == (400, said)


async def test_a_conversation_that_lies_elsewhere_is_not_guessed_at(redeo: Any, provider: Any) -> None:
    up = await provider(answer({"error": {"message": "it broke", "type": "server_error"}}, 500))
    server = await redeo({"alpha": RESPONSES.entry(up)})
    asked = {"model": "alpha/m", "input": "go on", "previous_response_id": "resp_abc1"}
    got = await server.request("POST", "/v1/responses/input_tokens", json=asked)
    assert got.status == 502
    assert "x-redeo-estimated" not in got.headers


async def test_the_next_connection_counts_before_anything_is_guessed(redeo: Any, provider: Any) -> None:
    first = await provider(answer({"message": "it broke"}, 500))
    second = await provider(answer({"input_tokens": 41}))
    server = await redeo({"alpha": CONVERSE.entry(first), "beta": ANTHROPIC.entry(second)})
    got = await server.request("POST", "/v1/responses/input_tokens", json={"model": "auto", "input": "hello"})
    assert (got.attempts, got.json["input_tokens"]) == ("alpha=500 beta=200", 41)


async def test_vertex_counts_for_both_publishers(redeo: Any, provider: Any) -> None:
    tokens = await provider(answer({"access_token": "ya29.token", "expires_in": 3600, "token_type": "Bearer"}))
    up = await provider(answer({"totalTokens": 41}), answer({"input_tokens": 42}), answer({"input_tokens": 43}))
    base = up.base_url.removesuffix("/v1") + "/v1/projects/p/locations/global"
    server = await redeo({"vertex": {"base_url": base}}, connect=False)
    key = account(f"http://127.0.0.1:{tokens.port}/token")
    assert (await server.request("POST", "/v1/providers", json={"provider": "vertex", "api_key": key})).status == 201
    _, body, _ = CLIENTS["gemini"]
    got = await server.request("POST", "/v1beta/models/vertex%2Fgemini-x:countTokens", json=body)
    assert got.json == {"totalTokens": 41}
    got = await server.request("POST", "/v1beta/models/vertex%2Fclaude-x:countTokens", json=body)
    assert got.json == {"totalTokens": 42}
    path, body, _ = CLIENTS["messages"]
    got = await server.request("POST", path, json={**body, "model": "vertex/claude-x"})
    assert got.json == {"input_tokens": 43}
    places = "/v1/projects/p/locations/global/publishers"
    assert [r.target for r in up.requests] == [
        f"{places}/google/models/gemini-x:countTokens",
        f"{places}/anthropic/models/count-tokens:rawPredict",
        f"{places}/anthropic/models/count-tokens:rawPredict",
    ]
    assert "generateContentRequest" not in up.requests[0].json
    for sent in up.requests[1:]:
        assert (sent.json["model"], sent.json["anthropic_version"]) == ("claude-x", "vertex-2023-10-16")
        assert "max_tokens" not in sent.json


async def test_bedrock_counts_by_the_model_without_its_region(redeo: Any, provider: Any) -> None:
    up = await provider(answer({"inputTokens": 41}))
    base = up.base_url.removesuffix("/v1") + "/openai/v1"
    server = await redeo({"bedrock": {"base_url": base}})
    path, body, _ = CLIENTS["messages"]
    model = "bedrock/eu.anthropic.claude-sonnet-4-20250514-v1:0"
    got = await server.request("POST", path, json={**body, "model": model})
    assert got.json == {"input_tokens": 41}
    assert up.requests[0].target == "/model/anthropic.claude-sonnet-4-20250514-v1%3A0/count-tokens"


OPERATIONS = {
    "anthropic.count_tokens": Operation.COUNT_TOKENS,
    "gemini.count_tokens": Operation.GEMINI_COUNT,
    "bedrock.count_tokens": Operation.CONVERSE_COUNT,
}


def test_recorded_questions_and_counts_are_read(recordings: Path) -> None:
    seen = 0
    shape = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))
    wanted = shape.operation_model("CountTokens").input_shape
    for path in sorted(recordings.glob("*/*.count_tokens/*.json")):
        exchange = json.loads(path.read_bytes())
        asked = exchange["request"]["body"]
        if exchange["response"]["status"] != 200 or "invokeModel" in asked.get("input", ()):
            continue
        mine = OPERATIONS[exchange["dialect"]]
        count = counting.read_count(mine, exchange["response"]["body"])
        assert count == next(v for k, v in exchange["response"]["body"].items() if "okens" in k and isinstance(v, int))
        request = counting.read_question(mine, asked)
        assert counting.estimated(mine, asked)
        written, losses = counting.write_question(Operation.CONVERSE_COUNT, request, Target("o", "anthropic.claude-x"))
        if not any(loss.content for loss in losses):
            report = ParamValidator().validate({"modelId": "m", **written}, wanted)
            assert not report.has_errors(), report.generate_report()
        seen += 1
    assert seen >= 7
