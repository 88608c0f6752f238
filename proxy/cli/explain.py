"""`redeo explain`: where a request for a model would go just now, in which order, and why not elsewhere.

Asks the running daemon, whose breakers decide; explains nothing by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from .client import EXPLAIN, Daemon, Json, objects
from .options import ServeOptions, add_json, add_places
from .output import DONE, FAULT, paint, say, say_json, say_table
from .places import daemon_for

if TYPE_CHECKING:
    from .options import Commands

_MODELS_SHOWN: Final = 3
_READ_AS: Final = {
    "alias": "a name under `models:` in redeo.yaml",
    "auto": "every connection with its default model",
    "provider": "that connection alone",
    "vendor": "whoever lists that very id",
    "bare": "whoever serves the same model",
    "none": "every connection, as it is",
}


def register(commands: Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "explain",
        help="show where a request for a model would go just now, and why not elsewhere",
        description="Shows which connections a request for a model would be sent to, in which order, under which name "
        "and in which dialect, and why each of the others is left out. Sends nothing to a provider but, where a "
        "bare name has to be found, a question for its model list. Exit code 1 if nobody would be tried.",
    )
    add_places(parser)
    add_json(parser)
    parser.add_argument("--model", metavar="MODEL", help="as a client would name it (else auto)")
    parser.add_argument(
        "--operation", metavar="NAME", help="what is asked: chat (the default), messages, responses, embeddings, ..."
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the explanation; the exit code says whether anybody would be tried."""
    daemon = daemon_for(ServeOptions.of(arguments))
    answer = explained(daemon, model=arguments.model, operation=arguments.operation)
    served = bool(objects(answer, "tried")) or bool(answer.get("estimated"))
    if arguments.json:
        say_json(answer)
    else:
        _say(answer)
    return DONE if served else FAULT


def explained(daemon: Daemon, **asked: str | None) -> Json:
    """The daemon's answer. CommandError as `Daemon.call` raises it."""
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    return daemon.call("GET", f"{EXPLAIN}?{query}" if query else EXPLAIN)


def _say(answer: Json) -> None:
    model, read_as = answer.get("model"), str(answer.get("read_as"))
    say(f"{model if model is not None else 'no model'} ({answer.get('operation')}): {_READ_AS.get(read_as, read_as)}")
    breakers = objects(answer, "breakers")
    states = {(str(row[0]), str(row[1])): row[2] for row in _held(breakers)}
    tried = [_tried(n, row, states) for n, row in enumerate(objects(answer, "tried"), 1)]
    _say_part(("TRY", "PROVIDER", "MODEL", "HOW", "STATE", "NOTE"), tried)
    left_out = objects(answer, "left_out")
    _say_part(("LEFT OUT", "MODEL", "WHY"), [[_text(r, "provider"), _text(r, "model"), _why(r)] for r in left_out])
    _say_part(("BREAKER", "MODEL", "STATE", "SINCE", "LAST FAILURE"), _held(breakers))
    error = answer.get("error")
    if isinstance(error, dict):
        say()
        told = f"{error.get('status')} {error.get('code')}: {error.get('message')}"
        say(f"; a request would get {told}", paint("nobody is tried", "red"))
    if answer.get("estimated"):
        say()
        say("nobody is tried: the daemon answers with an estimate of its own")


def _say_part(titles: Sequence[str], table: Sequence[Sequence[str]]) -> None:
    """A table with a line above it, without what is empty at its right; nothing where it has no rows."""
    if not table:
        return
    width = max(n for n in range(len(titles)) if any(row[n] for row in table)) + 1
    say()
    say_table(titles[:width], [row[:width] for row in table])


def _tried(number: int, row: Json, states: Mapping[tuple[str, str], str]) -> list[str]:
    who, model = _text(row, "provider"), _text(row, "model")
    how = f"translated to {row.get('via')}" if row.get("via") else "as it is"
    state = states.get((who, model)) or states.get((who, "")) or "ok"
    return [str(number), who, model, how, state, _text(row, "note")]


def _held(breakers: Sequence[Json]) -> list[list[str]]:
    """What is held against connections, and against single models of theirs."""
    table = []
    for row in breakers:
        who = _text(row, "provider")
        if row.get("state") != "closed" and not row.get("fault"):
            since = _clock(row.get("since"))
            table.append([who, "", _state(_text(row, "state"), row.get("next_probe")), since, _text(row, "last_error")])
        for model in objects(row, "models"):
            state = _state(_text(model, "state"), model.get("next_probe"))
            table.append([who, _text(model, "model"), state, "", _text(model, "last_error")])
    return table


def _why(row: Json) -> str:
    return f"{_state(_text(row, 'reason'), row.get('until'))}: {row.get('message')}"


def is_well(breaker: Json) -> bool:
    """Whether nothing is held against it."""
    return breaker.get("state") == "closed" and not objects(breaker, "models")


def state_text(breaker: Json) -> str:
    """What a breaker is in, and until when, in one cell; with the models that are not well by themselves."""
    parts = [_state(str(breaker.get("state") or ""), breaker.get("next_probe"))]
    models = objects(breaker, "models")
    for row in models[:_MODELS_SHOWN]:
        parts.append(f"{row.get('model')}: {_state(str(row.get('state')), row.get('next_probe'))}")
    if len(models) > _MODELS_SHOWN:
        parts.append(f"{len(models) - _MODELS_SHOWN} more models")
    return "; ".join(parts)


def _state(state: str, until: object) -> str:
    """In words, with the time of day here. A breaker that is closed is one of which nobody needs to know."""
    plain = "ok" if state == "closed" else state.replace("_", " ")
    return f"{plain} until {_clock(until)}" if until else plain


def _clock(time: object) -> str:
    """A time in UTC as a clock here shows it, with the date where that is another day."""
    if not time:
        return ""
    here = datetime.fromisoformat(str(time)).astimezone()
    today = here.date() == datetime.now().astimezone().date()
    return f"{here:%H:%M:%S}" if today else f"{here:%Y-%m-%d %H:%M}"


def _text(row: Json, name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value)
