"""The command line: parses, asks the running daemon or the files, prints, and answers with an exit code."""

from .app import main

__all__ = ["main"]
