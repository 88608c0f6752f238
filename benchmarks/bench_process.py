"""The processes that a benchmark measures: started, awaited, their CPU and memory read from the kernel, ended."""

from __future__ import annotations

import http.client
import os
import resource
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_WAIT = 60.0  # seconds for a process to answer for the first time


class Fault(Exception):
    """What makes a measurement worthless; the message says what to do or where to look. `figures`: those it had."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.figures: dict[str, float] = {}


def free_port() -> int:
    """A port of the loopback interface that nobody listens on just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def many_files() -> int:
    """Raises this process's limit of open files, and so that of all it starts, to what is allowed; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


CORES = sorted(os.sched_getaffinity(0))
FREE = "--free" in sys.argv  # the scheduler places everybody
LOAD = set(CORES if FREE else CORES[-1:])  # of the bench itself, its loads and its provider
SERVING = set(CORES if FREE else CORES[:-1]) or set(CORES)  # of who is measured, unless it has workers for all


def hold_to(cores: set[int]) -> None:
    """Keeps this process, and what it starts from now on, on these cores.

    Else the scheduler puts together or apart who talk to each other, for as long as they live: what one request alone
    costs differed by a quarter between two processes that were the same.
    """
    os.sched_setaffinity(0, cores)


@dataclass
class Process:
    """A started process with all its descendants, which listens on `port` and logs to `log`."""

    name: str
    popen: subprocess.Popen[bytes]
    port: int
    log: Path
    began: float  # on the clock of time.perf_counter

    @classmethod
    def start(
        cls, name: str, command: list[str], port: int, log: Path, env: dict[str, str], cwd: Path, cores: set[int]
    ) -> Process:
        """Both its outputs go to the end of `log`, as a service manager has them."""
        before = os.sched_getaffinity(0)
        hold_to(cores)
        try:
            with log.open("ab") as out:
                began = time.perf_counter()
                popen = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        finally:
            hold_to(before)
        return cls(name, popen, port, log, began)

    def first_200(self, path: str, most: int = 200, pause: float = 0.002) -> float:
        """Seconds from the start to the first answer on `path` with a status of 200, or of `most` at most."""
        while self.popen.poll() is None and time.perf_counter() - self.began < _WAIT:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            try:
                connection.request("GET", path)
                if connection.getresponse().status <= most:
                    return time.perf_counter() - self.began
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            time.sleep(pause)
        raise Fault(f"{self.name} does not answer on {path}; the end of its log:\n{self.tail()}")

    def tail(self) -> str:
        """The end of its log, for messages."""
        return self.log.read_text(errors="replace")[-1500:]

    def tree(self) -> list[int]:
        """Its id and those of its descendants, in the order in which they were started."""
        found = [self.popen.pid]
        for pid in found:
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
            except OSError:  # it has ended meanwhile
                continue
        return found

    def cpu(self) -> dict[int, float]:
        """CPU seconds, in user and kernel mode, of each process of the tree; exact, without the clock tick of /proc."""
        return {pid: used for pid in self.tree() if (used := cpu_of(pid)) is not None}

    def resident(self) -> int:
        """Bytes of memory resident in all processes of the tree; what they share is counted for each of them."""
        total = 0
        for pid in self.tree():
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
            except OSError:
                continue
        return total

    def stop(self) -> None:
        """SIGTERM and its end; SIGKILL where that does not come."""
        if self.popen.poll() is None:
            self.popen.terminate()
        try:
            self.popen.wait(15)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


def cpu_of(pid: int) -> float | None:
    """CPU seconds of a whole process, also of threads that have ended; None if it is gone.

    The id of a process's CPU clock is made as clock_getcpuclockid(3) of the GNU C library makes it.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return None


def used(before: dict[int, float], after: dict[int, float]) -> list[float]:
    """CPU seconds between two readings of `Process.cpu`, of each process; Fault where one of them has ended."""
    if gone := before.keys() - after.keys():
        raise Fault(f"processes that were measured have ended: {gone}")
    return [after[pid] - before[pid] for pid in before]
