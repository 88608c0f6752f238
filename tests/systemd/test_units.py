"""The unit files as systemd itself judges them, and what they must say to be what the documentation promises."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.listen import BACKLOG

UNITS = Path(__file__).resolve().parents[2] / "systemd"
SYSTEM = ("redeo.service", "redeo.socket")
EXPOSURE_LIMIT = 12  # tenths: 1.2

# RELIABILITY 7, one by one; None: present with any value.
REQUIRED: dict[str, str | None] = {
    "Type": "notify",
    "NotifyAccess": "main",
    "WatchdogSec": "20s",
    "Restart": "on-failure",
    "RestartSec": "500ms",
    "StartLimitBurst": "5",
    "TimeoutStopSec": "45s",
    "KillMode": "mixed",
    "DynamicUser": "yes",
    "StateDirectory": "redeo",
    "StateDirectoryMode": "0700",
    "RuntimeDirectory": None,
    "RuntimeDirectoryMode": "0700",
    "ConfigurationDirectory": "redeo",
    "UMask": "0077",
    "LimitCORE": "0",
    "LimitNOFILE": "16384",
    "MemoryMax": "512M",
    "TasksMax": "512",
    "OOMPolicy": "stop",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "DevicePolicy": "closed",
    "PrivateUsers": "yes",
    "PrivateMounts": "yes",
    "PrivateIPC": "yes",
    "RemoveIPC": "yes",
    "ProtectProc": "invisible",
    "ProcSubset": "pid",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "KeyringMode": "private",
    "SystemCallArchitectures": "native",
    "SystemCallErrorNumber": "EPERM",
    "IPAddressDeny": "link-local multicast",
}


@pytest.fixture
def analyze() -> str:
    """The path of systemd-analyze; without it the run fails where it must not be missing."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        if os.environ.get("CI") == "true":
            pytest.fail("systemd-analyze is missing: install Debian's systemd package")
        pytest.skip("systemd-analyze is not installed (Debian: the systemd package)")
    return tool


def rendered(folder: Path, source: Path, executable: str = sys.executable) -> list[Path]:
    """The two units of `source` in `folder`, changed only where they name the executable."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in SYSTEM:
        text, replaced = re.subn(r"(?m)^ExecStart=\S+", f"ExecStart={executable}", (source / name).read_text())
        assert replaced == (1 if name.endswith(".service") else 0)
        path = folder / name
        path.write_text(text)
        paths.append(path)
    return paths


def judged(*command: str | Path, runtime: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, SYSTEMD_COLORS="0")
    if runtime is not None:
        runtime.mkdir(mode=0o700)
        environment["XDG_RUNTIME_DIR"] = str(runtime)
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=environment, timeout=60, check=False
    )


def directives(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_verify_has_nothing_to_say_about_the_system_units(analyze: str, tmp_path: Path) -> None:
    result = judged(analyze, "verify", *rendered(tmp_path / "system", UNITS))
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


def test_verify_has_nothing_to_say_about_the_user_units(analyze: str, tmp_path: Path) -> None:
    units = rendered(tmp_path / "user", UNITS / "user")
    result = judged(analyze, "--user", "verify", *units, runtime=tmp_path / "run")
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


def test_verify_notices_a_misspelt_directive(analyze: str, tmp_path: Path) -> None:
    units = rendered(tmp_path / "system", UNITS)
    units[0].write_text(units[0].read_text().replace("WatchdogSec=", "WatchdogSecs="))
    result = judged(analyze, "verify", *units)
    assert "WatchdogSecs" in result.stderr


@pytest.mark.parametrize("credentials", [False, True], ids=["plain", "with credentials"])
def test_exposure_stays_below_the_limit(analyze: str, tmp_path: Path, credentials: bool) -> None:
    service = rendered(tmp_path / "system", UNITS)[0]
    if credentials:
        dropin = tmp_path / "system" / "redeo.service.d"
        dropin.mkdir()
        shutil.copy(UNITS / "examples" / "credentials.conf", dropin)
        quiet = judged(analyze, "verify", service)
        assert (quiet.stdout, quiet.stderr, quiet.returncode) == ("", "", 0)
    result = judged(analyze, "security", "--offline=true", f"--threshold={EXPOSURE_LIMIT}", service)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Overall exposure level" in result.stdout


def test_the_limit_would_catch_a_bare_unit(analyze: str, tmp_path: Path) -> None:
    bare = tmp_path / "redeo.service"
    bare.write_text(f"[Service]\nExecStart={sys.executable}\n")
    result = judged(analyze, "security", "--offline=true", f"--threshold={EXPOSURE_LIMIT}", bare)
    assert result.returncode == 1


@pytest.mark.parametrize(("name", "value"), REQUIRED.items())
def test_the_service_carries_each_directive(name: str, value: str | None) -> None:
    found = directives(UNITS / "redeo.service")
    assert name in found
    if value is not None:
        assert found[name] == [value]


def test_the_system_calls_are_those_of_a_service_without_privileges() -> None:
    calls = directives(UNITS / "redeo.service")["SystemCallFilter"]
    assert calls == ["@system-service", "~@privileged @resources"]


@pytest.mark.parametrize("folder", [UNITS, UNITS / "user"], ids=["system", "user"])
def test_the_unit_runs_the_script_and_no_module_from_elsewhere(folder: Path) -> None:
    found = directives(folder / "redeo.service")
    assert found["ExecStart"][0].endswith("/bin/redeo serve")
    assert any("PYTHONSAFEPATH=1" in value for value in found["Environment"])
    assert "PYTHONPATH" in found["UnsetEnvironment"][0]
    assert found["ExecReload"] == ["kill -HUP $MAINPID"]


@pytest.mark.parametrize("folder", [UNITS, UNITS / "user"], ids=["system", "user"])
def test_the_sockets_are_loopback_and_private(folder: Path) -> None:
    found = directives(folder / "redeo.socket")
    assert found["ListenStream"] == ["127.0.0.1:7333", "%t/redeo/redeo.sock"]
    assert found["SocketMode"] == ["0600"]
    assert found["Backlog"] == [str(BACKLOG)]
    assert found["Accept"] == ["no"]


def test_stopping_the_service_does_not_remove_the_folder_of_the_socket() -> None:
    runtime = directives(UNITS / "redeo.service")["RuntimeDirectory"][0]
    assert runtime.startswith("redeo/"), "the innermost runtime folder goes with the service"


def test_the_services_user_can_read_its_configuration() -> None:
    found = directives(UNITS / "redeo.service")  # the folder stays root's under DynamicUser
    assert found["ConfigurationDirectoryMode"] == ["0755"]
    assert any("XDG_CONFIG_HOME=%E" in value for value in found["Environment"])
