"""What a client asked, as the engine takes it, and where the answer goes: values and one Protocol, no I/O."""

from __future__ import annotations

from typing import Protocol

import msgspec

from config.model import Operation
from proxy.dialects.envelope import Form
from proxy.upstream.client import Body


class Call(msgspec.Struct):
    """One inference request. The body stays bytes; `headers` are the client's that may pass, names in lower case.
    Nothing of it changes, but that body, headers and fields are let go once nobody else can be sent it."""

    id: str
    operation: Operation
    form: Form
    method: str
    tail: str  # of the path, behind the operation's own
    query: str  # raw, without credentials
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    content_type: str
    model: str | None
    stream: bool
    include_usage: bool | None
    fields: frozenset[str]
    model_at: tuple[int, int] | None = None  # where its name stands in the body, if that is known
    upload: Upload | None = None  # in place of a body: a form that is passed on while it comes in

    @property
    def is_json(self) -> bool:
        """Whether the body is a JSON object (else it is a form, or there is none)."""
        return self.body is not None and self.content_type[:10].lower() != "multipart/"


class Upload(Protocol):
    """A form that is still coming in. One attempt at a time may send it."""

    @property
    def repeatable(self) -> bool:
        """Whether all of it that has come is still here, so that it can be sent from its beginning."""

    @property
    def waited(self) -> float:
        """Seconds that its client was waited for, since attempts were made."""

    def sent(self, model: str | None) -> Body:
        """It, from its beginning, asking for another model if one is named. What it raises: ClientGone, Unfinished."""


class ClientGone(Exception):
    """The client closed its side, or stopped reading for too long."""


class Unfinished(Exception):
    """The client stopped in the middle of its request, or went on with what is refused: how it is told."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class Reply(Protocol):
    """The answer on its way to the client. What sends raises ClientGone."""

    @property
    def begun(self) -> bool:
        """Whether the head is out: from then on nothing but the body can change."""

    async def whole(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Send a whole answer."""

    @property
    def full(self) -> bool:
        """Whether the client's side has no room left: `drain` before more is put there."""

    def begin(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Send the head of an answer whose body follows piece by piece."""

    def put(self, data: bytes) -> None:
        """Send a piece; of an event stream, whole events."""

    async def drain(self) -> None:
        """Return once there is room."""

    async def end(self) -> None:
        """The body is complete."""

    def abort(self) -> None:
        """Break the connection off, so that a body cut short cannot pass for whole."""
