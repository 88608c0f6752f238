"""proxy.systemd against sockets and files that the test owns."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from handover import handed

from proxy import systemd


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """A notification socket, and the environment that names it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@redeo-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        sock.settimeout(5)
        yield sock, {"NOTIFY_SOCKET": name}


def test_each_message_is_one_datagram(manager: tuple[socket.socket, dict[str, str]]) -> None:
    sock, environ = manager
    assert systemd.notify("READY=1", "STATUS=serving", environ=environ)
    assert sock.recv(4096) == b"READY=1\nSTATUS=serving"


@pytest.mark.parametrize(
    ("tell", "said"),
    [
        (systemd.ready, b"READY=1"),
        (systemd.stopping, b"STOPPING=1"),
        (systemd.alive, b"WATCHDOG=1"),
        (lambda: systemd.ready("2 connections\nREADY=0"), b"READY=1\nSTATUS=2 connections READY=0"),
    ],
)
def test_what_is_told(
    manager: tuple[socket.socket, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    tell: Callable[[], bool],
    said: bytes,
) -> None:
    sock, environ = manager
    monkeypatch.setenv("NOTIFY_SOCKET", environ["NOTIFY_SOCKET"])
    assert tell()
    assert sock.recv(4096) == said


def test_a_reload_carries_the_monotonic_time(
    manager: tuple[socket.socket, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sock, environ = manager
    monkeypatch.setenv("NOTIFY_SOCKET", environ["NOTIFY_SOCKET"])
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert systemd.reloading()
    first, second = sock.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    name, _, value = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all", "@redeo-nobody-listens"])
def test_without_a_manager_nothing_happens(address: str) -> None:
    assert systemd.notify("READY=1", environ={"NOTIFY_SOCKET": address}) is False


def test_a_manager_that_does_not_read_is_not_waited_for(manager: tuple[socket.socket, dict[str, str]]) -> None:
    _, environ = manager
    sent = [systemd.notify("STATUS=" + "x" * 4096, environ=environ) for _ in range(10_000)]
    assert sent[0]
    assert not sent[-1]


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "20000000"}, 10.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time(environ: dict[str, str], seconds: float | None) -> None:
    assert systemd.watchdog_interval(environ) == seconds


ROOT = Path(__file__).resolve().parents[2]
TAKE = """
import json, os, socket, sys
from proxy import systemd
taken = systemd.listen_fds()
left = [n for n in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES") if n in os.environ]
print(json.dumps([[s.fileno(), s.family.name, os.get_inheritable(s.fileno()), s.getblocking()] for s in taken]))
print(json.dumps(left))
print(json.dumps([s.fileno() for s in systemd.listen_fds()]))
"""


def handed_over(sockets: list[socket.socket], pid: str = "") -> list[str]:
    fds = [s.fileno() for s in sockets]
    command = handed(fds, [sys.executable, "-c", TAKE], pid)
    result = subprocess.run(command, pass_fds=fds, capture_output=True, text=True, cwd=ROOT, check=True)
    return result.stdout.splitlines()


def test_listening_sockets_are_taken_over_in_order(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as unix,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        unix.bind(str(tmp_path / "s"))
        unix.listen()
        datagrams.bind(("127.0.0.1", 0))
        taken, left, again = handed_over([tcp, datagrams, unix])
    assert taken == '[[3, "AF_INET", false, false], [5, "AF_UNIX", false, false]]'
    assert left == "[]"
    assert again == "[]"


def test_sockets_of_another_process_are_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        taken, left, _ = handed_over([tcp], pid="1")
    assert taken == "[]"
    assert left == "[]"


def test_nothing_handed_over_is_nothing_taken() -> None:
    assert systemd.listen_fds({}) == []
    assert systemd.listen_fds({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"}) == []
