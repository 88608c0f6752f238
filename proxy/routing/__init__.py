"""Pure decisions: who serves a request, who is well, what a failure means, what the client is told in the end."""

from proxy.routing.classify import classify_error, classify_response
from proxy.routing.explain import Explanation, LeftOut, Tried, explain
from proxy.routing.health import BreakerState, Health, ModelReport, Report, Ticket, Verdict
from proxy.routing.outcome import GatewayAnswer, Skipped, exhausted, told_as
from proxy.routing.plan import AUTO, Candidate, ModelLists, NoPlan, Plan, Target, needs_lists, plan, resolve
from proxy.routing.said import Said, said_in, said_of

__all__ = [
    "AUTO",
    "BreakerState",
    "Candidate",
    "Explanation",
    "GatewayAnswer",
    "Health",
    "LeftOut",
    "ModelLists",
    "ModelReport",
    "NoPlan",
    "Plan",
    "Report",
    "Said",
    "Skipped",
    "Target",
    "Ticket",
    "Tried",
    "Verdict",
    "classify_error",
    "classify_response",
    "exhausted",
    "explain",
    "needs_lists",
    "plan",
    "resolve",
    "said_in",
    "said_of",
    "told_as",
]
