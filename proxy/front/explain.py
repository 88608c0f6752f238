"""`GET /v1/routing/explain`: what would become of a request for a model just now, and why.

Says what this process knows, by itself and from other workers. What a request would meet is decided in
`proxy.routing`; here stand the question's form and the answer's, with times of day instead of seconds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from config.model import Connection, Operation, Snapshot
from proxy.dialects.json import encode
from proxy.dialects.splice import MAX_MODEL
from proxy.front.context import FRONT
from proxy.front.errors import Refused
from proxy.front.live import ago, ahead, state_of
from proxy.routing import (
    AUTO,
    Explanation,
    GatewayAnswer,
    Health,
    LeftOut,
    Report,
    Tried,
    explain,
    needs_lists,
)

_PARAMETERS: Final = ("model", "operation")
_NAME: Final = re.compile(r"[\w.-]{1,40}")


class _TriedView(msgspec.Struct, frozen=True):
    provider: str
    model: str | None  # as it is sent upstream; None: the request names none
    mode: str
    via: str | None  # the operation that it is translated to
    note: str | UnsetType = UNSET


class _LeftOutView(msgspec.Struct, frozen=True):
    provider: str
    model: str | None
    reason: str
    message: str
    until: str | None
    retry_in: float | None  # seconds


class _ModelView(msgspec.Struct, frozen=True):
    model: str
    state: str
    last_error: str | None
    next_probe: str | None


class _BreakerView(msgspec.Struct, frozen=True):
    provider: str
    state: str
    since: str | None
    last_error: str | None
    last_error_at: str | None
    failures: int
    next_probe: str | None
    models: tuple[_ModelView, ...]
    fault: str | UnsetType = UNSET


class _ErrorView(msgspec.Struct, frozen=True):
    status: int
    code: str
    message: str
    retry_after: int | None


class _View(msgspec.Struct, frozen=True):
    model: str | None
    operation: str
    read_as: str
    worker: int  # who answers
    tried: list[_TriedView]
    left_out: list[_LeftOutView]
    breakers: list[_BreakerView]
    error: _ErrorView | UnsetType = UNSET
    estimated: bool | UnsetType = UNSET


def handler(
    operations: Collection[Operation], no_model: Collection[Operation]
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The handler; `operations` are those that clients can ask for, `no_model` those that name no model."""

    async def handle(request: web.Request) -> web.Response:
        operation = _operation(request, operations)
        model = _model(request, None if operation in no_model else AUTO)
        front = request.app[FRONT]
        snapshot = await front.snapshot()
        if needs_lists(snapshot, model):
            await front.lists.ensure(snapshot.connections)
        health = front.engine.health
        found = explain(snapshot, operation, model, front.lists, health)
        body = encode(_view(model, operation, found, _breakers(snapshot, health)))
        headers = {"Cache-Control": "private, no-store"}
        return web.Response(body=body, content_type="application/json", headers=headers)

    return handle


def _operation(request: web.Request, operations: Collection[Operation]) -> Operation:
    """What is asked about. Raises Refused: another parameter, one twice, no operation that there is."""
    for name in request.query:
        if name not in _PARAMETERS:
            named = f" `{name}`" if _NAME.fullmatch(name) else ""
            message = f"there is no parameter{named} here; this call takes {' and '.join(_PARAMETERS)}"
            raise Refused(400, "unknown_parameter", message, param=name if named else None)
        if len(request.query.getall(name)) > 1:
            raise Refused(400, "duplicate_parameter", f"`{name}` stands there twice", param=name)
    asked = request.query.get("operation", Operation.CHAT.value)
    for operation in operations:
        if operation.value == asked:
            return operation
    known = ", ".join(sorted(operation.value for operation in operations))
    raise Refused(400, "invalid_operation", f"operation must be one of {known}", param="operation")


def _model(request: web.Request, otherwise: str | None) -> str | None:
    """The name to explain. Raises Refused for one that a request is refused for as well, wherever it would go."""
    model = request.query.get("model", otherwise)
    if model is not None and not 0 < len(model) <= MAX_MODEL:
        message = f"`model` must be a name of 1 to {MAX_MODEL} characters; leave it out for `{AUTO}`"
        raise Refused(400, "invalid_model", message, param="model")
    return model


def _view(model: str | None, operation: Operation, found: Explanation, breakers: list[_BreakerView]) -> _View:
    return _View(
        model=model,
        operation=operation.value,
        read_as=found.reading.value,
        worker=os.getpid(),
        tried=[_tried(entry) for entry in found.tried],
        left_out=[_left_out(entry) for entry in found.left_out],
        breakers=breakers,
        error=UNSET if found.answer is None else _error(found.answer),
        estimated=True if found.estimated else UNSET,
    )


def _tried(entry: Tried) -> _TriedView:
    candidate = entry.candidate
    via = None if candidate.via is None else candidate.via.value
    note = UNSET if entry.note is None else entry.note
    return _TriedView(candidate.connection.provider, entry.model, candidate.mode.value, via, note)


def _left_out(entry: LeftOut) -> _LeftOutView:
    seconds = None if entry.retry_in is None else round(entry.retry_in, 1)
    until = ahead(entry.retry_in)
    return _LeftOutView(entry.provider, entry.model, entry.reason.value, entry.message, until, seconds)


def _error(answer: GatewayAnswer) -> _ErrorView:
    return _ErrorView(answer.status, answer.code, answer.message, answer.retry_after)


def _breakers(snapshot: Snapshot, health: Health) -> list[_BreakerView]:
    """What is known of each connection, in the order they are tried."""
    return [_breaker(connection, health.report(connection)) for connection in snapshot.connections]


def _breaker(connection: Connection, report: Report) -> _BreakerView:
    return _BreakerView(
        provider=connection.provider,
        state=state_of(connection, report),
        since=ago(report.since),
        last_error=report.last_error,
        last_error_at=ago(report.last_error_ago),
        failures=report.failures,
        next_probe=ahead(report.next_probe),
        models=tuple(_ModelView(m.model, m.state.value, m.last_error, ahead(m.next_probe)) for m in report.models),
        fault=UNSET if connection.fault is None else connection.fault,
    )
