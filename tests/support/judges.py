"""The official SDKs as readers of answers: what a program that uses one is told, in words that are nobody's.

OpenAI's, Anthropic's, Google's and Cohere's own packages read what is written for their clients, AWS's library what is
written in Converse's binary stream. Their transports are stood in for, their parsers and accumulators are not.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import anthropic
import cohere
import httpx
import httpx2
import openai
from botocore.eventstream import EventStreamBuffer
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from botocore.parsers import EventStreamJSONParser, RestJSONParser
from google import genai

from proxy.dialects.base import DialectName


@dataclass
class Told:
    """What an SDK says of the first choice. `usage` is all input, all output and what was read from a cache;
    `pictures` and `sounds` are each a media type, where it is told, and base64."""

    text: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    finish: str = ""
    usage: tuple[int, int, int] | None = None
    thought: str = ""
    pictures: list[tuple[str, str]] = field(default_factory=list)
    sounds: list[tuple[str, str]] = field(default_factory=list)


def meaning(text: str) -> Any:
    """JSON as its value: white space in arguments does not count."""
    try:
        return json.loads(text)
    except ValueError:
        return text


FINISHES = {
    "stop": "stop", "end_turn": "stop", "stop_sequence": "stop", "completed": "stop", "STOP": "stop",
    "COMPLETE": "stop", "STOP_SEQUENCE": "stop", "pause_turn": "stop", "OTHER": "stop", "tool_calls": "calls",
    "tool_use": "calls", "TOOL_CALL": "calls", "length": "length", "max_tokens": "length", "MAX_TOKENS": "length",
    "max_output_tokens": "length", "model_context_window_exceeded": "length", "content_filter": "filter",
    "refusal": "filter", "SAFETY": "filter", "content_filtered": "filter",
}  # fmt: skip


# --- OpenAI: Chat Completions and Responses


class _Next:
    """What the transports answer next. Making a client takes longer than reading an answer, so there is one each."""

    body = b""
    kind = ""
    status = 200
    breaks = False  # the connection breaks off behind the body

    def set(self, body: bytes, *, streamed: bool) -> None:
        self.body, self.kind = body, "text/event-stream" if streamed else "application/json"

    def httpx(self) -> httpx.Client:
        def answer(_: Any) -> httpx.Response:
            return httpx.Response(200, content=self.body, headers={"content-type": self.kind})

        return httpx.Client(transport=httpx.MockTransport(answer))

    def httpx2(self) -> httpx2.Client:
        def answer(_: Any) -> httpx2.Response:
            content = self._breaking() if self.breaks else self.body
            return httpx2.Response(self.status, content=content, headers={"content-type": self.kind})

        return httpx2.Client(transport=httpx2.MockTransport(answer))

    def _breaking(self) -> Iterator[bytes]:
        yield self.body
        raise httpx2.ReadError("the connection was reset")


_NEXT = _Next()


@contextmanager
def refused(status: int) -> Iterator[None]:
    """What OpenAI's and Anthropic's SDKs read within comes with this status."""
    _NEXT.status = status
    try:
        yield
    finally:
        _NEXT.status = 200


@contextmanager
def broken_off() -> Iterator[None]:
    """Behind what OpenAI's and Anthropic's SDKs read within the connection breaks off."""
    _NEXT.breaks = True
    try:
        yield
    finally:
        _NEXT.breaks = False


@cache
def _openai() -> openai.OpenAI:
    return openai.OpenAI(api_key="k", base_url="http://t", max_retries=0, http_client=_NEXT.httpx2())


def chat(body: bytes, streamed: bool) -> Told:
    """As `openai.chat.completions` tells it; of a stream, as its accumulating helper does."""
    _NEXT.set(body, streamed=streamed)
    got: Any
    if not streamed:
        got = _openai().chat.completions.create(model="m", messages=[])
    else:
        with _openai().chat.completions.stream(model="m", messages=[]) as stream:
            for _ in stream:
                pass
            got = stream.current_completion_snapshot
    told = Told()
    choice = next(choice for choice in got.choices if choice.index == 0)
    message: Any = choice.message
    told.text = (message.content or "") + (message.refusal or "")
    told.thought = getattr(message, "reasoning_content", None) or ""
    for row in getattr(message, "images", None) or ():
        media, _, data = row["image_url"]["url"].removeprefix("data:").partition(";base64,")
        told.pictures.append((media, data))
    if message.audio is not None:
        told.sounds.append((getattr(message.audio, "format", ""), message.audio.data))
    for call in message.tool_calls or ():
        said: Any = call.model_dump()
        inner = said.get("function") or said.get("custom")
        arguments = inner.get("arguments", inner.get("input"))
        told.calls.append((said["id"], inner["name"], meaning(arguments)))
    told.finish = FINISHES[choice.finish_reason]
    if got.usage is not None:
        details = got.usage.prompt_tokens_details
        cached = (details.cached_tokens if details else 0) or 0
        told.usage = (got.usage.prompt_tokens, got.usage.completion_tokens, cached)
    return told


def responses(body: bytes, streamed: bool) -> Told:
    """As `openai.responses` tells it; of a stream, as its accumulating helper does."""
    _NEXT.set(body, streamed=streamed)
    if not streamed:
        got: Any = _openai().responses.create(model="m", input="")
    else:
        with _openai().responses.stream(model="m", input="") as stream:
            for event in stream:
                if event.type in ("response.completed", "response.incomplete"):
                    got = event.response
    told = Told()
    for item in got.output:
        if item.type == "message":
            told.text += "".join(getattr(part, "text", None) or getattr(part, "refusal", "") for part in item.content)
        elif item.type == "function_call":
            told.calls.append((item.call_id, item.name, meaning(item.arguments)))
        elif item.type == "custom_tool_call":
            told.calls.append((item.call_id, item.name, meaning(item.input)))
        elif item.type == "image_generation_call":
            assert item.status == "completed"
            told.pictures.append((f"image/{item.output_format}", item.result))
        elif item.type == "reasoning":
            told.thought += "".join(part.text for part in (*item.summary, *(item.content or ())))
    reason = got.incomplete_details.reason if got.incomplete_details else got.status
    told.finish = "calls" if reason == "completed" and told.calls else FINISHES[reason]
    if got.usage is not None:
        cached = got.usage.input_tokens_details.cached_tokens
        told.usage = (got.usage.input_tokens, got.usage.output_tokens, cached)
    return told


def response_events(body: bytes) -> list[Any]:
    """The events of a stream of Responses as `openai` hands them over one by one."""
    _NEXT.set(body, streamed=True)
    return list(_openai().responses.create(model="m", input="", stream=True))


# --- Anthropic


@cache
def _anthropic() -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="k", base_url="http://t", max_retries=0, http_client=_NEXT.httpx2())


def messages(body: bytes, streamed: bool) -> Told:
    """As `anthropic.messages` tells it; of a stream, as its accumulating helper does."""
    _NEXT.set(body, streamed=streamed)
    client = _anthropic()
    asked: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    if streamed:
        with client.messages.stream(**asked) as stream:
            got = stream.get_final_message()
    else:
        got = client.messages.create(**asked)
    told = Told()
    for block in got.content:
        if block.type == "text":
            told.text += block.text
        elif block.type == "thinking":
            told.thought += block.thinking
        elif block.type == "tool_use":
            told.calls.append((block.id, block.name, block.input))
    told.finish = FINISHES[got.stop_reason or ""]
    usage = got.usage
    cached, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    told.usage = (usage.input_tokens + cached + written, usage.output_tokens, cached)
    return told


# --- Google


@cache
def _google() -> genai.Client:
    options = genai.types.HttpOptions(base_url="http://t", httpx_client=_NEXT.httpx())
    return genai.Client(api_key="k", http_options=options)


def gemini(body: bytes, streamed: bool) -> Told:
    """As `google.genai` tells it; a stream as the sum of its chunks."""
    _NEXT.set(body, streamed=streamed)
    models = _google().models
    if streamed:
        chunks = list(models.generate_content_stream(model="m", contents="x"))
    else:
        chunks = [models.generate_content(model="m", contents="x")]
    told = Told()
    for chunk in chunks:
        for candidate in (c for c in chunk.candidates or () if not c.index):
            for part in (candidate.content.parts if candidate.content else None) or ():
                if part.function_call is not None:
                    call = part.function_call
                    told.calls.append((call.id or "", call.name or "", call.args or {}))
                elif part.inline_data is not None:
                    media, data = part.inline_data.mime_type or "", b64encode(part.inline_data.data or b"").decode()
                    (told.sounds if media.startswith("audio/") else told.pictures).append((media, data))
                elif part.thought:
                    told.thought += part.text or ""
                else:
                    told.text += part.text or ""
            if candidate.finish_reason:
                told.finish = FINISHES[candidate.finish_reason.value]
        usage = chunk.usage_metadata
        if usage is not None:
            out = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
            told.usage = (usage.prompt_token_count or 0, out, usage.cached_content_token_count or 0)
    if told.finish == "stop" and told.calls:
        told.finish = "calls"
    return told


# --- Cohere


@cache
def _cohere() -> cohere.ClientV2:
    return cohere.ClientV2("k", base_url="http://t", httpx_client=_NEXT.httpx())


def cohere_chat(body: bytes, streamed: bool) -> Told:
    """As `cohere.ClientV2` tells it; a stream as the sum of its events."""
    _NEXT.set(body, streamed=streamed)
    client = _cohere()
    asked: Any = {"model": "m", "messages": []}
    if streamed:
        return _cohere_stream(list(client.chat_stream(**asked)))
    got = client.chat(**asked)
    told = Told(finish=FINISHES[got.finish_reason], thought=got.message.tool_plan or "")
    for part in got.message.content or ():
        if part.type == "text":
            told.text += part.text
        else:
            told.thought += part.thinking
    for call in got.message.tool_calls or ():
        assert call.function is not None
        told.calls.append((call.id, call.function.name or "", meaning(call.function.arguments or "")))
    told.usage = _cohere_usage(got.usage)
    return told


def _cohere_stream(events: list[Any]) -> Told:
    told = Told()
    texts: list[list[str]] = []
    for event in events:
        message = event.delta.message if getattr(event, "delta", None) and event.type != "message-end" else None
        match event.type:
            case "content-delta":
                told.text += message.content.text or ""
                told.thought += message.content.thinking or ""
            case "tool-plan-delta":
                told.thought += message.tool_plan
            case "tool-call-start":
                call = message.tool_calls
                told.calls.append((call.id, call.function.name, ""))
                texts.append([call.function.arguments or ""])
            case "tool-call-delta":
                texts[-1].append(message.tool_calls.function.arguments)
            case "message-end":
                told.finish = FINISHES[event.delta.finish_reason]
                told.usage = _cohere_usage(event.delta.usage)
    told.calls = [(i, n, meaning("".join(t))) for (i, n, _), t in zip(told.calls, texts, strict=True)]
    return told


def _cohere_usage(usage: Any) -> tuple[int, int, int] | None:
    if usage is None or usage.tokens is None:
        return None
    return int(usage.tokens.input_tokens), int(usage.tokens.output_tokens), int(usage.cached_tokens or 0)


# --- Amazon


@cache
def amazon(operation: str) -> OperationModel:
    """Amazon's own description of an operation of Bedrock."""
    return ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2")).operation_model(operation)


def converse(body: bytes, streamed: bool) -> Told:
    """As AWS's own parsers tell it."""
    if streamed:
        return _converse_stream(body)
    answered = {"status_code": 200, "headers": {}, "body": body}
    got = RestJSONParser().parse(answered, amazon("Converse").output_shape)
    told = Told(finish=FINISHES[got["stopReason"]], usage=_converse_usage(got.get("usage")))
    for entry in got["output"]["message"]["content"]:
        told.text += entry.get("text", "")
        told.text += "".join(part["text"] for part in entry.get("citationsContent", {}).get("content", ()))
        told.thought += entry.get("reasoningContent", {}).get("reasoningText", {}).get("text", "")
        if "image" in entry:
            image = entry["image"]
            told.pictures.append((f"image/{image['format']}", b64encode(image["source"]["bytes"]).decode()))
        if "toolUse" in entry:
            call = entry["toolUse"]
            told.calls.append((call["toolUseId"], call["name"], call["input"]))
    return told


def _converse_stream(body: bytes) -> Told:
    shape: Any = amazon("ConverseStream").output_shape
    parser, buffer = EventStreamJSONParser(), EventStreamBuffer()
    buffer.add_data(body)
    told = Told()
    texts: dict[int, tuple[str, str, list[str]]] = {}
    form = ""
    for message in buffer:
        got = parser.parse(message.to_response_dict(200), shape.members["stream"])
        if "contentBlockStart" in got:
            form = got["contentBlockStart"]["start"].get("image", {}).get("format", "")
            call = got["contentBlockStart"]["start"].get("toolUse")
            if call is not None:
                texts[got["contentBlockStart"]["contentBlockIndex"]] = (call["toolUseId"], call["name"], [])
        elif "contentBlockDelta" in got:
            delta = got["contentBlockDelta"]["delta"]
            told.text += delta.get("text", "")
            told.thought += delta.get("reasoningContent", {}).get("text", "")
            if "image" in delta:
                told.pictures.append((f"image/{form}", b64encode(delta["image"]["source"]["bytes"]).decode()))
            if "toolUse" in delta:
                texts[got["contentBlockDelta"]["contentBlockIndex"]][2].append(delta["toolUse"]["input"])
        elif "messageStop" in got:
            told.finish = FINISHES[got["messageStop"]["stopReason"]]
        elif "metadata" in got:
            told.usage = _converse_usage(got["metadata"].get("usage"))
    told.calls = [(ident, name, meaning("".join(pieces))) for ident, name, pieces in texts.values()]
    return told


def _converse_usage(usage: Any) -> tuple[int, int, int] | None:
    if usage is None:
        return None
    cached = usage.get("cacheReadInputTokens", 0)
    return usage["inputTokens"] + cached + usage.get("cacheWriteInputTokens", 0), usage["outputTokens"], cached


JUDGES: dict[DialectName, Callable[[bytes, bool], Told]] = {
    DialectName.CHAT: chat,
    DialectName.RESPONSES: responses,
    DialectName.MESSAGES: messages,
    DialectName.GEMINI: gemini,
    DialectName.COHERE: cohere_chat,
    DialectName.CONVERSE: converse,
}
