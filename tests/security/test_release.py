"""What is installed is what stands in the tree, and what runs is what is installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.gates import PACKAGES, ROOT

EVIL = "import os; open(os.environ['MARK'], 'a').write('ran')\n"
UNITS = (ROOT / "systemd" / "redeo.service", ROOT / "systemd" / "user" / "redeo.service")


def environment(unit: Path, **more: str) -> dict[str, str]:
    """What a unit makes of an environment."""
    lines = unit.read_text().splitlines()
    given = [word for line in lines if line.startswith("Environment=") for word in line[12:].split()]
    unset = [word for line in lines if line.startswith("UnsetEnvironment=") for word in line[17:].split()]
    env = {**more, **dict(word.split("=", 1) for word in given)}
    return {name: value for name, value in env.items() if name not in unset}


@pytest.fixture
def planted(tmp_path: Path) -> dict[str, str]:
    """A home and a path in which somebody has left code to be run at every start of Python."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = tmp_path / ".local" / "lib" / version / "site-packages"
    site.mkdir(parents=True)
    (site / "evil.pth").write_text(EVIL)
    (site / "usercustomize.py").write_text(EVIL)
    (tmp_path / "path").mkdir()
    for name in ("sitecustomize", "json", "aiohttp"):
        (tmp_path / "path" / f"{name}.py").write_text(EVIL)
    return {"HOME": str(tmp_path), "PYTHONPATH": str(tmp_path / "path"), "MARK": str(tmp_path / "mark")}


def ran(command: list[str], env: dict[str, str], cwd: Path) -> bool:
    """Whether the planted code did, in a process with this environment."""
    mark = Path(env["MARK"])
    mark.unlink(missing_ok=True)
    subprocess.run(command, env=env, cwd=cwd, capture_output=True, timeout=60, check=False)
    return mark.exists()


@pytest.mark.parametrize("unit", UNITS, ids=["system", "user"])
def test_what_is_planted_in_a_home_or_on_a_path_does_not_run_under_the_unit(
    unit: Path, planted: dict[str, str], tmp_path: Path
) -> None:
    python = getattr(sys, "_base_executable", sys.executable)  # the one of a virtual environment knows no home
    command = [python, "-c", "import json"]
    assert ran(command, planted, tmp_path / "path"), "it would run otherwise"
    assert not ran(command, environment(unit, **planted), tmp_path / "path")


def test_a_planted_pth_file_of_the_installation_does_not_run_under_the_isolated_unit(tmp_path: Path) -> None:
    """The command line of systemd/examples/isolated.conf, on an installation like any other."""
    site = tmp_path / "site"
    site.mkdir()
    for package in PACKAGES:
        shutil.copytree(ROOT / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    for found in Path(sysconfig.get_path("purelib")).iterdir():
        if found.suffix != ".pth" and not (site / found.name).exists():
            (site / found.name).symlink_to(found)
    (site / "evil.pth").write_text(EVIL)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MARK": str(tmp_path / "mark")}
    assert ran([sys.executable, "-c", f"import site; site.addsitedir({str(site)!r})"], env, tmp_path)
    Path(env["MARK"]).unlink()
    drop_in = (ROOT / "systemd" / "examples" / "isolated.conf").read_text()
    assert "bin/python -I -S" in drop_in
    assert "site-packages/proxy/__main__.py serve" in drop_in
    command = [sys.executable, "-I", "-S", str(site / "proxy" / "__main__.py"), "check"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not Path(env["MARK"]).exists()


def test_the_wheel_holds_the_files_of_the_tree_and_no_other(tmp_path: Path) -> None:
    if importlib.util.find_spec("hatchling") is None:
        if os.environ.get("CI"):
            pytest.fail("hatchling is not installed; the test extra brings it")
        pytest.skip("hatchling is not installed")
    copied = tmp_path / "tree"
    ignore = shutil.ignore_patterns(".git", ".venv", "__pycache__", "*.egg-info", "dist", "tests", "benchmarks")
    shutil.copytree(ROOT, copied, ignore=ignore, symlinks=True)
    for stray in ("proxy/.secret", "config/notes.txt.orig"):
        assert not (ROOT / stray).exists()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=copied, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    [wheel] = (tmp_path / "out").glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    code = {str(path.relative_to(ROOT)) for package in PACKAGES for path in files(ROOT / package)}
    shared = {f"share/redeo/{path.relative_to(ROOT)}" for path in files(ROOT / "systemd")}
    assert {name.partition(".data/data/")[2] or name for name in names} == code | shared


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def test_every_file_of_the_packages_is_under_version_control() -> None:
    """So that what is built of a checkout is what was looked at."""
    listed = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0 or not listed.stdout:
        pytest.skip("not a checkout")
    there = {str(path.relative_to(ROOT)) for package in PACKAGES for path in files(ROOT / package)}
    assert there == set(listed.stdout.split())
