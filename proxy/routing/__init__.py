"""Pure decisions: who serves a request, who is well, what a failure means, what the client is told in the end."""

from proxy.routing.classify import classify_error, classify_response
from proxy.routing.health import Health, Ticket
from proxy.routing.outcome import GatewayAnswer, Skipped, exhausted
from proxy.routing.plan import Candidate, ModelLists, NoPlan, Plan, Target, needs_lists, plan, resolve

__all__ = [
    "Candidate",
    "GatewayAnswer",
    "Health",
    "ModelLists",
    "NoPlan",
    "Plan",
    "Skipped",
    "Target",
    "Ticket",
    "classify_error",
    "classify_response",
    "exhausted",
    "needs_lists",
    "plan",
    "resolve",
]
