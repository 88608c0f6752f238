"""The daemon itself, as a process: its disk fails while a client changes connections, and it is killed at it."""

from __future__ import annotations

import http.client
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fuzz.report import Row
from tests.support.canary import Canaries
from tests.support.process import Process

_KEY = "sk-fake-served-0123456789"
_CHANGES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/v1/providers", {"provider": "mistral", "api_key": _KEY}),
    ("POST", "/v1/providers", {"provider": "openai", "api_key": _KEY, "label": "again"}),
    ("PATCH", "/v1/providers/openai", {"priority": 7}),
    ("DELETE", "/v1/providers/openai", None),
)
_ERRORS = (("fsync", "ENOSPC", 507), ("fsync", "EDQUOT", 507), ("fsync", "EIO", 503), ("rename", "EIO", 503))
_KILLS = ("fsync:signal=KILL:when=1", "rename:signal=KILL:when=1", "fsync:signal=KILL:when=2")


def run() -> Row:
    """One row for all of it."""
    began, row, count = time.monotonic(), Row("kill: the daemon", "", 0), 0
    for method, path, body in _CHANGES:
        with tempfile.TemporaryDirectory() as folder, Process(Path(folder), Canaries()) as daemon:
            _connect(daemon)
            for call, error, status in _ERRORS:
                count += 1
                row.findings += _failed(daemon, method, path, body, f"{call}:error={error}", status)
            if daemon.request(method, path, body)[0] not in (200, 201):
                row.findings.append(f"{method} {path}: not even after the disk was well again")
        for fault in _KILLS:
            count += 1
            row.findings += _killed(method, path, body, fault)
    row.did, row.seconds = f"{count} requests", time.monotonic() - began
    return row


def _connect(daemon: Process) -> None:
    status, _ = daemon.request("POST", "/v1/providers", {"provider": "openai", "api_key": _KEY})
    assert status == 201


@contextmanager
def _injected(daemon: Process, fault: str) -> Iterator[None]:
    """The daemon with this fault in all its threads."""
    command = ["strace", "-f", "-p", str(daemon.process.pid), "-o", "/dev/null", "-e", f"inject={fault}"]
    command += ["-e", f"trace={fault.partition(':')[0]}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        assert "attached" in tracer.stderr.readline()
        try:
            yield
        finally:
            tracer.terminate()
            try:
                tracer.wait(2)
            except subprocess.TimeoutExpired:  # it waits for a thread of a process that is gone
                tracer.kill()


def _failed(daemon: Process, method: str, path: str, body: Any, fault: str, status: int) -> list[str]:
    before = daemon.request("GET", "/v1/providers")
    with _injected(daemon, fault):
        got, said = daemon.request(method, path, body)
        during = daemon.request("GET", "/v1/providers")
    wrong = [] if got == status else [f"{method} {path} with {fault}: {got} {said}"]
    if not during == before == daemon.request("GET", "/v1/providers"):
        wrong.append(f"{method} {path} with {fault}: the list has changed")
    return wrong


def _killed(method: str, path: str, body: Any, fault: str) -> list[str]:
    """Killed while it answers; started again on the same directory it has the old list or the new one."""
    with tempfile.TemporaryDirectory() as folder:
        with Process(Path(folder), Canaries()) as daemon:
            _connect(daemon)
            before = _list(daemon)
            answered = None
            with _injected(daemon, fault), suppress(OSError, http.client.HTTPException, json.JSONDecodeError):
                answered = daemon.request(method, path, body)[0]
        with Process(Path(folder), Canaries()) as daemon:
            after = _list(daemon)
            daemon.request(method, path, body)
            wanted = _list(daemon)
    if answered is not None:
        return [f"{method} {path} with {fault}: it was not killed, and answered {answered}"]
    return [] if after in (before, wanted) else [f"{method} {path} with {fault}: {after}"]


def _list(daemon: Process) -> list[tuple[Any, ...]]:
    status, found = daemon.request("GET", "/v1/providers")
    assert status == 200
    return [(c["provider"], c["label"], c["priority"], c["key_prefix"], "fault" in c) for c in found["data"]]
