"""Each write path killed at each of its system calls, and each of those failing: always the old or the new version.

A child does the write in a thread of its own, to which strace is attached: what is counted is the write and nothing
else. Killed: strace's `inject=CALL:signal=KILL:when=N`, on entering the call. Needs strace and leave to trace.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from config.errors import ConfigError, SealError, StoreUnavailable, UnsafeState
from config.paths import Paths
from fuzz.report import Row
from fuzz.writes import WRITES, Listed, Write, carried_out, listed, sound

_ANY_TRACER = ctypes.c_ulong(2**64 - 1)
_SET_PTRACER = 0x59616D61  # PR_SET_PTRACER, prctl(2)
_CALL = re.compile(r"^(\w+)\((.*)$")
_FAILING = {
    "openat": ("ENOSPC", "EROFS", "EMFILE"),
    "write": ("ENOSPC", "EIO", "EDQUOT"),
    "fsync": ("ENOSPC", "EIO", "EDQUOT"),
    "rename": ("EIO", "ENOSPC"),
    "link": ("ENOSPC", "EPERM"),
    "unlink": ("EIO",),
    "close": ("EIO",),
    "read": ("EIO",),
    "mkdir": ("ENOSPC",),
    "flock": ("ENOLCK",),
}


def missing() -> str | None:
    """Why nothing can be traced here, if so."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-qq", "-e", "trace=none", "true"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"tracing is not allowed here: {done.stderr.strip()[:100]}"


def run() -> list[Row]:
    """A row for each write path: killed at every call, then with every call failing; then the daemon itself."""
    why = missing()
    if why is not None:
        return [Row("kills", "nothing", 0, why, [why])]
    rows = []
    for write in WRITES:
        _warm(write)
        rows.append(_campaign(write))
    from fuzz import served

    return [*rows, served.run()]


def _warm(write: Write) -> None:
    """Whatever is imported on the way is imported once, before anything is counted."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write.prepare(Path(folder))
        with suppress(OSError):
            asyncio.run(carried_out(write.ready(paths)))
        sound(paths)


class _Child:
    """A process that is about to do the write, in the thread `tid`, as soon as it is told."""

    def __init__(self, write: Write, paths: Paths) -> None:
        self._go, go = os.pipe()[::-1]
        said, say = os.pipe()
        self._said = os.fdopen(said, "r")
        self.pid = os.fork()
        if not self.pid:
            try:
                _write_when_told(write, paths, go, say)
            finally:
                os._exit(0)
        os.close(go)
        os.close(say)
        self.tid = int(self._said.readline())

    def outcome(self) -> str:
        """`done`, `refused`, `full`, an exception's name, or empty where it was killed."""
        os.write(self._go, b"g")
        os.close(self._go)
        with self._said:
            text = self._said.read()
        os.waitpid(self.pid, 0)
        return text


def _write_when_told(write: Write, paths: Paths, go: int, say: int) -> None:
    ctypes.CDLL(None).prctl(_SET_PTRACER, _ANY_TRACER)

    async def main() -> str:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        tid = await asyncio.to_thread(threading.get_native_id)
        act = write.ready(paths)
        os.write(say, f"{tid}\n".encode())
        os.read(go, 1)
        try:
            await carried_out(act)
        except StoreUnavailable as exc:
            return "full" if exc.full else "refused"
        except (UnsafeState, ConfigError, SealError):
            return "refused"
        except BaseException as exc:
            return f"{type(exc).__name__}: {exc}"
        return "done"

    os.write(say, asyncio.run(main()).encode())


def _traced(write: Write, folder: Path, inject: str = "") -> tuple[Paths, str, str]:
    """One write under strace: where, its outcome, and the log."""
    paths = write.prepare(folder)
    child = _Child(write, paths)
    log = folder / "log"
    command = ["strace", "-p", str(child.tid), "-o", str(log), "-s", "0", "-e", "trace=%file,%desc"]
    if inject:
        command += ["-e", f"inject={inject}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        attached = tracer.stderr.readline()
        assert "attached" in attached, attached
        said = child.outcome()
    return paths, said, log.read_text()


def _campaign(write: Write) -> Row:
    began, row = time.monotonic(), Row(f"kill: {write.name}", "", 0)
    with tempfile.TemporaryDirectory() as folder:
        paths, said, log = _traced(write, Path(folder))
        assert said == "done", said
        row.findings += _order(write, log)
        new = _seen(paths)
    with tempfile.TemporaryDirectory() as folder:
        old = {} if write.fresh else _seen(write.prepare(Path(folder)))
    calls = Counter(found[1] for line in log.splitlines() if (found := _CALL.match(line)))
    outcomes: Counter[str] = Counter()
    faults = [f"{call}:signal=KILL:when={n}" for call, count in calls.items() for n in range(1, count + 1)]
    for call, errors in _FAILING.items():
        faults += [f"{call}:error={e}:when={n}" for e in errors for n in range(1, calls[call] + 1)]
    for fault in faults:
        outcomes[_one(write, fault, old, new, row).partition(":")[0]] += 1
    row.did = f"{sum(calls.values())} calls killed, {len(faults) - sum(calls.values())} failed"
    row.more = ", ".join(f"{count} {what}" for what, count in sorted(outcomes.items()))
    row.seconds = time.monotonic() - began
    return row


def _seen(paths: Paths) -> Listed:
    return listed(paths)


def _one(write: Write, fault: str, old: Listed, new: Listed, row: Row) -> str:
    """One fault, and what stands there after it; what is wrong is added to the row."""
    with tempfile.TemporaryDirectory() as folder:
        paths, said, _ = _traced(write, Path(folder), fault)
        killed = "signal=KILL" in fault
        try:
            assert said in ("done", "refused", "full") or (killed and not said), said
            after = listed(paths)
            assert after in (old, new), f"neither old nor new: {sorted(after)}"
            if said == "done":
                assert after == new, "acknowledged and not there"
            elif said:
                assert after == old, f"{said}, and changed all the same"
            assert not (":error=ENOSPC" in fault and said == "refused" and fault.startswith(("write", "fsync")))
            sound(paths)
        except (AssertionError, OSError, StoreUnavailable, UnsafeState, ConfigError, SealError) as exc:
            row.findings.append(f"{fault}: {type(exc).__name__}: {exc}")
    return said or "killed"


def _order(write: Write, log: str) -> list[str]:
    """What the log of a whole write lacks of: temporary file, content, its fsync, the name, the folder's fsync."""
    at, lines, missed = 0, log.splitlines(), []
    for name in write.makes:
        temporary = rf'"[^"]*/\.{re.escape(name)}\.\w+\.redeo-tmp"'
        steps = (
            rf"openat\(AT_FDCWD, {temporary}, O_WRONLY\|O_CREAT\|O_EXCL\|O_NOFOLLOW\|O_CLOEXEC, 0600\) = (?P<fd>\d+)",
            r"write\({fd}, .*\) += [1-9]\d*$",
            r"fsync\({fd}\) += 0$",
            r"close\({fd}\) += 0$",
            rf'(rename|link)\({temporary}, "[^"]*/{re.escape(name)}"\) += 0$',
            r"openat\(AT_FDCWD, .*O_DIRECTORY.*\) += (?P<fd>\d+)",
            r"fsync\({fd}\) += 0$",
            r"close\({fd}\) += 0$",
        )
        number = ""
        for step in steps:
            wanted = re.compile(step.replace("{fd}", number))
            while at < len(lines) and not (found := wanted.match(lines[at])):
                at += 1
            if at == len(lines):
                missed.append(f"the log of {name} has no {wanted.pattern}, or not at its place")
                return missed
            assert found is not None
            number = found.groupdict().get("fd") or number
    return missed
