"""What the daemon adds to a request: the same calls direct and through it, in one run, turn by turn.

    python benchmarks/overhead.py [--requests N] [--clients N]

A provider on loopback answers at once, so all that differs is the daemon's own work and one more hop. Bodies: 1 kB
and 110 kB (a coding agent's first request). Figures are ratios and differences of medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

KEY = "sk-benchmark-not-a-real-key-000000000000"
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 300}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 60, "total_tokens": 70},
}
PROVIDER = """
import json, sys
from aiohttp import web
answer = json.loads(sys.argv[2])
async def chat(request):
    body = await request.read()
    if b'"stream":true' not in body:
        return web.json_response(answer)
    out = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await out.prepare(request)
    for n in range(50):
        delta = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": f"w{n} "},
                 "finish_reason": None}]}
        await out.write(b"data: " + json.dumps(delta).encode() + b"\\n\\n")
    choices = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    end = {"id": "c", "object": "chat.completion.chunk", "choices": choices}
    await out.write(b"data: " + json.dumps(end).encode() + b"\\n\\ndata: [DONE]\\n\\n")
    return out
app = web.Application(client_max_size=1 << 28)
app.router.add_post("/v1/chat/completions", chat)
app.router.add_get("/healthz", lambda request: web.Response(text="ok"))
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
"""


async def wait_for(session: aiohttp.ClientSession, url: str) -> None:
    for _ in range(1000):
        try:
            async with session.get(url) as response:
                if response.status == 200:
                    return
        except aiohttp.ClientError:
            await asyncio.sleep(0.01)
    raise SystemExit(f"{url} does not answer")


async def ask(session: aiohttp.ClientSession, base: str, key: str, body: bytes) -> float:
    began = time.perf_counter()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    async with session.post(f"{base}/v1/chat/completions", data=body, headers=headers) as response:
        await response.read()
        if response.status != 200:
            raise SystemExit(f"{base} answered {response.status}")
    return time.perf_counter() - began


async def many(session: aiohttp.ClientSession, base: str, key: str, body: bytes, total: int, clients: int) -> float:
    left = iter(range(total))

    async def client() -> None:
        for _ in left:
            await ask(session, base, key, body)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return total / (time.perf_counter() - began)


async def compare(session: aiohttp.ClientSession, direct: str, ours: str, key: str, args: argparse.Namespace) -> None:
    for name, size, stream in (("1 kB", 900, False), ("110 kB", 110_000, False), ("stream of 52 events", 900, True)):
        request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x" * size}], "stream": stream}
        body = json.dumps(request, separators=(",", ":")).encode()
        times: dict[str, list[float]] = {direct: [], ours: []}
        for _ in range(args.requests + 20):
            for base, secret in ((direct, KEY), (ours, key)):
                times[base].append(await ask(session, base, secret, body))
        a, b = (statistics.quantiles(times[base][20:], n=100) for base in (direct, ours))
        print(
            f"one client, {name}: direct p50 {a[49] * 1e3:.2f} p99 {a[98] * 1e3:.2f} ms, through redeo p50 "
            f"{b[49] * 1e3:.2f} p99 {b[98] * 1e3:.2f} ms: added p50 {(b[49] - a[49]) * 1e3:.2f} ms"
        )
        rates = [
            (await many(session, direct, KEY, body, args.requests, args.clients),
             await many(session, ours, key, body, args.requests, args.clients))
            for _ in range(3)
        ]  # fmt: skip
        rate, other = statistics.median(r[1] for r in rates), statistics.median(r[0] for r in rates)
        ratio = statistics.median(r[1] / r[0] for r in rates)
        print(f"{args.clients} clients, {name}: {rate:.0f} req/s through redeo, {other:.0f} direct, ratio {ratio:.2f}")


async def run(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        provider_port, port = 17941, 17942
        provider = subprocess.Popen([sys.executable, "-c", PROVIDER, str(provider_port), json.dumps(ANSWER)])
        config = Path(folder, "redeo.yaml")
        config.write_text(f'providers:\n  openai: {{base_url: "http://127.0.0.1:{provider_port}/v1"}}\n')
        env = {**os.environ, "REDEO_STATE_DIR": f"{folder}/state", "REDEO_API_KEY": "rd-benchmark-key-0123456789"}
        command = [sys.executable, "-m", "proxy", "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
        daemon = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
        direct, ours, key = f"http://127.0.0.1:{provider_port}", f"http://127.0.0.1:{port}", env["REDEO_API_KEY"]
        try:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
                await wait_for(session, f"{direct}/healthz")
                await wait_for(session, f"{ours}/healthz")
                added = {"provider": "openai", "api_key": KEY}
                headers = {"Authorization": f"Bearer {key}"}
                async with session.post(f"{ours}/v1/providers", json=added, headers=headers) as response:
                    assert response.status == 201, await response.text()
                await compare(session, direct, ours, key, args)
        finally:
            daemon.terminate()
            provider.terminate()
            daemon.wait()
            provider.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--clients", type=int, default=16)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
