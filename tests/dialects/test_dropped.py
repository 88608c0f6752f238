"""`x-redeo-dropped`: on every translated answer whose question lost something, and safe whatever clients call it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.engine import told
from tests.support.speech import ANTHROPIC, CHAT, GEMINI
from tests.support.upstream import answer, stream


@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
@example(["a\r\nset-cookie: x"])
@example(["\ud800"])
@example([" "])
@example(["h\u00e9", "\u202e", "a,b", "\x7f\x00"])
def test_names_that_clients_choose_are_safe_in_a_header(names: list[str]) -> None:
    shown = told.listed(names)
    assert shown.isascii()
    assert shown.isprintable()
    assert shown == shown.strip()
    parts = shown.split(", ")
    assert len(parts) == len(names)
    for part, name in zip(parts, names, strict=True):
        assert unquote(part).strip(" ") == name.encode("utf-8", "replace").decode().strip(" ")


@given(st.integers(1, 400), st.integers(1, 500), st.sampled_from("a\u00e9\U0001f600\n"))
def test_a_header_is_never_long_and_counts_what_it_leaves_out(count: int, size: int, sign: str) -> None:
    shown = told.listed(f"{number:03}{sign * size}" for number in range(count))
    assert len(shown) < 2_100
    parts = shown.split(", ")
    named = [part for part in parts if part[0].isdigit()]
    left = int(parts[-1].split()[1]) if parts[-1].startswith("and ") else 0
    assert len(named) + left == count


LOST = {"seed": 7, "logit_bias": {"50256": -100}}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "script",
    [
        ANTHROPIC.good("yes"),
        answer({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}, 400),
        answer({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}, 529),
        answer({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}),
        answer(b"", 200),
    ],
)
async def test_what_is_dropped_is_named_on_every_answer(redeo: Any, provider: Any, script: Any, streamed: bool) -> None:
    up = await provider(script)
    server = await redeo({"alpha": ANTHROPIC.entry(up)})
    got = await server.chat(stream=streamed, **LOST)
    assert got.headers["x-redeo-dropped"] == "seed, logit_bias"
    assert len(up.requests) == 1


async def test_an_error_in_place_of_a_stream_names_it_too(redeo: Any, provider: Any) -> None:
    up = await provider(stream([ANTHROPIC.failure("invalid_request_error", "no")]))
    server = await redeo({"alpha": ANTHROPIC.entry(up)})
    got = await server.chat(stream=True, **LOST)
    assert (got.status, got.headers["x-redeo-dropped"]) == (400, "seed, logit_bias")


async def test_what_the_connection_before_was_not_told_is_not_said_of_this_one(redeo: Any, provider: Any) -> None:
    first = await provider(answer({"error": {"type": "overloaded_error", "message": "no"}}, 529))
    second = await provider(CHAT.good("yes"))
    server = await redeo({"alpha": ANTHROPIC.entry(first), "beta": CHAT.entry(second)})
    got = await server.chat(**LOST)
    assert (got.status, got.attempts) == (200, "alpha=529 beta=200")
    assert "x-redeo-dropped" not in got.headers
    assert second.requests[0].json["seed"] == 7


@pytest.mark.parametrize(
    "fields",
    [
        {"a\r\nset-cookie: x": 1},
        {"h\u00e9\u202e": 1, "\x00": 2},
        {"\U0001f600" * 900: 1},
        {f"field_{number}": number for number in range(3_000)},
    ],
)
async def test_whatever_clients_send_the_answer_arrives(redeo: Any, provider: Any, fields: dict[str, Any]) -> None:
    up = await provider(ANTHROPIC.good())
    server = await redeo({"alpha": ANTHROPIC.entry(up)})
    got = await server.chat(**fields)
    assert (got.status, json.loads(got.body)["choices"][0]["message"]["content"]) == (200, "hello")
    assert "set-cookie" not in got.headers
    assert 0 < len(got.headers["x-redeo-dropped"]) < 2_100


async def test_a_long_name_of_a_model_does_not_make_the_answer_unreadable(redeo: Any, provider: Any) -> None:
    up = await provider(CHAT.good())
    server = await redeo({"alpha": CHAT.entry(up)})
    path = f"/v1beta/models/alpha%2F{'m' * 5_000}:generateContent"
    got = await server.request("POST", path, json=GEMINI.body)
    assert got.status == 200
    assert got.headers["x-redeo-model"] == "m" * 256


async def test_nothing_may_be_lost_is_a_choice_of_each_connection(redeo: Any, provider: Any) -> None:
    strict, lax = await provider(ANTHROPIC.good()), await provider(ANTHROPIC.good())
    entries = {"alpha": {**ANTHROPIC.entry(strict), "unsupported": "error"}, "beta": ANTHROPIC.entry(lax)}
    server = await redeo(entries)
    got = await server.chat(**LOST)
    assert (got.attempts, got.headers["x-redeo-dropped"]) == ("beta=200", "seed, logit_bias")
    refused = await server.chat("alpha/m", **LOST)
    assert (refused.status, refused.json["error"]["param"]) == (400, "seed")
    assert not strict.requests
    assert (await server.chat("alpha/m")).status == 200
