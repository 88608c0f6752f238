"""`redeo version`: which release this is. Nothing else is loaded for it but the package's own metadata."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .output import DONE, say

if TYPE_CHECKING:
    from .options import Commands


def register(commands: Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser("version", help="print the version")
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    """Prints one line."""
    say(f"redeo {installed_version()}")
    return DONE


def installed_version() -> str:
    """The installed distribution's version, or `unknown` in a source tree that was never installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("redeo-proxy")
    except PackageNotFoundError:
        return "unknown (not installed)"
