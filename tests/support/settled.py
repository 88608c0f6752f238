"""What has to be as it was before once a daemon is gone: tasks, open files, and nothing said about forgotten ones."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web_app

SECONDS: Final = 2.0
_FORGOTTEN: Final = ("never retrieved", "Unclosed", "was destroyed but it is pending", "never awaited")


class Forgotten(logging.Handler):
    """Keeps what asyncio and aiohttp say about tasks and connections that nobody looked after."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if any(word in text for word in _FORGOTTEN):
            self.said.append(f"{record.name}: {text[:500]}")


@dataclass
class Baseline:
    """Tasks and open files of this process at one moment."""

    tasks: frozenset[asyncio.Task[Any]] = field(default_factory=lambda: frozenset(asyncio.all_tasks()))
    files: Counter[str] = field(default_factory=lambda: open_files())

    async def restored(self) -> list[str]:
        """What is left over after two seconds at most; empty when all is as before."""
        loop = asyncio.get_running_loop()
        end = loop.time() + SECONDS
        while (left := self._left()) and loop.time() < end:
            await asyncio.sleep(0.005)
        # aiohttp remembers the handlers of the last 1024 routes that were asked for, and with them whole applications:
        # without this every collection would look through every daemon of the session.
        web_app._cached_build_middleware.cache_clear()
        gc.collect()  # a forgotten exception is told of when its task goes
        return left

    def _left(self) -> list[str]:
        current = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() - self.tasks if task is not current]
        files = open_files() - self.files
        return [f"task {task.get_coro()!r}" for task in tasks] + [f"{n} x {name}" for name, n in files.items()]


def open_files() -> Counter[str]:
    """What this process holds open, sockets counted together: their numbers say nothing."""
    found: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the listing's own
            continue
        found[target.partition(":[")[0]] += 1
    return found
