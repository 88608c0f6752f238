"""A server's answer in Ollama's chat, whole or as lines of JSON, read into events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from proxy.dialects import read, sse
from proxy.dialects.base import Unreadable
from proxy.dialects.blocks import Count, Finish
from proxy.dialects.events import BlockLogprobs, Counted, Done, Event, Failed, Finished, Kind, Started
from proxy.dialects.flow import Flow
from proxy.dialects.json import decode, encode

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_FINISHES: Final = {"stop": Finish.STOP, "length": Finish.LENGTH}


class OllamaParser:
    """See `Parser`. Ollama gives its calls no ids: they are made of the answer's date and their number."""

    def __init__(self, _origin: str) -> None:
        self._rest = bytearray()
        self._flow = Flow()
        self._started = False
        self._over = False
        self._calls = 0
        self._stamp = ""

    @property
    def ended(self) -> bool:
        """See `Parser`."""
        return self._over

    def feed(self, data: bytes) -> list[Event]:
        """See `Parser`."""
        first, end, more = data.partition(b"\n")
        self._rest += first  # looked through once, however many pieces a line comes in
        lines: list[bytes] = []
        if end:
            *lines, rest = [bytes(self._rest), *more.split(b"\n")]
            self._rest = bytearray(rest)
        if len(self._rest) > MAX_LINE_BYTES:
            raise sse.EventTooLarge(f"a line of more than {MAX_LINE_BYTES} bytes")
        return [event for line in lines for event in self._line(line)]

    def close(self) -> list[Event]:
        """See `Parser`."""
        try:
            events = self._line(bytes(self._rest))
        except Unreadable:  # a line cut short
            events = []
        if self._over:
            return events
        self._over = True
        return [*events, Failed()]

    def _line(self, line: bytes) -> list[Event]:
        if not line.strip() or self._over:
            return []
        try:
            value = decode(line)
        except ValueError:
            raise Unreadable("a line that is not JSON") from None
        if not isinstance(value, dict):
            raise Unreadable("a line that is not a JSON object")
        return self.chunk(value)

    def chunk(self, value: Mapping[str, Any]) -> list[Event]:
        """The events of one line."""
        if value.get("error"):
            self._over = True
            error = value["error"]
            return [Failed(error if isinstance(error, dict) else {"type": "api_error", "message": str(error)[:300]})]
        out: list[Event] = []
        if not self._started:
            self._started = True
            created = read.text(value.get("created_at"))
            self._stamp = "".join(c for c in created if c.isalnum())
            out.append(Started("", read.text(value.get("model")), _seconds(created)))
        self._message(read.table(value.get("message")), out)
        tokens = read.rows(value.get("logprobs"))
        index = self._flow.index(0)
        if tokens and index is not None and self._flow.opened(0) is Kind.TEXT:
            out.append(BlockLogprobs(index, tuple(tokens)))
        if value.get("done") is True:
            out += self._finish(value)
        return out

    def _message(self, message: Mapping[str, Any], out: list[Event]) -> None:
        out += self._flow.text(0, Kind.REASONING, read.text(message.get("thinking")))
        out += self._flow.text(0, Kind.TEXT, read.text(message.get("content")))
        images = message.get("images")
        for data in images if isinstance(images, list) else ():
            if isinstance(data, str) and data:
                out += self._flow.whole(0, Kind.IMAGE, data)
        for call in read.rows(message.get("tool_calls")):
            function = read.table(call.get("function"))
            given = function.get("arguments")
            text = given if isinstance(given, str) else encode(given or {}).decode()
            self._calls += 1
            ident = read.text(call.get("id")) or f"call_{self._stamp}_{self._calls}"
            out += self._flow.whole(0, Kind.TOOL_CALL, text or "{}", ident, read.text(function.get("name")))

    def _finish(self, value: Mapping[str, Any]) -> list[Event]:
        self._over = True
        reason = read.text(value.get("done_reason")) or "stop"
        known = _FINISHES.get(reason, Finish.OTHER)
        if self._calls and known is Finish.STOP:
            known = Finish.TOOL_CALLS
        out = self._flow.close()
        if "eval_count" in value or "prompt_eval_count" in value:
            count = Count(read.number(value.get("prompt_eval_count")), read.number(value.get("eval_count")))
            out.append(Counted(count))
        return [*out, Finished(known, reason), Done()]


def _seconds(when: str) -> int:
    try:
        return max(0, int(datetime.fromisoformat(when[:19] + "+00:00").timestamp()))
    except (ValueError, OverflowError):
        return 0


def read_answer(body: Mapping[str, Any], origin: str) -> Iterable[Event]:
    """See `Dialect`."""
    if not isinstance(body.get("message"), dict) and not body.get("error"):
        raise Unreadable("an answer without `message`")
    parser = OllamaParser(origin)
    events = parser.chunk(body)
    if not parser.ended:
        raise Unreadable("an answer that is not `done`")
    return events
