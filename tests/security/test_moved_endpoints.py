"""A stored key never follows a changed endpoint: over the admin API, by hand, or under another provider's name."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from config.errors import ConfigError
from tests.rooms.config.statefiles import State
from tests.support.daemon import Redeo
from tests.support.upstream import Upstream, chat


@pytest.fixture
async def places(redeo: Any, provider: Any) -> tuple[Redeo, Upstream, Upstream]:
    """A daemon whose connection to `vllm` has a key and an endpoint; that endpoint, and another."""
    own, other = await provider(chat(), models=["m"]), await provider(chat(), models=["m"])
    server: Redeo = await redeo({})
    assert (await server.connect("vllm", endpoint=at(own))).status == 201
    return server, own, other


def at(up: Upstream) -> str:
    return up.base_url


def never_told(up: Upstream, key: str) -> bool:
    return not any(key.encode() in received.raw for received in up.requests + up.list_requests)


@pytest.mark.parametrize("method", ["PATCH", "POST"])
async def test_a_new_endpoint_alone_is_refused_and_nobody_is_called(
    places: tuple[Redeo, Upstream, Upstream], method: str
) -> None:
    server, own, other = places
    path = "/v1/providers/vllm" if method == "PATCH" else "/v1/providers"
    name = {} if method == "PATCH" else {"provider": "vllm"}
    port = own.port
    elsewhere = [at(other), f"http://localhost:{port}/v1", f"https://127.0.0.1:{port}/v1", "https://evil.example", None]
    for endpoint in elsewhere:
        got = await server.request(method, path, json={**name, "endpoint": endpoint, "label": "x"})
        assert (got.status, got.json["error"]["code"]) == (400, "api_key_required"), (endpoint, got.body)
    assert (await server.request("GET", "/v1/providers/vllm")).json["endpoint"] == at(own)
    assert (await server.chat("vllm/m")).status == 200
    assert own.requests
    assert not other.requests
    assert not other.list_requests


async def test_with_a_key_of_its_own_the_new_endpoint_is_told_that_one_alone(
    places: tuple[Redeo, Upstream, Upstream],
) -> None:
    server, own, other = places
    old, fresh = server.keys["vllm"], server.canaries.key("vllm")
    sent = {"endpoint": at(other), "api_key": fresh}
    assert (await server.request("PATCH", "/v1/providers/vllm", json=sent)).status == 200
    assert (await server.chat("vllm/m")).status == 200
    assert (await server.request("POST", "/v1/providers/vllm/test")).json["ok"]
    assert (await server.request("GET", "/v1/models")).status == 200
    told = other.requests + other.list_requests
    assert {received.header("authorization") for received in told} == {f"Bearer {fresh}"}
    assert never_told(other, old)
    assert never_told(own, fresh)


async def test_the_same_endpoint_or_another_path_of_it_keeps_the_key(places: tuple[Redeo, Upstream, Upstream]) -> None:
    server, own, _ = places
    for endpoint in (at(own), at(own).removesuffix("/v1"), at(own) + "/"):
        assert (await server.request("PATCH", "/v1/providers/vllm", json={"endpoint": endpoint})).status == 200
        assert (await server.chat("vllm/m")).status == 200
    assert {received.header("authorization") for received in own.requests} == {f"Bearer {server.keys['vllm']}"}


async def test_a_test_call_and_the_list_of_models_use_the_key_of_that_origin(
    places: tuple[Redeo, Upstream, Upstream],
) -> None:
    server, own, other = places
    await server.request("PATCH", "/v1/providers/vllm", json={"endpoint": at(other)})
    assert (await server.request("POST", "/v1/providers/vllm/test", json={})).json["ok"]
    assert own.list_requests
    assert not other.list_requests
    sneaked = await server.request("POST", "/v1/providers/vllm/test", json={"endpoint": at(other)})
    assert (sneaked.status, sneaked.json["error"]["code"]) == (400, "unknown_field")


async def test_an_endpoint_changed_by_hand_takes_the_key_out_of_use(
    places: tuple[Redeo, Upstream, Upstream],
) -> None:
    server, own, other = places
    file = server.state / "connections.yaml"
    file.write_text(file.read_text().replace(at(own), at(other)))
    assert await server.daemon.store.reload() == []
    assert (await server.chat("vllm/m")).status == 503
    assert "sealed key cannot be opened" in (await server.request("GET", "/v1/providers/vllm")).json["fault"]
    assert (await server.request("POST", "/v1/providers/vllm/test")).json["ok"] is False
    assert not other.requests
    assert not other.list_requests


async def test_a_key_moved_to_another_provider_by_hand_is_not_used(places: tuple[Redeo, Upstream, Upstream]) -> None:
    server, own, other = places
    file = server.state / "connections.yaml"
    file.write_text(file.read_text().replace("vllm:", "llamacpp:").replace(at(own), at(other)))
    assert await server.daemon.store.reload() == []
    assert (await server.chat("llamacpp/m")).status == 503
    assert not other.requests


async def test_a_reference_does_not_follow_a_new_endpoint_either(
    redeo: Any, provider: Any, canary: Any, tmp_path: Path
) -> None:
    key = canary("vllm")
    own, other = await provider(chat()), await provider(chat())
    server = await redeo({}, environ={"VLLM_KEY": key})
    (server.state / "connections.yaml").write_text(
        f'connections:\n  vllm: {{api_key: "${{env:VLLM_KEY}}", endpoint: "{at(own)}"}}\n'
    )
    (server.state / "connections.yaml").chmod(0o600)
    assert await server.daemon.store.reload() == []
    got = await server.request("PATCH", "/v1/providers/vllm", json={"endpoint": at(other)})
    assert (got.status, got.json["error"]["code"]) == (400, "api_key_required")
    assert (await server.chat("vllm/m")).status == 200
    assert own.requests[0].header("authorization") == f"Bearer {key}"
    assert not other.requests


async def test_what_looks_like_a_reference_is_a_key_when_it_comes_over_the_admin_api(
    redeo: Any, provider: Any, canary: Any, tmp_path: Path
) -> None:
    """Else whoever holds the daemon's key could have a file or a variable of the daemon sent to a place of theirs."""
    secret = canary("the machine")
    file = tmp_path / "secret"
    file.write_text(secret)
    thief = await provider(chat())
    server = await redeo({}, environ={"SECRET_VALUE": secret})
    for text in (f"${{file:{file}}}", "${env:SECRET_VALUE}"):
        sent = {"provider": "vllm", "api_key": text, "endpoint": at(thief)}
        got = await server.request("POST", "/v1/providers", json=sent)
        assert got.status in (200, 201, 400)
        await server.chat("vllm/m")
    assert await server.daemon.store.reload() == []
    await server.chat("vllm/m")
    assert never_told(thief, secret)


async def test_a_key_that_goes_where_redeo_yaml_says_does_so_with_a_warning(
    redeo: Any, provider: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The person's own file may move a provider (docs/decisions/0001); it is said, with the addresses and no key."""
    own, other = await provider(chat()), await provider(chat())
    server = await redeo({"alpha": own})
    text = server.config.read_text()
    with caplog.at_level(logging.WARNING, "redeo.config"):
        server.config.write_text(text.replace(at(own), at(other)))
        assert await server.daemon.store.reload() == []
    assert f"alpha: its key now goes to {at(other).removesuffix('/v1')}" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "redeo.config"):
        server.config.write_text(server.config.read_text().replace("alpha-model", "another-model"))
        assert await server.daemon.store.reload() == []
    assert not caplog.records


# --- who may write redeo.yaml, which says where keys go


@pytest.mark.parametrize("mode", [0o602, 0o666, 0o646, 0o777])
def test_a_configuration_that_others_can_write_is_not_taken(state: State, mode: int) -> None:
    state.configure("workers: 2\n")
    state.paths.config_file.chmod(mode)
    with pytest.raises(ConfigError, match=r"others can change it .*run: chmod go-w") as caught:
        state.open()
    assert str(state.paths.config_file) in str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o444, 0o640])
def test_a_configuration_that_others_can_read_is_taken(state: State, mode: int) -> None:
    state.configure("workers: 2\n")
    state.paths.config_file.chmod(mode)
    assert state.open().current.settings.workers == 2


def test_a_group_of_others_may_not_write_it_and_ones_own_may(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    state.configure("workers: 2\n")
    state.paths.config_file.chmod(0o664)
    owner = state.paths.config_file.stat()
    if os.geteuid() != 0:
        monkeypatch.setattr(os, "getegid", lambda: owner.st_gid if owner.st_gid == owner.st_uid else -1)
    else:
        assert state.open().current.settings.workers == 2
        os.chown(state.paths.config_file, 0, 12345)
        with pytest.raises(ConfigError, match="others can change it"):
            state.open()
