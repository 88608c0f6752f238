"""`redeo serve`: parses, and hands over to `proxy.daemon`, which does everything else."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .options import ServeOptions, add_places

if TYPE_CHECKING:
    from .options import Commands


def register(commands: Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "serve",
        help="run the daemon in the foreground",
        description="Runs the daemon in the foreground and logs to standard error. "
        "SIGHUP reloads, SIGTERM or SIGINT drains and exits 0, a second one exits at once.",
    )
    add_places(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs until stopped; the daemon's exit code."""
    from proxy.daemon import serve

    options = ServeOptions.of(arguments)
    return serve(config=options.config, state_dir=options.state_dir, listen=options.listen)
