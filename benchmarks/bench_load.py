"""Loads of requests: wrk for as many as go, and a fixed rate for the time that one takes."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench_process import Fault, Process, cpu_of, used
from bench_provider import Provider
from bench_requests import PATH, as_bytes

_DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{"requests": %d, "refused": %d, "broken": %d}\\n',
    summary.requests, e.status, e.connect + e.read + e.write + e.timeout))
end
"""
_WARM = 0.5  # seconds until all connections stand and nothing is done for the first time


@dataclass
class Run:
    """What a load of wrk showed, between two moments in the middle of it, all for one request. Times in seconds."""

    cpu: float  # of the subject
    busiest: float  # of the process of the subject that did most
    load: float  # of wrk
    provider: float
    rate: float  # requests a second


@dataclass
class Wrk:
    """Closed-loop load: each client sends its next request when it has the answer to the last."""

    folder: Path
    provider: Provider

    def run(self, process: Process, headers: dict[str, str], body: bytes, clients: int, seconds: int) -> Run:
        """Raises Fault where an answer is no success, or does not come from the provider."""
        command = self._command(process.port, headers, body, clients, seconds)
        asked = self.provider.asked()
        wrk = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            time.sleep(_WARM)
            first = self._look(process, wrk.pid)
            time.sleep(max(0.5, seconds - _WARM - 0.3))
            last = self._look(process, wrk.pid)
            said, _ = wrk.communicate(timeout=60)
        finally:
            wrk.kill()
            wrk.wait()
        self._judge(process, said, self.provider.asked() - asked, clients)
        return _between(first, last, process.name)

    def _command(self, port: int, headers: dict[str, str], body: bytes, clients: int, seconds: int) -> list[str]:
        (self.folder / "body").write_bytes(body)
        sent = {"Content-Type": "application/json"} | headers
        lines = [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in sent.items()]
        lines += ['wrk.method = "POST"', f'wrk.body = io.open("{self.folder}/body", "rb"):read("*a")', _DONE]
        script = self.folder / "load.lua"
        script.write_text("\n".join(lines))
        url = f"http://127.0.0.1:{port}{PATH}"
        return ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), url]

    def _look(self, process: Process, wrk: int) -> tuple[float, int, dict[int, float], float, float]:
        asked = self.provider.asked()
        provider = sum(self.provider.process.cpu().values())
        return time.perf_counter(), asked, process.cpu(), cpu_of(wrk) or 0.0, provider

    @staticmethod
    def _judge(process: Process, said: str, asked: int, clients: int) -> None:
        try:
            found = json.loads(said.strip().splitlines()[-1])
        except (ValueError, IndexError):
            raise Fault(f"wrk said nothing of {process.name}:\n{said}") from None
        if found["refused"] or found["broken"] or not found["requests"]:
            raise Fault(
                f"{process.name}: of {found['requests']} requests {found['refused']} were answered with an error and "
                f"{found['broken']} broke off; the end of its log:\n{process.tail()}"
            )
        if not found["requests"] <= asked + 1 <= found["requests"] * 1.01 + 2 * clients + 2:
            raise Fault(f"{process.name} answered {found['requests']} requests, and the provider was asked {asked}")


def _between(
    first: tuple[float, int, dict[int, float], float, float],
    last: tuple[float, int, dict[int, float], float, float],
    name: str,
) -> Run:
    requests = last[1] - first[1]
    if requests < 20:
        raise Fault(f"{name} served only {requests} requests in {last[0] - first[0]:.1f} s")
    each = used(first[2], last[2])
    return Run(
        sum(each) / requests,
        max(each) / requests,
        (last[3] - first[3]) / requests,
        (last[4] - first[4]) / requests,
        requests / (last[0] - first[0]),
    )


def at_rate(name: str, port: int, headers: dict[str, str], body: bytes, rate: float, seconds: float) -> list[float]:
    """Sends `rate` requests a second whether or not the last is answered; returns the seconds each one took.

    A request that could not be sent in time counts from when it should have been sent.
    """
    request = as_bytes(port, headers, body)
    with ExitStack() as ends:

        def connect() -> socket.socket:
            return ends.enter_context(socket.create_connection(("127.0.0.1", port)))

        times = _at_rate(name, connect, request, rate, int(rate * seconds))
    return times[len(times) // 10 :]  # without those that were the first on their connection


def _at_rate(name: str, connect: Callable[[], socket.socket], request: bytes, rate: float, total: int) -> list[float]:
    idle = [connect() for _ in range(4)]
    busy: dict[socket.socket, tuple[float, bytes]] = {}
    times: list[float] = []
    began, sent = time.perf_counter() + 0.05, 0
    while len(times) < total:
        due, now = began + sent / rate, time.perf_counter()
        if sent < total and now >= due:
            connection = idle.pop() if idle else connect()
            busy[connection] = (time.perf_counter() if now - due < 0.001 else due, b"")
            connection.sendall(request)
            sent += 1
            continue
        ready, _, _ = select.select(list(busy), [], [], max(0.0, due - now) if sent < total else 30.0)
        if not ready and sent == total:
            raise Fault(f"{name}: no answer within 30 s")
        for connection in ready:
            at, got = busy[connection]
            got += _received(name, connection)
            busy[connection] = (at, got)
            if _whole(name, got):
                times.append(time.perf_counter() - at)
                del busy[connection]
                idle.append(connection)
    return times


def _received(name: str, connection: socket.socket) -> bytes:
    got = connection.recv(65536)
    if not got:
        raise Fault(f"{name} closed a connection in the middle of an answer")
    return got


def _whole(name: str, got: bytes) -> bool:
    """Whether an answer is complete; Fault where it is none of success."""
    head, blank, body = got.partition(b"\r\n\r\n")
    if not blank:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise Fault(f"{name} answered {got[:400].decode(errors='replace')}")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line[15:])
    return body.endswith(b"0\r\n\r\n")
