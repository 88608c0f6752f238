"""One tool round trip with a provider of each dialect: the stream in which it thinks, speaks and calls a tool, and what
it was told, read out of the request body in that dialect's own words.

Sources: the providers' references of their wire formats, and the recorded traffic.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.speech import ANTHROPIC, CHAT, COHERE, CONVERSE, GEMINI, OLLAMA, RESPONSES, Speech
from tests.support.upstream import amazon_frame, event

THOUGHT = "I shall call it. ✓"
SPOKEN = "Calling."
SIGNED = "c2lnbmF0dXJlIG9mIHRoaXMgdGhvdWdodA=="


@dataclass
class Heard:
    """What a provider was told."""

    texts: list[str] = field(default_factory=list)  # of system, users and the model, in order
    tools: dict[str, Any] = field(default_factory=dict)  # name -> schema
    calls: list[tuple[str, str, Any]] = field(default_factory=list)  # id, name, arguments
    results: list[tuple[str, str]] = field(default_factory=list)  # id of the call, text
    thoughts: list[Any] = field(default_factory=list)  # as they came

    @property
    def said(self) -> str:
        """All texts in one."""
        return "\n".join(self.texts)


def pieces(text: str, count: int) -> list[str]:
    """The text in about so many pieces."""
    size = max(1, len(text) // count)
    return [text[at : at + size] for at in range(0, len(text), size)]


def _named(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def _texts(content: Any) -> Iterator[str]:
    """The texts of a content that is a text or a list of parts."""
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if isinstance(part.get("text"), str):
            yield part["text"]


def _chat_call(name: str, arguments: str) -> list[bytes]:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return event({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})

    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}
    return [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"reasoning_content": piece}) for piece in pieces(THOUGHT, 3)),
        *(chunk({"content": piece}) for piece in pieces(SPOKEN, 2)),
        chunk({"tool_calls": [first]}),
        *(chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}) for piece in pieces(arguments, 6)),
        chunk({}, "tool_calls"),
        b"data: [DONE]\n\n",
    ]


def _chat_heard(body: dict[str, Any]) -> Heard:
    heard = Heard(tools={t["function"]["name"]: t["function"].get("parameters") for t in body.get("tools", ())})
    for message in body["messages"]:
        if message["role"] == "tool":
            heard.results.append((message.get("tool_call_id", ""), "".join(_texts(message["content"]))))
            continue
        heard.texts += _texts(message.get("content"))
        for call in message.get("tool_calls") or ():
            given = call["function"]["arguments"]
            arguments = json.loads(given) if isinstance(given, str) else given
            heard.calls.append((call.get("id", ""), call["function"]["name"], arguments))
    return heard


def _messages_call(name: str, arguments: str) -> list[bytes]:
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
    usage = {"input_tokens": 3, "output_tokens": 1}

    def block(index: int, opening: dict[str, Any], deltas: list[dict[str, Any]]) -> list[bytes]:
        said = [_named("content_block_delta", index=index, delta=delta) for delta in deltas]
        return [
            _named("content_block_start", index=index, content_block=opening),
            *said,
            _named("content_block_stop", index=index),
        ]

    thinking = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(THOUGHT, 3)]
    return [
        _named("message_start", message={**start, "stop_sequence": None, "usage": usage}),
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            [*thinking, {"type": "signature_delta", "signature": SIGNED}],
        ),
        *block(1, {"type": "text", "text": ""}, [{"type": "text_delta", "text": SPOKEN}]),
        *block(
            2,
            {"type": "tool_use", "id": "toolu_1", "name": name, "input": {}},
            [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *pieces(arguments, 6))],
        ),
        _named("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage={"output_tokens": 5}),
        _named("message_stop"),
    ]


def _messages_heard(body: dict[str, Any]) -> Heard:
    heard = Heard(tools={t["name"]: t["input_schema"] for t in body.get("tools", ()) if "input_schema" in t})
    heard.texts += _texts(body.get("system"))
    for message in body["messages"]:
        heard.texts += _texts(message["content"])
        for block in message["content"] if isinstance(message["content"], list) else ():
            match block["type"]:
                case "tool_use":
                    heard.calls.append((block["id"], block["name"], block["input"]))
                case "tool_result":
                    heard.results.append((block["tool_use_id"], "".join(_texts(block["content"]))))
                case "thinking" | "redacted_thinking":
                    heard.thoughts.append(block)
    return heard


def _responses_call(name: str, arguments: str) -> list[bytes]:
    base = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [], "status": "in_progress"}
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": THOUGHT}]}
    reasoning["encrypted_content"] = SIGNED
    part = {"type": "output_text", "text": SPOKEN, "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name, "arguments": arguments}
    call["status"] = "completed"
    at = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    place = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
    said: list[tuple[str, dict[str, Any]]] = [
        ("created", {"response": base}),
        ("output_item.added", {"output_index": 0, "item": {"type": "reasoning", "id": "rs_1", "summary": []}}),
        ("reasoning_summary_part.added", {**at, "part": {"type": "summary_text", "text": ""}}),
        *(("reasoning_summary_text.delta", {**at, "delta": piece}) for piece in pieces(THOUGHT, 3)),
        ("reasoning_summary_text.done", {**at, "text": THOUGHT}),
        ("output_item.done", {"output_index": 0, "item": reasoning}),
        ("output_item.added", {"output_index": 1, "item": {**message, "content": [], "status": "in_progress"}}),
        ("content_part.added", {**place, "part": {**part, "text": ""}}),
        *(("output_text.delta", {**place, "delta": piece, "logprobs": []}) for piece in pieces(SPOKEN, 2)),
        ("output_item.done", {"output_index": 1, "item": message}),
        ("output_item.added", {"output_index": 2, "item": {**call, "arguments": "", "status": "in_progress"}}),
        *(
            ("function_call_arguments.delta", {"item_id": "fc_1", "output_index": 2, "delta": piece})
            for piece in pieces(arguments, 6)
        ),
        ("output_item.done", {"output_index": 2, "item": call}),
        ("completed", {"response": {**base, "status": "completed", "output": [reasoning, message, call]}}),
    ]
    said[-1][1]["response"]["usage"] = usage
    return [_named(f"response.{kind}", **fields, sequence_number=n) for n, (kind, fields) in enumerate(said)]


def _responses_heard(body: dict[str, Any]) -> Heard:
    heard = Heard(tools={t["name"]: t.get("parameters") for t in body.get("tools", ()) if t["type"] == "function"})
    heard.texts += _texts(body.get("instructions"))
    for item in body["input"]:
        match item.get("type", "message"):
            case "message":
                heard.texts += _texts(item["content"])
            case "function_call":
                heard.calls.append((item["call_id"], item["name"], json.loads(item["arguments"])))
            case "function_call_output":
                heard.results.append((item["call_id"], "".join(_texts(item["output"]))))
            case "reasoning":
                heard.thoughts.append(item)
    return heard


def _gemini_call(name: str, arguments: str) -> list[bytes]:
    def chunk(part: dict[str, Any], **fields: Any) -> bytes:
        candidate = {"content": {"role": "model", "parts": [part]}, "index": 0, **fields}
        usage = {"promptTokenCount": 3, "candidatesTokenCount": 5, "totalTokenCount": 8}
        return event({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r1"})

    call = {"functionCall": {"id": "fc1", "name": name, "args": json.loads(arguments)}, "thoughtSignature": SIGNED}
    return [
        *(chunk({"text": piece, "thought": True}) for piece in pieces(THOUGHT, 3)),
        *(chunk({"text": piece}) for piece in pieces(SPOKEN, 2)),
        chunk(call, finishReason="STOP"),
    ]


def _gemini_heard(body: dict[str, Any]) -> Heard:
    declared = [f for tool in body.get("tools", ()) for f in tool.get("functionDeclarations", ())]
    heard = Heard(tools={f["name"]: f.get("parametersJsonSchema") for f in declared})
    heard.texts += _texts(body.get("systemInstruction", {}).get("parts"))
    for part in (part for content in body["contents"] for part in content["parts"]):
        if "functionCall" in part:
            call = part["functionCall"]
            heard.calls.append((call["id"], call["name"], call["args"]))
        elif "functionResponse" in part:
            heard.results.append((part["functionResponse"]["id"], part["functionResponse"]["response"]["output"]))
        elif not part.get("thought"):
            heard.texts.append(part["text"])
        if "thoughtSignature" in part:
            heard.thoughts.append(part)
    return heard


def _converse_call(name: str, arguments: str) -> list[bytes]:
    def said(kind: str, **fields: Any) -> bytes:
        return amazon_frame(json.dumps(fields).encode(), {":event-type": kind, ":message-type": "event"})

    def deltas(index: int, *values: dict[str, Any]) -> list[bytes]:
        out = [said("contentBlockDelta", contentBlockIndex=index, delta=value) for value in values]
        return [*out, said("contentBlockStop", contentBlockIndex=index)]

    thinking = [{"reasoningContent": {"text": piece}} for piece in pieces(THOUGHT, 3)]
    tool = {"toolUse": {"toolUseId": "tooluse_1", "name": name}}
    return [
        said("messageStart", role="assistant"),
        *deltas(0, *thinking, {"reasoningContent": {"signature": SIGNED}}),
        *deltas(1, {"text": SPOKEN}),
        said("contentBlockStart", contentBlockIndex=2, start=tool),
        *deltas(2, *({"toolUse": {"input": piece}} for piece in pieces(arguments, 6))),
        said("messageStop", stopReason="tool_use"),
        said("metadata", usage={"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}, metrics={"latencyMs": 1}),
    ]


def _converse_heard(body: dict[str, Any]) -> Heard:
    tools = [entry["toolSpec"] for entry in body.get("toolConfig", {}).get("tools", ()) if "toolSpec" in entry]
    heard = Heard(tools={tool["name"]: tool["inputSchema"]["json"] for tool in tools})
    heard.texts += _texts(body.get("system"))
    for block in (block for message in body["messages"] for block in message["content"]):
        if "toolUse" in block:
            heard.calls.append((block["toolUse"]["toolUseId"], block["toolUse"]["name"], block["toolUse"]["input"]))
        elif "toolResult" in block:
            result = block["toolResult"]
            heard.results.append((result["toolUseId"], "".join(_texts(result["content"]))))
        elif "reasoningContent" in block:
            heard.thoughts.append(block)
        else:
            heard.texts += _texts([block])
    return heard


def _cohere_call(name: str, arguments: str) -> list[bytes]:
    def said(kind: str, **message: Any) -> bytes:
        return _named(kind, index=0, delta={"message": message})

    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}
    usage = {"tokens": {"input_tokens": 3, "output_tokens": 5}}
    return [
        _named("message-start", id="c1", delta={"message": {"role": "assistant"}}),
        *(said("tool-plan-delta", tool_plan=piece) for piece in pieces(SPOKEN, 2)),
        said("tool-call-start", tool_calls=call),
        *(said("tool-call-delta", tool_calls={"function": {"arguments": piece}}) for piece in pieces(arguments, 6)),
        _named("tool-call-end", index=0),
        _named("message-end", id="c1", delta={"finish_reason": "TOOL_CALL", "usage": usage}),
    ]


def _ollama_call(name: str, arguments: str) -> list[bytes]:
    base = {"model": "m", "created_at": "2026-11-24T10:00:00.123Z"}
    said: list[dict[str, Any]] = [{"content": "", "thinking": piece} for piece in pieces(THOUGHT, 3)]
    said += [{"content": piece} for piece in pieces(SPOKEN, 2)]
    said.append({"content": "", "tool_calls": [{"function": {"name": name, "arguments": json.loads(arguments)}}]})
    lines = [{**base, "message": {"role": "assistant", **message}, "done": False} for message in said]
    end = {**base, "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
    return [json.dumps(line).encode() + b"\n" for line in (*lines, {**end, "prompt_eval_count": 3, "eval_count": 5})]


_TABLE: tuple[tuple[Speech, Callable[[str, str], list[bytes]], Callable[[dict[str, Any]], Heard]], ...] = (
    (CHAT, _chat_call, _chat_heard),
    (ANTHROPIC, _messages_call, _messages_heard),
    (RESPONSES, _responses_call, _responses_heard),
    (GEMINI, _gemini_call, _gemini_heard),
    (CONVERSE, _converse_call, _converse_heard),
    (COHERE, _cohere_call, _chat_heard),
    (OLLAMA, _ollama_call, _chat_heard),
)
PROVIDERS = tuple(speech for speech, _, _ in _TABLE)


def call_of(speech: Speech, name: str, arguments: str) -> list[bytes]:
    """The events of a stream in which this provider thinks, speaks, and calls one tool in fragments."""
    return next(make for known, make, _ in _TABLE if known is speech)(name, arguments)


def heard_by(speech: Speech, body: dict[str, Any]) -> Heard:
    """What a provider of this dialect was told with this body."""
    return next(read for known, _, read in _TABLE if known is speech)(body)
