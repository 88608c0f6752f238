"""The daemon of a soak as a service manager has it: a socket that is handed over, signals, restarts; what it uses."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

KEY = "rd-soak-key-0123456789abcdef"
ROOT = Path(__file__).resolve().parents[1]
# What systemd does: descriptor 3, and the id of the very process that gets it.
HAND_OVER = (
    "import fcntl, os, sys; fd = fcntl.fcntl(int(sys.argv[1]), fcntl.F_DUPFD, 50); os.dup2(fd, 3, inheritable=True); "
    "os.environ |= {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())}; os.execv(sys.argv[2], sys.argv[2:])"
)


@dataclass
class Sample:
    """What a process used at one moment, after so many requests of the whole run."""

    at: float
    requests: int
    kilobytes: int
    files: int
    threads: int


@dataclass
class Life:
    """One process from its start to its end."""

    began: float
    samples: list[Sample] = field(default_factory=list)
    ready: float = 0.0
    told: float = 0.0  # when it was told to end
    ended: float = 0.0
    killed: bool = False
    code: int | None = None


class Service:
    """Starts, samples, stops and kills the daemon. `answered` tells how many requests are done."""

    def __init__(self, folder: Path, answered: Callable[[], int]) -> None:
        self.folder = folder
        self.lives: list[Life] = []
        self._answered = answered
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.base = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._process: asyncio.subprocess.Process

    async def start(self) -> None:
        """A new process on the same socket; returns when it is ready to serve."""
        life = Life(time.monotonic())
        command = [sys.executable, "-m", "proxy", "serve", "--config", str(self.folder / "redeo.yaml")]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "REDEO_API_KEY": KEY}
        env["REDEO_STATE_DIR"] = str(self.folder / "state")
        fd = self._socket.fileno()
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", HAND_OVER, str(fd), *command), cwd=ROOT, env=env, stderr=log, pass_fds=[fd]
            )
        await self._ready()
        life.ready = time.monotonic()
        self.lives.append(life)

    async def _ready(self) -> None:
        async with aiohttp.ClientSession() as session, session.get(f"{self.base}/readyz") as response:
            await response.read()

    @property
    def life(self) -> Life:
        return self.lives[-1]

    async def restart(self) -> None:
        """SIGTERM, its drained end, a new one: meanwhile connections wait in the socket, and nobody is refused."""
        await self._terminate()
        await self.start()

    async def kill(self) -> None:
        """SIGKILL, and a new one: what was in flight is lost, and nothing else."""
        self.life.killed, self.life.ended = True, time.monotonic()
        self._process.kill()
        self.life.code = await self._process.wait()
        await self.start()

    async def stop(self) -> None:
        """SIGTERM and its end."""
        await self._terminate()
        self._socket.close()

    async def _terminate(self) -> None:
        self.life.told = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        self.life.code = await self._process.wait()
        self.life.ended = time.monotonic()

    def sample(self) -> Sample:
        """What the process uses now; kept in its life."""
        place = Path(f"/proc/{self._process.pid}")
        kilobytes = int((place / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
        files, threads = len(os.listdir(place / "fd")), len(os.listdir(place / "task"))
        found = Sample(time.monotonic(), self._answered(), kilobytes, files, threads)
        self.life.samples.append(found)
        return found
