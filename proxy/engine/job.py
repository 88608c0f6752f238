"""One request on its way, as everybody who works on it sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from config.model import Snapshot, Timeouts
from proxy.dialects.counting import COUNTS
from proxy.engine import told
from proxy.engine.call import Call, Reply
from proxy.fault import Exchange
from proxy.routing import Candidate

if TYPE_CHECKING:
    from proxy.engine.engine import Engine


class Job(msgspec.Struct):
    """`since`: when the clock of all attempts together began, where that is not the request's arrival."""

    engine: Engine
    call: Call
    snapshot: Snapshot
    reply: Reply
    exchange: Exchange
    since: float | None = None

    @property
    def counting(self) -> bool:
        """Whether a number of tokens is asked for, which may be estimated."""
        return self.call.operation in COUNTS

    def timeouts(self, candidate: Candidate) -> Timeouts:
        """The clocks of an attempt at this candidate."""
        return candidate.connection.timeouts(candidate.model, self.snapshot.settings.routing.timeouts)

    def seconds_left(self, candidate: Candidate) -> float:
        """How long this candidate may take until its first content."""
        return self.left(self.timeouts(candidate))

    def left(self, own: Timeouts) -> float:
        """The same of one who has these clocks. They may be longer than what all attempts together are given."""
        base = self.snapshot.settings.routing.timeouts
        first_byte = own.first_byte
        together = base.before_answer if first_byte <= base.first_byte else max(base.before_answer, first_byte)
        since = self.exchange.started if self.since is None else self.since
        return min(first_byte, together - (self.engine.now() - since))

    def heard(self, first_content: float) -> None:
        """The client has the first content. Until then providers were waited for, however many at once."""
        exchange, until = self.exchange, 0.0
        if exchange.first_content is not None:
            return  # of a stream that was gone on with, the beginning is the first
        exchange.first_content = first_content
        for attempt in exchange.attempts:  # in the order in which they began
            end = attempt.ended
            if end is None or end > first_content:
                end = first_content
            begun = attempt.started if attempt.started > until else until
            if end > begun:
                exchange.upstream_seconds += end - begun
                until = end

    def headers(self, given: set[str], dropped: tuple[str, ...]) -> list[tuple[str, str]]:
        """What the daemon says of itself on an answer that is not an attempt's."""
        return told.headers(self.call, self.exchange, given, dropped)
