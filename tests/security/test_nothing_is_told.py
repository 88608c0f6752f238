"""Keys, prompts and answers reach no log, error, metric or file, whatever fails while they are in hand; and a log
line is one line whatever stands in it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.front import quiet_loop
from proxy.observe.log import JsonFormatter, TextFormatter, configure
from tests.support.canary import Canaries
from tests.support.daemon import Redeo
from tests.support.process import Process
from tests.support.upstream import Upstream, answer, chat, chat_events, drop, error, stream

CRASHES = {
    "main thread": "raise ValueError(key)",
    "another thread": "import threading\nt = threading.Thread(target=lambda: int(key)); t.start(); t.join()",
    "a destructor": "class D:\n    def __del__(self): raise ValueError(key)\ndel_me = D(); del del_me",
    "a log call that does not fit": "import logging; logging.getLogger('redeo').error('%d and %d', key)",
    "a chain": "try:\n    int(key)\nexcept ValueError as e:\n    raise RuntimeError(key) from e",
    "a group": "raise ExceptionGroup(key, [ValueError(key)])",
    "a note": "e = ValueError('x'); e.add_note(key); raise e",
    "an exit handler": "import atexit; atexit.register(lambda: int(key))",
    "a warning": "import warnings; warnings.simplefilter('always'); warnings.warn(key)",
    "a task that nobody awaits": (
        "import asyncio\nfrom proxy.front import quiet_loop\nasync def main():\n"
        "    quiet_loop(asyncio.get_running_loop())\n    async def fail(k): raise ValueError(k)\n"
        "    t = asyncio.create_task(fail(key), name=key)\n    await asyncio.sleep(0)\n    await asyncio.sleep(0)\n"
        "    del t\n    import gc; gc.collect()\nasyncio.run(main(), debug=True)"
    ),
}


@pytest.fixture
def found() -> Canaries:
    """Canaries of this test alone, whose leaks it asks for itself."""
    return Canaries()


@pytest.mark.parametrize("how", CRASHES)
def test_a_crash_with_a_key_in_hand_names_places_only(found: Canaries, how: str) -> None:
    """In locals, in the exception's own text, in its cause, its notes, and the names of tasks."""
    key = found.key("openai")
    start = "import sys\nfrom proxy.observe.log import configure\nconfigure('debug')\nkey = sys.stdin.read()\n"
    program = start + CRASHES[how]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program], input=key, capture_output=True, text=True, timeout=30, check=False
    )
    found.add("log stdout", done.stdout)
    found.add("log stderr", done.stderr)
    assert found.leaks() == []
    if "warning" not in how:
        assert done.stderr, "that it failed is said"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the daemon would write to standard error, at DEBUG and from every logger."""
    text = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    configure("debug", text)
    yield text
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("call", ["fsync", "rename"])
async def test_a_handler_that_crashes_with_a_key_in_hand_says_where_alone(
    redeo: Any, canary: Any, log: io.StringIO, monkeypatch: pytest.MonkeyPatch, canaries: Canaries, call: str
) -> None:
    server = await redeo({})
    key = canary("groq")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"cannot take {key}")

    monkeypatch.setattr(os, call, fail)
    got = await server.request("POST", "/v1/providers", json={"provider": "groq", "api_key": key})
    monkeypatch.undo()
    assert (got.status, got.json["error"]["code"]) == (500, "internal_error")
    canaries.add("log", log.getvalue())
    assert '"exception": "RuntimeError"' in log.getvalue()
    assert key[12:20] not in log.getvalue()
    assert key[12:20] not in got.body.decode()


async def test_an_exchange_that_crashes_says_where_alone(
    redeo: Any, canary_prompt: Any, log: io.StringIO, monkeypatch: pytest.MonkeyPatch, canaries: Canaries
) -> None:
    server = await redeo({"alpha": {"base_url": "http://provider.example/v1"}})
    key, prompt = server.keys["alpha"], canary_prompt()

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"{key} {prompt}")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    got = await server.chat(messages=[{"role": "user", "content": prompt}])
    assert got.status >= 500
    canaries.add("log", log.getvalue())
    for secret in (key[12:20], prompt[6:14]):
        assert secret not in log.getvalue()
        assert secret not in got.body.decode()


async def test_the_loop_complains_without_values(canary: Any, log: io.StringIO, canaries: Canaries) -> None:
    loop, key = asyncio.get_running_loop(), canary("openai")
    before = loop.get_exception_handler()
    quiet_loop(loop)
    loop.call_exception_handler({"message": "it failed", "exception": ValueError(key), "task": key, "handle": key})
    loop.call_soon(int, key)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    loop.set_exception_handler(before)
    assert log.getvalue().count("event loop: ") == 2
    canaries.add("log", log.getvalue())
    assert key[12:20] not in log.getvalue()


# --- every sink of a process, at DEBUG


def ask_everything(daemon: Process, found: Canaries, ports: dict[str, int]) -> tuple[list[str], list[str]]:
    """Requests that go well and ill in every way; keys, then prompts and answers."""
    keys, texts = [found.key(name) for name in ports], [found.text() for _ in range(8)]
    for (name, _), key in zip(ports.items(), keys, strict=True):
        assert daemon.request("POST", "/v1/providers", {"provider": name, "api_key": key, "label": name})[0] == 201
        daemon.request("POST", f"/v1/providers/{name}/test")
    for number, text in enumerate(texts):
        said = [{"role": "user", "content": text}]
        for model in ("auto", *(f"{name}/m" for name in ports)):
            daemon.request(
                "POST", "/v1/chat/completions", {"model": model, "messages": said, "stream": number % 2 == 0}
            )
        daemon.request("POST", "/v1/messages", {"model": "auto", "max_tokens": 9, "messages": said, "system": text})
        daemon.request("POST", "/v1/responses", {"model": "auto", "input": text, "metadata": {"x": text}})
        daemon.request("POST", "/v1/chat/completions", {"model": text, "messages": said})
        daemon.request("POST", f"/v1/{text}", {"x": text})
        daemon.request("GET", f"/v1/models/{text}?q={text}")
    for key in keys:
        daemon.request("POST", "/v1/providers", {"provider": key, "api_key": key})
        daemon.request("POST", "/v1/providers", {"provider": "groq", "api_key": f"{key} x"})
        daemon.request("PATCH", f"/v1/providers/{key}", {"api_key": key})
        daemon.request("PATCH", "/v1/providers/alpha", {key: 1})
        daemon.request("POST", "/v1/providers", {"provider": "groq", "priority": key, "api_key": key})
        daemon.request("POST", "/v1/providers", {"provider": "vllm", "endpoint": f"https://{key}@h/", "api_key": key})
        daemon.request("GET", "/v1/models", key=key)
    return keys, texts


async def test_no_sink_of_a_process_holds_a_key_a_prompt_or_an_answer(
    provider: Any, found: Canaries, tmp_path: Path
) -> None:
    said = found.text("answer")

    async def mirror(received: Any, wire: Any) -> None:
        """The worst that a provider's error can say: the key, and what it was asked."""
        told = f"{received.header('authorization')} {received.body.decode()}"
        await error(500, message=told)(received, wire)

    ups: dict[str, Upstream] = {
        "alpha": await provider(mirror),
        "beta": await provider(drop()),
        "gamma": await provider(stream(chat_events(said, finish=False, done=False), ending="reset")),
        "delta": await provider(answer(b"<html>" + said.encode(), headers={"content-type": "text/html"})),
        "omega": await provider(chat(said), models=["m"]),
    }
    entries = {name: {"base_url": up.base_url, "default_model": "m"} for name, up in ups.items()}
    config = json.dumps({"providers": entries, "logging": {"level": "debug"}})
    with Process(tmp_path, found, config=config, env={"PYTHONASYNCIODEBUG": "1"}) as daemon:
        ports = {name: up.port for name, up in ups.items()}
        keys, texts = await asyncio.to_thread(ask_everything, daemon, found, ports)
        pid = daemon.process.pid
        metrics = (await asyncio.to_thread(daemon.request, "GET", "/metrics"))[1]
        for name in ("environ", "cmdline"):
            found.add(f"log {name}", Path(f"/proc/{pid}/{name}").read_bytes() if os.geteuid() == 0 else b"")
        daemon.config.write_text(f"listen: {keys[0]}\nroutin: {keys[1]}\n{keys[2]}: 1\n")
        daemon.signal(signal.SIGHUP)
        await asyncio.to_thread(until, lambda: "not taken up" in daemon.log)
        daemon.signal(signal.SIGTERM)
        assert await asyncio.to_thread(daemon.wait) == 0
    log = daemon.log
    found.add("log stderr", log)
    assert found.leaks() == []
    assert found.searched > 50_000
    assert "redeo_attempts_total" in metrics
    assert len(log.splitlines()) > 40
    for line in log.splitlines():
        assert isinstance(json.loads(line), dict)
    for text in (*texts, said):
        assert text[6:14] not in log + metrics
    for key in keys:
        assert key[12:20] not in log + metrics


def until(done: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    waiting = asyncio.new_event_loop()
    try:

        async def wait() -> None:
            async with asyncio.timeout(20):
                while not done():
                    await asyncio.sleep(0.01)

        waiting.run_until_complete(wait())
    finally:
        waiting.close()


# --- one record, one line

AWKWARD = [
    "a\nb",
    "a\rb",
    "a\r\n{}",
    "\x1b[2J\x1b]0;x\x07",
    "\u2028\u2029\x85",
    "\ud800",
    "\x00",
    '"}\n{"',
    "\u202e",
    "\x7f\x9b",
]


def formatted(formatter: logging.Formatter, message: str, **fields: Any) -> str:
    record = logging.LogRecord("redeo", logging.INFO, "f.py", 1, "%s", (message,), None)
    record.redeo = fields
    return formatter.format(record)


@given(st.text() | st.sampled_from(AWKWARD), st.text() | st.sampled_from(AWKWARD))
def test_a_record_is_one_line_of_ascii_json_whatever_stands_in_it(message: str, value: str) -> None:
    line = formatted(JsonFormatter(), message, field=value, listed=[value])
    assert line.isascii()
    assert line.isprintable()
    assert set(json.loads(line)) >= {"time", "level", "logger", "message", "field", "listed"}


@given(st.text() | st.sampled_from(AWKWARD), st.text() | st.sampled_from(AWKWARD))
def test_a_terminal_is_sent_nothing_that_it_would_obey(message: str, value: str) -> None:
    line = formatted(TextFormatter(), message, field=value, listed=[value])
    assert line.isprintable()
    line.encode()


async def test_no_request_writes_a_line_of_its_own_making(redeo: Any, provider: Any, log: io.StringIO) -> None:
    server: Redeo = await redeo({"alpha": await provider(error(500, message='x\n{"level": "error"}\x1b[2J'))})
    for text in AWKWARD:
        safe = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        await server.chat(f"alpha/{safe}")
        await server.request("POST", "/v1/providers", json={"provider": safe, "api_key": safe, "label": safe})
        await server.request("DELETE", "/v1/providers/" + "".join(f"%{byte:02x}" for byte in safe.encode()))
    lines = log.getvalue().splitlines()
    assert len(lines) > 20
    for line in lines:
        assert line.isascii()
        assert set(json.loads(line)) >= {"time", "level", "logger", "message"}
