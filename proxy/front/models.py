"""`/v1/models` as the union over the connections, in OpenAI's form and, for who sends `anthropic-version`, Anthropic's;
under `/v1beta` Google's.

Formats: OpenAI API reference, "Models"; Anthropic API, "List Models"; Gemini API, "Models"; read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from config.model import Snapshot
from proxy.dialects.json import encode
from proxy.front.context import FRONT
from proxy.front.errors import Refused
from proxy.upstream.model_lists import ModelLists

_PAGE: Final = 1000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = 32_503_680_000  # the year 3000: beyond it somebody counts milliseconds


async def list_models(request: web.Request) -> web.Response:
    """`GET /v1/models`."""
    entries = await _union(request)
    if request.path.startswith("/v1beta/"):
        return _json({"models": [_google(entry) for entry in entries.values()]})
    if "anthropic-version" in request.headers:
        return _json(_anthropic_page(request, entries))
    return _json({"object": "list", "data": list(entries.values())})


async def one_model(request: web.Request) -> web.Response:
    """`GET /v1/models/{id}`; ids may hold slashes."""
    ident = request.match_info["id"]
    entries = await _union(request)
    entry = entries.get(ident)
    if entry is None:
        raise Refused(404, "model_not_found", f"no connection serves a model `{ident[:100]}`", param="model")
    if request.path.startswith("/v1beta/"):
        return _json(_google(entry))
    return _json(_anthropic(entry) if "anthropic-version" in request.headers else entry)


async def _union(request: web.Request) -> dict[str, dict[str, Any]]:
    front = request.app[FRONT]
    snapshot = await front.snapshot()
    await front.lists.ensure(snapshot.connections)
    return union(snapshot, front.lists)


def union(snapshot: Snapshot, lists: ModelLists) -> dict[str, dict[str, Any]]:
    """Every model by its id: the aliases first, then what each connection lists, in the order they are tried.

    `providers` names who serves it. Where no live list is known, the catalogue's stands in.
    """
    found: dict[str, dict[str, Any]] = {}
    for alias, targets in snapshot.settings.models.items():
        found[alias] = _entry({"id": alias, "owned_by": "redeo"}, list(dict.fromkeys(t.provider for t in targets)))
    for connection in snapshot.connections:
        if connection.fault is not None:
            continue
        live = lists.entries(connection)
        fallback = [{"id": name, "owned_by": connection.provider} for name in connection.spec.models]
        for model in live if live is not None else fallback:
            entry = found.setdefault(model["id"], _entry(model, []))
            if connection.provider not in entry["providers"]:
                entry["providers"].append(connection.provider)
    if snapshot.connections:
        usable = [c.provider for c in snapshot.connections if c.spec.default_model and c.fault is None]
        found.setdefault("auto", _entry({"id": "auto", "owned_by": "redeo"}, usable))
    return found


def _entry(model: Mapping[str, Any], providers: list[str]) -> dict[str, Any]:
    created = model.get("created")
    owner = model.get("owned_by")
    return {
        **model,
        "object": "model",
        "created": created if isinstance(created, int) else _created_at(model.get("created_at")),
        "owned_by": owner if isinstance(owner, str) else "unknown",
        "providers": providers,
    }


def _created_at(text: object) -> int:
    try:
        return int(datetime.fromisoformat(str(text)).timestamp())
    except ValueError:
        return 0


def _google(entry: Mapping[str, Any]) -> dict[str, Any]:
    name = entry.get("display_name")
    return {
        "name": f"models/{entry['id']}",
        "version": "",
        "displayName": name if isinstance(name, str) else entry["id"],
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent"],
    }


def _anthropic(entry: Mapping[str, Any]) -> dict[str, Any]:
    created = datetime.fromtimestamp(entry["created"], UTC) if 0 < entry["created"] < _LATEST else _EPOCH
    name = entry.get("display_name")
    return {
        "type": "model",
        "id": entry["id"],
        "display_name": name if isinstance(name, str) else entry["id"],
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "providers": entry["providers"],
    }


def _anthropic_page(request: web.Request, entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    ids = list(entries)
    after, limit = request.query.get("after_id"), request.query.get("limit", str(_PAGE))
    start = ids.index(after) + 1 if after is not None and after in entries else 0
    asked = int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 10 else 0
    count = min(asked, _PAGE) if asked else _PAGE
    page = ids[start : start + count]
    return {
        "data": [_anthropic(entries[ident]) for ident in page],
        "has_more": start + count < len(ids),
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }


def _json(value: object) -> web.Response:
    return web.Response(body=encode(value), content_type="application/json")
