"""Rows 25 to 31: bytes however they come, answers that are none, and what no answer may cost."""

from __future__ import annotations

import asyncio
import ctypes
import json
import random
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.matrix.framework import ANTHROPIC, ONE, Case, Row
from tests.support.speech import Speech, parse
from tests.support.upstream import Received, Script, Wire, answer, stream

SLICED = Row(
    25,
    "any slicing: bytes one by one, CR, LF and CRLF mixed, UTF-8 split over chunks, a BOM",
    "the same bytes, the same events",
)
LARGE = Row(
    26, "an event of 4 MB, of 17 MB", "4 MB pass; of 17 MB the next one answers, after content `event_too_large`"
)
NO_ANSWER = Row(
    27,
    "200 with HTML, with nothing, of another type, with a JSON `error`",
    "the next one answers, else 502; a failure of the first",
)
REDIRECT = Row(28, "a redirect to another host", "the next one answers; the other host is not asked")
ENDLESS = Row(
    29,
    "a gzip bomb, an endless body",
    "the next one answers, else 502, after content an error in the stream; no more memory than the caps",
)
SLOW = Row(30, "a slow line", "a whole answer as long as no clock fires; each event goes on as it comes")
EXTRAS = Row(31, "100 Continue, 103 Early Hints, trailers", "ignored")

MIB = 1024 * 1024
BODY_CAP = 64 * MIB
EVENT_CAP = 16 * MIB
TEXTS = ("plain", "grüße", "日本語のテキスト", "👩‍👩‍👧‍👦 and \u2028 more", 'quotes " and \\ and \r\n')


# --- row 25


def sliced(body: bytes, sizes: Iterator[int], kind: str, framing: str = "chunked") -> Script:
    """The body in pieces of these sizes, each a write of its own."""

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": kind}, framing=framing)
        at = 0
        while at < len(body):
            size = next(sizes)
            await (wire.chunk if framing == "chunked" else wire.send)(body[at : at + size])
            at += size
        await wire.end() if framing == "chunked" else wire.close()

    return script


def raw(speech: Speech, *texts: str) -> bytes:
    """A whole stream whose texts are not escaped."""
    spoken = b"".join(speech.events(*texts)).decode()
    return "".join(
        line if not line.startswith("data: {") else f"data: {json.dumps(json.loads(line[6:]), ensure_ascii=False)}\n"
        for line in spoken.splitlines(keepends=True)
    ).encode()


def _mixed(body: bytes, seed: int) -> bytes:
    """The same with each line end any of the three; CR and LF in a row would be one, so no CR stands before an LF."""
    dice = random.Random(seed)
    mixed = bytearray()
    for line in body.split(b"\n")[:-1]:
        ends = [b"\r\n", b"\r"] if not line and mixed.endswith(b"\r") else [b"\n", b"\r\n", b"\r"]
        mixed += line + dice.choice(ends)
    return bytes(mixed)


LINE_ENDS: dict[str, Callable[[bytes], bytes]] = {
    "lf": lambda body: body,
    "crlf": lambda body: body.replace(b"\n", b"\r\n"),
    "cr": lambda body: body.replace(b"\n", b"\r"),
    "lf-cr": lambda body: body.replace(b"\n\n", b"\n\r"),
    "bom": lambda body: b"\xef\xbb\xbf" + body,
    "mix 1": lambda body: _mixed(body, 1),
    "mix 2": lambda body: _mixed(body, 2),
    "mix 3": lambda body: _mixed(body, 3),
    "no space": lambda body: body.replace(b"data: ", b"data:"),
    "blank lines": lambda body: b"\n\n" + body.replace(b"\n\n", b"\n\n\n"),
    "fields": lambda body: b": hello\n\n" + body.replace(b"data:", b"id: 1\ndata:"),
}


def ones() -> Iterator[int]:
    """Byte by byte."""
    while True:
        yield 1


def some() -> Iterator[int]:
    """In pieces of any size, the same at each run."""
    dice = random.Random(7)
    while True:
        yield dice.choice([1, 2, 3, 17, 100, 1000])


SLICES: dict[str, Callable[[], Iterator[int]]] = {"ones": ones, "some": some, "at once": lambda: iter([1 << 30])}


@SLICED.case(whole=False, fault_free=True, each=LINE_ENDS)
async def events(case: Case, change: Callable[[bytes], bytes]) -> None:
    body, kind = change(raw(case.speech, *TEXTS)), "text/event-stream; charset=utf-8"
    expected = body.removeprefix(b"\xef\xbb\xbf")  # no SDK knows it, and the first event would be lost
    whole = body.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")) and change is not LINE_ENDS["blank lines"]
    scripts = [sliced(body, sizes(), kind, framing) for framing in ("chunked", "close") for sizes in SLICES.values()]
    b = await case.bench(scripts[0])
    b.p.scripts += scripts[1:]
    for _ in scripts:
        got = await case.ask()
        if whole:
            assert got.body == expected
        else:
            assert parse(got.body) == parse(expected)  # line ends behind the terminator need not pass


@SLICED.case(stream=False, fault_free=True)
async def whole_answer(case: Case) -> None:
    value = {**case.speech.whole, "system_fingerprint": TEXTS}
    body = json.dumps(value, ensure_ascii=False, indent=2).replace("\n", "\r\n").encode()
    scripts = [
        sliced(body, sizes(), "application/json", framing)
        for framing in ("chunked", "close")
        for sizes in SLICES.values()
    ]
    b = await case.bench(scripts[0])
    b.p.scripts += scripts[1:]
    for _ in scripts:
        assert (await case.ask()).body == body


# --- row 26


UNHURRIED = {"connect": 5, "first_byte": 20, "idle": 20, "total": 30, "before_answer": 60}  # sizes count, not clocks


@LARGE.case(whole=False, fault_free=True)
async def four_megabytes(case: Case) -> None:
    said = case.speech.events("before", "x" * (4 * MIB), "after")
    await case.bench(stream(said), routing={"timeouts": UNHURRIED})
    assert (await case.ask()).body == b"".join(said)


@LARGE.case(whole=False, dialects=ONE, fault_free=True)
async def just_below_the_cap(case: Case) -> None:
    said = case.speech.events("before", "x" * (EVENT_CAP - 1000), "after")
    await case.bench(stream(said), routing={"timeouts": UNHURRIED})
    assert (await case.ask()).body == b"".join(said)


@LARGE.case(whole=False)
async def too_large_before_content(case: Case) -> None:
    said = case.speech.events("x" * (17 * MIB))
    await case.bench(stream(said), case.speech.good("full"), routing={"timeouts": UNHURRIED})
    assert (await case.moves_on("too_large")).body == b"".join(case.speech.events("full"))


@LARGE.case(whole=False)
async def too_large_after_content(case: Case) -> None:
    said = case.speech.events("before", "x" * (17 * MIB), "after")
    b = await case.bench(stream(said), case.good, routing={"timeouts": UNHURRIED})
    got = await case.ask()
    before = b"".join(case.speech.opening("before"))
    assert got.body.startswith(before)
    assert len(got.body) < len(before) + 2000
    assert case.speech.endings(got.body) == (0, 1)
    assert case.speech.error_of(got.body[len(before) :])["code"] == "event_too_large"
    assert not b.s.requests


# --- row 27

PAGE = b"<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>"


def plain(body: bytes, kind: str | None) -> Script:
    """A 200 with this body of this type."""

    async def script(received: Received, wire: Wire) -> None:
        headers = {"content-length": str(len(body)), **({"content-type": kind} if kind else {})}
        await wire.head(200, headers, framing="length")
        await wire.send(body)

    return script


NONE = {
    "html": plain(PAGE, "text/html"),
    "html without a type": plain(PAGE, None),
    "html as json": plain(PAGE, "application/json"),
    "html as a stream": plain(PAGE, "text/event-stream"),
    "nothing": plain(b"", "application/json"),
    "nothing as a stream": plain(b"", "text/event-stream"),
    "nothing without a type": plain(b"", None),
    "white space": plain(b" \n ", "application/json"),
    "a picture": plain(b"\x89PNG\r\n\x1a\n", "image/png"),
    "no object": plain(b"[]", "application/json"),
    "an object of another kind": plain(b'{"ok": true}', "application/json"),
    "half an object": plain(b'{"id": "x", "choices": [', "application/json"),
    "no text": plain(b"\xff\xfe\x00", "application/json"),
}


@NO_ANSWER.case(each=NONE)
async def no_answer(case: Case, script: Script) -> None:
    b = await case.bench(script, case.good)
    got = await case.ask()
    assert (got.status, got.headers["x-redeo-provider"]) == (200, "beta")
    assert await b.metric_sum("redeo_attempts_total", 'connection="alpha"', 'result="ok"') == 0
    nobody = await case.bench(script)
    got = await case.ask(nobody)
    assert (got.status, got.json["error"]["code"]) == (502, "bad_upstream_response")


@NO_ANSWER.case()
async def the_other_form(case: Case) -> None:
    """A stream where none was asked for, one JSON text where a stream was."""
    other = stream(case.speech.events("one")) if not case.streamed else answer(case.speech.whole)
    await case.bench(other, case.good)
    await case.moves_on("bad_upstream")


ERRORS = {
    "overload": ("overloaded_error", "overload", 503),
    "rate": ("rate_limit_error", "rate", 429),
    "failure": ("server_error", "upstream_5xx", 502),
    "key": ("authentication_error", "auth", 502),
}


@NO_ANSWER.case(each=ERRORS)
async def error_under_200(case: Case, said: tuple[str, str, int]) -> None:
    code, kind, status = said
    error: dict[str, Any] = {"error": {"type": code, "code": code, "message": "it failed"}}
    if case.speech is ANTHROPIC:
        error["type"] = "error"
    await case.bench(answer(error), case.good)
    await case.moves_on(kind)
    nobody = await case.bench(answer(error))
    assert (await case.ask(nobody)).status == status


# --- row 28


@REDIRECT.case(each=(300, 301, 302, 303, 304, 307, 308))
async def elsewhere(case: Case, status: int) -> None:
    other = await case.provider(case.good)

    async def script(received: Received, wire: Wire) -> None:
        where = {"location": f"{other.base_url}{received.target}", "content-length": "0"}
        await wire.head(status, where, framing="length")

    b = await case.bench(script, case.good)
    got = await case.moves_on(str(status), "redirect")
    assert "location" not in got.headers
    assert len(b.p.requests) == 1
    nobody = await case.bench(script)
    got = await case.ask(nobody)
    assert (got.status, got.json["error"]["code"]) == (502, "bad_upstream_response")
    assert "location" not in got.headers
    assert not other.requests
    assert not other.list_requests


# --- row 29


def peak() -> int:
    """The most memory that this process has held since `forget_peak`, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def forget_peak() -> int:
    """Begin anew with what is held now, which is returned (proc(5), clear_refs)."""
    ctypes.CDLL(None).malloc_trim(0)  # what the allocator keeps for later is held by nobody
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def bomb() -> bytes:
    """200 MB of nothing in 200 kB."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(squeeze.compress(bytes(MIB)) for _ in range(200)), squeeze.flush()])


BOMB = bomb()
BOMBS = {
    "gzip": {"content-encoding": "gzip"},
    "deflate": {"content-encoding": "deflate"},
    "undeclared": {},
}


async def costs(case: Case, script: Script, result: str, most: int) -> None:
    """Ask: the next one answers, or there is none and it is a 502; at no time with more memory than `most` bytes."""
    clocks = {"timeouts": UNHURRIED}
    await case.bench(script, case.good, routing=clocks)
    nobody = await case.bench(script, routing=clocks)
    before = forget_peak()
    got = await case.ask(nobody)
    assert (got.status, got.json["error"]["code"]) == (502, "bad_upstream_response")
    assert got.attempts == f"alpha={result}"
    assert peak() - before <= most
    case.benches.reverse()
    await case.moves_on(result)


@ENDLESS.case(each=BOMBS)
async def compressed(case: Case, headers: dict[str, str]) -> None:
    kind = "text/event-stream" if case.streamed else "application/json"
    script = answer(BOMB, headers={**headers, "content-type": kind})
    result = "interrupted" if case.streamed and not headers else "bad_upstream"
    await costs(case, script, result, 20_000_000)


def endless(kind: str, *before: bytes) -> Script:
    """These, and then more and more of the same line."""

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": kind})
        for piece in before:
            await wire.chunk(piece)
        while not received.gone.is_set():
            await wire.chunk(FILLING)

    return script


FILLING = b"x" * 262144


@ENDLESS.case(stream=False)
async def body_without_end(case: Case) -> None:
    before = forget_peak()
    await costs(case, endless("application/json", b'{"id": "'), "too_large", BODY_CAP + 20_000_000)
    assert forget_peak() - before <= 20_000_000  # and nothing of it is kept


@ENDLESS.case(whole=False)
async def line_without_end(case: Case) -> None:
    before = forget_peak()
    await costs(case, endless("text/event-stream", b"data: "), "too_large", EVENT_CAP + 20_000_000)
    assert forget_peak() - before <= 20_000_000


@ENDLESS.case(whole=False)
async def line_without_end_after_content(case: Case) -> None:
    opening = case.speech.opening("one")
    script = endless("text/event-stream", *opening, b"data: ")
    b = await case.bench(script, case.good, routing={"timeouts": UNHURRIED})
    before = forget_peak()
    got = await case.ask()
    assert peak() - before <= EVENT_CAP + 20_000_000
    whole = b"".join(opening)
    assert got.body.startswith(whole)
    assert case.speech.error_of(got.body[len(whole) :])["code"] == "event_too_large"
    assert not b.s.requests


# --- rows 30 and 31


def trickle(body: bytes, kind: str, pause: float) -> Script:
    """Some bytes now and then."""

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": kind})
        for at in range(0, len(body), 64):
            await wire.chunk(body[at : at + 64])
            await asyncio.sleep(pause)
        await wire.end()

    return script


@SLOW.case(fault_free=True)
async def a_kilobyte_a_second(case: Case) -> None:
    """Longer than the idle clock in all, with a pause that is far below it."""
    if case.streamed:
        body, kind = b"".join(case.speech.events(*"some words")), "text/event-stream"
    else:
        body, kind = json.dumps({**case.speech.whole, "x": "y" * 600}).encode(), "application/json"
    clocks = {"connect": 1, "first_byte": 5, "idle": 0.4, "total": 5, "before_answer": 10}
    pause = 0.5 / (len(body) / 64)
    await case.bench(trickle(body, kind, pause), case.good, routing={"timeouts": clocks})
    assert (await case.ask()).body == body


@SLOW.case(stream=False)
async def the_clock_fires(case: Case) -> None:
    """The clock of the whole answer bounds it, however steadily it comes."""
    await case.bench(trickle(b" " * 64_000, "application/json", 0.02), case.good, routing={"timeouts": SHORT})
    await case.moves_on("timeout")


SHORT = {"connect": 1, "first_byte": 5, "idle": 5, "total": 0.4, "before_answer": 10}


@SLOW.case(whole=False, fault_free=True)
async def each_event_as_it_comes(case: Case) -> None:
    """The provider says the next only when the client has heard the one before."""
    said = case.speech.events(*"words")
    begun, total, more = len(case.speech.opening("w")), 0, asyncio.Event()

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream"})
        sent = 0
        for number, event in enumerate(said, 1):
            await wire.chunk(event)
            sent += len(event)
            while number >= begun and total < sent:  # before the first content all is held back
                more.clear()
                await more.wait()
        await wire.end()

    def heard(piece: bytes) -> None:
        nonlocal total
        total += len(piece)
        more.set()

    b = await case.bench(script, case.good)
    assert (await b.ask(stream=True, heard=heard)).body == b"".join(said)


INTERIM = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "103": b"HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\nset-cookie: a=b\r\n\r\n",
    "several": b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + b"HTTP/1.1 103 Early Hints\r\nlink: </y>\r\n\r\n" * 3,
}


@EXTRAS.case(fault_free=True, each=INTERIM)
async def before_the_answer(case: Case, interim: bytes) -> None:
    async def script(received: Received, wire: Wire) -> None:
        await wire.send(interim)
        await case.speech.good("yes")(received, wire)

    await case.bench(script, case.good)
    expected = b"".join(case.speech.events("yes")) if case.streamed else json.dumps(case.speech.whole).encode()
    for _ in range(3):  # over the same connection
        got = await case.ask()
        assert got.body == expected
        assert not {"link", "set-cookie"} & {name.lower() for name in got.headers}


@EXTRAS.case()
async def before_no_answer(case: Case) -> None:
    """They are no answer, however many."""

    async def script(received: Received, wire: Wire) -> None:
        while not received.gone.is_set():
            await wire.send(INTERIM["100"])
            await asyncio.sleep(0.02)

    await case.bench(script, case.good)
    await case.moves_on("timeout")


@EXTRAS.case(fault_free=True)
async def trailers(case: Case) -> None:
    body = b"".join(case.speech.events("yes")) if case.streamed else json.dumps(case.speech.whole).encode()

    async def script(received: Received, wire: Wire) -> None:
        await wire.head(200, {"content-type": "text/event-stream" if case.streamed else "application/json"})
        await wire.chunk(body)
        await wire.send(b"0\r\nx-checksum: 1\r\nset-cookie: a=b\r\n\r\n")

    await case.bench(script, case.good)
    for _ in range(3):
        got = await case.ask()
        assert got.body == body
        assert not {"x-checksum", "set-cookie"} & {name.lower() for name in got.headers}
