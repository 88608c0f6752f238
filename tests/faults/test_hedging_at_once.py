"""`routing.hedge_after`: two that speak in the very same moment, where the sockets of both can be read at once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.faults.test_hedging import HEDGED
from tests.support.speech import Speech
from tests.support.upstream import Received, Wire, chat_body

TURNS = 50  # of the loop: by then what was sent on loopback has been read


def in_two(gate: asyncio.Event, events: list[bytes]) -> Any:
    """Head and first event at once, the rest once the gate is open."""

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(headers={"content-type": "text/event-stream"})
        await wire.chunk(events[0])
        await gate.wait()
        await wire.chunk(b"".join(events[1:]))
        await wire.end()

    return script


async def test_two_that_speak_in_the_same_moment(bench: Any, speech: Speech) -> None:
    gate = asyncio.Event()
    said = [speech.events(f"{name} says so") for name in ("first", "second")]
    b = await bench(*(in_two(gate, events) for events in said), speech=speech, **HEDGED)
    asking = asyncio.ensure_future(b.ask(stream=True))
    await b.s.wait_requests()
    for _ in range(TURNS):
        await asyncio.sleep(0)
    gate.set()
    got = await asking
    assert speech.endings(got.body) == (1, 0), got.body
    assert got.body == b"".join(said[0 if b"first" in got.body else 1])
    assert sorted(got.attempts.replace("=", " ").split()) == sorted(["alpha", "beta", "200", "hedged"])


def in_halves(gate: asyncio.Event, status: int, body: bytes) -> Any:
    """A whole answer, of which the second half comes once the gate is open."""

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(
            status, {"content-type": "application/json", "content-length": str(len(body))}, framing="length"
        )
        await wire.send(body[: len(body) // 2])
        await gate.wait()
        await wire.send(body[len(body) // 2 :])

    return script


async def test_of_two_that_end_in_the_same_moment_one_answers(bench: Any) -> None:
    """What the other one said would be read as the answer to the client's next request."""
    refused = json.dumps({"error": {"message": "no", "type": "invalid_request_error", "code": None}}).encode()
    answered = json.dumps(chat_body("yes")).encode()
    gate = asyncio.Event()
    b = await bench(in_halves(gate, 400, refused), in_halves(gate, 200, answered), **HEDGED)
    asking = asyncio.ensure_future(b.ask())
    await b.s.wait_requests()
    for _ in range(TURNS):
        await asyncio.sleep(0)
    gate.set()
    got = await asking
    assert (got.status, got.body) in ((200, answered), (400, refused))
    after = await b.server.request("GET", "/healthz")
    assert (after.status, after.json) == (200, {"status": "ok"})
