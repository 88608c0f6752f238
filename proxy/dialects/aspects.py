"""What an answer can hold that not every client's dialect has a word for.

Each dialect names what it cannot tell, and why, in `untold` beside its writer. So the client of a translated answer
hears what is missing in it, as it hears what its question could not say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final

from proxy.dialects.blocks import Count
from proxy.dialects.events import BlockCite, BlockLogprobs, BlockStart, Counted, Event, Kind


class Aspect(StrEnum):
    """The value is what a client is told."""

    THINKING = "thinking"
    CITATIONS = "citations"
    DOCUMENT_CITATIONS = "citations of documents"  # and of whatever else has no address
    LOGPROBS = "logprobs"
    CHOICES = "choices"  # beyond the first
    SEARCHES = "searches"  # by the provider's own tool: what was looked for
    BUILT_IN_TOOLS = "built-in tools"  # the work of the provider's other ones
    AUDIO = "audio"
    IMAGES = "images"
    CACHE_WRITES = "usage.cache_writes"
    REASONING_TOKENS = "usage.reasoning_tokens"
    AUDIO_TOKENS = "usage.audio_tokens"
    SEARCH_COUNT = "usage.searches"


Untold = Mapping[Aspect, str]
_SEARCHES: Final = ("web_search", "google_search")
_KINDS: Final = {
    Kind.REASONING: Aspect.THINKING,
    Kind.SUMMARY: Aspect.THINKING,
    Kind.AUDIO: Aspect.AUDIO,
    Kind.IMAGE: Aspect.IMAGES,
    Kind.FOREIGN: Aspect.BUILT_IN_TOOLS,
}
_COUNTS: Final = (
    ("cache_write", Aspect.CACHE_WRITES),
    ("reasoning", Aspect.REASONING_TOKENS),
    ("audio_input", Aspect.AUDIO_TOKENS),
    ("audio_output", Aspect.AUDIO_TOKENS),
    ("searches", Aspect.SEARCH_COUNT),
)


def aspects_of(event: Event) -> Iterator[Aspect]:
    """What this event brings that may be beyond a dialect."""
    match event:
        case BlockStart():
            if event.choice:
                yield Aspect.CHOICES
            if event.kind is Kind.SERVER_CALL:
                yield Aspect.SEARCHES if event.name in _SEARCHES else Aspect.BUILT_IN_TOOLS
            elif event.kind in _KINDS:
                yield _KINDS[event.kind]
        case BlockCite():
            yield Aspect.CITATIONS if event.cite.url else Aspect.DOCUMENT_CITATIONS
        case BlockLogprobs():
            yield Aspect.LOGPROBS
        case Counted():
            yield from _counted(event.count)
        case _:
            pass


def _counted(count: Count) -> Iterator[Aspect]:
    for name, aspect in _COUNTS:
        if getattr(count, name):
            yield aspect


def missing(events: Iterable[Event], untold: Untold) -> dict[Aspect, None]:
    """What of these events the dialect cannot tell, each once, in order."""
    return {aspect: None for event in events for aspect in aspects_of(event) if aspect in untold}
