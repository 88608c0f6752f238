"""Real requests and answers with one place damaged: a codec raises its own errors and nothing else."""

from __future__ import annotations

import copy
import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.dialects import seals, sse
from proxy.dialects.base import DialectName, ReplyHead, Target, Unreadable, dialect
from proxy.dialects.blocks import Cite, Count, Finish, Opaque
from proxy.dialects.events import Answer, Broken, Finished, Kind, Laws, Piece, fold, unfold
from proxy.dialects.request import BadRequest, Request
from tests.support.maximal import MAXIMAL
from tests.support.recorded import head

NAMES = st.sampled_from(list(DialectName))
SCALARS = st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=4)
VALUES: Any = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(("type", "text", "id")), inner),
    max_leaves=4,
)
RICH = Answer(
    "r1", "m", 1, [
        Piece(Kind.REASONING, text="let me see"),
        Piece(Kind.TEXT, text="so", cites=[Cite("https://example.com", "t", "q", 0, 2)]),
        Piece(Kind.TOOL_CALL, "call_1", "add", text='{"a": 1}'),
        Piece(Kind.TOOL_CALL, "call_2", "add", text="{}"),
    ],
    {0: Finished(Finish.TOOL_CALLS)}, Count(9, 8, 3, 1, 0, 2),
)  # fmt: skip


def damaged(draw: Any, value: Any) -> Any:
    """The value with another one at one place in it, or without that place."""
    out = copy.deepcopy(value)
    holder, key = {"": out}, ""
    while True:
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner or (holder[key] is not out and draw(st.integers(0, 3)) == 0):
            break
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        holder, key = inner, draw(st.sampled_from(keys))
    if draw(st.booleans()):
        del holder[key]
    else:
        holder[key] = draw(VALUES)
    return out


@given(here=st.sampled_from(list(MAXIMAL)), there=NAMES, data=st.data())
def test_a_damaged_request_is_written_or_refused(here: DialectName, there: DialectName, data: st.DataObject) -> None:
    body = damaged(data.draw, MAXIMAL[here])
    try:
        request = dialect(here).read_request(body)
    except BadRequest:
        return
    written, losses = dialect(there).write_request(request, Target("o", "m"))
    assert all(loss.what and loss.why for loss in losses)
    try:
        dialect(there).read_request(json.loads(json.dumps(written)))
    except BadRequest:
        return


@given(name=NAMES, there=NAMES, data=st.data())
def test_a_damaged_answer_is_read_or_refused(name: DialectName, there: DialectName, data: st.DataObject) -> None:
    body = damaged(data.draw, json.loads(json.dumps(dialect(name).write_answer(RICH, head(name)))))
    try:
        answer = fold(dialect(name).read_answer(body, "o"))
    except (Unreadable, Broken):
        return
    assert fold(unfold(answer)) == answer
    json.dumps(dialect(there).write_answer(answer, ReplyHead("req_1", 1, Request(there, "m", ()), "m")))


@given(name=NAMES, there=NAMES, data=st.data())
def test_a_damaged_stream_is_read_or_refused(name: DialectName, there: DialectName, data: st.DataObject) -> None:
    renderer = dialect(name).renderer(head(name))
    frames = [frame for event in unfold(RICH) for frame in sse.EventSplitter().feed(renderer.event(event))]
    if name in (DialectName.CONVERSE, DialectName.OLLAMA) or not frames:
        return  # no events of text
    at = data.draw(st.integers(0, len(frames) - 1))
    told = sse.event_data(frames[at])
    if told and told.startswith(b"{"):
        frames[at] = sse.frame(json.dumps(damaged(data.draw, json.loads(told))).encode())
    parser, laws = dialect(name).parser("o"), Laws()
    written = dialect(there).renderer(ReplyHead("req_1", 1, Request(there, "m", ()), "m"))
    try:
        for frame in frames:
            for event in parser.feed(frame):
                written.event(laws.see(event))
        for event in parser.close():
            written.event(laws.see(event))
    except (Unreadable, sse.EventTooLarge):
        return


@pytest.mark.parametrize("there", DialectName)
def test_arguments_cut_inside_an_emoji_are_written_or_named(there: DialectName) -> None:
    """Agents do that (a lone surrogate); providers judge it."""
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": "\ud83d"}'}}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "\udc00"}
    asked = {"messages": [{"role": "user", "content": "\ud83d"}, {"role": "assistant", "tool_calls": [call]}, result]}
    written, _ = dialect(there).write_request(dialect(DialectName.CHAT).read_request(asked), Target("o", "m"))
    assert "\\ud83d" in json.dumps(written)


@example(DialectName.CHAT, DialectName.RESPONSES, DialectName.RESPONSES, "carried", [])
@given(
    here=st.sampled_from(list(MAXIMAL)),
    there=NAMES,
    maker=NAMES,
    kind=st.sampled_from(("thinking", "reasoning", "call", "part", "carried", "reasoning.text", "signature", "x")),
    held=VALUES,
)
def test_a_forged_seal_is_handed_on_or_refused(
    here: DialectName, there: DialectName, maker: DialectName, kind: str, held: Any
) -> None:
    forged = seals.wrap(Opaque(maker.value, kind, held, "o"), "nobody")
    if here is DialectName.GEMINI:
        forged = b64encode(forged.encode()).decode()
    text = json.dumps(MAXIMAL[here]).replace("c2VhbA==", forged)
    assert forged in text or here is DialectName.CHAT
    body = json.loads(text)
    if here is DialectName.CHAT:
        row = {"type": "reasoning.encrypted", "data": forged}
        body["messages"][3]["reasoning_details"] = [row]
        body["messages"][3]["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": forged}}
    request = dialect(here).read_request(body)
    json.dumps(dialect(there).write_request(request, Target("o", "m"))[0])


ODD: list[Any] = [["x"], 1, None, {"token": "a", "top_logprobs": 5}, {"token": [], "top_logprobs": [1]}]


@pytest.mark.parametrize("there", DialectName)
@pytest.mark.parametrize("name", [DialectName.CHAT, DialectName.RESPONSES, DialectName.OLLAMA])
def test_odd_probabilities_of_tokens_are_left_out(name: DialectName, there: DialectName) -> None:
    """Found by fuzzing: entries that are no objects were handed on, and other dialects look into them."""
    said = Answer("r1", "m", 1, [Piece(Kind.TEXT, text="so")], {0: Finished(Finish.STOP)}, Count(9, 8))
    body = json.loads(json.dumps(dialect(name).write_answer(said, head(name))))
    if name is DialectName.CHAT:
        body["choices"][0]["logprobs"] = {"content": ODD, "refusal": 3}
    elif name is DialectName.RESPONSES:
        part = next(item for item in body["output"] if item["type"] == "message")["content"][0]
        part["logprobs"] = ODD
    else:
        body["logprobs"] = ODD
    answer = fold(dialect(name).read_answer(body, "o"))
    assert [len(piece.logprobs) for piece in answer.pieces] == [2]
    json.dumps(dialect(there).write_answer(answer, head(there)))
    renderer = dialect(there).renderer(head(there))
    for event in unfold(answer):
        renderer.event(event)
