"""`redeo env`: the settings that point clients at the daemon, as lines for a shell.

Which variables which client reads was looked at in November 2026. `redeo run` sets the same for one command.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from .address import Address
from .options import ServeOptions, add_places
from .output import DONE, note, say
from .places import api_key, daemon_address

if TYPE_CHECKING:
    from .options import Commands

# Clients that find one of these beside ours complain, or send it instead of the daemon's key.
RIVALS: Final = {"ANTHROPIC_API_KEY": "ANTHROPIC_AUTH_TOKEN", "GOOGLE_API_KEY": "GEMINI_API_KEY"}
PROXY_VARIABLES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
_LOOPBACK: Final = ("127.0.0.1", "localhost")


def register(commands: Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "env",
        help="print the exports that point clients at the daemon",
        description='Prints exports. For sh, bash and zsh: eval "$(redeo env)"; for fish: '
        "redeo env --shell fish | source; for PowerShell: redeo env --shell powershell | Out-String | "
        "Invoke-Expression.",
    )
    add_places(parser)
    parser.add_argument("--shell", choices=tuple(_SHELLS), default="sh", help="whose syntax to print (sh)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints one line for each variable; what stands in the way goes to standard error."""
    options = ServeOptions.of(arguments)
    write = _SHELLS[arguments.shell]
    for name, value in client_environment(daemon_address(options), api_key(options), os.environ).items():
        say(write(name, value))
    for rival, ours in RIVALS.items():
        if os.environ.get(rival):
            note(f"{rival} is set too, and stands in the way of {ours}: unset it for clients of the daemon")
    return DONE


def client_environment(address: Address, key: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables for clients, with `no_proxy` where `environ` sends HTTP through a proxy.

    CommandError: the daemon has no TCP address.
    """
    root = address.base_url
    variables = {
        "OPENAI_BASE_URL": f"{root}/v1",
        "OPENAI_API_BASE": f"{root}/v1",
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": root,
        "ANTHROPIC_AUTH_TOKEN": key,
        "GOOGLE_GEMINI_BASE_URL": root,
        "GEMINI_API_KEY": key,
    }
    if any(environ.get(name) for name in PROXY_VARIABLES):
        direct = without_proxy(environ, address.host)
        variables |= {"NO_PROXY": direct, "no_proxy": direct}  # readers differ in the case they look for
    return variables


def without_proxy(environ: Mapping[str, str], host: str) -> str:
    """What `NO_PROXY` must say: what it says already, then the loopback names and `host`."""
    present = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    names = [name.strip() for name in present.split(",") if name.strip()]
    if "*" in names:
        return present
    return ",".join(dict.fromkeys([*names, *_LOOPBACK, host]))


def _sh(name: str, value: str) -> str:
    return f"export {name}={shlex.quote(value)}"


def _fish(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{escaped}'"


def _powershell(name: str, value: str) -> str:
    escaped = value.replace("'", "''")
    return f"$env:{name} = '{escaped}'"


_SHELLS: Final[Mapping[str, Callable[[str, str], str]]] = {"sh": _sh, "fish": _fish, "powershell": _powershell}
