"""The commands together: one parser, one place that turns failures into messages and exit codes.

A command's module is loaded only when that command, or the help for all of them, is asked for: `redeo version`,
`key`, `env` and `check` stay quick and free of the HTTP stack.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from config.errors import ConfigError, InvalidField, SealError, StoreUnavailable, UnknownProvider, UnsafeState

from .output import FAULT, CommandError, note

_MODULES: Final = {  # in the order of the help
    "serve": "serve",
    "check": "check",
    "key": "key",
    "env": "env",
    "run": "run",
    "providers": "providers",
    "explain": "explain",
    "doctor": "doctor",
    "demo": "demo",
    "rotate-master-key": "rotate",
    "completion": "completion",
    "version": "version",
}
_EPILOG: Final = (
    "Start with `redeo serve`, then `redeo providers import-env` or `redeo providers add PROVIDER`. "
    "Exit codes: 0 done, 1 a fault that the message names, 2 wrong usage."
)


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The whole command line, or the part of it that knows the command `only`.

    A parsed command is `namespace.run(namespace)`.
    """
    top = argparse.ArgumentParser(
        prog="redeo",
        description="A local proxy for LLM providers: one address and key for clients, your keys behind it, "
        "tried in your order until one answers.",
        epilog=_EPILOG,
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    for module in [_MODULES[only]] if only in _MODULES else _MODULES.values():
        import_module(f".{module}", __package__).register(commands)
    return top


def main(argv: Sequence[str]) -> int:
    """Runs one command line (without the program's name); returns its exit code.

    SystemExit: from argparse, 0 after help and 2 after wrong usage.
    """
    top = parser(argv[0] if argv else None)
    arguments = top.parse_args(["version"] if list(argv) == ["--version"] else argv)
    if "run" not in arguments:
        top.error("which command? `redeo --help` lists them")
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except CommandError as error:
        note(str(error))
        return error.code
    except ConfigError as error:
        for fault in error.faults:
            sys.stderr.write(f"{fault}\n")
        return FAULT
    except (UnsafeState, StoreUnavailable, InvalidField, SealError) as error:
        note(str(error))
        return FAULT
    except UnknownProvider as error:
        note(f"there is no connection to {error.provider!r}: `redeo providers list` shows those there are")
        return FAULT
    except BrokenPipeError:  # the reader of our output has gone, as in `redeo providers list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAULT
    except KeyboardInterrupt:  # die of the signal, so that the shell knows
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return FAULT
    return code
