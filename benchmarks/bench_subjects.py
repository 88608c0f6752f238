"""Who is measured: the daemon with everything on, nginx as the limit, a bare aiohttp server, peers.

Each subject has a folder of its own under the bench's, is started as often as a measure wants, and serves Chat
Completions on `bench_requests.PATH` with the provider of the bench behind it.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from bench_process import CORES, SERVING, Fault, Process, free_port
from bench_provider import MODEL, Provider, nginx_config
from bench_requests import ALIAS

KEY = "rd-bench-key-0123456789abcdef"
_PROVIDER_KEY = "sk-bench-not-a-real-key-000000000000"


@dataclass
class Subject(ABC):
    """`share`: of the load of streams that is asked of it, for what would not come through with all of it."""

    name: str
    provider: Provider
    folder: Path
    share: float = field(default=1.0, init=False)
    health: str = field(default="/healthz", init=False)
    well: int = field(default=200, init=False)  # the highest status on that path that means that it serves
    _laid: bool = field(default=False, init=False)

    def start(self, purpose: str) -> Process:
        """A new process on a port of its own, with a folder of its own for each purpose; not awaited."""
        folder = self.folder / purpose
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        command, env = self.command(folder, port)
        base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return Process.start(self.name, command, port, folder / "log", base | env, self.home(), self.cores())

    def ready(self, purpose: str) -> Process:
        """The same, awaited, and all set for requests."""
        process = self.start(purpose)
        try:
            process.first_200(self.health, self.well)
            self.prepare(process)
        except BaseException:
            process.stop()
            raise
        return process

    def fresh(self) -> Process:
        """A new process that finds what an earlier one left: nothing has to be said to it. Not awaited."""
        if not self._laid:
            self.ready("fresh").stop()
            self._laid = True
        return self.start("fresh")

    @abstractmethod
    def command(self, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
        """The command that serves on `port`, with what stands in its environment beside that of the bench."""

    def cores(self) -> set[int]:
        """Those that its processes are kept on."""
        return SERVING

    def home(self) -> Path:
        """The working folder of its process."""
        return self.folder

    def headers(self) -> dict[str, str]:
        """What its clients send beside the body."""
        return {"Authorization": f"Bearer {KEY}"}

    def prepare(self, process: Process) -> None:  # noqa: B027 - most need nothing
        """What has to be said to it before it can serve; a second time it changes nothing."""


@dataclass
class Redeo(Subject):
    """The daemon: authentication, two connections, an alias, metrics, usage, logs at the default level to a file."""

    root: Path
    python: str
    workers: int = 1

    def command(self, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
        config = folder / "redeo.yaml"
        config.write_text(
            f"workers: {self.workers}\n"
            "providers:\n"
            + "".join(
                f'  {name}: {{label: "{name}", base_url: "{self.provider.address}", credential: api_key, '
                f"default_model: {MODEL}}}\n"
                for name in ("one", "two")
            )
            + f"models:\n  {ALIAS}: [one/{MODEL}, two/{MODEL}]\n"
            "limits: {max_in_flight: 6000, max_queue: 6000, queue_seconds: 30}\n"
        )
        command = [self.python, "-m", "proxy", "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
        return command, {"HOME": str(folder), "REDEO_STATE_DIR": str(folder / "state"), "REDEO_API_KEY": KEY}

    def cores(self) -> set[int]:
        return SERVING if self.workers <= len(SERVING) else set(CORES)

    def home(self) -> Path:
        return self.root

    def prepare(self, process: Process) -> None:
        for name, priority in (("one", 1), ("two", 2)):
            added = {"provider": name, "api_key": _PROVIDER_KEY, "priority": priority}
            status, said = call(process.port, "POST", "/v1/providers", self.headers(), added)
            if status not in (200, 201):
                raise Fault(f"{self.name} did not take a connection: {status} {said}")
        call(process.port, "GET", "/metrics", self.headers())  # so that they are loaded, as where they are scraped


@dataclass
class Nginx(Subject):
    """A reverse proxy with connections kept to the provider: what can be had at most."""

    files: int

    def command(self, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
        inside = f"""
  upstream provider {{
    server 127.0.0.1:{self.provider.port}; keepalive 512; keepalive_requests 1000000000; keepalive_timeout 3600s;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=8192;
    location = /healthz {{ return 200; }}
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 600s;
    }}
  }}"""
        return nginx_config(folder, self.files, "", inside), {}


@dataclass
class Bare(Subject):
    """A server of aiohttp that does nothing: the least that a start can cost on this machine."""

    python: str

    def command(self, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
        code = (
            "import sys\nfrom aiohttp import web\nasync def ok(request): return web.Response(text='ok')\n"
            "app = web.Application()\napp.router.add_get('/healthz', ok)\n"
            "web.run_app(app, host='127.0.0.1', port=int(sys.argv[1]), print=None, access_log=None)"
        )
        return [self.python, "-c", code, str(port)], {}


@dataclass
class Peer(Subject):
    """Anything that serves Chat Completions: its command, with {port}, {upstream} and {folder} in it."""

    line: str
    more: dict[str, str] = field(default_factory=dict)  # headers
    env: dict[str, str] = field(default_factory=dict)

    def command(self, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
        told = {"port": port, "upstream": self.provider.address, "folder": folder}
        return [part.format(**told) for part in shlex.split(self.line)], self.env

    def headers(self) -> dict[str, str]:
        return super().headers() | self.more


def litellm(provider: Provider, folder: Path, python: str) -> Peer:
    """LiteLLM's proxy out of the environment of `python`, with a master key and one model."""
    folder.mkdir(parents=True)
    model = {
        "model_name": ALIAS,
        "litellm_params": {"model": f"openai/{MODEL}", "api_base": provider.address, "api_key": _PROVIDER_KEY},
    }
    config = {"model_list": [model], "general_settings": {"master_key": KEY}}
    (folder / "litellm.json").write_text(json.dumps(config))  # which is YAML too
    entry = shlex.quote(str(Path(python).with_name("litellm")))
    peer = Peer("litellm", provider, folder, f"{entry} --config {folder}/litellm.json --host 127.0.0.1 --port {{port}}")
    peer.env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": KEY}
    peer.share, peer.health = 0.05, "/health/liveliness"
    return peer


def portkey(provider: Provider, folder: Path, place: str) -> Peer:
    """Portkey's gateway from the folder into which npm installed it; it asks for no key of its own."""
    entry = Path(place, "node_modules/@portkey-ai/gateway/build/start-server.js").resolve()
    if not entry.is_file():
        raise Fault(f"no Portkey in {place}: install it there with npm (benchmarks/README.md)")
    peer = Peer("portkey", provider, folder, f"node {shlex.quote(str(entry))} --headless --port={{port}}")
    peer.more = {"x-portkey-provider": "openai", "x-portkey-custom-host": provider.address}
    peer.env = {"NODE_ENV": "production"}
    peer.share, peer.health = 0.5, "/"
    return peer


def own_python(root: Path) -> str:
    """The Python of a source tree: of its environment if it has one, else the one that runs this."""
    found = root / ".venv" / "bin" / "python"
    return str(found) if found.exists() else sys.executable


def call(port: int, method: str, path: str, headers: dict[str, str], body: object = None) -> tuple[int, str]:
    """One request; its status and text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json"} | headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()
