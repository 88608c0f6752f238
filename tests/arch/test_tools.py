"""Formatter, linter and type checker find nothing: the same three commands as in `make check`."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.gates import ROOT, need


@pytest.mark.parametrize(
    "command", [("ruff", "format", "--check", "."), ("ruff", "check", "."), ("mypy",)], ids=" ".join
)
def test_the_tools_find_nothing(command: tuple[str, ...]) -> None:
    program = need(command[0])
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
