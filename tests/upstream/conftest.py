"""A provider and a client to ask it, on asyncio's own loop and on uvloop: the daemon runs on either."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import uvloop

from proxy.upstream.client import Client
from tests.support.peers import AUTHORITY, Asker, Listener, Script


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both kinds of loop that the daemon runs on."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def opened() -> None:
    """uvloop keeps a descriptor in reserve as soon as it listens: that is nothing left over."""
    (await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)).close()


@pytest.fixture
async def listen(opened: None, settled: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """`await listen(script, ..., tls=False)`: a provider on a real socket. Its authority is trusted."""
    plain = ssl.create_default_context

    def trusting(*arguments: Any, **options: Any) -> ssl.SSLContext:
        made = plain(*arguments, **options)
        AUTHORITY.configure_trust(made)
        return made

    monkeypatch.setattr(ssl, "create_default_context", trusting)
    open_ones: list[tuple[Listener, asyncio.Server]] = []

    async def start(*scripts: Script, tls: bool = False) -> Listener:
        listener, context = Listener(list(scripts), tls), None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
        server = await asyncio.start_server(listener.serve, "127.0.0.1", 0, ssl=context, limit=1 << 26)
        listener.port = server.sockets[0].getsockname()[1]
        open_ones.append((listener, server))
        return listener

    yield start
    for listener, server in open_ones:
        server.close()
        await listener.stop()


@pytest.fixture
async def ask(opened: None, settled: Any) -> AsyncIterator[Asker]:
    """`await ask(listener, body, ...)`: the head of the answer."""
    client = Client()
    yield Asker(client)
    await client.close()
