"""`redeo key`: the daemon's own API key, for people and scripts that point a client at it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .options import ServeOptions, add_places
from .output import DONE, say
from .places import api_key

if TYPE_CHECKING:
    from .options import Commands


def register(commands: Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser("key", help="print the daemon's API key, which clients send")
    add_places(parser, listen=False)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints it, and nothing else."""
    say(api_key(ServeOptions.of(arguments)))
    return DONE
