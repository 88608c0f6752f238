"""What commands print: tables, JSON, faults; colour only for a terminal that wants it.

Never decides what is shown: a command hands in text that is already free of secrets.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final, TextIO

DONE: Final = 0
FAULT: Final = 1  # a fault that the message names
USAGE: Final = 2  # wrong usage

_COLOURS: Final = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}


class CommandError(Exception):
    """A command that cannot go on: the message for the person, the exit code for the script."""

    def __init__(self, message: str, code: int = FAULT) -> None:
        super().__init__(message)
        self.code = code


def say(text: str = "", mark: str = "") -> None:
    """One line to standard output, with `mark`, which may be painted, in front of it."""
    sys.stdout.write(f"{mark}{printable(text)}\n")


def note(text: str) -> None:
    """One line to standard error, for what is no part of the result."""
    sys.stderr.write(f"redeo: {printable(text)}\n")


def say_json(value: object) -> None:
    """`value` as indented JSON to standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def say_table(header: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO | None = None) -> None:
    """Columns as wide as their widest cell, to `stream` (standard output); the last one is not padded."""
    out = sys.stdout if stream is None else stream
    lines = [[cell(c) for c in row] for row in (header, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for number, line in enumerate(lines):
        text = "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
        out.write((paint(text, "bold", out) if number == 0 else text) + "\n")


def cell(value: object) -> str:
    """One value as one line of a table; nothing for None, yes and no for booleans."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(" ".join(str(value).split()))


def printable(text: str) -> str:
    """`text` without control characters: what a provider or a file says must not drive the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def paint(text: str, colour: str, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """`text` in a colour where `stream` (standard output) is a terminal and NO_COLOR is not set."""
    target = sys.stdout if stream is None else stream
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb" or not target.isatty():
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"
