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
from proxy import workers
from proxy.workers import Configuration, supervise

def say(*words):
    os.write(1, " ".join(map(str, words)).encode() + bytes([10]))  # in one piece: they all write to the same pipe

def told(what):
    return lambda: say(what)

manager = Manager(told("ready"), told("alive"), told("stopping"), told("reloading"))
configuration = Configuration(lambda: 2, lambda: None, lambda: None)
"""

TAIL = "sys.exit(supervise(work, manager, configuration))\n"


def supervised(tmp_path: Path, work: str, setting: str = "") -> subprocess.Popen[str]:
    """Two workers that do this, with `manager` and `link`; `setting` is said before."""
    script = tmp_path / "supervised.py"
    body = "\n".join(f"    {line}" for line in work.splitlines())
    script.write_text(f"{HEAD}{setting}\ndef work(manager, link):\n{body}\n{TAIL}")
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def test_workers_that_cannot_start_end_it(tmp_path: Path) -> None:
    process = supervised(tmp_path, "return 3")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "ready" not in out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    process = supervised(tmp_path, "say('born')\ntime.sleep(60)\nreturn 0")
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
    assert out.startswith("stopping\n"), "after that the mute one may end first, and the other speaks for all"


def test_the_first_serves_before_the_others_are_born(tmp_path: Path) -> None:
    work = """
say("born")
sys.stdin.readline()
manager.ready()
signal.pause()
"""
    process = supervised(tmp_path, work)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "born\n"
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "born\n"
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    process.communicate(timeout=30)


def test_a_worker_without_a_sign_of_life_is_killed_and_replaced(tmp_path: Path) -> None:
    # The first of the two hangs; those after it say that they live.
    work = """
manager.ready()
try:
    os.close(os.open(sys.argv[0] + ".first", os.O_CREAT | os.O_EXCL))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
except FileExistsError:
    pass
say("serving")
while True:
    manager.alive()
    time.sleep(0.05)
"""
    process = supervised(tmp_path, work, "workers._SILENCE = 1.0")
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(3)].count("serving\n") == 2
    process.terminate()
    process.communicate(timeout=30)


def test_one_that_ignores_the_first_signal_does_not_outlive_the_second(tmp_path: Path) -> None:
    work = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
manager.ready()
while True:
    manager.alive()
    time.sleep(0.05)
"""
    process = supervised(tmp_path, work, "workers._LAST_WORDS = 0.3")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert [line for line in iter(process.stdout.readline, "stopping\n") if line != "alive\n"] == []
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 1


def test_what_is_reloaded_is_said_once_by_all(tmp_path: Path) -> None:
    work = """
signal.signal(signal.SIGHUP, lambda *_: manager.ready())
manager.ready()
while True:
    time.sleep(1)
"""
    process = supervised(tmp_path, work)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    assert [process.stdout.readline() for _ in range(2)] == ["reloading\n", "ready\n"]
    process.terminate()
    out, _ = process.communicate(timeout=30)
    assert out == "stopping\n"


def test_news_reach_the_others_and_those_who_are_born_later(tmp_path: Path) -> None:
    # The first tells and dies; the second hears it from the line, or was born after it: each way it is known once.
    work = """
manager.ready()
try:
    os.close(os.open(sys.argv[0] + ".first", os.O_CREAT | os.O_EXCL))
    signal.pause() if not sys.stdin.readline() else None
    link.tell("a", b"old", well=False)
    link.tell("a", b"new", well=False)
    link.tell("b", b"ill", well=False)
    link.tell("b", b"well", well=True)
    os._exit(1)
except FileExistsError:
    pass
import asyncio
async def follow():
    link.follow(lambda news: say(os.getpid(), news.decode()))
    await asyncio.sleep(60)
asyncio.run(follow())
"""
    process = supervised(tmp_path, work)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()
    heard: dict[str, list[str]] = {}
    while sum(map(len, heard.values())) < 5:
        who, what = process.stdout.readline().split()
        heard.setdefault(who, []).append(what)
    assert sorted(heard.values()) == [["new"], ["old", "new", "ill", "well"]]
    process.terminate()
    process.communicate(timeout=30)


def test_a_configuration_that_cannot_be_read_keeps_no_worker_from_being_replaced(tmp_path: Path) -> None:
    work = """
manager.ready()
try:
    os.close(os.open(sys.argv[0] + ".first", os.O_CREAT | os.O_EXCL))
    return 3
except FileExistsError:
    say("serving")
    signal.pause()
"""
    setting = "workers._PATIENCE = 0.2\nconfiguration = Configuration(lambda: 1, lambda: time.sleep(600), lambda: None)"
    process = supervised(tmp_path, work, setting)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert "serving\n" in lines
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_reload_does_not_end_a_worker_that_is_being_born(tmp_path: Path) -> None:
    work = """
say("born")
sys.stdin.readline()
manager.ready()
signal.pause()
"""
    process = supervised(tmp_path, work, "configuration = Configuration(lambda: 1, lambda: None, lambda: None)")
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "born\n"
    process.send_signal(signal.SIGHUP)
    assert process.stdout.readline() == "reloading\n"
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.communicate(timeout=30)[0] == "stopping\n"


def test_what_ends_a_worker_is_told(tmp_path: Path) -> None:
    process = supervised(tmp_path, "raise OSError('no room for a page')")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "no room for a page" in err
