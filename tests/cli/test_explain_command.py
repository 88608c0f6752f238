"""`redeo explain`, and what `providers list` and `doctor` say of connections that are not well."""

from __future__ import annotations

import getpass
import io
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.client import Json
from proxy.cli.explain import state_text
from tests.cli.conftest import Command, Result
from tests.support.daemon import Redeo
from tests.support.upstream import chat, drop, error

Ask = Callable[..., Awaitable[Result]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def ask(command: Command, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """One command about that daemon, whose files lie elsewhere."""

    async def run(server: Redeo, *argv: str, stdin: io.StringIO | str = "") -> Result:
        monkeypatch.setenv("REDEO_LISTEN", f"127.0.0.1:{server.daemon.address[1]}")
        monkeypatch.setenv("REDEO_STATE_DIR", str(server.state))
        monkeypatch.setenv("REDEO_CONFIG", str(server.config))
        return await command(*argv, stdin=stdin)

    return run


async def failing(redeo: Any, provider: Any, **settings: Any) -> Redeo:
    """Three connections: one whose key was refused, one that has to wait, one that is well."""
    server: Redeo = await redeo(
        {
            "alpha": await provider(error(401, "invalid_api_key")),
            "beta": await provider(error(429, "rate_limit_exceeded", retry_after="600")),
            "gamma": await provider(chat()),
        },
        **settings,
    )
    assert (await server.chat()).attempts == "alpha=401 beta=429 gamma=200"
    return server


async def test_who_is_tried_and_who_is_not(redeo: Any, provider: Any, ask: Ask) -> None:
    server = await failing(redeo, provider)
    result = await ask(server, "explain")
    assert (result.code, result.err) == (0, "")
    head, _, titles, row, _, others, first, second, _, held, *breakers = result.out.splitlines()
    assert head == "auto (chat): every connection with its default model"
    assert titles.split() == ["TRY", "PROVIDER", "MODEL", "HOW", "STATE"]
    assert re.split(r"  +", row) == ["1", "gamma", "gamma-model", "as it is", "ok"]
    assert others.split() == ["LEFT", "OUT", "MODEL", "WHY"]
    assert re.split(r"  +", first) == ["alpha", "alpha-model", "disabled: its key was refused"]
    assert re.match(r"beta +beta-model +cooling until [\d: -]+: it asked to wait", second)
    assert held.split() == ["BREAKER", "MODEL", "STATE", "SINCE", "LAST", "FAILURE"]
    assert re.match(r"alpha +disabled +[\d: -]+  auth$", breakers[0])
    assert re.match(r"beta +cooling until [\d: -]+ +rate$", breakers[1])
    assert re.match(r"beta +beta-model +cooling until [\d: -]+ +rate$", breakers[2])
    assert len(breakers) == 3


async def test_json_is_the_answer_of_the_daemon(redeo: Any, provider: Any, ask: Ask) -> None:
    server = await failing(redeo, provider)
    result = await ask(server, "explain", "--model", "gamma/m", "--operation", "messages", "--json")
    assert result.code == 0
    assert (result.json["model"], result.json["operation"]) == ("gamma/m", "messages")
    assert result.json["tried"] == [{"provider": "gamma", "model": "m", "mode": "translate", "via": "chat"}]
    table = await ask(server, "explain", "--model", "gamma/m", "--operation", "messages")
    assert "translated to chat" in table.out


async def test_nobody_is_exit_code_1_with_the_words_of_a_request(redeo: Any, provider: Any, ask: Ask) -> None:
    server = await redeo({"alpha": await provider(chat(), models=["m"])})
    result = await ask(server, "explain", "--model", "no such & model?")
    said = (await server.chat("no such & model?")).json["error"]["message"]
    assert (result.code, result.err) == (1, "")
    assert result.out.splitlines()[-1] == f"nobody is tried; a request would get 404 model_not_found: {said}"
    assert "not served: " in result.out
    assert (await ask(server, "explain", "--model", "no-such", "--json")).code == 1
    await server.request("DELETE", "/v1/providers/alpha")
    empty = await ask(server, "explain")
    assert empty.code == 1
    assert "redeo providers add" in empty.out
    assert len(empty.out.splitlines()) == 3


async def test_an_estimate_is_an_answer(redeo: Any, provider: Any, ask: Ask) -> None:
    up = await provider(chat())
    server = await redeo({"alpha": {"base_url": up.base_url, "dialect": "ollama"}})
    result = await ask(server, "explain", "--operation", "count_tokens")
    assert result.code == 0
    assert "estimate" in result.out.splitlines()[-1]


async def test_a_wrong_question_is_answered_by_the_daemon(redeo: Any, provider: Any, ask: Ask) -> None:
    server = await redeo({"alpha": await provider(chat())})
    result = await ask(server, "explain", "--operation", "chatting")
    assert (result.code, result.out) == (1, "")
    assert "operation must be one of" in result.err
    assert "messages" in result.err


async def test_without_a_daemon_it_says_how_to_start_one(command: Command, nobody: int, places: Path) -> None:
    (places / "state").mkdir(mode=0o700)
    (places / "state" / "api.key").touch(mode=0o600)
    (places / "state" / "api.key").write_text("redeo-a-key-that-is-long-enough-for-this\n")
    result = await command("explain", "--listen", f"127.0.0.1:{nobody}")
    assert (result.code, result.out) == (1, "")
    assert "no daemon answers" in result.err
    assert "redeo serve" in result.err


async def test_the_list_shows_what_is_not_well(redeo: Any, provider: Any, ask: Ask) -> None:
    server = await failing(redeo, provider)
    header, *rows = (await ask(server, "providers", "list")).out.splitlines()
    assert header.split()[-1] == "STATE"
    assert rows[0].endswith("disabled")
    assert re.search(r"cooling until [\d: -]+; beta-model: cooling until [\d: -]+$", rows[1])
    assert rows[2].endswith("Z")
    await server.request("DELETE", "/v1/providers/alpha")
    await server.request("DELETE", "/v1/providers/beta")
    assert "STATE" not in (await ask(server, "providers", "list")).out


async def test_the_doctor_names_who_is_left_out(redeo: Any, provider: Any, ask: Ask) -> None:
    server = await failing(redeo, provider)
    result = await ask(server, "doctor", "--offline", "--json")
    found = [row for row in result.json["data"] if row["check"] == "routing"]
    assert [row["status"] for row in found] == ["warn", "warn"]
    assert found[0]["message"] == "alpha: disabled (last failure: auth)"
    assert "redeo providers add alpha" in found[0]["advice"]
    assert "redeo providers test alpha" in found[0]["advice"]
    assert found[1]["message"].startswith("beta: cooling until ")
    assert "; beta-model: cooling until " in found[1]["message"]
    assert "redeo explain" in found[1]["advice"]
    for name in ("alpha", "beta"):
        await server.request("DELETE", f"/v1/providers/{name}")
    result = await ask(server, "doctor", "--offline", "--json")
    assert [(r["status"], r["advice"]) for r in result.json["data"] if r["check"] == "routing"] == [("ok", "")]


async def test_the_command_advised_for_a_refused_key_asks_for_another(
    redeo: Any, provider: Any, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await failing(redeo, provider)
    prompts: list[str] = []
    monkeypatch.setattr(getpass, "getpass", lambda prompt: prompts.append(prompt) or "")
    said = (await ask(server, "doctor", "--offline")).out
    advised = re.search(r"`redeo (providers \w+ alpha)` with a new key", said)
    assert advised is not None, said
    await ask(server, *advised[1].split(), stdin=Terminal())
    assert prompts == ["API key for alpha: "]


async def test_an_open_breaker_alone_is_tried_and_marked(redeo: Any, provider: Any, ask: Ask) -> None:
    server = await redeo({"alpha": await provider(drop())})
    for _ in range(5):
        await server.chat()
    result = await ask(server, "explain")
    assert result.code == 0
    assert re.search(r"alpha +alpha-model +as it is +open until [\d: -]+ +its breaker is open", result.out)


def test_a_time_of_another_day_says_which() -> None:
    breaker: Json = {"state": "open", "next_probe": "2020-01-05T12:00:00Z", "models": []}
    assert re.fullmatch(r"open until 2020-01-0[456] \d\d:\d\d", state_text(breaker))


def test_many_models_do_not_fill_the_screen() -> None:
    models = [{"model": f"m{n}", "state": "half_open", "next_probe": None} for n in range(9)]
    text = state_text(json.loads(json.dumps({"state": "closed", "next_probe": None, "models": models})))
    assert text == "ok; m0: half open; m1: half open; m2: half open; 6 more models"
