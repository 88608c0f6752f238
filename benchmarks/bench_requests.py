"""What the clients of a benchmark ask: bodies in Chat Completions as an SDK writes them, and requests as bytes."""

from __future__ import annotations

import json
from typing import Any

PATH = "/v1/chat/completions"
ALIAS = "bench"  # a name under `models:`, so that the name in the body has to be replaced
_TOLD = "You are a careful assistant. Answer with one short paragraph, and say so where you do not know.\n"
_CODE = 'def read(path: str) -> bytes:\n    """All of it."""\n    with open(path, "rb") as file:\n        return file\n'


def chat(size: int) -> bytes:
    """A request of very nearly `size` bytes, not streamed: one question, or for large ones a long conversation."""
    messages: list[dict[str, str]] = [{"role": "system", "content": _TOLD}]
    while len(_body(messages)) < size - 1000:
        role = "assistant" if len(messages) % 2 == 0 else "user"
        messages.append({"role": role, "content": (_CODE * 20)[: min(2000, size - len(_body(messages)))]})
    messages.append({"role": "user", "content": ""})
    messages[-1]["content"] = "Why? " * ((size - len(_body(messages))) // 5)
    return _body(messages)


def stream(chunks: int, pace: int) -> bytes:
    """A request for a stream: of `chunks` pieces, `pace` milliseconds apart (`bench_provider`)."""
    messages = [{"role": "system", "content": _TOLD}, {"role": "user", "content": "Why? " * 100}]
    return _body(messages, max_tokens=chunks, seed=pace, stream=True)


def _body(messages: list[dict[str, str]], **more: Any) -> bytes:
    asked = {"messages": messages, "model": ALIAS, "temperature": 0.2, **more}
    return json.dumps(asked, separators=(",", ":"), ensure_ascii=False).encode()


def as_bytes(port: int, headers: dict[str, str], body: bytes) -> bytes:
    """A whole HTTP/1.1 request with this body."""
    every = {"Host": f"127.0.0.1:{port}", "Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in (every | headers).items())
    return f"POST {PATH} HTTP/1.1\r\n{lines}\r\n".encode() + body
