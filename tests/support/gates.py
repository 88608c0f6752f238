"""The project's own sources, and the programs that check them."""

from __future__ import annotations

import ast
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("proxy", "config", "admin_api")


def sources() -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module that is shipped."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Module, line and names of every import in a file, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno, []
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno, [name.name for name in node.names]
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node):
            yield from ((a.value, node.lineno, []) for a in node.args if isinstance(a, ast.Constant))


def need(program: str) -> str:
    """The path of a development tool; it is skipped for, except in CI, where it has to be there."""
    beside = Path(sys.executable).with_name(program)
    found = str(beside) if beside.exists() else shutil.which(program)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{program} is not installed; the test extra brings it")
        pytest.skip(f"{program} is not installed")
    return found
