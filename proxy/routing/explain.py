"""Why a request for a model would go where it would go: who is tried, and why each of the others is not.

Takes the same two steps as a request, `resolve` and `plan`, and adds only the words; so it cannot say anything that a
request would not meet. It explains a plain request: one that names what a single provider keeps (a stored response, a
file) goes there and nowhere else. Who asks: `proxy.front.explain`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

from config.model import Connection, Operation, Snapshot
from proxy.dialects.counting import COUNTS
from proxy.fault import FaultKind
from proxy.routing.health import Health
from proxy.routing.outcome import GatewayAnswer, exhausted
from proxy.routing.plan import Candidate, ModelLists, NoPlan, Plan, Reading, Target, named, plan, reading, resolve


class WhyNot(StrEnum):
    """Why a connection would not be tried (docs/admin-api.md says each)."""

    DISABLED = "disabled"  # its key was refused
    QUOTA = "quota"
    COOLING = "cooling"  # it asked to wait
    OPEN = "open"  # its breaker is
    PROBING = "probing"  # another request is finding out whether it is back
    MODEL_MISSING = "model_missing"  # it said that it does not have the model
    UNUSABLE = "unusable"  # configured, and cannot be used
    NO_DEFAULT_MODEL = "no_default_model"  # so `auto` means nothing to it
    NOT_SERVED = "not_served"  # its model list does not have the model
    NOT_NAMED = "not_named"  # the name means others
    NOT_CONNECTED = "not_connected"  # an alias names it, and there is no connection
    NOT_SPOKEN = "not_spoken"  # it does not serve the operation
    MAX_ATTEMPTS = "max_attempts"


_BY_KIND = {
    FaultKind.AUTH: WhyNot.DISABLED,
    FaultKind.QUOTA: WhyNot.QUOTA,
    FaultKind.RATE: WhyNot.COOLING,
    FaultKind.MODEL_MISSING: WhyNot.MODEL_MISSING,
}


class Tried(msgspec.Struct, frozen=True):
    """An attempt to be made. `model`: as it is sent upstream; `note`: what is out of the ordinary about it."""

    candidate: Candidate
    model: str | None
    note: str | None = None


class LeftOut(msgspec.Struct, frozen=True):
    """A connection, with the model where one is meant, that is not tried; `retry_in`: seconds, where waiting helps."""

    provider: str
    model: str | None
    reason: WhyNot
    message: str
    retry_in: float | None = None


class Explanation(msgspec.Struct, frozen=True):
    """`answer` is what a request would get where nobody is tried; `estimated`: the daemon's own count of tokens."""

    reading: Reading
    tried: tuple[Tried, ...]
    left_out: tuple[LeftOut, ...]
    answer: GatewayAnswer | None = None
    estimated: bool = False


def explain(
    snapshot: Snapshot, operation: Operation, model: str | None, lists: ModelLists, health: Health
) -> Explanation:
    """What would become of a request now. Every connection is tried or left out with a reason."""
    return _Explainer(snapshot, operation, model, lists, health).explanation()


class _Explainer:
    """The question and what answers it, so that the steps need not hand it on."""

    def __init__(
        self, snapshot: Snapshot, operation: Operation, model: str | None, lists: ModelLists, health: Health
    ) -> None:
        self.snapshot = snapshot
        self.operation = operation
        self.model = model
        self.lists = lists
        self.health = health
        self.reading = reading(snapshot, model)

    def explanation(self) -> Explanation:
        targets: Sequence[Target] = ()
        refused: GatewayAnswer | None = None
        try:
            targets = resolve(self.snapshot, self.operation, self.model, self.lists, translate=True)
        except NoPlan as exc:
            refused = exc.answer
        made = plan(targets, self.health, self.snapshot.settings.routing.max_attempts)
        if refused is None and not made.candidates:
            refused = exhausted(made, ())
        estimated = refused is not None and self._estimates(refused, targets)
        return Explanation(
            self.reading,
            tuple(self._tried(made.candidates, place) for place in range(len(made.candidates))),
            tuple(self._left_out(made, targets)),
            None if estimated else refused,
            estimated,
        )

    def _estimates(self, refused: GatewayAnswer, targets: Sequence[Target]) -> bool:
        """Tokens are counted by the daemon itself where nobody else can."""
        return self.operation in COUNTS and (bool(targets) or refused.code == "operation_not_supported")

    def _tried(self, candidates: Sequence[Candidate], place: int) -> Tried:
        candidate = candidates[place]
        connection, note = candidate.connection, None
        if not self.health.check(connection, candidate.model).usable:
            note = "its breaker is open: it is tried because nobody else is left"
        elif self.reading is Reading.BARE and not self._lists(connection, candidate.model):
            note = "its model list is not to be had: whether it has this model is not known"
        elif any(before.connection.provider == connection.provider for before in candidates[:place]):
            note = "passed over if it has failed by then, unless for want of a model"
        return Tried(candidate, self.model if candidate.model is None else candidate.model, note)

    def _lists(self, connection: Connection, model: str | None) -> bool:
        live = self.lists.models(connection)
        return model in (connection.spec.models if live is None else live)

    def _left_out(self, made: Plan, targets: Sequence[Target]) -> Iterator[LeftOut]:
        """Who is not tried: first those who would serve it, then those who would not. No target twice."""
        said = {(candidate.connection.provider, candidate.model) for candidate in made.candidates}
        for target, spoken in [*((t, True) for t in targets), *((t, False) for t in self._named())]:
            who = target.connection.provider
            if (who, target.model) not in said:
                said.add((who, target.model))
                yield self._not_now(target, made) if spoken else self._not_spoken(target)
        known = {who for who, _ in said}
        yield from (self._not_meant(c) for c in self.snapshot.connections if c.provider not in known)
        if self.reading is Reading.ALIAS and self.model is not None:
            for entry in self.snapshot.settings.models[self.model]:
                if self.snapshot.connection(entry.provider) is None and (entry.provider, entry.model) not in said:
                    said.add((entry.provider, entry.model))
                    message = f"there is no connection to it; `redeo providers add {entry.provider}` makes one"
                    yield LeftOut(entry.provider, entry.model, WhyNot.NOT_CONNECTED, message)

    def _named(self) -> Sequence[Target]:
        """Whom the name means, whether or not they serve the operation."""
        try:
            return named(self.snapshot, self.model, self.lists)
        except NoPlan:
            return ()

    def _not_now(self, target: Target, made: Plan) -> LeftOut:
        """Somebody who would serve it: unusable, not well, or beyond the number of attempts."""
        connection, who = target.connection, target.connection.provider
        model = self.model if target.model is None else target.model
        if target.why_not is not None:
            reason = WhyNot.NO_DEFAULT_MODEL if connection.fault is None else WhyNot.UNUSABLE
            return LeftOut(who, model, reason, target.why_not.removeprefix(f"{who}: "))
        most = self.snapshot.settings.routing.max_attempts
        verdict = self.health.check(connection, target.model)
        if verdict.usable and len(made.candidates) >= most:
            message = f"no more than {most} are tried for one request (routing.max_attempts), and it comes behind them"
            return LeftOut(who, model, WhyNot.MAX_ATTEMPTS, message)
        if verdict.usable:  # since the plan was made
            return LeftOut(who, model, WhyNot.COOLING, "its time is up at this very moment", 0.0)
        why = _BY_KIND.get(verdict.kind or FaultKind.GATEWAY, WhyNot.PROBING if verdict.probing else WhyNot.OPEN)
        return LeftOut(who, model, why, verdict.reason, verdict.retry_in)

    def _not_spoken(self, target: Target) -> LeftOut:
        what = f"`{self.operation.value}`"
        message = f"it serves no {what}, and nothing that {what} could be translated to"
        model = self.model if target.model is None else target.model
        if target.connection.speaks(self.operation):
            message = f"of this model it serves no {what}, and nothing that {what} could be translated to"
        return LeftOut(target.connection.provider, model, WhyNot.NOT_SPOKEN, message)

    def _not_meant(self, connection: Connection) -> LeftOut:
        """Somebody whom the name does not mean."""
        who, model = connection.provider, self.model or ""
        if self.reading is Reading.ALIAS:
            return LeftOut(who, None, WhyNot.NOT_NAMED, f"`{model}` in redeo.yaml does not name it")
        if self.reading is Reading.PROVIDER:
            asked, _, rest = model.partition("/")
            message = f"the name asks for {asked} alone" if rest else f"`{model}` says no model"
            return LeftOut(who, None, WhyNot.NOT_NAMED, message)
        live = self.lists.models(connection)
        if live is not None:
            many = f"{len(live)} model{'' if len(live) == 1 else 's'}"
            return LeftOut(who, None, WhyNot.NOT_SERVED, f"its model list ({many}) does not have it")
        if self.reading is Reading.VENDOR:
            message = "its model list is not to be had, and the catalogue does not give it this very id"
        else:
            message = "its model list is not to be had, and what answers to every name serves only what it lists"
        return LeftOut(who, None, WhyNot.NOT_SERVED, message)
