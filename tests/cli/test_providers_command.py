"""`redeo providers ...` against a daemon that really runs, in front of a provider that is simulated."""

from __future__ import annotations

import asyncio
import getpass
import io
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxy.cli.demo_providers import Mood, SimulatedProvider
from proxy.daemon import Daemon, running
from tests.cli.conftest import Command

Canary = Callable[[str], str]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
async def daemon(places: Path, nobody: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Daemon]:
    with SimulatedProvider("good", Mood.WORKS) as good:
        (places / "redeo.yaml").write_text(
            "providers:\n"
            f'  good: {{label: Good, base_url: "{good.base_url}", dialect: openai}}\n'
            f'  open: {{label: Open, base_url: "{good.base_url}", dialect: openai, credential: none}}\n'
            f'  gone: {{label: Gone, base_url: "http://127.0.0.1:{nobody}/v1", dialect: openai}}\n'
        )
        async with running(
            config=places / "redeo.yaml",
            state_dir=places / "state",
            listen="127.0.0.1:0",
            environ={"HOME": str(places)},
        ) as daemon:
            monkeypatch.setenv("REDEO_LISTEN", f"{daemon.address[0]}:{daemon.address[1]}")
            yield daemon


async def test_a_connection_from_its_beginning_to_its_end(daemon: Daemon, command: Command, canary: Canary) -> None:
    key, other = canary("good"), canary("good")
    added = await command("providers", "add", "good", "--api-key-stdin", "--label", "Mine", stdin=f"{key}\n")
    assert (added.code, added.err) == (0, "")
    assert key not in added.out
    assert added.out.splitlines()[1].split()[:3] == ["good", "Mine", "500"]
    listed = (await command("providers", "list", "--json")).json["data"]
    assert [(c["provider"], c["label"], c["priority"]) for c in listed] == [("good", "Mine", 500)]
    assert key.startswith(listed[0]["key_prefix"])
    changed = await command("providers", "set", "good", "--priority", "7", "--api-key-stdin", "--json", stdin=other)
    assert changed.json["priority"] == 7
    assert changed.json["label"] == "Mine"
    connection = daemon.store.current.connection("good")
    assert connection is not None
    assert connection.secret is not None
    assert connection.secret.reveal() == other
    removed = await command("providers", "remove", "good")
    assert (removed.code, removed.out) == (0, "removed good\n")
    empty = await command("providers", "list")
    assert (empty.code, empty.out) == (0, "")
    assert "import-env" in empty.err


async def test_the_catalogue_needs_no_key(daemon: Daemon, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDEO_STATE_DIR", "/nowhere")
    table = await command("providers", "catalog")
    assert table.code == 0
    assert table.out.splitlines()[0].split() == ["PROVIDER", "LABEL", "CREDENTIAL", "ENDPOINT"]
    rows = (await command("providers", "catalog", "--json")).json["data"]
    assert {"id": "open", "label": "Open", "credentialKind": "none", "supportsEndpoint": False} in rows


async def test_a_key_is_asked_for_without_echo(
    daemon: Daemon, command: Command, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, prompts = canary("good"), []
    monkeypatch.setattr(getpass, "getpass", lambda prompt: prompts.append(prompt) or key)
    added = await command("providers", "add", "good", stdin=Terminal())
    assert added.code == 0
    assert prompts == ["API key for good: "]
    monkeypatch.setattr(getpass, "getpass", lambda prompt: "")
    nothing = await command("providers", "add", "gone", stdin=Terminal())
    assert (nothing.code, nothing.err) == (1, "redeo: no key given, nothing was changed\n")


async def test_a_provider_without_a_key_is_not_asked_for_one(daemon: Daemon, command: Command) -> None:
    assert (await command("providers", "add", "open")).code == 0


@pytest.mark.parametrize(
    ("argv", "stdin", "code", "said"),
    [
        (["add", "good"], "", 2, "--api-key-stdin"),
        (["add", "good", "--api-key-stdin"], "\n", 2, "no key on standard input"),
        (["add", "good", "--priority", "first"], "", 2, "invalid int value"),
        (["set", "good"], "", 2, "nothing to change"),
        (["add", "nosuch", "--api-key-stdin"], "k" * 20, 1, "nosuch"),
        (["add", "good", "--api-key-stdin", "--priority", "1001"], "k" * 20, 1, "priority"),
        (["set", "good", "--label", "x"], "", 1, "good"),
        (["set", "../secret", "--label", "x"], "", 1, "secret"),
        (["remove", "good"], "", 1, "good"),
        (["test"], "", 1, "no connections to test"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_what_is_refused(
    daemon: Daemon, command: Command, argv: list[str], stdin: str, code: int, said: str
) -> None:
    result = await command("providers", *argv, stdin=stdin)
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert "k" * 20 not in result.err
    assert daemon.store.current.connections == ()


async def test_connections_are_tried_through_the_daemon(daemon: Daemon, command: Command, canary: Canary) -> None:
    for name in ("good", "gone"):
        await command("providers", "add", name, "--api-key-stdin", stdin=canary(name))
    one = await command("providers", "test", "good")
    assert one.code == 0
    assert one.out.splitlines()[1].split()[:2] == ["good", "ok"]
    both = await command("providers", "test", "--json")
    assert both.code == 1
    assert [(r["provider"], r["ok"], bool(r.get("error"))) for r in both.json["data"]] == [
        ("good", True, False),
        ("gone", False, True),
    ]


async def test_without_a_daemon_the_message_says_how_to_start_one(command: Command, nobody: int) -> None:
    result = await command("providers", "catalog", "--listen", f"127.0.0.1:{nobody}")
    assert (result.code, result.out) == (1, "")
    assert f"no daemon answers at http://127.0.0.1:{nobody}" in result.err
    assert "redeo serve" in result.err


async def test_before_the_first_start_there_is_no_key(command: Command) -> None:
    result = await command("key")
    assert result.code == 1
    assert "redeo serve" in result.err


async def test_the_key_is_the_daemons(daemon: Daemon, command: Command) -> None:
    assert (await command("key")).out == f"{daemon.api_key}\n"
    exports = (await command("env")).out.splitlines()
    assert f"export OPENAI_BASE_URL={daemon.base_url}/v1" in exports
    assert f"export OPENAI_API_KEY={daemon.api_key}" in exports


async def test_import_into_a_running_daemon(
    daemon: Daemon, command: Command, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"openai": canary("openai"), "anthropic": canary("anthropic")}
    monkeypatch.setenv("OPENAI_API_KEY", keys["openai"])
    monkeypatch.setenv("ANTHROPIC_API_KEY", keys["anthropic"])
    declined = await command("providers", "import-env", "openai", "anthropic", stdin="n\n")
    assert declined.code == 0
    assert "nothing was imported" in declined.err
    assert daemon.store.current.connections == ()
    taken = await command("providers", "import-env", "openai", "anthropic", stdin="y\n")
    assert taken.code == 0
    for provider, key in keys.items():
        connection = daemon.store.current.connection(provider)
        assert connection is not None
        assert connection.secret is not None
        assert connection.secret.reveal() == key
        assert key not in taken.out + taken.err
        assert key[:12] in taken.out


async def test_import_before_the_first_start(
    places: Path, command: Command, nobody: int, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = canary("openai")
    monkeypatch.setenv("OPENAI_API_KEY", key)
    monkeypatch.setenv("REDEO_LISTEN", f"127.0.0.1:{nobody}")
    result = await command("providers", "import-env", "openai", "--yes", "--json")
    assert result.code == 0
    assert [(c["provider"], c["key_prefix"]) for c in result.json["data"]] == [("openai", key[:12])]
    stored = (places / "state" / "connections.yaml").read_text()
    assert "openai" in stored
    assert "sealed:" in stored
    assert key not in stored


async def test_the_daemons_own_key_is_not_taken_for_a_providers(
    daemon: Daemon, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", daemon.api_key)
    result = await command("providers", "import-env", "openai", "--yes")
    assert result.code == 1
    assert "the daemon's own API key" in result.err
    assert daemon.api_key not in result.err


async def test_nobody_to_ask_is_not_a_yes(
    daemon: Daemon, command: Command, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", canary("openai"))
    result = await command("providers", "import-env", "openai")
    assert result.code == 2
    assert "--yes" in result.err
    assert daemon.store.current.connections == ()


async def test_rotation_keeps_every_key(places: Path, daemon: Daemon, command: Command, canary: Canary) -> None:
    key = canary("good")
    await command("providers", "add", "good", "--api-key-stdin", stdin=key)
    before = (places / "state" / "master.key").read_text()
    rotated = await command("rotate-master-key")
    assert (rotated.code, rotated.out) == (0, "1 stored key sealed with the new master key\n")
    assert (places / "state" / "master.key").read_text() != before
    assert await daemon.store.reload() == []
    connection = daemon.store.current.connection("good")
    assert connection is not None
    assert connection.secret is not None
    assert connection.secret.reveal() == key


async def test_check_names_the_line(places: Path, command: Command) -> None:
    good = await command("check")
    assert (good.code, good.err) == (0, "")
    assert str(places / "redeo.yaml") in good.out
    (places / "redeo.yaml").write_text("listen: 127.0.0.1:7333\nworker: 2\n")
    bad = await command("check")
    assert bad.code == 1
    assert bad.out.startswith(f"{places / 'redeo.yaml'}:2: ")
    assert "workers" in bad.out
    for argv in (["env"], ["providers", "list"]):
        assert (await command(*argv)).code == 1


async def test_check_says_that_the_file_is_not_there_whose_lack_is_the_fault(places: Path, command: Command) -> None:
    state, missing = places / "state", places / "redeo.yaml"
    state.mkdir(mode=0o700)
    (state / "connections.yaml").touch(mode=0o600)
    (state / "connections.yaml").write_text("connections:\n  lab: {}\n")
    found = await command("check")
    assert found.code == 1
    assert "unknown provider `lab`" in found.out
    assert found.err == f"redeo: {missing} is not there: defaults\n"


async def test_the_doctor_of_a_healthy_daemon(
    places: Path, daemon: Daemon, command: Command, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    lonely = (await command("doctor", "--json")).json
    found = {row["check"]: row for row in lonely["data"]}
    assert lonely["ok"]
    assert found["port"]["status"] == "ok"
    assert found["key"]["status"] == "ok"
    assert found["connections"]["status"] == "warn"
    for name in ("good", "gone"):
        await command("providers", "add", name, "--api-key-stdin", stdin=canary(name))
    sick = await command("doctor")
    assert sick.code == 1
    assert "connections: good answers" in sick.out
    assert "connections: gone: " in sick.out
    assert "gone: gone: " not in sick.out, "its name once"
    assert "redeo providers test gone" in sick.out
    assert "providers set" not in sick.out, "a new key mends no network"
    offline = await command("doctor", "--offline")
    assert offline.code == 0
    assert "connections" not in offline.out


async def test_the_doctor_names_a_stranger_on_the_port_and_a_fault_in_the_file(places: Path, command: Command) -> None:
    (places / "redeo.yaml").write_text("workers: many\n")
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.settimeout(0)
        answering = asyncio.create_task(hang_up(stranger))
        result = await command("doctor", "--json", "--listen", f"127.0.0.1:{stranger.getsockname()[1]}")
        await answering
    found = {row["check"]: row for row in result.json["data"]}
    assert result.code == 1
    assert found["configuration"]["message"].startswith(f"{places / 'redeo.yaml'}:1: ")
    assert "is no redeo" in found["port"]["message"]
    assert "(process " in found["port"]["message"]


async def hang_up(stranger: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    connection, _ = await loop.sock_accept(stranger)
    with connection:
        await loop.sock_recv(connection, 65536)
        await loop.sock_sendall(connection, b"I am not what you think\r\n")
