"""The supervisor of several workers, with workers that misbehave: each case in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import os, signal, sys, time
from proxy.systemd import Manager
from proxy.workers import supervise

def told(what):
    return lambda: print(what, flush=True)

manager = Manager(told("ready"), told("alive"), told("stopping"))
"""


def supervised(tmp_path: Path, work: str) -> subprocess.Popen[str]:
    script = tmp_path / "supervised.py"
    body = "\n".join(f"    {line}" for line in work.splitlines())
    script.write_text(f"{HEAD}\ndef work(manager):\n{body}\n\nsys.exit(supervise(2, work, manager))\n")
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)}
    )


def test_workers_that_cannot_start_end_it(tmp_path: Path) -> None:
    process = supervised(tmp_path, "return 3")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "ready" not in out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    process = supervised(tmp_path, "os.write(1, b'born' + bytes([10]))\ntime.sleep(60)\nreturn 0")
    assert process.stdout is not None
    assert process.stdout.readline() == "born\n"
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "stopping" in out
    assert "ready" not in out


def test_it_is_alive_when_all_are_and_ready_once(tmp_path: Path) -> None:
    process = supervised(tmp_path, "manager.ready()\nwhile True:\n    manager.alive()\n    time.sleep(0.02)")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    assert lines.count("ready\n") == 1
    assert lines.count("alive\n") == 3
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_worker_that_says_nothing_stops_the_feeding(tmp_path: Path) -> None:
    # Only the first of the two ever says that it lives.
    mute = """
manager.ready()
try:
    os.close(os.open(sys.argv[0] + ".first", os.O_CREAT | os.O_EXCL))
    for _ in range(50):
        manager.alive()
except FileExistsError:
    pass
time.sleep(60)
"""
    process = supervised(tmp_path, mute)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    out, _ = process.communicate(timeout=30)
    assert "alive" not in out
