"""The routes of `/v1/providers` and what each does with the store.

Does not authenticate and does not check Host or Origin (the front's guard has, before a request comes here),
does not judge values or touch files (`config.store`), does not call providers (the tester that it is handed).
Contract: the admin part of docs/admin-api.md, described for machines in openapi.json.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from admin_api import bodies
from admin_api.audit import AuditEntry, audited
from admin_api.errors import ApiError, refusal, shown, suggestion
from admin_api.ports import ConnectionTester, LiveStatus, TestResult
from config.errors import UnknownProvider
from config.model import Connection, Snapshot
from config.store import ConfigStore

CATALOGUE: Final = "catalog"
Caller = Callable[[web.Request], str]


@web.middleware
async def answer_refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refusals as answers; everything else is the front's."""
    try:
        return await handler(request)
    except ApiError as exc:
        return exc.response()


class Handlers:
    """One mounted admin API. Owns the changes in hand: each runs to its end, whether or not its client stays."""

    def __init__(self, store: ConfigStore, tester: ConnectionTester, status: LiveStatus, caller: Caller) -> None:
        self._store = store
        self._tester = tester
        self._status = status
        self._caller = caller
        self._changes: set[asyncio.Task[web.Response]] = set()

    def routes(self) -> list[web.RouteDef]:
        """The route table, relative to where it is mounted."""
        one = "/{provider:(?!" + CATALOGUE + "$)[^/{}]+}"  # so that other methods on the catalogue are a 405
        return [
            web.get(f"/{CATALOGUE}", self.catalogue),
            web.get("", self.listing),
            web.post("", self.create),
            web.get(one, self.show),
            web.patch(one, self.change),
            web.delete(one, self.remove),
            web.post(one + "/test", self.test),
        ]

    async def settle(self, _app: web.Application) -> None:
        """Waits for the changes in hand."""
        if self._changes:
            await asyncio.wait(self._changes)

    async def catalogue(self, _request: web.Request) -> web.Response:
        """Every provider there is, by id."""
        snapshot = await self._current()
        specs = sorted(snapshot.providers.values(), key=lambda spec: spec.id)
        return _json({"data": [bodies.catalogue_view(spec) for spec in specs]})

    async def listing(self, request: web.Request) -> web.Response:
        """Every connection, in the order they are tried."""
        snapshot = await self._current()
        views = [bodies.connection_view(connection) for connection in snapshot.connections]
        return _conditional(request, {"data": views}, self._store.etag())

    async def show(self, request: web.Request) -> web.Response:
        """One connection, with how it fares. Its version is that of the configuration alone."""
        snapshot = await self._current()
        connection = _connection(snapshot, request.match_info["provider"])
        detail = bodies.detail_view(connection, self._status.status(connection))
        return _conditional(request, detail, self._store.etag(connection.provider))

    async def test(self, request: web.Request) -> web.Response:
        """A real, cheap call to the provider; a connection that cannot be used is not called at all."""
        bodies.require_no_fields(await bodies.read_body(request))
        connection = _connection(await self._current(), request.match_info["provider"])
        if connection.fault is not None:
            result = TestResult(ok=False, latency_ms=0.0, models=0, error=connection.fault)
        else:
            result = await self._tester.test(connection)
        return _json(bodies.test_view(result))

    async def create(self, request: web.Request) -> web.Response:
        """A new connection, or new values for the one that is there."""
        return await self._to_its_end(self._create(request))

    async def change(self, request: web.Request) -> web.Response:
        """Some fields of a connection."""
        return await self._to_its_end(self._change(request))

    async def remove(self, request: web.Request) -> web.Response:
        """No such connection any more."""
        return await self._to_its_end(self._remove(request))

    async def _create(self, request: web.Request) -> web.Response:
        with audited("put", self._caller(request)) as entry:
            body = bodies.parse_new(await bodies.read_body(request))
            self._note(entry, body.provider, body.given())
            with self._refusing(body.provider, _unknown_in_body):
                connection, created = await self._store.put(
                    body.provider,
                    body.change(),
                    if_match=_header(request, hdrs.IF_MATCH),
                    if_none_match=_header(request, hdrs.IF_NONE_MATCH),
                )
            entry.outcome = "created" if created else "updated"
        return self._changed(connection, status=201 if created else 200)

    async def _change(self, request: web.Request) -> web.Response:
        provider = request.match_info["provider"]
        with audited("patch", self._caller(request)) as entry:
            self._note(entry, provider)
            body = bodies.parse_change(await bodies.read_body(request))
            self._note(entry, provider, body.given())
            with self._refusing(provider, _unknown_in_path):
                connection = await self._store.patch(provider, body.change(), if_match=_header(request, hdrs.IF_MATCH))
            entry.outcome = "updated"
        return self._changed(connection)

    async def _remove(self, request: web.Request) -> web.Response:
        provider = request.match_info["provider"]
        with audited("delete", self._caller(request)) as entry:
            self._note(entry, provider)
            bodies.require_no_fields(await bodies.read_body(request))
            with self._refusing(provider, _unknown_in_path):
                await self._store.delete(provider, if_match=_header(request, hdrs.IF_MATCH))
            entry.outcome = "deleted"
        return _json({"ok": True})

    async def _current(self) -> Snapshot:
        if self._store.stale:  # another worker has written
            await self._store.refresh()
        return self._store.current

    async def _to_its_end(self, change: Coroutine[Any, Any, web.Response]) -> web.Response:
        """A client that leaves cancels its handler, never the change: that one is made, or not, and audited."""
        task = asyncio.create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    def _note(self, entry: AuditEntry, provider: str, fields: tuple[str, ...] = ()) -> None:
        snapshot = self._store.current
        known = provider in snapshot.providers or snapshot.connection(provider) is not None
        entry.provider = provider if known else None  # what is no provider may be anything, a key too
        entry.fields = tuple(name for name in fields if name != "provider")

    @contextmanager
    def _refusing(self, provider: str, unknown: Callable[[Snapshot, str], ApiError]) -> Iterator[None]:
        """Turns the store's exceptions into refusals; `unknown` says what no such provider is to this call."""
        try:
            yield
        except Exception as exc:
            if isinstance(exc, UnknownProvider) or getattr(exc, "code", None) == "unknown_provider":
                raise unknown(self._store.current, provider) from None
            answer = refusal(exc)
            if answer is None:
                raise
            raise answer from None

    def _changed(self, connection: Connection, *, status: int = 200) -> web.Response:
        try:
            headers: dict[str, str] = {hdrs.ETAG: self._store.etag(connection.provider)}
        except UnknownProvider:  # deleted by somebody else meanwhile: the change was made all the same
            headers = {}
        return _json(bodies.connection_view(connection), status=status, headers=headers)


def _json(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode(value)
    headers = {hdrs.CACHE_CONTROL: "private, no-cache", **(headers or {})}
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _conditional(request: web.Request, value: Any, etag: str) -> web.Response:
    """The value with its version, or 304 where the client has that version already."""
    held = request.if_none_match or ()
    if any(tag.value in {"*", etag.strip('"')} for tag in held):
        headers = {hdrs.ETAG: etag, hdrs.CACHE_CONTROL: "private, no-cache"}
        return web.Response(status=304, headers=headers)
    return _json(value, headers={hdrs.ETAG: etag})


def _header(request: web.Request, name: str) -> str | None:
    """A header that may stand there more than once, as one list."""
    values = request.headers.getall(name, None)
    return None if values is None else ", ".join(values)


def _connection(snapshot: Snapshot, provider: str) -> Connection:
    connection = snapshot.connection(provider)
    if connection is None:
        raise _unknown_in_path(snapshot, provider)
    return connection


def _unknown_in_path(snapshot: Snapshot, provider: str) -> ApiError:
    if provider in snapshot.providers:
        message = f"There is no connection to {shown(provider)}; add one with POST /v1/providers."
        return ApiError(404, "connection_not_found", message)
    return ApiError(404, "unknown_provider", _no_provider(snapshot, provider))


def _unknown_in_body(snapshot: Snapshot, provider: str) -> ApiError:
    return ApiError(400, "unknown_provider", _no_provider(snapshot, provider), "provider")


def _no_provider(snapshot: Snapshot, provider: str) -> str:
    near = suggestion(provider, snapshot.providers)
    return f"There is no provider {shown(provider)}{near}. GET /v1/providers/{CATALOGUE} lists all."
