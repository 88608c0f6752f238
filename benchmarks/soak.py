"""A daemon under load, faults and reloads for a while; says what failed and what grew.

    python benchmarks/soak.py [--seconds N] [--clients N]

Three providers on loopback: the first fails in every way in turn, the second is well, the third is well in Anthropic's
dialect alone. Each client asks one request after the other, every second one streamed, in Chat Completions and in
Messages, of the first two and of the third: relayed and translated both ways; every ten seconds a reload. Exit 1 if a
client saw a failure, or if memory or open files grew between the second quarter and the end.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.support.speech import ANTHROPIC
from tests.support.upstream import Upstream, answer, chat, chat_events, drop, error, stream

FAULTS = [
    error(500),
    error(503),
    error(529),
    drop(),
    drop(reset=False),
    answer(b"<html>", headers={"content-type": "text/html"}),
    answer({"error": {"message": "inside a 200"}}),
    stream(chat_events("x", done=False, finish=False)[:1], ending="fin"),
    stream([b'data: {"error": {"message": "overloaded"}}\n\n']),
    chat("well"),
]
# How a client asks: its path, what it says beside the messages, and how a whole answer ends, streamed or not.
WAYS = (
    ("/v1/chat/completions", {}, b"[DONE]", b'"choices"'),
    ("/v1/messages", {"max_tokens": 100}, b"message_stop", b'"stop_reason"'),
)
MODELS = ("old", "new")  # of the first two providers, and of the third
KEY = "rd-soak-key-0123456789abcdef"
MAX_GROWTH_MIB = 12.0


def usage(pid: int) -> tuple[float, int]:
    """Resident MiB and open files."""
    status = Path(f"/proc/{pid}/statm").read_text().split()
    return int(status[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir(f"/proc/{pid}/fd"))


class Soak:
    def __init__(self, base: str, seconds: float) -> None:
        self.base = base
        self.end = time.monotonic() + seconds
        self.done = 0
        self.failed: list[str] = []

    async def client(self, session: aiohttp.ClientSession, number: int) -> None:
        for turn in itertools.count(number):
            if time.monotonic() > self.end:
                return
            path, more, streamed, unstreamed = WAYS[turn // 2 % 2]
            messages = [{"role": "user", "content": "x" * 2000}]
            body = {"model": MODELS[turn // 4 % 2], "stream": turn % 2 == 0, "messages": messages, **more}
            headers = {"Authorization": f"Bearer {KEY}"}
            try:
                async with session.post(f"{self.base}{path}", json=body, headers=headers) as response:
                    data = await response.read()
                whole = (streamed if body["stream"] else unstreamed) in data
                if response.status != 200 or not whole:
                    self.failed.append(f"{response.status}: {data[-200:]!r}")
            except aiohttp.ClientError as exc:
                self.failed.append(repr(exc))
            self.done += 1


async def run(args: argparse.Namespace) -> int:
    faults, well = Upstream(*(FAULTS * 20000)), Upstream(chat("well"))
    async with faults as first, well as second, Upstream(ANTHROPIC.good("well")) as third:
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, "redeo.yaml")

            def write(number: int) -> None:
                entries = {name: {"base_url": up.base_url} for name, up in (("first", first), ("second", second))}
                entries["third"] = ANTHROPIC.entry(third)
                for entry in entries.values():
                    entry |= {"credential": "none", "default_model": "m"}
                models = {"old": ["first/m", "second/m"], "new": ["third/m"]}
                routing = {"max_attempts": 2 + number % 5}
                config.write_text(json.dumps({"providers": entries, "models": models, "routing": routing}))

            write(0)
            state = Path(folder, "state")
            state.mkdir(mode=0o700)
            connections = state / "connections.yaml"
            connections.touch(mode=0o600)
            priorities = {"connections": {name: {"priority": n} for n, name in enumerate(("first", "second", "third"))}}
            connections.write_text(json.dumps(priorities))
            return await under_load(args, folder, config, write)


async def under_load(args: argparse.Namespace, folder: str, config: Path, write: object) -> int:
    port = 17961
    command = [sys.executable, "-m", "proxy", "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    env = {**os.environ, "REDEO_STATE_DIR": f"{folder}/state", "REDEO_API_KEY": KEY}
    daemon = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    soak = Soak(f"http://127.0.0.1:{port}", args.seconds)
    seen: list[tuple[float, int]] = []
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            for _ in range(500):
                try:
                    async with session.get(f"{soak.base}/healthz") as response:
                        if response.status == 200:
                            break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.02)
            clients = [asyncio.create_task(soak.client(session, n)) for n in range(args.clients)]
            for number in itertools.count(1):
                _, pending = await asyncio.wait(clients, timeout=min(10.0, args.seconds / 12))
                if not pending:
                    break
                seen.append(usage(daemon.pid))
                write(number)  # type: ignore[operator]
            await asyncio.gather(*clients)
        seen.append(usage(daemon.pid))
    finally:
        daemon.terminate()
        code = daemon.wait(60)
    return verdict(soak, seen, code)


def verdict(soak: Soak, seen: list[tuple[float, int]], code: int) -> int:
    early, late = seen[len(seen) // 4], seen[-1]
    print(f"{soak.done} requests, {len(soak.failed)} failed; the daemon ended with {code}")
    print(f"resident {early[0]:.1f} -> {late[0]:.1f} MiB, open files {early[1]} -> {late[1]}")
    for text in soak.failed[:5]:
        print("  failed:", text)
    grew = late[0] - early[0] > MAX_GROWTH_MIB or late[1] - early[1] > 40
    return 1 if soak.failed or grew or code else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=8)
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
