"""`redeo doctor`: looks at everything that commonly stands in the way, and says what to do about each.

Looks only: it changes nothing. What is looked at stands in the `doctor_*` modules beside this one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from config.errors import ConfigError, UnsafeState
from config.model import Settings

from .address import Address
from .client import Daemon
from .findings import Finding, Status, fail, ok, warn
from .options import ServeOptions, add_json, add_places
from .output import DONE, FAULT, CommandError, paint, say, say_json
from .places import api_key, daemon_address, paths_of

if TYPE_CHECKING:
    from config.paths import Paths

    from .options import Commands

_COLOURS: Final = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "red"}


def register(commands: Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "doctor",
        help="look at what commonly stands in the way, and say what to do",
        description="Looks at installation, configuration, files, port, key, routing, connections, clock, TLS roots, "
        "proxy variables and client settings. Exit code 1 if something does not work.",
    )
    add_places(parser)
    add_json(parser)
    parser.add_argument("--offline", action="store_true", help="make no calls through the connections")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints one line for each finding, and one for what to do about it."""
    findings = examine(ServeOptions.of(arguments), os.environ, offline=arguments.offline)
    works = all(finding.status is not Status.FAIL for finding in findings)
    if arguments.json:
        rows = [
            {"check": f.check, "status": f.status.value, "message": f.message, "advice": f.advice} for f in findings
        ]
        say_json({"ok": works, "data": rows})
        return DONE if works else FAULT
    for finding in findings:
        mark = paint(f"{finding.status.value:<5}", _COLOURS[finding.status])
        say(f"{finding.check}: {finding.message}", mark)
        if finding.advice:
            say(f"     -> {finding.advice}")
    return DONE if works else FAULT


def examine(options: ServeOptions, environ: Mapping[str, str], *, offline: bool) -> list[Finding]:
    """Every finding, in the order in which things depend on each other. CommandError (usage): a bad --listen."""
    from . import doctor_clients, doctor_daemon, doctor_machine

    paths = paths_of(options)
    address = _address(options)
    files = (paths.api_key, paths.master_key, paths.connections)
    findings = [
        *doctor_machine.installation(environ),
        *_configuration(paths, environ),
        *doctor_daemon.state_modes(paths.state_dir, files),
    ]
    key, found = _key(options)
    daemon = Daemon(address, key)
    port, runs = doctor_daemon.port(daemon)
    findings += [*port, *(doctor_daemon.key(daemon) if runs and key else found)]
    if runs and key and findings[-1].status is Status.OK:
        findings += doctor_daemon.routing(daemon)
        findings += [] if offline else doctor_daemon.connections(daemon)
    return [
        *findings,
        *doctor_machine.clock(time.time(), _stamps(paths)),
        *doctor_machine.tls_roots(environ),
        *doctor_machine.proxies(environ, address.host),
        *doctor_clients.look(address, environ, Path(environ.get("HOME") or "~").expanduser()),
    ]


def _address(options: ServeOptions) -> Address:
    try:
        return daemon_address(options)
    except ConfigError:  # said by the check of the configuration; a daemon may run on an older one
        return Address.parse(Settings().listen)


def _configuration(paths: Paths, environ: Mapping[str, str]) -> list[Finding]:
    """The faults of both files; what is wrong with the state directory itself is said under `files`."""
    from config.store import check

    faults = [fault for fault in check(paths, environ) if fault.file != str(paths.state_dir)]
    if not faults:
        return [
            ok("configuration", f"{paths.config_file}{'' if paths.config_file.exists() else ': not there, defaults'}")
        ]
    return [fail("configuration", str(fault), "correct that line; `redeo check` looks again") for fault in faults]


def _key(options: ServeOptions) -> tuple[str | None, list[Finding]]:
    """The daemon's API key as a client would find it, and what to say of it where no daemon can be asked."""
    try:
        return api_key(options), [ok("key", "there is one")]
    except CommandError as error:
        return None, [warn("key", str(error), "start the daemon once with `redeo serve`")]
    except UnsafeState as error:
        return None, [fail("key", str(error), "see above, and start the daemon with `redeo serve`")]


def _stamps(paths: Paths) -> dict[str, float]:
    """When things were written that are older than now, if the clock is right; Unix seconds."""
    stamps = {}
    for name, path in (("redeo itself", Path(__file__)), (paths.connections.name, paths.connections)):
        with contextlib.suppress(OSError):
            stamps[name] = path.stat().st_mtime
    return stamps
