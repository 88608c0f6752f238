"""`redeo run -- COMMAND`: one command with its environment pointed at the daemon."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from .client import CATALOG, Daemon, NotRunning
from .env import RIVALS, client_environment
from .options import ServeOptions, add_places
from .output import USAGE, CommandError, note
from .places import api_key, daemon_address

if TYPE_CHECKING:
    from .options import Commands


def register(commands: Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "run",
        help="run one command pointed at the daemon: redeo run -- claude",
        description="Runs COMMAND with the variables of `redeo env`, and without "
        f"{' and '.join(RIVALS)}, which clients would prefer to them. Its exit code is the command's.",
    )
    add_places(parser)
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND ...")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Becomes the command; returns only when there is none, or none of that name."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise CommandError("run what? `redeo run -- COMMAND ...`", USAGE)
    options = ServeOptions.of(arguments)
    address = daemon_address(options)
    environment = {name: value for name, value in os.environ.items() if name not in RIVALS}
    environment |= client_environment(address, api_key(options), os.environ)
    _tell_whether_it_runs(Daemon(address))
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 - running what it is told to is this command
    except OSError as error:
        raise CommandError(f"cannot run {command[0]}: {error.strerror}") from error


def _tell_whether_it_runs(daemon: Daemon) -> None:
    try:
        daemon.ask("GET", CATALOG)
    except NotRunning as error:
        note(str(error))  # the command may start it, or not call it at all
    except CommandError as error:
        raise CommandError(f"{error}; nothing was run") from error
