"""What `redeo doctor` sees of the daemon: files, address, key, connections.

The files are judged by `config`, connections by the daemon's own test call, which asks the provider.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from .client import CATALOG, ROOT, Daemon, Json, NotRedeo, NotRunning, entries, objects
from .explain import explained, is_well, state_text
from .findings import Finding, fail, ok, warn
from .output import CommandError
from .port_holder import holder

TEST_SECONDS: Final = 90.0


def state_modes(folder: Path, files: Iterable[Path]) -> list[Finding]:
    """Whether the state directory and its files are ours alone."""
    findings: list[Finding] = []
    for path, mode in ((folder, 0o700), *((file, 0o600) for file in files)):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            findings.append(fail("files", f"{path}: {error.strerror}", "run this as the user of the daemon"))
            continue
        if found.st_uid != os.geteuid():
            advice = f"run this as the user of the daemon, or chown it to {os.geteuid()}"
            findings.append(fail("files", f"{path} belongs to user {found.st_uid}", advice))
        elif stat.S_IMODE(found.st_mode) & ~mode & 0o777:
            message = f"{path} has mode {stat.S_IMODE(found.st_mode):04o}: others can reach it"
            findings.append(fail("files", message, f"chmod {mode:o} {path}"))
    if findings:
        return findings
    if not folder.exists():
        return [warn("files", f"{folder} is not there yet", "the first `redeo serve` makes it")]
    return [ok("files", f"{folder} and what is in it are yours alone")]


def port(daemon: Daemon) -> tuple[list[Finding], bool]:
    """Who answers at the daemon's address; the second value says whether it is a redeo."""
    address = daemon.address
    try:
        answer = daemon.ask("GET", CATALOG)
        entries(answer.body)
    except NotRunning:
        return [warn("port", f"nothing listens at {address}", "start the daemon with `redeo serve`")], False
    except NotRedeo:
        return [_taken(daemon)], False
    except CommandError as error:
        return [fail("port", str(error), "look at the daemon's log, and restart it")], False
    return [ok("port", f"redeo answers at {address}")], True


def _taken(daemon: Daemon) -> Finding:
    who = holder(daemon.address.port) if daemon.address.path is None else None
    message = f"{daemon.address} is held by {who or 'another program'}, which is no redeo"
    return fail("port", message, "stop it, or give `redeo serve --listen` another port")


def key(daemon: Daemon) -> list[Finding]:
    """Whether the running daemon takes the key that this command found."""
    try:
        daemon.call("GET", ROOT)
    except CommandError as error:
        return [fail("key", str(error), "compare with `redeo key`, run as the daemon's user")]
    return [ok("key", "the daemon accepts it")]


def routing(daemon: Daemon) -> list[Finding]:
    """Which connections the daemon leaves out just now, whatever a test call of them says. None of what is unusable
    by its configuration: its test says that."""
    try:
        breakers = objects(explained(daemon), "breakers")
    except CommandError as error:
        return [warn("routing", str(error), "restart the daemon, so that it is of this command's version")]
    sick = [_left_out(b) for b in breakers if not is_well(b) and not b.get("fault")]
    return sick if sick or not breakers else [ok("routing", "no connection is left out just now")]


def _left_out(breaker: Json) -> Finding:
    name = str(breaker.get("provider"))
    last = f" (last failure: {breaker.get('last_error')})" if breaker.get("last_error") else ""
    advice = "it is tried again by itself; `redeo explain` says more"
    if breaker.get("state") == "disabled":
        advice = f"`redeo providers add {name}` with a new key; if this one is good, `redeo providers test {name}`"
    return warn("routing", f"{name}: {state_text(breaker)}{last}", advice)


def connections(daemon: Daemon) -> list[Finding]:
    """One cheap call through each connection, made by the daemon."""
    try:
        listed = entries(daemon.call("GET", ROOT))
        if not listed:
            advice = "`redeo providers import-env`, or `redeo providers add PROVIDER`"
            return [warn("connections", "there are none: no request can be served", advice)]
        return [_test(daemon, connection) for connection in listed]
    except CommandError as error:
        return [fail("connections", str(error), "look at the daemon's log")]


def _test(daemon: Daemon, connection: Json) -> Finding:
    name = str(connection["provider"])
    result = daemon.call("POST", f"{ROOT}/{name}/test", timeout=TEST_SECONDS)
    if result.get("ok"):
        return ok("connections", f"{name} answers: {result.get('models')} models, {result.get('latency_ms')} ms")
    # What is wrong says already whose it is, and what to do about it.
    message = str(result.get("error") or f"{name}: failed")
    return fail("connections", message, f"when that is put right: `redeo providers test {name}`")
