"""The provider of a benchmark: nginx with its Lua module, which reads the request and answers in Chat Completions.

Not streamed: a fixed answer. Streamed: `max_tokens` chunks, `seed` milliseconds apart; with `seed` 0 the stream is
held, with a chunk every two seconds, until it is let go. Format: OpenAI, "Chat Completions", and "Streaming".
"""

from __future__ import annotations

import http.client
import json
import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from bench_process import LOAD, Fault, Process, free_port

PACKAGES = "apt-get install nginx-light libnginx-mod-http-lua wrk"
MODEL = "gpt-4o-mini-2024-07-18"
_HEAD = {"id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "created": 1741569952, "model": MODEL}
_USAGE = {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29}
TEXT = " considered"  # of every chunk; every second has a comma too, since LiteLLM ends a stream that repeats itself
_WORDS = "What it says of itself is not what it does, so each of these was tried and the outcome written down. "
ANSWER: dict[str, Any] = {
    **_HEAD,
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": (_WORDS * 6)[:580], "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        **_USAGE,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    },
    "service_tier": "default",
    "system_fingerprint": "fp_06737a9306",
}
_LUA = """
ngx.req.read_body()
local length = tonumber(ngx.var.http_content_length)
local body = (length == nil or length < 4096) and ngx.req.get_body_data() or ""
if not ngx.re.find(body, [["stream":\\s*true]], "jo") then
  ngx.header["content-type"] = "application/json"
  ngx.header.content_length = #bench.answer
  return ngx.print(bench.answer)
end
local function number(name)
  local found = ngx.re.match(body, '"' .. name .. [[":\\s*(\\d+)]], "jo")
  return found and tonumber(found[1]) or 0
end
local function say(event)
  return ngx.print(event) and ngx.flush(true)
end
local left, pace = number("max_tokens"), number("seed") / 1000
local held = pace == 0
pace = held and 2 or pace
ngx.header["content-type"] = "text/event-stream; charset=utf-8"
if not say(bench.role) then return end
ngx.sleep(math.random() * pace)
if held then
  repeat
    if not say(bench.even) then return end
    for _ = 1, 10 do
      if ngx.shared.bench:get("held") then ngx.sleep(0.2) end
    end
  until not ngx.shared.bench:get("held")
end
for number = 1, left do
  if not say(number % 2 == 0 and bench.even or bench.odd) then return end
  if not held then ngx.sleep(pace) end
end
ngx.print(bench.last)
if ngx.re.find(body, [["include_usage":\\s*true]], "jo") then ngx.print(bench.usage) end
ngx.print("data: [DONE]\\n\\n")
"""
_CONFIG = """{modules}
{user}worker_processes 1;
worker_rlimit_nofile {files};
daemon off;
pid {folder}/nginx.pid;
events {{ worker_connections {files}; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  client_max_body_size 100m; client_body_buffer_size 256k;
  keepalive_requests 1000000000; keepalive_timeout 3600s;
{inside}
}}
"""


def nginx_config(folder: Path, files: int, modules: str, inside: str) -> list[str]:
    """Writes a configuration of nginx with what both of the bench's have in common; returns the command to run it.

    Bodies are kept in memory up to 256 kB, so that the disk has no part in it. `inside` is what stands in `http`.
    """
    me = pwd.getpwuid(os.geteuid()).pw_name
    user = f"user {me};\n" if os.geteuid() == 0 else ""  # or its worker is another, who may not enter the folder
    text = _CONFIG.format(folder=folder, files=files, modules=modules, user=user, inside=inside)
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def needed() -> str | None:
    """What is missing on this machine, and how to install it; None where all is there."""
    os.environ["PATH"] += os.pathsep + "/usr/sbin"  # where Debian has nginx, which is not on everybody's path
    missing = [name for name in ("nginx", "wrk") if shutil.which(name) is None]
    if not missing and not _modules():
        missing = ["nginx's Lua module"]
    return f"missing: {', '.join(missing)}; on Debian: {PACKAGES}" if missing else None


def _modules() -> str:
    """The lines that load the Lua module, found where this nginx keeps its modules; empty where it is not."""
    said = subprocess.run(["nginx", "-V"], capture_output=True, text=True, check=True).stderr
    places = [*re.findall(r"--modules-path=(\S+)", said), "/usr/share/nginx/modules", "/usr/lib/nginx/modules"]
    names = ("ndk_http_module.so", "ngx_http_lua_module.so")
    for place in places:
        if all(Path(place, name).is_file() for name in names):
            return "\n".join(f"load_module {place}/{name};" for name in names)
    return ""


def _event(choice: dict[str, object] | None, usage: object = None) -> str:
    choices = [] if choice is None else [{"index": 0, "logprobs": None, "finish_reason": None} | choice]
    event = {**_HEAD, "object": "chat.completion.chunk", "choices": choices}
    if usage is not None:
        event["usage"] = usage
    return f"data: {json.dumps(event, separators=(',', ':'))}\n\n"


class Provider:
    """The running provider; counts what it was asked."""

    def __init__(self, folder: Path, files: int) -> None:
        folder.mkdir()
        events = {
            "answer": json.dumps(ANSWER, separators=(",", ":")),
            "role": _event({"delta": {"role": "assistant", "content": "", "refusal": None}}),
            "even": _event({"delta": {"content": TEXT}}),
            "odd": _event({"delta": {"content": TEXT + ","}}),
            "last": _event({"delta": {}, "finish_reason": "stop"}),
            "usage": _event(None, _USAGE),
        }
        texts = ",".join(f"{name} = [==[{text}]==]" for name, text in events.items())
        (folder / "answer.lua").write_text(_LUA)
        self._port = free_port()
        inside = f"""
  lua_shared_dict bench 1m;
  init_by_lua_block {{ bench = {{ {texts} }} }}
  server {{
    listen 127.0.0.1:{self._port} backlog=8192;
    location = /status {{ stub_status; }}
    location = /hold {{ content_by_lua_block {{ ngx.shared.bench:set("held", true) ngx.say("held") }} }}
    location = /let-go {{ content_by_lua_block {{ ngx.shared.bench:delete("held") ngx.say("let go") }} }}
    location / {{ content_by_lua_file {folder}/answer.lua; }}
  }}"""
        command = nginx_config(folder, files, _modules(), inside)
        self.process = Process.start(
            "the provider", command, self._port, folder / "log", dict(os.environ), folder, LOAD
        )
        self.process.first_200("/status")
        self._own = 0  # requests of the bench itself among those counted
        self._start = 0
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        self._start = self.asked()

    @property
    def address(self) -> str:
        """The base URL for an OpenAI client."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    def asked(self) -> int:
        """How many requests came so far, without the bench's own on this object."""
        said = self._get("/status")
        found = re.search(r"\n *\d+ +\d+ +(\d+)", said)
        assert found, said
        return int(found[1]) - self._own - self._start

    def hold(self) -> None:
        """From now on streams with `seed` 0 are held."""
        self._get("/hold")

    def let_go(self) -> None:
        """Held streams end."""
        self._get("/let-go")

    def _get(self, path: str) -> str:
        self._own += 1
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        said = answer.read().decode()
        if answer.status != 200:
            raise Fault(f"the provider answered {answer.status} on {path}:\n{self.process.tail()}")
        return said
