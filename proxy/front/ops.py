"""Health, readiness, metrics and the root: for monitors and people, never for inference."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from proxy.front.context import FRONT


async def root(request: web.Request) -> web.Response:
    """A word to whoever opens the address."""
    return web.Response(text="redeo-proxy is running. Base URL for clients: /v1\n")


async def healthz(request: web.Request) -> web.Response:
    """The process lives."""
    return web.json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Whether requests can be served; 503 while draining."""
    front = request.app[FRONT]
    if front.draining:
        return web.json_response({"status": "draining"}, status=503, headers={"retry-after": "1"})
    snapshot = await front.snapshot()
    return web.json_response({"status": "ready", "connections": len(snapshot.connections)})


def metrics(render: Callable[[], Awaitable[Callable[[], bytes]]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The handler of `/metrics`: `render` brings the gauges up to now and gives what makes the text, off the loop."""

    async def handle(request: web.Request) -> web.Response:
        text = await asyncio.to_thread(await render())
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=1.0.0; charset=utf-8"})

    return handle


def document(text: bytes) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The handler that serves the OpenAPI description."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=text, content_type="application/json")

    return handle
