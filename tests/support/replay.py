"""The recorded provider traffic of ../shared/recordings, played by its own server inside this process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from aiohttp import web


class Replay:
    """`async with Replay(folder) as replay`: `replay.base(id)` is a base URL that answers as recorded."""

    def __init__(self, folder: Path) -> None:
        self.module = _load(folder / "replay_upstream.py")
        self.exchanges: dict[str, dict[str, Any]] = self.module.load(folder)
        self.server = self.module.Replay(self.exchanges, 0)
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def __aenter__(self) -> Replay:
        self._runner = web.AppRunner(self.server.app(), access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def base(self, ident: str) -> str:
        """The base URL of one recorded exchange."""
        return f"http://127.0.0.1:{self.port}/x/{ident}/v1"

    def answer(self, ident: str) -> bytes:
        """The recorded bytes of its answer."""
        response = self.exchanges[ident]["response"]
        if "events" in response:
            return b"".join(self.module.event_bytes(response))
        return bytes(self.module.body_bytes(response.get("body")))


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("replay_upstream", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["replay_upstream"] = module
    spec.loader.exec_module(module)
    return module
