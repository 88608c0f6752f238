"""A daemon of several workers, each of which can be asked by itself: over a connection that it has taken."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.canary import Canaries
from tests.support.daemon import UNHURRIED, Answer
from tests.support.process import Process

SECONDS = 20.0


class Crew:
    """`daemon` is the supervisor's process; `at` the sessions that lead to each worker, by its pid."""

    def __init__(self, daemon: Process, canaries: Canaries, settings: Mapping[str, Any]) -> None:
        self.daemon = daemon
        self.settings = settings
        self.at: dict[int, aiohttp.ClientSession] = {}
        self._canaries = canaries
        self._ended = False

    async def gather(self, count: int) -> list[int]:
        """Connect until there is a session for each of `count` living workers. Their pids."""
        async with asyncio.timeout(SECONDS):
            while len(self.at) < count:
                session = self.session()
                worker = (await self.ask(session, "GET", "/v1/routing/explain")).json["worker"]
                if worker in self.at:
                    await session.close()
                else:
                    self.at[worker] = session
        return list(self.at)

    def session(self) -> aiohttp.ClientSession:
        """On one connection of its own, which some worker takes."""
        connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=60)
        return aiohttp.ClientSession(f"http://127.0.0.1:{self.daemon.port}", connector=connector)

    async def ask(self, where: int | aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Answer:
        """One request to this worker, or over this session."""
        session = self.at[where] if isinstance(where, int) else where
        headers = {"Authorization": f"Bearer {self.daemon.key}"}
        async with session.request(method, path, json=body, headers=headers) as response:
            data = await response.read()
        self._canaries.add(f"answer {path}", data)
        return Answer(response.status, response.headers, data)

    async def anybody(self, method: str, path: str, body: Any = None) -> Answer:
        """One request over a connection of its own."""
        async with self.session() as session:
            return await self.ask(session, method, path, body)

    async def chat(self, where: int | aiohttp.ClientSession, model: str = "auto", **fields: Any) -> Answer:
        """One chat completion."""
        messages = [{"role": "user", "content": self._canaries.text()}]
        return await self.ask(where, "POST", "/v1/chat/completions", {"model": model, "messages": messages, **fields})

    async def metrics(self, where: int | aiohttp.ClientSession) -> dict[str, float]:
        """The series that it shows."""
        lines = (await self.ask(where, "GET", "/metrics")).body.decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    async def kill(self, worker: int) -> None:
        """With -9; returns when it is gone."""
        os.kill(worker, signal.SIGKILL)
        await self.at.pop(worker).close()
        await self.until(lambda: not _lives(worker))

    def end(self) -> None:
        """Let the daemon stop; once is enough."""
        if not self._ended:
            self._ended = True
            self.daemon.signal(signal.SIGTERM)

    async def until(self, true: Any) -> None:
        """Until this comes about, asked again and again."""
        async with asyncio.timeout(SECONDS):
            while True:
                found = true()
                if await found if asyncio.iscoroutine(found) else found:
                    return
                await asyncio.sleep(0.01)

    def edit(self, **settings: Any) -> None:
        """Change these of redeo.yaml as people do."""
        new = self.daemon.config.with_name("new.yaml")
        new.write_text(json.dumps({**self.settings, **settings}))
        new.replace(self.daemon.config)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@asynccontextmanager
async def crew(
    folder: Path, canaries: Canaries, providers: Mapping[str, Any] | None = None, *, workers: int = 2, **settings: Any
) -> AsyncIterator[Crew]:
    """A daemon whose providers are connected, with a session to each worker; it has to end well."""
    entries = {
        name: {"base_url": upstream.base_url, "default_model": f"{name}-model"}
        for name, upstream in (providers or {}).items()
    }
    settings = {"workers": workers, "providers": entries, "routing": {"timeouts": UNHURRIED}} | settings
    daemon = Process(folder, canaries, config=json.dumps(settings))
    team = Crew(daemon, canaries, settings)
    try:
        await asyncio.to_thread(daemon.__enter__)
        for name in entries:
            added = await team.anybody("POST", "/v1/providers", {"provider": name, "api_key": canaries.key(name)})
            assert added.status == 201, added.body
        await team.gather(workers)
        yield team
        team.end()
        assert await asyncio.to_thread(daemon.wait) == 0, daemon.log
    finally:
        for session in team.at.values():
            await session.close()
        await asyncio.to_thread(daemon.__exit__)
