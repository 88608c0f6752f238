"""What every dialect is to the rest of the daemon, and the table of them, each loaded when it is first needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from importlib import import_module
from typing import Any, Protocol, cast

import msgspec

from config.continuing import Way
from proxy.dialects.aspects import Untold
from proxy.dialects.events import Answer, Event
from proxy.dialects.request import Loss, Request


class DialectName(StrEnum):
    """The wire languages; the value is the name of its module in this folder."""

    CHAT = "chat"
    MESSAGES = "messages"
    RESPONSES = "responses"
    GEMINI = "gemini"
    CONVERSE = "converse"
    COHERE = "cohere_chat"
    OLLAMA = "ollama_chat"


class Target(msgspec.Struct, frozen=True):
    """Whom a request is written for: the connection (`origin`), its name of the model, and what is special about it.

    `max_tokens` is the limit where the dialect demands one, the client named none and the model's own is not known.
    """

    origin: str
    model: str
    max_tokens: int = 8192
    without_ids: bool = False  # calls and their results are told apart by name and order alone
    reasoning_field: str | None = None  # under which a provider of Chat wants its reasoning back; `thinking`: as parts
    rejects: tuple[str, ...] = ()  # what a provider of Chat refuses of its parameters; `name`: of a message
    cache_marks: bool = False  # a provider of Chat takes Anthropic's marks for the prompt cache
    continues: Way | None = None  # it goes on from the last message, an assistant's, and is asked to in this way
    call_id_length: int = 0  # how long ids of calls have to be, in letters and digits; 0: any


class ReplyHead(msgspec.Struct, frozen=True):
    """What an answer is written with beside its events: an id of ours, seconds since 1970, and the question."""

    id: str
    created: int
    request: Request
    model: str
    include_usage: bool = True


class Unreadable(Exception):
    """An answer that is not what its dialect says it is: the provider's fault."""


class Parser(Protocol):
    """Reads one streamed answer."""

    @property
    def ended(self) -> bool:
        """Whether the provider has said that its answer is whole, though more may follow."""

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete, however they were split. Raises Unreadable and EventTooLarge."""

    def close(self) -> list[Event]:
        """The events that were still to come when the stream ended: `Failed` where it was cut short."""


class Renderer(Protocol):
    """Writes one streamed answer."""

    @property
    def begun(self) -> tuple[dict[str, Any] | None, int]:
        """What an error frame repeats: the response object of Responses and its next sequence number."""

    def event(self, event: Event) -> bytes:
        """The bytes that say this; empty where the dialect says it later, or not at all."""


class Dialect(Protocol):
    """One wire language, without state."""

    @property
    def untold(self) -> Untold:
        """What of another dialect's answer cannot be told in this one, and why."""

    def read_request(self, body: Mapping[str, Any]) -> Request:
        """A client's question. Raises BadRequest."""

    def write_request(self, request: Request, target: Target) -> tuple[dict[str, Any], list[Loss]]:
        """The question for a provider, and what it could not be told."""

    def read_answer(self, body: Mapping[str, Any], origin: str) -> Iterable[Event]:
        """A provider's whole answer. Raises Unreadable."""

    def write_answer(self, answer: Answer, head: ReplyHead) -> dict[str, Any]:
        """A whole answer for a client."""

    def parser(self, origin: str) -> Parser:
        """A reader of one streamed answer of this connection."""

    def renderer(self, head: ReplyHead) -> Renderer:
        """A writer of one streamed answer."""


@cache
def dialect(name: DialectName) -> Dialect:
    """The dialect of this name."""
    return cast(Dialect, import_module(f"proxy.dialects.{name.value}").DIALECT)
