"""Thousands of streams with random faults, each held against what was really sent: none may look complete and not be.

    python benchmarks/torture.py [--streams N] [--seed S] [--only NUMBER]

A daemon in this process; providers on loopback in seven dialects, clients in four: relayed and translated. Each stream
is drawn from the seed and its number: dialects, texts, fault, where it strikes and how the bytes are sliced.
`--only` repeats one of them and shows what was sent and what came. Exit 1 on any finding.

How a fault reaches its stream though the connection before it failed: each client has connections of its own, one in
each dialect, and asks them by `provider/model`. An open breaker that is the only one to ask is asked, by one request at
a time, and there is no second client. Every fifth stream has a second connection behind it, and may fall back; the
breaker of the first one is closed by a whole answer before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import secrets
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.torture_faults import ALL_AT_ONCE, Sent, Truth, draw, play
from benchmarks.torture_oracle import Verdict, judge, read
from benchmarks.torture_streams import PROVIDERS, Whole, whole
from proxy.daemon import Daemon, running
from proxy.dialects.base import DialectName
from tests.support.daemon import Answer
from tests.support.judges import FINISHES, JUDGES
from tests.support.speech import ALL, CHAT, Speech
from tests.support.upstream import Received, Upstream, Wire

SECOND = ("said by ", "the other one")
# Longer than a busy machine keeps the loop from turning: a clock that fires for that would be taken for a finding.
CLOCKS = {"connect": 5, "first_byte": 4.0, "idle": 4.0, "total": 30, "before_answer": 30}
SAMPLE = 20  # of so many streams the SDKs read one


@dataclass
class Case:
    """One stream as it is drawn, and what came of it."""

    number: int
    client: Speech
    provider: Speech
    said: Whole
    fault: str
    sent: Sent
    falls_back: bool
    hits: int = 0
    got: Answer | None = None
    verdict: Verdict | None = None

    @property
    def title(self) -> str:
        pair = f"{self.client.name} from {self.provider.name}"
        return f"stream {self.number}, {pair}, {self.fault} ({self.sent.truth.value}, {self.sent.ending})"


def drawn(seed: int, number: int) -> Case:
    """The stream of that number."""
    dice = Random(f"{seed}-{number}")
    client, provider = dice.choice(ALL), dice.choice(PROVIDERS)
    if dice.random() < 0.3:  # relaying would else be the rarer half
        provider = client
    said = whole(dice, provider)
    fault, sent = draw(dice, said)
    return Case(number, client, provider, said, fault, sent, dice.random() < 0.2)


@dataclass
class Figures:
    """What is counted on the way."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[Case] = field(default_factory=list)
    unreached: int = 0
    sample: list[Case] = field(default_factory=list)
    read_by_sdks: int = 0
    disagreed: list[str] = field(default_factory=list)

    def take(self, case: Case) -> None:
        assert case.verdict is not None
        self.outcomes.setdefault(case.fault, Counter())[case.verdict.outcome] += 1
        if case.verdict.wrong:
            self.wrong.append(case)
        elif case.number % SAMPLE == 0 and case.got is not None and case.got.status == 200:
            self.sample.append(case)

    def ask_sdks(self) -> None:
        """Let them read what was kept for them. They take their time, which the clocks of the run cannot spare."""
        for case in self.sample:
            if case.got is not None:
                self._ask_sdk(case, case.got)

    def _ask_sdk(self, case: Case, got: Answer) -> None:
        reading = read(case.client, got.body)
        self.read_by_sdks += 1
        try:
            told = JUDGES[DialectName(case.client.name)](got.body, True)
        except Exception as exc:  # whatever an SDK raises: its program knows that something is wrong
            if reading.complete and reading.finish:
                self.disagreed.append(f"{case.title}: the SDK raises {exc!r:.200}")
            return
        if (told.text, told.finish, True) != (reading.text, FINISHES.get(reading.finish), reading.complete):
            self.disagreed.append(f"{case.title}: the SDK reads {told.finish} {told.text[-100:]!r}")


class Torture:
    """The daemon, its providers, and the clients."""

    def __init__(self, seed: int, clients: int) -> None:
        self.seed = seed
        self.clients = clients
        self.figures = Figures()
        self._cases: dict[str, Case] = {}  # connection -> what it answers next
        self._session: aiohttp.ClientSession
        self._daemon: Daemon

    async def run(self, numbers: list[int]) -> None:
        """These streams, shared by the clients."""
        async with AsyncExitStack() as stack:
            up = await stack.enter_async_context(Upstream(self._serve))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._write(folder, up)
            self._daemon = await stack.enter_async_context(
                running(
                    config=folder / "redeo.yaml",
                    state_dir=folder / "state",
                    listen="127.0.0.1:0",
                    environ={"HOME": str(folder)},
                )
            )
            _narrow(self._daemon)
            connector = aiohttp.TCPConnector(limit=0)
            self._session = await stack.enter_async_context(
                aiohttp.ClientSession(connector=connector, auto_decompress=False)
            )
            left = iter(numbers)
            await asyncio.gather(*(self._client(name, left, up) for name in range(self.clients)))
        self.figures.ask_sdks()

    def _write(self, folder: Path, up: Upstream) -> None:
        """The configuration: connections for each client in each dialect, and one that is always well."""
        names = [(f"w{n}-{speech.name}".replace("_", "-"), speech) for n in range(self.clients) for speech in PROVIDERS]
        entries = {name: speech.entry(f"http://127.0.0.1:{up.port}/{name}/v1") for name, speech in names}
        entries["well"] = CHAT.entry(f"http://127.0.0.1:{up.port}/well/v1")
        for entry in entries.values():
            entry |= {"credential": "none", "default_model": "m"}
        models = {f"both-{name}": [f"{name}/m", "well/m"] for name, _ in names}
        settings = {"routing": {"timeouts": CLOCKS}, "logging": {"level": "error"}}
        (folder / "redeo.yaml").write_text(json.dumps({"providers": entries, "models": models, **settings}))
        (folder / "state").mkdir(mode=0o700)
        connections = folder / "state" / "connections.yaml"
        connections.touch(mode=0o600)
        connections.write_text(json.dumps({"connections": {name: {"priority": 500} for name in entries}}))

    async def _serve(self, received: Received, wire: Wire) -> None:
        """The provider's side: the path tells the connection, and that what it answers."""
        name = received.target.split("/")[1]
        if name == "well":
            await CHAT.good(*SECOND)(received, wire)
            return
        case = self._cases[name]
        case.hits += 1
        await play(case.sent, case.provider.name, received, wire)

    async def _client(self, number: int, left: Any, up: Upstream) -> None:
        failing: set[str] = set()  # connections whose breaker may be open
        for number_of_stream in left:
            case = drawn(self.seed, number_of_stream)
            name = f"w{number}-{case.provider.name}".replace("_", "-")
            if case.falls_back and name in failing:
                mend = _well(case)
                await self._ask(mend, name, f"{name}/m")
                self.figures.take(mend)
            await self._ask(case, name, f"both-{name}" if case.falls_back else f"{name}/m")
            if not case.hits:
                self.figures.unreached += 1
                continue
            assert case.verdict is not None
            (failing.discard if case.verdict.outcome == "whole" else failing.add)(name)
            self.figures.take(case)
            up.requests.clear()

    async def _ask(self, case: Case, name: str, model: str) -> None:
        """One stream, from the question to the verdict."""
        self._cases[name] = case
        path, body = case.client.asked(stream=True, model=model)
        headers = {"Authorization": f"Bearer {self._daemon.api_key}"}
        pieces, broken = [], False
        async with self._session.post(self._daemon.base_url + path, json=body, headers=headers) as response:
            try:
                async for piece in response.content.iter_any():
                    pieces.append(piece)
            except aiohttp.ClientError:
                broken = True
        case.got = Answer(response.status, response.headers, b"".join(pieces), broken)
        fallback = "".join(SECOND) if case.falls_back else None
        case.verdict = judge(case.client, case.said, case.sent, case.got, fallback)


def _well(case: Case) -> Case:
    """The same stream without any fault."""
    sent = Sent(Truth.WHOLE, case.said.body, sizes=ALL_AT_ONCE)
    return Case(case.number, case.client, case.provider, case.said, "before a fallback", sent, falls_back=False)


def _narrow(daemon: Daemon) -> None:
    """Leave each connection one dialect. A base URL alone is asked in both of OpenAI's."""
    for connection in daemon.store.current.connections:
        dialect = "chat" if connection.provider == "well" else connection.provider.partition("-")[2].replace("-", "_")
        speaks = {op: route for op, route in connection.spec.speaks.items() if op.value == dialect}
        msgspec.structs.force_setattr(connection.spec, "speaks", speaks)


def report(torture: Torture, seconds: float) -> int:
    """Prints what was found; the exit code."""
    figures = torture.figures
    total = sum(counter.total() for counter in figures.outcomes.values())
    print(f"seed {torture.seed}: {total} streams in {seconds:.0f} s; {figures.unreached} never reached their fault")
    kinds = ("whole", "error event", "error status", "fell back")
    print(f"{'fault':32}" + "".join(f"{kind:>14}" for kind in kinds) + f"{'wrong':>8}")
    for fault, counter in sorted(figures.outcomes.items()):
        wrong = sum(case.fault == fault for case in figures.wrong)
        print(f"{fault:32}" + "".join(f"{counter[kind]:14}" for kind in kinds) + f"{wrong:8}")
    print(f"read by the SDKs too: {figures.read_by_sdks}, read otherwise: {len(figures.disagreed)}")
    found = Counter(case.verdict.wrong for case in figures.wrong if case.verdict)
    print(f"look complete and are not: {found['lie']}; other findings: {dict(found - Counter(lie=found['lie']))}")
    for case in figures.wrong[:40]:
        assert case.verdict is not None
        print(f"  {case.verdict.wrong}: {case.title}: {case.verdict.why}")
    for text in figures.disagreed[:20]:
        print("  read otherwise:", text)
    return 1 if figures.wrong or figures.disagreed or not total else 0


def show(case: Case) -> None:
    """One stream in full."""
    print(case.title, case.sent.framing, case.sent.sizes, "" if case.sent.spoiled is None else case.sent.spoiled)
    print("sent:    ", case.sent.body[:6000])
    if case.got is not None:
        print("came:    ", case.got.status, case.got.headers.get("x-redeo-attempts"), case.got.body[:6000])
    print("verdict: ", case.verdict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=None, help="default: a fresh one")
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--only", type=int, default=None, help="repeat the stream of this number alone")
    args = parser.parse_args()
    seed = secrets.randbelow(10**9) if args.seed is None else args.seed
    print(f"seed {seed}", flush=True)
    logging.getLogger("redeo").setLevel(logging.CRITICAL)
    torture = Torture(seed, 1 if args.only is not None else args.clients)
    began = time.monotonic()
    asyncio.run(torture.run([args.only] if args.only is not None else list(range(args.streams))))
    if args.only is not None:
        show(next(iter(torture._cases.values())))
    sys.exit(report(torture, time.monotonic() - began))


if __name__ == "__main__":
    main()
