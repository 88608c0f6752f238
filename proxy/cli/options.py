"""Options that several commands share, as values.

Where a file lies when no option says so is decided in `config.paths`, never here.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What the command line says about files and address; None: it says nothing."""

    config: Path | None
    state_dir: Path | None
    listen: str | None

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> ServeOptions:
        """From a parsed command line."""
        return cls(arguments.config, arguments.state_dir, arguments.listen)


def add_places(parser: argparse.ArgumentParser, *, listen: bool = True) -> None:
    """`--config`, `--state-dir` and, for commands that need the daemon's address, `--listen`."""
    parser.set_defaults(listen=None)
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="redeo.yaml (else $REDEO_CONFIG, else ~/.config/redeo/redeo.yaml)"
    )
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="keys and connections (else $REDEO_STATE_DIR, else ~/.local/state/redeo)",
    )
    if not listen:
        return
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        help="HOST:PORT or unix:PATH of the daemon (else $REDEO_LISTEN, else what redeo.yaml says, "
        "else 127.0.0.1:7333)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
