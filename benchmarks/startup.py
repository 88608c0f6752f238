"""Start-up time and idle memory of the daemon beside a bare aiohttp server, in one run, turn by turn.

    python benchmarks/startup.py [--runs N]

Time: from the start of the process to the first 200 on /healthz. Memory: resident, two seconds later.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = """
import sys
from aiohttp import web
app = web.Application()
async def ok(request):
    return web.Response(text="ok")
app.router.add_get("/healthz", ok)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def first_200(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.002)
        finally:
            connection.close()
    raise SystemExit(f"the process ended with {process.returncode}")


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def once(command: list[str], port: int, env: dict[str, str], settle: float) -> tuple[float, float]:
    began = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        first_200(port, process)
        seconds = time.perf_counter() - began
        time.sleep(settle)
        return seconds, resident_mib(process.pid)
    finally:
        process.terminate()
        process.wait(10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    args = parser.parse_args()
    figures: dict[str, list[tuple[float, float]]] = {"bare aiohttp": [], "redeo": []}
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "REDEO_STATE_DIR": f"{folder}/state", "REDEO_CONFIG": f"{folder}/redeo.yaml"}
        for run in range(args.runs + 1):
            port = free_port()
            bare = once([sys.executable, "-c", BARE, str(port)], port, env, 2.0 if run == 1 else 0.1)
            port = free_port()
            command = [sys.executable, "-m", "proxy", "serve", "--listen", f"127.0.0.1:{port}"]
            ours = once(command, port, env, 2.0 if run == 1 else 0.1)
            if run:  # the first of each warms the page cache and makes the keys
                figures["bare aiohttp"].append(bare)
                figures["redeo"].append(ours)
    print(f"{'':14}{'first 200: min':>16}{'median':>9}{'max':>8}{'resident MiB':>15}")
    for name, values in figures.items():
        seconds = [s for s, _ in values]
        memory = max(m for _, m in values)
        print(f"{name:14}{min(seconds):>15.3f}s{statistics.median(seconds):>8.3f}s{max(seconds):>7.3f}s{memory:>15.1f}")
    ratios = [ours[0] / bare[0] for ours, bare in zip(figures["redeo"], figures["bare aiohttp"], strict=True)]
    print(f"redeo / bare, pair by pair: median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
