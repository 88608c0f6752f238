"""What lives at one connection: stored responses, files, batches. Requests that name such a thing go where it was made.

The daemon remembers who made what as answers pass. Of what it did not see (made before a restart, or by another worker)
nothing is known: then each connection that could have made it is asked, in order, until one knows it. See
docs/decisions/0009-who-made-what.md.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

from config.model import Connection, Operation
from proxy.dialects import splice
from proxy.engine.call import Call
from proxy.fault import Fault, FaultKind
from proxy.routing import GatewayAnswer, NoPlan, Target

# Whose answers carry the id of a thing that is kept.
KEEPING: Final = frozenset({Operation.RESPONSES, Operation.FILES, Operation.BATCHES, Operation.MESSAGE_BATCHES})
_MEMORY: Final = 20_000
_NAMES: Final = ("previous_response_id", "conversation", "cachedContent")
_IDS: Final = re.compile(rb'"((?:resp|conv|file|batch|msgbatch|cntr|container|vs)[-_][\w-]{4,200})"')
_FILES: Final = b"generativelanguage.googleapis.com/"  # Google's are named by their address
_MAX_ID: Final = 256
_SEND: Final = "send what came before as `input` instead (an answer translated from another dialect is never stored)"


class Owners:
    """Who made what. Bounded: the things asked for longest ago are forgotten first."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, tuple[str, str] | None] = OrderedDict()  # None: nobody keeps it

    def learn(self, ident: object, connection: Connection, *, kept: bool = True) -> None:
        """This connection has made the thing of this id; not `kept`: it was answered by it, and is stored nowhere."""
        if isinstance(ident, str) and 4 < len(ident) <= _MAX_ID:
            self._made[ident] = (connection.provider, connection.base_url) if kept else None
            self._made.move_to_end(ident)
            while len(self._made) > _MEMORY:
                self._made.popitem(last=False)

    def narrow(self, call: Call, targets: Sequence[Target]) -> tuple[Target, ...]:
        """The targets that can have what the request names. Raises NoPlan where its maker is not among them."""
        for ident in _named(call) if self._made else ():
            if ident not in self._made:
                continue
            maker = self._made[ident]
            if maker is None:
                raise NoPlan(_not_kept(ident))
            self._made.move_to_end(ident)
            kept = tuple(t for t in targets if (t.connection.provider, t.connection.base_url) == maker)
            if not kept:
                raise NoPlan(_gone(ident, maker[0], {t.connection.provider for t in targets}))
            targets = kept
        return tuple(targets)


def _named(call: Call) -> Iterator[str]:
    """The ids that the request names: in its path, and in its body."""
    if call.operation in KEEPING and call.tail:
        yield call.tail.strip("/").partition("/")[0]
    if call.body is not None and call.is_json:
        for name in _NAMES:
            value = splice.field(call.body, name) if name in call.fields else None
            value = value.get("id") if isinstance(value, dict) else value
            if isinstance(value, str):
                yield value
        yield from (match.decode() for match in _IDS.findall(call.body))


def searching(call: Call) -> bool:
    """Whether the request is about something that one connection alone has: what that is may have to be found out."""
    if call.operation in KEEPING and call.tail:
        return True
    if call.body is None or not call.is_json:
        return False
    if call.operation is Operation.GEMINI and _FILES in call.body:
        return True
    named = call.fields.intersection(_NAMES)
    return bool(named) and any(splice.field(call.body, name) for name in named)


def is_absent(fault: Fault) -> bool:
    """Whether the connection says that it does not have the thing."""
    gone = fault.status == 403 and fault.kind is FaultKind.CLIENT_INVALID  # Google's word for it
    return gone or fault.status == 404 or (fault.code or "").endswith("_not_found")


def _not_kept(ident: str) -> GatewayAnswer:
    what = f"`{ident}` was answered by a provider that keeps no responses, so it is stored nowhere"
    return GatewayAnswer(404, "response_not_stored", f"{what}; {_SEND}", None, should_retry=False)


def unknown_response(status: int, said: str) -> GatewayAnswer:
    """Of a `previous_response_id` that nobody has, whether or not this daemon once gave it out."""
    message = f"no connection has this response ({said}); {_SEND}"
    return GatewayAnswer(
        status, "previous_response_not_found", message, None, should_retry=False, param="previous_response_id"
    )


def _gone(ident: str, provider: str, others: set[str]) -> GatewayAnswer:
    if provider in others:
        what = f"{provider} has another address now than when it made `{ident}`"
    else:
        what = f"`{ident}` was made by {provider}, which cannot be asked: it is not connected, or not for this model"
    return GatewayAnswer(404, "connection_gone", f"{what}; connect it again, or start anew", None, should_retry=False)


_HELD: Final = (
    "previous_response_id",
    "conversation",
    "prompt",
    "background",
    "container",
    "mcp_servers",
    "cachedContent",
)


def translatable(call: Call) -> bool:
    """Whether the question can be put to anybody but a provider of its dialect: it asks for nothing kept there."""
    if call.method != "POST" or call.tail or call.body is None or not call.is_json:
        return False
    if call.fields.isdisjoint(_HELD):
        return True
    return not any(splice.field(call.body, name) for name in call.fields.intersection(_HELD))
