"""Each thing that `redeo doctor` looks at, in a good and in a bad state."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest

from proxy.cli import doctor_clients, doctor_daemon, doctor_machine
from proxy.cli.address import Address
from proxy.cli.client import Daemon
from proxy.cli.findings import Finding, Status
from proxy.cli.port_holder import holder

HERE = Address("127.0.0.1", 7333)
OURS = "http://127.0.0.1:7333"


def statuses(findings: list[Finding]) -> list[Status]:
    for finding in findings:
        assert bool(finding.advice) is (finding.status is not Status.OK), "advice where it is needed, and only there"
    return [finding.status for finding in findings]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Status.OK),
        ({"OPENAI_BASE_URL": f"{OURS}/v1"}, Status.OK),
        ({"OPENAI_BASE_URL": "http://localhost:7333/v1"}, Status.OK),
        ({"OPENAI_BASE_URL": "https://api.example.com/v1"}, Status.WARN),
        ({"OPENAI_API_BASE": "http://127.0.0.1:4000/v1"}, Status.WARN),
        ({"ANTHROPIC_BASE_URL": OURS}, Status.OK),
        ({"ANTHROPIC_BASE_URL": f"{OURS}/v1"}, Status.WARN),
        ({"GOOGLE_GEMINI_BASE_URL": "not a url:x"}, Status.WARN),
        ({"OPENAI_BASE_URL": "http://[broken"}, Status.WARN),
    ],
)
def test_where_variables_point(environ: dict[str, str], expected: Status, tmp_path: Path) -> None:
    assert statuses(doctor_clients.look(HERE, environ, tmp_path)) == [expected]


def test_a_key_beside_the_token_is_noticed_and_not_shown(tmp_path: Path) -> None:
    environ = {"ANTHROPIC_API_KEY": "never-shown", "ANTHROPIC_AUTH_TOKEN": "nor-this"}
    findings = doctor_clients.look(HERE, environ, tmp_path)
    assert statuses(findings) == [Status.WARN]
    assert "never-shown" not in repr(findings)
    assert "nor-this" not in repr(findings)


def test_a_url_with_a_password_is_shown_without(tmp_path: Path) -> None:
    environ = {"OPENAI_BASE_URL": "https://me:hunter2@api.example.com/v1?key=hunter3"}
    shown = doctor_clients.look(HERE, environ, tmp_path)[0].message
    assert "https://api.example.com/v1" in shown
    assert "hunter" not in shown


CODEX_OURS = f'model_provider = "redeo"\n[model_providers.redeo]\nbase_url = "{OURS}/v1"\n'
CODEX_UNUSED = '[model_providers.other]\nbase_url = "https://api.example.com/v1"\n'
CLAUDE = {"env": {"ANTHROPIC_BASE_URL": "https://gateway.example.com"}}
OPENCODE = {"provider": {"redeo": {"options": {"baseURL": f"{OURS}/v1"}}, "bare": {}}}


@pytest.mark.parametrize(
    ("path", "text", "expected", "said"),
    [
        (".codex/config.toml", CODEX_OURS, Status.OK, "model_providers.redeo.base_url"),
        (".codex/config.toml", CODEX_UNUSED, Status.OK, "no client settings"),
        (".codex/config.toml", 'openai_base_url = "https://api.example.com/v1"', Status.WARN, "openai_base_url"),
        (".codex/config.toml", "a = = b", Status.WARN, "it is no TOML"),
        (".claude/settings.json", json.dumps(CLAUDE), Status.WARN, "points elsewhere"),
        (".claude/settings.json", "[]", Status.OK, "no client settings"),
        (".claude/settings.json", '{"env": 3}', Status.OK, "no client settings"),
        (".config/opencode/opencode.json", json.dumps(OPENCODE), Status.OK, "provider.redeo"),
        (".config/opencode/opencode.json", "{", Status.WARN, "it is no JSON"),
    ],
)
def test_where_settings_files_point(path: str, text: str, expected: Status, said: str, tmp_path: Path) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(text)
    findings = doctor_clients.look(HERE, {}, tmp_path)
    assert statuses(findings) == [expected]
    assert said in findings[0].message


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Status.OK),
        ({"HTTPS_PROXY": "http://p"}, Status.WARN),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "localhost"}, Status.WARN),
        ({"HTTPS_PROXY": "http://p", "no_proxy": "localhost, 127.0.0.1"}, Status.OK),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "*"}, Status.OK),
    ],
)
def test_proxy_variables(environ: dict[str, str], expected: Status) -> None:
    assert statuses(doctor_machine.proxies(environ, "127.0.0.1")) == [expected]


def test_a_clock_behind_its_own_files_is_wrong() -> None:
    now = time.time()
    assert statuses(doctor_machine.clock(now, {"redeo itself": now - 5, "openai": now + 60})) == [Status.OK]
    late = doctor_machine.clock(now, {"redeo itself": now + 86400})
    assert statuses(late) == [Status.FAIL]
    assert "redeo itself" in late[0].message


def test_a_bundle_that_is_not_there_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = str(tmp_path / "none.pem")
    monkeypatch.setenv("SSL_CERT_FILE", missing)
    findings = doctor_machine.tls_roots(os.environ)
    assert findings[0].status is Status.FAIL
    assert missing in findings[0].message


def test_an_empty_store_of_roots_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "certs").mkdir()
    (tmp_path / "empty.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "empty.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "certs"))
    assert statuses(doctor_machine.tls_roots(os.environ)) == [Status.FAIL]
    (tmp_path / "certs" / "0a1b2c3d.0").touch()
    assert statuses(doctor_machine.tls_roots(os.environ)) == [Status.OK]


def test_pythonpath_is_noticed() -> None:
    found = doctor_machine.installation({"PYTHONPATH": "/somewhere"})
    assert any("PYTHONPATH" in f.message and f.status is Status.WARN for f in found)
    assert all("PYTHONPATH" not in f.message for f in doctor_machine.installation({}))


def test_files_that_others_can_read_are_noticed(tmp_path: Path) -> None:
    state, key = tmp_path / "state", tmp_path / "state" / "api.key"
    assert statuses(doctor_daemon.state_modes(state, [key])) == [Status.WARN]
    state.mkdir(mode=0o700)
    key.touch(mode=0o600)
    assert statuses(doctor_daemon.state_modes(state, [key, state / "none"])) == [Status.OK]
    key.chmod(0o640)
    state.chmod(0o755)
    findings = doctor_daemon.state_modes(state, [key])
    assert statuses(findings) == [Status.FAIL, Status.FAIL]
    assert [f.advice for f in findings] == [f"chmod 700 {state}", f"chmod 600 {key}"]


def test_a_port_that_another_program_holds_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"(process {os.getpid()})" in (holder(port) or "")
    assert holder(port) is None


def test_a_free_port_means_that_no_daemon_runs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = Address("127.0.0.1", unused.getsockname()[1])
    findings, runs = doctor_daemon.port(Daemon(address))
    assert statuses(findings) == [Status.WARN]
    assert not runs
