"""Providers that answer with an error status that no row of the fault matrix has."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.speech import Speech
from tests.support.upstream import chat, error


@pytest.mark.parametrize("status", [100, 101, 199, 600, 999])
async def test_a_status_that_means_nothing(bench: Any, status: int) -> None:
    async def odd(received: Any, wire: Any) -> None:
        await wire.head(status, {"content-length": "0"}, framing="length")
        wire.close()

    b = await bench(odd, chat())
    got = await b.ask()
    assert (got.status, got.headers["x-redeo-provider"]) == (200, "beta")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
async def test_a_model_that_is_not_there_is_looked_for_elsewhere(bench: Any, speech: Speech, streamed: bool) -> None:
    b = await bench(error(404, "model_not_found", "The model `x` does not exist"), speech.good(), speech=speech)
    assert (await b.ask(stream=streamed)).attempts == "alpha=404 beta=200"
    assert (await b.ask(stream=streamed)).attempts == "beta=200"
    b.shift(601)
    assert (await b.ask(stream=streamed)).attempts == "alpha=404 beta=200"
