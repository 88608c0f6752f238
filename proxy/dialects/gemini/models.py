"""What each family of Gemini models takes of thinking, tools and media, by name: data, not rules.

Sources: Gemini API docs, "Thinking" (levels and budgets by model), "Gemini 3", "Function calling" (multimodal function
responses), "Thought signatures"; Vertex AI docs, "Thinking"; read 2026-11.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec


class Ways(msgspec.Struct, frozen=True):
    """What a family of models takes."""

    thinks: bool = True
    levels: tuple[str, ...] = ()  # how much to think, in words; none: in tokens
    least: int = 0  # tokens of a budget
    most: int = 24_576
    off: bool = False  # thinking can be turned off
    old: bool = False  # before Gemini 3: no signatures, no media in results, no JSON beside functions


_MOST_LEVELS: Final = ("minimal", "low", "medium", "high")
_OLD: Final = Ways(old=True, off=True)

# The first that is found in a name counts.
_FAMILIES: Final = tuple(
    (re.compile(pattern), ways)
    for pattern, ways in (
        (r"gemini-(1|2\.0)|gemini-2\.5-flash-image|-tts|gemma|learnlm", Ways(thinks=False, old=True)),
        (r"gemini-2\.5-pro", Ways(old=True, least=128, most=32_768)),
        (r"gemini-2\.5-flash-lite", Ways(old=True, off=True, least=512)),
        (r"gemini-2", _OLD),
        (r"gemini-3-pro", Ways(levels=("low", "high"))),
        (r"gemini-3(\.[0-6])?-flash|gemini-\d(\.\d)?-flash-lite", Ways(levels=_MOST_LEVELS)),
        (r"gemini-4", Ways(levels=("low", "medium", "high", "xhigh"))),
        (r"", Ways(levels=("low", "medium", "high"))),
    )
)


@lru_cache(maxsize=256)
def ways_of(model: str) -> Ways:
    """What the model of this name takes."""
    name = model.lower()
    return next(ways for pattern, ways in _FAMILIES if pattern.search(name))
