"""What requests share: who makes their attempts, what is known of connections, what runs. One per process.

How one request goes through its connections: `proxy.engine.exchange`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from config.model import Connection, Operation, Snapshot
from proxy.engine import told
from proxy.engine.attempt import Attempter
from proxy.engine.budget import Budget
from proxy.engine.call import Call, ClientGone, Reply, Unfinished
from proxy.engine.exchange import Run
from proxy.engine.job import Job
from proxy.engine.makers import Makers
from proxy.engine.pinned import Owners, translatable
from proxy.fault import Exchange, Fault, FaultKind, Observer
from proxy.routing import Health, ModelLists, Target, resolve

_CACHE: Final = 1024  # resolved names kept; cleared whenever the configuration or a model list changes


class LiveLists(ModelLists, Protocol):
    """Model lists that can be asked to become known."""

    version: int

    async def ensure(self, connections: tuple[Connection, ...]) -> None:
        """Return once each list is known or known not to be had, within a bound."""


class Engine:
    """Everything a request needs beside itself. One per process; owns what is resolved, running, and the budget."""

    def __init__(
        self,
        attempter: Attempter,
        health: Health,
        lists: LiveLists,
        observer: Observer,
        now: Callable[[], float],
    ) -> None:
        self.attempter = attempter
        self.health = health
        self.lists = lists
        self.observer = observer
        self.now = now
        self.owners = Owners()
        self.makers = Makers()
        self.running: dict[asyncio.Task[None], Exchange] = {}  # a task serves one request after the other
        self._waiting: list[asyncio.Future[None]] = []
        self.budget = Budget(lambda: len(self.running))
        self._resolved: dict[tuple[Operation, str | None, bool], tuple[Target, ...]] = {}
        self._resolved_for = (-1, -1)

    async def run(self, call: Call, snapshot: Snapshot, reply: Reply, exchange: Exchange) -> None:
        """Serve one request to its end. Raises CancelledError alone: the client has left, the upstream is closed."""
        task = asyncio.current_task(self.attempter.ticker.loop)
        if task is not None:
            self.running[task] = exchange
        exchange.generation = snapshot.generation
        self.observer.exchange_started(exchange)
        try:
            await Run.of(Job(self, call, snapshot, reply, exchange)).serve()
        except ClientGone:
            exchange.fault = Fault(FaultKind.CLIENT_GONE, "the client left")
            reply.abort()
        except Unfinished as exc:
            await told.unfinished(call, reply, exchange, exc)
        except asyncio.CancelledError:
            if not self.attempter.interrupt.requested or task is None:
                exchange.fault = Fault(FaultKind.CLIENT_GONE, "the client left")
                raise
            task.uncancel()
            await told.shut(call, reply, exchange)
        except Exception:
            if reply.begun:  # an error of ours that came behind the head would stand in the body
                reply.abort()
            raise
        finally:
            if task is not None:
                self.running.pop(task, None)
            exchange.ended = self.now()
            self.observer.exchange_ended(exchange)
            if self._waiting:
                self._tell()

    async def over(self) -> None:
        """Return once every request that runs now has ended."""
        now = dict(self.running)
        while any(self.running.get(task) is exchange for task, exchange in now.items()):
            ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(ended)
            await ended

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for ended in waiting:
            if not ended.done():
                ended.set_result(None)

    def interrupt(self) -> None:
        """The time to drain is over: every running request ends now, with an error of ours."""
        self.attempter.interrupt.requested = True
        for task in self.running:
            task.cancel()

    def targets(self, snapshot: Snapshot, call: Call) -> tuple[Target, ...]:
        """Who serves what the call asks for, in order. Raises NoPlan."""
        version = (snapshot.generation, self.lists.version)
        if version != self._resolved_for or len(self._resolved) > _CACHE:
            self._resolved.clear()
            self._resolved_for = version
        key = (call.operation, call.model, translatable(call))
        found = self._resolved.get(key)
        if found is None:
            found = resolve(snapshot, call.operation, call.model, self.lists, translate=key[2])
            self._resolved[key] = found
        return found
