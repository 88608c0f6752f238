"""Connections, snapshots and a clock made by hand: nothing here reads a file or waits."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pytest

from config.model import (
    Auth,
    AuthScheme,
    Connection,
    Credential,
    ModelTarget,
    Operation,
    ProviderSpec,
    Quirks,
    Route,
    Secret,
    Settings,
    Snapshot,
)


@dataclass
class Clock:
    """Monotonic seconds that pass when told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class World:
    """Makes what the room reads."""

    live: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def spec(self, ident: str, **changes: Any) -> ProviderSpec:
        values: dict[str, Any] = {
            "id": ident,
            "label": ident.title(),
            "credential": Credential.API_KEY,
            "supports_endpoint": True,
            "base_url": f"https://{ident}.example/v1",
            "endpoint_suffix": "",
            "endpoint_hint": "",
            "dialect": "openai",
            "auth": Auth(AuthScheme.BEARER),
            "speaks": MappingProxyType({Operation.CHAT: Route("/chat/completions")}),
            "default_model": f"{ident}-default",
            "models": (),
            "headers": MappingProxyType({}),
            "env": (),
            "quirks": Quirks(),
            "docs": (),
        }
        return ProviderSpec(**(values | changes))

    def connection(
        self, ident: str, *, fault: str | None = None, key: str | None = None, priority: int = 0, **changes: Any
    ) -> Connection:
        spec = self.spec(ident, **changes)
        return Connection(
            provider=ident,
            label=spec.label,
            priority=priority,
            secret=Secret(key or f"sk-{secrets.token_hex(16)}"),
            endpoint=None,
            updated_at="2026-11-14T12:00:00Z",
            spec=spec,
            base_url=spec.base_url or "",
            fault=fault,
        )

    def snapshot(
        self,
        *connections: Connection,
        models: Mapping[str, Sequence[tuple[str, str]]] | None = None,
        known: Sequence[str] = (),
    ) -> Snapshot:
        aliases = {name: tuple(ModelTarget(*entry) for entry in entries) for name, entries in (models or {}).items()}
        providers = {ident: self.spec(ident) for ident in known} | {c.provider: c.spec for c in connections}
        return Snapshot(1, Settings(models=aliases), providers, connections, "digest")

    def models(self, connection: Connection) -> Sequence[str] | None:
        """As ModelLists: the live list, or None."""
        return self.live.get(connection.provider)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world() -> World:
    return World()
