"""openapi.json is valid, describes the routes that there are, and names nothing that is not."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from aiohttp import web
from openapi_spec_validator import OpenAPIV31SpecValidator

from admin_api import bodies, build, openapi_document
from config.model import Credential
from config.store import ConfigStore
from proxy.front import routes
from proxy.routing import BreakerState
from proxy.routing.explain import WhyNot
from proxy.routing.plan import Reading

HERE = Path(__file__).resolve().parents[2]
DOCUMENT = json.loads(openapi_document())
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


def described() -> dict[str, Any]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def test_the_document_is_valid_openapi_3_1() -> None:
    assert [str(error) for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_the_admin_routes_and_their_descriptions_are_the_same(store: ConfigStore, tester: Any, live: Any) -> None:
    parent = web.Application()
    parent.add_subapp("/v1/providers", build(store, tester, live))
    routed = {
        f"{route.method} {re.sub(r':.*?[)][^}]*', '', route.resource.canonical)}"
        for route in parent.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert routed == {name for name in described() if "/v1/providers" in name}


def test_the_front_s_routes_and_their_descriptions_are_the_same() -> None:
    async def nothing(_request: web.Request) -> web.Response:
        raise AssertionError

    app = web.Application()
    routes.add(app, nothing, b"")
    routed = {
        (route.method, re.sub(r"{[^}]*}", "{}", route.resource.canonical))
        for route in app.router.routes()
        if route.resource is not None and (route.method != "HEAD" or route.resource.canonical == "/")
    }
    paths = {path for _, path in routed}
    routed = {(method, path) for method, path in routed if f"/v1{path}" not in paths}  # the aliases
    # Of Google's paths each verb has a route, and `/v1` is another name for `/v1beta`.
    routed.discard(("POST", "/v1/models/{}:{}"))
    routed.add(("GET", "/v1/responses"))  # answered by the guard, for who tries a WebSocket
    rest = {name for name in described() if "/v1/providers" not in name}
    assert {tuple(re.sub(r"{[^}]*}", "{}", name).split(" ")) for name in rest} == routed


def test_only_the_catalogue_and_the_probes_go_without_a_key() -> None:
    free = {name for name, op in described().items() if op.get("security") in ([], [{}, {"bearer": []}])}
    probes = {"GET /healthz", "GET /livez", "GET /readyz", "GET /metrics", "GET /", "HEAD /"}
    assert free == {"GET /v1/providers/catalog", "GET /openapi.json", *probes}


def test_every_part_is_used_and_every_operation_has_its_own_id() -> None:
    text = openapi_document().decode()
    for kind, parts in DOCUMENT["components"].items():
        for name in parts:
            reference = f'"{name}": []' if kind == "securitySchemes" else f'"#/components/{kind}/{name}"'
            assert reference in text, f"{kind}/{name}"
    ids = [operation["operationId"] for operation in described().values()]
    assert len(ids) == len(set(ids))


def test_every_error_answer_says_whether_to_try_again() -> None:
    for name, response in DOCUMENT["components"]["responses"].items():
        assert name == "NotModified" or "x-should-retry" in response["headers"], name


def test_the_schemas_take_the_fields_that_the_bodies_take() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert set(schemas["NewConnection"]["properties"]) == set(bodies.NewConnection.__struct_fields__)
    assert set(schemas["ChangedConnection"]["properties"]) == set(bodies.ChangedConnection.__struct_fields__)
    assert set(schemas["Connection"]["properties"]) == set(bodies.ConnectionView.__struct_fields__)
    assert set(schemas["ConnectionDetail"]["properties"]) == set(bodies.DetailView.__struct_fields__)
    assert set(schemas["Status"]["properties"]) == set(bodies.StatusView.__struct_fields__)
    assert set(schemas["TestResult"]["properties"]) == set(bodies.TestView.__struct_fields__)
    assert schemas["State"]["enum"] == [state.value for state in BreakerState]
    explanation = schemas["Explanation"]["properties"]
    assert explanation["read_as"]["enum"] == [way.value for way in Reading]
    reasons = explanation["left_out"]["items"]["properties"]["reason"]["enum"]
    assert reasons == [reason.value for reason in WhyNot]
    kinds = schemas["CatalogueEntry"]["properties"]["credentialKind"]["enum"]
    assert set(kinds) == {kind.value for kind in Credential}


def test_every_reason_and_state_stands_in_the_pages() -> None:
    page = (HERE / "docs" / "admin-api.md").read_text()
    for word in (*WhyNot, *Reading, *BreakerState):
        assert f"`{word.value}`" in page, word


def test_the_version_is_the_project_s() -> None:
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    assert DOCUMENT["info"]["version"] == project["version"]


def test_every_code_of_the_admin_api_stands_in_its_page() -> None:
    page = (HERE / "docs" / "admin-api.md").read_text()
    sources = "".join(path.read_text() for path in (HERE / "admin_api").glob("*.py"))
    codes = set(re.findall(r'ApiError\(\s*\d{3}, "(\w+)"', sources))
    codes |= {f"invalid_{name}" for name in bodies.NewConnection.__struct_fields__}
    assert len(codes) > 12
    assert {code for code in codes if f"`{code}`" not in page} == set()
