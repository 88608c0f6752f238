"""What is too long for one connection goes to one that is declared to read more, and to nobody else."""

from __future__ import annotations

from typing import Any

from tests.support.upstream import Upstream, chat, error

TOO_LONG = error(400, "context_length_exceeded", "the prompt is too long")


async def asked(redeo: Any, *places: tuple[Upstream, Any]) -> Any:
    entries = {}
    for name, (up, size) in zip(("alpha", "beta", "gamma"), places, strict=False):
        entries[name] = {"base_url": up.base_url, **({"context_tokens": size} if size else {})}
    return await redeo(entries)


async def test_the_larger_one_answers(redeo: Any, provider: Any) -> None:
    small, same, large = await provider(TOO_LONG), await provider(chat()), await provider(chat())
    server = await asked(redeo, (small, 1000), (same, {"*": 1000}), (large, {"beta-*": 10, "gamma-*": 2000}))
    got = await server.chat()
    assert (got.status, got.attempts) == (200, "alpha=400 gamma=200")
    assert not same.requests


async def test_nobody_who_did_not_say_how_large_it_is(redeo: Any, provider: Any) -> None:
    for mine, other in ((1000, None), (None, 1000), (None, None), (2000, 1000)):
        small, second = await provider(TOO_LONG), await provider(chat())
        server = await asked(redeo, (small, mine), (second, other))
        got = await server.chat()
        assert (got.status, got.attempts) == (400, "alpha=400")
        assert got.json["error"]["code"] == "context_length_exceeded"
        assert not second.requests


async def test_when_the_larger_one_fails_that_is_told(redeo: Any, provider: Any) -> None:
    small, large = await provider(TOO_LONG), await provider(error(503))
    server = await asked(redeo, (small, 1000), (large, 2000))
    got = await server.chat()
    assert (got.status, got.attempts) == (503, "alpha=400 beta=503")
    assert "the prompt is too long" in got.json["error"]["message"]


async def test_when_it_is_too_long_for_the_larger_one_too(redeo: Any, provider: Any) -> None:
    small, large = await provider(TOO_LONG), await provider(TOO_LONG)
    server = await asked(redeo, (small, 1000), (large, 2000))
    got = await server.chat()
    assert (got.status, got.attempts) == (400, "alpha=400 beta=400")
    assert got.json["error"]["code"] == "context_length_exceeded"
