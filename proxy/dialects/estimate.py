"""How many tokens a question is, where its provider does not count: an estimate that is told as one.

No tokenizer is loaded: each provider has its own, most unpublished, and a vocabulary takes tens of megabytes. What a
text weighs is fitted to the counts in the recorded traffic (tests/dialects/test_estimate.py holds it to them).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from proxy.dialects.blocks import (
    Audio,
    Block,
    Document,
    Image,
    Reasoning,
    Refusal,
    ServerCall,
    Text,
    ToolCall,
    ToolResult,
)
from proxy.dialects.json import encode
from proxy.dialects.request import Param, Request, ServerTool

_PIECES: Final = re.compile(r"[A-Za-z]+|[0-9]+|[^\x00-\x7f]|[^\sA-Za-z0-9]+")
_AT_ONCE: Final = 1 << 14  # characters: while they are cut to pieces no other thread goes on
_LETTERS: Final = 5.0  # of a word to one token
_DIGITS: Final = 2.5
_SIGNS: Final = 1.7  # signs in a row
_TURN: Final = 6  # what stands around a message
_IMAGE: Final = 1_500  # Anthropic, "Vision": at most about 1,600 of a picture that is scaled to fit
_PAGE_BYTES: Final = 40_000  # of a PDF, and what a page of it weighs
_PAGE: Final = 2_000
_SOUND_BYTES: Final = 1_000  # of compressed sound to one token, at 32 tokens a second (Gemini API, "Tokens")
_TOOLS: Final = 30  # what stands around tools; Anthropic adds 290 to 530, but counts for itself


def of_text(text: str) -> float:
    """The tokens of a text."""
    return sum(map(_of_pieces, _cut(text)))


def _cut(text: str) -> Iterator[list[str]]:
    """All pieces of the text, some at a time."""
    start, size = 0, _AT_ONCE
    while start < len(text):
        end = min(len(text), start + size)
        pieces = _PIECES.findall(text, start, end)
        if end < len(text) and not text[end - 1].isspace():  # the last piece may go on
            end -= len(pieces.pop())
        if end == start:
            size *= 2
            continue
        yield pieces
        start, size = end, _AT_ONCE


def _of_pieces(pieces: list[str]) -> float:
    total = 0.0
    for piece in pieces:
        first = piece[0]
        if not first.isascii():
            total += 0.7
        elif first.isalpha():
            total += max(1.0, len(piece) / _LETTERS)
        elif first.isdigit():
            total += max(1.0, len(piece) / _DIGITS)
        else:
            total += max(1.0, len(piece) / _SIGNS)
    return total


def of_request(request: Request) -> int:
    """The tokens of a question with its tools. Media that lie elsewhere weigh what one of their kind does."""
    total = sum(_TURN + _of_blocks(turn.content) for turn in request.turns)
    own = [tool for tool in request.tools if not isinstance(tool, ServerTool)]
    for tool in request.tools:
        if isinstance(tool, ServerTool):
            total += of_text(encode(tool.options).decode()) + _TOOLS
        else:
            total += of_text(f"{tool.name} {tool.description or ''}") + of_text(encode(tool.schema).decode()) * 0.8
    form = request.params.get(Param.FORMAT)
    if form is not None:
        total += of_text(encode(form.schema).decode())
    return max(1, round(total + (_TOOLS if own else 0)))


def _of_blocks(blocks: Iterable[Block]) -> float:
    return sum(_of_block(block) for block in blocks)


def _of_block(block: Block) -> float:
    match block:
        case Text(text=text) | Refusal(text=text) | Reasoning(text=text):
            return of_text(text)
        case ToolCall(name=name, arguments=arguments) | ServerCall(name=name, arguments=arguments):
            return of_text(name) + of_text(arguments) + 12
        case ToolResult(content=content):
            return _of_blocks(content) + 12
        case Image():
            return _IMAGE
        case Document(source=source):
            words = source.words
            if words is not None:
                return of_text(words)
            return _PAGE * max(1, len(source.data or "") * 3 // 4 // _PAGE_BYTES)
        case Audio(source=source):
            return max(32, len(source.data or "") * 3 // 4 // _SOUND_BYTES)
        case _:
            return of_text(encode(block.raw.data).decode())
