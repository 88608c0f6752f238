"""What one worker has learned of a breaker, for the others: where it stands, as plain values.

Not what happened but what is so now: a word that is lost or comes twice does no harm. Times are on the monotonic clock,
which all processes of one machine share. The window of outcomes is each worker's own, and so is who probes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from config.model import Connection
from proxy.fault import FaultKind
from proxy.routing.breaker import PLAIN_WAITS, Breaker
from proxy.routing.standing import State, fallen, settle


class News(msgspec.Struct, frozen=True, array_like=True):
    """Of the connection with this `identity`, as a whole or of one `model` there; the rest as in Breaker.

    `turned`: when `kind` and `until` became what they are. `at`: when the rest did.
    """

    identity: str
    model: str | None
    at: float
    turned: float
    kind: FaultKind | None
    until: float
    since: float | None
    openings: int
    failures: int
    row: Mapping[str | None, int]
    last_error: FaultKind | None
    last_error_at: float

    @property
    def of(self) -> str:
        """Whose: later news of the same replace these."""
        return f"{self.identity}\n{self.model or ''}"

    @property
    def well(self) -> bool:
        """Whether nothing is wrong there."""
        return self.kind is None and not self.failures


def changes(
    connection: Connection, whole: Breaker, model: str | None, own: Breaker | None, now: float
) -> Iterator[News]:
    """What is not known to others yet, of the connection as a whole and of this model there."""
    if _stands(whole) != whole.told:
        yield _news(connection.identity, None, whole, now)
    if own is not None and _stands(own) != own.told:
        yield _news(connection.identity, model, own, now)


def _stands(breaker: Breaker) -> tuple[FaultKind | None, float, int, float]:
    return breaker.kind, breaker.until, breaker.failures, breaker.last_error_at


def _news(identity: str, model: str | None, breaker: Breaker, now: float) -> News:
    stands, told = _stands(breaker), breaker.told
    if stands[:2] != told[:2]:
        breaker.turned = now
    breaker.told, breaker.told_at = stands, now
    return News(
        identity,
        model,
        now,
        breaker.turned,
        breaker.kind,
        breaker.until,
        breaker.since,
        breaker.openings,
        breaker.failures,
        dict(breaker.row),
        breaker.last_error,
        breaker.last_error_at,
    )


def take_up(state: State, own: Breaker | None, news: News, now: float, turn: Callable[[], int]) -> None:
    """Bring the whole, or its model's `own`, to what the news say, as far as they are newer than what is known here.

    `turn` numbers the openings and closings of this process.
    """
    settle(state, now)
    breaker = own or state.whole
    if _decides(breaker, news, now):
        if not {breaker.kind, news.kind} & PLAIN_WAITS:
            breaker.turn = turn()
        breaker.kind, breaker.until, breaker.since = news.kind, news.until, news.since
        breaker.openings, breaker.turned = news.openings, news.turned
        if news.kind is None:
            breaker.out = None
    if news.at > breaker.told_at:
        breaker.failures, breaker.row = news.failures, dict(news.row)
        breaker.last_error, breaker.last_error_at = news.last_error, news.last_error_at
        breaker.told_at = news.at
    breaker.told = _stands(breaker)
    fallen(state, now)


def _decides(breaker: Breaker, news: News, now: float) -> bool:
    """Whether its kind counts: of two that are shut the longer, for they say different things, else the later."""
    if news.kind is None or not breaker.shut(now):
        return news.turned > breaker.turned
    return _until(news.kind, news.until) > _until(breaker.kind, breaker.until)


def _until(kind: FaultKind | None, until: float) -> float:
    return float("inf") if kind is FaultKind.AUTH else until
