"""The daemon as a process: first start, faults at the start, signals, kill -9, several workers."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.canary import Canaries
from tests.support.process import Process

ADD = {"provider": "openai", "priority": 7}


def serve(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A start that is expected to fail."""
    return subprocess.run(
        [sys.executable, "-m", "proxy", "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, **(env or {})},
        check=False,
    )


def test_a_first_start_makes_what_it_needs(tmp_path: Path, canaries: Canaries) -> None:
    with Process(tmp_path, canaries) as daemon:
        assert stat.S_IMODE(daemon.state.stat().st_mode) == 0o700
        for name in ("api.key", "master.key"):
            assert stat.S_IMODE((daemon.state / name).stat().st_mode) == 0o600
        key = canaries.key("openai")
        assert daemon.request("POST", "/v1/providers", {**ADD, "api_key": key})[0] == 201
        assert stat.S_IMODE((daemon.state / "connections.yaml").stat().st_mode) == 0o600
        assert key not in (daemon.state / "connections.yaml").read_text()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
    again = Process(tmp_path, canaries)
    with again:
        assert again.request("GET", "/v1/providers")[1]["data"][0]["priority"] == 7


def test_secrets_are_not_to_be_read_from_outside(tmp_path: Path, canaries: Canaries) -> None:
    own = canaries.key("the daemon itself")
    with Process(tmp_path, canaries, env={"REDEO_API_KEY": own}) as daemon:
        assert daemon.request("GET", "/v1/providers", key=own)[0] == 200
        assert not (daemon.state / "api.key").exists()
        pid = daemon.process.pid
        assert own.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        owner = Path(f"/proc/{pid}/environ").stat().st_uid
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert "Max core file size        0" in limits
        if os.geteuid() != 0:
            with pytest.raises(PermissionError):
                Path(f"/proc/{pid}/environ").read_bytes()
        else:
            assert owner == 0  # a process that is not dumpable belongs to root, whoever runs it


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        listen = f"127.0.0.1:{sock.getsockname()[1]}"
        done = serve("--listen", listen, "--state-dir", str(tmp_path / "state"), "--config", str(tmp_path / "no.yaml"))
    assert done.returncode == 1
    assert listen in done.stderr
    assert "--listen" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:7333"])
def test_an_address_that_others_can_reach_needs_a_word(tmp_path: Path, listen: str) -> None:
    done = serve("--listen", listen, "--state-dir", str(tmp_path / "state"), "--config", str(tmp_path / "no.yaml"))
    assert done.returncode == 1
    assert "allow_remote: true" in done.stderr


def test_open_state_files_are_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    for name, mode in (("connections.yaml", 0o644), ("master.key", 0o640), ("api.key", 0o604)):
        path = state / name
        path.write_text("x" * 44)
        path.chmod(mode)
        done = serve("--listen", "127.0.0.1:0", "--state-dir", str(state), "--config", str(tmp_path / "no.yaml"))
        assert done.returncode == 1
        assert f"chmod 600 {path}" in done.stderr
        path.unlink()
    state.chmod(0o755)
    done = serve("--listen", "127.0.0.1:0", "--state-dir", str(state), "--config", str(tmp_path / "no.yaml"))
    assert f"chmod 700 {state}" in done.stderr


def test_a_faulty_configuration_names_its_lines(tmp_path: Path) -> None:
    config = tmp_path / "redeo.yaml"
    config.write_text("listen: 5\nroutin: {}\n")
    done = serve("--config", str(config), "--state-dir", str(tmp_path / "state"))
    assert done.returncode == 1
    assert f"{config}:1:" in done.stderr
    assert f"{config}:2: unknown key `routin`" in done.stderr
    assert "`routing`" in done.stderr


def test_sighup_reloads_and_a_fault_keeps_the_old(tmp_path: Path, canaries: Canaries) -> None:
    with Process(tmp_path, canaries) as daemon:
        daemon.config.write_text("models: {smart: [openai/gpt-4o]}\n")
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: 'redeo_config_reloads_total{result="ok"}' in str(daemon.request("GET", "/metrics")[1]))
        daemon.config.write_text("models: [\n")
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: "redeo_config_last_reload_ok 0.0" in str(daemon.request("GET", "/metrics")[1]))
        assert daemon.request("GET", "/readyz")[0] == 200
        daemon.signal(signal.SIGINT)
        assert daemon.wait() == 0
        assert "redeo.yaml:" in daemon.log


def wait_until(done: object) -> None:
    """Ask again until it is so; a file's change is taken up within half a second."""
    assert callable(done)
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end, "it did not come to be"


def test_kill_9_between_and_during_writes_loses_nothing_acknowledged(tmp_path: Path, canaries: Canaries) -> None:
    acknowledged = -1
    for round_number in range(4):
        with Process(tmp_path, canaries) as daemon:
            if acknowledged >= 0:
                found = daemon.request("GET", "/v1/providers")[1]["data"][0]["priority"]
                assert found in (acknowledged, acknowledged + 1), "the last acknowledged write, or the one behind it"
            first = daemon.request("POST", "/v1/providers", {**ADD, "api_key": canaries.key("openai")})
            assert first[0] in (200, 201)
            killer = threading.Timer(0.05 * (round_number + 1), daemon.process.kill)
            killer.start()
            try:
                for number in range(acknowledged + 1, 1000):
                    assert daemon.request("PATCH", "/v1/providers/openai", {"priority": number})[0] == 200
                    acknowledged = number
            except (ConnectionError, OSError, ValueError):
                pass
            killer.join()
            daemon.process.wait(10)
        left = [p.name for p in daemon.state.iterdir() if p.name.endswith(".redeo-tmp")]
        assert len(left) <= round_number + 1
    assert acknowledged > 0


def test_several_workers_share_every_change_at_once(tmp_path: Path, canaries: Canaries) -> None:
    with Process(tmp_path, canaries, config="workers: 2\n") as daemon:
        assert daemon.request("POST", "/v1/providers", {**ADD, "api_key": canaries.key("openai")})[0] == 201
        for number in range(40):
            assert daemon.request("PATCH", "/v1/providers/openai", {"priority": number})[0] == 200
            assert daemon.request("GET", "/v1/providers")[1]["data"][0]["priority"] == number
        text = daemon.request("GET", "/metrics")[1]
        assert "redeo_config_generation" in text
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0


ASK = """
import os, socket, sys
os.chdir(sys.argv[1])
os.setuid(int(sys.argv[2]))
sock = socket.socket(socket.AF_UNIX)
sock.connect("redeo.sock")
sock.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
sys.stdout.write(sock.makefile("rb").read().decode())
"""


def ask_as(user: int, folder: Path) -> str:
    """What the daemon on the socket in this folder answers to this user."""
    asked = [sys.executable, "-c", ASK, str(folder), str(user)]
    return subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout


def test_a_unix_socket_is_for_its_owner_alone(tmp_path: Path, canaries: Canaries) -> None:
    path = tmp_path / "redeo.sock"
    process = Process.__new__(Process)
    Process.__init__(process, tmp_path, canaries, "--listen", f"unix:{path}")
    try:
        assert process._serving.wait(20), process.log
        wait_until(path.exists)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert ask_as(os.geteuid(), tmp_path).startswith("HTTP/1.1 200")
        if os.geteuid() == 0:  # only root can be somebody else; and a mode can be changed
            path.chmod(0o666)
            tmp_path.chmod(0o711)
            refused = ask_as(65534, tmp_path)
            assert refused.startswith("HTTP/1.1 403")
            assert "foreign_user" in refused
    finally:
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
