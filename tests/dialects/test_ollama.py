"""Ollama's own chat: what it can be asked and what its answers mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.dialects.base import DialectName, Target, Unreadable, dialect
from proxy.dialects.blocks import Count, Finish, Image, ToolResult
from proxy.dialects.events import Failed, Kind, Laws, fold
from proxy.dialects.request import Loss
from tests.support.recorded import DIALECTS, requests

OLLAMA = dialect(DialectName.OLLAMA)
# What the server's own types have (ollama, api/types.go; docs, openapi.yaml).
FIELDS = {
    "": {
        "model", "messages", "stream", "format", "keep_alive", "tools", "think", "logprobs", "top_logprobs", "options",
    },
    "messages": {"role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id"},
    "tool_calls": {"id", "function"},
    "tool_calls.function": {"name", "arguments"},
    "tools": {"type", "function"},
    "tools.function": {"name", "description", "parameters"},
    "options": {
        "num_predict", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty",
        "frequency_penalty",
    },
}  # fmt: skip


def hold(body: dict[str, Any]) -> None:
    assert set(body) <= FIELDS[""], set(body)
    assert set(body.get("options", {})) <= FIELDS["options"]
    assert isinstance(body["stream"], bool)
    for message in body["messages"]:
        assert set(message) <= FIELDS["messages"], set(message)
        assert isinstance(message["content"], str)
        assert all(isinstance(image, str) for image in message.get("images", []))
        for call in message.get("tool_calls", []):
            assert set(call) <= FIELDS["tool_calls"]
            assert set(call["function"]) == FIELDS["tool_calls.function"]
            assert isinstance(call["function"]["arguments"], dict)
    for tool in body.get("tools", []):
        assert set(tool) == FIELDS["tools"]
        assert {"name", "parameters"} <= set(tool["function"]) <= FIELDS["tools.function"]
        assert isinstance(tool["function"]["parameters"], dict)


@pytest.mark.parametrize("home", DIALECTS.values())
def test_every_recorded_request_has_only_what_the_server_knows(recordings: Path, home: DialectName) -> None:
    read = 0
    for _, request in requests(recordings, home):
        body, losses = OLLAMA.write_request(request, Target("o", "gpt-oss:20b"))
        if not any(loss.content for loss in losses):
            hold(json.loads(json.dumps(body)))
            read += 1
    assert read > (1 if home is DialectName.COHERE else 12)


def asked(home: DialectName, body: dict[str, Any]) -> tuple[dict[str, Any], list[Loss]]:
    written, losses = OLLAMA.write_request(dialect(home).read_request(body), Target("o", "m"))
    hold(written)
    return written, losses


def chat(*messages: Any, **more: Any) -> tuple[dict[str, Any], list[Loss]]:
    return asked(
        DialectName.CHAT, {"model": "m", "messages": list(messages) or [{"role": "user", "content": "x"}], **more}
    )


def messages(*turns: Any, **more: Any) -> tuple[dict[str, Any], list[Loss]]:
    return asked(DialectName.MESSAGES, {"model": "m", "max_tokens": 9, "messages": list(turns), **more})


def lost(losses: list[Loss]) -> list[str]:
    return [loss.what for loss in losses]


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


PARAMETERS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"max_completion_tokens": 5, "temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": "END", "presence_penalty": 1},
     {"options": {"num_predict": 5, "temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": ["END"],
                  "presence_penalty": 1}}, []),
    ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}, []),
    ({"response_format": {"type": "json_object"}}, {"format": "json"}, []),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
     {"format": {"type": "object"}}, []),
    ({"reasoning_effort": "low"}, {"think": "low"}, []),
    ({"reasoning_effort": "none"}, {"think": False}, []),
    ({"reasoning_effort": "minimal"}, {"think": "low"}, ["reasoning_effort"]),
    ({"reasoning_effort": "xhigh"}, {"think": "high"}, ["reasoning_effort"]),
    ({"reasoning_effort": "max"}, {"think": "max"}, []),
    ({"user": "u", "service_tier": "flex", "n": 2, "logit_bias": {"1": 2}}, {},
     ["user", "service_tier", "n", "logit_bias"]),
]  # fmt: skip


@pytest.mark.parametrize(("given", "said", "dropped"), PARAMETERS)
def test_parameters(given: Any, said: Any, dropped: list[str]) -> None:
    body, losses = chat(**given)
    rest = {k: v for k, v in body.items() if k not in ("model", "messages", "stream")}
    assert (rest, sorted(lost(losses))) == (said, sorted(dropped))


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


CHOICES: list[tuple[Any, Any, list[str]]] = [
    ("auto", ["f", "g"], []),
    ("none", None, []),
    ("required", ["f", "g"], ["tool_choice"]),
    ({"type": "function", "function": {"name": "g"}}, ["g"], ["tool_choice"]),
    ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("g")]}}, ["g"], []),
]


@pytest.mark.parametrize(("choice", "names", "dropped"), CHOICES)
def test_what_is_not_to_be_called_is_not_offered(choice: Any, names: Any, dropped: list[str]) -> None:
    body, losses = chat(tools=[tool("f"), tool("g")], tool_choice=choice)
    assert (body.get("tools") and [t["function"]["name"] for t in body["tools"]]) == names
    assert lost(losses) == dropped


def test_texts_stand_by_themselves_and_an_answer_goes_on() -> None:
    body, losses = messages(
        {"role": "user", "content": [text("a"), text("b")]}, {"role": "assistant", "content": [text("c"), text("d")]},
        system=[text("s"), text("t")],
    )  # fmt: skip
    assert [m["content"] for m in body["messages"]] == ["s\n\nt", "a\n\nb", "cd"]
    assert not losses


def test_pictures_are_data_and_another_connection_takes_addresses() -> None:
    def picture(url: str) -> dict[str, Any]:
        return {"role": "user", "content": [text("x"), {"type": "image_url", "image_url": {"url": url}}]}

    body, losses = chat(picture("data:image/png;base64,aGk="))
    assert body["messages"] == [{"role": "user", "content": "x", "images": ["aGk="]}]
    assert not losses
    _, losses = chat(picture("https://a.example/a.png"))
    assert [(loss.what, loss.content) for loss in losses] == [("messages[0].content[1]", True)]


def test_results_name_their_tool_and_their_call() -> None:
    calls = [{"id": n, "type": "function", "function": {"name": f"f{n}", "arguments": ""}} for n in "12"]
    results = [{"role": "tool", "tool_call_id": n, "content": n} for n in "21"]
    body, losses = chat({"role": "assistant", "content": None, "tool_calls": calls}, *results)
    assert body["messages"][0]["tool_calls"] == [
        {"id": n, "function": {"name": f"f{n}", "arguments": {}}} for n in "12"
    ]
    assert body["messages"][1:] == [
        {"role": "tool", "content": n, "tool_call_id": n, "tool_name": f"f{n}"} for n in "21"
    ]
    assert not losses


def test_what_is_lost_of_results_and_documents_is_named() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "words"}
    document = {"type": "document", "source": source, "title": "t", "citations": {"enabled": True}}
    mark = {"cache_control": {"type": "ephemeral"}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": [document], "is_error": True, **mark}
    call = {"type": "tool_use", "id": "c", "name": "f", "input": {}, **mark}
    body, losses = messages({"role": "assistant", "content": [call]}, {"role": "user", "content": [result]})
    assert body["messages"][1]["content"] == "words"
    at = "messages[1].content[0]"
    assert lost(losses) == [
        "messages[0].content[0].cache_control", f"{at}.content[0].title", f"{at}.content[0].citations",
        f"{at}.is_error", f"{at}.cache_control",
    ]  # fmt: skip


def test_a_turn_of_anothers_thinking_alone_is_left_out_and_plain_thinking_goes_back() -> None:
    thought = {"type": "thinking", "thinking": "t", "signature": "s"}
    body, losses = messages({"role": "user", "content": "a"}, {"role": "assistant", "content": [thought]})
    assert [m["role"] for m in body["messages"]] == ["user"]
    assert lost(losses) == ["messages[1].content[0] (thinking)"]
    body, losses = chat({"role": "assistant", "content": "b", "reasoning_content": "t"})
    assert body["messages"] == [{"role": "assistant", "content": "b", "thinking": "t"}]
    assert not losses


def test_a_request_of_its_own_is_read_and_written_again() -> None:
    body = {
        "model": "m", "stream": False, "keep_alive": "5m", "think": "max", "format": {"type": "object"},
        "options": {"num_ctx": 9, "repeat_penalty": 1.1, "num_predict": 3, "mirostat": 1},
        "messages": [
            {"role": "user", "content": "x", "images": ["/9j/4AAQ"]},
            {"role": "assistant", "content": "", "thinking": "t",
             "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]},
            {"role": "tool", "content": "y", "tool_call_id": "c", "tool_name": "f", "images": ["R0lGODlh"]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    }  # fmt: skip
    request = OLLAMA.read_request(body)
    assert OLLAMA.write_request(request, Target("o", "m")) == (body, [])
    picture, result = request.turns[0].content[1], request.turns[2].content[0]
    assert isinstance(picture, Image)
    assert isinstance(result, ToolResult)
    assert picture.source.media_type == "image/jpeg"
    assert [b.source.media_type for b in result.content if isinstance(b, Image)] == ["image/gif"]


# --- answers


def line(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": "", **message}
    return {"model": "m", "created_at": "2026-11-24T12:00:00.123Z", "message": said, "done": False, **more}


def heard(*lines: dict[str, Any]) -> list[Any]:
    parser, laws = OLLAMA.parser("o"), Laws()
    data = b"".join(json.dumps(value).encode() + b"\n" for value in lines)
    return [laws.see(event) for event in [*parser.feed(data), *parser.close()]]


@pytest.mark.parametrize(
    ("word", "reason"),
    [("stop", Finish.STOP), ("length", Finish.LENGTH), ("load", Finish.OTHER), ("unload", Finish.OTHER)],
)
def test_reasons_to_stop(word: str, reason: Finish) -> None:
    end = {"done": True, "done_reason": word, "prompt_eval_count": 3, "eval_count": 5}
    for events in (
        heard(line({"content": "x"}), line({}, **end)),
        OLLAMA.read_answer(line({"content": "x"}, **end), "o"),
    ):
        answer = fold(events)
        assert (answer.finishes[0].reason, answer.finishes[0].raw) == (reason, word)
        assert answer.count == Count(3, 5)
        assert (answer.model, answer.created) == ("m", 1_795_521_600)


def test_thinking_texts_and_parallel_calls_without_ids() -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    empty = {"function": {"name": "g", "arguments": {}}}
    events = heard(
        line({"thinking": "a"}), line({"thinking": "b"}), line({"content": "c"}),
        line({"tool_calls": [call, empty]}), line({"tool_calls": [call]}), line({}, done=True, done_reason="stop"),
    )  # fmt: skip
    answer = fold(events)
    assert [(p.kind, p.text) for p in answer.pieces] == [
        (Kind.REASONING, "ab"), (Kind.TEXT, "c"), (Kind.TOOL_CALL, '{"a":1}'), (Kind.TOOL_CALL, "{}"),
        (Kind.TOOL_CALL, '{"a":1}'),
    ]  # fmt: skip
    assert len({p.id for p in answer.pieces[2:]}) == 3
    assert answer.finishes[0].reason is Finish.TOOL_CALLS


def test_how_probable_the_text_was() -> None:
    token = {"token": "c", "logprob": -0.5, "bytes": [99], "top_logprobs": []}
    events = heard(line({"content": "c"}, logprobs=[token]), line({}, done=True))
    assert fold(events).pieces[0].logprobs == [token]


def test_errors_and_cut_streams() -> None:
    assert heard(line({"content": "c"}))[-1] == Failed(None)
    assert heard(line({"content": "c"}), {"error": "no"})[-1] == Failed({"type": "api_error", "message": "no"})
    with pytest.raises(Unreadable):
        OLLAMA.read_answer(line({"content": "c"}), "o")
