"""What the daemon says in its own name: the headers on every answer, and errors of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from proxy.dialects import envelope
from proxy.dialects.base import Renderer
from proxy.engine.call import Call, ClientGone, Reply, Unfinished
from proxy.fault import SHUTTING_DOWN, Attempt, Exchange, Fault, FaultKind
from proxy.routing import GatewayAnswer, Said, told_as

# What stands in a header as it is. A model's name comes from the client: `%`, blanks and all else are quoted.
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
_MODEL: Final = 256  # characters of a model's name, which clients choose too
_TOO_LONG: Final = "prompt is too long"
_NAME: Final = 100  # characters of one dropped parameter
_NAMES: Final = 2_000  # of all of them: clients refuse heads of some kilobytes


def headers(
    call: Call, exchange: Exchange, given: set[str], dropped: Sequence[str] = (), attempt: Attempt | None = None
) -> list[tuple[str, str]]:
    """What the daemon says of itself on every answer; the provider's own request id stands where it gave one.

    `dropped`: what the last connection that was asked could not be told. `attempt`: the one that answers, where that is
    not the last.
    """
    ident = call.id
    told = [("x-redeo-request-id", ident)]
    if "x-request-id" not in given:
        told.append(("x-request-id", ident))
    if "request-id" not in given:
        told.append(("request-id", ident))
    if exchange.attempts:
        last = attempt or exchange.attempts[-1]
        told.append(("x-redeo-provider", last.connection))
        told.append(("x-redeo-model", _shown(last.model[:_MODEL])))
        told.append(("x-redeo-attempts", exchange.labels))
    return told + named(dropped) if dropped else told


@lru_cache(256)
def _shown(model: str) -> str:
    return quote(model, safe=_PLAIN, errors="replace")


def named(names: Sequence[str]) -> list[tuple[str, str]]:
    """The header that names what question and answer had to leave out."""
    return [("x-redeo-dropped", listed(names))] if names else []


def listed(names: Iterable[str]) -> str:
    """Parameters' names, which clients choose, as one header can carry them; how many more there are stands behind."""
    out: list[str] = []
    size, more = 0, 0
    for name in names:
        shown = quote(name[:_NAME], safe="()[]._-$ ", errors="replace").strip(" ") or "%20"
        size += len(shown) + 2
        if size > _NAMES:
            more += 1
        else:
            out.append(shown)
    return ", ".join([*out, *([f"and {more} more"] if more else [])])


def uncertain(who: str, fault: Fault) -> GatewayAnswer:
    """What cannot be repeated, though it is not known whether it was done."""
    return GatewayAnswer(
        502,
        "upstream_uncertain",
        f"{fault.public}; the request leaves something behind at {who} (stored responses, background work or its own "
        "tools), and whether it was acted on cannot be known, so no other connection was tried",
        None,
        should_retry=False,
    )


def not_kept(fault: Fault) -> GatewayAnswer:
    """What could be repeated, but is not here any more."""
    what = "the upload was passed on as it came in, and is too large to be kept, so no other connection was tried"
    return GatewayAnswer(
        503, "upload_not_kept", f"{fault.public}; {what}: send it again", retry_after=1, should_retry=True
    )


async def unfinished(call: Call, reply: Reply, exchange: Exchange, why: Unfinished) -> None:
    """The client did not bring its own request to a good end."""
    exchange.fault = Fault(FaultKind.CLIENT_INVALID, why.message, code=why.code)
    if reply.begun:
        reply.abort()
        return
    with contextlib.suppress(ClientGone):
        await refuse(call, reply, exchange, GatewayAnswer(why.status, why.code, why.message, None, should_retry=False))


async def refuse(
    call: Call, reply: Reply, exchange: Exchange, answer: GatewayAnswer, dropped: Sequence[str] = ()
) -> None:
    """An error of the daemon's own, in the dialect of the caller."""
    body = envelope.error_body(
        call.form, answer.status, answer.message, answer.code, call.id, answer.param, answer.retry_after
    )
    said = [("content-type", "application/json"), *headers(call, exchange, set(), dropped)]
    said.append(("x-should-retry", "true" if answer.should_retry else "false"))
    if answer.retry_after is not None:
        said.append(("retry-after", str(answer.retry_after)))
    exchange.status = answer.status
    await reply.whole(answer.status, said, body)


async def shut(call: Call, reply: Reply, exchange: Exchange) -> None:
    """The end of the time to drain, for a request that has no answer yet; what has begun is broken off."""
    exchange.fault = SHUTTING_DOWN
    if reply.begun:
        reply.abort()
        return
    answer = GatewayAnswer(503, "gateway_shutting_down", SHUTTING_DOWN.public, retry_after=1, should_retry=True)
    with contextlib.suppress(ClientGone):
        await refuse(call, reply, exchange, answer)


def error_frame(call: Call, fault: Fault, said: Said, renderer: Renderer) -> bytes:
    """The provider's error in the middle of a stream, in the client's dialect."""
    status, code = told_as(fault)
    begun, sequence = renderer.begun
    return envelope.error_frame(call.form, status, _words(call, fault, said), code, call.id, begun, sequence)


def refused(call: Call, fault: Fault, said: Said) -> tuple[int, bytes]:
    """Status and body of the provider's refusal, in the client's dialect."""
    status, code = told_as(fault)
    return status, envelope.error_body(call.form, status, _words(call, fault, said), code, call.id, said.param)


def _words(call: Call, fault: Fault, said: Said) -> str:
    """The provider's message, with the words by which Anthropic's clients know what they can mend (Claude Code)."""
    message = said.message or fault.public
    long = fault.kind is FaultKind.CONTEXT_LENGTH and call.form is envelope.Form.ANTHROPIC
    return f"{_TOO_LONG}: {message}" if long and _TOO_LONG not in message.lower() else message
