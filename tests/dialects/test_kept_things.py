"""Stored responses, files and batches: a request about one goes where it was made."""

from __future__ import annotations

import json
from typing import Any

from tests.support.speech import ANTHROPIC, RESPONSES
from tests.support.upstream import answer, stream

MISSING = answer({"error": {"type": "invalid_request_error", "message": "No such response", "code": None}}, 404)
STORED = answer(RESPONSES.whole)
NOT_FOUND = answer(
    {"error": {"type": "invalid_request_error", "message": "not here", "code": "previous_response_not_found"}}, 400
)


async def two(redeo: Any, provider: Any, first: Any, second: Any) -> tuple[Any, list[Any]]:
    ups = [await provider(*first), await provider(*second)]
    return await redeo({"alpha": ups[0], "beta": ups[1]}), ups


async def make(server: Any, **fields: Any) -> Any:
    return await server.request("POST", "/v1/responses", json={**RESPONSES.body, "store": True, **fields})


async def test_what_was_made_is_asked_for_where_it_was_made(redeo: Any, provider: Any) -> None:
    server, ups = await two(redeo, provider, [MISSING], [STORED])
    assert (await make(server, model="beta/m")).status == 200
    for method, path in (
        ("GET", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp_1/input_items"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("DELETE", "/v1/responses/resp_1"),
    ):
        got = await server.request(method, path)
        assert (got.status, got.attempts) == (200, "beta=200"), path
    assert not ups[0].requests
    assert [r.method for r in ups[1].requests] == ["POST", "GET", "GET", "POST", "DELETE"]


async def test_a_streamed_response_is_remembered_too(redeo: Any, provider: Any) -> None:
    events = stream(RESPONSES.events("yes"))
    server, ups = await two(redeo, provider, [MISSING], [events, STORED])
    assert (await make(server, model="beta/m", stream=True)).status == 200
    ident = next(line for line in RESPONSES.events("yes")[0].decode().splitlines() if line.startswith("data:"))
    made = json.loads(ident[5:])["response"]["id"]
    assert (await server.request("GET", f"/v1/responses/{made}")).attempts == "beta=200"
    assert not ups[0].requests


async def test_a_conversation_goes_on_where_it_began(redeo: Any, provider: Any) -> None:
    server, ups = await two(redeo, provider, [STORED], [STORED])
    await make(server, model="beta/m")
    got = await make(server, previous_response_id="resp_1")
    assert (got.status, got.attempts) == (200, "beta=200")
    assert not ups[0].requests


async def test_what_nobody_remembers_is_looked_for(redeo: Any, provider: Any) -> None:
    server, _ = await two(redeo, provider, [MISSING], [STORED])
    got = await server.request("GET", "/v1/responses/resp_old")
    assert (got.status, got.attempts) == (200, "alpha=404 beta=200")


async def test_a_conversation_that_nobody_remembers_is_looked_for(redeo: Any, provider: Any) -> None:
    server, _ = await two(redeo, provider, [NOT_FOUND], [STORED])
    got = await make(server, previous_response_id="resp_old")
    assert (got.status, got.attempts) == (200, "alpha=400 beta=200")


async def test_what_nobody_has_is_refused_as_the_first_said_it(redeo: Any, provider: Any) -> None:
    server, _ = await two(redeo, provider, [MISSING], [MISSING])
    got = await server.request("GET", "/v1/responses/resp_old")
    assert (got.status, got.attempts) == (404, "alpha=404 beta=404")
    assert got.json["error"]["message"] == "No such response"


async def test_what_a_gone_connection_made_is_said_to_be_gone(redeo: Any, provider: Any) -> None:
    server, ups = await two(redeo, provider, [STORED], [STORED])
    await make(server, model="beta/m")
    await server.request("DELETE", "/v1/providers/beta")
    for got in (
        await server.request("GET", "/v1/responses/resp_1"),
        await make(server, previous_response_id="resp_1"),
    ):
        assert (got.status, got.json["error"]["code"]) == (404, "connection_gone")
        assert "beta" in got.json["error"]["message"]
        assert got.headers["x-should-retry"] == "false"
    assert not ups[0].requests


async def test_a_file_takes_the_requests_about_it_along(redeo: Any, provider: Any) -> None:
    made = answer({"id": "file-abc123", "object": "file", "purpose": "batch"})
    batch = answer({"id": "batch_77xyz", "object": "batch", "status": "validating"})
    server, ups = await two(redeo, provider, [MISSING], [made, batch, batch, batch])
    await server.request("DELETE", "/v1/providers/alpha")
    sent = await server.request("POST", "/v1/files", data=b"{}", headers={"Content-Type": "application/json"})
    assert sent.status == 200
    await server.connect("alpha")
    await server.request("PATCH", "/v1/providers/alpha", json={"priority": 1})
    asked = {"input_file_id": "file-abc123", "endpoint": "/v1/responses", "completion_window": "24h"}
    assert (await server.request("POST", "/v1/batches", json=asked)).attempts == "beta=200"
    assert (await server.request("GET", "/v1/batches/batch_77xyz")).attempts == "beta=200"
    assert (await server.request("POST", "/v1/batches/batch_77xyz/cancel")).attempts == "beta=200"
    assert not ups[0].requests


async def test_a_batch_of_messages_is_found_by_anthropics_clients(redeo: Any, provider: Any) -> None:
    batch = answer({"id": "msgbatch_01abc", "type": "message_batch", "processing_status": "in_progress"})
    up = await provider(batch)
    server = await redeo({"alpha": ANTHROPIC.entry(up)})
    await server.request("POST", "/v1/messages/batches", json={"requests": []})
    got = await server.request("GET", "/v1/messages/batches/msgbatch_01abc")
    assert (got.status, up.requests[1].target) == (200, "/v1/messages/batches/msgbatch_01abc")
