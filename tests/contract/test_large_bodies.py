"""Large prompts and uploads: what goes upstream is what the client sent, whole, whichever way it was carried."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.upstream import Received, Wire, answer, chat, chat_body, chat_events, stream

LONG = "x" * 300_000


@pytest.mark.parametrize("first", ["model", "messages"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
async def test_of_a_large_prompt_the_model_alone_is_changed(
    redeo: Any, provider: Any, first: str, streamed: bool
) -> None:
    up = await provider(stream(chat_events("yes", usage=True)) if streamed else chat())
    server = await redeo({"alpha": up})
    fields: dict[str, Any] = {"model": "alpha/some-model", "messages": [{"role": "user", "content": LONG}]}
    fields = {first: fields[first], **fields, "stream": streamed}
    body = json.dumps(fields).encode()
    headers = {"Content-Type": "application/json"}
    got = await server.request("POST", "/v1/chat/completions", data=body, headers=headers)
    assert got.status == 200
    sent = up.requests[0].body
    edited = body.replace(b'"alpha/some-model"', b'"some-model"')
    assert sent == (edited[:-1] + b',"stream_options":{"include_usage":true}}' if streamed else edited)


async def test_a_large_prompt_falls_back_in_pieces(redeo: Any, provider: Any) -> None:
    async def breaks_off(_: Received, wire: Wire) -> None:
        wire.reset()

    first, second = await provider(breaks_off), await provider(answer(chat_body()))
    server = await redeo({"alpha": first, "beta": second})
    got = await server.chat("auto", messages=[{"role": "user", "content": LONG}])
    assert (got.status, got.attempts) == (200, "alpha=interrupted beta=200")
    assert first.requests[0].json == {**second.requests[0].json, "model": "alpha-model"}
    assert second.requests[0].json["model"] == "beta-model"
