"""schemathesis over /openapi.json: a daemon as a process, scripted providers behind it, every operation of both APIs.

It runs in a network of its own where it may (unshare), so that no address that it makes up is ever called.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fuzz.parsers import KEPT, ROOT
from fuzz.report import Row
from tests.support.canary import Canaries
from tests.support.process import Process
from tests.support.speech import ANTHROPIC, GEMINI, RESPONSES
from tests.support.upstream import Received, Upstream, Wire, answer, chat

_EVERYWHERE = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "missing_required_header", "unsupported_method"),
)
# Of an inference request the provider judges what the daemon does not have to know, and paths have tails.
_OURS = ("negative_data_rejection", "positive_data_acceptance", "allow_header_conformance")
_ADMIN = "^/v1/(providers|routing)|^/(healthz|livez|readyz|metrics|openapi.json)?$"
# 502 to 504 and 507 are answers that the document has: no connection is left, say. 500 never is one.
_CONFIG = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 502, 503, 504, 507]
[checks.negative_data_rejection]
expected-statuses = ["4xx"]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 304, "4xx", 503]
"""
EXAMPLES = 50  # of each operation and phase
_LIST: dict[str, Any] = {"object": "list", "data": []}
_OTHERS = {
    "/embeddings": {**_LIST, "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}], "model": "m"},
    "/completions": {"object": "text_completion", "choices": [{"text": "a", "index": 0, "finish_reason": "stop"}]},
    "/rerank": {"results": []},
    "/moderations": {"id": "m", "model": "m", "results": []},
    "count_tokens": {"input_tokens": 3},
    "input_tokens": {"object": "response.input_tokens", "input_tokens": 3},
    ":countTokens": {"totalTokens": 3},
    ":embedContent": {"embedding": {"values": [0.1]}},
    ":batchEmbedContents": {"embeddings": [{"values": [0.1]}]},
    "/embed": {"id": "e", "embeddings": {"float": [[0.1]]}},
}


async def _provider(received: Received, wire: Wire) -> None:
    """Answers everything well, each path in its own way."""
    path = received.target.partition("?")[0]
    for end, body in _OTHERS.items():
        if path.endswith(end) and not path.endswith("/chat/completions"):
            await answer(body)(received, wire)
            return
    if received.method == "POST" and path.endswith("/messages"):
        await ANTHROPIC.good()(received, wire)
    elif received.method == "POST" and path.endswith("/responses"):
        await RESPONSES.good()(received, wire)
    elif received.method == "POST" and path.endswith("/chat/completions"):
        await chat()(received, wire)
    elif "enerateContent" in path:
        await GEMINI.good()(received, wire)
    else:
        await answer({"id": "x", "object": "thing", **_LIST})(received, wire)


@contextmanager
def providers() -> Iterator[str]:
    """The scripted providers in a thread of their own; the configuration that names them."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    bases: list[str] = []

    async def serve() -> None:
        async with Upstream(_provider, models=["m"]) as up:
            bases.append(up.base_url)
            ready.set()
            await asyncio.Event().wait()

    task = loop.create_task(serve())
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])), daemon=True)
    thread.start()
    ready.wait()
    yield _configured(bases[0])
    loop.call_soon_threadsafe(task.cancel)
    thread.join()


def _configured(base: str) -> str:
    """redeo.yaml: every provider of the catalogue is here, and one for each dialect needs no key."""
    catalogue = json.loads((ROOT / "config" / "catalogue" / "providers.json").read_bytes())
    known = catalogue if isinstance(catalogue, dict) else {entry["id"]: entry for entry in catalogue}
    found: dict[str, Any] = {name: {"base_url": base, "default_model": "m"} for name in known}
    return json.dumps({"providers": found})


def run() -> list[Row]:
    """The campaign in a network of its own, if there may be one."""
    alone = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    fits = shutil.which("ip") and shutil.which("unshare")
    tried = fits and subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0
    began = time.monotonic()
    command = ["nice", "-n", "10", *(alone if tried else []), sys.executable, "-m", "fuzz.api"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    KEPT.mkdir(exist_ok=True)
    (KEPT / "api.log").write_text(done.stdout + done.stderr)
    cases, tested = (sum(map(int, re.findall(what, done.stdout))) for what in (r"(\d+) generated", r"Tested: +(\d+)"))
    said = re.findall(r"^- (.*)$", done.stdout, re.MULTILINE)
    findings = [] if done.returncode == 0 else [*dict.fromkeys(said or [done.stdout[-300:] + done.stderr[-300:]])]
    where = "in a network of its own" if tried else "in this machine's network"
    row = Row("api", f"{cases:,} cases", time.monotonic() - began, "", findings)
    row.more = f"{tested} operations, {where}"
    return [row]


def main() -> int:
    """Daemon, providers and schemathesis; its exit code."""
    with (
        tempfile.TemporaryDirectory() as folder,
        providers() as config,
        Process(Path(folder), Canaries(), config=config) as daemon,
    ):
        for name in ("ollama", "openai", "anthropic", "google"):
            daemon.request("POST", "/v1/providers", {"provider": name, "api_key": "sk-fake-0123456789"})
        Path(folder, "schemathesis.toml").write_text(_CONFIG)
        inference = _judged(daemon, Path(folder), ["--exclude-path-regex", _ADMIN], _EVERYWHERE)
        ours = _judged(daemon, Path(folder), ["--include-path-regex", _ADMIN], (*_EVERYWHERE, *_OURS))
        if daemon.process.poll() is not None:
            print("- the daemon has ended")
            return 1
    failed = [line for line in daemon.log.splitlines() if "Traceback" in line or "a handler failed" in line]
    for line in failed[:5]:
        print(f"- the daemon's log: {line[:2000]}")
    return 1 if failed else inference or ours


def _judged(daemon: Process, folder: Path, paths: list[str], checks: tuple[str, ...]) -> int:
    """One run of schemathesis over some of the paths; its exit code."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{daemon.port}/openapi.json", *paths),
        *("-H", f"Authorization: Bearer {daemon.key}", "--checks", ",".join(checks), "-n", str(EXAMPLES)),
        *("--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure", "--warnings", "off"),
        *("--suppress-health-check", "all", "--request-timeout", "20", "--seed", os.environ.get("SEED", "1")),
    ]
    return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
