"""`GET /v1/routing/explain` and the status of a connection: asked of a daemon whose providers have failed."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.admin.conftest import DOCUMENT, require_known_fields
from tests.support.canary import Canaries
from tests.support.daemon import Answer, Redeo
from tests.support.process import Process
from tests.support.upstream import Upstream, chat, drop, error

jsonschema = pytest.importorskip("jsonschema")
EXPLANATION = DOCUMENT["components"]["schemas"]["Explanation"]


async def explained(server: Redeo, query: str = "", *, path: str = "/v1/routing/explain") -> Any:
    """The explanation, held against its description; it never holds a key."""
    got = await server.request("GET", f"{path}{query}")
    assert got.status == 200, got.body
    jsonschema.Draft202012Validator({**EXPLANATION, "components": DOCUMENT["components"]}).validate(got.json)
    require_known_fields(got.json, EXPLANATION)
    for key in (server.key, *server.keys.values()):
        assert key.encode() not in got.body
    return got.json


async def status(server: Redeo, provider: str) -> Any:
    got = await server.request("GET", f"/v1/providers/{provider}")
    assert got.status == 200
    assert got.json["status"]["worker"] == os.getpid()
    return got.json["status"]


def tried(answer: Any) -> list[tuple[str, str]]:
    return [(entry["provider"], entry["model"]) for entry in answer["tried"]]


def left(answer: Any) -> dict[str, str]:
    return {entry["provider"]: entry["reason"] for entry in answer["left_out"]}


def seconds_until(text: str) -> float:
    assert text.endswith("Z")
    return (datetime.fromisoformat(text) - datetime.now(UTC)).total_seconds()


@pytest.fixture
async def good(provider: Any) -> Upstream:
    up: Upstream = await provider(chat())
    return up


async def test_what_is_explained_is_what_a_request_does(redeo: Any, provider: Any, good: Upstream) -> None:
    server = await redeo({"alpha": await provider(error(503)), "beta": good})
    answer = await explained(server)
    assert (answer["model"], answer["operation"], answer["read_as"]) == ("auto", "chat", "auto")
    assert answer["worker"] == os.getpid()
    assert tried(answer) == [("alpha", "alpha-model"), ("beta", "beta-model")]
    assert answer["left_out"] == []
    assert "error" not in answer
    got = await server.chat()
    assert got.attempts == "alpha=503 beta=200"
    assert got.headers["x-redeo-model"] == answer["tried"][1]["model"]


@pytest.mark.parametrize("prefix", ["/v1", ""])
async def test_it_is_asked_as_the_admin_api_is(redeo: Any, good: Upstream, prefix: str) -> None:
    server = await redeo({"alpha": good})
    path = f"{prefix}/routing/explain"
    assert tried(await explained(server, path=path)) == [("alpha", "alpha-model")]
    for headers, code in (
        ({"Authorization": "Bearer wrong-key"}, 401),
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ):
        refused = await server.request("GET", path, headers=headers)
        assert refused.status == code
        assert b"alpha" not in refused.body
    posted = await server.request("POST", path, json={})
    assert (posted.status, posted.headers["Allow"]) == (405, "GET,HEAD")
    got = await server.request("GET", path)
    assert got.headers["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("?modle=auto", "unknown_parameter", "modle"),
        ("?stream=true", "unknown_parameter", "stream"),
        ("?%1b%5b31m=x", "unknown_parameter", None),
        ("?model=", "invalid_model", "model"),
        ("?model=" + "m" * 257, "invalid_model", "model"),
        ("?model=a&model=b", "duplicate_parameter", "model"),
        ("?operation=", "invalid_operation", "operation"),
        ("?operation=models", "invalid_operation", "operation"),
        ("?operation=converse", "invalid_operation", "operation"),
    ],
)
async def test_a_wrong_question_is_refused(
    redeo: Any, good: Upstream, query: str, code: str, param: str | None
) -> None:
    server = await redeo({"alpha": good})
    got = await server.request("GET", f"/v1/routing/explain{query}")
    assert (got.status, got.json["error"]["code"], got.json["error"]["param"]) == (400, code, param)
    assert got.headers["x-should-retry"] == "false"
    assert b"\\u001b" not in got.body


async def test_a_refused_key_disables_until_there_is_a_new_one(redeo: Any, provider: Any, good: Upstream) -> None:
    server = await redeo({"alpha": await provider(error(401, "invalid_api_key"), chat()), "beta": good})
    before = await status(server, "alpha")
    assert before == {"state": "closed", "since": None, "last_error": None, "next_probe": None, "worker": os.getpid()}
    assert (await server.chat()).attempts == "alpha=401 beta=200"
    answer = await explained(server)
    assert left(answer) == {"alpha": "disabled"}
    assert (answer["left_out"][0]["until"], answer["left_out"][0]["retry_in"]) == (None, None)
    assert tried(answer) == [("beta", "beta-model")]
    after = await status(server, "alpha")
    assert (after["state"], after["last_error"], after["next_probe"]) == ("disabled", "auth", None)
    assert -60 < seconds_until(after["since"]) <= 0.5
    assert (await server.connect("alpha")).status == 200
    assert await status(server, "alpha") == before
    assert tried(await explained(server)) == [("alpha", "alpha-model"), ("beta", "beta-model")]


async def test_a_used_up_quota_and_a_wait_say_until_when(redeo: Any, provider: Any, good: Upstream) -> None:
    server = await redeo(
        {
            "alpha": await provider(error(429, "insufficient_quota")),
            "beta": await provider(error(429, "rate_limit_exceeded", retry_after="70")),
            "gamma": good,
        }
    )
    assert (await server.chat()).attempts == "alpha=429 beta=429 gamma=200"
    answer = await explained(server)
    assert left(answer) == {"alpha": "quota", "beta": "cooling"}
    quota, rate = answer["left_out"]
    assert 3500 < quota["retry_in"] <= 3600
    assert 3500 < seconds_until(quota["until"]) <= 3600.5
    assert 10 < rate["retry_in"] <= 70
    assert 10 < seconds_until(rate["until"]) <= 70.5
    found = await status(server, "alpha")
    assert (found["state"], found["last_error"]) == ("quota", "quota")
    assert 3500 < seconds_until(found["next_probe"]) <= 3600.5
    breakers = {row["provider"]: row for row in answer["breakers"]}
    assert list(breakers) == ["alpha", "beta", "gamma"]
    assert breakers["beta"]["last_error"] == "rate"
    assert [(m["model"], m["state"]) for m in breakers["beta"]["models"]] == [("beta-model", "cooling")]
    assert breakers["gamma"]["state"] == "closed"


async def test_an_open_breaker_says_when_it_is_probed(redeo: Any, provider: Any, good: Upstream) -> None:
    server = await redeo({"alpha": await provider(drop()), "beta": good})
    for _ in range(5):
        assert (await server.chat()).status == 200
    answer = await explained(server)
    assert left(answer) == {"alpha": "open"}
    assert 0 < answer["left_out"][0]["retry_in"] <= 36
    breaker = answer["breakers"][0]
    assert (breaker["state"], breaker["failures"]) == ("open", 5)
    found = await status(server, "alpha")
    assert (found["state"], found["since"]) == ("open", breaker["since"])
    assert 0 < seconds_until(found["next_probe"]) <= 36.5
    assert (await server.request("DELETE", "/v1/providers/beta")).status == 200
    alone = await explained(server)
    assert tried(alone) == [("alpha", "alpha-model")]
    assert "nobody else is left" in alone["tried"][0]["note"]


async def test_a_missing_model_is_missing_there_alone(redeo: Any, provider: Any, good: Upstream) -> None:
    gone = await provider(error(404, "model_not_found", "The model `a` does not exist"), chat())
    models = {"smart": ["alpha/a", "beta/b", "alpha/c"]}
    server = await redeo({"alpha": gone, "beta": good}, models=models)
    assert (await server.chat("smart")).attempts == "alpha=404 beta=200"
    answer = await explained(server, "?model=smart")
    assert answer["read_as"] == "alias"
    assert tried(answer) == [("beta", "b"), ("alpha", "c")]
    missing = answer["left_out"][0]
    assert (missing["provider"], missing["model"], missing["reason"]) == ("alpha", "a", "model_missing")
    assert 500 < missing["retry_in"] <= 600
    assert answer["breakers"][0]["state"] == "closed"
    assert [row["model"] for row in answer["breakers"][0]["models"]] == ["a"]


async def test_each_way_to_name_a_model(redeo: Any, provider: Any, good: Upstream) -> None:
    listing = await provider(chat(), models=["vendor-x/model-1", "other"])
    models = {"smart": ["beta/b", "openai/gpt-5"]}
    server = await redeo({"alpha": listing, "beta": good}, models=models)
    answer = await explained(server, "?model=smart")
    assert tried(answer) == [("beta", "b")]
    assert left(answer) == {"alpha": "not_named", "openai": "not_connected"}
    answer = await explained(server, "?model=beta/whatever")
    assert (answer["read_as"], tried(answer), left(answer)) == (
        "provider",
        [("beta", "whatever")],
        {"alpha": "not_named"},
    )
    answer = await explained(server, "?model=Model-1")
    assert answer["read_as"] == "bare"
    assert tried(answer) == [("alpha", "vendor-x/model-1"), ("beta", "Model-1")]
    assert "note" not in answer["tried"][0]
    assert "not known" in answer["tried"][1]["note"]
    answer = await explained(server, "?model=openai/gpt-5")
    assert (answer["read_as"], answer["error"]["code"]) == ("vendor", "model_not_found")


@pytest.mark.parametrize("model", ["no-such-model", "alpha/", "openai/gpt-5"])
async def test_an_unknown_model_is_a_normal_answer_with_the_words_of_a_request(
    redeo: Any, provider: Any, model: str
) -> None:
    server = await redeo({"alpha": await provider(chat(), models=["model-1"])})
    answer = await explained(server, f"?model={model}")
    assert answer["tried"] == []
    assert list(left(answer)) == ["alpha"]
    got = await server.chat(model)
    said = got.json["error"]
    assert (
        (answer["error"]["status"], answer["error"]["code"]) == (got.status, said["code"]) == (404, "model_not_found")
    )
    assert answer["error"]["message"] == said["message"]


async def test_what_nobody_serves_and_nobody_at_all(redeo: Any, good: Upstream) -> None:
    server = await redeo({"alpha": {"base_url": good.base_url, "dialect": "ollama"}})
    answer = await explained(server, "?operation=rerank&model=auto")
    assert left(answer) == {"alpha": "not_spoken"}
    got = await server.request("POST", "/v1/rerank", json={"model": "auto", "query": "x", "documents": ["y"]})
    assert answer["error"]["message"] == got.json["error"]["message"]
    await server.request("DELETE", "/v1/providers/alpha")
    answer = await explained(server)
    got = await server.chat()
    assert (answer["tried"], answer["left_out"], answer["breakers"]) == ([], [], [])
    assert (answer["error"]["status"], answer["error"]["message"]) == (got.status, got.json["error"]["message"])
    assert "redeo providers add" in answer["error"]["message"]


async def test_where_all_are_cooling_the_error_is_the_requests(redeo: Any, provider: Any) -> None:
    server = await redeo({"alpha": await provider(error(429, "rate_limit_exceeded", retry_after="600"))})
    assert (await server.chat()).status == 429
    answer = await explained(server)
    got = await server.chat()
    assert (answer["error"]["status"], answer["error"]["code"]) == (got.status, got.json["error"]["code"])
    assert answer["error"]["retry_after"] == int(got.headers["Retry-After"]) == 60


async def test_another_dialect_and_an_estimate(redeo: Any, good: Upstream) -> None:
    server = await redeo({"alpha": good})
    answer = await explained(server, "?operation=messages")
    assert [(e["mode"], e["via"]) for e in answer["tried"]] == [("translate", "chat")]
    server = await redeo({"alpha": {"base_url": good.base_url, "dialect": "ollama"}})
    answer = await explained(server, "?operation=count_tokens")
    assert (answer["tried"], answer["estimated"], "error" in answer) == ([], True, False)
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    got: Answer = await server.request("POST", "/v1/messages/count_tokens", json=body)
    assert (got.status, got.headers["x-redeo-estimated"]) == (200, "true")
    answer = await explained(server, "?operation=files")
    assert answer["model"] is None


async def test_what_cannot_be_used_says_why(redeo: Any, good: Upstream) -> None:
    server = await redeo({"alpha": good, "beta": good})
    path = server.state / "connections.yaml"
    document = path.read_text()
    sealed = next(line for line in document.splitlines() if "sealed:" in line)
    path.write_text(document.replace(sealed, '    api_key: "${env:NOT_SET_HERE}"', 1))
    assert await server.daemon.store.reload() == []
    answer = await explained(server)
    assert left(answer) == {"alpha": "unusable"}
    assert "NOT_SET_HERE" in answer["left_out"][0]["message"]
    assert answer["breakers"][0]["fault"]
    got = await server.request("GET", "/v1/providers/alpha")
    assert got.json["fault"]
    assert got.json["status"]["state"] == "disabled"


async def test_who_comes_behind_the_last_attempt(redeo: Any, good: Upstream) -> None:
    server = await redeo({"alpha": good, "beta": good, "gamma": good}, routing={"max_attempts": 2})
    answer = await explained(server)
    assert tried(answer) == [("alpha", "alpha-model"), ("beta", "beta-model")]
    assert left(answer) == {"gamma": "max_attempts"}


async def test_the_status_is_no_part_of_the_version_nor_of_the_list(redeo: Any, provider: Any) -> None:
    server = await redeo({"alpha": await provider(error(401, "invalid_api_key"))})
    first = await server.request("GET", "/v1/providers/alpha")
    listed = await server.request("GET", "/v1/providers")
    assert (await server.chat()).status == 502
    second = await server.request("GET", "/v1/providers/alpha")
    assert first.json["status"] != second.json["status"]
    assert first.headers["ETag"] == second.headers["ETag"]
    held = {"If-None-Match": first.headers["ETag"]}
    assert (await server.request("GET", "/v1/providers/alpha", headers=held)).status == 304
    again = await server.request("GET", "/v1/providers")
    assert (again.body, again.headers["ETag"]) == (listed.body, listed.headers["ETag"])
    assert set(again.json["data"][0]) == {"provider", "label", "priority", "key_prefix", "updated_at"}
    assert {name: value for name, value in second.json.items() if name != "status"} == again.json["data"][0]
    match = {"If-Match": first.headers["ETag"]}
    patched = await server.request("PATCH", "/v1/providers/alpha", json={"priority": 3}, headers=match)
    assert (patched.status, "status" in patched.json) == (200, False)


@pytest.mark.parametrize("model", ["auto", "smart", "model-1", "beta/x"])
async def test_where_everybody_fails_the_attempts_are_those_explained(redeo: Any, provider: Any, model: str) -> None:
    failing = [await provider(error(500), models=models) for models in (["model-1"], None, ["model-1"], ["other"])]
    names = ("alpha", "beta", "gamma", "delta")
    server = await redeo(
        dict(zip(names, failing, strict=True)),
        models={"smart": ["delta/d", "openai/gpt-5", "alpha/a", "beta/b"]},
        routing={"max_attempts": 3},
    )
    answer = await explained(server, f"?model={model}")
    got = await server.chat(model)
    assert [attempt.partition("=")[0] for attempt in got.attempts.split()] == [who for who, _ in tried(answer)]
    sent = {name: [received.json["model"] for received in up.requests] for name, up in zip(names, failing, strict=True)}
    assert sent == {name: [m for who, m in tried(answer) if who == name] for name in names}


async def test_nothing_of_an_address_is_shown(redeo: Any, good: Upstream) -> None:
    server = await redeo({"alpha": good})
    assert good.base_url not in json.dumps(await explained(server))


def test_of_several_workers_the_one_that_answers_names_itself(tmp_path: Path, canaries: Canaries) -> None:
    with Process(tmp_path, canaries, config="workers: 2\n") as daemon:
        status, answer = daemon.request("GET", "/v1/routing/explain")
        assert status == 200
        assert answer["worker"] != daemon.process.pid
        os.kill(answer["worker"], 0)
