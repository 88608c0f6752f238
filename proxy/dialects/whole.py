"""A whole answer that is relayed: what it cost, and whether it is one at all. Nothing of it is read but that.

Sources: as of `proxy.dialects.scan`, which does the same for streams.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from config.model import Operation
from proxy.dialects.json import decode, is_text, top_level
from proxy.dialects.scan import anthropic_usage, google_usage, openai_usage
from proxy.fault import Usage

_BLANK: Final = b" \t\r\n\v\f"
_EMPTY: Final = re.compile(rb"\[\s*\]")
_NULL: Final = msgspec.Raw(b"null")
_CHOOSES: Final = frozenset({Operation.CHAT, Operation.COMPLETIONS})
# How usage is counted, and the field that it stands in, where that is not as with OpenAI.
_COUNTS: Final[Mapping[Operation, tuple[Callable[[object], Usage | None], str]]] = {
    Operation.MESSAGES: (anthropic_usage, "usage"),
    Operation.GEMINI: (google_usage, "usageMetadata"),
}
_COUNTS_AS_OPENAI: Final = (openai_usage, "usage")
# Of these, one has to be there.
_MUST_HAVE: Final[Mapping[Operation, tuple[str, ...]]] = {
    Operation.CHAT: ("choices",),
    Operation.COMPLETIONS: ("choices",),
    Operation.MESSAGES: ("content",),
    Operation.RESPONSES: ("object", "output", "id"),  # lists, deletions and compactions too
    Operation.GEMINI: ("candidates", "promptFeedback"),
    Operation.GEMINI_EMBED: ("embeddings",),
    Operation.GEMINI_EMBED_ONE: ("embedding",),
    Operation.COHERE_EMBED: ("embeddings",),
    Operation.GEMINI_COUNT: ("totalTokens",),
    Operation.EMBEDDINGS: ("data", "embeddings"),
    Operation.COUNT_TOKENS: ("input_tokens",),
    Operation.RESPONSES_COUNT: ("input_tokens",),
}


class Whole(msgspec.Struct, frozen=True):
    """What a whole answer is: its usage, the id it gives itself, the error it really is, or why it is no answer."""

    usage: Usage | None = None
    made: object = None
    error: Mapping[str, Any] | None = None
    wrong: str | None = None


def judge_whole(operation: Operation, body: bytes) -> Whole:
    """A whole answer of this operation, of which nothing is read but what is asked here."""
    if not body.strip(_BLANK):
        return Whole(wrong="its answer is empty")
    try:
        fields = top_level(body)
    except ValueError:
        return Whole(wrong="the answer is not a JSON object" if _is_json(body) else "its answer is not JSON")
    if not is_text(body):
        return Whole(wrong="its answer is not JSON")
    error, needed = _field(fields, "error"), _MUST_HAVE.get(operation)
    whole = _has_one(fields, needed) if needed else bool(fields) and not error
    failed = error and operation is Operation.RESPONSES and _field(fields, "status") == "failed"
    if error and (failed or not whole):
        return Whole(error=error if isinstance(error, dict) else {"message": str(error)[:300]})
    if operation in _CHOOSES and _EMPTY.fullmatch(fields.get("choices", b"")):
        return Whole(wrong="the answer has no choice in it")
    if not whole:
        return Whole(wrong=f"the answer has no `{needed[0]}`" if needed else "the answer is empty")
    count, place = _COUNTS.get(operation, _COUNTS_AS_OPENAI)
    return Whole(count(_field(fields, place)), _field(fields, "id"))


def _field(fields: Mapping[str, msgspec.Raw], name: str) -> Any:
    raw = fields.get(name)
    return None if raw is None else decode(raw)


def _has_one(fields: Mapping[str, msgspec.Raw], names: tuple[str, ...]) -> bool:
    for name in names:
        raw = fields.get(name)
        if raw is not None and raw != _NULL:
            return True
    return False


def _is_json(body: bytes) -> bool:
    try:
        decode(body)
    except ValueError:
        return False
    return True
