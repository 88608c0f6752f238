"""Two providers that live on loopback for `redeo demo`: real HTTP, OpenAI's chat dialect, no model behind it.

They run in threads of their own, on the standard library's server, so that what the daemon sees of them is a
socket like any other. Wire format: OpenAI's "Create chat completion" and its stream, November 2026.
"""

from __future__ import annotations

import json
import threading
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self, cast

MODEL: Final = "demo-model"
_RETRY_AFTER: Final = 60  # seconds


class Mood(StrEnum):
    """How a provider answers inference requests, as the story tells it."""

    WORKS = "works"
    FAILS = "answers 500 to everything"
    BREAKS = "begins its answers and breaks off before the first word"
    LIMITS = f"answers 429, with Retry-After: {_RETRY_AFTER}"


class SimulatedProvider:
    """One provider on an ephemeral port, from `with` to its end. `asked` counts its inference requests."""

    def __init__(self, name: str, mood: Mood) -> None:
        self.name = name
        self.mood = mood
        self.asked = 0
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def base_url(self) -> str:
        """What a connection to it is configured with."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # an idle connection of the daemon must not hold up the end of the demo

    def __init__(self, provider: SimulatedProvider) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.provider = provider


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or its answers would wait for the client's acknowledgements

    @property
    def _provider(self) -> SimulatedProvider:
        return cast(_Server, self.server).provider

    def do_GET(self) -> None:
        """The list of models, whatever the path."""
        self._json(200, {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": self._provider.name}]})

    def do_POST(self) -> None:
        """A chat completion, or the failure of the day."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self._provider.asked += 1
        match self._provider.mood:
            case Mood.FAILS:
                self._error(500, "server_error", "The simulated provider is down.")
            case Mood.LIMITS:
                self._error(429, "rate_limit_exceeded", "The simulated provider is busy.", _RETRY_AFTER)
            case Mood.BREAKS:
                self._break_off()
            case Mood.WORKS if body.get("stream"):
                self._stream(usage=bool((body.get("stream_options") or {}).get("include_usage")))
            case Mood.WORKS:
                self._whole()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named so by the base class
        """Says nothing: the demo's own story is the log."""

    def _words(self) -> list[str]:
        return ["Hello ", "from ", "the ", "provider ", f"named {self._provider.name}."]

    def _whole(self) -> None:
        words = self._words()
        message = {"role": "assistant", "content": "".join(words)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._json(200, {**_head("chat.completion"), "choices": [choice], "usage": _usage(len(words))})

    def _stream(self, *, usage: bool) -> None:
        words = self._words()
        self._begin_stream()
        self._chunk({"role": "assistant", "content": ""})
        for word in words:
            self._chunk({"content": word})
        self._chunk({}, finish="stop")
        if usage:
            self._event(json.dumps({**_head("chat.completion.chunk"), "choices": [], "usage": _usage(len(words))}))
        self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _break_off(self) -> None:
        self._begin_stream()
        self._chunk({"role": "assistant", "content": ""})
        self.close_connection = True  # without the last chunk: no reader can take it for an end

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, delta: dict[str, str], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        self._event(json.dumps({**_head("chat.completion.chunk"), "choices": [choice]}))

    def _event(self, data: str) -> None:
        event = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.flush()

    def _error(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        self._json(status, {"error": {"message": message, "type": code, "code": code}}, retry_after)

    def _json(self, status: int, value: object, retry_after: int | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.end_headers()
        self.wfile.write(body)


def _head(kind: str) -> dict[str, object]:
    return {"id": "chatcmpl-demo", "object": kind, "created": 1_760_000_000, "model": MODEL}


def _usage(words: int) -> dict[str, int]:
    return {"prompt_tokens": 5, "completion_tokens": words, "total_tokens": 5 + words}
