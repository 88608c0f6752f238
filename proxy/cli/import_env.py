"""`redeo providers import-env`: keys that already stand in the environment become connections.

Which variables hold whose key is said by the catalogue. The running daemon takes them; without one they are sealed
straight into the state directory, so that this can be the first command ever run.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.errors import UnsafeState
from config.model import Credential, ProviderSpec, Secret

from .client import ROOT, Daemon, Json, NotRunning, entries
from .options import ServeOptions, add_json, add_places
from .output import DONE, FAULT, USAGE, CommandError, note, say_json, say_table
from .places import api_key, daemon_address, paths_of, provider_specs

if TYPE_CHECKING:
    from .options import Commands


@dataclass(frozen=True, slots=True)
class Found:
    """A key in the environment, and the provider it is for."""

    provider: str
    variable: str
    value: str = field(repr=False)

    @property
    def prefix(self) -> str:
        """What of the key may be shown."""
        return Secret(self.value).prefix


def register(actions: Commands) -> None:
    """Adds the command below `providers`."""
    parser = actions.add_parser(
        "import-env",
        help="make connections of the keys in the environment",
        description="Finds provider keys in the environment, shows how each begins, asks, and seals them. "
        "A provider that has a connection already gets the key from the environment.",
    )
    add_places(parser)
    add_json(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("provider", metavar="PROVIDER", nargs="*", help="only these")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Finds, shows, asks, seals."""
    options = ServeOptions.of(arguments)
    specs = provider_specs(options)
    unknown = [name for name in arguments.provider if name not in specs]
    if unknown:
        raise CommandError(f"no provider is called {', '.join(unknown)}: see `redeo providers catalog`")
    wanted = [spec for name, spec in specs.items() if not arguments.provider or name in arguments.provider]
    found = find(wanted, os.environ, own_key(options))
    if not found:
        raise CommandError("no provider keys in the environment; `redeo providers add PROVIDER` asks for one")
    rows = [(one.provider, one.variable, f"{one.prefix}…") for one in found]
    say_table(("PROVIDER", "VARIABLE", "KEY"), rows, sys.stderr if arguments.json else sys.stdout)
    if not arguments.yes and not _agreed(len(found)):
        note("nothing was imported")
        return DONE
    taken = _give(options, found)
    if arguments.json:
        say_json({"data": taken})
    else:
        note(f"imported {len(taken)} of {len(found)}; the keys are sealed in the state directory")
    return DONE if len(taken) == len(found) else FAULT


def find(specs: Iterable[ProviderSpec], environ: Mapping[str, str], own: str | None) -> list[Found]:
    """What can be imported. Says on standard error what cannot, and why.

    `own`: the daemon's API key, which `redeo env` may have put where a provider's key would be.
    """
    found = []
    for spec in specs:
        variable = next((name for name in spec.env if environ.get(name, "").strip()), None)
        if variable is None:
            continue
        value = environ[variable].strip()
        reason = _why_not(spec, value, own)
        if reason:
            note(f"{variable} is not imported for {spec.id}: {reason}")
        else:
            found.append(Found(spec.id, variable, value))
    return found


def _why_not(spec: ProviderSpec, value: str, own: str | None) -> str:
    if value == own:
        return "it holds the daemon's own API key"
    if spec.unsupported:
        return spec.unsupported
    if spec.base_url is None:
        return f"it needs an address too: `redeo providers add {spec.id} --endpoint URL`"
    if spec.credential not in (Credential.API_KEY, Credential.OPTIONAL):
        return "its credential is no API key"
    return ""


def own_key(options: ServeOptions) -> str | None:
    """The daemon's API key, or None before its first start."""
    try:
        return api_key(options)
    except (CommandError, UnsafeState):  # what is unsafe about it, the next step will say
        return None


def _agreed(count: int) -> bool:
    sys.stderr.write(f"Seal {'this key' if count == 1 else f'these {count} keys'}? [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:
        raise CommandError("nobody to ask on standard input: give --yes", USAGE)
    return answer.strip().lower() in ("y", "yes")


def _give(options: ServeOptions, found: list[Found]) -> list[Json]:
    """Hands each to the daemon, or to the files where none runs; those that were taken."""
    import asyncio

    daemon = Daemon(daemon_address(options), own_key(options))
    try:
        entries(daemon.call("GET", ROOT))
    except NotRunning:
        return asyncio.run(_store(options, found))
    taken = []
    for one in found:
        try:
            taken.append(daemon.call("POST", ROOT, {"provider": one.provider, "api_key": one.value}))
        except CommandError as error:
            note(f"{one.variable} was not taken: {error}")
    return taken


async def _store(options: ServeOptions, found: list[Found]) -> list[Json]:
    from config.errors import InvalidField
    from config.store import ConfigStore, ConnectionChange

    store = ConfigStore.open(paths_of(options), os.environ)
    taken: list[Json] = []
    for one in found:
        try:
            made, _ = await store.put(one.provider, ConnectionChange(api_key=one.value))
        except InvalidField as error:
            note(f"{one.variable} was not taken: {error}")
            continue
        taken.append(
            {
                "provider": made.provider,
                "label": made.label,
                "priority": made.priority,
                "key_prefix": one.prefix,
                "updated_at": made.updated_at,
            }
        )
    return taken
