"""`redeo check`: whether the configuration and the connections could be used as they are. Changes nothing."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from .options import ServeOptions, add_places
from .output import DONE, FAULT, note, say
from .places import paths_of

if TYPE_CHECKING:
    from .options import Commands


def register(commands: Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "check",
        help="validate configuration and connections",
        description="Validates redeo.yaml and connections.yaml: exit code 0, or 1 with one "
        "`file:line: what is wrong, what is allowed` for each fault.",
    )
    add_places(parser, listen=False)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the faults, or where it looked."""
    from config.store import check

    paths = paths_of(ServeOptions.of(arguments))
    faults = check(paths, os.environ)
    for fault in faults:
        say(str(fault))
    if faults:
        if not paths.config_file.exists():
            note(f"{paths.config_file} is not there: defaults")
        return FAULT
    shown = [
        f"{path}{'' if path.exists() else ' (not there: defaults)'}" for path in (paths.config_file, paths.connections)
    ]
    say(f"ok: {', '.join(shown)}")
    return DONE
