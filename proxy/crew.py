"""What joins one worker to the others, and the configuration that the supervisor holds for those yet to be born."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable

import msgspec

from config.errors import ConfigError, StoreUnavailable, UnsafeState
from config.store import ConfigStore
from proxy.front.turns import MOST
from proxy.link import Link
from proxy.observe.metrics import Metrics
from proxy.processors import usable
from proxy.routing import Health
from proxy.routing.news import News

_log = logging.getLogger("redeo.workers")


class Held:
    """The latest good configuration, as `reopen` reads it."""

    def __init__(self, store: ConfigStore, reopen: Callable[[], ConfigStore]) -> None:
        self.store = store
        self._reopen = reopen
        self._workers = wanted(store)

    def workers(self) -> int:
        """How many there shall be."""
        return self._workers

    def renew(self) -> None:
        """Read the files again. A fault changes nothing here, and is told by the workers. TimeoutError passes."""
        try:
            self.store = self._reopen()
        except TimeoutError:
            raise
        except (ConfigError, UnsafeState, StoreUnavailable, OSError):
            return
        self._workers = wanted(self.store)

    def tell_of_restart(self) -> None:
        """For one process alone, after a reload: it has no supervisor that could start more."""
        now = wanted(self.store)
        if now != self._workers:
            self._workers = now
            if now != 1:
                _log.warning("`workers` is %d now, which needs a restart: one process was started", now)


def wanted(store: ConfigStore) -> int:
    """How many workers its settings say; `auto`: as many as there are processors."""
    workers = store.current.settings.workers
    return min(usable(), MOST) if workers is None else workers


def prepare() -> None:
    """Import what a worker loads after its first answers: those that are forked from now on share it."""
    for module in ("proxy.observe.registry", "watchfiles"):
        importlib.import_module(module)


async def join(link: Link, health: Health, store: ConfigStore, metrics: Metrics) -> None:
    """Share what is learned, say what is taken up, and give signs of life, until cancelled."""
    encode, decode = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(News)

    def tell(news: News) -> None:
        link.tell(news.of, encode.encode(news), well=news.well)

    health.tell = tell
    link.follow(lambda news: health.take_up(decode.decode(news)))
    store.subscribe(lambda _: link.configured())
    await link.pulse(metrics.beat)
