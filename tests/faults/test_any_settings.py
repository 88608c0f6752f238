"""Any script of any provider under any of the settings for impatient requests, many at once: what always holds.

All providers say one text, so that a stream that ends well and says anything else is a lie; asked to go on, they say
the rest of it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import msgspec
import pytest

from proxy.fault import Attempt, Exchange
from proxy.observe.log import Observers
from tests.support.daemon import FAST, Answer, Redeo
from tests.support.speech import ALL, ANTHROPIC, CHAT, GEMINI, RESPONSES, Speech, total
from tests.support.streams import TYPES, behind, text_of
from tests.support.upstream import Received, Script, Upstream, Wire, answer, drop, error, event, hang, stream

PIECES = ("Once upon ", "a time ", "there was ", "a proxy ", "that told ", "the truth.")
WHOLE = "".join(PIECES)
NAMES = ("alpha", "beta", "gamma")
CASES = 16  # at once
HOW = ("whole", "fin", "reset", "hang", "failure", "half", "500", "429", "400", "404", "long", "drop", "silent", "call")
MODELS = {"twice": ["alpha/one", "alpha/two", "beta/one", "alpha/three", "gamma/one"]}


class Ledger:
    """Keeps what the engine tells its observers."""

    def __init__(self) -> None:
        self.started: list[Exchange] = []
        self.over: list[Exchange] = []
        self.attempts: list[Attempt] = []

    def exchange_started(self, exchange: Exchange) -> None:
        self.started.append(exchange)

    def attempt_ended(self, exchange: Exchange, attempt: Attempt) -> None:
        self.attempts.append(attempt)

    def exchange_ended(self, exchange: Exchange) -> None:
        self.over.append(exchange)
        assert all(attempt.ended is not None for attempt in exchange.attempts)


class Actor:
    """A provider that does for each case what was drawn for it."""

    def __init__(self, name: str, speech: Speech, seed: int) -> None:
        self.name = name
        self.speech = speech
        self.seed = seed
        self.busy = 0

    async def __call__(self, received: Received, wire: Wire) -> None:
        number = re.search(rb"case (\d+)", received.body)
        assert number is not None
        case = int(number[1])
        draw = Random(f"{self.seed} {case} {self.name}")
        told = next((n for n in range(len(WHOLE), 3, -1) if WHOLE[:n].encode() in received.body), 0)
        self.busy += 1
        try:
            if draw.random() < 0.4:
                await _quiet(received, draw.choice((0.03, 0.05, 0.1)))
            if not received.gone.is_set():
                await self._script(draw, WHOLE[told:])(received, wire)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.busy -= 1

    def _script(self, draw: Random, text: str) -> Script:
        how = draw.choice(HOW) if draw.random() < 0.6 else "whole"
        plain: dict[str, Script] = {
            "404": error(404, "model_not_found", "no such model"), "long": error(400, "context_length_exceeded"),
            "500": error(500), "429": error(429), "400": error(400, "invalid_request_error"),
            "drop": drop(), "silent": hang(),
        }  # fmt: skip
        if how in plain:
            return plain[how]
        return self._stream(draw, how, text)

    def _stream(self, draw: Random, how: str, text: str) -> Script:
        size = draw.randint(4, 12)
        pieces = [text[at : at + size] for at in range(0, len(text), size)] or [""]
        slow = draw.random() < 0.25
        events = self.speech.events(*pieces)
        if how != "whole":
            events = self.speech.opening(*pieces[: draw.randint(0, len(pieces) - 1)])
        if how == "failure":
            events = [*events, self.speech.failure("overloaded_error", "too many")]
        elif how == "half":
            events = [*events, b'data: {"ha']
        elif how == "call" and self.speech is CHAT:
            call = {"index": 0, "id": "c", "function": {"name": "f"}}
            events = [*events, event({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})]
        ending = how if how in ("whole", "reset", "hang") else "fin"

        async def script(received: Received, wire: Wire) -> None:
            if not _streamed(received):
                return await answer(self._body())(received, wire)
            if not slow:
                return await stream(events, ending=ending, headers=self._type())(received, wire)
            await wire.head(200, {"content-type": "text/event-stream", **self._type()})
            for data in events:
                await wire.chunk(data)
                await _quiet(received, 0.03)
                if received.gone.is_set():
                    return None
            return await (wire.end() if ending == "whole" else _cut(received, wire, ending))

        return script

    def _body(self) -> Any:
        return json.loads(json.dumps(self.speech.whole).replace("hello", WHOLE))

    def _type(self) -> dict[str, str]:
        return {"content-type": TYPES.get(self.speech.name, "text/event-stream")}


async def _quiet(received: Received, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await received.gone.wait()
    except TimeoutError:
        pass


async def _cut(received: Received, wire: Wire, ending: str) -> None:
    if ending == "hang":
        await received.gone.wait()
    else:
        wire.close()


def _streamed(received: Received) -> bool:
    return "stream" in received.target.lower() or b'"stream":true' in received.body.replace(b" ", b"")


def asked(client: Speech, case: int, model: str, *, streamed: bool) -> tuple[str, dict[str, Any]]:
    """The request of a case."""
    text = f"case {case} "
    fields: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
    if client is RESPONSES:
        fields = {"input": text}
    elif client is GEMINI:
        fields = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    return client.asked(stream=streamed, model=model, **fields)


SETTINGS = [
    {"hedge_after": hedge, "rescue": rescue, "min_chars_per_second": pace}
    for hedge in (None, 0.05)
    for rescue in (False, True)
    for pace in (0, 100)
]


@pytest.fixture
async def loose(settled: Any) -> AsyncIterator[list[dict[str, Any]]]:
    """What is said to the loop of exceptions that nobody has caught."""
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    yield said
    assert not said


class Stage:
    """One daemon, its providers, and its clients."""

    def __init__(self, server: Redeo, ups: list[Upstream], actors: list[Actor], seed: int) -> None:
        self.server = server
        self.ups = ups
        self.actors = actors
        self.seed = seed
        self.engine = server.daemon.front.engine
        self.ledger = Ledger()
        self.engine.observer = Observers(self.engine.observer, self.ledger)
        self.told: Counter[str] = Counter()

    async def play(self, case: int, *, leaves: bool) -> None:
        draw = Random(f"{self.seed} {case}")
        client, streamed = draw.choice(ALL), draw.random() < 0.8
        path, body = asked(client, case, draw.choice(("auto", "twice")), streamed=streamed)
        asking = asyncio.ensure_future(self.server.request("POST", path, json=body))
        if leaves and draw.random() < 0.25:
            await asyncio.wait([asking], timeout=draw.choice((0.01, 0.06, 0.2)))
            asking.cancel()
        result = (await asyncio.gather(asking, return_exceptions=True))[0]
        if isinstance(result, BaseException):
            assert isinstance(result, asyncio.CancelledError), result
            self.told["left"] += 1
        else:
            self.judge(client, result, f"{self.seed} case {case} {client.name}: {result.body.decode()[-800:]}")

    def judge(self, client: Speech, got: Answer, said: str) -> None:
        self.told[str(got.status)] += 1
        if got.status != 200:
            assert got.status in (400, 404, 429, 502, 503, 504), said
            assert "x-should-retry" in got.headers, said
        elif "event-stream" not in got.headers["content-type"]:
            assert WHOLE.encode() in got.body, said
        elif got.broken:
            self.told["broken"] += 1
        else:
            ends = client.endings(got.body)
            assert ends in ((1, 0), (0, 1)), said
            self.told[f"{ends}{' rescued' if b'redeo-rescued' in got.body else ''}"] += 1
            if ends == (1, 0):
                assert text_of(client, got.body) == WHOLE, said

    async def rests(self) -> None:
        """Nothing is left of all of them."""
        async with asyncio.timeout(10):
            while self.engine.running or any(actor.busy for actor in self.actors):
                await asyncio.sleep(0.01)
        ledger, engine = self.ledger, self.engine
        assert len(ledger.started) == len(ledger.over)
        tried = [attempt for exchange in ledger.over for attempt in exchange.attempts]
        assert Counter(map(id, tried)) == Counter(map(id, ledger.attempts))
        assert all(attempt.ended is not None for attempt in tried)
        assert engine.budget._taken == 0
        assert not engine.budget._waiting
        scopes = [scope for s in engine.health._states.values() for scope in (s.whole, *s.models.values())]
        assert not [scope for scope in scopes if scope.probe is not None]
        metrics = await self.server.metrics()
        assert total(metrics, "redeo_attempts_total") == len(tried)
        assert total(metrics, "redeo_requests_in_flight") == 0
        self.engine.health._states.clear()


@pytest.fixture
def stage(redeo: Any, provider: Any) -> Any:
    """`await stage(settings, seed)`."""

    async def start(routing: dict[str, Any], seed: int) -> Stage:
        draw = Random(seed)
        actors = [Actor(name, draw.choice((CHAT, ANTHROPIC, GEMINI)), seed) for name in NAMES]
        places = [(actor.speech, actor) for actor in actors]
        clocks = {**FAST, "before_answer": 2}
        entry = {"continues": "prefill"}
        sizes = dict(zip(NAMES, draw.sample((8, 16, 32), 3), strict=True))
        server, ups = await behind(
            redeo, provider, *places, entry=entry, models=MODELS, routing={**routing, "timeouts": clocks}
        )
        for name, size in sizes.items():
            connection = server.daemon.store.current.connection(name)
            assert connection is not None
            msgspec.structs.force_setattr(connection.spec, "context_tokens", (("*", size),))
        return Stage(server, ups, actors, seed)

    return start


@pytest.mark.parametrize("number", range(len(SETTINGS)), ids=lambda n: "-".join(str(v) for v in SETTINGS[n].values()))
async def test_what_always_holds(stage: Any, loose: Any, number: int) -> None:
    on = await stage(SETTINGS[number], 100 + number)
    for start in (0, CASES):
        await asyncio.gather(*(on.play(case, leaves=start > 0) for case in range(start, start + CASES)))
        await on.rests()
    playing = [asyncio.ensure_future(on.play(2 * CASES + case, leaves=False)) for case in range(CASES)]
    await asyncio.sleep(Random(number).choice((0.06, 0.1, 0.2)))
    on.engine.interrupt()
    await asyncio.gather(*playing)
    await on.rests()
    assert on.told["(1, 0)"] > 0
