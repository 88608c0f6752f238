"""The one rule for "the same model under another name", and what it must never do: swap in a sibling.

Two names are the same model when, after what only says where a model is kept (vendor prefixes, account paths,
revision suffixes) is taken off and dots, dashes and case are made alike, the same words stand in the same order;
and their dates agree. A dated name matches that date alone. A name without a date, or with `latest`, matches the
undated one, or else the newest dated one. Every other word counts: `mini`, `8b`, `instruct`, `:free` are other models.
The table of examples is in tests/rooms/routing/test_same_model.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

_REGION: Final = re.compile(r"^(?:us|eu|apac|global|us-gov|au|jp|ca)\.(?=[a-z0-9-]+\.)")
_BEDROCK_VENDOR: Final = re.compile(
    r"^(?:amazon|anthropic|meta|mistral|cohere|ai21|deepseek|openai|qwen|moonshot(?:ai)?|minimax|writer|google|nvidia|zai)\."
)
_BEDROCK_REVISION: Final = re.compile(r"(?:-v1|-1|(?<=-20[2-9][0-9]{5})-v[0-9]):[0-9]$|(?<=-v[2-9]):0$")
_DATE: Final = re.compile(r"(?:^|[-@])((?:20[2-9][0-9])-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12][0-9]|3[01]))(?=$|[-:])")
_SHORT_DATE: Final = re.compile(r"-((?:2[3-9])(?:0[1-9]|1[0-2])|(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01]))(?=$|:)")
_FAMILY: Final = re.compile(r"^(?:meta-)?(llama-)(?:v(?=[0-9]))?")
_POINT: Final = re.compile(r"(?<=[0-9])p(?=[0-9])")
_LATEST: Final = re.compile(r"[-@:]latest$")
_PATH: Final = re.compile(r"^(?:publishers/[^/]+/models/|accounts/[^/]+/models/|models/|@cf/|[^/]+/)+")


class _Name(msgspec.Struct, frozen=True):
    """A name taken apart: its words, and its date (None: none, or `latest`)."""

    words: str
    date: str | None
    latest: bool


@lru_cache(maxsize=8192)
def _parse(name: str) -> _Name:
    text = name.strip().lower()
    text = _PATH.sub("", text)
    regional = _REGION.sub("", text)
    if _BEDROCK_VENDOR.match(regional):
        text = _BEDROCK_REVISION.sub("", _BEDROCK_VENDOR.sub("", regional))
    latest = _LATEST.search(text) is not None
    text = _LATEST.sub("", text)
    text, date = _without_date(text)
    text = _POINT.sub("-", text)  # Fireworks writes v3p1 for v3.1
    text = _FAMILY.sub(r"\1", text)  # and llama-v3p1 for Meta's own Llama-3.1, once Meta-Llama-3.1
    words = re.sub(r"[._\-\s]+", "-", text).strip("-")
    words = re.sub(r"(?<=[a-z])-(?=[0-9])", "", words)  # qwen3 and qwen-3, llama3 and llama-3
    return _Name(words, date, latest)


def _without_date(text: str) -> tuple[str, str | None]:
    found = _DATE.search(text)
    if found is not None:
        return text[: found.start()] + text[found.end() :], found[1].replace("-", "")
    found = _SHORT_DATE.search(text)
    if found is not None:
        return text[: found.start()] + text[found.end() :], found[1]
    return text, None


def same(a: str, b: str) -> bool:
    """Whether two names mean the same model. Symmetric; an undated name is the same as any of its dated ones."""
    if a == b:
        return True
    one, other = _parse(a), _parse(b)
    if one.words != other.words or not one.words:
        return False
    return one.date == other.date or one.date is None or other.date is None


def match(asked: str, listed: Sequence[str]) -> str | None:
    """The listed id that is the model asked for, or None. An exact id wins; a date asked for must be there."""
    if asked in listed:
        return asked
    wanted = _parse(asked)
    if not wanted.words:
        return None
    found = [(ident, name) for ident in listed if (name := _parse(ident)).words == wanted.words]
    if wanted.date is not None:
        return min((ident for ident, name in found if name.date == wanted.date), default=None, key=_tie)
    undated = [ident for ident, name in found if name.date is None]
    if undated:
        return min(undated, key=_tie)
    dated = [(name.date or "", ident) for ident, name in found]
    if not dated:
        return None
    newest = max((date for date, _ in dated), key=_age)
    return min((ident for date, ident in dated if date == newest), key=_tie)


def _age(date: str) -> tuple[bool, str]:
    """What sorts dates: `20240806` and `2408` by their years; `0613` names none and counts as older."""
    if len(date) > 4:
        return True, date
    return date >= "2", f"20{date}" if date >= "2" else date


def _tie(ident: str) -> tuple[int, str]:
    """Among names of the very same model: the shortest, whatever the order of the list."""
    return len(ident), ident
