"""Each bad input: its status, code and field, and that it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData

from config.errors import StoreUnavailable
from config.store import ConfigStore

Canary = Callable[[str], str]
DEEP = 100
NOT_OBJECTS = {
    "empty": (b"", "invalid_json"),
    "blank": (b"  \n", "invalid_json"),
    "no JSON": (b"provider=openai", "invalid_json"),
    "cut": (b'{"provider": "ope', "invalid_json"),
    "trailing text": (b'{"provider": "openai"} {}', "invalid_json"),
    "comment": (b'{"provider": "openai" /* x */}', "invalid_json"),
    "not UTF-8": (b'{"provider": "\xff\xfe"}', "invalid_json"),
    "UTF-16": ('{"provider": "openai"}'.encode("utf-16"), "invalid_json"),
    "byte order mark": (b'\xef\xbb\xbf{"provider": "openai"}', "invalid_json"),
    "NaN": (b'{"priority": NaN}', "invalid_json"),
    "Infinity": (b'{"priority": -Infinity}', "invalid_json"),
    "digits without end": (b'{"priority": ' + b"9" * 5000 + b"}", "invalid_json"),
    "too deep": (b'{"label": ' + b"[" * DEEP + b"]" * DEEP + b"}", "invalid_json"),
    "deep without end": (b"[" * 60_000, "invalid_json"),
    "array": (b"[]", "invalid_body"),
    "text": (b'"openai"', "invalid_body"),
    "null": (b"null", "invalid_body"),
    "number": (b"1", "invalid_body"),
    "field twice": (b'{"priority": 1, "priority": 2}', "duplicate_field"),
    "field twice, escaped": (b'{"priority": 1, "\\u0070riority": 2}', "duplicate_field"),
}
BAD: dict[str, list[Any]] = {
    "priority": [True, False, "500", 1.5, 500.0, -1, 1001, 10**30, 1e300, None, [], {}],
    "label": [None, 7, True, [], {}, "", "x" * 65, "two\nlines", "bell\x07", "\ud83d"],
    "api_key": [
        *(None, 7, True, [], {}, "", "short", "with space in it", "sch\u00f6n-geheim", "\ud83d" * 20),
        *("x" * 10_000, "line\nbreak-in-a-key", "nul\x00-in-a-key"),
    ],
    "endpoint": [7, True, [], {}, "\ud83d"],
}
BAD_VALUES = [(name, value) for name, values in BAD.items() for value in values]


def require_error(answer: Any, status: int, code: str, param: str | None = None) -> None:
    assert (answer.status, answer.error["code"], answer.error["param"]) == (status, code, param), answer.text
    assert answer.error["message"]
    assert answer.headers["x-should-retry"] == ("true" if "Retry-After" in answer.headers else "false")


@pytest.mark.parametrize("name", NOT_OBJECTS)
@pytest.mark.parametrize("call", [("POST", ""), ("PATCH", "/openai")], ids="{0[0]}".format)
async def test_a_body_that_is_no_object_is_400(
    admin: Any, store: ConfigStore, canary: Canary, name: str, call: tuple[str, str]
) -> None:
    await admin.add("openai", canary("openai"))
    before = store.current
    body, code = NOT_OBJECTS[name]
    answer = await admin.call(*call, body)
    require_error(answer, 400, code, "priority" if code == "duplicate_field" else None)
    assert store.current is before


@pytest.mark.parametrize(("field", "value"), BAD_VALUES, ids=lambda v: ascii(v)[:20])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_bad_value_is_400_naming_the_field(
    admin: Any, store: ConfigStore, canary: Canary, method: str, field: str, value: Any
) -> None:
    await admin.add("openai", canary("openai"))
    before = store.current
    if method == "POST":
        body = {"provider": "openai", "api_key": canary("openai"), field: value}
        answer = await admin.call("POST", body=body)
    else:
        answer = await admin.call("PATCH", "/openai", {field: value})
    require_error(answer, 400, f"invalid_{field}", field)
    assert store.current is before
    if field == "api_key" and isinstance(value, str) and value:
        assert value not in answer.error["message"]


@pytest.mark.parametrize("value", [None, 7, True, [], {}, "\ud83d"])
async def test_a_provider_that_is_no_text_is_400(admin: Any, canary: Canary, value: Any) -> None:
    answer = await admin.call("POST", body={"provider": value, "api_key": canary("openai")})
    require_error(answer, 400, "invalid_provider", "provider")


@pytest.mark.parametrize(
    ("field", "near"),
    [("prioritty", "priority"), ("Label", "label"), ("apikey", "api_key"), ("updated_at", None), ("", None)],
)
@pytest.mark.parametrize("call", [("POST", ""), ("PATCH", "/openai")], ids="{0[0]}".format)
async def test_an_unknown_field_is_named_with_the_nearest_known_one(
    admin: Any, store: ConfigStore, canary: Canary, call: tuple[str, str], field: str, near: str | None
) -> None:
    await admin.add("openai", canary("openai"))
    before = store.current
    answer = await admin.call(*call, {"label": "fine", field: 1})
    require_error(answer, 400, "unknown_field", field)
    assert (f'did you mean "{near}"' in answer.error["message"]) == (near is not None)
    assert store.current is before


async def test_a_key_in_the_place_of_a_field_name_is_not_repeated(admin: Any, canary: Canary) -> None:
    key = canary("openai") + "x" * 40
    admin.keys.append(key)
    answer = await admin.call("POST", body={"provider": "openai", key: 1})
    assert answer.error["code"] == "unknown_field"
    assert key[:13] not in answer.text


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "\u2028", "\ud83d", "x" * 60_000])
async def test_a_strange_field_name_makes_a_plain_message(admin: Any, name: str) -> None:
    answer = await admin.call("POST", body={name: 1})
    assert answer.error["code"] == "unknown_field"
    assert answer.error["message"].isprintable()
    assert len(answer.text) < 400


async def test_a_post_without_provider_is_400(admin: Any, canary: Canary) -> None:
    answer = await admin.call("POST", body={"api_key": canary("openai")})
    require_error(answer, 400, "missing_field", "provider")


async def test_a_post_without_a_key_where_one_is_needed_is_400(admin: Any, store: ConfigStore) -> None:
    answer = await admin.call("POST", body={"provider": "openai"})
    require_error(answer, 400, "missing_field", "api_key")
    assert store.current.connections == ()


async def test_a_patch_that_changes_nothing_is_400(admin: Any, canary: Canary) -> None:
    await admin.add("openai", canary("openai"))
    require_error(await admin.call("PATCH", "/openai", {}), 400, "empty_change")


async def test_the_provider_of_a_connection_cannot_be_patched(admin: Any, canary: Canary) -> None:
    await admin.add("openai", canary("openai"))
    answer = await admin.call("PATCH", "/openai", {"provider": "anthropic"})
    require_error(answer, 400, "unknown_field", "provider")


@pytest.mark.parametrize(("provider", "near"), [("opnai", "openai"), ("OpenAI", "openai"), ("zzz", None)])
async def test_an_unknown_provider_in_a_body_is_400_with_the_nearest(
    admin: Any, canary: Canary, provider: str, near: str | None
) -> None:
    answer = await admin.add(provider, canary("openai"))
    require_error(answer, 400, "unknown_provider", "provider")
    assert near is None or f'"{near}"' in answer.error["message"]


CALLS = [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test")]


@pytest.mark.parametrize(("method", "tail"), CALLS)
@pytest.mark.parametrize("provider", ["opnai", "%00", "%2e%2e%2fopenai", "a%20b", "%ff", "x" * 2000])
async def test_an_unknown_provider_in_a_path_is_404(admin: Any, method: str, tail: str, provider: str) -> None:
    body = {"priority": 1} if method == "PATCH" else None
    answer = await admin.call(method, f"/{provider}{tail}", body)
    require_error(answer, 404, "unknown_provider")
    assert len(answer.text) < 400


@pytest.mark.parametrize(("method", "tail"), CALLS)
async def test_a_provider_without_connection_is_404(admin: Any, method: str, tail: str) -> None:
    body = {"priority": 1} if method == "PATCH" else None
    require_error(await admin.call(method, f"/openai{tail}", body), 404, "connection_not_found")


async def test_an_endpoint_where_none_is_taken_is_400(admin: Any, canary: Canary) -> None:
    answer = await admin.add("openai", canary("openai"), endpoint="https://example.com/v1")
    require_error(answer, 400, "endpoint_not_supported", "endpoint")


@pytest.mark.parametrize("endpoint", ["", "nonsense", "ftp://h/x", "http://u:p@h:1/", "https://", "https://h/#f"])
async def test_an_endpoint_that_is_no_address_is_400(admin: Any, endpoint: str) -> None:
    answer = await admin.call("POST", body={"provider": "lab", "endpoint": endpoint})
    require_error(answer, 400, "invalid_endpoint", "endpoint")


@pytest.mark.parametrize(("method", "tail"), [("POST", "/test"), ("DELETE", "")])
async def test_calls_that_take_no_fields_refuse_them(
    admin: Any, store: ConfigStore, canary: Canary, method: str, tail: str
) -> None:
    await admin.add("openai", canary("openai"))
    answer = await admin.call(method, f"/openai{tail}", {"model": "gpt-5"})
    require_error(answer, 400, "unknown_field", "model")
    assert store.current.connection("openai") is not None


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "application/jsonp",
        "application/json; charset=utf-16",
        "text/json",
        "application/json, text/plain",
        "",
    ],
)
@pytest.mark.parametrize("call", [("POST", ""), ("PATCH", "/openai"), ("POST", "/openai/test")])
async def test_another_content_type_is_415(
    admin: Any, store: ConfigStore, canary: Canary, tester: Any, kind: str, call: tuple[str, str]
) -> None:
    await admin.add("openai", canary("openai"))
    before = store.current
    answer = await admin.call(*call, b'{"priority": 1}', headers={"content-type": kind})
    require_error(answer, 415, "unsupported_media_type")
    assert store.current is before
    assert tester.tested == []


async def test_a_form_is_415(admin: Any) -> None:
    answer = await admin.call("POST", data=FormData({"provider": "openai"}))
    require_error(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/json; charset=UTF-8", "Application/JSON"])
async def test_json_is_json_however_it_is_spelled(admin: Any, canary: Canary, kind: str) -> None:
    await admin.add("openai", canary("openai"))
    answer = await admin.call("PATCH", "/openai", b'{"priority": 1}', headers={"content-type": kind})
    assert answer.status == 200


@pytest.mark.parametrize("call", [("POST", ""), ("PATCH", "/openai"), ("POST", "/openai/test")])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_64_kib_is_413(admin: Any, call: tuple[str, str], chunked: bool) -> None:
    body = b'{"label": "' + b"x" * 64 * 1024 + b'"}'
    answer = await admin.call(*call, body, chunked=chunked or None)
    require_error(answer, 413, "body_too_large")


async def test_a_full_disk_is_507(admin: Any, store: ConfigStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await require_unavailable(admin, store, monkeypatch, StoreUnavailable("No room left.", full=True))
    require_error(await admin.call("DELETE", "/openai"), 507, "store_full")


async def test_a_store_that_cannot_write_is_503_and_says_when_to_come_back(
    admin: Any, store: ConfigStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await require_unavailable(admin, store, monkeypatch, StoreUnavailable("read-only file system", full=False))
    answer = await admin.call("PATCH", "/openai", {"priority": 1})
    require_error(answer, 503, "store_unavailable")
    assert answer.error["type"] == "api_error"
    assert int(answer.headers["Retry-After"]) > 0
    assert "read-only file system" in answer.error["message"]


async def test_broken_files_are_503_naming_the_line_and_nothing_is_changed(
    admin: Any, store: ConfigStore, canary: Canary, tmp_path: Path
) -> None:
    await admin.add("openai", canary("openai"))
    before = store.current
    file = tmp_path / "state" / "connections.yaml"
    file.write_text("connections: [\n")
    for method, path, body in (("PATCH", "/openai", {"priority": 1}), ("DELETE", "/openai", None)):
        answer = await admin.call(method, path, body)
        require_error(answer, 503, "configuration_invalid")
        assert "connections.yaml:" in answer.error["message"]
    assert store.current is before
    assert file.read_text() == "connections: [\n"
    assert [c["provider"] for c in (await admin.call("GET")).json["data"]] == ["openai"]


async def require_unavailable(
    admin: Any, store: ConfigStore, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    async def refuse(*_args: Any, **_more: Any) -> None:
        raise fault

    for name in ("put", "patch", "delete"):
        monkeypatch.setattr(store, name, refuse)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "", {"GET", "HEAD", "POST"}),
        ("PUT", "/openai", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("POST", "/openai", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("GET", "/openai/test", {"POST"}),
        ("POST", "/catalog", {"GET", "HEAD"}),
        ("PATCH", "/catalog", {"GET", "HEAD"}),
        ("DELETE", "/catalog", {"GET", "HEAD"}),
    ],
)
async def test_a_method_that_is_not_there_is_405_naming_the_others(
    admin: Any, method: str, path: str, allowed: set[str]
) -> None:
    answer = await admin.call(method, path)
    assert answer.status == 405
    assert set(answer.headers["Allow"].split(",")) == allowed


@pytest.mark.parametrize("path", ["X", "/openai/tests", "/openai/test/x", "/a/b/c"])
async def test_paths_beside_the_contract_are_left_to_the_parent(admin: Any, path: str) -> None:
    assert (await admin.call("GET", path)).status == 404
