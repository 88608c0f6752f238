"""Inputs to begin with: what the tests have as fixtures, and pieces of recorded traffic where that is at hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from config.model import Operation
from fuzz.damage import CLIENTS, NAMES, whole
from fuzz.targets.doors import KEY
from tests.support.maximal import MAXIMAL
from tests.support.recorded import DIALECTS, stream_of
from tests.support.refusals import DOCUMENTED
from tests.support.speech import ALL, PROVIDERS_ONLY

ROOT = Path(__file__).resolve().parents[1]
RECORDINGS = ROOT.parent / "shared" / "recordings"
_SMALL = 1900  # bytes: a fuzzer gets further with short inputs
_OPERATIONS = {"chat": Operation.CHAT, "messages": Operation.MESSAGES, "responses": Operation.RESPONSES}


def seeds(target: str) -> list[bytes]:
    """What the target begins with, nothing twice."""
    return list(dict.fromkeys(_MAKERS[target]()))


def _recorded() -> Iterator[tuple[str, dict[str, Any]]]:
    """Recorded exchanges of the dialects, none where they are not at hand."""
    for path in sorted(RECORDINGS.glob("*/*/*.json")):
        if path.stat().st_size < 4 * _SMALL:
            yield path.parent.name, json.loads(path.read_bytes())


def _streams() -> Iterator[tuple[str, bytes]]:
    """Streams by the name of their dialect."""
    for spoken in (*ALL, *PROVIDERS_ONLY):
        yield spoken.name, b"".join(spoken.events("a", "b"))
        yield spoken.name, b"".join([*spoken.events("a", stop=False), spoken.failure("overloaded", "later")])
    for name, exchange in _recorded():
        if "events" in exchange["response"] and name in DIALECTS:
            yield DIALECTS[name].value, stream_of(exchange)[:_SMALL]


def _sse() -> Iterator[bytes]:
    yield bytes(25) + b"\xef\xbb\xbfdata: a\r\ndata: b\r\n\r\n: c\r\rdata:d\n\revent: x\nid\n\n"
    for name, stream in _streams():
        if name != "converse":
            yield bytes(25) + stream


def _amazon() -> Iterator[bytes]:
    for way in range(8):
        yield bytes(25) + bytes((way,)) + b'name\0value\0{"a": 1}\0' + bytes((7, 2)) + b"n\0v\0p\0"


def _scanners() -> Iterator[bytes]:
    every = list(Operation)
    for name, stream in _streams():
        operation = _OPERATIONS.get(name, Operation.GEMINI)
        yield bytes((every.index(operation), 1, 0)) + stream


def _errors() -> Iterator[bytes]:
    yield bytes((3, 0, 0, 1)) + b"Incorrect API key provided: KEY. You can find your key at https://x.example/keys."
    yield bytes((7, 1, 1)) + b"30\0" + bytes((0, 1)) + b"Please try again in 6m59.5s"
    for case in DOCUMENTED:
        body = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
        yield bytes((7, 0, 0, 0)) + body
    for _, exchange in _recorded():
        if exchange["response"]["status"] >= 400:
            yield bytes((3, 0, 0, 0)) + json.dumps(exchange["response"].get("body")).encode()


def _waits() -> Iterator[bytes]:
    for number, text in (
        *(
            (0, "120"),
            (0, "Wed, 25 Nov 2026 12:00:30 GMT"),
            (1, "1500"),
            (2, "1e3"),
            (3, "Wed, 25 Nov 2026 12:00:00 GMT"),
        ),
        *((6, "6m0s"), (9, "1764072000"), (11, "2026-11-25T12:00:10Z"), (0, "nan"), (0, "-5"), (1, "inf")),
    ):
        yield bytes((0, 2, number)) + text.encode() + b"\0" + bytes((5,)) + b"0\0"
    yield bytes((0, 0)) + b'{"error": {"details": [{"retryDelay": "38s"}]}}'
    yield bytes((0, 0)) + b"Please try again in 5.289s. retry in 2m59.56s"


def _yaml() -> Iterator[bytes]:
    yield (ROOT / "redeo.example.yaml").read_bytes()
    yield b"connections:\n  openai: {api_key: sk-fake-01234567}\n  # about groq\n  groq:\n    label: 'x: y'\n"
    yield b"a: &x {b: [*x]}\n<<: *x\n"
    yield b'a: |\n  text\n  more\nb: >-\n  folded\nc: "\\u00e9\\n"\nd: [1, 2.5, null, true, {e: ~}]\n'
    yield b"a: 012\nb: 12:30\nc: yes\n? d\n: e\n--- !!str f\n"
    yield b"[" * 40 + b"]" * 40


def _splice() -> Iterator[bytes]:
    for body in MAXIMAL.values():
        small = {"model": "m", "stream": True, **{k: v for k, v in body.items() if len(json.dumps(v)) < 200}}
        yield b"\0" + json.dumps(small).encode()
    yield b'\0 {"mod\\u0065l" : "a", "x": {"model": 1}, "stream_options": {"include_usage": false}, "m": "model"}'
    yield b'\1{"model":"\\ud83d","x":NaN}'


def _forms() -> Iterator[bytes]:
    part = b'--XX\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    yield b"\0\1" + part % (b"model", b"whisper-1") + part % (b'file"; filename="a.wav', b"RIFF\0") + b"--XX--\r\n"
    yield b"\1\1pre\r\n" + part % (b"stream", b"true") + part % (b"model", b"m") + b"--XX--"


def _admin() -> Iterator[bytes]:
    yield b'\1{"provider": "openai", "api_key": "sk-fake-0123", "priority": 5, "label": "a", "endpoint": null}'
    yield b'\0{"priority": 5, "priority": 6}'


def _hosts() -> Iterator[bytes]:
    for name in ("localhost", "LOCALHOST:7333", "127.0.0.1:1", "[::1]:99999", "desk.lan.", "box:7333", "des\u212a.lan"):
        yield name.encode() + b"\0http://" + name.encode() + b"\0"
        yield name.encode() + b"\0https://page.example/\0\1"


def _guards() -> Iterator[bytes]:
    head = "{} {} HTTP/1.1\r\nHost: localhost:7333\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n"
    for method, path in (("GET", "/v1/providers"), ("POST", "/v1/chat/completions"), ("OPTIONS", "/metrics")):
        yield b"\0" + head.format(method, path, KEY).encode() + b"Content-Length: 2\r\n\r\n{}"
    for number in range(0, 24, 2):
        yield bytes((1, number % 12, number % 7, 0, 4, 0, 5, 15, number))


def _asked() -> Iterator[bytes]:
    for n, name in enumerate(CLIENTS):
        for m in range(len(NAMES)):
            yield bytes((n, m, 1, 0)) + bytes(range(20))
        yield bytes((n, 0, 0)) + json.dumps(MAXIMAL[name]).encode()


def _answered() -> Iterator[bytes]:
    for n, name in enumerate(NAMES):
        for m in range(len(NAMES)):
            yield bytes((n, m, 1, 0)) + bytes(range(20))
        yield bytes((n, 0, 0)) + json.dumps(whole(name)).encode()


def _heard() -> Iterator[bytes]:
    order = [name.value for name in NAMES]
    for name, stream in _streams():
        yield bytes((order.index(name), 0)) + bytes(12) + b"\0" + stream
    for n in range(len(NAMES)):
        for m in range(len(NAMES)):
            yield bytes((n, m)) + bytes(range(12)) + b"\1" + bytes(range(30))


_MAKERS = {
    "sse": _sse,
    "aws-events": _amazon,
    "scanners": _scanners,
    "classifier": _errors,
    "retry-after": _waits,
    "yaml": _yaml,
    "files": _yaml,
    "splice": _splice,
    "multipart": _forms,
    "admin-body": _admin,
    "host": _hosts,
    "guard": _guards,
    "requests": _asked,
    "answers": _answered,
    "parsers": _heard,
}
