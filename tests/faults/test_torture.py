"""A small run of `make torture`, and that its judge can find anything at all."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from benchmarks import torture_faults as faults
from benchmarks.torture import Torture, drawn
from benchmarks.torture_faults import FAULTS, Sent, Truth
from benchmarks.torture_oracle import judge
from benchmarks.torture_streams import PROVIDERS, whole
from tests.dialects.test_translation import PAIRS, ask, behind
from tests.support.daemon import Answer
from tests.support.speech import ALL, Speech

SEED = 20261125
STREAMS = 150


async def test_no_stream_looks_complete_and_is_not(settled: Any) -> None:
    torture = Torture(SEED, clients=16)
    await torture.run(list(range(STREAMS)))
    figures = torture.figures
    told = [f"{case.title}: {case.verdict}" for case in figures.wrong if case.verdict is not None]
    assert not told, "\n".join([f"seed {SEED}", *told])
    assert not figures.disagreed
    assert figures.unreached == 0
    assert figures.read_by_sdks > 0
    reached = sum(counter.total() for counter in figures.outcomes.values())
    assert reached >= STREAMS
    assert set(figures.outcomes) > set(FAULTS) - {"an event too large", "no answer at all"}


def test_a_stream_is_drawn_from_the_seed_and_its_number_alone() -> None:
    one, same, other = drawn(1, 7), drawn(1, 7), drawn(2, 7)
    assert (one.title, one.sent) == (same.title, same.sent)
    assert (one.title, one.sent.body) != (other.title, other.sent.body)


@pytest.mark.parametrize("speech", PROVIDERS, ids=lambda speech: str(speech.name))
def test_every_fault_can_be_drawn_for_every_dialect(speech: Speech) -> None:
    for name, (_, fault) in FAULTS.items():
        if fault is faults.too_large:
            continue
        found = {fault(Random(n), whole(Random(n), speech)).truth for n in range(60)}
        assert found, name
        assert fault is not faults.nothing or found == {Truth.WHOLE}


def _judged(speech: Speech, body: bytes, truth: Truth, *, status: int = 200, broken: bool = False) -> str:
    said = whole(Random(5), speech)
    return judge(speech, said, Sent(truth), Answer(status, {}, body, broken), None).wrong


@pytest.mark.parametrize("speech", ALL, ids=lambda speech: str(speech.name))
def test_the_judge_knows_a_lie(speech: Speech) -> None:
    """What it must not let pass, for a text that the provider was to say and one of which a part is missing."""
    said = whole(Random(5), speech)
    assert len(said.texts) > 1
    error = speech.failure("api_error", "it broke")
    part = b"".join(speech.opening(said.texts[0]))
    less = b"".join(speech.events(*said.texts[:-1]))
    assert _judged(speech, said.body, Truth.WHOLE) == ""
    assert _judged(speech, said.body, Truth.BROKEN) == "lie"
    assert _judged(speech, less, Truth.WHOLE) == "lie"
    assert _judged(speech, part, Truth.BROKEN) == "lie"
    assert _judged(speech, part + error, Truth.BROKEN) == ""
    assert _judged(speech, part + error, Truth.WHOLE) == "false alarm"
    assert _judged(speech, b"".join(speech.opening("other")) + error, Truth.BROKEN) == "lie"
    assert _judged(speech, said.body + error, Truth.EITHER) == "not one ending"
    assert _judged(speech, b"", Truth.BROKEN, status=502) == ""
    assert _judged(speech, b"", Truth.BROKEN, status=400) == "blames the client"
    assert _judged(speech, b"", Truth.WHOLE, status=502) == "false alarm"
    assert _judged(speech, part, Truth.BROKEN, broken=True) == "broken off"


# Whose finish reason is not the terminator: something is to come behind it.
LATE = [pair for pair in PAIRS if pair[1].name in ("chat", "messages", "converse")]


@pytest.mark.parametrize(("client", "speech"), LATE, ids=[f"{c.name}-from-{p.name}" for c, p in LATE])
async def test_silence_behind_the_finish_reason_leaves_a_translated_answer_whole(
    redeo: Any, provider: Any, client: Speech, speech: Speech
) -> None:
    """As a relayed one: the finish reason decides, the terminator need not come."""
    said = whole(Random(5), speech)

    async def silent(received: Any, wire: Any) -> None:
        sent = Sent(Truth.WHOLE, said.body[: said.edge], "hang", sizes=faults.ALL_AT_ONCE)
        await faults.play(sent, speech.name, received, wire)

    server, _ = await behind(redeo, provider, (speech, silent))
    got = await ask(server, client, stream=True)
    assert client.endings(got.body) == (1, 0)
