"""Several processes on one listening socket: start, supervise, signal, and see them off.

Owns the processes alone. What they share of the configuration is the generation counter, made before the fork.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from types import FrameType
from typing import Final

from proxy.harden import end_with_parent

_log = logging.getLogger("redeo.workers")
_MAX_FAST_DEATHS: Final = 5  # in a row, before it is clear that no worker can live
Work = Callable[[Callable[[], None]], int]


def supervise(count: int, work: Work, ready: Callable[[], None]) -> int:
    """Run `count` processes of `work` until a signal; one that dies is replaced. Returns the exit code.

    `work` gets a callback to say that it serves; `ready` is called once all of them have said so.
    """
    folder = tempfile.mkdtemp(prefix="redeo-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    supervisor = _Supervisor(work)
    try:
        return supervisor.run(count, ready)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Supervisor:
    def __init__(self, work: Work) -> None:
        self._work = work
        self._children: set[int] = set()
        self._stopping = False
        self._said = os.pipe()
        self._deaths = 0

    def run(self, count: int, ready: Callable[[], None]) -> int:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._pass_on)
        for _ in range(count):
            self._start()
        for _ in range(count):
            if not os.read(self._said[0], 1):
                break
        ready()
        while self._children:
            self._wait_for_one()
        return 0 if self._stopping else 1

    def _start(self) -> None:
        pid = os.fork()
        if pid:
            self._children.add(pid)
            return
        code = 1
        end_with_parent()
        try:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            code = self._work(self._say_ready)
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _say_ready(self) -> None:
        os.write(self._said[1], b".")

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        if number != signal.SIGHUP:
            self._stopping = True
        for pid in self._children:
            os.kill(pid, number)

    def _wait_for_one(self) -> None:
        pid, status = os.wait()
        self._children.discard(pid)
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(pid)  # type: ignore[no-untyped-call]  # the library has no types here
        if self._stopping:
            return
        self._deaths += 1
        _log.error("a worker ended", extra={"redeo": {"pid": pid, "code": os.waitstatus_to_exitcode(status)}})
        if self._deaths <= _MAX_FAST_DEATHS:
            self._start()
            return
        self._pass_on(signal.SIGTERM, None)
        self._stopping = False
