"""The clients of a soak, and the judgement of every answer: whole, or a failure that what was done explains."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp

from benchmarks.soak_daemon import KEY, Life
from benchmarks.soak_providers import Providers, Said, text_of, told
from benchmarks.torture_faults import Sent, Truth
from benchmarks.torture_oracle import judge
from benchmarks.torture_streams import Whole
from tests.support.daemon import Answer
from tests.support.speech import ALL, Speech

# What is asked for, how often. `alone` is the failing provider with nobody behind it.
MODELS = {"all": 8, "translated": 6, "flapping": 6, "fine": 4, "more": 3, "cloud": 2, "alone": 1}
MANNERS = {"whole": 45, "stream": 35, "leaves": 6, "long": 4, "slow": 3}


@dataclass
class Ask:
    """One request as it is drawn."""

    number: int
    speech: Speech
    model: str
    manner: str
    pieces: int
    pace: str
    size: int

    @property
    def streamed(self) -> bool:
        return self.manner != "whole"

    @property
    def expected(self) -> str:
        """What a provider that is well answers."""
        return "".join(text_of(self.pieces, self.pace))

    def body(self) -> tuple[str, dict[str, Any]]:
        """Path and body, with the tag by which the providers know it."""
        path, body = self.speech.asked(stream=self.streamed, model=self.model)
        text = f"tag-{self.number}-{self.pieces}-{self.pace} " + "x" * self.size
        if "input" in body:
            body["input"] = text
        elif "contents" in body:
            body["contents"] = [{"role": "user", "parts": [{"text": text}]}]
        else:
            body["messages"] = [{"role": "user", "content": text}]
        return path, body


@dataclass
class Figures:
    """What is counted."""

    done: int = 0
    attempts: int = 0
    told_attempts: int = 0  # answers that say how many there were
    explained: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)
    manners: Counter[str] = field(default_factory=Counter)
    killed: int = 0
    times: dict[str, list[float]] = field(default_factory=lambda: {"whole": [], "first event": []})


class Load:
    """Closed-loop clients: each asks one request after the other until `end` is set."""

    def __init__(self, base: str, providers: Providers, dice: Random, lives: Callable[[], list[Life]]) -> None:
        self.base = base
        self.figures = Figures()
        self.end = asyncio.Event()
        self._providers = providers
        self._dice = dice
        self._lives = lives
        self._next = 0

    async def client(self) -> None:
        """One client, with connections of its own."""
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            while not self.end.is_set():
                ask = self._draw()
                await self._one(session, ask)
                self._providers.said.pop(ask.number, None)

    def _draw(self) -> Ask:
        dice = self._dice
        self._next += 1
        manner = dice.choices(list(MANNERS), list(MANNERS.values()))[0]
        pace = {"long": "long", "slow": "broad"}.get(manner, "quick")
        pieces = {"long": dice.randint(10, 40), "slow": 60}.get(manner, dice.randint(1, 30))
        size = int(1000 * math.exp(dice.random() ** 4 * math.log(1000)))  # 1 kB to 1 MB, most of them small
        model = dice.choices(list(MODELS), list(MODELS.values()))[0]
        return Ask(self._next, dice.choice(ALL), model, manner, pieces, pace, size)

    async def _one(self, session: aiohttp.ClientSession, ask: Ask) -> None:
        began = time.monotonic()
        try:
            got = await asyncio.wait_for(self._send(session, ask, began), 120)
        except (aiohttp.ClientError, TimeoutError) as exc:
            self._lost(ask, began, repr(exc)[:200])
        else:
            if got is not None:
                self._judge(ask, got, began)
        self.figures.done += 1
        self.figures.manners[ask.manner] += 1

    async def _send(self, session: aiohttp.ClientSession, ask: Ask, began: float) -> Answer | None:
        """The answer; None where the client left before its end."""
        path, body = ask.body()
        pieces: list[bytes] = []
        broken, times = False, self.figures.times
        headers = {"Authorization": f"Bearer {KEY}"}
        async with session.post(self.base + path, json=body, headers=headers) as response:
            try:
                async for piece in response.content.iter_any():
                    if not pieces and ask.streamed:
                        times["first event"].append(time.monotonic() - began)
                    pieces.append(piece)
                    if ask.manner == "leaves" and self._dice.random() < 0.5:
                        response.close()
                        return None
                    if ask.manner == "slow":
                        await asyncio.sleep(0.02)
            except aiohttp.ClientError:
                broken = True
        if not ask.streamed:
            times["whole"].append(time.monotonic() - began)
        return Answer(response.status, response.headers, b"".join(pieces), broken)

    def _lost(self, ask: Ask, began: float, what: str) -> None:
        """No answer, or half of one: only a kill -9 explains that."""
        if any(life.killed and began <= life.ended for life in self._lives()):
            self.figures.killed += 1
            return
        when, told = "", [life.told for life in self._lives() if life.told]
        if told:
            now = time.monotonic()
            when = f", asked {began - told[-1]:+.2f} s and lost {now - told[-1]:+.2f} s after the last SIGTERM"
        self.figures.unexplained.append(f"{ask.manner} {ask.speech.name} {ask.model}: {what}{when}")

    def _judge(self, ask: Ask, got: Answer, began: float) -> None:
        figures = self.figures
        if got.broken:
            self._lost(ask, began, "broken off")
            return
        if got.attempts:
            figures.told_attempts += 1
            figures.attempts += len(got.attempts.split())
        said = self._providers.said.get(ask.number, [])
        wrong, cause = _verdict(ask, got, said)
        if wrong:
            did = "; ".join(f"{one.provider}: {one.fault or 'well'}" for one in said)
            head = f"{ask.manner} {ask.speech.name} {ask.model}, {got.status} after {got.attempts or 'nothing'} ({did})"
            figures.unexplained.append(f"{head}: {wrong}: {got.body[-300:]!r}")
        elif cause:
            figures.explained[cause] += 1


def _verdict(ask: Ask, got: Answer, said: list[Said]) -> tuple[str, str]:
    """What is wrong with an answer, or what explains that it is a failure. Both are empty for a good one."""
    served = got.headers.get("x-redeo-provider", "")
    last = next((one for one in reversed(said) if one.provider == served), None)
    if got.status != 200:
        return _refused(ask, said)
    if last is None:
        return f"an answer of {served}, which was not asked", ""
    return _streamed(ask, got, last) if ask.streamed else _plain(ask, got, last)


def _refused(ask: Ask, said: list[Said]) -> tuple[str, str]:
    """An error status: only where nobody is left who is well."""
    if ask.model == "alone" and all(one.fault for one in said):
        return "", f"nobody else to ask: {said[-1].fault if said else 'it is left out'}"
    return "refused although a provider was well", ""


def _plain(ask: Ask, got: Answer, last: Said) -> tuple[str, str]:
    try:
        text = told(ask.speech, got.body)
    except (ValueError, KeyError, TypeError, IndexError) as exc:
        return f"no answer: {exc!r}", ""
    return ("" if not last.fault and text == ask.expected else "another text"), ""


def _streamed(ask: Ask, got: Answer, last: Said) -> tuple[str, str]:
    """By the rules of `torture`, with what this provider really said."""
    if last.sent is not None and last.whole is not None:
        verdict = judge(ask.speech, last.whole, last.sent, got, None)
        broke = verdict.outcome == "error event"
        return f"{verdict.wrong} {verdict.why}".strip(), f"broken in the middle: {last.fault}" if broke else ""
    if last.fault:
        return f"a stream from a provider that answered {last.fault}", ""
    well = Whole(ask.speech, [ask.expected], "stop", [])
    verdict = judge(ask.speech, well, Sent(Truth.WHOLE), got, None)
    return f"{verdict.wrong} {verdict.why}".strip()[:300], ""
