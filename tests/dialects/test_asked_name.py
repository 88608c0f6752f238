"""`routing.answer_model`: whose name of the model stands in a relayed answer, and nothing else moves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.engine.renamed import Renamed
from tests.support.speech import ANTHROPIC, CHAT, Speech
from tests.support.upstream import answer, event, message_events, stream

ASKED = "alpha/theirs"
ODD = b' { "id":"msg_1", "content" : [{"type":"text","text":"\\"model\\":\\"m\\"", "model":"mine"}],\n"model" :"m" } '
SPOKEN = b"".join(
    [
        b": a comment\n\n",
        *message_events('"model":"m"', "message_start"),
        *message_events("a second message in one stream"),
    ]
)


class Pieces:
    """A provider's answer in these pieces."""

    status = 200

    def __init__(self, *pieces: bytes) -> None:
        self.left = [piece for piece in pieces if piece]

    def header(self, name: str) -> str:
        return name

    async def read(self) -> bytes:
        return self.left.pop(0) if self.left else b""


async def all_of(answer: Renamed) -> bytes:
    return b"".join([piece async for piece in _pieces(answer)])


async def _pieces(answer: Renamed) -> Any:
    while piece := await answer.read():
        yield piece


async def got(
    redeo: Any,
    provider: Any,
    said: list[bytes] | bytes,
    speech: Speech = ANTHROPIC,
    model: str = ASKED,
    **routing: Any,
) -> Any:
    """What the client gets of a whole answer, or of a stream in these pieces."""
    streamed = isinstance(said, list)
    up = await provider(stream(said) if isinstance(said, list) else answer(said))
    server = await redeo({"alpha": speech.entry(up)}, routing=routing)
    answered = await server.request("POST", speech.path, json={**speech.body, "model": model, "stream": streamed})
    assert answered.headers["content-type"].startswith("text/event-stream" if streamed else "application/json")
    return answered


def renamed(data: bytes, to: str = ASKED) -> bytes:
    """The same with another name in the places that tell it."""
    return data.replace(b'"role": "assistant", "model": "m"', f'"role": "assistant", "model": "{to}"'.encode())


@pytest.mark.parametrize("routing", [{}, {"answer_model": "provider"}])
async def test_by_default_bytes_are_as_they_came(redeo: Any, provider: Any, routing: Any) -> None:
    assert (await got(redeo, provider, [SPOKEN], **routing)).body == SPOKEN
    assert (await got(redeo, provider, ODD, **routing)).body == ODD


async def test_the_asked_name_stands_in_a_whole_answer_and_nothing_else_moves(redeo: Any, provider: Any) -> None:
    answered = await got(redeo, provider, ODD, answer_model="asked")
    assert answered.body == ODD.replace(b'"model" :"m"', f'"model" :"{ASKED}"'.encode())
    assert answered.headers["x-redeo-model"] == "theirs"


async def test_the_asked_name_stands_in_every_message_of_a_stream(redeo: Any, provider: Any) -> None:
    single = [SPOKEN[n : n + 1] for n in range(len(SPOKEN))]
    for pieces in ([SPOKEN], single):
        answered = await got(redeo, provider, pieces, answer_model="asked")
        assert answered.body == renamed(SPOKEN) != SPOKEN


async def test_any_split_gives_the_same() -> None:
    for at in range(len(SPOKEN) + 1):
        answer = Renamed(Pieces(SPOKEN[:at], SPOKEN[at:]), ASKED, stream=True)
        assert await all_of(answer) == renamed(SPOKEN), at
    for at in range(len(ODD) + 1):
        assert json.loads(await all_of(Renamed(Pieces(ODD[:at], ODD[at:]), "é", stream=False)))["model"] == "é"


@pytest.mark.parametrize("model", ["theirs", "m"])
async def test_a_name_that_was_not_replaced_stays(redeo: Any, provider: Any, model: str) -> None:
    assert (await got(redeo, provider, [SPOKEN], model=model, answer_model="asked")).body == SPOKEN


async def test_other_dialects_keep_the_providers_name(redeo: Any, provider: Any) -> None:
    whole = json.dumps(CHAT.whole).encode()
    assert (await got(redeo, provider, whole, CHAT, answer_model="asked")).body == whole


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"nothing", b'{"error": {"model": "m"}}', b'{"model": "m", "model": "m"}', b'{"model": "m"',
    ],
)  # fmt: skip
async def test_what_names_no_model_goes_on_as_it_came(data: bytes) -> None:
    assert await all_of(Renamed(Pieces(data), ASKED, stream=False)) == data
    told = event({"type": "error", "error": {"message": "message_start"}}) + b"data: message_start " + data
    assert await all_of(Renamed(Pieces(told), ASKED, stream=True)) == told
