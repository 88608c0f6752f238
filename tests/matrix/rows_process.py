"""Rows 40 to 42 and 49: the daemon is told to stop, once and twice; is killed; its loop is blocked."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Final

from tests.matrix.framework import Case, Row
from tests.matrix.service import Service, answers, crowd, held, places, service, until
from tests.support.daemon import Answer
from tests.support.speech import Speech
from tests.support.visitor import Visitor

STOPPED: Final = Row(
    40, "SIGTERM with 100 requests", "they finish, or end with an error of ours at the deadline; exit 0"
)
TWICE: Final = Row(41, "a second SIGTERM", "exit within 1 s, an error of ours to all")
KILLED: Final = Row(42, "kill -9 and a restart", "what ran breaks off; nobody is refused; the last word on disk holds")
BLOCKED: Final = Row(49, "the event loop is blocked", "the watchdog is not fed; killed and started again it serves")
CROWD: Final = 99  # in each dialect a third


async def refused(found: Service) -> None:
    """Who comes now is told to go elsewhere, on a connection that is closed."""
    visitor = await found.visit(stream=False)
    got = await visitor.read_all()
    visitor.leave()
    assert (got.status, got.json["error"]["code"]) == (503, "gateway_shutting_down")
    assert got.headers["connection"] == "close"
    assert got.headers["retry-after"] == "1"
    assert (await found.request("GET", "/readyz"))[0] == 503


@STOPPED.case(mixed=True)
async def finishes_what_runs(case: Case) -> None:
    go = asyncio.Event()
    up = await case.provider(held(go))
    async with service(case, places(up)) as found:
        visitors = await crowd(found, up, CROWD, stream=case.streamed)
        found.signal(signal.SIGTERM)
        while (await found.request("GET", "/readyz"))[0] != 503:
            pass
        await refused(found)
        go.set()
        for speech, answer in await answers(visitors):
            assert answer.status == 200
            if case.streamed:
                assert speech.endings(answer.body) == (1, 0)
            case.judge(answer, speech)
        assert await found.ended() == 0
    assert len(up.requests) == CROWD


@STOPPED.case(mixed=True)
async def ends_what_runs_too_long(case: Case) -> None:
    up = await case.provider(held(asyncio.Event()))
    async with service(case, places(up), settings={"limits": {"drain_seconds": 0.5}}) as found:
        visitors = await crowd(found, up, CROWD, stream=case.streamed)
        found.signal(signal.SIGTERM)
        await told(case, visitors)
        assert await found.ended() == 0


async def told(case: Case, visitors: list[tuple[Speech, Visitor]]) -> None:
    """Each of them is told that the daemon shuts down, in its dialect, and by nothing that looks complete."""
    for speech, answer in await answers(visitors):
        assert not answer.broken
        assert b"gateway_shutting_down" in answer.body
        if case.streamed:
            assert answer.status == 200
            assert speech.endings(answer.body) == (0, 1)
        else:
            assert answer.status == 503
            assert answer.headers["retry-after"] == "1"
        case.judge(answer, speech)


@TWICE.case(mixed=True)
async def ends_at_once(case: Case) -> None:
    up = await case.provider(held(asyncio.Event()))
    async with service(case, places(up)) as found:
        visitors = await crowd(found, up, CROWD, stream=case.streamed)
        found.signal(signal.SIGTERM)
        while (await found.request("GET", "/readyz"))[0] != 503:
            pass
        began = time.monotonic()
        found.signal(signal.SIGTERM)
        reading = asyncio.create_task(told(case, visitors))
        await found.ended()
        seconds = time.monotonic() - began
        await reading
        assert seconds < 3, "1 s by the specification, on a machine that does nothing else"


@KILLED.case(mixed=True)
async def is_killed(case: Case) -> None:
    up = await case.provider(held(asyncio.Event()))
    with socket.create_server(("127.0.0.1", 0), backlog=512) as sock:
        async with service(case, places(up), handed=sock) as found:
            visitors = await crowd(found, up, 30, stream=case.streamed)
            acknowledged = await written_until_killed(found)
            for speech, answer in await broken(visitors):
                case.judge(answer, speech)
            early = await found.visit(stream=False)  # it comes while nobody is there
        go = asyncio.Event()
        go.set()
        up.scripts = [held(go)]
        async with service(case, places(up), connect=False, handed=sock) as found:
            await early.send(b"")
            got = early.read_until(b'"finish_reason"')
            await asyncio.wait_for(got, 10)
            early.leave()
            listed = (await found.request("GET", "/v1/providers"))[1]["data"]
            assert {entry["provider"]: entry["priority"] for entry in listed}["chat"] in acknowledged
            assert len(listed) == 3
            assert not [path.name for path in found.process.state.iterdir() if path.name.endswith(".redeo-tmp")]


async def written_until_killed(found: Service) -> tuple[int, int]:
    """Kill the daemon while it writes; the last change it acknowledged, and the one behind that."""
    last = -1

    async def write() -> None:
        nonlocal last
        for number in range(1000):
            visitor = await Visitor.connect(found)
            try:
                body = json.dumps({"priority": number}).encode()
                await visitor.send(Visitor.request(found, "PATCH", "/v1/providers/chat", body))
                await visitor.read_until(f'"priority":{number},'.encode())
                last = number
            finally:
                visitor.leave()

    writing = asyncio.create_task(write())
    await until(lambda: last >= 5)
    found.signal(signal.SIGKILL)
    await found.ended()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    return last, last + 1


async def broken(visitors: list[tuple[Speech, Visitor]]) -> list[tuple[Speech, Answer]]:
    """What those got whose daemon was killed: nothing, or a stream that any client sees is cut."""
    got = []
    for speech, visitor in visitors:
        with suppress(ConnectionError):
            while await visitor.read():
                pass
        if visitor.got:
            answer = visitor.answer()
            assert answer.broken
            got.append((speech, answer))
        visitor.leave()
    return got


BLOCKING: Final = """
import signal, time
signal.signal(signal.SIGUSR1, lambda *_: time.sleep(30))
from proxy.__main__ import main
raise SystemExit(main())
"""


@BLOCKED.case(mixed=True, whole=False)
async def its_loop_is_blocked(case: Case) -> None:
    go = asyncio.Event()
    up = await case.provider(held(go))
    with (
        socket.create_server(("127.0.0.1", 0), backlog=512) as sock,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
    ):
        notify.bind(str(case.folder / "notify"))
        notify.settimeout(1.2)
        env = {"NOTIFY_SOCKET": str(case.folder / "notify"), "WATCHDOG_USEC": "400000"}
        program = (sys.executable, "-c", BLOCKING)
        async with service(case, places(up), env=env, program=program, handed=sock) as found:
            visitors = await crowd(found, up, 3, stream=True)
            await asyncio.to_thread(heard, notify, b"WATCHDOG=1")
            found.signal(signal.SIGUSR1)
            await asyncio.to_thread(silent, notify)
            found.signal(signal.SIGKILL)  # as the manager does with a service that says nothing
            await found.ended()
            assert len(await broken(visitors)) == 3
        go.set()
        async with service(case, places(up), connect=False, env=env, handed=sock) as found:
            visitors = await crowd(found, up, 3, stream=True)
            await asyncio.to_thread(heard, notify, b"WATCHDOG=1")
            for speech, visitor in visitors:
                await visitor.read_until(b"0\r\n\r\n")
                case.judge(visitor.answer(), speech)
                visitor.leave()


def heard(notify: socket.socket, message: bytes) -> None:
    """Until that was told."""
    end = time.monotonic() + 10
    while message not in notify.recv(4096).split(b"\n"):
        assert time.monotonic() < end


def silent(notify: socket.socket) -> None:
    """Until nothing was told for three times as long as the watchdog allows."""
    with suppress(TimeoutError):
        while True:
            notify.recv(4096)
