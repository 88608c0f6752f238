"""Logs: one line a record, JSON when standard error is no terminal, secrets taken out of whatever arrives.

Owns the format, the redaction and the rate of repeated lines. Content never reaches a log call in the first
place: callers pass ids, classes and counts.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, Final, TextIO

from proxy.dialects.json import encode
from proxy.fault import Attempt, Exchange, FaultKind, Observer

_MAX_CHARS: Final = 2000
_FIELDS: Final = "redeo"
_LINE: Final = b'{"time":"%b.%03dZ","level":"info","logger":"redeo.request","message":"request",%b\n'
_SECRETS: Final = re.compile(
    r"(?i)(bearer\s+|(?:api[-_]?key|authorization)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;]{8,}"
    r"|\b(?:sk|rd|xai|gsk|pplx|hf|nvapi|fw|AIza|AKIA|ghp|github_pat)[-_A-Za-z0-9.]{12,}"
    r"|[A-Za-z0-9+_=-]{40,}"  # no slash: paths are not keys
)


@lru_cache(256)
def _clean(text: str) -> str:
    """Of what repeats itself from request to request."""
    return redact(text)


def redact(text: str) -> str:
    """The text without anything that looks like a key, at most 2,000 characters of it."""
    return _SECRETS.sub(lambda m: (m[1] or "") + "[redacted]", text[:_MAX_CHARS])


@lru_cache(2)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


def _stamp(at: float) -> str:
    """RFC 3339 in UTC, with milliseconds; `at` in seconds since 1970."""
    whole = int(at)
    return f"{_second(whole)}.{int((at - whole) * 1000):03d}Z"


class _Formatter(logging.Formatter):
    """Common to both forms: time, level, logger, message, fields; a traceback without its values."""

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        extra = getattr(record, _FIELDS, None)
        out: dict[str, Any] = {"message": redact(record.getMessage())}
        if isinstance(extra, Mapping):
            out |= {k: redact(v) if isinstance(v, str) else v for k, v in extra.items()}
        if record.exc_info and record.exc_info[0] is not None:
            out["exception"] = record.exc_info[0].__name__
            out["at"] = _places(record.exc_info[2])
        return out


def _places(trace: TracebackType | None) -> list[str]:
    """Where an exception came from, without the values it carries."""
    places: list[str] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return places[-8:]


class JsonFormatter(_Formatter):
    """One JSON object a line, ASCII only: no input can start a second line or reach a terminal's escapes."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _stamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self.fields(record),
        }
        return json.dumps(line, ensure_ascii=True, default=str)


class TextFormatter(_Formatter):
    """For a person's terminal; control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        fields = self.fields(record)
        head = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {record.levelname.lower():7} "
        rest = "".join(f" {key}={_shown(value)}" for key, value in fields.items() if key != "message")
        return head + _shown(fields["message"]) + rest


def _shown(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else json.dumps(text, ensure_ascii=True)


class RateLimit(logging.Filter):
    """At most `burst` records a `period` seconds from one place in the code; the next one tells how many were cut."""

    def __init__(self, burst: int = 20, period: float = 10.0) -> None:
        super().__init__()
        self._burst = burst
        self._period = period
        self._seen: dict[tuple[str, int], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or record.name == "redeo.audit":
            return True
        place = (record.pathname, record.lineno)
        window = self._seen.setdefault(place, [record.created, 0.0, 0.0])
        if record.created - window[0] > self._period:
            if window[2]:
                record.msg = f"{record.msg} (and {int(window[2])} more like it before)"
            window[:] = [record.created, 0.0, 0.0]
        window[1] += 1
        if window[1] <= self._burst:
            return True
        window[2] += 1
        return False


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send every logger's records to standard error in our form, and keep tracebacks' values out of it."""
    target = stream if stream is not None else sys.stderr
    handler = _Quiet(target)
    handler.json = not target.isatty()
    handler.setFormatter(JsonFormatter() if handler.json else TextFormatter())
    handler.addFilter(RateLimit())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("asyncio", "aiohttp", "watchfiles"):
        logging.getLogger(noisy).setLevel(max(logging.getLevelName(level.upper()), logging.WARNING))
    logging.captureWarnings(True)
    sys.excepthook = _last_words
    threading.excepthook = partial(_aside, "a thread failed")
    sys.unraisablehook = partial(_aside, "something failed where nobody can catch it")


class _Quiet(logging.StreamHandler[TextIO]):
    """A record that cannot be written is left out; logging itself would print its arguments, values and all."""

    json = False

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[bytes] = []

    def put(self, line: bytes, soon: Callable[[Callable[[], None]], object]) -> None:
        """One whole line past logging, whose records cost five times as much to make as to write. Those of one turn of
        the loop go out together; `soon` calls at its end."""
        self._lines.append(line)
        if len(self._lines) == 1:
            soon(self._write)

    def emit(self, record: logging.LogRecord) -> None:
        if self._lines:  # in the order in which things happened
            self._write()
        super().emit(record)

    def _write(self) -> None:
        lines, self._lines = b"".join(self._lines), []
        raw = getattr(self.stream, "buffer", None)
        try:
            if raw is not None:
                raw.write(lines)
                raw.flush()
            else:
                self.stream.write(lines.decode("ascii"))
        except (OSError, ValueError):
            pass  # as every record that cannot be written

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        with contextlib.suppress(Exception):
            self.stream.write(f'{{"level": "error", "logger": "redeo", "message": "no record: {record.lineno}"}}\n')


def _last_words(kind: type[BaseException], exc: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("redeo").critical("the daemon failed", exc_info=(kind, exc, trace))


def _aside(what: str, args: threading.ExceptHookArgs | sys.UnraisableHookArgs) -> None:
    """Python would print the exception's own text, and in it whatever value it is about."""
    if args.exc_type is not SystemExit:
        value = args.exc_value if args.exc_value is not None else Exception()
        logging.getLogger("redeo").error(what, exc_info=(args.exc_type, value, args.exc_traceback))


class RequestLog:
    """One line for each request: what was asked of whom with what result. An Observer of the engine."""

    def __init__(self, soon: Callable[[Callable[[], None]], object] = lambda write: write()) -> None:
        """`soon` calls something a moment later, as a loop's `call_soon` does."""
        self._log = logging.getLogger("redeo.request")
        self._soon = soon

    def exchange_started(self, exchange: Exchange) -> None:
        """Nothing is said yet."""

    def attempt_ended(self, exchange: Exchange, attempt: Attempt) -> None:
        """A failed attempt is worth a line of its own: its reason is known only here."""
        if attempt.fault is not None and attempt.fault.falls_back:
            fault = attempt.fault  # its public text may quote the provider, who may quote the prompt: not here
            fields: dict[str, Any] = {
                "request_id": exchange.id,
                "connection": attempt.connection,
                "class": fault.kind.value,
            }
            fields |= {"status": attempt.status, "detail": fault.detail} if attempt.status else {"detail": fault.detail}
            said = "attempt failed"
            if fault.kind is FaultKind.AUTH:  # the one failure that nothing but the user mends
                mended = f"`redeo providers set {attempt.connection}`"
                said += f": its key was refused, and it is not tried until it has another ({mended})"
            self._log.warning(said, extra={_FIELDS: fields})

    def exchange_ended(self, exchange: Exchange) -> None:
        """The line of the request."""
        if not self._log.isEnabledFor(logging.INFO):
            return
        fields, handlers = _fields_of(exchange), logging.root.handlers
        if len(handlers) == 1 and isinstance(handlers[0], _Quiet) and handlers[0].json:
            handlers[0].put(_line(fields), self._soon)
        else:
            self._log.info("request", extra={_FIELDS: fields})


def _line(fields: dict[str, Any]) -> bytes:
    """The line of a request as JsonFormatter makes it: of what stands in it, ids and classes alone are texts."""
    if fields["connection"] is not None:
        fields["connection"] = _clean(fields["connection"])
    fields["attempts"] = _clean(fields["attempts"])
    rest = encode(fields)
    if not rest.isascii():
        rest = json.dumps(fields, ensure_ascii=True).encode()
    second, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
    return _LINE % (_second(second).encode(), milliseconds, rest[1:])


def _fields_of(exchange: Exchange) -> dict[str, Any]:
    ended = exchange.ended if exchange.ended is not None else exchange.started
    fields: dict[str, Any] = {
        "request_id": exchange.id,
        "operation": exchange.operation,
        "stream": exchange.stream,
        "status": exchange.status,
        "connection": exchange.connection,
        "attempts": exchange.labels,
        "ms": round((ended - exchange.started) * 1000, 1),
    }
    if exchange.fault is not None:
        fields["class"] = exchange.fault.kind.value
    if exchange.usage is not None:
        fields["tokens_in"], fields["tokens_out"] = exchange.usage.input, exchange.usage.output
    if exchange.usage_estimated:
        fields["tokens_estimated"] = True
    if len(exchange.attempts) > 1:
        parts = [attempt.connection for attempt in exchange.attempts if attempt.part]
        if len(parts) > 1:
            fields["rescued"] = " -> ".join(parts)
    return fields


class Observers:
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        self._started = [observer.exchange_started for observer in observers]
        self._attempted = [observer.attempt_ended for observer in observers]
        self._ended = [observer.exchange_ended for observer in observers]

    def exchange_started(self, exchange: Exchange) -> None:
        """To each."""
        for hear in self._started:
            hear(exchange)

    def attempt_ended(self, exchange: Exchange, attempt: Attempt) -> None:
        """To each."""
        for hear in self._attempted:
            hear(exchange, attempt)

    def exchange_ended(self, exchange: Exchange) -> None:
        """To each."""
        for hear in self._ended:
            hear(exchange)
