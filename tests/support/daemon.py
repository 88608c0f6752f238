"""A daemon for a test: in this process on an ephemeral port, with its own state directory and canary keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from proxy.daemon import Daemon, running
from tests.support.canary import Canaries
from tests.support.upstream import Upstream

FAST = {"connect": 1, "first_byte": 0.4, "idle": 0.4, "total": 2, "before_answer": 5}
UNHURRIED = {"connect": 10, "first_byte": 20, "idle": 20, "total": 20, "before_answer": 20}  # none is to be reached


@dataclass
class Answer:
    """What a client got."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    broken: bool = False  # the connection broke off before the end

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def attempts(self) -> str:
        """`x-redeo-attempts`."""
        return self.headers.get("x-redeo-attempts", "")


@dataclass
class Redeo:
    """A running daemon and a client that knows its key."""

    daemon: Daemon
    session: aiohttp.ClientSession
    canaries: Canaries
    config: Path
    state: Path
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """Where it is, without `/v1`."""
        return self.daemon.base_url

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.daemon.address

    @property
    def key(self) -> str:
        """Its own API key."""
        return self.daemon.api_key

    async def request(
        self, method: str, path: str, *, heard: Callable[[bytes], None] | None = None, **arguments: Any
    ) -> Answer:
        """One request with the daemon's key (unless `headers` say otherwise). `heard`: told what comes, as it comes."""
        headers = {"Authorization": f"Bearer {self.key}", **(arguments.pop("headers", None) or {})}
        pieces, broken = [], False
        async with self.session.request(method, self.base + path, headers=headers, **arguments) as response:
            try:
                async for piece in response.content.iter_any():
                    pieces.append(piece)
                    if heard is not None:
                        heard(piece)
            except aiohttp.ClientError:
                broken = True
        body = b"".join(pieces)
        self.canaries.add(f"answer {method} {path}", body + repr(dict(response.headers)).encode())
        return Answer(response.status, response.headers, body, broken)

    async def chat(self, model: str = "auto", *, stream: bool = False, **fields: Any) -> Answer:
        """One chat completion."""
        fields.setdefault("messages", [{"role": "user", "content": self.canaries.text()}])
        return await self.request("POST", "/v1/chat/completions", json={"model": model, "stream": stream, **fields})

    async def connect(self, provider: str, **fields: Any) -> Answer:
        """Add a connection with a fresh canary key."""
        self.keys[provider] = self.canaries.key(provider)
        return await self.request(
            "POST", "/v1/providers", json={"provider": provider, "api_key": self.keys[provider], **fields}
        )

    async def metrics(self) -> str:
        """The text of /metrics."""
        answer = await self.request("GET", "/metrics")
        self.canaries.add("metrics", answer.body)
        return answer.body.decode()

    async def metric(self, line: str) -> float:
        """The value of one series, 0 where it is not there."""
        for text in (await self.metrics()).splitlines():
            if text.startswith(line + " "):
                return float(text.rpartition(" ")[2])
        return 0.0


class Factory:
    """Starts daemons for one test and stops them after it."""

    def __init__(self, canaries: Canaries, folder: Path, stack: AsyncExitStack) -> None:
        self._canaries = canaries
        self._folder = folder
        self._stack = stack
        self._count = 0
        self._places: list[tuple[Redeo, Mapping[str, Any]]] = []

    async def __call__(
        self,
        providers: Mapping[str, Any] | None = None,
        *,
        connect: bool = True,
        environ: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> Redeo:
        """A daemon whose `providers` (id to an Upstream, or to an entry of redeo.yaml) are connected in this order."""
        self._count += 1
        folder = self._folder / f"daemon{self._count}"
        folder.mkdir()
        entries = {}
        for ident, value in (providers or {}).items():
            entries[ident] = value if isinstance(value, dict) else {"base_url": value.base_url}
            entries[ident].setdefault("default_model", f"{ident}-model")
        settings.setdefault("routing", {}).setdefault("timeouts", FAST)
        settings.setdefault("logging", {"level": "debug"})  # no key shall be said at that level either
        config = folder / "redeo.yaml"
        config.write_text(json.dumps({"providers": entries, **settings}))
        env = {"HOME": str(folder), **(environ or {})}
        state = folder / "state"
        daemon = await self._stack.enter_async_context(
            running(config=config, state_dir=state, listen="127.0.0.1:0", environ=env)
        )
        session = await self._stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        redeo = Redeo(daemon, session, self._canaries, config, state)
        self._canaries.folders.append(state)
        self._canaries.own(daemon.api_key)
        self._places.append((redeo, providers or {}))
        if connect:
            for ident in entries:
                answer = await redeo.connect(ident)
                assert answer.status == 201, answer.body
        return redeo

    def check(self) -> None:
        """No provider was ever sent the key of another one."""
        for redeo, places in self._places:
            for ident, place in places.items():
                if not isinstance(place, Upstream):
                    continue
                others = {key for name, key in redeo.keys.items() if places.get(name) is not place}
                sent = b"".join(received.raw for received in place.requests + place.list_requests)
                assert not [key for key in others if key.encode() in sent], f"{ident} was sent the key of another"
