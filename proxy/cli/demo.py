"""`redeo demo`: a request falling back, without key or network.

Runs the real daemon in a temporary folder before two simulated providers, sends it real requests, and tells
what came back: every figure printed was read from an answer, a provider or the metrics of this very run.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .address import Address
from .client import ROOT, Daemon, entries
from .demo_providers import MODEL, Mood, SimulatedProvider
from .output import DONE, CommandError, say

if TYPE_CHECKING:
    from .options import Commands

ALIAS: Final = "demo"
_TIMEOUT: Final = 30.0  # seconds, for one answer


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer as the client saw it."""

    status: int
    provider: str
    attempts: str
    text: str
    events: int
    ended: bool  # a stream: its terminator came
    milliseconds: float


def register(commands: Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "demo",
        help="show a request falling back; needs no key and no network",
        description="Runs the daemon before two simulated providers on loopback, the first of which fails, and "
        "shows what a client sees of it. Touches none of your files; exit code 1 if nothing fell back.",
    )
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    """Plays it. CommandError: what should have fallen back did not."""
    with (
        tempfile.TemporaryDirectory(prefix="redeo-demo-") as folder,
        SimulatedProvider("flaky", Mood.FAILS) as flaky,
        SimulatedProvider("steady", Mood.WORKS) as steady,
    ):
        asyncio.run(_play(Path(folder), flaky, steady))
    return DONE


async def _play(folder: Path, flaky: SimulatedProvider, steady: SimulatedProvider) -> None:
    from proxy.daemon import running

    logging.getLogger("redeo").addHandler(logging.NullHandler())  # the story is told below, once
    config = folder / "redeo.yaml"
    config.write_text(_settings(flaky, steady), encoding="utf-8")
    state = folder / "state"
    async with running(config=config, state_dir=state, listen="127.0.0.1:0", environ={"HOME": str(folder)}) as daemon:
        address = Address.parse(f"{daemon.address[0]}:{daemon.address[1]}")
        await asyncio.to_thread(_tell, Daemon(address, daemon.api_key), flaky, steady)


def _settings(*providers: SimulatedProvider) -> str:
    rows = "".join(
        f'  {p.name}: {{label: "Simulated", base_url: "{p.base_url}", dialect: openai, credential: none}}\n'
        for p in providers
    )
    targets = ", ".join(f"{p.name}/{MODEL}" for p in providers)
    return f"providers:\n{rows}models:\n  {ALIAS}: [{targets}]\n"


def _tell(daemon: Daemon, flaky: SimulatedProvider, steady: SimulatedProvider) -> None:
    """The story: four requests, and what the daemon counted."""
    for provider in (flaky, steady):
        daemon.call("POST", ROOT, {"provider": provider.name})
    urls = {p.name: p.base_url for p in (flaky, steady)}
    say("No key, no network: two simulated providers and the daemon, all on this machine.")
    say()
    say(f"  the daemon  {daemon.address.base_url}")
    for place, row in enumerate(entries(daemon.call("GET", ROOT)), start=1):
        say(f"  {place}. {row['provider']!s:<8} {urls[str(row['provider'])]}  (priority {row['priority']})")
    _fall_back(daemon, flaky, Mood.FAILS, stream=False)
    _fall_back(daemon, flaky, Mood.BREAKS, stream=True)
    _fall_back(daemon, flaky, Mood.LIMITS, stream=False)
    before = flaky.asked
    say()
    say("The same request again, at once:")
    _show(_request(daemon, stream=False), stream=False)
    if flaky.asked == before:
        say(f"   {flaky.name} was not asked this time: it said how long to wait, and the daemon keeps to it.")
    say()
    say("What the daemon counted (from /metrics):")
    for line in _counted(daemon):
        say(f"  {line}")
    say()
    say(f"{flaky.name} was asked {flaky.asked} times, {steady.name} {steady.asked} times; no client saw a failure.")


def _fall_back(daemon: Daemon, flaky: SimulatedProvider, mood: Mood, *, stream: bool) -> None:
    """One request while the first provider is in this mood. CommandError: it was not served, or did not fall back."""
    flaky.mood = mood
    asked = flaky.asked
    say()
    say(f"{flaky.name} {mood}. A client asks for model {ALIAS!r}{', streamed' if stream else ''}:")
    seen = _request(daemon, stream=stream)
    _show(seen, stream=stream)
    if flaky.asked == asked or seen.provider == flaky.name or not seen.attempts.startswith(f"{flaky.name}="):
        raise CommandError("the request did not fall back: the demo has failed")


def _show(seen: Seen, *, stream: bool) -> None:
    """What the client saw. CommandError: a failure."""
    say(f"   HTTP {seen.status} after {seen.milliseconds:.0f} ms: {seen.text!r}")
    if stream:
        say(f"   {seen.events} events, {'ended by [DONE]' if seen.ended else 'never ended'}")
    say(f"   x-redeo-provider: {seen.provider}")
    say(f"   x-redeo-attempts: {seen.attempts}")
    if seen.status != 200 or not seen.text or (stream and not seen.ended):
        raise CommandError("the request was not served: the demo has failed")


def _request(daemon: Daemon, *, stream: bool) -> Seen:
    """Sends one chat request as any client would, and reads the answer to its end."""
    body = {"model": ALIAS, "messages": [{"role": "user", "content": "Who are you?"}], "stream": stream}
    headers = {"Authorization": f"Bearer {daemon.key}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(daemon.address.host, daemon.address.port, timeout=_TIMEOUT)
    began = time.monotonic()
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body).encode(), headers)
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise CommandError(f"the daemon gave no whole answer ({error}): the demo has failed") from error
    finally:
        connection.close()
    events = list(_events(content)) if stream and response.status == 200 else []
    texts = [_delta(event) for event in events if event != "[DONE]"] if events else [_message(content)]
    return Seen(
        status=response.status,
        provider=response.headers.get("x-redeo-provider", ""),
        attempts=response.headers.get("x-redeo-attempts", ""),
        text="".join(texts),
        events=len(events),
        ended=bool(events) and events[-1] == "[DONE]",
        milliseconds=(time.monotonic() - began) * 1000,
    )


def _events(content: bytes) -> Iterator[str]:
    for line in content.decode().splitlines():
        if line.startswith("data: "):
            yield line.removeprefix("data: ")


def _delta(event: str) -> str:
    choices = json.loads(event).get("choices") or []
    return str(choices[0]["delta"].get("content") or "") if choices else ""


def _message(content: bytes) -> str:
    """The text of a whole answer, or what an error says."""
    body = json.loads(content)
    if "choices" in body:
        return str(body["choices"][0]["message"]["content"])
    return str(body.get("error", {}).get("message", ""))


def _counted(daemon: Daemon) -> list[str]:
    """The samples about attempts and fallbacks, as the daemon exposes them."""
    connection = http.client.HTTPConnection(daemon.address.host, daemon.address.port, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return [line for line in text.splitlines() if line.startswith(("redeo_attempts_total", "redeo_fallbacks_total"))]
