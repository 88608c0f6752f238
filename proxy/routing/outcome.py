"""What a client is told when no connection could serve it: one answer out of all attempts and omissions.

Never 401: the client's own key is good. The table is in docs/what-fails-over.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from proxy.fault import Attempt, Fault, FaultKind


class GatewayAnswer(msgspec.Struct, frozen=True):
    """An error of the daemon's own. `retry_after` in whole seconds; its type follows from the status."""

    status: int
    code: str
    message: str
    retry_after: int | None
    should_retry: bool
    param: str | None = None


class Skipped(msgspec.Struct, frozen=True):
    """A connection that would serve, left out: why, and seconds until it may be tried (None: not by waiting)."""

    connection: str
    kind: FaultKind
    reason: str
    retry_in: float | None


class _Plan(Protocol):
    @property
    def skipped(self) -> Sequence[Skipped]: ...


# Status, code and whether the client should try again, for the class that tells most.
_ANSWERS: Final[dict[FaultKind, tuple[int, str, bool]]] = {
    FaultKind.RATE: (429, "rate_limit_exceeded", True),
    FaultKind.OVERLOAD: (503, "upstream_overloaded", True),
    FaultKind.TIMEOUT: (504, "upstream_timeout", True),
    FaultKind.STALL: (504, "upstream_timeout", True),
    FaultKind.SLOW: (504, "upstream_timeout", True),
    FaultKind.UPSTREAM_5XX: (502, "upstream_error", True),
    FaultKind.CONNECT: (502, "upstream_unreachable", True),
    FaultKind.DNS: (502, "upstream_unreachable", True),
    FaultKind.TLS: (502, "upstream_unreachable", False),
    FaultKind.INTERRUPTED: (502, "bad_upstream_response", True),
    FaultKind.BAD_UPSTREAM: (502, "bad_upstream_response", True),
    FaultKind.TOO_LARGE: (502, "bad_upstream_response", False),
    FaultKind.REDIRECT: (502, "bad_upstream_response", False),
    FaultKind.QUOTA: (402, "insufficient_quota", False),
    FaultKind.AUTH: (502, "upstream_credentials_exhausted", False),
    FaultKind.MODEL_MISSING: (404, "model_not_found", False),
    FaultKind.GATEWAY: (503, "no_usable_connection", False),
}
# The same of what is the client's own; None: as the provider has it, where that is a status for such a thing.
_OWN: Final[dict[FaultKind, tuple[int | None, str]]] = {
    FaultKind.CLIENT_INVALID: (None, "invalid_request"),
    FaultKind.CONTEXT_LENGTH: (400, "context_length_exceeded"),
    FaultKind.CONTENT_FILTER: (400, "content_filter"),
    FaultKind.MODEL_MISSING: (404, "model_not_found"),
}
_SAYABLE: Final = frozenset({400, 404, 405, 409, 413, 415, 422})
# Clients act on these codes (Codex shortens its conversation): they are said whatever the provider calls it.
_ACTED_ON: Final = frozenset({FaultKind.CONTEXT_LENGTH, FaultKind.MODEL_MISSING})
_WAITS: Final = frozenset({FaultKind.RATE, FaultKind.OVERLOAD})


def told_as(fault: Fault) -> tuple[int, str]:
    """Status and code for a client to whom a provider's error is told in another dialect."""
    if fault.kind in _OWN:
        status, code = _OWN[fault.kind]
        status = status or (fault.status if fault.status in _SAYABLE else 400)
        return status, code if fault.kind in _ACTED_ON else fault.code or code
    status, code, _ = _ANSWERS.get(fault.kind, (502, "upstream_error", True))
    return status, fault.code or code


def exhausted(plan: _Plan, attempts: Sequence[Attempt]) -> GatewayAnswer:
    """The answer after every candidate failed or none could be tried."""
    kinds = [a.fault.kind for a in attempts if a.fault is not None] + [s.kind for s in plan.skipped]
    chosen = next((kind for kind in _ANSWERS if kind in kinds), FaultKind.GATEWAY)
    status, code, again = _ANSWERS[chosen]
    told = [a.fault.public for a in attempts if a.fault is not None] + [_left_out(s) for s in plan.skipped]
    message = "no connection could serve this: " + "; ".join(told) if told else "no connection could be tried"
    known = bool(plan.skipped) and all(s.retry_in is not None for s in plan.skipped)
    wait = _soonest(plan, attempts) if again and (chosen in _WAITS or known) else None
    return GatewayAnswer(status, code, message, wait, again, "model" if chosen is FaultKind.MODEL_MISSING else None)


def _left_out(skipped: Skipped) -> str:
    if skipped.retry_in is None:
        return f"{skipped.reason} (not tried)"
    return f"{skipped.reason} (not tried for another {max(1, math.ceil(skipped.retry_in))} s)"


def _soonest(plan: _Plan, attempts: Sequence[Attempt]) -> int:
    """Whole seconds until the first of them may be asked again; the SDKs heed 1 to 60."""
    waits = [s.retry_in for s in plan.skipped if s.retry_in is not None]
    for attempt in attempts:
        if attempt.fault is not None and attempt.fault.kind in _WAITS:
            waits.append(attempt.fault.retry_after if attempt.fault.retry_after is not None else 10.0)
    return min(60, max(1, math.ceil(min(waits, default=1.0))))
