"""Reload under load: no failed request, running ones finish on what they began with, faults change nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.support.upstream import Upstream, chat, chat_events, stream


def configuration(**ups: Upstream) -> str:
    entries = {name: {"base_url": up.base_url, "default_model": "m"} for name, up in ups.items()}
    return json.dumps({"providers": entries, "models": {"smart": [f"{name}/m" for name in ups]}})


def swapped(server: Any) -> asyncio.Event:
    event = asyncio.Event()
    server.daemon.store.subscribe(lambda _: event.set())
    return event


async def test_an_edit_is_in_force_for_the_next_request(redeo: Any, provider: Any) -> None:
    first, second = await provider(chat("one")), await provider(chat("two"))
    server = await redeo({"alpha": first})
    assert (await server.chat("alpha/m")).json["choices"][0]["message"]["content"] == "one"
    done = swapped(server)
    server.config.write_text(configuration(alpha=second))
    await asyncio.wait_for(done.wait(), 5)
    assert (await server.chat("alpha/m")).json["choices"][0]["message"]["content"] == "two"


async def test_reloads_under_load_fail_no_request(redeo: Any, provider: Any) -> None:
    ups = [await provider(chat("one")), await provider(chat("two"))]
    server = await redeo({"alpha": ups[0]})
    stop = asyncio.Event()
    statuses: list[int] = []

    async def client() -> None:
        while not stop.is_set():
            got = await server.chat("alpha/m", stream=len(statuses) % 2 == 0)
            statuses.append(got.status)
            assert not got.broken

    clients = [asyncio.create_task(client()) for _ in range(6)]
    for number in range(20):
        server.config.write_text(configuration(alpha=ups[number % 2]))
        assert await server.daemon.store.reload() == []
        await server.request("PATCH", "/v1/providers/alpha", json={"priority": number})
    stop.set()
    await asyncio.gather(*clients)
    assert len(statuses) > 20
    assert set(statuses) == {200}


async def test_what_is_removed_is_let_go_once_its_requests_have_ended(redeo: Any, provider: Any) -> None:
    """Though the client's own connection, on which nothing is asked any more, stays open."""
    go = asyncio.Event()
    up = await provider(stream(chat_events("a", "b", "c"), pause=(2, go)))
    server = await redeo({"alpha": up})
    running = asyncio.create_task(server.chat("alpha/m", stream=True))
    await up.wait_requests()
    assert (await server.request("DELETE", "/v1/providers/alpha")).status == 200
    go.set()
    assert not (await running).broken
    async with asyncio.timeout(5):
        while up._tasks:
            await asyncio.wait(up._tasks)


async def test_a_running_stream_finishes_though_its_connection_is_removed(redeo: Any, provider: Any) -> None:
    go = asyncio.Event()
    up = await provider(stream(chat_events("a", "b", "c"), pause=(2, go)))
    server = await redeo({"alpha": up})
    running = asyncio.create_task(server.chat("alpha/m", stream=True))
    await up.arrived.wait()
    assert (await server.request("DELETE", "/v1/providers/alpha")).status == 200
    go.set()
    got = await running
    assert got.status == 200
    assert got.body.endswith(b"data: [DONE]\n\n")
    assert (await server.chat("alpha/m")).status == 503


async def test_a_fault_keeps_the_old_configuration_and_is_counted(redeo: Any, provider: Any) -> None:
    up = await provider(chat())
    server = await redeo({"alpha": up})
    for broken in ("{", "nonsense: 1", "providers: {alpha: {base_url: 5}}", "models: {x: [nobody/m]}"):
        server.config.write_text(broken)
        faults = await server.daemon.store.reload()
        assert faults
        assert str(server.config) in str(faults[0])
        assert (await server.chat("alpha/m")).status == 200
    (server.state / "connections.yaml").write_text("connections: [")
    assert await server.daemon.store.reload()
    assert (await server.chat("alpha/m")).status == 200
    assert await server.metric("redeo_config_reload_failures_total") >= 5
    assert await server.metric("redeo_config_last_reload_ok") == 0


async def test_a_new_key_revives_a_refused_connection(redeo: Any, provider: Any) -> None:
    async def script(received: Any, wire: Any) -> None:
        good = received.header("authorization") == f"Bearer {good_key}"
        from tests.support.upstream import error

        await (chat() if good else error(401, "invalid_api_key"))(received, wire)

    up = await provider(script)
    server = await redeo({"alpha": up})
    good_key = server.canaries.key("alpha")
    assert (await server.chat()).status == 502
    assert (await server.chat()).attempts == "", "it is not asked again"
    assert len(up.requests) == 1
    await server.request("PATCH", "/v1/providers/alpha", json={"api_key": good_key})
    assert (await server.chat()).status == 200
