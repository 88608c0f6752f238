"""A daemon as a process of its own in front of scripted providers, for the rows that are about the process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.matrix.framework import CHAT, SPEECHES, Case
from tests.support.canary import Canaries
from tests.support.daemon import Answer
from tests.support.process import Process
from tests.support.speech import Speech
from tests.support.upstream import Received, Script, Upstream, Wire
from tests.support.visitor import Visitor

PATIENT: Final = {"timeouts": {"connect": 9, "first_byte": 20, "idle": 20, "total": 20, "before_answer": 40}}
SECONDS: Final = 20.0


class Service:
    """The process, and what its clients need to know of it."""

    def __init__(self, process: Process, canaries: Canaries) -> None:
        self.process = process
        self.canaries = canaries

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return "127.0.0.1", self.process.port

    @property
    def key(self) -> str:
        """Its own API key."""
        return self.process.key

    @property
    def files(self) -> int:
        """How many it has open."""
        return len(os.listdir(f"/proc/{self.process.process.pid}/fd"))

    @property
    def memory(self) -> int:
        """Its resident set in bytes."""
        fields = Path(f"/proc/{self.process.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    async def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and decoded body, on a connection of its own."""
        return await asyncio.to_thread(self.process.request, method, path, body)

    async def metric(self, line: str) -> float:
        """The value of one series, 0 where it is not there."""
        for text in str((await self.request("GET", "/metrics"))[1]).splitlines():
            if text.startswith(line + " "):
                return float(text.rpartition(" ")[2])
        return 0.0

    def signal(self, number: signal.Signals) -> None:
        self.process.signal(number)

    async def ended(self) -> int:
        """Its exit code, once it has ended."""
        return await asyncio.to_thread(self.process.wait)

    async def visit(self, speech: Speech = CHAT, *, stream: bool = True, **fields: Any) -> Visitor:
        """A client that has asked the first connection of this dialect."""
        path, body = speech.asked(stream=stream, **{**speech.body, "model": f"{speech.name}/m", **fields})
        return await Visitor.ask(self, path, body)


@asynccontextmanager
async def service(
    case: Case, places: dict[str, Any], *, connect: bool = True, settings: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Service]:
    """A running process with these connections (id to an entry of redeo.yaml)."""
    config = json.dumps({"providers": places, "routing": PATIENT, **(settings or {})})
    process = Process(case.folder, case.canaries, config=config, **options)
    try:
        await asyncio.to_thread(process.__enter__)
        found = Service(process, case.canaries)
        case.canaries.own(found.key)
        for ident in places if connect else ():
            added = {"provider": ident, "api_key": case.canaries.key(ident)}
            status, said = await found.request("POST", "/v1/providers", added)
            assert status == 201, said
        yield found
    finally:
        await asyncio.to_thread(process.__exit__)


def places(up: Upstream) -> dict[str, Any]:
    """One connection for each dialect, all to the same scripted provider (see `spoken`)."""
    return {speech.name: {**speech.entry(up), "default_model": "m"} for speech in SPEECHES}


def spoken(received: Received) -> Speech:
    """The dialect in which a provider was asked."""
    return next(speech for speech in SPEECHES if received.target.endswith(speech.path))


def held(go: asyncio.Event) -> Script:
    """A good provider of every dialect that says its first words, or nothing where no stream was asked for, and the
    rest after `go`."""

    async def script(received: Received, wire: Wire) -> None:
        speech = spoken(received)
        if not received.json.get("stream"):
            await go.wait()
            await speech.good()(received, wire)
            return
        first, *rest = [b"".join(speech.opening("one")), *speech.events("one")[len(speech.opening("one")) :]]
        await wire.head(200, {"content-type": "text/event-stream"})
        await wire.chunk(first)
        await go.wait()
        for event in rest:
            await wire.chunk(event)
        await wire.end()

    return script


async def crowd(found: Service, up: Upstream, count: int, *, stream: bool) -> list[tuple[Speech, Visitor]]:
    """So many clients, in each dialect in turn, whose requests have come to the provider; of streams something has
    come back."""
    asked = len(up.requests)
    visitors = []
    for number in range(count):
        speech = SPEECHES[number % len(SPEECHES)]
        visitors.append((speech, await found.visit(speech, stream=stream)))
    await up.wait_requests(asked + count)
    if stream:
        for _, visitor in visitors:
            await visitor.read_until(b"one")
    return visitors


async def answers(visitors: list[tuple[Speech, Visitor]]) -> list[tuple[Speech, Answer]]:
    """All that they get until the daemon closes."""
    async with asyncio.timeout(SECONDS):
        got = await asyncio.gather(*(visitor.read_all() for _, visitor in visitors))
    for _, visitor in visitors:
        visitor.leave()
    return [(speech, answer) for (speech, _), answer in zip(visitors, got, strict=True)]


async def until(true: Callable[[], Any], seconds: float = SECONDS) -> None:
    """Until it is so."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)
