"""Calls of the admin API, against a server that the test scripts."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.cli.address import Address
from proxy.cli.client import ROOT, Daemon, NotRedeo, NotRunning, entries
from proxy.cli.output import CommandError


class Scripted(socketserver.BaseRequestHandler):
    """Reads one request head and body, answers with the server's bytes, hangs up."""

    def handle(self) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            received += self.request.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        length = next((int(h[15:]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")), 0)
        while len(body) < length:
            body += self.request.recv(65536)
        self.server.received.append(head + b"\r\n\r\n" + body)
        self.request.sendall(self.server.answer)


def http(status: str, body: object) -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode() + text


@contextmanager
def serving(answer: bytes, path: Path | None = None) -> Iterator[tuple[Address, list[bytes]]]:
    kind = socketserver.TCPServer if path is None else socketserver.UnixStreamServer
    with kind(("127.0.0.1", 0) if path is None else str(path), Scripted) as server:  # type: ignore[arg-type]
        server.answer, server.received = answer, []  # type: ignore[attr-defined]  # read by the handler
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        address = Address("localhost", 0, str(path)) if path else Address("127.0.0.1", server.server_address[1])
        try:
            yield address, server.received  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


def test_the_key_travels_as_a_bearer_and_the_body_as_json() -> None:
    with serving(http("201 Created", {"provider": "groq"})) as (address, received):
        assert Daemon(address, "own-key").call("POST", ROOT, {"provider": "groq"}) == {"provider": "groq"}
    head, _, body = received[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/providers HTTP/1.1\r\n")
    assert b"Authorization: Bearer own-key" in head
    assert json.loads(body) == {"provider": "groq"}


def test_without_a_key_none_is_sent() -> None:
    with serving(http("200 OK", {"data": []})) as (address, received):
        assert entries(Daemon(address).call("GET", ROOT)) == []
    assert b"authorization" not in received[0].lower()


def test_a_unix_socket_is_spoken_to_alike(tmp_path: Path) -> None:
    with serving(http("200 OK", {"data": []}), tmp_path / "redeo.sock") as (address, received):
        Daemon(address, "own-key").call("GET", ROOT)
    assert b"Host: localhost" in received[0]


def test_a_refusal_carries_the_daemons_words() -> None:
    error = {"error": {"message": "`priority` is 0 to 1000", "type": "invalid_request_error"}}
    with serving(http("400 Bad Request", error)) as (address, _), pytest.raises(CommandError) as raised:
        Daemon(address, "own-key").call("POST", ROOT, {})
    assert str(raised.value) == "`priority` is 0 to 1000"


def test_a_wrong_key_is_explained_and_not_shown() -> None:
    error = {"error": {"message": "no", "type": "authentication_error"}}
    with serving(http("401 Unauthorized", error)) as (address, _), pytest.raises(CommandError) as raised:
        Daemon(address, "own-key").call("GET", ROOT)
    assert "--state-dir" in str(raised.value)
    assert "own-key" not in str(raised.value)


def test_a_daemon_that_is_not_running_is_said_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    for address in (Address("127.0.0.1", port), Address("localhost", 0, str(tmp_path / "none.sock"))):
        with pytest.raises(NotRunning, match="redeo serve"):
            Daemon(address).ask("GET", ROOT)


@pytest.mark.parametrize(
    "answer",
    [
        http("200 OK", b"<html>hello</html>"),
        http("200 OK", []),
        http("200 OK", b"\xff\xfe"),
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
    ids=["html", "list", "bytes", "ssh", "nothing"],
)
def test_another_program_on_the_port_is_recognised(answer: bytes) -> None:
    with serving(answer) as (address, _), pytest.raises(NotRedeo, match="no redeo"):
        Daemon(address).ask("GET", ROOT)


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": [1]}, {"error": {"message": "x"}}])
def test_another_programs_json_is_recognised(body: dict[str, object]) -> None:
    with pytest.raises(NotRedeo):
        entries(body)


def test_silence_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = Address("127.0.0.1", silent.getsockname()[1])
        with pytest.raises(CommandError, match=r"within 0\.05 s"):
            Daemon(address).ask("GET", ROOT, timeout=0.05)
