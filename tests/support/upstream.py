"""A provider on a real socket that does what a script says, framing faults included. Nothing of aiohttp in it.

Each request is answered by the next script (the last one stays): an async function of what was received and the wire.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32


@dataclass
class Received:
    """One request as it came."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    raw: bytes = b""  # head and body as they came
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # its connection was closed by the other side
    gone_at: float = 0.0  # when, by the loop's clock

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Wire:
    """The provider's end of the connection, for scripts."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.closed = False

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, headers: dict[str, str] | None = None, framing: str = "chunked") -> None:
        lines = [f"HTTP/1.1 {status} Whatever"]
        lines += [f"{k}: {v}" for k, v in (headers or {}).items()]
        if framing == "chunked":
            lines.append("transfer-encoding: chunked")
        elif framing == "close":
            lines.append("connection: close")
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.send(b"0\r\n\r\n")

    def close(self) -> None:
        self.closed = True
        self.writer.close()

    def reset(self) -> None:
        self.closed = True
        sock = self.writer.get_extra_info("socket")
        if sock.fileno() < 0:
            return  # the other side was quicker
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Received, Wire], Awaitable[None]]


class Upstream:
    """`async with Upstream(script, ...) as up`: `up.base_url` ends in /v1, `up.requests` holds what came."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None, models: list[Any] | None = None) -> None:
        self.scripts = list(scripts) or [chat()]
        self.requests: list[Received] = []
        self.list_requests: list[Received] = []
        self.models = models
        self.arrived = asyncio.Event()
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Upstream:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls, limit=1 << 26)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def base_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    async def wait_requests(self, count: int = 1) -> None:
        """Until that many requests have come."""
        while len(self.requests) < count:
            self.arrived.clear()
            await self.arrived.wait()

    async def wait_closed(self, number: int = 0) -> float:
        """Until the other side has closed the connection of that request; when, by the loop's clock."""
        await self.wait_requests(number + 1)
        await self.requests[number].gone.wait()
        return self.requests[number].gone_at

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        except asyncio.CancelledError:
            if self._server is not None and self._server.is_serving():
                raise
        finally:
            self._tasks.discard(task)
            writer.close()
            # However it ended is looked at: asyncio itself does so only where its objects are collected in order.
            asyncio.ensure_future(writer.wait_closed()).add_done_callback(
                lambda end: end.cancelled() or end.exception()
            )

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = [(k, v.strip()) for k, _, v in (line.partition(":") for line in lines)]
        body = await _body(reader, headers)
        received = Received(first.split()[0], first.split()[1], headers, body, head + body)
        wire = Wire(reader, writer)
        if received.method == "GET" and received.target.endswith("/models"):
            self.list_requests.append(received)
            await self._list(received, wire)
            return True
        self.requests.append(received)
        self.arrived.set()
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        watch = asyncio.ensure_future(_watch(reader, received))
        try:
            await script(received, wire)
        finally:
            if wire.closed or received.gone.is_set():
                watch.cancel()
        if wire.closed or received.gone.is_set():
            return False
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        return not received.gone.is_set()

    async def _list(self, received: Received, wire: Wire) -> None:
        if self.models is None:
            await answer({"error": {"message": "no such route"}}, 404)(received, wire)
        else:
            plain = {"object": "model", "owned_by": "test"}
            data = [entry if isinstance(entry, dict) else {"id": entry, **plain} for entry in self.models]
            await answer({"object": "list", "data": data})(received, wire)


async def _body(reader: asyncio.StreamReader, headers: list[tuple[str, str]]) -> bytes:
    """The body of a request, by its length or in chunks."""
    framing = {name.lower(): value for name, value in headers}
    if "transfer-encoding" not in framing:
        return await reader.readexactly(int(framing.get("content-length", 0)))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


async def _watch(reader: asyncio.StreamReader, received: Received) -> None:
    """Notices that the other side has closed while a script is at work."""
    try:
        if await reader.read(1):
            return
    except ConnectionError:
        pass
    received.gone_at = asyncio.get_running_loop().time()
    received.gone.set()


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Script:
    """A whole answer: JSON, or bytes as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()

    async def script(received: Received, wire: Wire) -> None:
        all_headers = {"content-type": "application/json", **(headers or {}), "content-length": str(len(body))}
        await wire.head(status, all_headers, framing="length")
        await wire.send(body)

    return script


def chat_body(text: str = "hello", model: str = "m") -> dict[str, Any]:
    """A whole Chat Completions answer."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }


def chat_events(*texts: str, usage: bool = False, done: bool = True, finish: bool = True) -> list[bytes]:
    """The events of a Chat Completions stream: role, texts, finish, usage, `[DONE]`."""

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return event({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})

    events = [chunk({"role": "assistant", "content": ""})] + [chunk({"content": text}) for text in texts]
    if finish:
        events.append(chunk({}, "stop"))
    if usage:
        numbers = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
        events.append(event({"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": numbers}))
    return [*events, b"data: [DONE]\n\n"] if done else events


def message_events(*texts: str, stop: bool = True) -> list[bytes]:
    """The events of an Anthropic Messages stream."""

    def named(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
    events = [
        named(
            "message_start", message={**start, "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1}}
        ),
        named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        named("ping"),
        *(named("content_block_delta", index=0, delta={"type": "text_delta", "text": text}) for text in texts),
    ]
    if stop:
        events.append(named("content_block_stop", index=0))
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        events.append(named("message_delta", delta=delta, usage={"output_tokens": 5}))
        events.append(named("message_stop"))
    return events


def response_events(*texts: str, stop: bool = True) -> list[bytes]:
    """The events of a Responses stream."""
    base = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [], "status": "in_progress"}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    said = [
        {"type": "response.created", "response": base},
        {"type": "response.in_progress", "response": base},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **where, "part": part},
        *({"type": "response.output_text.delta", **where, "delta": text, "logprobs": []} for text in texts),
    ]
    if stop:
        whole = {**item, "status": "completed", "content": [{**part, "text": "".join(texts)}]}
        details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8, **details}
        done = {**base, "status": "completed", "output": [whole], "usage": usage}
        said.append({"type": "response.output_item.done", "output_index": 0, "item": whole})
        said.append({"type": "response.completed", "response": done})
    return [
        f"event: {e['type']}\ndata: {json.dumps({**e, 'sequence_number': n})}\n\n".encode() for n, e in enumerate(said)
    ]


def gemini_events(*texts: str, stop: bool = True) -> list[bytes]:
    """A stream of Google's generateContent."""

    def chunk(text: str, **fields: Any) -> bytes:
        candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **fields}
        return event({"candidates": [candidate], "modelVersion": "m", "responseId": "r1", **usage})

    usage: dict[str, Any] = {}
    events = [chunk(text) for text in texts]
    usage["usageMetadata"] = {"promptTokenCount": 3, "candidatesTokenCount": 5, "totalTokenCount": 8}
    return [*events, chunk("", finishReason="STOP")] if stop else events


def converse_events(*texts: str, stop: bool = True) -> list[bytes]:
    """A binary stream of Bedrock's Converse."""

    def said(kind: str, **fields: Any) -> bytes:
        return amazon_frame(json.dumps(fields).encode(), {":event-type": kind, ":message-type": "event"})

    events = [said("messageStart", role="assistant")]
    events += [said("contentBlockDelta", contentBlockIndex=0, delta={"text": text}) for text in texts]
    if not stop:
        return events
    usage = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}
    return [
        *events,
        said("contentBlockStop", contentBlockIndex=0),
        said("messageStop", stopReason="end_turn"),
        said("metadata", usage=usage, metrics={"latencyMs": 1}),
    ]


def amazon_frame(payload: bytes, headers: dict[str, str]) -> bytes:
    """One message of Amazon's event stream, made apart from the daemon's own code."""
    named = b"".join(
        len(k).to_bytes(1, "big") + k.encode() + b"\x07" + len(v).to_bytes(2, "big") + v.encode()
        for k, v in headers.items()
    )
    start = (len(payload) + len(named) + 16).to_bytes(4, "big") + len(named).to_bytes(4, "big")
    body = start + crc32(start).to_bytes(4, "big") + named + payload
    return body + crc32(body).to_bytes(4, "big")


def cohere_events(*texts: str, stop: bool = True) -> list[bytes]:
    """A stream of Cohere's Chat."""

    def said(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    events = [
        said("message-start", id="c1", delta={"message": {"role": "assistant"}}),
        said("content-start", index=0, delta={"message": {"content": {"type": "text", "text": ""}}}),
        *(said("content-delta", index=0, delta={"message": {"content": {"text": text}}}) for text in texts),
    ]
    usage = {"tokens": {"input_tokens": 3, "output_tokens": 5}}
    ends = [
        said("content-end", index=0),
        said("message-end", delta={"finish_reason": "COMPLETE", "usage": usage}),
    ]
    return [*events, *ends] if stop else events


def ollama_events(*texts: str, stop: bool = True) -> list[bytes]:
    """Lines of Ollama's chat."""
    base = {"model": "m", "created_at": "2026-11-24T10:00:00.123Z"}
    lines = [{**base, "message": {"role": "assistant", "content": text}, "done": False} for text in texts]
    end = {**base, "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
    if stop:
        lines.append({**end, "prompt_eval_count": 3, "eval_count": 5})
    return [json.dumps(line).encode() + b"\n" for line in lines]


def event(value: Any) -> bytes:
    """One unnamed event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chat(text: str = "hello") -> Script:
    """Chat Completions as a good provider answers it, streamed when asked."""

    async def script(received: Received, wire: Wire) -> None:
        body = json.loads(received.body)
        if not body.get("stream"):
            await answer(chat_body(text, body.get("model", "m")))(received, wire)
            return
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        await stream(chat_events(*text, usage=usage))(received, wire)

    return script


def stream(
    events: list[bytes],
    *,
    ending: str = "whole",
    framing: str = "chunked",
    headers: dict[str, str] | None = None,
    pause: tuple[int, asyncio.Event] | None = None,
) -> Script:
    """A stream of events. `ending`: whole, fin, reset, or hang; `pause`: wait for that before event n."""

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream", **(headers or {})}, framing=framing)
        put = wire.chunk if framing == "chunked" else wire.send
        for number, data in enumerate(events):
            if pause is not None and pause[0] == number:
                await pause[1].wait()
            await put(data)
        if ending == "whole" and framing == "chunked":
            await wire.end()
        elif ending == "reset":
            await asyncio.sleep(0.01)  # let the bytes arrive: a reset discards what was not read yet
            wire.reset()
        elif ending == "hang":
            await received.gone.wait()
        elif ending in ("fin", "whole"):
            wire.close()

    return script


def hang() -> Script:
    """Accept and say nothing until the other side gives up."""

    async def script(received: Received, wire: Wire) -> None:
        await received.gone.wait()

    return script


def drop(*, reset: bool = True) -> Script:
    """Close without an answer."""

    async def script(received: Received, wire: Wire) -> None:
        wire.reset() if reset else wire.close()

    return script


def error(status: int, kind: str = "server_error", message: str = "it failed", **headers: str) -> Script:
    """An OpenAI-shaped error."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer({"error": {"message": message, "type": kind, "code": kind, "param": None}}, status, named)
