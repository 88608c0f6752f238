"""Bodies in and views out: the JSON of the admin API, and what of a connection is ever shown.

Judges the shape of a body (text, object, fields, types); whether a value can be taken is decided by
`config.store`. Masking lives here: a view holds the prefix of a key, never the key.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web
from msgspec import UNSET as ABSENT
from msgspec import UnsetType

from admin_api.errors import ApiError, shown, suggestion
from admin_api.ports import ConnectionStatus, TestResult
from config.model import Connection, ProviderSpec
from config.store import UNSET, ConnectionChange

MAX_BODY_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 32
BODY_SECONDS: Final = 30.0
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_RULES: Final = {
    "provider": "provider must be text: an id that GET /v1/providers/catalog lists.",
    "api_key": "api_key must be text.",
    "priority": "priority must be a whole number from 0 to 1000.",
    "label": "label must be text of 1 to 64 characters.",
    "endpoint": "endpoint must be a URL as text, or null for none.",
}


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    """Fields that a client may send. Its repr names them and holds no value: one of them is a key."""

    api_key: str | UnsetType = ABSENT
    priority: int | UnsetType = ABSENT
    label: str | UnsetType = ABSENT
    endpoint: str | UnsetType | None = ABSENT

    def given(self) -> tuple[str, ...]:
        """The names of the fields that were sent."""
        return tuple(name for name in self.__struct_fields__ if getattr(self, name) is not ABSENT)

    def change(self) -> ConnectionChange:
        """The same for the store."""
        return ConnectionChange(
            api_key=UNSET if self.api_key is ABSENT else self.api_key,
            priority=UNSET if self.priority is ABSENT else self.priority,
            label=UNSET if self.label is ABSENT else self.label,
            endpoint=UNSET if self.endpoint is ABSENT else self.endpoint,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.given())})"


class NewConnection(_Body, frozen=True, kw_only=True):
    """The body of `POST /v1/providers`."""

    provider: str


class ChangedConnection(_Body, frozen=True, kw_only=True):
    """The body of `PATCH /v1/providers/{provider}`: any of the fields, at least one."""


class CatalogueView(msgspec.Struct, frozen=True, rename="camel"):
    """A provider as the catalogue lists it."""

    id: str
    label: str
    credential_kind: str
    supports_endpoint: bool


class ConnectionView(msgspec.Struct, frozen=True):
    """A connection as listed. `endpoint` and `fault` stand there only where the connection has one."""

    provider: str
    label: str
    priority: int
    key_prefix: str | None  # None: it has no key
    updated_at: str
    endpoint: str | UnsetType = ABSENT
    fault: str | UnsetType = ABSENT


class StatusView(msgspec.Struct, frozen=True):
    """How a connection fares, as far as the process that answers has seen."""

    state: str
    since: str | None
    last_error: str | None
    next_probe: str | None
    worker: int


class DetailView(ConnectionView, frozen=True, kw_only=True):
    """A connection by itself: as listed, and how it fares."""

    status: StatusView


class TestView(msgspec.Struct, frozen=True):
    """The result of a test call; `error` only where it failed."""

    __test__ = False

    ok: bool
    latency_ms: float
    models: int
    error: str | UnsetType = ABSENT


def catalogue_view(spec: ProviderSpec) -> CatalogueView:
    """`spec` as the catalogue lists it."""
    return CatalogueView(spec.id, spec.label, spec.credential.value, spec.supports_endpoint)


def connection_view(connection: Connection) -> ConnectionView:
    """`connection` as listed: of its key no more than the prefix."""
    return ConnectionView(
        provider=connection.provider,
        label=connection.label,
        priority=connection.priority,
        key_prefix=connection.secret.prefix if connection.secret else None,
        updated_at=connection.updated_at,
        endpoint=ABSENT if connection.endpoint is None else connection.endpoint,
        fault=ABSENT if connection.fault is None else connection.fault,
    )


def detail_view(connection: Connection, status: ConnectionStatus) -> DetailView:
    """`connection` as listed, and how it fares."""
    found = StatusView(status.state, status.since, status.last_error, status.next_probe, status.worker)
    listed = connection_view(connection)
    return DetailView(**{name: getattr(listed, name) for name in listed.__struct_fields__}, status=found)


def test_view(result: TestResult) -> TestView:
    """`result` as answered."""
    error = ABSENT if result.error is None else result.error
    return TestView(result.ok, round(result.latency_ms, 1), result.models, error)


async def read_body(request: web.Request, *, seconds: float = BODY_SECONDS) -> bytes:
    """The body, which must be declared as JSON if there is one. Raises ApiError: 408, 413, 415.

    The content type is what keeps web pages out: no form and no beacon can send this one without asking
    first, and the daemon answers no such question.
    """
    if request.can_read_body and not _is_json(request):
        message = "The body must be JSON: send it with the header content-type: application/json."
        raise ApiError(415, "unsupported_media_type", message)
    data = bytearray()
    try:
        async with asyncio.timeout(seconds):
            _require_room(request.content_length or 0)
            async for chunk in request.content.iter_any():
                data += chunk
                _require_room(len(data))
    except TimeoutError:
        message = f"The body did not arrive within {seconds:g} seconds."
        raise ApiError(408, "body_timeout", message, retry_after=1) from None
    return bytes(data)


def _is_json(request: web.Request) -> bool:
    charset = request.charset
    return request.content_type == "application/json" and (charset is None or charset.lower() == "utf-8")


def _require_room(size: int) -> None:
    if size > MAX_BODY_BYTES:
        message = f"The body is too large: at most {MAX_BODY_BYTES // 1024} KiB are taken here."
        raise ApiError(413, "body_too_large", message)


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object that `data` is.

    Stricter than JSON parsers usually are, for two readers must never see two different changes: no field
    twice, no NaN, no more than 32 levels. Raises ApiError (400).
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ApiError(400, "invalid_json", "The body is not valid UTF-8.") from None
    if not text.strip():
        raise ApiError(400, "invalid_json", "The body is empty; send a JSON object.")
    _require_shallow(text)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno}, column {exc.colno}"
        raise ApiError(400, "invalid_json", f"The body is not valid JSON ({where}).") from None
    except ValueError:  # an integer of more digits than Python converts
        raise ApiError(400, "invalid_json", "The body holds a number of too many digits.") from None
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_body", "The body must be a JSON object.")
    return value


def _require_shallow(text: str) -> None:
    depth = 0
    for mark in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if mark in "[{" else -1
        if depth > MAX_DEPTH:
            raise ApiError(400, "invalid_json", f"The body is nested deeper than {MAX_DEPTH} levels.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise ApiError(400, "duplicate_field", f"The field {shown(name)} stands there twice.", _param(name))
        fields[name] = value
    return fields


def _no_constant(name: str) -> Any:
    raise ApiError(400, "invalid_json", f"The body holds {name}, which is not JSON.")


def _param(name: str) -> str:
    return shown(name)[1:-1]


_B = TypeVar("_B", bound=_Body)


def parse_new(data: bytes) -> NewConnection:
    """The body of a POST. Raises ApiError (400) naming the field."""
    return _parse(data, NewConnection)


def parse_change(data: bytes) -> ChangedConnection:
    """The body of a PATCH. Raises ApiError (400) naming the field, and for a body that changes nothing."""
    body = _parse(data, ChangedConnection)
    if not body.given():
        names = ", ".join(ChangedConnection.__struct_fields__)
        raise ApiError(400, "empty_change", f"Nothing to change: give at least one of {names}.")
    return body


def require_no_fields(data: bytes) -> None:
    """For calls that take no body: none, or an object without fields. Raises ApiError (400)."""
    if data.strip():
        for name in parse_object(data):
            message = f"This call takes no fields, {shown(name)} neither."
            raise ApiError(400, "unknown_field", message, _param(name))


def _parse(data: bytes, kind: type[_B]) -> _B:
    sent = parse_object(data)
    known = {field.name: field for field in msgspec.structs.fields(kind)}
    for name in sent:
        if name not in known:
            message = f"There is no field {shown(name)}{suggestion(name, known)}. Known: {', '.join(known)}."
            raise ApiError(400, "unknown_field", message, _param(name))
    for field in known.values():
        if field.required and field.name not in sent:
            message = f"The field {field.name} is missing. {_RULES[field.name]}"
            raise ApiError(400, "missing_field", message, field.name)
    return kind(**{name: _typed(name, value, known[name].type) for name, value in sent.items()})


def _typed(name: str, value: Any, kind: Any) -> Any:
    try:
        taken = msgspec.convert(value, kind, strict=True)
        if isinstance(taken, str):
            taken.encode()  # half of a surrogate pair is no character and can be stored nowhere
    except (msgspec.ValidationError, UnicodeEncodeError):
        raise ApiError(400, f"invalid_{name}", _RULES[name], name) from None
    return taken
