"""`redeo providers ...`: the connections of the running daemon, through its admin API.

A key comes from standard input or from a prompt, never from the command line, where every user of the machine
could read it. What values are allowed is judged by the daemon.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

from . import import_env
from .client import CATALOG, ROOT, Daemon, Json, entries, objects
from .explain import explained, is_well, state_text
from .options import ServeOptions, add_json, add_places
from .output import DONE, FAULT, USAGE, CommandError, note, say, say_json, say_table
from .places import daemon_address, daemon_for

if TYPE_CHECKING:
    from .options import Commands

TEST_SECONDS: Final = 90.0  # a test waits for a provider, which may be slow


def register(commands: Commands) -> None:
    """Adds the command with its own commands."""
    parser = commands.add_parser("providers", help="the connections to providers: add, list, test, remove")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    catalog = actions.add_parser("catalog", help="the providers that a connection can be made to")
    listing = actions.add_parser("list", help="the connections, in the order they are tried")
    add = actions.add_parser("add", help="add a connection, or replace the key of one")
    change = actions.add_parser("set", help="change a connection; what is not named stays")
    remove = actions.add_parser("remove", help="remove a connection and its key")
    test = actions.add_parser("test", help="make one cheap call to a provider, or to each of them")
    for one, run in (
        (catalog, _catalog),
        (listing, _list),
        (add, _add),
        (change, _set),
        (remove, _remove),
        (test, _test),
    ):
        add_places(one)
        add_json(one)
        one.set_defaults(run=run)
    for one in (add, change, remove):
        one.add_argument("provider", metavar="PROVIDER", help="an id of `redeo providers catalog`")
    test.add_argument("provider", metavar="PROVIDER", nargs="*", help="all of them when none is named")
    for one in (add, change):
        _add_fields(one)
    import_env.register(actions)


def _add_fields(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--api-key-stdin", action="store_true", help="read the key from standard input instead of asking for it"
    )
    parser.add_argument("--priority", type=int, metavar="N", help="0 to 1000, lower is tried first")
    parser.add_argument("--label", metavar="TEXT", help="a name for people, at most 64 characters")
    parser.add_argument(
        "--endpoint", metavar="URL", help="where the provider is, for those that take one; '' for its default"
    )


def _catalog(arguments: argparse.Namespace) -> int:
    body = Daemon(daemon_address(ServeOptions.of(arguments))).call("GET", CATALOG)
    if arguments.json:
        say_json(body)
        return DONE
    rows = [
        [str(p["id"]), str(p["label"]), str(p["credentialKind"]), "yes" if p["supportsEndpoint"] else ""]
        for p in entries(body)
    ]
    say_table(("PROVIDER", "LABEL", "CREDENTIAL", "ENDPOINT"), rows)
    return DONE


def _list(arguments: argparse.Namespace) -> int:
    daemon = daemon_for(ServeOptions.of(arguments))
    body = daemon.call("GET", ROOT)
    if arguments.json:
        say_json(body)
    elif not entries(body):
        note("no connections yet: `redeo providers import-env` or `redeo providers add PROVIDER`")
    else:
        _say_connections(entries(body), _states(daemon))
    return DONE


def _states(daemon: Daemon) -> dict[str, str]:
    """What each connection's breaker is in, where it lets not everything through; nothing from an older daemon."""
    with contextlib.suppress(CommandError):
        return {
            str(breaker.get("provider")): state_text(breaker)
            for breaker in objects(explained(daemon), "breakers")
            if not is_well(breaker) and not breaker.get("fault")
        }
    return {}


def _add(arguments: argparse.Namespace) -> int:
    daemon = daemon_for(ServeOptions.of(arguments))
    catalog = entries(daemon.call("GET", CATALOG))
    kind = next((str(p["credentialKind"]) for p in catalog if p["id"] == arguments.provider), None)
    fields = _fields(arguments)
    if not arguments.api_key_stdin and kind is not None and kind != "none":
        key = _ask_key(arguments.provider, optional=kind == "api_key_optional")
        fields |= {"api_key": key} if key else {}
    answer = daemon.call("POST", ROOT, {"provider": arguments.provider, **fields})
    return _say_changed(answer, as_json=arguments.json)


def _set(arguments: argparse.Namespace) -> int:
    fields = _fields(arguments)
    if not fields:
        raise CommandError("nothing to change: name --api-key-stdin, --priority, --label or --endpoint", USAGE)
    answer = daemon_for(ServeOptions.of(arguments)).call("PATCH", _path(arguments.provider), fields)
    return _say_changed(answer, as_json=arguments.json)


def _remove(arguments: argparse.Namespace) -> int:
    answer = daemon_for(ServeOptions.of(arguments)).call("DELETE", _path(arguments.provider))
    if arguments.json:
        say_json(answer)
    else:
        say(f"removed {arguments.provider}")
    return DONE


def _test(arguments: argparse.Namespace) -> int:
    daemon = daemon_for(ServeOptions.of(arguments))
    names = arguments.provider or [str(c["provider"]) for c in entries(daemon.call("GET", ROOT))]
    if not names:
        raise CommandError("no connections to test: `redeo providers add PROVIDER` makes one")
    results: list[Json] = []
    for name in names:
        results.append({"provider": name, **daemon.call("POST", f"{_path(name)}/test", timeout=TEST_SECONDS)})
    if arguments.json:
        say_json({"data": results})
    else:
        rows = [
            [
                str(r["provider"]),
                "ok" if r["ok"] else "failed",
                f"{cast(float, r['latency_ms']):.0f} ms",
                str(r["models"]),
                str(r.get("error") or ""),
            ]
            for r in results
        ]
        say_table(("PROVIDER", "RESULT", "TIME", "MODELS", "WHAT IS WRONG"), rows)
    return DONE if all(r["ok"] for r in results) else FAULT


def _fields(arguments: argparse.Namespace) -> Json:
    """What the command line says about a connection, as the admin API takes it."""
    fields: Json = {}
    if arguments.api_key_stdin:
        fields["api_key"] = _read_key()
    for name in ("priority", "label"):
        if getattr(arguments, name) is not None:
            fields[name] = getattr(arguments, name)
    if arguments.endpoint is not None:
        fields["endpoint"] = arguments.endpoint or None
    return fields


def _read_key() -> str:
    key = sys.stdin.read().strip()
    if not key:
        raise CommandError("--api-key-stdin: there is no key on standard input", USAGE)
    return key


def _ask_key(provider: str, *, optional: bool) -> str:
    """Asks a person, without echo. Without one: none for an optional key, else CommandError (usage)."""
    if not sys.stdin.isatty():
        if optional:
            return ""
        raise CommandError("no terminal to ask for the key on: pipe it in and give --api-key-stdin", USAGE)
    prompt = f"API key for {provider}{' (empty for none)' if optional else ''}: "
    key = getpass.getpass(prompt).strip()
    if not key and not optional:
        raise CommandError("no key given, nothing was changed")
    return key


def _say_changed(connection: Json, *, as_json: bool) -> int:
    if as_json:
        say_json(connection)
    else:
        _say_connections([connection])
    return DONE


def _say_connections(connections: list[Json], states: Mapping[str, str] = MappingProxyType({})) -> None:
    """The table; further columns say what is not well, and why a connection cannot be used, where that is so."""
    columns = {
        "PROVIDER": [str(c.get("provider", "")) for c in connections],
        "LABEL": [str(c.get("label", "")) for c in connections],
        "PRIORITY": [str(c.get("priority", "")) for c in connections],
        "KEY": [f"{c['key_prefix']}…" if c.get("key_prefix") else "" for c in connections],
        "UPDATED": [str(c.get("updated_at", "")) for c in connections],
        "STATE": [states.get(str(c.get("provider")), "") for c in connections],
        "FAULT": [str(c.get("fault") or "") for c in connections],
    }
    shown = {name: cells for name, cells in columns.items() if any(cells) or name not in ("STATE", "FAULT")}
    say_table(tuple(shown), list(zip(*shown.values(), strict=True)))


def _path(provider: str) -> str:
    return f"{ROOT}/{quote(provider, safe='')}"
