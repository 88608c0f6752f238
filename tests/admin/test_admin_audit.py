"""Each changing call leaves one line that says who, what and how it ended, and never a value."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from admin_api.audit import audited
from admin_api.handlers import Handlers
from config.errors import StoreUnavailable
from config.store import ConfigStore

Canary = Callable[[str], str]
Audit = Callable[[], list[logging.LogRecord]]


def line(record: logging.LogRecord) -> tuple[Any, ...]:
    said = vars(record)["redeo"]
    return tuple(said[name] for name in ("action", "provider", "fields", "caller", "outcome"))


async def test_each_change_writes_one_line(admin: Any, canary: Canary, audit: Audit) -> None:
    await admin.add("openai", canary("openai"), label="Mine")
    assert [line(r) for r in audit()] == [("put", "openai", ["api_key", "label"], "key-1", "created")]
    await admin.add("openai", canary("openai"))
    assert [line(r) for r in audit()] == [("put", "openai", ["api_key"], "key-1", "updated")]
    await admin.call("PATCH", "/openai", {"priority": 1})
    assert [line(r) for r in audit()] == [("patch", "openai", ["priority"], "key-1", "updated")]
    await admin.call("DELETE", "/openai")
    assert [line(r) for r in audit()] == [("delete", "openai", [], "key-1", "deleted")]


async def test_each_refused_change_writes_one_line_too(admin: Any, canary: Canary, audit: Audit) -> None:
    await admin.add("openai", canary("openai"))
    audit()
    calls: list[tuple[str, str, Any, tuple[Any, ...]]] = [
        ("POST", "", b"{", (None, [], "invalid_json")),
        ("POST", "", {"provider": "openai", "nonsense": 1}, (None, [], "unknown_field")),
        ("POST", "", {"provider": "opnai", "api_key": canary("x")}, (None, ["api_key"], "unknown_provider")),
        ("PATCH", "/openai", {"priority": -1}, ("openai", ["priority"], "invalid_priority")),
        ("PATCH", "/third", {"priority": 1}, ("third", ["priority"], "connection_not_found")),
        ("DELETE", "/no\x1bsuch", None, (None, [], "unknown_provider")),
    ]
    for method, path, body, (provider, fields, outcome) in calls:
        await admin.call(method, path, body)
        action = {"POST": "put"}.get(method, method.lower())
        assert [line(r) for r in audit()] == [(action, provider, fields, "key-1", outcome)]


async def test_reads_and_test_calls_write_none(admin: Any, canary: Canary, audit: Audit) -> None:
    await admin.add("openai", canary("openai"))
    audit()
    for method, path in (("GET", ""), ("GET", "/catalog"), ("GET", "/openai"), ("POST", "/openai/test")):
        await admin.call(method, path)
    assert audit() == []


async def test_no_value_stands_in_a_line(admin: Any, canary: Canary, audit: Audit) -> None:
    key, label = canary("openai"), "a label that nobody else has"
    await admin.add("openai", key, label=label)
    await admin.call("PATCH", "/openai", {"api_key": key + "\u00e9"})
    await admin.call("POST", body={"provider": key, "api_key": "x"})
    await admin.call("DELETE", f"/{key}")
    lines = audit()
    assert len(lines) == 4
    for record in lines:
        text = record.getMessage() + repr(vars(record))
        assert key not in text
        assert label not in text


def test_a_line_is_written_however_the_call_ends(audit: Audit) -> None:
    with pytest.raises(ZeroDivisionError), audited("put", "key-1"):
        raise ZeroDivisionError
    assert [line(r) for r in audit()] == [("put", None, [], "key-1", "failed")]


class SlowStore:
    """A store whose deletion waits until it is let go. Owns the two events."""

    def __init__(self, store: ConfigStore) -> None:
        self.current = store.current
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.fault: Exception | None = None

    async def delete(self, provider: str, *, if_match: str | None = None) -> None:
        self.begun.set()
        await self.go.wait()
        if self.fault is not None:
            raise self.fault


@pytest.mark.parametrize(("fault", "outcome"), [(None, "deleted"), (StoreUnavailable("full", full=True), "store_full")])
async def test_a_client_that_leaves_does_not_stop_the_change_nor_its_line(
    store: ConfigStore, tester: Any, live: Any, audit: Audit, fault: Exception | None, outcome: str
) -> None:
    slow: Any = SlowStore(store)
    slow.fault = fault
    handlers = Handlers(slow, tester, live, lambda _request: "key-1")
    request = make_mocked_request("DELETE", "/openai", match_info={"provider": "openai"})
    call = asyncio.create_task(handlers.remove(request))
    await slow.begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert audit() == []
    stopping = asyncio.create_task(handlers.settle(web.Application()))
    slow.go.set()
    await stopping
    assert [line(r) for r in audit()] == [("delete", "openai", [], "key-1", outcome)]
