"""What the answers of Amazon Bedrock's Converse mean, whole and streamed, and how they are written."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer

from proxy.dialects.aws_events import frame
from proxy.dialects.base import DialectName, ReplyHead, Unreadable, dialect
from proxy.dialects.blocks import Count, Finish
from proxy.dialects.converse.parts import NAME
from proxy.dialects.events import BlockCite, BlockSeal, Failed, Finished, Kind, Laws, fold, unfold
from proxy.dialects.request import Request
from tests.support.amazon import amazons, service
from tests.support.recorded import DIALECTS, folded

CONVERSE = dialect(DialectName.CONVERSE)


def of(kind: str, value: dict[str, Any], message: str = "event") -> bytes:
    named = ":exception-type" if message == "exception" else ":event-type"
    return frame(json.dumps(value).encode(), {named: kind, ":message-type": message})


def heard(*events: bytes) -> list[Any]:
    parser, laws = CONVERSE.parser("o"), Laws()
    return [laws.see(event) for event in [*parser.feed(b"".join(events)), *parser.close()]]


def delta(at: int, **value: Any) -> bytes:
    return of("contentBlockDelta", {"contentBlockIndex": at, "delta": value})


STOP = of("messageStop", {"stopReason": "end_turn"})
FINISHES = {
    "end_turn": Finish.STOP,
    "tool_use": Finish.TOOL_CALLS,
    "max_tokens": Finish.LENGTH,
    "stop_sequence": Finish.STOP_SEQUENCE,
    "guardrail_intervened": Finish.CONTENT_FILTER,
    "content_filtered": Finish.CONTENT_FILTER,
    "malformed_model_output": Finish.OTHER,
    "malformed_tool_use": Finish.OTHER,
    "model_context_window_exceeded": Finish.CONTEXT,
}


def test_every_reason_to_stop_is_known() -> None:
    assert set(service().shape_for("StopReason").enum) == set(FINISHES)


@pytest.mark.parametrize(("word", "reason"), FINISHES.items())
def test_reasons_to_stop(word: str, reason: Finish) -> None:
    said = {"stopReason": word, "additionalModelResponseFields": {"stop_sequence": "END"}}
    body = {"output": {"message": {"role": "assistant", "content": [{"text": "x"}]}}, **said}
    assert fold(CONVERSE.read_answer(body, "o")).finishes[0] == Finished(reason, word, "END")
    assert fold(heard(delta(0, text="x"), of("messageStop", said))).finishes[0] == Finished(reason, word, "END")
    if word.startswith("malformed"):
        assert isinstance(heard(of("messageStop", said))[-1], Failed)


def test_usage_counts_the_cache_and_names_the_tier() -> None:
    usage = {
        "inputTokens": 5, "outputTokens": 7, "totalTokens": 22, "cacheReadInputTokens": 4, "cacheWriteInputTokens": 6,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 2}, {"ttl": "5m", "inputTokens": 4}],
    }  # fmt: skip
    found = heard(delta(0, text="x"), STOP, of("metadata", {"usage": usage, "serviceTier": {"type": "flex"}}))
    assert fold(found).count == Count(15, 7, 4, 6, 2, tier="flex")


def test_thinking_is_sealed_even_where_nobody_says_that_it_is_over() -> None:
    found = heard(
        delta(0, reasoningContent={"text": "think"}), delta(0, reasoningContent={"signature": "si"}),
        delta(0, reasoningContent={"signature": "g"}), delta(1, text="so"),
        of("contentBlockStart", {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "c", "name": "f"}}}), STOP,
    )  # fmt: skip
    thought, text, call = fold(found).pieces
    assert (thought.text, thought.seal and (thought.seal.data, thought.seal.origin)) == ("think", ("sig", "o"))
    assert (text.text, call.text) == ("so", "{}")


def test_a_text_at_the_place_of_thinking_is_a_block_of_its_own() -> None:
    found = heard(delta(0, reasoningContent={"text": "think"}), delta(0, text="so"), STOP)
    assert [(p.kind, p.text) for p in fold(found).pieces] == [(Kind.REASONING, "think"), (Kind.TEXT, "so")]


def test_redacted_thinking_and_citations_arrive() -> None:
    found = heard(
        delta(0, reasoningContent={"redactedContent": "AAEC"}), delta(1, text="so"),
        delta(1, citation={"title": "t", "location": {"web": {"url": "https://a.example"}}}), STOP,
    )  # fmt: skip
    assert [e.seal.data for e in found if isinstance(e, BlockSeal)] == ["AAEC"]
    assert [(e.cite.url, e.cite.title) for e in found if isinstance(e, BlockCite)] == [("https://a.example", "t")]


def test_what_a_tool_of_amazons_said_is_handed_on_whole(recordings: Path) -> None:
    path = next(recordings.glob("bedrock/bedrock.converse/*code-execution-tool-stream*.json"))
    data = b"".join(base64.b64decode(e) for e in json.loads(path.read_bytes())["response"]["events"])
    (piece,) = (p for p in fold(heard(data)).pieces if p.kind is Kind.FOREIGN)
    assert piece.raw is not None
    assert "stdOut" in piece.raw.data["toolResult"]["content"][0]["json"]


@pytest.mark.parametrize(
    "kind",
    ["internalServerException", "modelStreamErrorException", "validationException", "throttlingException",
     "serviceUnavailableException"],
)  # fmt: skip
def test_an_exception_in_the_stream_ends_it(kind: str) -> None:
    found = heard(delta(0, text="x"), of(kind, {"message": "no"}, "exception"), STOP)
    assert found[-1] == Failed({"type": kind, "message": "no"})


def test_a_stream_that_is_cut_says_so_wherever_it_is_cut() -> None:
    data = delta(0, text="x") + of("contentBlockStop", {"contentBlockIndex": 0}) + STOP
    for end in range(len(data)):
        assert isinstance(heard(data[:end])[-1], Failed)
    with pytest.raises(Unreadable):
        heard(data[:20] + b"\0" + data[21:])


@pytest.mark.parametrize("home", DIALECTS.values())
def test_every_recorded_answer_written_in_converse_is_one_that_amazon_knows(
    recordings: Path, home: DialectName
) -> None:
    """The whole answer by its shape, and each event of the stream."""
    operation = service().operation_model("Converse").output_shape
    read = 0
    for exchange, answer in folded(recordings, home):
        head = ReplyHead("r", 1, Request(NAME, "m", ()), "m")
        for piece in answer.pieces:
            piece.id = piece.id and re.sub(r"[^\w.:-]", "_", piece.id)[:64]
        amazons(json.loads(json.dumps(CONVERSE.write_answer(answer, head))), operation, exchange["id"])
        assert streamed(b"".join(map(CONVERSE.renderer(head).event, unfold(answer)))) == [], exchange["id"]
        read += 1
    assert read >= 3


def streamed(data: bytes) -> list[str]:
    """What Amazon's model of the service does not know of this stream."""
    events = service().shape_for("ConverseStreamOutput").members
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    wrong = []
    for message in buffer:
        try:
            kind = message.headers[":event-type"]
            amazons(json.loads(message.payload), events[kind], kind)
        except AssertionError as exc:
            wrong.append(str(exc))
    return wrong
