"""The management contract over the configuration store (`/v1/providers`)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from aiohttp import web

from admin_api.handlers import Caller, Handlers, answer_refusals
from admin_api.ports import ConnectionTester, LiveStatus
from config.store import ConfigStore

__all__ = ["build", "openapi_document"]


def _unnamed(_request: web.Request) -> str:
    return "api-key"  # there is one key, and the guard has seen it


def build(
    store: ConfigStore, tester: ConnectionTester, status: LiveStatus, *, caller: Caller = _unnamed
) -> web.Application:
    """A fresh sub-application, to be mounted once: `parent.add_subapp("/v1/providers", build(...))`.

    To serve the same under another path, build another one. `caller` names who sent a request, for the audit
    trail (the id of a key, never the key). Whoever mounts it authenticates beforehand, and renders 404 for
    unknown paths and 405 for methods.
    """
    handlers = Handlers(store, tester, status, caller)
    app = web.Application(middlewares=[answer_refusals])
    app.add_routes(handlers.routes())
    app.on_shutdown.append(handlers.settle)
    return app


@cache
def openapi_document() -> bytes:
    """The OpenAPI 3.1 description of everything that the daemon serves, as JSON text."""
    return Path(__file__).with_name("openapi.json").read_bytes()
