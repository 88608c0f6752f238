"""The search for leaks finds every planted one, and nothing else: or else finding none would prove nothing."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.canary import SHOWN, Canaries

AWKWARD = 'q7"Rk\\2/Vx+9%Zt&Lm=Wc<Hd>Np4Bs8Yf3Gj6Qa'  # a key that URLs and JSON have to escape
ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "url": lambda key: quote(key, safe=""),
    "url, all of it": lambda key: "".join(f"%{ord(c):02X}" for c in key),
    "form": quote_plus,
    "json": json.dumps,
    "json, all of it": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "hex": lambda key: key.encode().hex(),
    "HEX": lambda key: key.encode().hex().upper(),
    "hex at an odd place": lambda key: "a" + key.encode().hex(),
    **{
        f"base64 behind {n}": lambda key, n=n: base64.b64encode(b"u:/"[:n] + key.encode()).decode()  # type: ignore[misc]  # the default binds n
        for n in range(4)
    },
    "base64url": lambda key: base64.urlsafe_b64encode(key.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("kind", ["fresh", "awkward"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_planted_key_is_found(encoding: str, kind: str) -> None:
    found = Canaries()
    key = found.key("openai")
    if kind == "awkward":
        key = "sk-012345678" + AWKWARD
        found.register("key", key, "openai")
    found.add("answer", f'{{"error": "no such thing: {ENCODINGS[encoding](key)} (sorry)"}}' * 1000)
    assert found.leaks() == ["key of openai in answer"]


@pytest.mark.parametrize("filling", ["A", "0", "abc"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_key_in_a_long_filling_is_found(encoding: str, filling: str) -> None:
    for text in (lambda key: ENCODINGS[encoding](filling * 9000 + key + filling * 9000),
                 lambda key: filling * 9000 + ENCODINGS[encoding](key) + filling * 9000):  # fmt: skip
        found = Canaries()
        found.add("answer", text(found.key("openai")))
        assert found.leaks()


@given(
    start=st.integers(SHOWN["key"], 67 - 8),
    before=st.binary(max_size=200),
    after=st.binary(max_size=200),
    encoding=st.sampled_from([str.encode, lambda s: s.encode().hex().encode(), lambda s: base64.b64encode(s.encode())]),
)
def test_any_eight_bytes_are_found(start: int, before: bytes, after: bytes, encoding: Callable[[str], bytes]) -> None:
    found = Canaries()
    key = found.key("openai")
    found.add("answer", before + b" " + encoding(key[start : start + 8]) + b" " + after)
    assert found.leaks()


@given(st.binary(max_size=5000))
def test_nothing_is_found_where_nothing_is(data: bytes) -> None:
    found = Canaries()
    for _ in range(20):
        found.key("openai")
    found.text()
    found.add("log", data)
    assert found.leaks() == []


def test_what_may_be_seen_where() -> None:
    found = Canaries()
    key, text, own = found.key("openai"), found.text(), "rd-Vb8Qk2Lm5Tx9Rz3Wp7"
    found.own(own)
    found.add("answer", f"key_prefix {key[:12]}, said {text}")
    found.add("upstream", f"Authorization: Bearer {key} {text}")
    assert found.leaks() == []
    for name in ("log x", "metrics"):
        found.add(name, f"{key} {text} {own}")
    found.add("upstream", own)
    found.add("answer", f"{own} {key}")
    assert set(found.leaks()) == {
        *(f"{what} in {name}" for what in ("key of openai", "own of the daemon") for name in ("log x", "metrics")),
        *(f"text of prompt in {name}" for name in ("log x", "metrics")),
        "own of the daemon in upstream",
        "own of the daemon in answer",
        "key of openai in answer",
    }


def test_files_are_looked_at_when_the_session_ends(tmp_path: Path) -> None:
    found = Canaries()
    key, text = found.key("openai"), found.text()
    file = tmp_path / "below" / "connections.yaml"
    file.parent.mkdir()
    file.write_text(f"api_key: {key}\n")
    found.folders.append(tmp_path)
    file.write_text("api_key: sealed:v1:0123\n")
    assert found.leaks() == []
    file.write_text(f"- {text}\n- {key}\n")
    found.folders.append(tmp_path)
    assert set(found.leaks()) == {f"text of prompt in file {file}", f"key of openai in file {file}"}


def test_a_log_line_reaches_the_search_of_this_session(canaries: Canaries) -> None:
    for name in ("redeo.request", "asyncio", "aiohttp.server"):
        before = canaries.searched
        logging.getLogger(name).debug("x") if name.startswith("redeo") else logging.getLogger(name).error("x")
        assert canaries.searched > before, name
