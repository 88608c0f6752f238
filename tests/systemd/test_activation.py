"""The daemon under a service manager that the test plays: sockets handed over, restarts under load, datagrams."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from handover import handed

from proxy.cli.demo_providers import MODEL, Mood, SimulatedProvider

ROOT = Path(__file__).resolve().parents[2]
REDEO = [sys.executable, "-m", "proxy", "serve"]
SECONDS = 30.0  # for anything that is waited for
CLIENTS = 6
RESTARTS = 3
KEY = "activation-test-daemon-key"


class Manager:
    """What the service manager does: listens to notifications, starts, signals and awaits the service."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(home / "notify"))
        self.socket.settimeout(0.5)
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "REDEO_API_KEY": KEY,
            "NOTIFY_SOCKET": str(home / "notify"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, command: list[str], fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        with (self.home / "log").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=self.environ, stderr=log, stdout=log, pass_fds=fds)
        self.running.append(process)
        return process

    def heard(self, message: str) -> list[str]:
        """The assignments of the next datagram that holds `message`."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            over = all(process.poll() is not None for process in self.running)
            try:
                assignments = self.socket.recv(4096).decode().split("\n")
            except TimeoutError:
                if over:
                    break
                continue
            if message in assignments:
                return assignments
        pytest.fail(f"{message} was not told; the log says:\n{(self.home / 'log').read_text()}")

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        process.send_signal(signal.SIGTERM)
        return process.wait(SECONDS)

    def close(self) -> None:
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait(SECONDS)
        self.socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """With a configuration of one simulated provider, which works."""
    config = tmp_path / ".config" / "redeo"
    state = tmp_path / ".local" / "state" / "redeo"
    config.mkdir(parents=True)
    state.mkdir(parents=True, mode=0o700)
    connections = state / "connections.yaml"
    connections.touch(mode=0o600)
    connections.write_text("connections:\n  good: {priority: 500}\n")
    with SimulatedProvider("good", Mood.WORKS) as good:
        (config / "redeo.yaml").write_text(
            f'providers:\n  good: {{label: Good, base_url: "{good.base_url}", dialect: openai, credential: none}}\n'
        )
        manager = Manager(tmp_path)
        try:
            yield manager
        finally:
            manager.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """The socket that the manager keeps, whatever the service does."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as sock:
        yield sock


def ask(port: int) -> int:
    """One chat request over a connection of its own; its status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    body = {"model": f"good/{MODEL}", "messages": [{"role": "user", "content": "Who are you?"}]}
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body).encode(), headers)
        response = connection.getresponse()
        assert "named good" in response.read().decode()
        return response.status
    finally:
        connection.close()


class Load:
    """Clients that ask without a pause; what each of them got, failures included."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.results: list[object] = []
        self._more = threading.Condition()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._client) for _ in range(CLIENTS)]

    def _client(self) -> None:
        while not self._end.is_set():
            try:
                result: object = ask(self.port)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                result = error
            with self._more:
                self.results.append(result)
                self._more.notify_all()

    def flows(self) -> None:
        """Waits until every client could have got an answer since now."""
        with self._more:
            wanted = len(self.results) + 4 * CLIENTS
            assert self._more.wait_for(lambda: len(self.results) >= wanted, SECONDS)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(SECONDS)


def test_restarts_under_load_refuse_no_request(manager: Manager, listening: socket.socket) -> None:
    fd, port = listening.fileno(), listening.getsockname()[1]
    process = manager.start(handed([fd], REDEO), (fd,))
    manager.heard("READY=1")
    codes = []
    with Load(port) as load:
        for _ in range(RESTARTS):
            load.flows()
            codes.append(manager.stop(process))
            process = manager.start(handed([fd], REDEO), (fd,))
            manager.heard("READY=1")
        load.flows()
    codes.append(manager.stop(process))
    assert [result for result in load.results if result != 200] == []
    assert len(load.results) > RESTARTS * CLIENTS
    assert codes == [0] * (RESTARTS + 1)


def test_requests_wait_for_a_service_that_has_not_started(manager: Manager, listening: socket.socket) -> None:
    fd, port = listening.fileno(), listening.getsockname()[1]
    with Load(port) as load:
        process = manager.start(handed([fd], REDEO), (fd,))
        load.flows()
    assert manager.stop(process) == 0
    assert set(load.results) == {200}


def test_every_socket_handed_over_is_served(manager: Manager, listening: socket.socket) -> None:
    path = str(manager.home / "redeo.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as local:
        local.bind(path)
        local.listen(512)
        fds = (listening.fileno(), local.fileno())
        manager.start(handed(fds, REDEO), fds)
        manager.heard("READY=1")
        assert ask(listening.getsockname()[1]) == 200
        connection = http.client.HTTPConnection("localhost", timeout=SECONDS)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(path)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
    assert os.path.exists(path), "the path is the manager's"


def test_a_reload_is_told_from_its_beginning_to_its_end(manager: Manager, listening: socket.socket) -> None:
    process = manager.start(handed([listening.fileno()], REDEO), (listening.fileno(),))
    manager.heard("READY=1")
    process.send_signal(signal.SIGHUP)
    began = manager.heard("RELOADING=1")
    assert any(re.fullmatch(r"MONOTONIC_USEC=\d+", part) for part in began)
    manager.heard("READY=1")
    assert manager.stop(process) == 0
    manager.heard("STOPPING=1")


def test_the_watchdog_is_fed_for_as_long_as_the_loop_turns(manager: Manager, listening: socket.socket) -> None:
    manager.environ["WATCHDOG_USEC"] = "400000"
    process = manager.start(handed([listening.fileno()], REDEO), (listening.fileno(),))
    manager.heard("READY=1")
    for _ in range(3):
        manager.heard("WATCHDOG=1")
    assert manager.stop(process) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_either_signal_ends_it_well(manager: Manager, listening: socket.socket, number: signal.Signals) -> None:
    process = manager.start(handed([listening.fileno()], REDEO), (listening.fileno(),))
    manager.heard("READY=1")
    process.send_signal(number)
    manager.heard("STOPPING=1")
    assert process.wait(SECONDS) == 0


def test_a_state_directory_behind_a_link_of_systemds_is_used(manager: Manager, listening: socket.socket) -> None:
    private = manager.home / "private" / "redeo"  # as DynamicUser= lays it out
    private.mkdir(parents=True, mode=0o700)
    (manager.home / "redeo").symlink_to(private)
    manager.environ["STATE_DIRECTORY"] = str(manager.home / "redeo")
    manager.start(handed([listening.fileno()], REDEO), (listening.fileno(),))
    manager.heard("READY=1")
    assert (private / "master.key").stat().st_mode & 0o777 == 0o600


def test_keys_given_as_credentials_are_used(manager: Manager, listening: socket.socket) -> None:
    given = manager.home / "credentials"
    given.mkdir()
    (given / "redeo.api-key").write_text(f"{KEY}\n")
    (given / "redeo.master-key").write_text("00112233445566778899aabbccddeeff" * 2)
    del manager.environ["REDEO_API_KEY"]
    manager.environ["CREDENTIALS_DIRECTORY"] = str(given)
    manager.start(handed([listening.fileno()], REDEO), (listening.fileno(),))
    manager.heard("READY=1")
    assert ask(listening.getsockname()[1]) == 200
    state = manager.home / ".local" / "state" / "redeo"
    assert not (state / "api.key").exists()
    assert not (state / "master.key").exists()


def test_systemds_own_tool_starts_it_at_the_first_connection(manager: Manager) -> None:
    tool = shutil.which("systemd-socket-activate")
    if tool is None:
        if os.environ.get("CI") == "true":
            pytest.fail("systemd-socket-activate is missing: install Debian's systemd package")
        pytest.skip("systemd-socket-activate is not installed (Debian: the systemd package)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    passed = [f"--setenv={name}" for name in manager.environ]
    command = [tool, f"--listen=127.0.0.1:{port}", "--fdname=redeo.socket", *passed, "--", *REDEO]
    process = manager.start(command)
    listens = re.compile(rb"Listening on .*:%d" % port)
    wait_until(lambda: listens.search((manager.home / "log").read_bytes()) is not None)
    assert ask(port) == 200
    manager.heard("READY=1")
    assert manager.stop(process) == 0
    manager.heard("STOPPING=1")


def wait_until(true: object) -> None:
    assert callable(true)
    waiting = threading.Event()
    for _ in range(int(SECONDS / 0.02)):
        if true():
            return
        waiting.wait(0.02)
    pytest.fail("did not come about in time")


def test_several_workers_feed_one_watchdog(manager: Manager, listening: socket.socket) -> None:
    config = manager.home / ".config" / "redeo" / "redeo.yaml"
    config.write_text(config.read_text() + "workers: 2\n")
    manager.environ["WATCHDOG_USEC"] = "400000"
    process = manager.start(handed([listening.fileno()], REDEO), (listening.fileno(),))
    manager.heard("READY=1")
    for _ in range(3):
        manager.heard("WATCHDOG=1")
    process.send_signal(signal.SIGHUP)
    manager.heard("RELOADING=1")
    manager.heard("READY=1")
    assert manager.stop(process) == 0
    manager.heard("STOPPING=1")
