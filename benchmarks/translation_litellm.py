"""LiteLLM's translation of the exchanges of `translation.py`, run by a Python that has `litellm`.

Reads one JSON object with all the exchanges, then a line for each round, and answers each with a line of JSON. Only
what translates is called: no network, no proxy, no callbacks, none of `CustomStreamWrapper` around it. The bytes are
cut into lines in the cheapest way, so what is measured is the least that LiteLLM can do. Its modules move from version
to version; this is for 1.110.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or importing it asks the network

import litellm
from litellm.completion_extras.litellm_responses_transformation.transformation import (
    OpenAiResponsesToChatCompletionStreamIterator,
)
from litellm.litellm_core_utils.litellm_logging import Logging
from litellm.llms.anthropic.chat import handler as anthropic_stream
from litellm.llms.anthropic.chat.transformation import AnthropicConfig
from litellm.llms.anthropic.messages.adapters.streaming_iterator import AnthropicStreamWrapper
from litellm.llms.anthropic.messages.adapters.transformation import AnthropicAdapter
from litellm.llms.anthropic.messages.responses_adapters.streaming_iterator import (
    AnthropicResponsesStreamWrapper,
)
from litellm.llms.anthropic.messages.responses_adapters.transformation import (
    LiteLLMAnthropicToResponsesAPIAdapter,
)
from litellm.llms.bedrock.chat.converse_transformation import AmazonConverseConfig
from litellm.llms.bedrock.chat.invoke_handler import AWSEventStreamDecoder
from litellm.llms.openai.chat.gpt_transformation import OpenAIChatCompletionStreamingHandler
from litellm.llms.openai.responses.transformation import OpenAIResponsesAPIConfig
from litellm.llms.vertex_ai.gemini import vertex_and_google_ai_studio_gemini as gemini_stream
from litellm.llms.vertex_ai.gemini.transformation import transform_request_body
from litellm.responses.litellm_completion_transformation.streaming_iterator import (
    LiteLLMCompletionStreamingIterator,
)
from litellm.responses.litellm_completion_transformation.transformation import (
    LiteLLMCompletionResponsesConfig,
)

Chunks = list[bytes]


def lines(chunks: Chunks) -> Iterator[str]:
    for chunk in chunks:
        yield from (line for line in chunk.decode().split("\n") if line.startswith("data:"))


def chunks_of(source: Iterable[Any]) -> Iterator[Any]:
    """Without what `CustomStreamWrapper` would pass over: nothing, and the dictionaries that say nothing."""
    return (chunk for chunk in source if chunk is not None and not isinstance(chunk, dict))


def logging(model: str) -> Logging:
    return Logging(
        model=model, messages=[], stream=True, call_type="completion", start_time=None, litellm_call_id="1",
        function_id="1", kwargs={},
    )  # fmt: skip


LOGGING = logging("the-model")
LOGGING.optional_params = {}
LOGGING.update_environment_variables(model="the-model", user="", optional_params={}, litellm_params={})


def finished_once(source: Iterator[Any]) -> Iterator[Any]:
    """The Gemini iterator gives every chunk a finish reason; `CustomStreamWrapper` keeps it until the last."""
    before = next(source)
    for chunk in source:
        before.choices[0].finish_reason = None
        yield before
        before = chunk
    yield before


# A provider's stream as LiteLLM's own chunks.


def from_messages(chunks: Chunks) -> Iterable[Any]:
    return chunks_of(anthropic_stream.ModelResponseIterator(lines(chunks), sync_stream=True))


def from_chat(chunks: Chunks) -> Iterable[Any]:
    return chunks_of(OpenAIChatCompletionStreamingHandler(lines(chunks), sync_stream=True))


def from_gemini(chunks: Chunks) -> Iterable[Any]:
    found = gemini_stream.ModelResponseIterator(lines(chunks), sync_stream=True, logging_obj=LOGGING)
    return finished_once(chunks_of(found))


def from_responses(chunks: Chunks) -> Iterable[Any]:
    return chunks_of(OpenAiResponsesToChatCompletionStreamIterator(lines(chunks), sync_stream=True))


def from_converse(chunks: Chunks) -> Iterable[Any]:
    return chunks_of(AWSEventStreamDecoder(model="the-model").iter_bytes(iter(chunks)))


# LiteLLM's chunks as a client's stream.


def said(chunk: Any) -> bytes:
    return b"data: " + chunk.model_dump_json(exclude_none=True, exclude_unset=True).encode() + b"\n\n"


def to_chat(source: Iterable[Any]) -> bytes:
    return b"".join([said(chunk) for chunk in source]) + b"data: [DONE]\n\n"


def to_messages(source: Iterable[Any]) -> bytes:
    return b"".join(AnthropicStreamWrapper(completion_stream=iter(source), model="the-model").anthropic_sse_wrapper())


class Plain:
    """What `LiteLLMCompletionStreamingIterator` wants of a stream."""

    logging_obj = LOGGING

    def __init__(self, source: Iterable[Any]) -> None:
        self._source = iter(source)
        self.messages: list[Any] = []

    def __iter__(self) -> Plain:
        return self

    def __next__(self) -> Any:
        return next(self._source)


def to_responses(source: Iterable[Any]) -> bytes:
    events = LiteLLMCompletionStreamingIterator(
        model="the-model", litellm_custom_stream_wrapper=Plain(source), request_input="", responses_api_request={}
    )
    return b"".join([said(event) for event in events])


def responses_to_messages(chunks: Chunks) -> bytes:
    config = OpenAIResponsesAPIConfig()

    async def events() -> Any:
        for line in lines(chunks):
            if line.startswith("data: "):
                said = json.loads(line[6:])
                yield config.transform_streaming_response(model="the-model", parsed_chunk=said, logging_obj=LOGGING)

    async def run() -> bytes:
        wrapper = AnthropicResponsesStreamWrapper(responses_stream=events(), model="the-model")
        return b"".join([piece async for piece in wrapper.async_anthropic_sse_wrapper()])

    return LOOP.run_until_complete(run())


# Requests.


def split(body: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Messages and parameters, as LiteLLM's entry points get them."""
    rest = {k: v for k, v in body.items() if k not in ("model", "messages")}
    return body["messages"], rest


def chat_to_messages(body: dict[str, Any]) -> Any:
    messages, rest = split(body)
    config = AnthropicConfig()
    params = config.map_openai_params(rest, {}, "claude-sonnet-4-5", drop_params=True)
    return config.transform_request("claude-sonnet-4-5", messages, params, {}, {})


def chat_to_gemini(body: dict[str, Any]) -> Any:
    messages, rest = split(body)
    params = gemini_stream.VertexGeminiConfig().map_openai_params(rest, {}, "gemini-2.5-flash", drop_params=True)
    return transform_request_body(messages, "gemini-2.5-flash", params, "gemini", {}, None)


def chat_to_converse(body: dict[str, Any]) -> Any:
    messages, rest = split(body)
    model = "anthropic.claude-3-5-sonnet-20240620-v1:0"
    config = AmazonConverseConfig()
    params = config.map_openai_params(rest, {}, model, drop_params=True)
    return config.transform_request(model, messages, params, {}, {})


def messages_to_chat(body: dict[str, Any]) -> Any:
    return AnthropicAdapter().translate_completion_input_params(dict(body))


def messages_to_responses(body: dict[str, Any]) -> Any:
    return LiteLLMAnthropicToResponsesAPIAdapter().translate_request(body)


def responses_to_chat(body: dict[str, Any]) -> Any:
    rest = {k: v for k, v in body.items() if k not in ("model", "input", "stream")}
    return LiteLLMCompletionResponsesConfig.transform_responses_api_request_to_chat_completion_request(
        model="the-model", input=body["input"], responses_api_request=rest, stream=True
    )


STREAMS: dict[str, Callable[[Chunks], bytes]] = {
    "messages chat": lambda chunks: to_chat(from_messages(chunks)),
    "messages responses": lambda chunks: to_responses(from_messages(chunks)),
    "chat messages": lambda chunks: to_messages(from_chat(chunks)),
    "chat responses": lambda chunks: to_responses(from_chat(chunks)),
    "responses messages": responses_to_messages,
    "responses chat": lambda chunks: to_chat(from_responses(chunks)),
    "gemini chat": lambda chunks: to_chat(from_gemini(chunks)),
    "gemini messages": lambda chunks: to_messages(from_gemini(chunks)),
    "converse chat": lambda chunks: to_chat(from_converse(chunks)),
    "converse messages": lambda chunks: to_messages(from_converse(chunks)),
}
REQUESTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "chat messages": chat_to_messages,
    "chat gemini": chat_to_gemini,
    "chat converse": chat_to_converse,
    "messages chat": messages_to_chat,
    "messages responses": messages_to_responses,
    "messages gemini": lambda body: chat_to_gemini(messages_to_chat(body)),
    "messages converse": lambda body: chat_to_converse(messages_to_chat(body)),
    "responses chat": responses_to_chat,
    "responses messages": lambda body: chat_to_messages(responses_to_chat(body)),
}


def request(translate: Callable[[dict[str, Any]], Any], data: bytes) -> bytes:
    return json.dumps(translate(json.loads(data)), default=str).encode()


def job(kind: str, pair: str, given: list[bytes]) -> Callable[[], bytes]:
    if kind == "request":
        return lambda: request(REQUESTS[pair], given[0])
    return lambda: STREAMS[pair](given)


def main() -> None:
    said = sys.stdout  # some of LiteLLM prints
    sys.stdout = sys.stderr
    litellm.suppress_debug_info = True
    exchanges = json.loads(sys.stdin.readline())
    jobs: dict[str, Callable[[], bytes]] = {}
    for name, (kind, pair, given) in exchanges.items():
        if pair in (REQUESTS if kind == "request" else STREAMS):
            jobs[name] = job(kind, pair, [base64.b64decode(piece) for piece in given])
    print(json.dumps({"version": version("litellm"), "jobs": list(jobs)}), file=said, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            gc.collect()
            began = time.process_time()
            for _ in range(asked["times"]):
                out = jobs[asked["name"]]()
            reply = {"seconds": (time.process_time() - began) / asked["times"], "out": base64.b64encode(out).decode()}
        except Exception as exc:
            reply = {"error": f"{type(exc).__name__}: {str(exc)[:200]}"}
        print(json.dumps(reply), file=said, flush=True)


LOOP = asyncio.new_event_loop()

if __name__ == "__main__":
    main()
