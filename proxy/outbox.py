"""Small writes of one turn of the loop, held until its end and then made together.

A write to somebody who sleeps wakes him, which costs more than the write itself: of many that follow each other only
the first does. With 64 clients that is a sixth of what a request costs (docs/decisions/0021).
"""

from __future__ import annotations

import asyncio
from typing import Final

_SMALL: Final = 16 * 1024  # bytes; what is larger goes out at once
_MOST: Final = 64  # writes; with that many waiting, nobody is kept longer
_DIRECT: Final = 16  # writes made at once after one that was held had no company


class Outbox:
    """Writes to the transports of one loop, in the order in which they are asked for.

    Whoever writes to one of them past this, or closes one, calls `flush` before. What is held for a transport that is
    closing by then is dropped, as the transport itself would drop it.
    """

    __slots__ = ("_direct", "_held", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._held: list[tuple[asyncio.Transport, bytes]] = []
        self._direct = 0  # writes still to be made at once: nothing is held meanwhile

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send it by the end of this turn at the latest."""
        if self._direct:
            self._direct -= 1
            transport.write(data)
            return
        held = self._held
        if len(data) > _SMALL:
            if held:
                self.flush()
            transport.write(data)
            return
        if not held:
            self._loop.call_soon(self._turn_over)
        held.append((transport, data))
        if len(held) >= _MOST:
            self.flush()

    def flush(self) -> None:
        """Send what is held now."""
        if not self._held:
            return
        held, self._held = self._held, []
        for transport, data in held:
            if not transport.is_closing():
                transport.write(data)

    def _turn_over(self) -> None:
        if len(self._held) == 1:  # so few come at once that to wait for others only costs
            self._direct = _DIRECT
        self.flush()
