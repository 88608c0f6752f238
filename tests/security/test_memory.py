"""What another process of the same user sees of a running daemon: its name, and nothing of what it holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxy.harden import take_environment
from tests.support.canary import Canaries
from tests.support.gates import ROOT, need
from tests.support.process import free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and prctl(2) are Linux's")

# Runs as the daemon's own user: what it manages to read of the process whose id it is given, and of its children.
SPY = r"""
import ctypes, json, os, shutil, subprocess, sys
found = {}
for pid in sys.argv[1:]:
    for name in ("environ", "mem", "maps", "auxv", "cmdline"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                found[f"{pid} {name}"] = file.read(1 << 20).decode("latin-1")
        except OSError as exc:
            found[f"{pid} {name}"] = exc.errno
    libc = ctypes.CDLL(None, use_errno=True)
    for name, number in (("attach", 16), ("seize", 0x4206)):
        done = libc.ptrace(number, int(pid), 0, 0)
        found[f"{pid} {name}"] = "attached" if done == 0 else ctypes.get_errno()
        if done == 0:
            if name == "attach":
                os.waitpid(int(pid), 0)
            libc.ptrace(17, int(pid), 0, 0)
            os.kill(int(pid), 18)
    if shutil.which("gcore"):
        done = subprocess.run(["gcore", "-o", "core", pid], capture_output=True, check=False)
        found[f"{pid} gcore"] = "dumped" if done.returncode == 0 or os.path.exists(f"core.{pid}") else 1
print(json.dumps(found))
"""
# The same of a process that does nothing to protect itself.
PLAIN = "import os, sys\nprint(os.getpid(), flush=True)\nsys.stdin.read()\n"


def powerless() -> list[str]:
    """In front of a command: root without its capabilities is a user like any other, with the same id as the daemon."""
    return [need("setpriv"), "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


def spied_on(pids: list[int], tmp_path: Path) -> dict[str, object]:
    """What a process of the same user finds out."""
    command = [*powerless(), sys.executable, "-I", "-c", SPY, *map(str, pids)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def start(tmp_path: Path, secrets: dict[str, str], *, workers: int) -> subprocess.Popen[str]:
    """A daemon of that user, up to the line that says that it serves."""
    (tmp_path / "redeo.yaml").write_text(f"workers: {workers}\n")
    (tmp_path / "redeo.yaml").chmod(0o644)
    command = [*powerless(), sys.executable, "-m", "proxy", "serve", "--listen", f"127.0.0.1:{free_port()}"]
    command += ["--config", str(tmp_path / "redeo.yaml"), "--state-dir", str(tmp_path / "state")]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **secrets}
    process = subprocess.Popen(command, env=env, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = ""
    while '"serving"' not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return process


def children(pid: int, count: int) -> list[int]:
    """The processes that it started, once there are so many."""
    end = time.monotonic() + 20
    while len(found := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) < count:
        assert time.monotonic() < end, "they were not started"
    return [int(child) for child in found]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_of_the_same_user_can_read_nothing_of_it(tmp_path: Path, canaries: Canaries, workers: int) -> None:
    own, master = canaries.key("the daemon"), canaries.key("the master key")
    process = start(tmp_path, {"REDEO_API_KEY": own, "REDEO_MASTER_KEY": master}, workers=workers)
    try:
        pids = [process.pid, *children(process.pid, workers if workers > 1 else 0)]
        found = spied_on(pids, tmp_path)
    finally:
        process.terminate()
        process.wait(20)
        assert process.stderr is not None
        canaries.add("log of a process", process.stderr.read())
        process.stderr.close()
    canaries.add("log spied", json.dumps(found))
    for pid in pids:
        for name in ("environ", "mem", "maps", "auxv", "attach", "seize"):
            assert isinstance(found[f"{pid} {name}"], int), f"{name} was read"
        assert found.get(f"{pid} gcore", 1) == 1
        assert "proxy" in str(found[f"{pid} cmdline"])
    for secret in (own, master):
        assert secret[12:] not in json.dumps(found)


def test_the_spy_reads_what_is_not_protected(tmp_path: Path) -> None:
    """Or else finding nothing would prove nothing."""
    env = {"SECRET": "in the environment"}
    command = [*powerless(), sys.executable, "-I", "-c", PLAIN]
    with subprocess.Popen(
        command, env=env, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        found = spied_on([pid], tmp_path)
        try:
            process.communicate("", timeout=20)
        finally:
            process.kill()
    assert "in the environment" in str(found[f"{pid} environ"])


def test_secrets_are_taken_out_of_the_environment(monkeypatch: pytest.MonkeyPatch, canaries: Canaries) -> None:
    """So that nothing that the daemon starts inherits them."""
    for name in ("REDEO_API_KEY", "REDEO_MASTER_KEY"):
        monkeypatch.setenv(name, canaries.key(name))
    taken = take_environment()
    assert not {"REDEO_API_KEY", "REDEO_MASTER_KEY"} & set(os.environ)
    assert {"REDEO_API_KEY", "REDEO_MASTER_KEY"} <= set(taken)


@pytest.mark.parametrize("kind", ["provider", "daemon"])
def test_no_command_takes_a_key_as_an_argument(tmp_path: Path, canaries: Canaries, kind: str) -> None:
    """Every user can read the arguments of every process."""
    key = canaries.key("openai")
    wrong = {"provider": ["providers", "add", "openai", "--api-key", key], "daemon": ["serve", "--api-key", key]}[kind]
    command = [sys.executable, "-m", "proxy", *wrong]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30, check=False)
    assert done.returncode == 2
    assert key[12:20] not in done.stdout
