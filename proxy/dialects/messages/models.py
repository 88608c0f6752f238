"""What each family of Claude models takes of thinking, sampling and forced calls, and how much it can say, by name.

Data, not rules. Sources: Claude docs, "Models overview" and the page of each model (max output), "Context windows",
"Thinking" (configuring, display, tool use), "Effort", "What's new in Claude Opus 5.5", the migration guides of Opus 4.7
and Fable 5, "Mid-conversation system messages"; read 2026-11. A name that says nothing
of Claude is another maker's model behind the same dialect: it is asked as the client asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec


class Ways(msgspec.Struct, frozen=True):
    """What a family of models takes."""

    manual: bool = False  # thinking with a budget of tokens
    adaptive: bool = False  # thinking as the model likes
    first: str = "adaptive"  # what is asked for where the client named an effort alone
    off: bool = True  # thinking can be turned off
    on: bool = False  # it thinks where nothing is said of it
    efforts: tuple[str, ...] | None = ()  # None: whatever the client says
    quiet: tuple[str, ...] = ()  # the efforts that go with no thinking, where not all do
    sampling: bool = True  # temperature, top_p and top_k
    both: bool = True  # temperature and top_p together
    force: bool = True  # a call can be forced
    forced: bool = False  # and while it thinks as it likes, too
    system_inside: bool = False  # instructions may stand between turns
    output: int | None = None  # tokens that an answer can have; None: nobody says
    window: int | None = None  # tokens that question and limit together may have, where more of them is refused


_LEVELS: Final = ("low", "medium", "high", "xhigh", "max")
_LEAST_BYTES: Final = 2  # of a token, about
_SHORT: Final = 200_000  # the window of the models before 4.5, which refuse a limit that does not fit into it
_NEW: Final = Ways(adaptive=True, on=True, efforts=_LEVELS, sampling=False, forced=True, output=128_000)
_ALWAYS: Final = msgspec.structs.replace(_NEW, off=False, system_inside=True)
_OLD: Final = Ways(manual=True, first="manual", output=64_000)
_OTHERS: Final = Ways(manual=True, adaptive=True, first="manual", efforts=None, forced=True)

# The first that is found in a name counts; dots are written as dashes.
_FAMILIES: Final = tuple(
    (re.compile(pattern), ways)
    for pattern, ways in (
        (
            r"opus-5-[5-9](?!\d)|(fable|mythos)-(5-[1-9](?!\d)|[6-9])",
            msgspec.structs.replace(_ALWAYS, force=False, forced=False),
        ),
        (r"claude-(fable|mythos)", _ALWAYS),
        (r"claude-opus-5(?!\d)", msgspec.structs.replace(_NEW, quiet=("low", "medium", "high"), system_inside=True)),
        (r"opus-4-8(?!\d)", msgspec.structs.replace(_NEW, on=False, system_inside=True)),
        (r"opus-4-7(?!\d)", msgspec.structs.replace(_NEW, on=False, forced=False)),
        (
            r"(opus|sonnet)-4-6(?!\d)",
            Ways(manual=True, adaptive=True, efforts=("low", "medium", "high", "max"), both=False, output=128_000),
        ),
        (r"opus-4-5(?!\d)", msgspec.structs.replace(_OLD, efforts=("low", "medium", "high"), both=False)),
        (r"claude-opus-4-1(?!\d)", msgspec.structs.replace(_OLD, both=False, output=32_000, window=_SHORT)),
        (r"claude-(opus|sonnet|haiku)-4-[1-5](?!\d)", msgspec.structs.replace(_OLD, both=False)),
        (r"claude-opus-4", msgspec.structs.replace(_OLD, output=32_000, window=_SHORT)),
        (r"claude-(sonnet|haiku)-4|claude-3-7", msgspec.structs.replace(_OLD, window=_SHORT)),
        (r"claude-3-5", Ways(output=8192, window=_SHORT)),
        (r"claude-(\d|instant)", Ways(output=4096, window=_SHORT)),
        (r"claude-[a-z]+-5(?!\d)", _NEW),
        (r"claude-[a-z]+-\d", msgspec.structs.replace(_NEW, output=64_000)),  # not known yet: what all can say
    )
)


@lru_cache(maxsize=256)
def ways_of(model: str) -> Ways:
    """What the model of this name takes, however a cloud spells it."""
    name = model.lower().replace(".", "-")
    return next((ways for pattern, ways in _FAMILIES if pattern.search(name)), _OTHERS)


def limit_of(model: str, otherwise: int, size: Callable[[], int]) -> int:
    """How many tokens an answer may have where the client sets no limit. `size`: the bytes of the question."""
    ways = ways_of(model)
    limit = ways.output or otherwise
    if ways.window is None or limit <= otherwise:
        return limit
    return min(limit, max(otherwise, ways.window - size() // _LEAST_BYTES))
