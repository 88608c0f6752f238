"""What messages consist of, in no dialect's own shape: the superset that every dialect is read into and written from.

Owns the values alone. Reading and writing them is for the modules named after a dialect; what stands around them is in
`proxy.dialects.request` (a question) and `proxy.dialects.events` (an answer).
"""

from __future__ import annotations

from base64 import b64decode
from enum import StrEnum
from typing import Any, Final

import msgspec


class Opaque(msgspec.Struct, frozen=True):
    """What only its maker can read: signatures, encrypted reasoning, results of a provider's own tools.

    `dialect` wrote it, `kind` is its type there, `origin` the connection that made it where that is known. It is handed
    back unaltered to the same dialect and origin, and to nobody else.
    """

    dialect: str
    kind: str
    data: Any
    origin: str | None = None


_SPELT: Final = {"image/jpg": "image/jpeg"}
# How base64 of the commonest files begins (their magic numbers).
_STARTS: Final = {
    "iVBORw0KGgo": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp",
    "JVBERi": "application/pdf",
}  # fmt: skip


class Source(msgspec.Struct, frozen=True):
    """Where media are: an address, base64 `data` with its media type, plain `text`, or a file kept upstream."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    file_id: str | None = None
    text: str | None = None

    @property
    def words(self) -> str | None:
        """The text that it is, be it written plainly or in base64; None for anything else."""
        if self.text is not None or self.data is None or not (self.media_type or "").startswith("text/"):
            return self.text
        try:
            return b64decode(self.data, validate=True).decode()
        except ValueError:
            return None

    @property
    def kind(self) -> str | None:
        """The media type in its usual spelling; where none is given, what the data begin with."""
        given = _SPELT.get(self.media_type or "", self.media_type)
        if given or self.data is None:
            return given
        return next((kind for start, kind in _STARTS.items() if self.data.startswith(start)), None)


class Cache(msgspec.Struct, frozen=True):
    """A mark after which the prompt may be cached; `ttl` as Anthropic writes it ("5m", "1h").

    `point` is OpenAI's own mark as it was written, which OpenAI's dialects alone can say.
    """

    ttl: str | None = None
    point: Any = None


class Cite(msgspec.Struct, frozen=True):
    """A source of a text. `start` and `end` count characters of the block; `raw` is the maker's own form."""

    url: str = ""
    title: str = ""
    quote: str = ""
    start: int | None = None
    end: int | None = None
    raw: Opaque | None = None


class Text(msgspec.Struct, frozen=True, tag=True):
    """Words."""

    text: str
    cites: tuple[Cite, ...] = ()
    cache: Cache | None = None


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """Words that say no."""

    text: str


class Image(msgspec.Struct, frozen=True, tag=True):
    """A picture. `detail` as OpenAI has it: low, high, auto, original; `raw` is what its maker wrote beside it."""

    source: Source
    detail: str | None = None
    cache: Cache | None = None
    raw: Opaque | None = None


class Document(msgspec.Struct, frozen=True, tag=True):
    """A file to be read, such as a PDF. `cited`: the answer shall cite it; `raw` where its own dialect says more."""

    source: Source
    name: str | None = None
    context: str | None = None
    cited: bool = False
    cache: Cache | None = None
    raw: Opaque | None = None


class Audio(msgspec.Struct, frozen=True, tag=True):
    """Sound. `format` as OpenAI has it: wav, mp3."""

    source: Source
    format: str | None = None


class ToolCall(msgspec.Struct, frozen=True, tag=True):
    """The model calls a tool. `arguments` is the text as it was written, JSON unless the tool is free-form (`custom`).

    `seal` belongs to this very call, as Gemini's thought signatures do.
    """

    id: str
    name: str
    arguments: str
    custom: bool = False
    seal: Opaque | None = None
    cache: Cache | None = None


class ToolResult(msgspec.Struct, frozen=True, tag=True):
    """What a tool said."""

    call_id: str
    content: tuple[Block, ...]
    name: str | None = None
    error: bool = False
    custom: bool = False
    cache: Cache | None = None


class Reasoning(msgspec.Struct, frozen=True, tag=True):
    """Thinking: its text as far as it is shown, `summary` when that is an abridgement; `seal` proves or holds it."""

    text: str = ""
    seal: Opaque | None = None
    summary: bool = False


class ServerCall(msgspec.Struct, frozen=True, tag=True):
    """The provider called one of its own tools. `tool` is what both sides know it as, where they do."""

    id: str
    name: str
    arguments: str
    raw: Opaque


class Foreign(msgspec.Struct, frozen=True, tag=True):
    """Something that one dialect alone has. `content`: the question depends on it, as on a video."""

    raw: Opaque
    content: bool = False


Block = Text | Refusal | Image | Document | Audio | ToolCall | ToolResult | Reasoning | ServerCall | Foreign


_CALLED: Final[dict[type, str]] = {
    Text: "a text",
    Refusal: "a refusal",
    Image: "an image",
    Document: "a file",
    Audio: "a sound",
    ToolCall: "a call",
    ToolResult: "a tool's result",
    Reasoning: "thinking",
    ServerCall: "the work of a provider's own tool",
}


def plainly(block: Block) -> str:
    """What people call such a block; what one dialect alone has by its own name."""
    return f"`{block.raw.kind}`" if isinstance(block, Foreign) else _CALLED[type(block)]


class Finish(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    PAUSE = "pause"  # the provider's own tools want another turn
    CONTEXT = "context"  # the model's window is full
    OTHER = "other"


class Count(msgspec.Struct, frozen=True):
    """Tokens as the provider counted them. `input` is all of it, with what was read from or written to a cache."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    searches: int = 0
    tier: str | None = None
