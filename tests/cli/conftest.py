"""Commands as a test runs them: in a home of their own, in a thread beside the loop of the daemon that they ask."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from proxy.cli import main
from tests.support.canary import Canaries

Command = Callable[..., Awaitable["Result"]]


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def places(tmp_path: Path, canaries: Canaries, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for every file of the daemon and of the commands; searched for keys in the end."""
    canaries.folders.append(tmp_path)
    for name in ("REDEO_API_KEY", "REDEO_MASTER_KEY", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("REDEO_CONFIG", str(tmp_path / "redeo.yaml"))
    monkeypatch.setenv("REDEO_STATE_DIR", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture
def command(
    places: Path, canaries: Canaries, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """One command, in a thread beside the daemon's loop."""

    def call(argv: tuple[str, ...]) -> int:
        try:
            return main(argv)
        except SystemExit as leave:
            return leave.code if isinstance(leave.code, int) else -1

    async def run(*argv: str, stdin: io.StringIO | str = "") -> Result:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin) if isinstance(stdin, str) else stdin)
        capsys.readouterr()
        code = await asyncio.to_thread(call, argv)
        result = Result(code, *capsys.readouterr())
        canaries.add(f"redeo {' '.join(argv)}", result.out + result.err)
        return result

    return run


@pytest.fixture
def nobody() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port: int = unused.getsockname()[1]
    return port
