"""The search for leaks finds a planted one in every form; without that, finding none would prove nothing."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.canary import Canaries


@pytest.mark.parametrize("offset", range(5))
@pytest.mark.parametrize(
    "spell",
    [
        lambda key: key,
        lambda key: quote(key),
        lambda key: json.dumps({"a": key}),
        lambda key: key.encode().hex(),
        lambda key: base64.b64encode(key.encode()).decode(),
        lambda key: f"...{key[20:28]}...",
        lambda key: f"https://host/?key={key[12:]}",
    ],
)
def test_a_planted_key_is_found(spell: object, offset: int) -> None:
    found = Canaries()
    key = found.key("openai")
    assert callable(spell)
    text = spell("x" * offset + key) if "b64" in spell.__code__.co_names else spell(key)
    found.add("log", "before " + "x" * offset + text + " after")
    assert found.leaks()


def test_the_shown_prefix_is_no_leak_and_content_counts_in_logs_alone(tmp_path: Path) -> None:
    found = Canaries()
    key, text = found.key("openai"), found.text()
    found.add("answer", f"{key[:12]}... {text}")
    assert not found.leaks()
    found.add("log x", text)
    assert len(found.leaks()) == 1
    (tmp_path / "file").write_text(key)
    found.folders.append(tmp_path)
    assert len(found.leaks()) > 1
