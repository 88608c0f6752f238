"""How a provider is asked to go on from the beginning of an answer, and which models do."""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec


class Way(StrEnum):
    """The beginning always stands as an assistant's, as the last message. `prefix` and `partial` are marks in that
    message, `final_message` two fields beside the messages, of Chat Completions all."""

    PREFILL = "prefill"  # it needs no mark
    PREFIX = "prefix"
    PARTIAL = "partial"
    FINAL_MESSAGE = "final_message"


class Continues(msgspec.Struct, frozen=True):
    """An operation goes on from a beginning that it is given, instead of answering it.

    `only` are patterns of the models that do, as a route has them; `path` is where, if elsewhere; `echoes`: what it
    says begins with the beginning once more.
    """

    way: Way
    only: tuple[str, ...] = ()
    path: str = ""
    echoes: bool = False

    def serves(self, model: str | None) -> bool:
        """Whether this model does; of a name that is not known nothing is promised."""
        return not self.only or (model is not None and meant(self.only, model))


def meant(patterns: tuple[str, ...], model: str) -> bool:
    """Whether these patterns (with `!`: all but these) mean this model; none of them mean every one."""
    barred = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    allowed = [pattern for pattern in patterns if not pattern.startswith("!")]
    if any(fnmatchcase(model, pattern) for pattern in barred):
        return False
    return not allowed or any(fnmatchcase(model, pattern) for pattern in allowed)
