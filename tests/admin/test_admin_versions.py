"""ETag, If-Match and If-None-Match: two people who change the same connection do not undo each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from config.store import ConfigStore

Canary = Callable[[str], str]


def require_stale(answer: Any) -> None:
    assert (answer.status, answer.error["code"]) == (412, "precondition_failed")
    assert answer.headers["x-should-retry"] == "false"


async def test_every_answer_with_a_connection_carries_its_version(admin: Any, canary: Canary) -> None:
    added = await admin.add("openai", canary("openai"))
    read = await admin.call("GET", "/openai")
    changed = await admin.call("PATCH", "/openai", {"priority": 1})
    again = await admin.call("GET", "/openai")
    assert added.headers["ETag"] == read.headers["ETag"]
    assert changed.headers["ETag"] == again.headers["ETag"] != read.headers["ETag"]


async def test_the_version_of_the_list_moves_with_any_connection(admin: Any, canary: Canary) -> None:
    versions = [(await admin.call("GET")).headers["ETag"]]
    await admin.add("openai", canary("openai"))
    versions.append((await admin.call("GET")).headers["ETag"])
    await admin.add("anthropic", canary("anthropic"))
    versions.append((await admin.call("GET")).headers["ETag"])
    await admin.call("PATCH", "/openai", {"label": "Other"})
    versions.append((await admin.call("GET")).headers["ETag"])
    await admin.call("DELETE", "/openai")
    versions.append((await admin.call("GET")).headers["ETag"])
    assert len(set(versions)) == len(versions)


async def test_the_version_of_a_connection_stays_when_another_changes(admin: Any, canary: Canary) -> None:
    version = (await admin.add("openai", canary("openai"))).headers["ETag"]
    await admin.add("anthropic", canary("anthropic"))
    assert (await admin.call("GET", "/openai")).headers["ETag"] == version


@pytest.mark.parametrize("path", ["", "/openai"])
@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
async def test_a_read_of_a_known_version_is_304(admin: Any, canary: Canary, path: str, form: str) -> None:
    await admin.add("openai", canary("openai"))
    version = (await admin.call("GET", path)).headers["ETag"]
    held = {"If-None-Match": form.format(version)}
    answer = await admin.call("GET", path, headers=held)
    assert (answer.status, answer.text, answer.headers["ETag"]) == (304, "", version)
    await admin.call("PATCH", "/openai", {"priority": 3})
    if form != "*":
        assert (await admin.call("GET", path, headers=held)).status == 200


@pytest.mark.parametrize("held", ['"other"', "nonsense", ""])
async def test_a_read_of_another_version_is_200(admin: Any, canary: Canary, held: str) -> None:
    await admin.add("openai", canary("openai"))
    assert (await admin.call("GET", "/openai", headers={"If-None-Match": held})).status == 200


CHANGES: list[tuple[str, str, Any, int]] = [
    ("PATCH", "/openai", {"priority": 1}, 200),
    ("POST", "", {"provider": "openai", "api_key": "replaced-in-the-test"}, 200),
    ("DELETE", "/openai", None, 200),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), CHANGES, ids=[c[0] for c in CHANGES])
async def test_a_change_is_made_only_to_the_version_that_it_names(
    admin: Any, store: ConfigStore, canary: Canary, method: str, path: str, body: Any, status: int
) -> None:
    if method == "POST":
        body = {"provider": "openai", "api_key": canary("openai")}
    old = (await admin.add("openai", canary("openai"))).headers["ETag"]
    new = (await admin.call("PATCH", "/openai", {"priority": 9})).headers["ETag"]
    before = store.current
    for stale in (old, '"other"', f"W/{new}"):
        require_stale(await admin.call(method, path, body, headers={"If-Match": stale}))
    assert store.current is before
    made = await admin.call(method, path, body, headers={"If-Match": f'"other", {new}'})
    assert made.status == status
    assert store.current is not before


async def test_if_match_any_needs_a_connection_to_be_there(admin: Any, canary: Canary) -> None:
    body = {"provider": "openai", "api_key": canary("openai")}
    require_stale(await admin.call("POST", body=body, headers={"If-Match": "*"}))
    assert (await admin.call("POST", body=body)).status == 201
    assert (await admin.call("POST", body=body, headers={"If-Match": "*"})).status == 200


async def test_if_none_match_any_adds_and_never_updates(admin: Any, store: ConfigStore, canary: Canary) -> None:
    body = {"provider": "openai", "api_key": canary("openai")}
    only_new = {"If-None-Match": "*"}
    assert (await admin.call("POST", body=body, headers=only_new)).status == 201
    before = store.current
    require_stale(await admin.call("POST", body=body, headers=only_new))
    assert store.current is before


async def test_of_many_changes_to_one_version_exactly_one_is_made(admin: Any, canary: Canary) -> None:
    version = (await admin.add("openai", canary("openai"))).headers["ETag"]
    answers = await asyncio.gather(
        *(admin.call("PATCH", "/openai", {"priority": n}, headers={"If-Match": version}) for n in range(1, 9))
    )
    made = [answer for answer in answers if answer.status == 200]
    assert sorted(answer.status for answer in answers) == [200] + [412] * 7
    assert (await admin.call("GET")).json["data"] == [made[0].json]
