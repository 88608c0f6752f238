"""An upload on its way to one provider: what its client takes its time with is not the provider's time."""

from __future__ import annotations

from collections.abc import Callable

from proxy.engine.call import Upload
from proxy.engine.clocks import Watchdog
from proxy.fault import FaultKind
from proxy.upstream.client import Body


class Sending:
    """A Body. The clock of an attempt, `seconds` from `now()`, rests while more is waited for."""

    __slots__ = ("_body", "_dog", "_due", "_model", "_now", "_timing", "_upload")

    def __init__(
        self, upload: Upload, model: str | None, dog: Watchdog, now: Callable[[], float], seconds: float
    ) -> None:
        self._upload = upload
        self._model = model
        self._body: Body = upload.sent(model)
        self._dog = dog
        self._now = now
        self._due = now() + seconds
        self._timing = True

    @property
    def size(self) -> int | None:
        """Its bytes."""
        return self._body.size

    async def next(self) -> bytes:
        """More of it, empty at its end. Raises ClientGone, Unfinished."""
        began = self._now()
        if self._timing:
            self._dog.rest()
        try:
            return await self._body.next()
        finally:
            now = self._now()
            self._due += now - began
            if self._timing:
                self._dog.arm(FaultKind.TIMEOUT, max(0.001, self._due - now))

    async def whole(self) -> bytes:
        """All of it at once, for those who sign what they send."""
        pieces = []
        while piece := await self.next():
            pieces.append(piece)
        return b"".join(pieces)

    def restart(self) -> bool:
        """Begin anew; whether all of it is still here."""
        if not self._upload.repeatable:
            return False
        self._body = self._upload.sent(self._model)
        return True

    def left(self) -> float:
        """Seconds of the attempt's clock, which is another's from now on: the head of the answer is there."""
        self._timing = False
        return self._due - self._now()
