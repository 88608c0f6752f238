"""The configuration in force: loads it, watches its files, validates, swaps, and makes changes of it durable.

Owns the running Snapshot; everything else sees values. The swap is one assignment: requests keep the snapshot they
began with. A fault anywhere keeps the old one.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from config import connections as file
from config import durable, endpoints, schema
from config.document import parse
from config.errors import (
    ConfigError,
    FileFault,
    InvalidField,
    PreconditionFailed,
    SealError,
    StoreUnavailable,
    UnknownProvider,
    UnsafeState,
)
from config.generation import Generation
from config.model import Connection, Credential, ProviderSpec, Settings, Snapshot
from config.paths import Paths, read_secure, read_vouched, secure_folder
from config.sealing import Keyring, binding, load_keyring

_log = logging.getLogger("redeo.config")
_DEBOUNCE_MS: Final = 100
_STEP_MS = 100  # at which it looks whether it is to stop; each is a wake-up of an idle daemon
_LOOK_MS: Final = 3000
_READINGS: Final = 4
_TOLD: Final = 4


class Unset:
    """The type of UNSET."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()


@dataclass(frozen=True, slots=True)
class ConnectionChange:
    """What to change of a connection; fields left UNSET stay as they are."""

    api_key: str | Unset = field(default=UNSET, repr=False)
    priority: int | Unset = UNSET
    label: str | Unset = UNSET
    endpoint: str | Unset | None = UNSET


class ReloadStatus(msgspec.Struct, frozen=True):
    """How the last reading of the files went."""

    ok: bool
    at: datetime
    faults: tuple[FileFault, ...] = ()


class _Loaded(msgspec.Struct, frozen=True):
    """Everything that one reading of the files gave."""

    settings: Settings
    providers: Mapping[str, ProviderSpec]
    text: bytes  # of connections.yaml
    records: list[file.Record]
    connections: tuple[Connection, ...]
    keyring: Keyring | None
    read_as: tuple[object, ...]  # what the files were when they were read


class ConfigStore:
    """See the module. All methods belong to one event loop."""

    def __init__(self, paths: Paths, env: Mapping[str, str], generation: Generation | None) -> None:
        self.paths = paths
        self._env = env
        self._shared = generation if generation is not None else Generation()
        self._seen = self._shared.read()
        self._lock: asyncio.Lock | None = None
        self._subscribers: list[Callable[[Snapshot], None]] = []
        self._reload_seen: list[Callable[[ReloadStatus], None]] = []
        loaded = _load_and_seal(paths, env)
        self._snapshot = _snapshot(loaded, self._shared.taken(1))
        self._read_as = loaded.read_as
        self.last_reload = ReloadStatus(True, datetime.now(UTC))

    @classmethod
    def open(cls, paths: Paths, env: Mapping[str, str], *, generation: Generation | None = None) -> ConfigStore:
        """Read everything, make what is missing. Raises ConfigError, UnsafeState, StoreUnavailable."""
        secure_folder(paths.state_dir)
        if durable.stale(paths.state_dir):
            with suppress(StoreUnavailable), durable.locked(paths.lock):
                durable.remove_stale(paths.state_dir)
        return cls(paths, env, generation)

    @property
    def current(self) -> Snapshot:
        """The configuration in force."""
        return self._snapshot

    @property
    def stale(self) -> bool:
        """Whether another worker has written since we read."""
        return self._shared.read() != self._seen

    def subscribe(self, fn: Callable[[Snapshot], None]) -> None:
        """Call `fn` after every swap."""
        self._subscribers.append(fn)

    def on_reload(self, fn: Callable[[ReloadStatus], None]) -> None:
        """Call `fn` after every reading of the files, good or not."""
        self._reload_seen.append(fn)

    def etag(self, provider: str | None = None) -> str:
        """The version of the whole list or of one connection, quoted. Raises UnknownProvider."""
        if provider is None:
            return f'"{self._snapshot.digest}"'
        connection = self._snapshot.connection(provider)
        if connection is None:
            raise UnknownProvider(provider)
        return f'"{_digest((connection,))}"'

    async def refresh(self) -> None:
        """Read again if another worker has written."""
        if self.stale:
            async with self._alone():
                if self.stale:  # many requests find out at once; the first of them reads
                    await self._reload()

    async def reload(self) -> list[FileFault]:
        """Read all files again; take them up if every one is good. Returns the faults."""
        async with self._alone():
            return await self._reload()

    async def _reload(self) -> list[FileFault]:
        seen = self._shared.read()
        read_as = await asyncio.to_thread(_fingerprint, self.paths)
        try:
            loaded = await asyncio.to_thread(_load_and_seal, self.paths, self._env)
        except ConfigError as exc:
            faults = exc.faults
        except (UnsafeState, StoreUnavailable) as exc:
            faults = [FileFault(str(self.paths.state_dir), 1, str(exc))]
        else:
            self._seen = seen
            self._swap(loaded)
            self._tell(ReloadStatus(True, datetime.now(UTC)))
            return []
        self._seen, self._read_as = seen, read_as  # the fault will not go away by reading once more
        told = "; ".join(str(fault)[:400] for fault in faults[:_TOLD])  # a file of nonsense has one in every line
        if len(faults) > _TOLD:
            told += f"; and {len(faults) - _TOLD} more faults; `redeo check` names them all"
        _log.error("configuration not taken up, the old one stays in force: %s", told)
        self._tell(ReloadStatus(False, datetime.now(UTC), tuple(faults)))
        return faults

    def _tell(self, status: ReloadStatus) -> None:
        self.last_reload = status
        for fn in self._reload_seen:
            fn(status)

    def _swap(self, loaded: _Loaded) -> None:
        self._read_as = loaded.read_as
        new = _snapshot(loaded, self._snapshot.generation + 1)
        old = self._snapshot
        if replace(new, generation=old.generation) == old:
            return
        self._snapshot = new
        self._shared.taken(new.generation)
        _tell_moved(old.connections, new.connections)
        for fn in self._subscribers:
            fn(new)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        if self._lock is None:
            self._lock = asyncio.Lock()
        async with self._lock:
            yield

    async def put(
        self, provider: str, change: ConnectionChange, *, if_match: str | None = None, if_none_match: str | None = None
    ) -> tuple[Connection, bool]:
        """Add or update a connection; whether it is new.

        Raises InvalidField, PreconditionFailed, StoreUnavailable, ConfigError.
        """
        spec = self._snapshot.providers.get(provider)
        if spec is None:
            raise InvalidField("provider", "unknown_provider", f"there is no provider `{provider[:64]}`")
        return await self._write(provider, change, if_match, if_none_match, create=True)

    async def patch(self, provider: str, change: ConnectionChange, *, if_match: str | None = None) -> Connection:
        """Change what `change` names. Raises UnknownProvider and what `put` raises."""
        return (await self._write(provider, change, if_match, None, create=False))[0]

    async def delete(self, provider: str, *, if_match: str | None = None) -> None:
        """Remove a connection. Raises UnknownProvider, PreconditionFailed, StoreUnavailable, ConfigError."""
        async with self._alone():
            self._took(*await asyncio.to_thread(self._delete, provider, if_match))

    async def _write(
        self, provider: str, change: ConnectionChange, if_match: str | None, if_none_match: str | None, *, create: bool
    ) -> tuple[Connection, bool]:
        async with self._alone():
            apply = partial(self._apply, provider, change, if_match, if_none_match, create)
            loaded, seen, created = await asyncio.to_thread(apply)
            self._took(loaded, seen)
            connection = self._snapshot.connection(provider)
            assert connection is not None
            return connection, created

    def _took(self, loaded: _Loaded, seen: int) -> None:
        """`seen` is the number of our own change: another worker may have written since."""
        self._seen = seen
        self._swap(loaded)

    def _apply(
        self, provider: str, change: ConnectionChange, if_match: str | None, if_none_match: str | None, create: bool
    ) -> tuple[_Loaded, int, bool]:
        """In a thread, under the file lock: read, judge, write, read again."""
        with durable.locked(self.paths.lock):
            loaded = _sealed_in_place(self.paths, self._env)
            if provider not in loaded.providers:
                raise UnknownProvider(provider)
            old = next((r for r in loaded.records if r.provider == provider), None)
            if old is None and not create:
                raise UnknownProvider(provider)
            _check_version(loaded, provider, if_match, if_none_match)
            values = _values(loaded, loaded.providers[provider], old, change)
            text = file.edited(loaded.text, provider, values, str(self.paths.connections))
            _put_down(self.paths, text, loaded.text)
            seen = self._shared.bump()
            return _loaded_after(self.paths, self._env, loaded, text), seen, old is None

    def _delete(self, provider: str, if_match: str | None) -> tuple[_Loaded, int]:
        with durable.locked(self.paths.lock):
            loaded = _sealed_in_place(self.paths, self._env)
            if all(r.provider != provider for r in loaded.records):
                raise UnknownProvider(provider)
            _check_version(loaded, provider, if_match, None)
            text = file.edited(loaded.text, provider, None, str(self.paths.connections))
            _put_down(self.paths, text, loaded.text)
            seen = self._shared.bump()
            return _loaded_after(self.paths, self._env, loaded, text), seen

    async def watch(self) -> None:
        """Reload whenever one of the files changes, until cancelled. Folders are watched: editors replace files.

        Besides, the files are looked at every few seconds: a folder may not exist yet, a watcher may miss something.
        """
        module = await asyncio.to_thread(importlib.import_module, "watchfiles")
        folders = {self.paths.state_dir, self.paths.config_file.parent}
        await self._reload_if_changed()
        while True:
            there = {folder for folder in folders if folder.is_dir()}
            over = threading.Event()
            thread = ThreadPoolExecutor(1, "redeo-watch")  # a place in the loop's own pool would be taken for good
            changes = self._changes(module.watch, there, over)
            try:
                while there == {folder for folder in folders if folder.is_dir()}:
                    await asyncio.get_running_loop().run_in_executor(thread, next, changes, None)
                    await self._reload_if_changed()
            finally:
                over.set()
                thread.shutdown(wait=False)
                with suppress(ValueError):  # a thread still waits in it, and ends it
                    changes.close()

    def _changes(
        self, watch: Callable[..., Generator[object, None, None]], there: set[Path], over: threading.Event
    ) -> Generator[object, None, None]:
        """Something for each change of a file of ours, and now and then; each to be waited for in a thread.

        Not `awatch`, which does the same by anyio's threads and brings another megabyte.
        """
        mine = {str(self.paths.config_file), str(self.paths.connections), str(self.paths.master_key)}
        return watch(
            *there,
            watch_filter=lambda _, path: path in mine,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            recursive=False,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            stop_event=over,
        )

    async def _reload_if_changed(self) -> None:
        """Our own writes come back as events too; reading them again changes nothing and tells nobody."""
        async with self._alone():
            if await asyncio.to_thread(_fingerprint, self.paths) != self._read_as:
                await self._reload()


def _fingerprint(paths: Paths) -> tuple[object, ...]:
    def of(path: Path) -> object:
        try:
            status = os.stat(path, follow_symlinks=path == paths.config_file)  # that alone may be a link
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    return tuple(of(p) for p in (paths.config_file, paths.connections, paths.master_key))


def _check_version(loaded: _Loaded, provider: str, if_match: str | None, if_none_match: str | None) -> None:
    connection = next((c for c in loaded.connections if c.provider == provider), None)
    if if_none_match is not None and if_none_match.strip() == "*" and connection is not None:
        raise PreconditionFailed(f"there is a connection to {provider} already")
    if if_match is None:
        return
    wanted = {tag.strip() for tag in if_match.split(",")}
    mine = {f'"{_digest((connection,))}"', "*"} if connection is not None else set()
    whole = f'"{_digest(loaded.connections)}"'
    if not wanted & (mine | {whole}):
        raise PreconditionFailed(f"the connection to {provider} has changed since it was read")


def _values(loaded: _Loaded, spec: ProviderSpec, old: file.Record | None, change: ConnectionChange) -> dict[str, Any]:
    """The fields to write. Raises InvalidField."""
    if spec.unsupported is not None:
        raise InvalidField("provider", "provider_not_supported", f"{spec.id}: {spec.unsupported}")
    assert loaded.keyring is not None
    values: dict[str, Any] = {}
    if not isinstance(change.priority, Unset):
        values["priority"] = file.checked_priority(change.priority)
    elif old is None:
        values["priority"] = file.next_priority(loaded.records)
    if not isinstance(change.label, Unset):
        values["label"] = file.checked_label(change.label)
    endpoint = old.endpoint if old is not None else None
    if not isinstance(change.endpoint, Unset):
        endpoint = endpoints.checked(change.endpoint, spec) if change.endpoint is not None else None
        values["endpoint"] = endpoint
    endpoints.base_url(endpoint, spec)
    stored = old.api_key if old is not None else None
    if not isinstance(change.api_key, Unset):
        if spec.credential is Credential.NONE:
            raise InvalidField("api_key", "invalid_api_key", f"{spec.id} takes no API key")
        values["api_key"] = loaded.keyring.seal(
            file.checked_credential(change.api_key, spec), spec.id, binding(endpoint)
        )
    elif stored is None and spec.credential is Credential.API_KEY:
        raise InvalidField("api_key", "missing_field", f"{spec.id} needs an `api_key`")
    elif stored is not None and old is not None and binding(endpoint) != binding(old.endpoint):
        raise InvalidField(
            "api_key", "api_key_required", "a new endpoint needs its `api_key` in the same request: the stored key "
            "is for the old one"
        )  # fmt: skip
    values["updated_at"] = file.now()
    return values


def _load(paths: Paths, env: Mapping[str, str]) -> _Loaded:
    """All files as they were at one moment, unless they never rest. Raises ConfigError, UnsafeState."""
    loaded = _load_once(paths, env)
    for _ in range(_READINGS):
        if loaded.read_as == _fingerprint(paths):
            break
        loaded = _load_once(paths, env)
    return loaded


def _load_once(paths: Paths, env: Mapping[str, str]) -> _Loaded:
    read_as = _fingerprint(paths)
    settings, providers = schema.read(parse(_read_config(paths), str(paths.config_file)), str(paths.config_file))
    name = str(paths.connections)
    text = read_secure(paths.connections) or b""
    records = file.read_records(text, name)
    keyring = load_keyring(paths, env)
    found = file.resolve(records, providers, keyring, env, name)
    return _Loaded(settings, providers, text, records, found, keyring, read_as)


def _read_config(paths: Paths) -> bytes:
    try:
        return read_vouched(paths.config_file)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except UnsafeState as exc:
        raise ConfigError([FileFault(str(paths.config_file), 1, str(exc))]) from None
    except OSError as exc:
        raise ConfigError([FileFault(str(paths.config_file), 1, f"cannot be read: {exc.strerror}")]) from None


def _load_and_seal(paths: Paths, env: Mapping[str, str]) -> _Loaded:
    """The same, with keys that stand in the file in plain sealed where they stand."""
    loaded = _load(paths, env)
    if not any(file.is_plain(r) for r in loaded.records):
        return loaded
    with durable.locked(paths.lock):
        return _sealed_in_place(paths, env)


def _sealed_in_place(paths: Paths, env: Mapping[str, str]) -> _Loaded:
    """The caller holds the lock."""
    loaded = _load(paths, env)
    plain = [r for r in loaded.records if r.api_key is not None and file.is_plain(r)]
    if not plain:
        return loaded
    durable.remove_stale(paths.state_dir)
    text = loaded.text
    assert loaded.keyring is not None
    for record in plain:
        sealed = loaded.keyring.seal(str(record.api_key), record.provider, binding(record.endpoint))
        values = {"api_key": sealed} | ({} if record.updated_at else {"updated_at": file.now()})
        text = file.edited(text, record.provider, values, str(paths.connections))
    _put_down(paths, text, loaded.text)
    return _loaded_after(paths, env, loaded, text)


def _loaded_after(paths: Paths, env: Mapping[str, str], loaded: _Loaded, text: bytes) -> _Loaded:
    """All files, now that `text` is put down. Where they cannot be read this moment the change is done all the same:
    then what was loaded stands with it, as read at the time before, so that the watch reads again."""
    try:
        return _load(paths, env)
    except (ConfigError, UnsafeState):
        name = str(paths.connections)
        records = file.read_records(text, name)
        found = file.resolve(records, loaded.providers, loaded.keyring, env, name)
        return replace(loaded, text=text, records=records, connections=found)


def _put_down(paths: Paths, text: bytes, was: bytes) -> None:
    """In place of `was`. Nothing is written that could not be read back, for its size for one, and nothing over what
    a person, who takes no lock, has saved meanwhile. Raises ConfigError, StoreUnavailable."""
    file.read_records(text, str(paths.connections))
    if (read_secure(paths.connections) or b"") != was:
        raise StoreUnavailable(f"{paths.connections} was edited at the same moment; nothing was changed", full=False)
    durable.replace(paths.connections, text)


def _snapshot(loaded: _Loaded, generation: int) -> Snapshot:
    return Snapshot(generation, loaded.settings, loaded.providers, loaded.connections, _digest(loaded.connections))


def _tell_moved(old: tuple[Connection, ...], new: tuple[Connection, ...]) -> None:
    """A key follows what redeo.yaml says of its provider's address, but never in silence (docs/decisions/0001)."""
    before = {c.provider: c for c in old if c.secret is not None}
    for connection in new:
        was = before.get(connection.provider)
        if was is not None and was.secret == connection.secret and was.origin != connection.origin:
            _log.warning("%s: its key now goes to %s, not %s", connection.provider, connection.origin, was.origin)


def _digest(connections: tuple[Connection, ...]) -> str:
    """Changes exactly when a connection as listed changes, its key included."""
    parts = [
        (c.provider, c.label, c.priority, c.secret.fingerprint if c.secret else None, c.endpoint, c.updated_at, c.fault)
        for c in connections
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


class Rotation(msgspec.Struct, frozen=True):
    """What `rotate` did: records sealed anew; `given`: the master key is not ours, its old ones can go now."""

    records: int
    given: bool


def rotate(paths: Paths, env: Mapping[str, str]) -> Rotation:
    """Seal every key under a new master key. Killed at any step, everything stays readable.

    New key in front of the old ones; records sealed anew; old keys taken away. Where the master key comes from the
    environment or a credential, its first one is the new one. Raises ConfigError, UnsafeState, StoreUnavailable,
    SealError.
    """
    from config.sealing import new_key

    with durable.locked(paths.lock):
        keyring = load_keyring(paths, env)
        assert keyring is not None
        fresh = new_key()
        if keyring.owned:
            old = (read_secure(paths.master_key) or b"").decode()
            durable.replace(paths.master_key, f"{fresh}\n{old}".encode())
            keyring = load_keyring(paths, env)
            assert keyring is not None
        text = was = read_secure(paths.connections) or b""
        count = 0
        for record in file.read_records(text, str(paths.connections)):
            if record.api_key is None or not record.api_key.startswith("sealed:"):
                continue
            try:
                plain = keyring.open(record.api_key, record.provider, binding(record.endpoint))
            except SealError as exc:
                raise SealError(f"{record.provider}: {exc}; nothing was changed for it") from None
            sealed = keyring.seal(plain, record.provider, binding(record.endpoint))
            text = file.edited(text, record.provider, {"api_key": sealed}, str(paths.connections))
            count += 1
        if count:
            _put_down(paths, text, was)
        if keyring.owned:
            durable.replace(paths.master_key, f"{fresh}\n".encode())
        return Rotation(count, given=not keyring.owned)


def check(paths: Paths, env: Mapping[str, str]) -> list[FileFault]:
    """Every fault of the files as they are; nothing is written."""
    faults: list[FileFault] = []
    providers: Mapping[str, ProviderSpec] | None = None
    try:
        _, providers = schema.read(parse(_read_config(paths), str(paths.config_file)), str(paths.config_file))
    except ConfigError as exc:
        faults += exc.faults
    name = str(paths.connections)
    try:
        if not paths.state_dir.exists():
            return faults
        secure_folder(paths.state_dir)
        records = file.read_records(read_secure(paths.connections) or b"", name)
        if providers is not None:
            keyring = load_keyring(paths, env, make=False)
            found = file.resolve(records, providers, keyring, env, name)
            lines = {r.provider: r.line for r in records}
            faults += [FileFault(name, lines[c.provider], c.fault) for c in found if c.fault is not None]
    except ConfigError as exc:
        faults += exc.faults
    except UnsafeState as exc:
        faults.append(FileFault(str(paths.state_dir), 1, str(exc)))
    return faults
