"""Bodies of every kind: they are taken or refused, never half taken, and never a fault of the daemon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from admin_api import bodies
from admin_api.errors import ApiError
from config.model import Connection
from config.store import ConfigStore

Canary = Callable[[str], str]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80)
ANYTHING = st.recursive(
    SCALARS | st.text(st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["provider", "api_key", "priority", "label", "endpoint", "updated_at"])
GOOD = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(-1, 1001),
        "label": st.text(max_size=66),
        "endpoint": st.none() | st.just("http://127.0.0.1:8000"),
    },
)
BODIES = st.one_of(ANYTHING, GOOD, st.dictionaries(FIELDS, ANYTHING, max_size=4))
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(body=BODIES, post=st.booleans(), provider=st.sampled_from(["lab", "openai"]))
async def test_a_random_body_changes_something_or_is_refused(
    admin: Any, store: ConfigStore, body: Any, post: bool, provider: str
) -> None:
    if post and isinstance(body, dict):
        body = {"provider": provider, **body}
    before = store.current
    sent = json.dumps(body).encode()
    answer = await (admin.call("POST", "", sent) if post else admin.call("PATCH", f"/{provider}", sent))
    if answer.status in (200, 201):
        connection: Connection | None = store.current.connection(answer.json["provider"])
        assert connection is not None
        assert 0 <= connection.priority <= 1000
        assert 1 <= len(connection.label) <= 64
        for name in {"priority", "label"} & body.keys():
            assert answer.json[name] == body[name]
        assert answer.json.get("endpoint", body.get("endpoint")) == body.get("endpoint", connection.endpoint)
    else:
        assert answer.status in (400, 404)
        assert store.current is before


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_random_bytes_are_an_object_or_a_refusal(data: bytes) -> None:
    with suppress(ApiError):
        assert bodies.parse_object(data) == json.loads(data)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(FIELDS, SCALARS, min_size=1, max_size=5))
def test_a_parsed_body_holds_exactly_what_was_sent(fields: dict[str, Any]) -> None:
    refused: ApiError | None = None
    kept: dict[str, Any] = {}
    try:
        body = bodies.parse_change(json.dumps(fields).encode())
        kept = {name: getattr(body, name) for name in body.given()}
    except ApiError as exc:
        refused = exc
    if refused is None:
        assert kept == fields
    else:
        assert refused.status == 400
        assert refused.code == "invalid_json" or refused.param in fields


@pytest.mark.parametrize("depth", [bodies.MAX_DEPTH, bodies.MAX_DEPTH + 1])
def test_the_depth_of_a_body_is_bounded_and_brackets_in_text_do_not_count(depth: int) -> None:
    text = '{"label": "[[[[' + '\\"[' * 40 + '", "x": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}"
    if depth <= bodies.MAX_DEPTH:
        assert set(bodies.parse_object(text.encode())) == {"label", "x"}
    else:
        with pytest.raises(ApiError, match="deeper"):
            bodies.parse_object(text.encode())


def test_a_body_in_memory_never_prints_its_values(canary: Canary) -> None:
    key = canary("openai")
    body = bodies.parse_new(json.dumps({"provider": "openai", "api_key": key}).encode())
    assert repr(body) == "NewConnection(api_key, provider)"


async def test_a_body_that_does_not_come_is_408() -> None:
    async def read(request: web.Request) -> web.Response:
        try:
            await bodies.read_body(request, seconds=0.01)
        except ApiError as exc:
            return exc.response()
        return web.Response()

    app = web.Application()
    app.router.add_post("/", read)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"x-should-retry: true" in head
    assert b"Retry-After: 1" in head


async def test_a_body_in_many_pieces_is_one_body(admin: Any, canary: Canary) -> None:
    text = json.dumps({"provider": "openai", "api_key": canary("openai")}).encode()

    async def pieces() -> Any:
        for i in range(0, len(text), 7):
            yield text[i : i + 7]

    answer = await admin.call("POST", data=pieces(), headers={"content-type": "application/json"})
    assert answer.status == 201


async def test_a_head_is_a_get_without_a_body(admin: Any, canary: Canary) -> None:
    await admin.add("openai", canary("openai"))
    client: TestClient[web.Request, web.Application] = admin.client
    async with client.head("/v1/providers/openai") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert "ETag" in answer.headers
