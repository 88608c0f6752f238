"""A daemon as a process of its own: started as a user starts it, its output kept, its end awaited."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.canary import Canaries
from tests.systemd import handover

SECONDS = 20.0


class Process:
    """`with Process(folder, canaries) as daemon`: serves on `daemon.port` until the block ends."""

    def __init__(
        self,
        folder: Path,
        canaries: Canaries,
        *arguments: str,
        config: str = "",
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = (sys.executable, "-m", "proxy"),
        handed: socket.socket | None = None,
    ) -> None:
        """`program` starts redeo; `handed`: a listening socket that it gets as a service manager gives it."""
        self.state = folder / "state"
        self.config = folder / "redeo.yaml"
        if config:
            self.config.write_text(config)
        self.port = handed.getsockname()[1] if handed is not None else free_port()
        self.log = ""
        self._canaries = canaries
        self._serving = threading.Event()
        environ = {k: v for k, v in os.environ.items() if not k.startswith("REDEO_")}
        command = [*program, "serve", "--listen", f"127.0.0.1:{self.port}"]
        command += ["--state-dir", str(self.state), "--config", str(self.config), *arguments]
        fds = [handed.fileno()] if handed is not None else []
        self.process = subprocess.Popen(
            handover.handed(fds, command) if fds else command,
            pass_fds=fds,
            env={**environ, "HOME": str(folder), **(env or {})},
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line
            if '"serving"' in line:
                self._serving.set()

    def __enter__(self) -> Process:
        assert self._serving.wait(SECONDS), self.log
        while True:  # the line is written just before the socket is served
            try:
                assert self.request("GET", "/healthz")[0] == 200
            except ConnectionError:
                continue
            self._canaries.folders.append(self.state)
            return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    @property
    def key(self) -> str:
        """The daemon's own key, from its file."""
        return (self.state / "api.key").read_text().strip()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end; the exit code."""
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self._canaries.add("log of a process", self.log)
        return code

    def request(self, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
        """Status and decoded body of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if path not in ("/healthz", "/readyz", "/metrics"):
            headers["Authorization"] = f"Bearer {key or self.key}"
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        self._canaries.add("metrics" if path == "/metrics" else f"answer {path}", data)
        kind = response.headers.get("content-type", "")
        return response.status, json.loads(data) if kind == "application/json" else data.decode()


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
