"""What each connection says it serves: its live model list, kept for an hour, asked for when somebody needs it.

A list is asked for when a bare model name has to be found or `/v1/models` is read, never at the start. One that
cannot be had is asked for again after a minute, in the background. Formats: `GET /models` of OpenAI
(`{"data":[{"id"}]}`), Anthropic (the same, in pages), Ollama's and Cohere's `models` arrays; read 2026-11.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from config.model import Connection, Operation
from proxy.dialects.json import decode
from proxy.fault import FaultKind, Phase
from proxy.upstream.client import Client, Heading, UpstreamError, UpstreamRequest
from proxy.upstream.sign import MissingCredential, sign

_KEEP: Final = 3600.0
_RETRY: Final = 60.0
_PATIENCE: Final = 2.0  # seconds that a request waits for lists it knows nothing of
_CALL_SECONDS: Final = 10.0
_MAX_BYTES: Final = 4 * 1024 * 1024  # of all pages; the longest list known has half a megabyte
_MAX_PAGES: Final = 20
_MAX_DEPTH: Final = 16


class ListUnavailable(Exception):
    """The provider gave no model list; `status` is its answer's, if it gave one."""

    def __init__(self, reason: str, status: int | None = None, kind: FaultKind = FaultKind.BAD_UPSTREAM) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.kind = kind


class _Entry(msgspec.Struct):
    models: tuple[Mapping[str, Any], ...] | None
    ids: tuple[str, ...] | None
    until: float


class ModelLists:
    """The lists of all connections. `version` changes whenever one of them does."""

    def __init__(self, client: Client, now: Callable[[], float]) -> None:
        self.version = 0
        self._client = client
        self._now = now
        self._entries: dict[str, _Entry] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    def models(self, connection: Connection) -> Sequence[str] | None:
        """The ids the provider lists, as requests must spell them; None where no list is known."""
        entry = self._entries.get(connection.identity)
        return entry.ids if entry is not None else None

    def entries(self, connection: Connection) -> Sequence[Mapping[str, Any]] | None:
        """The same with all that the provider says of each model."""
        entry = self._entries.get(connection.identity)
        return entry.models if entry is not None else None

    async def ensure(self, connections: tuple[Connection, ...]) -> None:
        """Return once every list is known or known not to be had; at most two seconds. Old ones are renewed aside."""
        waits: list[asyncio.Task[None]] = []
        for connection in connections:
            if not connection.speaks(Operation.MODELS) or connection.fault is not None:
                continue
            entry = self._entries.get(connection.identity)
            if entry is not None and entry.until > self._now():
                continue
            task = self._running.get(connection.identity) or self._start(connection)
            if entry is None:
                waits.append(task)
        if waits:
            await asyncio.wait(waits, timeout=_PATIENCE)

    def _start(self, connection: Connection) -> asyncio.Task[None]:
        task = asyncio.create_task(self._renew(connection))
        self._running[connection.identity] = task
        task.add_done_callback(lambda _: self._running.pop(connection.identity, None))
        return task

    async def _renew(self, connection: Connection) -> None:
        old = self._entries.get(connection.identity)
        try:
            models = tuple(await self.fetch(connection))
        except ListUnavailable:
            kept = old or _Entry(None, None, 0.0)
            kept.until = self._now() + _RETRY
            self._entries[connection.identity] = kept
            return
        ids = tuple(str(m["id"]) for m in models)
        self._entries[connection.identity] = _Entry(models, ids, self._now() + _KEEP)
        if old is None or old.ids != ids:
            self.version += 1

    async def fetch(self, connection: Connection) -> list[Mapping[str, Any]]:
        """Ask the provider now. Raises ListUnavailable."""
        models: list[Mapping[str, Any]] = []
        query = ""
        room = _MAX_BYTES
        for _ in range(_MAX_PAGES):
            page, size = await self._page(connection, query, room)
            room -= size
            found = _parse(page, connection.spec.quirks.model_prefix)
            if found is None:
                raise ListUnavailable("its answer is no model list")
            models += found
            last = page.get("last_id")
            if not (page.get("has_more") is True and isinstance(last, str) and found):
                break
            query = f"after_id={quote(last, safe='')}"
        return models

    async def _page(self, connection: Connection, query: str, room: int) -> tuple[Mapping[str, Any], int]:
        """One page and its size, which is at most `room`. Raises ListUnavailable."""
        url = connection.url(Operation.MODELS) + (f"?{query}" if query else "")
        try:
            url, credential = sign(connection, Operation.MODELS, url)
        except MissingCredential:
            raise ListUnavailable("it has no API key", kind=FaultKind.AUTH) from None
        fixed = [(k, v) for k, v in connection.spec.headers.items()]
        headers = [*fixed, ("accept", "application/json"), ("accept-encoding", "identity"), *credential]
        request = UpstreamRequest(Heading("GET", url, headers), None, 5.0)
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                status, body = await self._get(connection, request, room)
        except TimeoutError:
            raise ListUnavailable(f"no answer within {_CALL_SECONDS:g} s", kind=FaultKind.TIMEOUT) from None
        except UpstreamError as exc:
            raise ListUnavailable(exc.detail, kind=exc.kind) from None
        if status != 200:
            raise ListUnavailable(f"it answered {status}", status)
        try:
            value = decode(body)
        except ValueError:
            raise ListUnavailable("its answer is not JSON") from None
        if isinstance(value, list):
            return {"data": value}, len(body)
        return value if isinstance(value, dict) else {}, len(body)

    async def _get(self, connection: Connection, request: UpstreamRequest, room: int) -> tuple[int, bytes]:
        response = await self._client.send(connection, request)
        try:
            body = bytearray()
            while piece := await response.read():
                body += piece
                if len(body) > room:
                    raise UpstreamError(FaultKind.TOO_LARGE, Phase.SENT, "its model list is too large")
            said = bytes(body)  # which clients may read, so a key that it repeats is taken out
            return response.status, said if connection.secret is None else connection.secret.scrub(said)
        finally:
            response.close()

    def retain(self, connections: tuple[Connection, ...]) -> None:
        """Forget the lists of connections that are no more."""
        wanted = {c.identity for c in connections}
        for identity in [i for i in self._entries if i not in wanted]:
            del self._entries[identity]

    async def close(self) -> None:
        """Stop whatever is being asked."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _parse(page: Mapping[str, Any], prefix: str) -> list[Mapping[str, Any]] | None:
    """The models of one page with their ids as requests spell them; None where the page is no list."""
    listed = page.get("data", page.get("models"))
    if not isinstance(listed, list):
        return None
    models: list[Mapping[str, Any]] = []
    for item in listed:
        ident = item.get("id") or item.get("name") if isinstance(item, dict) else None
        if isinstance(ident, str) and ident:
            plain = {key: value for key, value in item.items() if _shallow(value)}
            models.append({**plain, "id": ident.removeprefix(prefix)})
    return models


def _shallow(value: object, room: int = _MAX_DEPTH) -> bool:
    """Whether a value can be written wherever it could be read."""
    if isinstance(value, dict):
        return room > 0 and all(_shallow(inner, room - 1) for inner in value.values())
    if isinstance(value, list):
        return room > 0 and all(_shallow(inner, room - 1) for inner in value)
    return True
