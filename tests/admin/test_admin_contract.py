"""Each row of the admin contract, as a script would use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from admin_api.ports import TestResult
from config.store import ConfigStore

Canary = Callable[[str], str]
LISTED = {"provider", "label", "priority", "key_prefix", "updated_at"}


async def order(admin: Any) -> list[tuple[str, int]]:
    listed = (await admin.call("GET")).json["data"]
    return [(c["provider"], c["priority"]) for c in listed]


async def test_the_catalogue_lists_every_provider_by_id_with_exactly_four_fields(
    admin: Any, store: ConfigStore
) -> None:
    answer = await admin.call("GET", "/catalog")
    assert answer.status == 200
    ids = [entry["id"] for entry in answer.json["data"]]
    assert ids == sorted(store.current.providers)
    for entry in answer.json["data"]:
        spec = store.current.providers[entry["id"]]
        assert entry == {
            "id": spec.id,
            "label": spec.label,
            "credentialKind": spec.credential.value,
            "supportsEndpoint": spec.supports_endpoint,
        }


async def test_without_connections_the_list_is_empty(admin: Any) -> None:
    answer = await admin.call("GET")
    assert (answer.status, answer.json) == (200, {"data": []})


async def test_a_new_connection_is_201_and_an_update_200(admin: Any, canary: Canary) -> None:
    key, other = canary("openai"), canary("openai")
    added = await admin.add("openai", key)
    assert added.status == 201
    assert set(added.json) == LISTED
    assert added.json["provider"] == "openai"
    assert added.json["priority"] == 500
    assert added.json["key_prefix"] == key[:12]
    assert datetime.fromisoformat(added.json["updated_at"]).tzinfo is not None

    updated = await admin.add("openai", other, label="Mine", priority=7)
    assert updated.status == 200
    assert (updated.json["label"], updated.json["priority"]) == ("Mine", 7)
    assert (await admin.call("GET")).json["data"] == [updated.json]


async def test_the_list_is_in_the_order_tried_with_equal_ones_oldest_first(admin: Any, canary: Canary) -> None:
    for provider in ("openai", "anthropic", "third"):
        assert (await admin.add(provider, canary(provider))).status == 201
    assert await order(admin) == [("openai", 500), ("anthropic", 510), ("third", 520)]
    await admin.call("PATCH", "/third", {"priority": 0})
    await admin.call("PATCH", "/anthropic", {"priority": 500})
    assert await order(admin) == [("third", 0), ("openai", 500), ("anthropic", 500)]


async def test_a_default_priority_is_10_after_the_highest_and_at_most_1000(admin: Any, canary: Canary) -> None:
    await admin.add("openai", canary("openai"), priority=995)
    assert (await admin.add("anthropic", canary("anthropic"))).json["priority"] == 1000
    assert (await admin.add("third", canary("third"))).json["priority"] == 1000


async def test_one_connection_reads_as_it_is_listed(admin: Any, canary: Canary) -> None:
    added = await admin.add("openai", canary("openai"))
    answer = await admin.call("GET", "/openai")
    fares = {"state": "closed", "since": None, "last_error": None, "next_probe": None, "worker": 7}
    assert (answer.status, answer.json) == (200, {**added.json, "status": fares})


async def test_how_it_fares_is_told_by_itself_alone(admin: Any, live: Any, canary: Canary) -> None:
    """The list, and what answers a change, keep the fields of what is configured; so does the version."""
    added = await admin.add("openai", canary("openai"))
    before = await admin.call("GET", "/openai")
    live.fares = replace(live.fares, state="open", since="2026-11-25T12:00:00Z", last_error="tls")
    after = await admin.call("GET", "/openai")
    assert after.json["status"] == {**before.json["status"], **asdict(live.fares)}
    assert after.headers["ETag"] == before.headers["ETag"] == added.headers["ETag"]
    held = await admin.call("GET", "/openai", headers={"If-None-Match": before.headers["ETag"]})
    assert held.status == 304
    assert (await admin.call("GET")).json == {"data": [added.json]}
    assert "status" not in (await admin.call("PATCH", "/openai", {"priority": 4})).json


@pytest.mark.parametrize("change", [{"priority": 1}, {"priority": 1000}, {"label": "π ≈ 3"}])
async def test_a_patch_changes_only_what_it_names(admin: Any, canary: Canary, change: dict[str, Any]) -> None:
    before = (await admin.add("openai", canary("openai"))).json
    answer = await admin.call("PATCH", "/openai", change)
    assert answer.status == 200
    assert answer.json == {**before, **change, "updated_at": answer.json["updated_at"]}
    assert answer.json["updated_at"] > before["updated_at"]


async def test_a_patched_key_is_the_one_in_force(admin: Any, store: ConfigStore, canary: Canary) -> None:
    await admin.add("openai", canary("openai"))
    key = canary("openai")
    admin.keys.append(key)
    assert (await admin.call("PATCH", "/openai", {"api_key": key})).status == 200
    connection = store.current.connection("openai")
    assert connection is not None
    assert connection.secret is not None
    assert connection.secret.reveal() == key


async def test_an_endpoint_shows_where_there_is_one_and_null_clears_it(admin: Any) -> None:
    added = await admin.call("POST", body={"provider": "lab", "endpoint": "http://127.0.0.1:11500"})
    assert added.status == 201
    assert added.json["endpoint"] == "http://127.0.0.1:11500"
    assert added.json["key_prefix"] is None
    cleared = await admin.call("PATCH", "/lab", {"endpoint": None})
    assert cleared.status == 200
    assert set(cleared.json) == LISTED


async def test_a_new_endpoint_needs_the_key_in_the_same_request(admin: Any, store: ConfigStore, canary: Canary) -> None:
    first, second = "https://one.example.com", "https://two.example.com"
    assert (await admin.add("vault", canary("vault"), endpoint=first)).status == 201
    before = store.current
    refused = await admin.call("PATCH", "/vault", {"endpoint": second})
    assert (refused.status, refused.error["code"]) == (400, "api_key_required")
    assert store.current is before
    key = canary("vault")
    admin.keys.append(key)
    moved = await admin.call("PATCH", "/vault", {"endpoint": second, "api_key": key})
    assert (moved.status, moved.json["endpoint"]) == (200, second)


async def test_a_deleted_connection_is_gone(admin: Any, canary: Canary) -> None:
    await admin.add("openai", canary("openai"))
    answer = await admin.call("DELETE", "/openai")
    assert (answer.status, answer.json) == (200, {"ok": True})
    assert (await admin.call("GET", "/openai")).status == 404
    assert (await admin.call("GET")).json == {"data": []}


@pytest.mark.parametrize("body", [None, b"", {}])
async def test_a_test_call_uses_the_stored_connection(
    admin: Any, tester: Any, store: ConfigStore, canary: Canary, body: Any
) -> None:
    await admin.add("openai", canary("openai"))
    answer = await admin.call("POST", "/openai/test", body)
    assert (answer.status, answer.json) == (200, {"ok": True, "latency_ms": 12.3, "models": 3})
    assert tester.tested == [store.current.connection("openai")]


async def test_a_failed_test_call_is_200_and_says_why(admin: Any, tester: Any, canary: Canary) -> None:
    await admin.add("openai", canary("openai"))
    tester.result = TestResult(ok=False, latency_ms=80.0, models=0, error="The key was refused (401).")
    answer = await admin.call("POST", "/openai/test")
    assert answer.status == 200
    assert answer.json == {
        "ok": False,
        "latency_ms": 80.0,
        "models": 0,
        "error": "The key was refused (401).",
    }


async def test_a_connection_that_cannot_be_used_says_so_and_is_not_called(
    admin: Any, tester: Any, store: ConfigStore, tmp_path: Path
) -> None:
    file = tmp_path / "state" / "connections.yaml"
    file.write_text("connections:\n  openai:\n    api_key: ${env:NO_SUCH_VARIABLE_HERE}\n")
    file.chmod(0o600)
    assert await store.reload() == []
    listed = (await admin.call("GET", "/openai")).json
    assert "NO_SUCH_VARIABLE_HERE" in listed["fault"]
    assert listed["key_prefix"] is None
    answer = await admin.call("POST", "/openai/test")
    assert (answer.status, answer.json["ok"], tester.tested) == (200, False, [])
    assert answer.json["error"] == listed["fault"]


async def test_no_key_shows_more_than_a_third_of_itself(admin: Any, canary: Canary) -> None:
    short = canary("openai")[-15:]
    assert (await admin.add("openai", short)).json["key_prefix"] == short[:5]


async def test_every_path_is_served_under_the_second_mount(admin: Any, canary: Canary) -> None:
    await admin.add("openai", canary("openai"))
    for path in ("/providers", "/providers/catalog", "/providers/openai"):
        async with admin.client.get(path) as short, admin.client.get(f"/v1{path}") as full:
            assert short.status == full.status == 200
            assert await short.read() == await full.read()


async def test_a_change_of_another_worker_is_seen_at_the_next_read(
    admin: Any, store: ConfigStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    refreshed = []

    async def refresh() -> None:
        refreshed.append(True)

    monkeypatch.setattr(type(store), "stale", property(lambda _self: not refreshed))
    monkeypatch.setattr(store, "refresh", refresh)
    await admin.call("GET")
    assert refreshed == [True]
