"""The admin API over a real store on a real socket; every answer is held against openapi.json as it comes."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # has no stubs

from admin_api import build, openapi_document
from admin_api.ports import TestResult
from config.model import Connection
from config.paths import Paths
from config.store import ConfigStore

DOCUMENT = json.loads(openapi_document())
PROVIDERS = """\
providers:
  third: {label: Third, base_url: "https://third.invalid/v1", dialect: openai}
  lab: {label: Lab, base_url: "http://127.0.0.1:9", dialect: openai, credential: none, supports_endpoint: true}
  vault: {label: Vault, base_url: "https://vault.invalid", dialect: openai, supports_endpoint: true}
"""


class ScriptedTester:
    """Gives the result that it was told to and remembers what it was asked."""

    def __init__(self) -> None:
        self.result = TestResult(ok=True, latency_ms=12.34, models=3)
        self.tested: list[Connection] = []

    async def test(self, connection: Connection) -> TestResult:
        self.tested.append(connection)
        return self.result


@dataclass(frozen=True)
class Fares:
    """The status of a connection."""

    state: str = "closed"
    since: str | None = None
    last_error: str | None = None
    next_probe: str | None = None
    worker: int = 7


class ScriptedStatus:
    """Says of every connection what it was told to."""

    def __init__(self) -> None:
        self.fares = Fares()

    def status(self, connection: Connection) -> Fares:
        return self.fares


@dataclass
class Answer:
    """One answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    text: str
    json: Any = None

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json["error"]
        return found


@dataclass
class Admin:
    """A client of the admin API."""

    client: TestClient[web.Request, web.Application]
    keys: list[str] = field(default_factory=list)  # that no answer may ever hold

    async def call(self, method: str, path: str = "", body: Any = None, **more: Any) -> Answer:
        """`path` below /v1/providers. `body`: bytes are sent as they are, the rest as JSON."""
        headers = dict(more.pop("headers", {}))
        if body is not None:
            more["data"] = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers.setdefault("content-type", "application/json")
        async with self.client.request(method, f"/v1/providers{path}", headers=headers, **more) as got:
            text = await got.text()
            answer = Answer(got.status, got.headers.copy(), text)
            if got.content_type == "application/json" and text:
                answer.json = json.loads(text)
        for key in self.keys:
            assert key not in text
            assert key not in str(answer.headers)
        require_described(method, f"/v1/providers{path}", answer)
        return answer

    async def add(self, provider: str, key: str, **fields: Any) -> Answer:
        self.keys.append(key)
        return await self.call("POST", body={"provider": provider, "api_key": key, **fields})


def resolve(node: Any) -> Any:
    while isinstance(node, dict) and "$ref" in node:
        target: Any = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def described(method: str, path: str) -> dict[str, Any] | None:
    """The operation of openapi.json that this call is, the plain path before one with a parameter."""
    for template in sorted(DOCUMENT["paths"], key=lambda t: "{" in t):
        pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template))
        item = DOCUMENT["paths"][template]
        if re.fullmatch(pattern, path.partition("?")[0]) and method.lower() in item:
            operation: dict[str, Any] = item[method.lower()]
            return operation
    return None


def require_described(method: str, path: str, answer: Answer) -> None:
    if (answer.json is None and answer.status in {404, 405}) or method == "HEAD":
        return  # the parent application's own: unknown paths and methods
    operation = described(method, path)
    assert operation is not None, f"{method} {path} is not in openapi.json"
    response = resolve(operation["responses"].get(str(answer.status)))
    assert response is not None, f"{answer.status} of {method} {path} is not in openapi.json"
    for name in ("ETag", "x-should-retry", "Retry-After"):
        assert name not in answer.headers or name in response["headers"], name
    if "content" not in response:
        assert answer.text == ""
        return
    schema = response["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(answer.json)
    require_known_fields(answer.json, schema)


def require_known_fields(value: Any, schema: Any) -> None:
    schema = resolve(schema)
    if isinstance(value, dict):
        assert set(value) <= set(schema["properties"])
        for name, item in value.items():
            require_known_fields(item, schema["properties"][name])
    elif isinstance(value, list):
        for item in value:
            require_known_fields(item, schema["items"])


@pytest.fixture
def store(tmp_path: Path) -> ConfigStore:
    """Beside the catalogue: one provider more with a key, one without, and one with a key and an endpoint."""
    (tmp_path / "redeo.yaml").write_text(PROVIDERS)
    paths = Paths.resolve(config=tmp_path / "redeo.yaml", state_dir=tmp_path / "state", env={})
    return ConfigStore.open(paths, {})


@pytest.fixture
def tester() -> ScriptedTester:
    return ScriptedTester()


@pytest.fixture
def live() -> ScriptedStatus:
    return ScriptedStatus()


@pytest.fixture
async def admin(store: ConfigStore, tester: ScriptedTester, live: ScriptedStatus) -> AsyncIterator[Admin]:
    app = web.Application()
    for prefix in ("/v1/providers", "/providers"):
        app.add_subapp(prefix, build(store, tester, live, caller=lambda _request: "key-1"))
    async with TestClient(TestServer(app)) as client:
        yield Admin(client)


@pytest.fixture
def audit(caplog: pytest.LogCaptureFixture) -> Callable[[], list[logging.LogRecord]]:
    """Takes the audit lines written since the last time."""
    caplog.set_level(logging.INFO, "redeo.audit")

    def take() -> list[logging.LogRecord]:
        lines = [record for record in caplog.records if record.name == "redeo.audit"]
        caplog.clear()
        return lines

    return take
