"""`routing.rescue` and what is nested as deeply as can be read: an answer is never worse for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.faults.test_deep import DEPTHS, _tools, schema
from tests.support.daemon import FAST
from tests.support.speech import ANTHROPIC, CHAT, GEMINI, RESPONSES, Speech
from tests.support.streams import behind, spoken

CLIENTS = [CHAT, ANTHROPIC, RESPONSES]


@pytest.mark.parametrize("second", [CHAT, ANTHROPIC, GEMINI], ids=lambda speech: speech.name)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda speech: speech.name)
async def test_a_deep_question_is_relayed_and_its_answer_ends(
    redeo: Any, provider: Any, client: Speech, second: Speech
) -> None:
    first = spoken(client, client.opening("Once upon ", "a time "), ending="fin")
    places = (client, first), (second, second.good("there was."))
    server, ups = await behind(
        redeo, provider, *places, entry={"continues": "prefill"}, routing={"rescue": True, "timeouts": FAST}
    )
    for depth in DEPTHS:
        server.daemon.front.engine.health._states.clear()
        asked = len(ups[0].requests)
        path, body = client.asked(stream=True, **_tools(client, schema(depth)))
        got = await server.request("POST", path, data=json.dumps(body), headers={"content-type": "application/json"})
        assert len(ups[0].requests) == asked + 1
        assert got.status == 200, got.body
        assert not got.broken
        assert client.endings(got.body) in ((1, 0), (0, 1))
