"""What one worker has learned of a connection, or changed, holds in the others."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.canary import Canaries
from tests.support.crew import Crew, crew
from tests.support.upstream import chat, error

SOON = 15.0  # seconds; half of one where nothing else runs


async def state(team: Crew, worker: int, provider: str = "openai") -> str:
    """How this worker says that the connection fares."""
    answer = await team.ask(worker, "GET", f"/v1/providers/{provider}")
    return str(answer.json["status"]["state"])


async def everywhere(team: Crew, wanted: str, provider: str = "openai") -> None:
    """Wait until all workers say that the connection is in this state."""

    async def so() -> bool:
        return {await state(team, worker, provider) for worker in team.at} == {wanted}

    await team.until(so)


async def test_a_key_that_was_refused_is_tried_by_no_other_worker_and_comes_back_for_all(
    tmp_path: Path, canaries: Canaries, provider: Any
) -> None:
    refusing, good = await provider(error(401, "authentication_error")), await provider(chat())
    async with crew(tmp_path, canaries, {"openai": refusing, "groq": good}) as team:
        one, other = team.at
        assert (await team.chat(one)).status == 200
        await everywhere(team, "disabled")
        assert len(refusing.requests) == 1
        for _ in range(5):
            assert (await team.chat(other)).headers["x-redeo-attempts"] == "groq=200"
        assert len(refusing.requests) == 1
        refusing.scripts[:], refusing.models = [chat()], ["m"]
        assert (await team.ask(other, "POST", "/v1/providers/openai/test")).json["ok"]
        await everywhere(team, "closed")
        assert (await team.chat(one)).headers["x-redeo-attempts"] == "openai=200"


async def test_a_wait_and_failures_in_a_row_are_known_to_all(tmp_path: Path, canaries: Canaries, provider: Any) -> None:
    limited = await provider(error(429, "rate_limit_error", **{"retry-after": "600"}))
    failing, good = await provider(error(500)), await provider(chat())
    async with crew(tmp_path, canaries, {"openai": limited, "groq": failing, "mistral": good}) as team:
        one, other = team.at
        assert (await team.chat(one)).status == 200
        await everywhere(team, "cooling")
        for turn in range(10):
            assert (await team.chat((one, other)[turn % 2])).status == 200
        await everywhere(team, "open", "groq")
        assert len(limited.requests) == 1
        assert len(failing.requests) < 10, "each worker counts for itself"
        for worker in team.at:
            shown = await team.metrics(worker)
            standing = [line for line in shown if line.startswith("redeo_breaker_state") and shown[line]]
            assert sorted(standing) == [
                'redeo_breaker_state{connection="groq",state="open"}',
                'redeo_breaker_state{connection="mistral",state="closed"}',
                'redeo_breaker_state{connection="openai",state="cooling"}',
            ]


async def test_a_worker_that_is_born_later_knows_it_too(tmp_path: Path, canaries: Canaries, provider: Any) -> None:
    refusing, good = await provider(error(401, "authentication_error")), await provider(chat())
    async with crew(tmp_path, canaries, {"openai": refusing, "groq": good}) as team:
        one, other = team.at
        assert (await team.chat(one)).status == 200
        await everywhere(team, "disabled")
        await team.kill(one)
        await team.gather(2)
        (young,) = set(team.at) - {other}
        assert await state(team, young) == "disabled"
        assert (await team.chat(young)).headers["x-redeo-attempts"] == "groq=200"
        assert len(refusing.requests) == 1


@pytest.mark.parametrize("rounds", [15, pytest.param(200, marks=pytest.mark.long)])
async def test_changes_hold_in_all_workers_before_they_are_answered(
    tmp_path: Path, canaries: Canaries, rounds: int
) -> None:
    async with crew(tmp_path, canaries) as team:
        stop = asyncio.Event()

        async def load(worker: int) -> None:
            while not stop.is_set():
                assert (await team.ask(worker, "GET", "/v1/models")).status == 200

        loads = [asyncio.create_task(load(worker)) for worker in await team.gather(2)]
        seen = set()
        for number in range(rounds):
            key = canaries.key("openai")
            added = await team.anybody("POST", "/v1/providers", {"provider": "openai", "api_key": key})
            assert added.status == (201 if number % 3 == 0 else 200)
            changed = await team.anybody("PATCH", "/v1/providers/openai", {"priority": number})
            assert changed.status == 200
            for answer in await asyncio.gather(*(team.anybody("GET", "/v1/providers/openai") for _ in range(4))):
                assert answer.json["priority"] == number
                assert answer.headers["etag"] == changed.headers["etag"]
                seen.add(answer.json["status"]["worker"])
            if number % 3 == 2:
                assert (await team.anybody("DELETE", "/v1/providers/openai")).status == 200
                gone = await asyncio.gather(*(team.anybody("GET", "/v1/providers/openai") for _ in range(4)))
                assert {answer.status for answer in gone} == {404}
        stop.set()
        await asyncio.gather(*loads)
        assert seen == set(team.at)


async def test_edits_are_taken_up_by_all_workers_and_by_those_born_later(tmp_path: Path, canaries: Canaries) -> None:
    async def named(team: Crew, name: str) -> bool:
        found = [(await team.ask(worker, "GET", "/v1/models")).json["data"] for worker in team.at]
        return all(name in {model["id"] for model in models} for models in found)

    async with crew(tmp_path, canaries) as team:
        await team.anybody("POST", "/v1/providers", {"provider": "openai", "api_key": canaries.key("openai")})
        team.edit(models={"edited": ["openai/gpt-5"]})
        async with asyncio.timeout(SOON):
            await team.until(lambda: named(team, "edited"))
        team.edit(models={"signalled": ["openai/gpt-5"]})
        team.daemon.signal(signal.SIGHUP)
        async with asyncio.timeout(SOON):
            await team.until(lambda: named(team, "signalled"))
        for bad in (False, True):  # the last good one is in force in a successor too
            if bad:
                team.daemon.config.write_text("workers: [nonsense\n")
                await team.until(lambda: "not taken up" in team.daemon.log)
            await team.kill(next(iter(team.at)))
            await team.gather(2)
            assert await named(team, "signalled")
