"""A form that is passed on while it comes in: what of it is kept, so that another connection can be sent it, too.

One that fits into what is kept of all of them together is kept whole; of a larger one a beginning, and none of it once
more than that has gone out. Then it can be sent to nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from proxy.dialects import multipart
from proxy.dialects.splice import Head
from proxy.engine import Unfinished
from proxy.front.errors import Refused

_SLICE: Final = 256 * 1024


class Account(Protocol):
    """Who counts what is kept, and how many are passed on."""

    def passed_on(self, size: int) -> int:
        """One of this size is; how much of it may be kept."""

    def forgotten(self, keep: int) -> None:
        """So much is kept no more."""

    def over(self) -> None:
        """One is passed on no more."""


class Coming:
    """An engine Upload, to be closed. `beginning`: what has come, and what `head` was found in; `more`: what comes
    after it, empty at the end."""

    def __init__(
        self,
        beginning: bytes,
        size: int,
        kind: str,
        head: Head,
        more: Callable[[], Awaitable[bytes]],
        account: Account,
    ) -> None:
        self.head = head
        self.size = size
        self._kind = kind
        self._begun = len(beginning)
        self._kept: bytearray | None = bytearray(beginning)
        self._models = multipart.Models(kind)
        self._models.see(beginning)
        self._more = more
        self.waited = 0.0
        self._account = account
        self._keep = account.passed_on(size)

    @property
    def repeatable(self) -> bool:
        """Whether all that has come is still here."""
        return self._kept is not None

    def sent(self, model: str | None) -> Sent:
        """It, from its beginning, asking for another model if one is named."""
        if self._kept is None:
            raise RuntimeError("nothing is left of the upload")
        beginning = bytes(self._kept[: self._begun])
        if model is not None:
            beginning = multipart.with_model(beginning, self._kind, model, whole=False)
        return Sent(self, beginning, self._begun)

    def kept(self, start: int) -> bytes:
        """Some of what was kept from there on; empty where the rest is still to come."""
        return b"" if self._kept is None else bytes(self._kept[start : start + _SLICE])

    async def next(self) -> bytes:
        """What comes next; empty at the end. Raises ClientGone, Unfinished."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            piece = await self._more()
        except Refused as exc:
            raise Unfinished(exc.status, exc.code, exc.message) from None
        finally:
            self.waited += loop.time() - began
        if self._models.see(piece) > 1:
            two = multipart.two_models()
            raise Unfinished(400, two.code, two.message)
        if self._kept is not None:
            if len(self._kept) + len(piece) > self._keep:
                self._forget()
            else:
                self._kept += piece
        return piece

    def close(self) -> None:
        """It has been passed on, or not."""
        self._forget()
        self._account.over()

    def _forget(self) -> None:
        if self._kept is not None:
            self._kept = None
            self._account.forgotten(self._keep)


class Sent:
    """A Body: the upload as one attempt sends it."""

    def __init__(self, coming: Coming, beginning: bytes, at: int) -> None:
        self.size = coming.size - at + len(beginning)
        self._coming = coming
        self._beginning = beginning
        self._at = at

    async def next(self) -> bytes:
        """The next piece; empty at the end. Raises ClientGone, Unfinished."""
        if self._beginning:
            piece, self._beginning = self._beginning, b""
            return piece
        piece = self._coming.kept(self._at) or await self._coming.next()
        self._at += len(piece)
        return piece

    def restart(self) -> bool:
        """Whoever sends it takes another one."""
        return False
