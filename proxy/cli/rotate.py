"""`redeo rotate-master-key`: a new master key, and every stored key sealed with it. `config` does the work."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from .options import ServeOptions, add_places
from .output import DONE, CommandError, say
from .places import paths_of

if TYPE_CHECKING:
    from .options import Commands


def register(commands: Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "rotate-master-key",
        help="make a new master key and seal every stored key with it",
        description="Makes a new master key and seals every stored key with it; the keys themselves stay as they are. "
        "Where the master key is given from outside (REDEO_MASTER_KEY, REDEO_MASTER_KEY_FILE, a credential), put the "
        "new one in front of the old one there first, one a line.",
    )
    add_places(parser, listen=False)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Rotates, and says how many keys were sealed anew."""
    from config.store import rotate

    paths = paths_of(ServeOptions.of(arguments))
    if not paths.state_dir.exists():
        raise CommandError(f"nothing to rotate: there is no {paths.state_dir} yet")
    done = rotate(paths, os.environ)
    say(f"{done.records} stored {'key' if done.records == 1 else 'keys'} sealed with the new master key")
    if done.given:
        say("the master key is given from outside, and its first line counts: the others can be taken away now")
    return DONE
