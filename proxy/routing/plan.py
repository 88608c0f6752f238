"""Which connections are tried for a request, in which order, under which model name: pure decisions.

Two steps, so that the first can be kept: `resolve` finds who serves what was asked for; `plan` leaves out who is not
well just now. Who makes the attempts: `proxy.engine.exchange`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

from config.model import Connection, Operation, Snapshot
from proxy.fault import Fault, FaultKind, Phase
from proxy.routing.health import Health
from proxy.routing.outcome import GatewayAnswer, Skipped
from proxy.routing.same_model import match

AUTO: Final = "auto"
_BREAKER_KINDS: Final = frozenset(FaultKind) - {
    FaultKind.AUTH, FaultKind.QUOTA, FaultKind.RATE, FaultKind.MODEL_MISSING
}  # fmt: skip


# By which other operation each can be served, what says most first.
_EMBED: Final = (
    Operation.GEMINI_EMBED, Operation.COHERE_EMBED, Operation.TITAN_EMBED, Operation.GEMINI_EMBED_ONE
)  # fmt: skip
_NATIVE: Final = (Operation.GEMINI, Operation.CONVERSE, Operation.COHERE_CHAT, Operation.OLLAMA_CHAT)
_COUNT: Final = (
    Operation.COUNT_TOKENS, Operation.RESPONSES_COUNT, Operation.GEMINI_COUNT, Operation.VERTEX_COUNT,
    Operation.CONVERSE_COUNT,
)  # fmt: skip
_WAYS: Final = {
    **dict.fromkeys((Operation.COUNT_TOKENS, Operation.RESPONSES_COUNT, Operation.GEMINI_COUNT), _COUNT),
    Operation.CHAT: (Operation.RESPONSES, Operation.MESSAGES, *_NATIVE),
    Operation.MESSAGES: (Operation.RESPONSES, *_NATIVE, Operation.CHAT),
    Operation.RESPONSES: (Operation.MESSAGES, *_NATIVE, Operation.CHAT),
    Operation.EMBEDDINGS: _EMBED,
    Operation.GEMINI_EMBED: (Operation.EMBEDDINGS, *_EMBED),
    Operation.GEMINI_EMBED_ONE: (Operation.GEMINI_EMBED, Operation.EMBEDDINGS, *_EMBED),
    Operation.COHERE_EMBED: (Operation.EMBEDDINGS, *_EMBED),
    Operation.GEMINI: (Operation.MESSAGES, Operation.RESPONSES, *_NATIVE[1:], Operation.CHAT),
}


class Reading(StrEnum):
    """How the `model` of a request is read; the first that fits."""

    NONE = "none"  # the request names none
    ALIAS = "alias"  # a name under `models:` in redeo.yaml
    AUTO = "auto"
    PROVIDER = "provider"  # `provider/model`, with a connection to that provider
    VENDOR = "vendor"  # the same without one: whoever lists that very id
    BARE = "bare"  # any other name


class ModelLists(Protocol):
    """What is known of the models that connections serve."""

    def models(self, connection: Connection) -> Sequence[str] | None:
        """The live list, or None where there is none."""


class Mode(StrEnum):
    """How the answer gets to the client."""

    RELAY = "relay"
    TRANSLATE = "translate"


class Candidate(msgspec.Struct, frozen=True):
    """One attempt to be made: a connection with the model name it is sent; `model` None leaves the request as it is."""

    connection: Connection
    model: str | None
    via: Operation | None = None  # asked in this dialect, which is not the client's

    @property
    def mode(self) -> Mode:
        """Whether the client's bytes go, or their meaning."""
        return Mode.RELAY if self.via is None else Mode.TRANSLATE


class Target(Candidate, frozen=True):
    """Who could be a candidate. `why_not`: it would serve, but cannot be used."""

    why_not: str | None = None


class Plan(msgspec.Struct, frozen=True):
    """What to try, in order, and who was left out and why."""

    candidates: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...]


class NoPlan(Exception):
    """Nobody could serve this; `answer` is what the client gets."""

    def __init__(self, answer: GatewayAnswer) -> None:
        super().__init__(answer.message)
        self.answer = answer

    @property
    def fault(self) -> Fault:
        """The same as a record."""
        kind = FaultKind.CLIENT_INVALID if self.answer.status < 500 else FaultKind.GATEWAY
        return Fault(kind, self.answer.message, Phase.NOT_SENT, code=self.answer.code)


def reading(snapshot: Snapshot, model: str | None) -> Reading:
    """As what the name is to be resolved."""
    if model is None:
        return Reading.NONE
    if model in snapshot.settings.models:
        return Reading.ALIAS
    if model == AUTO:
        return Reading.AUTO
    provider, slash, _ = model.partition("/")
    if slash and snapshot.connection(provider) is not None:
        return Reading.PROVIDER
    return Reading.VENDOR if slash and provider in snapshot.providers else Reading.BARE


def needs_lists(snapshot: Snapshot, model: str | None) -> bool:
    """Whether model lists have to be known to resolve the name: it is neither alias, nor `provider/...`, nor `auto`."""
    return reading(snapshot, model) in (Reading.VENDOR, Reading.BARE)


def resolve(
    snapshot: Snapshot, operation: Operation, model: str | None, lists: ModelLists, *, translate: bool = False
) -> tuple[Target, ...]:
    """Who serves what was asked for, in the order to try, unusable ones included. Raises NoPlan.

    `translate`: also those who serve it in another dialect.
    """
    if not snapshot.connections:
        raise NoPlan(
            _refused(
                503,
                "no_usable_connection",
                "there is no connection yet; add one with `redeo providers add openai`, or POST /v1/providers "
                '{"provider": "openai", "api_key": "..."}',
            )
        )
    found = named(snapshot, model, lists)
    ways = _WAYS.get(operation, ()) if translate else ()
    speaking = [able for target in found if (able := _speaking(target, operation, ways)) is not None]
    if not speaking:
        raise NoPlan(_not_spoken(snapshot, operation, model, found))
    return tuple(_judged(target) for target in speaking)


def _speaking(target: Target, operation: Operation, ways: Sequence[Operation]) -> Target | None:
    """The target in the client's dialect, else in the first that both sides have."""
    if target.connection.speaks(operation, target.model):
        return target
    known = bool(target.connection.spec.docs)  # else it speaks Chat for certain, and the rest perhaps
    ordered = ways if known else sorted(ways, key=lambda way: way is not Operation.CHAT)
    via = next((way for way in ordered if target.connection.speaks(way, target.model)), None)
    return None if via is None else replace(target, via=via)


def named(snapshot: Snapshot, model: str | None, lists: ModelLists) -> list[Target]:
    """Whom the name means, in the order to try, whatever is asked of them. Raises NoPlan."""
    if model is None:
        return [Target(c, None) for c in snapshot.connections]
    match reading(snapshot, model):
        case Reading.ALIAS:
            return _alias(snapshot, model)
        case Reading.AUTO:
            return [_by_default(c) for c in snapshot.connections]
        case Reading.PROVIDER:
            return _of_one(snapshot, model)
        case Reading.VENDOR:
            return _foreign_prefix(snapshot, model, lists)
        case _:
            return _bare(snapshot, model, lists)


def _of_one(snapshot: Snapshot, model: str) -> list[Target]:
    """`provider/model`: that provider alone."""
    provider, _, rest = model.partition("/")
    connection = snapshot.connection(provider)
    if connection is None or not rest:
        message = f"`{model}` names no model; write `{model}` with one of GET /v1/models behind it"
        raise NoPlan(_refused(404, "model_not_found", message, "model"))
    return [Target(connection, rest)]


def _by_default(connection: Connection) -> Target:
    """For `auto`. A server that answers to every name may be sent `auto` itself; to others it says nothing."""
    default = connection.spec.default_model
    if default is not None or connection.spec.quirks.any_model:
        return Target(connection, default)
    who = connection.provider
    return Target(connection, None, why_not=f"{who}: it has no default model; name one as `{who}/...`")


def _alias(snapshot: Snapshot, alias: str) -> list[Target]:
    entries = snapshot.settings.models[alias]
    pairs = [(snapshot.connection(entry.provider), entry.model) for entry in entries]
    found = [Target(connection, name) for connection, name in pairs if connection is not None]
    if not found:
        wanted = ", ".join(dict.fromkeys(entry.provider for entry in entries))
        message = f"`{alias}` needs a connection to one of: {wanted}; add one with `redeo providers add`"
        raise NoPlan(_refused(503, "no_usable_connection", message))
    return found


def _foreign_prefix(snapshot: Snapshot, model: str, lists: ModelLists) -> list[Target]:
    """`vendor/model` where the vendor is a provider without a connection: others may list that very id."""
    provider = model.partition("/")[0]
    found = [Target(c, model) for c in snapshot.connections if model in _known(c, lists)]
    if not found:
        message = f"there is no connection to {provider}; add one with `redeo providers add {provider}`"
        raise NoPlan(_refused(404, "model_not_found", message, "model"))
    return found


def _known(connection: Connection, lists: ModelLists) -> Sequence[str]:
    live = lists.models(connection)
    return live if live is not None else connection.spec.models


def _bare(snapshot: Snapshot, model: str, lists: ModelLists) -> list[Target]:
    """Every connection that serves the same model; behind them those of which nothing is known."""
    serving: list[Target] = []
    unknown: list[Target] = []
    for connection in snapshot.connections:
        ident = match(model, _known(connection, lists))
        if ident is not None:
            serving.append(Target(connection, ident))
        elif lists.models(connection) is None and not connection.spec.quirks.any_model:
            unknown.append(Target(connection, model))
    if serving or unknown:
        return serving + unknown
    everything = sorted({name for c in snapshot.connections for name in _known(c, lists)})
    near = difflib.get_close_matches(model[:100], everything, 3)
    hint = f"; near it: {', '.join(near)}" if near else "; GET /v1/models lists what is served"
    raise NoPlan(_refused(404, "model_not_found", f"no connection serves a model `{model[:100]}`{hint}", "model"))


def _judged(target: Target) -> Target:
    fault = target.connection.fault
    return target if fault is None else replace(target, why_not=fault)


def _not_spoken(snapshot: Snapshot, operation: Operation, model: str | None, found: list[Target]) -> GatewayAnswer:
    able = [c.provider for c in snapshot.connections if c.speaks(operation)]
    asked = ", ".join(dict.fromkeys(t.connection.provider for t in found))
    could = f"connected ones that do: {', '.join(able)}" if able else "no connected provider does"
    of = f" for the model `{model[:100]}`" if model else ""
    message = f"{asked} would serve this{of}, but not in the form `{operation.value}`; {could}"
    return _refused(404, "operation_not_supported", message, "model" if model else None)


def _refused(status: int, code: str, message: str, param: str | None = None) -> GatewayAnswer:
    return GatewayAnswer(status, code, message, None, should_retry=False, param=param)


def plan(targets: Sequence[Target], health: Health, max_attempts: int) -> Plan:
    """The attempts to make now. If all that is left is open breakers, the one nearest recovery is tried once."""
    candidates: list[Candidate] = []
    skipped: list[Skipped] = []
    nearest: tuple[float, Target, Skipped] | None = None
    for target in targets:
        who = target.connection.provider
        if target.why_not is not None:
            skipped.append(Skipped(who, FaultKind.GATEWAY, target.why_not, None))
            continue
        verdict = health.check(target.connection, target.model)
        if verdict.usable:
            candidates.append(target)
            continue
        kind = verdict.kind or FaultKind.GATEWAY
        skipped.append(left := Skipped(who, kind, f"{who}: {verdict.reason}", verdict.retry_in))
        wait = verdict.retry_in
        recovers = kind in _BREAKER_KINDS and not verdict.probing
        if recovers and wait is not None and (nearest is None or wait < nearest[0]):
            nearest = (wait, target, left)
    if not candidates and nearest is not None:
        _, chosen, entry = nearest
        candidates.append(chosen)
        skipped = [s for s in skipped if s is not entry]
    return Plan(tuple(candidates[:max_attempts]), tuple(skipped))
