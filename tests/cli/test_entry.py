"""The entry: which packages are taken for ours, what is loaded for which command, and the exit codes."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIGHT = [["--help"], ["version"], ["--version"], ["key"], ["env"], ["check"], ["serve", "--help"]]
HEAVY = ("aiohttp", "prometheus_client", "uvloop", "watchfiles", "ssl", "http.client", "asyncio")
CALL = """
import sys
from proxy.__main__ import main
sys.argv = ["redeo", *sys.argv[1:]]
try:
    code = main()
except SystemExit as leave:
    code = leave.code
print("LOADED", *sorted(sys.modules))
print("CODE", code)
"""


def called(home: Path, *argv: str, cwd: Path = ROOT, code: str = CALL, **more: str) -> subprocess.CompletedProcess[str]:
    """One command in a process of its own, with `home` for all its files."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "REDEO_API_KEY": "test-entry-key-of-the-daemon",
        **more,
    }
    return subprocess.run(
        [sys.executable, "-c", code, *argv],
        capture_output=True,
        text=True,
        env=environ,
        cwd=cwd,
        timeout=60,
        check=False,
    )


def loaded(result: subprocess.CompletedProcess[str]) -> set[str]:
    return set(next(line for line in result.stdout.splitlines() if line.startswith("LOADED")).split()[1:])


@pytest.mark.parametrize("argv", LIGHT, ids=" ".join)
def test_light_commands_do_not_load_the_http_stack(tmp_path: Path, argv: list[str]) -> None:
    result = called(tmp_path, *argv)
    assert result.stdout.splitlines()[-1] == "CODE 0", result.stderr
    modules = loaded(result)
    assert "proxy.cli.app" in modules
    assert "aiohttp" not in modules


@pytest.mark.parametrize("argv", [["version"], ["key"], ["env"]], ids=" ".join)
def test_what_needs_no_network_loads_none(tmp_path: Path, argv: list[str]) -> None:
    modules = loaded(called(tmp_path, *argv, REDEO_LISTEN="127.0.0.1:7333"))
    assert modules.isdisjoint(HEAVY)


def test_a_foreign_package_of_a_siblings_name_is_not_taken(tmp_path: Path) -> None:
    for name in ("config", "admin_api"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('foreign code ran')\n")
    code = CALL.replace("print(", "import config, admin_api\nprint(config.__file__, admin_api.__file__)\nprint(", 1)
    result = called(tmp_path, "version", cwd=tmp_path, code=code, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert result.returncode == 0, result.stderr
    ours = f"{ROOT / 'config' / '__init__.py'} {ROOT / 'admin_api' / '__init__.py'}"
    assert ours in result.stdout.splitlines()


def test_a_foreign_package_that_was_there_first_is_named(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "__init__.py").touch()
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    result = called(tmp_path, "version", cwd=tmp_path, code="import config\n" + CALL, PYTHONPATH=path)
    said = result.stdout.splitlines()[-1]
    assert said.startswith("CODE redeo: 'config' must be ")
    assert str(tmp_path / "config") in said


def test_a_foreign_folder_that_was_there_first_is_named(tmp_path: Path) -> None:
    code = "import sys, types\nsys.modules['admin_api'] = types.ModuleType('admin_api')\n" + CALL
    said = called(tmp_path, "version", code=code).stdout.splitlines()[-1]
    assert said.startswith("CODE redeo: 'admin_api' must be ")
    assert "a folder without code" in said


def test_the_module_runs_as_the_command_does(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-m", "proxy", "version"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environ,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0
    assert result.stdout.startswith("redeo ")


@pytest.mark.parametrize(
    "argv",
    [[], ["nosuch"], ["serve", "--nosuch"], ["env", "--shell", "tcsh"], ["run"], ["run", "--"], ["providers"]],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2_and_says_so_on_standard_error(tmp_path: Path, argv: list[str]) -> None:
    result = called(tmp_path, *argv)
    lines = result.stdout.splitlines()
    assert lines[-1] == "CODE 2"
    assert lines[0].startswith("LOADED"), "nothing else goes to standard output"
    assert "redeo" in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands_and_their_options(tmp_path: Path, shell: str) -> None:
    result = called(tmp_path, "completion", shell)
    assert "CODE 0" in result.stdout
    for word in ("rotate-master-key", "import-env", "api-key-stdin", "state-dir"):
        assert word in result.stdout


SHOW = "import json, os, sys; print(json.dumps(dict(os.environ))); sys.exit(3)"


def test_run_becomes_the_command_with_clients_pointed_at_the_daemon(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    rivals = {"ANTHROPIC_API_KEY": "not-for-the-daemon", "GOOGLE_API_KEY": "nor-this"}
    argv = ("run", "--listen", address, "--", sys.executable, "-c", SHOW)
    result = called(tmp_path, *argv, HTTPS_PROXY="http://proxy.invalid:3128", **rivals)
    assert result.returncode == 3, "the exit code is the command's"
    environ = json.loads(result.stdout)
    assert environ["OPENAI_BASE_URL"] == f"http://{address}/v1"
    assert environ["ANTHROPIC_BASE_URL"] == f"http://{address}"
    assert environ["ANTHROPIC_AUTH_TOKEN"] == environ["REDEO_API_KEY"]
    assert environ["NO_PROXY"] == "127.0.0.1,localhost"
    assert environ["HOME"] == str(tmp_path)
    assert environ.keys().isdisjoint(rivals)
    assert "no daemon answers" in result.stderr


def test_run_of_a_command_that_does_not_exist(tmp_path: Path) -> None:
    result = called(tmp_path, "run", "redeo-no-such-command", REDEO_LISTEN="127.0.0.1:1")
    assert result.stdout.splitlines()[-1] == "CODE 1"
    assert "cannot run redeo-no-such-command: No such file" in result.stderr


def test_env_names_what_stands_in_the_way(tmp_path: Path) -> None:
    result = called(tmp_path, "env", ANTHROPIC_API_KEY="never-shown")
    assert "ANTHROPIC_API_KEY is set too" in result.stderr
    assert "never-shown" not in result.stdout + result.stderr


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "proxy", "completion", "bash"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_an_interrupt_ends_it_by_the_signal(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OPENAI_API_KEY": "x" * 40}
    command = [sys.executable, "-m", "proxy", "providers", "import-env"]
    pipe = subprocess.PIPE

    def heed() -> None:  # who runs in the background inherits that interrupts are ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT, env=environ, preexec_fn=heed
    ) as process:
        assert process.stderr is not None
        asked = b""
        while b"[y/N]" not in asked:
            read = process.stderr.read(1)
            assert read, asked
            asked += read
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().strip() == b""
    assert process.returncode == -signal.SIGINT


def test_no_option_takes_a_key() -> None:
    from proxy.cli.app import parser

    help_texts = parser().format_help()
    assert "rotate-master-key" in help_texts
    options = {option for command in walk(parser()) for option in command._option_string_actions}
    assert {option for option in options if "key" in option} == {"--api-key-stdin"}


def test_each_command_and_option_is_documented() -> None:
    from proxy.cli.app import parser

    text = (ROOT / "docs" / "cli.md").read_text()
    for command in walk(parser()):
        assert command.prog in text, command.prog
        for option in command._option_string_actions:
            assert option in text or option == "-h" or option == "--help", f"{command.prog} {option}"


def walk(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    found = [parser]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                found += walk(child)
    return found
