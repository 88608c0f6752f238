"""The composition root: builds every object, joins the rooms, runs them until a signal says to stop.

The only module that sees the data plane and the admin API both.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from proxy import quick_start  # noqa: F401  # isort: skip - before aiohttp is imported
from aiohttp import web

import admin_api
from admin_api.ports import TestResult
from config import cipher
from config.daemon_key import daemon_key
from config.errors import ConfigError, StoreUnavailable, UnsafeState
from config.generation import Generation
from config.model import Connection, Snapshot
from config.paths import Paths
from config.store import ConfigStore
from proxy import systemd, upkeep, watchdog
from proxy.crew import Held, join, prepare
from proxy.engine import Attempter, Engine, Interrupt, Ticker, probe
from proxy.front import FRONT, Door, Front, Runner, Site, ops, quiet_loop, routes
from proxy.front.live import Live
from proxy.harden import harden, take_environment, widen
from proxy.link import LEAVE, Link
from proxy.listen import ListenError, address_of, bind, hosts_of, refuse_remote
from proxy.observe.log import Observers, RequestLog, configure
from proxy.observe.metrics import Metrics
from proxy.routing import Health
from proxy.upstream.client import Client, Pools
from proxy.upstream.google import Tokens
from proxy.upstream.model_lists import ModelLists

_FIRST_THINGS_FIRST: Final = 0.1  # seconds: until then the processor belongs to the first request
_LINGER: Final = 0.25  # seconds that accepted connections have to say what they want when the daemon stops
_LAST_WORDS: Final = 1.0  # seconds that interrupted requests have to tell their clients
_log = logging.getLogger("redeo.daemon")


class _Tester(msgspec.Struct, frozen=True):
    """The admin API's connection test, made by the engine."""

    attempter: Attempter
    lists: ModelLists
    health: Health

    async def test(self, connection: Connection) -> TestResult:
        """A real, cheap call."""
        result = await probe(connection, self.attempter, self.lists, self.health)
        return TestResult(result.ok, result.latency_ms, result.models, result.error)


class Daemon(msgspec.Struct):
    """One running process of the service: its parts, and how to stop them."""

    store: ConfigStore
    api_key: str
    sockets: list[socket.socket]
    app: web.Application
    front: Front
    client: Client
    lists: ModelLists
    metrics: Metrics
    inherited: bool = False  # somebody else holds the sockets too: requests may wait there for our successor
    link: Link | None = None  # to the other workers, where there are several
    _runner: Runner | None = None
    _tasks: list[asyncio.Task[None]] = msgspec.field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the first TCP socket."""
        host, port = self.sockets[0].getsockname()[:2]
        return host, port

    @property
    def base_url(self) -> str:
        """Where clients reach it, without `/v1`."""
        return address_of(self.sockets[0])

    async def start(self) -> None:
        """Begin to serve."""
        loop = asyncio.get_running_loop()
        quiet_loop(loop)
        self._runner = Runner(self.app, Door(self.app), patience=self._patience, shutdown_timeout=1.0)
        await self._runner.setup()
        for sock in self.sockets:
            await Site(self._runner, sock, self.link.turn if self.link is not None else None).start()
        self.store.subscribe(self._changed)
        self._tasks += map(loop.create_task, (self._watch(), upkeep.keep_tidy(lambda: not self.front.active)))
        if self.link is not None:
            self._tasks.append(loop.create_task(join(self.link, self.front.engine.health, self.store, self.metrics)))

    def _patience(self) -> float:
        return self.store.current.settings.limits.client_idle_seconds

    async def _watch(self) -> None:
        """Load what the first answer does not need, then follow the files for as long as the daemon runs."""
        await asyncio.sleep(_FIRST_THINGS_FIRST)
        await asyncio.gather(
            self._insist(self.metrics.load, "loading the metrics"),
            self._insist(self.store.watch, "the watch over the configuration"),
        )

    @staticmethod
    async def _insist(work: Callable[[], Coroutine[None, None, None]], what: str) -> None:
        """Do it; what fails is begun once more in a moment."""
        while True:
            try:
                return await work()
            except Exception:
                _log.exception("%s failed; once more in a moment", what)
                await asyncio.sleep(5)

    def _changed(self, snapshot: Snapshot) -> None:
        """A new configuration is in force: forget what only the old one needed."""
        configure_level(snapshot)
        self.front.engine.health.retain(snapshot.connections)
        self.lists.retain(snapshot.connections)
        idle = self.client.retain(snapshot.connections)
        if idle:
            self._tasks.append(asyncio.get_running_loop().create_task(self._close_later(idle)))
        self._tasks = [task for task in self._tasks if not task.done()]

    async def _close_later(self, pools: Pools) -> None:
        """Requests that began on the old configuration finish before their pools go."""
        try:
            await self.front.engine.over()
        finally:
            await pools.close()

    async def stop(self) -> None:
        """Drain: running requests finish within their time, then everything is closed."""
        front = self.front
        front.closing = True
        front.draining = not self.inherited
        if self._runner is None:
            return
        if self.inherited:
            for site in list(self._runner.sites):
                await site.stop()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + front.current().settings.limits.drain_seconds
        await asyncio.sleep(_LINGER if self.inherited else 0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await front.idle()  # those, too, whose body or turn is still to come
                while self.inherited and await self._asked_again():
                    await front.idle()
        if front.active:
            front.interrupt()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS):
                    await front.idle()
        await self.close()

    async def _asked_again(self) -> bool:
        """Whether a connection whose answer was begun before the stop, and so says nothing of its end, asks more."""
        await asyncio.sleep(_LINGER)
        return bool(self.front.active)

    async def close(self) -> None:
        """Close everything at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        await self.lists.close()
        await self.client.close()
        self.metrics.close()


def configure_level(snapshot: Snapshot) -> None:
    """The log level of the configuration in force."""
    logging.getLogger("redeo").setLevel(snapshot.settings.logging.level.upper())


def build(store: ConfigStore, api_key: str, sockets: list[socket.socket]) -> Daemon:
    """Every object of one process, joined. Needs a running loop."""
    loop = asyncio.get_running_loop()
    metrics = Metrics()
    client = Client()
    lists = ModelLists(client, loop.time)
    health = Health(loop.time)
    observer = Observers(metrics, RequestLog(loop.call_soon))
    tokens = Tokens(client, loop.time, time.time)
    attempter = Attempter(client, tokens, Ticker(loop), loop.time, lambda: datetime.now(UTC), Interrupt())
    engine = Engine(attempter, health, lists, observer, loop.time)
    front = Front(
        current=lambda: store.current,
        refresh=store.refresh,
        stale=lambda: store.stale,
        engine=engine,
        lists=lists,
        key_digest=hashlib.sha256(api_key.encode()).digest(),
        now=loop.time,
        rejected=metrics.refused,
        hosts=hosts_of(sockets),
        on_paths=any(sock.family == socket.AF_UNIX for sock in sockets),
    )
    app = web.Application(client_max_size=store.current.settings.limits.max_body_bytes)
    app[FRONT] = front

    async def scrape() -> Callable[[], bytes]:
        await store.refresh()  # another worker may have written
        return await metrics.scrape(store.current, lambda c: health.state(c).value)

    routes.add(app, ops.metrics(scrape), admin_api.openapi_document())
    tester = _Tester(attempter, lists, health)
    for prefix in ("/v1/providers", "/providers"):
        app.add_subapp(prefix, admin_api.build(store, tester, Live(health)))
    store.on_reload(lambda status: metrics.reloaded(status.ok))
    return Daemon(store, api_key, sockets, app, front, client, lists, metrics)


@contextlib.asynccontextmanager
async def running(
    *,
    config: Path | None = None,
    state_dir: Path | None = None,
    listen: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Daemon]:
    """A daemon inside this process, drained and closed at the end. Raises ConfigError, UnsafeState, ListenError."""
    env = dict(os.environ if environ is None else environ)
    store, key = open_store(config, state_dir, env)
    sockets = [_own_socket(store, listen, env)]
    daemon = build(store, key, sockets)
    await daemon.start()
    gc.enable()
    try:
        yield daemon
    finally:
        await daemon.stop()


def open_store(
    config: Path | None, state_dir: Path | None, env: dict[str, str], generation: Generation | None = None
) -> tuple[ConfigStore, str]:
    """The configuration and the daemon's own key. Raises ConfigError, UnsafeState."""
    paths = Paths.resolve(config=config, state_dir=state_dir, env=env)
    store = ConfigStore.open(paths, env, generation=generation)
    return store, daemon_key(paths, env)


def _own_socket(store: ConfigStore, listen: str | None, env: Mapping[str, str]) -> socket.socket:
    settings = store.current.settings
    return bind(listen or env.get("REDEO_LISTEN") or settings.listen, allow_remote=settings.allow_remote)


def serve(*, config: Path | None = None, state_dir: Path | None = None, listen: str | None = None) -> int:
    """`redeo serve`: runs in the foreground until a signal. Returns the exit code."""
    harden()
    widen()
    env = take_environment()
    configure("info")
    generation = Generation()
    try:
        with cipher.beside():
            store, key = open_store(config, state_dir, env, generation)
        inherited = systemd.listen_fds()
        refuse_remote(inherited, allow_remote=store.current.settings.allow_remote)
        sockets = inherited or [_own_socket(store, listen, env)]
    except (ConfigError, UnsafeState, ListenError, StoreUnavailable) as exc:
        print(f"redeo: {exc}", file=sys.stderr)
        return 1
    configure_level(store.current)
    _greet(store, sockets)
    interval = systemd.watchdog_interval()
    held = Held(store, lambda: open_store(config, state_dir, env, generation)[0])

    def work(manager: systemd.Manager, link: Link | None = None) -> int:
        return _run(_serve(held.store, key, sockets, bool(inherited), manager, interval, link))

    manager = systemd.Manager(
        lambda: _announce_ready(held.store), systemd.alive, lambda: systemd.stopping("draining"), systemd.reloading
    )
    if held.workers() == 1:
        store.subscribe(lambda _: held.tell_of_restart())
        return work(manager)
    from proxy.workers import Configuration, supervise

    return supervise(work, manager, Configuration(held.workers, held.renew, prepare), interval)


def _announce_ready(store: ConfigStore) -> None:
    systemd.ready(f"{len(store.current.connections)} connections")


def _run(main: Coroutine[None, None, int]) -> int:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def _greet(store: ConfigStore, sockets: list[socket.socket]) -> None:
    """On a terminal, one short block: where it is and how to point a client at it; the key itself is not shown."""
    base, count = address_of(sockets[0]), len(store.current.connections)
    _log.info("serving", extra={"redeo": {"address": base, "connections": count}})
    if not sys.stderr.isatty():
        return
    lines = [
        "",
        f"  redeo serves {base}/v1 with {count} connection{'' if count == 1 else 's'}",
        '  point clients at it:   eval "$(redeo env)"      (or: redeo run -- COMMAND)',
    ]
    if not count:
        lines.append("  add a connection:      redeo providers add openai      (or: redeo providers import-env)")
    print("\n".join([*lines, ""]), file=sys.stderr)


async def _serve(
    store: ConfigStore,
    key: str,
    sockets: list[socket.socket],
    inherited: bool,
    manager: systemd.Manager,
    interval: float | None,
    link: Link | None,
) -> int:
    """One process from its start to its drained end."""
    daemon = build(store, key, sockets)
    daemon.inherited = daemon.front.inherited = inherited
    daemon.link = link
    await daemon.start()
    stop = asyncio.Event()
    _on_signals(daemon, stop, manager)
    upkeep.settle()
    manager.ready()
    dog = asyncio.create_task(watchdog.feed(sockets[0], manager, interval, stop))
    await stop.wait()
    manager.stopping()
    await daemon.stop()
    dog.cancel()
    return 0


def _on_signals(daemon: Daemon, stop: asyncio.Event, manager: systemd.Manager) -> None:
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def end() -> None:
        if stop.is_set():  # the second one: at once, whatever is running
            daemon.front.interrupt()
            loop.call_later(0.5, os._exit, 1)
            return
        stop.set()

    async def reload() -> None:
        manager.reloading()
        await daemon.store.reload()
        manager.ready()

    def start_reload() -> None:
        task = loop.create_task(reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    def leave() -> None:
        daemon.inherited = True  # the other workers go on listening
        stop.set()

    if daemon.link is not None:
        loop.add_signal_handler(LEAVE, leave)
    loop.add_signal_handler(signal.SIGTERM, end)
    loop.add_signal_handler(signal.SIGINT, end)
    loop.add_signal_handler(signal.SIGHUP, start_reload)
