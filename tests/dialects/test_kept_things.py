"""Stored responses, files and batches: a request about one goes where it was made."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.dialects.test_translation import behind, good
from tests.support.speech import ANTHROPIC, CHAT, CONVERSE, GEMINI, RESPONSES, Speech
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


async def test_the_id_of_a_translated_answer_is_said_to_be_stored_nowhere(redeo: Any, provider: Any) -> None:
    for streamed in (False, True):
        for beside in ({}, {"beta": await provider(STORED)}):
            up = await provider(ANTHROPIC.good("yes"))
            server = await redeo({"alpha": ANTHROPIC.entry(up), **beside})
            got = await make(server, model="alpha/m", stream=streamed)
            text = got.body.decode().partition("data: ")[2].partition("\n")[0] if streamed else got.body.decode()
            response = json.loads(text)["response"] if streamed else json.loads(text)
            assert response["store"] is False
            assert "store" in got.headers["x-redeo-dropped"]
            later = await make(server, previous_response_id=response["id"])
            assert (later.status, later.json["error"]["code"]) == (404, "response_not_stored")
            assert "`input`" in later.json["error"]["message"]
            assert (await server.request("GET", f"/v1/responses/{response['id']}")).status == 404
            assert len(up.requests) == 1


async def test_a_conversation_that_nobody_has_is_told_how_to_go_on(redeo: Any, provider: Any) -> None:
    server, _ = await two(redeo, provider, [NOT_FOUND], [MISSING])
    got = await make(server, previous_response_id="resp_old")
    assert (got.status, got.attempts) == (400, "alpha=400 beta=404")
    error = got.json["error"]
    assert (error["code"], error["param"]) == ("previous_response_not_found", "previous_response_id")
    assert "`input`" in error["message"]


async def test_what_the_only_one_of_its_kind_made_is_said_to_be_gone(redeo: Any, provider: Any) -> None:
    up, other = await provider(STORED), await provider(ANTHROPIC.good())
    server = await redeo({"alpha": up, "beta": ANTHROPIC.entry(other)})
    await make(server, model="alpha/m")
    await server.request("DELETE", "/v1/providers/alpha")
    got = await server.request("GET", "/v1/responses/resp_1")
    assert (got.status, got.json["error"]["code"]) == (404, "connection_gone")
    assert "alpha" in got.json["error"]["message"]


async def test_a_cached_content_is_looked_for_and_costs_nobody_its_key(redeo: Any, provider: Any) -> None:
    absent = "CachedContent not found (or permission denied)"
    first = await provider(
        answer({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": absent}}, 403), GEMINI.good()
    )
    second = await provider(GEMINI.good())
    server = await redeo({"alpha": GEMINI.entry(first), "beta": GEMINI.entry(second)})
    asked = {**GEMINI.body, "cachedContent": "cachedContents/abc"}
    got = await server.request("POST", GEMINI.path, json=asked)
    assert (got.status, got.attempts) == (200, "alpha=403 beta=200")
    assert (await server.request("POST", GEMINI.path, json=GEMINI.body)).attempts == "alpha=200"


async def test_a_file_is_read_and_deleted_where_it_lies(redeo: Any, provider: Any) -> None:
    made = answer({"id": "file-abc123", "object": "file", "purpose": "batch"})
    content = answer(b"line\n", 200, {"content-type": "application/octet-stream"})
    server, ups = await two(redeo, provider, [MISSING], [made, content, made])
    await server.request("PATCH", "/v1/providers/beta", json={"priority": 1})
    await server.request("POST", "/v1/files", data=b"{}", headers={"Content-Type": "application/json"})
    await server.request("PATCH", "/v1/providers/alpha", json={"priority": 0})
    got = await server.request("GET", "/v1/files/file-abc123/content")
    assert (got.status, got.body, got.attempts) == (200, b"line\n", "beta=200")
    assert (await server.request("DELETE", "/v1/files/file-abc123")).attempts == "beta=200"
    assert not ups[0].requests


FILE = "https://generativelanguage.googleapis.com/v1beta/files/abc-123"


@pytest.mark.parametrize("kind", ["image/png", "application/pdf", "audio/mpeg", "text/plain"])
@pytest.mark.parametrize("uri", [FILE, "gs://bucket/abc"])
@pytest.mark.parametrize("speech", [CHAT, RESPONSES, ANTHROPIC, CONVERSE], ids=lambda speech: speech.name)
async def test_a_file_at_google_is_asked_of_google_alone(
    redeo: Any, provider: Any, speech: Speech, uri: str, kind: str
) -> None:
    server, ups = await behind(redeo, provider, (speech, good(speech)), (GEMINI, good(GEMINI)))
    part = {"fileData": {"mimeType": kind, "fileUri": uri}}
    body = {"contents": [{"role": "user", "parts": [{"text": "what is it?"}, part]}]}
    path, asked = GEMINI.asked(**body)
    got = await server.request("POST", path, json=asked)
    assert (got.status, got.headers["x-redeo-provider"]) == (200, "beta")
    assert ups[0].requests == []
    assert ups[1].requests[0].json["contents"][0]["parts"][1] == part


async def test_a_file_at_google_is_looked_for_with_each_key(redeo: Any, provider: Any) -> None:
    words = "You do not have permission to access the File abc-123 or it may not exist."
    absent = answer({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": words}}, 403)
    ups = [await provider(absent), await provider(GEMINI.good()), await provider(absent)]
    server = await redeo({name: GEMINI.entry(up) for name, up in zip(("alpha", "beta", "gamma"), ups, strict=True)})
    part = {"file_data": {"mime_type": "image/png", "file_uri": FILE}}
    path, asked = GEMINI.asked(contents=[{"role": "user", "parts": [part]}])
    got = await server.request("POST", path, json=asked)
    assert (got.status, got.attempts) == (200, "alpha=403 beta=200")
    path, asked = GEMINI.asked(contents=[{"role": "user", "parts": [part]}], model="gamma/m")
    assert (await server.request("POST", path, json=asked)).status == 403


async def test_what_one_could_not_be_asked_for_is_not_said_to_be_nowhere(redeo: Any, provider: Any) -> None:
    """The one that failed may have it: that the other one does not is no answer to the client."""
    failing = answer({"error": {"message": "it failed", "type": "server_error"}}, 500)
    server, _ = await two(redeo, provider, [failing], [MISSING])
    for _ in range(5):
        got = await server.request("GET", "/v1/responses/resp_old")
        assert (got.status, got.attempts) == (502, "alpha=500 beta=404")
        assert "it failed" in got.json["error"]["message"]
        assert got.headers["x-should-retry"] == "true"
    got = await server.request("GET", "/v1/responses/resp_old")
    assert (got.status, got.attempts) == (502, "beta=404")  # by now the first one is left out
    assert "alpha" in got.json["error"]["message"]
