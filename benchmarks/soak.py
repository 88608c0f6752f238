"""A daemon under load, streams, faults, reloads, admin writes and restarts together; says what failed and what grew.

    python benchmarks/soak.py [--seconds N] [--clients N] [--seed S]

Providers on loopback: some fail in every way in turn, before and behind the first content, some in half of the cases,
some never. Clients ask whole and streamed, in four dialects, relayed and translated; some read slowly, some leave.
Every few seconds the configuration changes, now and then to one that is no good, and a connection is added, changed
and removed over the admin API. The first process lives for 60 % of the time, so that its memory can be judged; then
there are restarts over a socket that is handed over, as systemd does it, and one kill -9. At the end the load stops
and the daemon has to come to rest.

Every answer is judged. A failure is explained where the provider's fault demands it: a stream that broke behind its
first content, a request that only the failing provider was allowed to serve, one in flight at the kill -9. Exit 1 on
any other, on memory or open files that grow (`soak_figures.py`), and if open files, threads or requests in flight are
not back where they were. (Tasks of another process cannot be counted; requests in flight stand for them.)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.soak_daemon import KEY, Sample, Service
from benchmarks.soak_figures import show_lives, show_load
from benchmarks.soak_load import Load
from benchmarks.soak_providers import Providers
from tests.support.speech import ANTHROPIC, CHAT, CONVERSE, GEMINI, Speech

CONNECTIONS: dict[str, Speech] = {
    "bad": CHAT, "bad-m": ANTHROPIC, "bad-c": CONVERSE, "flap": CHAT, "flap-g": GEMINI,
    "well": CHAT, "well-m": ANTHROPIC, "well-c": CONVERSE,
}  # fmt: skip
ADDRESSES = 12  # at which a failing provider is found in turn: its breaker would else keep it from being asked
BEARER = {"Authorization": f"Bearer {KEY}"}
RELOAD, ADMIN = 3.0, 1.0  # seconds between two
REST = 75.0  # what is kept open for the next request is looked at every 30 s, and goes when it is older than that
BAD_FILES = (
    "providers: [",
    "no_such_key: 1\n",
    'models: {"all": "bad/m"}\n',
    '{"providers": {"bad": {"base_url": "http',
)


class Soak:
    """The daemon, its configuration and what is done to it."""

    def __init__(self, folder: Path, providers: Providers, seconds: float, seed: int) -> None:
        self.folder = folder
        self.providers = providers
        self.seconds = seconds
        self.dice = Random(seed)
        self.service = Service(folder, lambda: self.load.figures.done)
        self.load = Load(self.service.base, providers, Random(seed + 1), lambda: self.service.lives)
        self.done: dict[str, int] = {"reloads": 0, "invalid reloads": 0, "admin writes": 0, "restarts": 0, "kills": 0}
        self.wrong: list[str] = []
        self._written = 0
        self._quiet = asyncio.Lock()  # the file is good while a new process reads it

    def write(self, number: int) -> None:
        """The configuration of that number: other addresses, orders and clocks."""
        base = f"http://127.0.0.1:{self.providers.up.port}"
        place = f"~{number % ADDRESSES}"
        entries: dict[str, Any] = {}
        for name, speech in CONNECTIONS.items():
            where = name + (place if name.startswith(("bad", "flap")) else "")
            entries[name] = {**speech.entry(f"{base}/{where}/v1"), "credential": "none", "default_model": "m"}
        entries["extra"] = {**CHAT.entry(f"{base}/extra/v1"), "default_model": "m"}
        last = ["well/m", "well-m/m"] if number % 2 else ["well-m/m", "well/m"]
        models = {
            "all": ["bad/m", "flap/m", *last],
            "translated": ["bad-m/m", "flap-g/m", *last],
            "flapping": ["flap/m", "well/m"],
            "fine": last,
            "more": ["extra/m", "well/m"],
            "cloud": ["bad-c/m", "well-c/m"],
            "alone": ["bad/m"],
        }
        clock = 4 + number % 3
        timeouts = {"connect": 5, "first_byte": clock, "idle": clock, "total": 60, "before_answer": 60}
        routing = {"timeouts": timeouts, "max_attempts": 4 + number % 3}
        text = json.dumps({"providers": entries, "models": models, "routing": routing, "logging": {"level": "error"}})
        (self.folder / "redeo.yaml").write_text(text)
        self._written = number

    def prepare(self) -> None:
        """The first configuration and the connections."""
        self.write(0)
        (self.folder / "state").mkdir(mode=0o700)
        connections = self.folder / "state" / "connections.yaml"
        connections.touch(mode=0o600)
        rows = {name: {"priority": 10 * n} for n, name in enumerate(CONNECTIONS)}
        connections.write_text(json.dumps({"connections": rows}))

    async def reload(self) -> None:
        """Another configuration every few seconds; every fourth is no good and changes nothing."""
        for number in count(1):
            await asyncio.sleep(RELOAD)
            async with self._quiet:
                if number % 4 == 0:
                    (self.folder / "redeo.yaml").write_text(self.dice.choice(BAD_FILES))
                else:
                    self.write(number)
            self.done["reloads" if number % 4 else "invalid reloads"] += 1

    async def admin(self) -> None:
        """One connection comes, is changed, and goes."""
        new = {"provider": "extra", "api_key": "sk-" + "soak" * 8}
        steps: list[tuple[str, str, Any]] = [
            ("POST", "", new), ("PATCH", "/extra", {"priority": 5}), ("PATCH", "/extra", {"label": "Another"}),
            ("PATCH", "/well-m", {"priority": 900}), ("DELETE", "/extra", None), ("PATCH", "/well-m", {"priority": 60}),
        ]  # fmt: skip
        while True:
            for method, path, body in steps:
                while not await self._change(method, f"{self.service.base}/v1/providers{path}", body):
                    pass
                self.done["admin writes"] += 1

    async def _change(self, method: str, url: str, body: Any) -> bool:
        """One write; whether it was taken. Nothing is built upon a configuration that is no good, which is said."""
        await asyncio.sleep(ADMIN)
        began = time.monotonic()
        try:
            async with aiohttp.request(method, url, json=body, headers=BEARER) as response:
                said = await response.read()
        except aiohttp.ClientError as exc:
            if not any(life.killed and began <= life.ended for life in self.service.lives):
                self.wrong.append(f"{method} {url}: {exc!r}")
            return True
        if response.status == 503 and b".yaml:" in said:
            return False
        if response.status not in (200, 201):
            self.wrong.append(f"{method} {url}: {response.status} {said[:200]!r}")
        return True

    async def restarts(self) -> None:
        """None in the first 60 % of the time; then some, and a kill -9 in their midst."""
        await asyncio.sleep(0.6 * self.seconds)
        for number in count(1):
            kills = number == 3
            async with self._quiet:
                self.write(self._written)
                await (self.service.kill() if kills else self.service.restart())
            self.done["kills" if kills else "restarts"] += 1
            await asyncio.sleep(max(5.0, 0.07 * self.seconds))

    async def sample(self) -> None:
        """What the process uses, every second."""
        while True:
            await asyncio.sleep(1.0)
            if not self.service.life.ended:
                self.service.sample()

    async def run(self, clients: int) -> None:
        """All of it."""
        self.prepare()
        await self.service.start()
        await self.metrics()
        await asyncio.sleep(2.0)  # for what the first answer does not need
        before = self.service.sample()
        doing = [asyncio.create_task(one()) for one in (self.reload, self.admin, self.sample)]
        restarts = asyncio.create_task(self.restarts())
        asking = [asyncio.create_task(self.load.client()) for _ in range(clients)]
        await asyncio.wait([*doing, restarts, *asking], timeout=self.seconds, return_when=asyncio.FIRST_COMPLETED)
        self.wrong += [f"ended by itself: {one.exception()!r}" for one in (*doing, restarts, *asking) if one.done()]
        await self._settle(restarts)
        self.load.end.set()
        await asyncio.gather(*asking)
        for task in doing:
            task.cancel()
        await asyncio.gather(*doing, return_exceptions=True)
        await self._rest(before)
        await self.service.stop()

    async def _settle(self, restarts: asyncio.Task[None]) -> None:
        """No restart begins any more, and one that is under way comes to its end."""
        async with self._quiet:
            restarts.cancel()
        await asyncio.gather(restarts, return_exceptions=True)

    async def metrics(self) -> str:
        async with aiohttp.request("GET", f"{self.service.base}/metrics") as response:
            return await response.text()

    async def _rest(self, before: Sample) -> None:
        """Until all is as it was before the load, or for as long as that may take."""
        deadline = time.monotonic() + REST
        while True:
            flying = [line for line in (await self.metrics()).splitlines() if line.startswith("redeo_requests_in_fl")]
            await asyncio.sleep(0.5)
            now = self.service.sample()
            left = now.files > before.files or any(float(line.split()[-1]) for line in flying)
            if not left or time.monotonic() > deadline:
                break
        files = f"{before.files} open files before the load, {now.files} at rest"
        print(f"{files}; threads {before.threads}, {now.threads}; {flying}")
        if left:
            self.wrong.append("open files or requests are not back where they were")


async def run(args: argparse.Namespace, seed: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        providers = Providers(Random(seed + 2))
        async with providers.up:
            soak = Soak(Path(folder), providers, args.seconds, seed)
            began = time.monotonic()
            await soak.run(args.clients)
        figures = soak.load.figures
        show_load(figures, providers, time.monotonic() - began)
        print(", ".join(f"{number} {name}" for name, number in soak.done.items()))
        wrong = soak.wrong + show_lives(soak.service.lives)
        wrong += [line[:400] for line in (Path(folder) / "log").read_text().splitlines() if _is_complaint(line)][:10]
    for text in wrong:
        print("wrong:", text)
    return 1 if wrong or figures.unexplained or not figures.done else 0


def _is_complaint(line: str) -> bool:
    """Whether a line of the log tells of a fault of the daemon's own."""
    return any(word in line for word in ("Traceback", "event loop:", "never retrieved", "Unclosed"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seed", type=int, default=None, help="default: a fresh one")
    args = parser.parse_args()
    seed = secrets.randbelow(10**9) if args.seed is None else args.seed
    print(f"seed {seed}", flush=True)
    sys.exit(asyncio.run(run(args, seed)))


if __name__ == "__main__":
    main()
