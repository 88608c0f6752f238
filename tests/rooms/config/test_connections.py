"""connections.yaml: what may stand in it, and where keys may come from."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config import catalogue
from config.connections import (
    checked_key,
    checked_label,
    checked_priority,
    next_priority,
    read_records,
    resolve,
)
from config.errors import ConfigError, InvalidField
from config.model import Connection
from tests.support.canary import Canaries

PROVIDERS = catalogue.load()


def faults(text: str) -> list[tuple[int, str]]:
    """Line and message of every fault of a file."""
    with pytest.raises(ConfigError) as caught:
        resolve(read_records(text.encode(), "the file"), PROVIDERS, None, {}, "the file")
    return [(fault.line, fault.message) for fault in caught.value.faults]


def connected(api_key: str, env: dict[str, str] | None = None, provider: str = "openai") -> Connection:
    """The connection of a file with this one key."""
    text = f"connections:\n  {provider}:\n    api_key: {api_key}\n"
    return resolve(read_records(text.encode(), "f"), PROVIDERS, None, env or {}, "f")[0]


# --- what may stand there


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("- openai", 1, "the file must be a mapping"),
        ("openai", 1, "the file must be a mapping"),
        ("connection: {}", 1, "unknown key `connection` in the file; allowed are connections"),
        ("connections: [openai]", 1, "`connections` must be a mapping"),
        ("connections:\n  openai: sealed", 2, "`openai` must be a mapping"),
        ("connections:\n  openai:\n    api-key: x", 3, "unknown key `api-key` in `openai`; allowed are label,"),
        ("connections:\n  openai:\n    priority: 1001", 3, "`priority` must be a whole number from 0 to 1000"),
        ("connections:\n  openai:\n    priority: -1", 3, "`priority` must be a whole number from 0 to 1000"),
        ("connections:\n  openai:\n    priority: 5.0", 3, "`priority` must be a whole number from 0 to 1000"),
        ("connections:\n  openai:\n    priority: true", 3, "`priority` must be a whole number from 0 to 1000"),
        ("connections:\n  openai:\n    priority: '5'", 3, "`priority` must be a whole number from 0 to 1000"),
        ("connections:\n  openai:\n    priority:", 3, "`priority` must be a whole number from 0 to 1000"),
        ("connections:\n  openai:\n    label: ''", 3, "`label` must be 1 to 64 printable characters"),
        ("connections:\n  openai:\n    label: 5", 3, "`label` must be 1 to 64 printable characters"),
        (f"connections:\n  openai:\n    label: {'x' * 65}", 3, "`label` must be 1 to 64 printable characters"),
        ('connections:\n  openai:\n    label: "a\\u0007"', 3, "`label` must be 1 to 64 printable characters"),
        ("connections:\n  openai:\n    api_key: 123456789", 3, "`api_key` must be a text; put it in quotes"),
        ("connections:\n  openai:\n    endpoint: [x]", 3, "`endpoint` must be a text; put it in quotes"),
        ("connections:\n  openai:\n    updated_at: true", 3, "`updated_at` must be a text; put it in quotes"),
        ("connections:\n  opena:\n    priority: 1", 2, "unknown provider `opena`; `redeo providers catalog` lists"),
        ("connections:\n  OpenAI: {priority: 1}", 2, "unknown provider `OpenAI`; `redeo providers catalog` lists"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, line: int, said: str) -> None:
    [(at, message)] = faults(text)
    assert message.startswith(said)
    assert at == line


def test_every_fault_is_told_at_once_and_in_order() -> None:
    text = "connections:\n  openai: {priority: no-number, label: ''}\n  groq:\n    key: x\n    endpoint: 1\nextra: 1\n"
    assert [line for line, _ in faults(text)] == [2, 2, 4, 5, 6]


def test_a_key_in_the_wrong_place_is_not_quoted(canaries: Canaries) -> None:
    key = canaries.key("openai")
    places = ["{0}: 1", "connections: {{{0}: 1}}", "connections: {{{0}: {{}}}}", "connections: {{openai: {{{0}: 1}}}}"]
    places += [
        "connections: {{openai: {0}}}",
        "connections: {{openai: {{label: {0}{0}, priority: {0}}}}}",
        "[{0}]",
        "{0}",
    ]
    for place in places:
        for _, said in faults(place.format(key)):
            canaries.add("log fault", said)
            assert key[12:20] not in said


@pytest.mark.parametrize(
    "text", ["", "# nothing yet\n", "connections:\n", "connections: {}\n", "connections: null\n", "---\n"]
)
def test_no_connection_is_no_fault(text: str) -> None:
    assert read_records(text.encode(), "f") == []


def test_what_is_left_out_has_its_default_and_equal_priorities_keep_their_order() -> None:
    text = (
        b"connections:\n  xai: {priority: 7}\n  groq:\n  openai: {label: Mine}\n  mistral: {priority: 7, label: null}\n"
    )
    found = resolve(read_records(text, "f"), PROVIDERS, None, {}, "f")
    assert [(c.provider, c.priority, c.label) for c in found] == [
        ("xai", 7, "xAI"), ("mistral", 7, PROVIDERS["mistral"].label), ("groq", 500, PROVIDERS["groq"].label),
        ("openai", 500, "Mine"),
    ]  # fmt: skip


def test_a_new_connection_comes_last() -> None:
    def after(*priorities: int) -> int:
        listed = "".join(f"  {name}: {{priority: {n}}}\n" for name, n in zip(PROVIDERS, priorities, strict=False))
        return next_priority(read_records(f"connections:\n{listed}".encode(), "f"))

    assert after() == 500
    assert after(0) == 10
    assert after(700, 20) == 710
    assert after(991) == after(1000) == 1000


@given(st.text() | st.integers() | st.none() | st.booleans() | st.floats() | st.lists(st.text()))
@example("sealed:v1:x")
@example("x" * 513)
def test_values_are_taken_as_the_rules_say(value: Any) -> None:
    rules = {
        checked_key: isinstance(value, str) and bool(re.fullmatch(r"(?!sealed:)[!-~]{8,512}", value)),
        checked_label: isinstance(value, str) and len(value) <= 64 and value.isprintable() and bool(value.strip()),
        checked_priority: type(value) is int and 0 <= value <= 1000,
    }
    for check, good in rules.items():
        if good:
            assert check(value) is value
        else:
            with pytest.raises(InvalidField) as caught:
                check(value)
            assert caught.value.code == f"invalid_{caught.value.param}"


# --- where a key may come from


def test_keys_come_from_the_environment_and_from_files(canaries: Canaries, tmp_path: Path) -> None:
    key = canaries.key("openai")
    (tmp_path / "key").write_text(f"{key}\n")
    for found in (connected("${env:MY_KEY}", {"MY_KEY": key}), connected(f"${{file:{tmp_path / 'key'}}}")):
        assert found.fault is None
        assert found.secret is not None
        assert found.secret.reveal() == key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${env:NOT_SET}", "openai: the environment variable NOT_SET is not set"),
        ("${env:EMPTY}", "openai: the environment variable EMPTY is not set"),
        ("${file:/nowhere/key}", "openai: the file /nowhere/key cannot be read: No such file or directory"),
        ("${file:/}", "openai: the file / cannot be read: Is a directory"),
        ("${file:/dev/null}", "openai: `api_key` must be 8 to 512 printable ASCII characters without blanks"),
        ("${file:/dev/zero}", "openai: `api_key` must be 8 to 512 printable ASCII characters without blanks"),
        ('"${file:a\\0b}"', "openai: the name of the file cannot be one"),
        ("${env:BLANKS}", "openai: `api_key` must be 8 to 512 printable ASCII characters without blanks"),
        ("${env:SEALED}", "openai: `api_key` must be 8 to 512 printable ASCII characters without blanks"),
        ("short", "openai: `api_key` must be 8 to 512 printable ASCII characters without blanks"),
        ("sealed:v1:00000000:" + "A" * 60, "openai: its sealed key cannot be opened: there is no master key; set it"),
        ("null", "openai: it has no API key; set one with `redeo providers add openai`"),
    ],
)  # fmt: skip
def test_a_key_that_cannot_be_had_is_told(text: str, said: str) -> None:
    found = connected(text, {"EMPTY": "", "BLANKS": "two words", "SEALED": "sealed:v1:x"})
    assert found.secret is None
    assert str(found.fault).startswith(said)


def test_an_optional_key_may_be_missing() -> None:
    found = connected("null", provider="ollama")
    assert (found.secret, found.fault) == (None, None)


def test_a_key_of_many_lines_is_no_key_and_not_quoted(canaries: Canaries, tmp_path: Path) -> None:
    key = canaries.key("openai")
    (tmp_path / "keys").write_text(f"{key}\n{key}\n")
    fault = str(connected(f"${{file:{tmp_path / 'keys'}}}").fault)
    assert "printable ASCII characters" in fault
    assert key[12:20] not in fault


def test_a_pipe_that_nobody_writes_to_holds_up_nothing(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[str | None] = []
    reader = threading.Thread(target=lambda: found.append(connected(f"${{file:{pipe}}}").fault), daemon=True)
    reader.start()
    reader.join(5)
    if reader.is_alive():
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))  # lets it go
    assert len(found) == 1
    assert "openai" in str(found[0])
