"""Several processes on one listening socket: start, supervise, signal, and see them off.

Owns the processes alone. What they share of the configuration is the generation counter, made before the fork; what
they tell each other goes through here (`proxy.link`) and is not looked into. To the service manager the supervisor is
the service. Decisions: docs/decisions/0017-workers.md.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

import msgspec

from proxy import link
from proxy.front.turns import MOST, Turn, Turns
from proxy.harden import end_with_parent
from proxy.link import LEAVE, Link, Word
from proxy.metrics_folder import metrics_folder
from proxy.systemd import Manager

_log = logging.getLogger("redeo.workers")
_MAX_FAST_DEATHS: Final = 5  # in a row, before it is clear that no worker can live
_FAST: Final = 60.0  # seconds; a worker that lived longer died for a reason of its own
_HEAD_START: Final = 0.1  # seconds of the first worker: the processor belongs to the first request
_SILENCE: Final = 30.0  # seconds without a sign of life
_SILENCE_LEAST: Final = 5.0
_PATIENCE: Final = 2.0  # seconds for reading the configuration: a worker that hangs may hold its lock
_LAST_WORDS: Final = 2.0  # seconds after the second signal
_MAX_NEWS: Final = 4096
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Work = Callable[[Manager, Link], int]


class Configuration(msgspec.Struct, frozen=True):
    """What the supervisor asks of it: how many workers there shall be, `renew` after reading the files again."""

    workers: Callable[[], int]
    renew: Callable[[], None]
    prepare: Callable[[], None]  # import what workers load late, so that those born from now on share it


def supervise(work: Work, manager: Manager, configuration: Configuration, watched: float | None = None) -> int:
    """Run processes of `work` until a signal; one that dies is replaced. Returns the exit code.

    `manager` hears of readiness once all of them serve, and of life as long as all of them live. `watched`: the
    seconds between two signs of life that it wants to hear.
    """
    silence = _SILENCE if watched is None else min(_SILENCE, max(_SILENCE_LEAST, watched * 1.2))
    with metrics_folder() as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        return _Supervisor(work, manager, configuration, silence).run()


class _Worker(msgspec.Struct, eq=False):
    pid: int
    seat: int  # its number at the listening sockets
    end: socket.socket
    born: float
    heard: float  # when it last said anything
    serving: bool = False
    answering: bool = False
    leaving: bool = False


class _Supervisor:
    def __init__(self, work: Work, manager: Manager, configuration: Configuration, silence: float) -> None:
        self._work = work
        self._manager = manager
        self._configuration = configuration
        self._silence = silence
        self._turns = Turns()
        self._workers: dict[int, _Worker] = {}  # by pid
        self._news: dict[bytes, bytes] = {}  # for those who are born later
        self._announced = False
        self._fed = False
        self._all_from: float | None = None  # when the others may follow the first
        self._prepared = False
        self._stopping = False
        self._killing: float | None = None
        self._failed = False
        self._deaths = 0
        self._looked = time.monotonic()
        self._woken = os.pipe()

    def run(self) -> int:
        """Until the last worker has ended."""
        for end in self._woken:
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._woken[1], warn_on_full_buffer=False)
        for number in (*_SIGNALS, signal.SIGCHLD):
            signal.signal(number, _wake)
        signal.signal(signal.SIGALRM, _too_long)
        gc.freeze()  # what is there is shared with every worker, as long as nobody looks at it
        self._start()
        gc.enable()
        while self._workers:
            self._wait()
            self._listen()
            self._reap()
            self._fill()
            self._look()
            self._report()
        return 0 if self._stopping and not self._failed else 1

    def _wait(self) -> None:
        ends: list[int | socket.socket] = [self._woken[0], *(worker.end for worker in self._workers.values())]
        times = [self._looked + self._silence / 4]
        times += [at for at in (self._killing, None if self._prepared else self._all_from) if at is not None]
        select.select(ends, [], [], max(0.0, min(times) - time.monotonic()))
        for number in _drain(self._woken[0]):
            if number in _SIGNALS:
                self._signalled(signal.Signals(number))

    def _signalled(self, number: signal.Signals) -> None:
        if number == signal.SIGHUP:
            self._manager.reloading()
            self._announced = False
            for worker in self._workers.values():
                worker.serving = False  # until it says so again
        else:
            if self._stopping:
                self._failed = True
                self._killing = time.monotonic() + _LAST_WORDS
            else:
                self._manager.stopping()
            self._stopping = True
        for worker in self._workers.values():
            self._send(worker, number)

    def _send(self, worker: _Worker, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, number)

    def _fill(self) -> None:
        """Start those that are missing, and let those go that are too many. The first alone until it serves."""
        if self._stopping:
            return
        if not self._prepared:
            if self._all_from is None and any(worker.serving for worker in self._workers.values()):
                self._all_from = time.monotonic() + _HEAD_START
            if self._all_from is not None and time.monotonic() >= self._all_from:
                self._configuration.prepare()
                gc.freeze()
                self._prepared = True
        staying = [worker for worker in self._workers.values() if not worker.leaving]
        wanted = self._configuration.workers() if self._prepared else 1
        for worker in sorted(staying, key=lambda worker: worker.seat)[wanted:]:
            worker.leaving = True
            self._send(worker, LEAVE)
        for _ in range(wanted - len(staying)):
            self._start()

    def _start(self) -> None:
        taken = {worker.seat for worker in self._workers.values()}
        seat = min((number for number in range(MOST) if number not in taken), default=None)
        if seat is None:
            return  # those that leave still sit there
        supervisor = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until it is clear who hears them
        try:
            mine, its = link.pair()
            pid = os.fork()
        except OSError as exc:  # too many processes, no memory: it is tried again
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            _log.error("no worker could be started: %s", exc.strerror)
            return
        if pid:
            its.close()
            now = time.monotonic()
            self._workers[pid] = _Worker(pid, seat, mine, now, now)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            return
        code = 1
        try:
            self._become_worker(mine, supervisor)
            code = self._serve(Link(its, Turn(self._turns, seat), self._news))
        except Exception:
            _log.exception("a worker failed")
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _become_worker(self, mine: socket.socket, supervisor: int) -> None:
        """A group of its own: what a terminal sends to all processes comes through the supervisor, once."""
        os.setpgid(0, 0)
        end_with_parent()
        if os.getppid() != supervisor:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        for number in (*_SIGNALS, signal.SIGCHLD, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can heed it: what it begins with was read just now
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it writes to a terminal that is not its own any more
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        for end in self._woken:
            os.close(end)
        for other in (mine, *(worker.end for worker in self._workers.values())):
            other.close()
        self._workers.clear()

    def _serve(self, own: Link) -> int:
        return self._work(Manager(own.serving, own.answering, lambda: None, lambda: None), own)

    def _listen(self) -> None:
        now, configured = time.monotonic(), False
        for worker in self._workers.values():
            for word, said in link.heard(worker.end):
                worker.heard = now
                worker.serving |= word is Word.SERVING
                worker.answering |= word is Word.ANSWERING
                configured |= word is Word.CONFIGURED
                if word in (Word.NEWS, Word.WELL):
                    self._pass_on(worker, word, said)
        if configured:
            self._renew()

    def _renew(self) -> None:
        """Within a time, or not at all: whoever hangs could not be killed meanwhile."""
        try:
            signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
            try:
                self._configuration.renew()
            finally:  # where it may run out just now, too
                signal.setitimer(signal.ITIMER_REAL, 0.0)
        except TimeoutError:
            _log.warning("the configuration could not be read in time; the next worker begins with the one before")

    def _pass_on(self, source: _Worker, word: Word, said: bytes) -> None:
        key, _ = link.of_news(said)
        self._news.pop(key, None)
        if word is Word.NEWS:
            if len(self._news) >= _MAX_NEWS:
                del self._news[next(iter(self._news))]
            self._news[key] = said
        for worker in self._workers.values():
            if worker is not source:
                link.say(worker.end, word, said)

    def _report(self) -> None:
        """Tell the service manager what is true of all of them."""
        if not self._workers:
            return
        staying = [worker for worker in self._workers.values() if not worker.leaving]
        enough = self._prepared and len(staying) >= self._configuration.workers()
        if enough and not self._announced and all(worker.serving for worker in staying):
            self._announced = self._fed = True
            self._manager.ready()
        if self._fed and all(worker.answering for worker in self._workers.values()):
            for worker in self._workers.values():
                worker.answering = False
            self._manager.alive()

    def _look(self) -> None:
        """Kill who says nothing: its loop stands still, and with it every request that it has taken."""
        now = time.monotonic()
        late, self._looked = now - self._looked > self._silence / 2, now
        for worker in self._workers.values():
            if late:  # we stood still ourselves (a frozen container, a debugger): that proves nothing
                worker.heard = now
            if now - worker.heard > self._silence:
                extra = {"redeo": {"pid": worker.pid, "seconds": round(now - worker.heard)}}
                _log.error("a worker shows no sign of life and is killed", extra=extra)
                worker.heard = now
                self._send(worker, signal.SIGKILL)
            elif self._killing is not None and now >= self._killing:
                self._send(worker, signal.SIGKILL)
        if self._killing is not None and now >= self._killing:
            self._killing = None

    def _reap(self) -> None:
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            if pid in self._workers:
                self._buried(self._workers.pop(pid), os.waitstatus_to_exitcode(status))

    def _buried(self, worker: _Worker, code: int) -> None:
        worker.end.close()
        self._turns.away(worker.seat)
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # the library has no types here
        if self._stopping or worker.leaving:
            return
        lived = time.monotonic() - worker.born
        self._deaths = self._deaths + 1 if lived < _FAST else 1
        _log.error("a worker ended", extra={"redeo": {"pid": worker.pid, "code": code}})
        if self._deaths > _MAX_FAST_DEATHS:
            self._failed = True
            self._signalled(signal.SIGTERM)
            return
        self._renew()  # its successor begins with what is in force now
        self._start()


def _wake(_number: int, _frame: object) -> None:
    """The number stands in the pipe already (`set_wakeup_fd`)."""


def _too_long(_number: int, _frame: object) -> None:
    raise TimeoutError


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
