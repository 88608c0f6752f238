"""Encrypted reasoning that carries no mark of ours, for its bytes were relayed: who made it, and whom it may go to.

See docs/decisions/0010-whose-reasoning-it-is.md.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from proxy.dialects import sealed
from proxy.dialects.blocks import Block, Foreign, Opaque, Reasoning, ToolCall
from proxy.dialects.request import Request
from proxy.engine.call import Call
from proxy.fault import Fault, FaultKind

ELSEWHERE: Final = "?"  # the origin of what is to go nowhere
_MEMORY: Final = 20_000
_NOBODY: Final[Mapping[bytes, str]] = MappingProxyType({})
# OpenAI "invalid_encrypted_content"; Anthropic "Invalid `signature` in `thinking` block"; Gemini "Thought signature is
# not valid"; Bedrock and gateways behind gateways repeat these.
_REFUSED: Final = re.compile(
    r"encrypted[ _]?content|thought[ _]?signature|`?signature`? in `?thinking|invalid `?signature|redacted_thinking|"
    r"thinking.{0,60}signature|signature.{0,60}(?:thinking|could not be verified)",
    re.IGNORECASE,
)


class Makers:
    """Which connection sealed what, by digest. Bounded: what was seen longest ago is forgotten first."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, str] = OrderedDict()

    def learn(self, digests: Iterable[bytes], origin: str) -> None:
        """This connection's answer held these."""
        for digest in digests:
            self._known[digest] = origin
            self._known.move_to_end(digest)
        while len(self._known) > _MEMORY:
            self._known.popitem(last=False)

    def among(self, call: Call) -> Mapping[bytes, str]:
        """Who made what the request holds, as far as that was seen."""
        if not self._known or call.body is None or not call.is_json:
            return _NOBODY
        found = sealed.digests(call.operation, call.body)
        return {digest: self._known[digest] for digest in found if digest in self._known}


def is_refused(call: Call, fault: Fault) -> bool:
    """Whether a provider refuses what another one has sealed, as far as its words say so."""
    if fault.kind is not FaultKind.CLIENT_INVALID or fault.status not in (400, 422) or call.body is None:
        return False
    said = _REFUSED.search(f"{fault.code or ''} {fault.public}")
    return said is not None and bool(sealed.digests(call.operation, call.body))


def placed(request: Request, known: Mapping[bytes, str], here: str, *, bare: bool) -> Request:
    """The question for connection `here` with the maker of what it holds sealed; `bare`: what carries no mark goes
    nowhere. A compaction is what has been said so far: one of another's is none of any dialect, so it is refused."""
    if not known and not bare:
        return request

    def maker(seal: Opaque, *, bare: bool) -> str | None:
        text = seal.data.get("encrypted_content") if isinstance(seal.data, dict) else seal.data
        if seal.origin is not None or not isinstance(text, str) or not text:
            return seal.origin
        return ELSEWHERE if bare else known.get(sealed.digest_of(text))

    def of(block: Block) -> Block:
        if isinstance(block, Reasoning | ToolCall) and block.seal is not None:
            return replace(block, seal=replace(block.seal, origin=maker(block.seal, bare=bare)))
        if isinstance(block, Foreign) and maker(block.raw, bare=False) not in (None, here):
            return replace(block, raw=replace(block.raw, dialect=ELSEWHERE))
        return block

    turns = tuple(replace(turn, content=tuple(of(block) for block in turn.content)) for turn in request.turns)
    return replace(request, turns=turns)
