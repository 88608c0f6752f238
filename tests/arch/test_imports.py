"""Which room may import which: the contracts in pyproject.toml, and which foreign library may be touched where."""

from __future__ import annotations

import ast
import subprocess
import sys
from fnmatch import fnmatch

import pytest

from tests.support.gates import ROOT, imports, need, sources

# Library (or a part of it): the modules that may import it. One door per foreign library.
DOORS: dict[str, tuple[str, ...]] = {
    "aiohttp": (
        "proxy.front.*",  # the server side alone: what goes upstream is our own
        "proxy.daemon",
        "proxy.quick_start",  # imports it early, for start-up's sake
        "admin_api",
        "admin_api.*",
    ),
    "cryptography": ("config.cipher", "proxy.upstream.sign"),
    "yaml": ("config.document", "config.catalogue"),
    "ruamel": ("config.connections",),
    "prometheus_client": ("proxy.observe.*", "proxy.workers"),
    "watchfiles": ("config.store",),
    "shtab": ("proxy.cli.completion",),
    "uvloop": ("proxy.daemon",),
    "httptools": ("proxy.upstream.wire",),
    "aiohappyeyeballs": ("proxy.upstream.dial",),
    "ssl": ("proxy.upstream.dial", "proxy.upstream.errors", "proxy.cli.doctor_machine"),
    "argparse": ("proxy.cli.*",),
}
CLIENT_SIDE = {"ClientSession", "ClientTimeout", "TCPConnector", "ClientResponse", "ClientError", "DummyCookieJar"}
# Importable anywhere: data, and the type of headers that signatures of aiohttp are written in.
FREE = {"msgspec", "multidict"}
OWN = {"proxy", "config", "admin_api"}
HEAVY = {"aiohttp", "cryptography", "prometheus_client", "watchfiles", "uvloop", "ruamel"}


def test_rooms_import_downwards_only() -> None:
    """The layers and prohibitions of [tool.importlinter], indirect imports counted."""
    program = need("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
    assert " 0 broken" in done.stdout
    assert " kept" in done.stdout


def test_a_foreign_library_has_one_door() -> None:
    wrong: list[str] = []
    for module, path in sources():
        for name, line, _ in imports(path):
            doors = DOORS.get(name.partition(".")[0])
            if doors is not None and not any(fnmatch(module, door) for door in doors):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {module} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_every_door_is_used() -> None:
    """A door that nobody goes through would hide the next one who should not."""
    used = {(name.partition(".")[0], module) for module, path in sources() for name, _, _ in imports(path)}
    for library, doors in DOORS.items():
        for door in doors:
            assert any(name == library and fnmatch(module, door) for name, module in used), (library, door)


def test_every_foreign_library_is_declared() -> None:
    """What is imported stands in DOORS or in FREE, so that a new one is a decision and not an accident."""
    known = sys.stdlib_module_names | OWN | FREE | DOORS.keys()
    for module, path in sources():
        for name, line, _ in imports(path):
            top = name.partition(".")[0]
            assert top in known, f"{path}:{line}: {module} imports {top}"


def test_nobody_uses_the_client_side_of_aiohttp() -> None:
    for _, path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "aiohttp":
                assert node.attr not in CLIENT_SIDE, f"{path}:{node.lineno}: aiohttp.{node.attr}"
        for name, line, names in imports(path):
            assert not (name.startswith("aiohttp") and CLIENT_SIDE & set(names)), f"{path}:{line}"
            assert name != "aiohttp.client", f"{path}:{line}"


def test_across_rooms_imports_are_absolute() -> None:
    for _, path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1, f"{path}:{node.lineno}: a relative import that leaves its room"


@pytest.mark.parametrize("command", ["--help", "version"])
def test_a_short_command_does_not_load_the_daemon(command: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['redeo', {command!r}]\n"
        "try:\n    runpy.run_module('proxy', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"heavy = {HEAVY} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_dialect_is_loaded_before_it_is_spoken() -> None:
    """They are half of the code; the first 200 does not wait for them."""
    code = (
        "import runpy, sys\n"
        "runpy.run_module('proxy', run_name='pinned')\n"
        "import proxy.daemon\n"
        "from proxy.dialects.base import DialectName\n"
        "spoken = {f'proxy.dialects.{name}' for name in DialectName} & set(sys.modules)\n"
        "assert not spoken, spoken\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_daemon_starts_without_what_it_never_needs() -> None:
    """aiohttp's client alone is 3.5 MB and 30 ms, and comes with the package unless that is told to wait."""
    code = (
        "import runpy, sys\n"
        "runpy.run_module('proxy', run_name='pinned')\n"
        "import proxy.daemon, proxy.observe.metrics, proxy.observe.registry\n"
        "never = {'aiohttp.client', 'frozenlist._frozenlist', 'importlib.metadata'} & set(sys.modules)\n"
        "assert not never, never\n"
        "import aiohttp\n"
        "assert aiohttp.ClientSession is sys.modules['aiohttp.client'].ClientSession\n"
        "from importlib.metadata import version\n"
        "assert aiohttp.__version__ == version('aiohttp')\n"
        "assert aiohttp.web is sys.modules['aiohttp.web']\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
