"""Several processes on one listening socket: start, supervise, signal, and see them off.

Owns the processes alone. What they share of the configuration is the generation counter, made before the fork. To the
service manager the supervisor is the service: workers tell it through a pipe that they serve and that they live.
"""

from __future__ import annotations

import logging
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

from proxy.harden import end_with_parent
from proxy.systemd import Manager

_log = logging.getLogger("redeo.workers")
_MAX_FAST_DEATHS: Final = 5  # in a row, before it is clear that no worker can live
_FAST: Final = 60.0  # seconds; a worker that lived longer died for a reason of its own
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_READY: Final = b"r"
_ALIVE: Final = b"a"
_WORD: Final = 5  # bytes: what is said, and by whom; one write of so few is never split


Work = Callable[[Manager], int]


def supervise(count: int, work: Work, manager: Manager) -> int:
    """Run `count` processes of `work` until a signal; one that dies is replaced. Returns the exit code.

    `work` is given what it has to tell its supervisor; `manager` hears of readiness once all of them serve, and of
    life as long as all of them live.
    """
    folder = tempfile.mkdtemp(prefix="redeo-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    try:
        return _Supervisor(work, manager).run(count)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Supervisor:
    def __init__(self, work: Work, manager: Manager) -> None:
        self._work = work
        self._manager = manager
        self._children: dict[int, float] = {}  # pid -> when it was started
        self._serving: set[int] = set()
        self._alive: set[int] = set()
        self._announced = False
        self._stopping = False
        self._failed = False
        self._deaths = 0
        self._said = os.pipe()
        self._woken = os.pipe()

    def run(self, count: int) -> int:
        for end in (self._said[0], *self._woken):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._woken[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to be woken
        for number in _SIGNALS:
            signal.signal(number, self._pass_on)
        for _ in range(count):
            self._start()
        while self._children:
            select.select([self._said[0], self._woken[0]], [], [])
            _drain(self._woken[0])
            self._listen(count)
            self._reap()
        return 1 if self._failed else 0

    def _start(self) -> None:
        if self._stopping:
            return
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until it is clear who hears them
        pid = os.fork()
        if pid:
            self._children[pid] = time.monotonic()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            return
        code = 1
        end_with_parent()
        try:
            signal.set_wakeup_fd(-1)
            for number in (*_SIGNALS, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            code = self._work(Manager(lambda: self._say(_READY), lambda: self._say(_ALIVE), lambda: None))
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _say(self, what: bytes) -> None:
        os.write(self._said[1], what + os.getpid().to_bytes(_WORD - 1, "big"))

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        if number != signal.SIGHUP and not self._stopping:
            self._stopping = True
            self._manager.stopping()
        for pid in self._children:
            os.kill(pid, number)

    def _listen(self, count: int) -> None:
        said = _drain(self._said[0])
        for at in range(0, len(said) - _WORD + 1, _WORD):
            pid = int.from_bytes(said[at + 1 : at + _WORD], "big")
            (self._serving if said[at : at + 1] == _READY else self._alive).add(pid)
        if not self._announced and len(self._serving & self._children.keys()) >= count:
            self._announced = True
            self._manager.ready()
        if self._alive >= self._children.keys():
            self._alive.clear()
            self._manager.alive()

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._buried(pid, status)

    def _buried(self, pid: int, status: int) -> None:
        lived = time.monotonic() - self._children.pop(pid)
        self._alive.discard(pid)
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(pid)  # type: ignore[no-untyped-call]  # the library has no types here
        if self._stopping:
            return
        self._deaths = self._deaths + 1 if lived < _FAST else 1
        _log.error("a worker ended", extra={"redeo": {"pid": pid, "code": os.waitstatus_to_exitcode(status)}})
        if self._deaths <= _MAX_FAST_DEATHS:
            self._start()
            return
        self._failed = True
        self._pass_on(signal.SIGTERM, None)


def _drain(end: int) -> bytes:
    """What stands in a pipe that does not block."""
    said = b""
    while True:
        try:
            piece = os.read(end, 4000)
        except BlockingIOError:
            return said
        if not piece:
            return said
        said += piece
