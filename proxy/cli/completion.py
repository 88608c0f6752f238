"""`redeo completion SHELL`: a completion script for the whole command line, written by shtab."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from .output import DONE

if TYPE_CHECKING:
    from .options import Commands

SHELLS = ("bash", "zsh", "fish")


def register(commands: Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "completion",
        help="print a completion script for your shell",
        description='Prints a completion script. For bash, in ~/.bashrc: eval "$(redeo completion bash)"; '
        "for zsh, into a file _redeo on $fpath; for fish, into ~/.config/fish/completions/redeo.fish.",
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the script."""
    import shtab

    from .app import parser

    sys.stdout.write(shtab.complete(parser(), shell=arguments.shell) + "\n")
    return DONE
