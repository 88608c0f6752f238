"""How a connection is asked is worked out once and kept; each request is asked for by what it says all the same."""

from __future__ import annotations

from typing import Any

from tests.support.speech import CHAT
from tests.support.upstream import Upstream

VERSION = "2025-04-01-preview"


def _azure(up: Upstream) -> dict[str, Any]:
    return {"base_url": up.base_url.removesuffix("/v1") + "/openai", "api_version": VERSION}


async def _asked(server: Any, name: str) -> None:
    got = await server.request("POST", "/v1/chat/completions", json={**CHAT.body, "model": f"azure-deployments/{name}"})
    assert got.status == 200, got.body


async def test_each_model_is_asked_at_its_own_path(redeo: Any, provider: Any) -> None:
    up = await provider(CHAT.good())
    server = await redeo({"azure-deployments": _azure(up)})
    for name in ("one", "two", "one"):
        await _asked(server, name)
    paths = [f"/openai/deployments/{name}/chat/completions?api-version={VERSION}" for name in ("one", "two", "one")]
    assert [received.target for received in up.requests] == paths


async def test_names_that_clients_make_up_do_not_pile_up(redeo: Any, provider: Any) -> None:
    up = await provider(CHAT.good())
    server = await redeo({"azure-deployments": _azure(up)})
    for number in range(300):
        await _asked(server, f"made-up-{number}")
    (connection,) = server.daemon.store.current.connections
    assert 0 < len(connection.kept) <= 256
    assert "/made-up-299/" in up.requests[-1].target


async def test_what_the_client_says_of_a_header_holds_for_its_own_request(redeo: Any, provider: Any) -> None:
    up = await provider(CHAT.good())
    server = await redeo({"alpha": {"base_url": up.base_url, "headers": {"X-Title": "ours"}}})
    for said in ({}, {"X-Title": "mine"}, {}):
        assert (await server.request("POST", "/v1/chat/completions", json=CHAT.body, headers=said)).status == 200
    assert [received.header("x-title") for received in up.requests] == ["ours", "mine", "ours"]


async def test_a_new_key_is_used_by_the_next_request(redeo: Any, provider: Any) -> None:
    up = await provider(CHAT.good())
    server = await redeo({"alpha": up})
    keys = []
    for _ in range(2):
        assert (await server.chat()).status == 200
        keys.append(server.keys["alpha"])
        assert (await server.connect("alpha")).status == 200
    (connection,) = server.daemon.store.current.connections
    assert not connection.kept  # what was worked out went with the connection that it was of
    assert [received.header("authorization") for received in up.requests] == [f"Bearer {key}" for key in keys]


async def test_nothing_that_is_kept_shows_the_key(redeo: Any, provider: Any) -> None:
    up = await provider(CHAT.good())
    server = await redeo({"alpha": up})
    assert (await server.chat()).status == 200
    (connection,) = server.daemon.store.current.connections
    assert connection.kept
    assert server.keys["alpha"] not in f"{connection!r} {connection.kept!r}"
