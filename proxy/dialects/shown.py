"""Pictures that the model made, for dialects whose answers have no place for any: the user shows them, behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from proxy.dialects.blocks import Image
from proxy.dialects.request import Role, Turn


def shown(turns: Sequence[Turn]) -> Iterator[tuple[int, Turn]]:
    """The turns, each with its number; an answer with pictures becomes two under the same one."""
    for n, turn in enumerate(turns):
        pictures = tuple(block for block in turn.content if isinstance(block, Image))
        if turn.role is not Role.ASSISTANT or not pictures:
            yield n, turn
            continue
        rest = tuple(block for block in turn.content if not isinstance(block, Image))
        if rest:
            yield n, replace(turn, content=rest)
        yield n, Turn(Role.USER, pictures)
