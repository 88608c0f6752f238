"""What it costs to translate: CPU time of a stream's event and of a 100 kB request, beside LiteLLM's in the same run.

    python benchmarks/translation.py [--rounds N] [--litellm-python PATH]

PATH is a Python in whose environment `litellm` is installed; without it only our own figures are taken. Both get the
same bytes, round by round in turn, so that a noisy machine disturbs both alike; what comes out of both is read again
and must say the same. Figures are medians, with the range of the middle half of the rounds.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import exchanges

from proxy.dialects.base import DialectName, Target, dialect
from proxy.dialects.events import Kind, fold
from proxy.dialects.json import decode_object, encode

CHAT, MESSAGES, RESPONSES = DialectName.CHAT, DialectName.MESSAGES, DialectName.RESPONSES
GEMINI, CONVERSE = DialectName.GEMINI, DialectName.CONVERSE
STREAMS = [
    (MESSAGES, CHAT), (MESSAGES, RESPONSES), (CHAT, MESSAGES), (CHAT, RESPONSES), (RESPONSES, MESSAGES),
    (RESPONSES, CHAT), (GEMINI, CHAT), (GEMINI, MESSAGES), (CONVERSE, CHAT), (CONVERSE, MESSAGES),
]  # fmt: skip
REQUESTS = [
    (CHAT, MESSAGES), (CHAT, GEMINI), (CHAT, CONVERSE), (MESSAGES, CHAT), (MESSAGES, RESPONSES), (MESSAGES, GEMINI),
    (MESSAGES, CONVERSE), (RESPONSES, CHAT), (RESPONSES, MESSAGES),
]  # fmt: skip
LONG = 5000  # fragments of a call of 100 kB: what grows faster than the answer shows here


class Exchange(NamedTuple):
    """One thing to translate; `parts` is what its cost is divided by."""

    name: str
    kind: str
    source: DialectName
    target: DialectName
    given: list[bytes]
    parts: int

    @property
    def pair(self) -> str:
        return f"{self.source} {self.target}"


def all_exchanges() -> list[Exchange]:
    found = []
    for kind, deltas in ((Kind.TEXT, exchanges.words()), (Kind.TOOL_CALL, exchanges.arguments())):
        word = "text" if kind is Kind.TEXT else "call"
        for source, target in STREAMS:
            if kind is Kind.TEXT or source is not GEMINI:  # whose calls come whole
                given = exchanges.stream(source, kind, deltas)
                found.append(Exchange(f"{word}, {source} -> {target}", word, source, target, given, len(given)))
    long = exchanges.arguments(LONG)
    for source, target in ((MESSAGES, CHAT), (CHAT, MESSAGES), (CHAT, RESPONSES)):
        given = exchanges.stream(source, Kind.TOOL_CALL, long)
        found.append(
            Exchange(f"call of {LONG // 50} kB, {source} -> {target}", "call", source, target, given, len(given))
        )
    for source, target in REQUESTS:
        given = [exchanges.request_bytes(source)]
        found.append(Exchange(f"request, {source} -> {target}", "request", source, target, given, 1))
    return found


def stream(exchange: Exchange) -> bytes:
    """As the daemon does it: what comes in at once goes out at once."""
    parser = dialect(exchange.source).parser("here")
    renderer = dialect(exchange.target).renderer(exchanges.head(exchange.target))
    out = [b"".join([renderer.event(event) for event in parser.feed(chunk)]) for chunk in exchange.given]
    out += [renderer.event(event) for event in parser.close()]
    return b"".join(out)


def request(exchange: Exchange) -> bytes:
    body = decode_object(exchange.given[0])
    assert body is not None
    asked = dialect(exchange.source).read_request(body)
    written, _ = dialect(exchange.target).write_request(asked, Target("there", exchanges.MODELS[exchange.target]))
    return encode(written)


def said(exchange: Exchange, out: bytes) -> object:
    """What a translation says: the text or the arguments of an answer, the kinds of everything in a request."""
    if exchange.kind == "request":
        body = decode_object(out) or {}
        asked = dialect(exchange.target).read_request({**body, "model": body.get("model") or "the-model"})
        return len(asked.tools), sum(type(b).__name__ == "ToolCall" for t in asked.turns for b in t.content)
    parser = dialect(exchange.target).parser("here")
    pieces = fold([*parser.feed(out), *parser.close()]).pieces
    return [(piece.kind, piece.name, piece.text) for piece in pieces if piece.text]


def ours(exchange: Exchange, times: int) -> float:
    run = request if exchange.kind == "request" else stream
    gc.collect()
    began = time.process_time()
    for _ in range(times):
        run(exchange)
    return (time.process_time() - began) / times


class LiteLLM:
    """The other side, in its own process."""

    def __init__(self, python: str, todo: list[Exchange]) -> None:
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name("translation_litellm.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        given = {e.name: (e.kind, e.pair, [base64.b64encode(piece).decode() for piece in e.given]) for e in todo}
        told = self._ask(given)
        self.version: str = told["version"]
        self.able = set(told["jobs"])

    def _ask(self, value: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:  # it has said why on standard error
            raise SystemExit("LiteLLM's side ended; what it said stands above")
        told: dict[str, Any] = json.loads(line)
        return told

    def run(self, exchange: Exchange, times: int) -> tuple[float, bytes]:
        told = self._ask({"name": exchange.name, "times": times})
        if "error" in told:
            raise ValueError(told["error"])
        return told["seconds"], base64.b64decode(told["out"])

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def trial(side: Callable[[], object], expected: object) -> str:
    """What is wrong with a side's translation, in a few words; empty where nothing is."""
    try:
        return "" if side() == expected else "not the same"
    except Exception as exc:
        return f"{type(exc).__name__}: {str(exc)[:80]}"


def measure(exchange: Exchange, rounds: int, other: LiteLLM | None) -> tuple[list[float], list[float], str]:
    run = request if exchange.kind == "request" else stream
    expected = said(exchange, run(exchange))
    trouble = "not measured"
    if other is not None and exchange.name in other.able:
        trouble = trial(lambda: said(exchange, other.run(exchange, 3)[1]), expected)
    times = 4 if exchange.parts < 1000 else 1
    ours(exchange, times)
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        mine.append(ours(exchange, times) / exchange.parts)
        if other is not None and trouble in ("", "not the same"):
            theirs.append(other.run(exchange, 1)[0] / exchange.parts)
    return mine, theirs, trouble


def figure(values: list[float], unit: float) -> str:
    low, middle, high = (value / unit for value in statistics.quantiles(values, n=4))
    return f"{middle:.2f} ({low:.2f}-{high:.2f})" if unit == 1e-3 else f"{middle:.1f} ({low:.1f}-{high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--litellm-python", metavar="PATH")
    args = parser.parse_args()
    todo = all_exchanges()
    other = LiteLLM(args.litellm_python, todo) if args.litellm_python else None
    beside = f"{f'LiteLLM {other.version}':24}ratio" if other else ""
    print("CPU time: microseconds an event of a stream, milliseconds a request; median (middle half)\n")
    print(f"{'':36}{'bytes':>8}  {'redeo':22}{beside}".rstrip())
    for exchange in todo:
        unit = 1e-3 if exchange.kind == "request" else 1e-6
        mine, theirs, trouble = measure(exchange, args.rounds, other)
        size = sum(map(len, exchange.given))
        print(f"{exchange.name:36}{size:8}  {figure(mine, unit):22}", end="")
        if theirs:
            ratio = statistics.median(b / a for a, b in zip(mine, theirs, strict=True))
            print(f"{figure(theirs, unit):24}{ratio:5.1f}{f'  ({trouble})' if trouble else ''}", flush=True)
        else:
            print(trouble if other else "", flush=True)
    if other:
        other.close()


if __name__ == "__main__":
    main()
