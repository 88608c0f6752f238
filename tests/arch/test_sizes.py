"""Files and functions stay small enough to be read in one go, and say what they are for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.gates import ROOT, sources

FILE_LINES = 400
FILE_STOP = 600
FUNCTION_STOP = 60
# Above 400 lines on purpose, with the reason; everything else stays below.
LONG = {
    "config/store.py": "one owner of load, watch, change and swap: split, its lock would have two owners",
}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> list[Function]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, Function)]


def test_files_are_short() -> None:
    lines = {relative(path): len(path.read_text().splitlines()) for _, path in sources()}
    assert not {name: n for name, n in lines.items() if n > FILE_STOP}
    assert {name for name, n in lines.items() if n > FILE_LINES} <= set(LONG)
    assert all(lines[name] > FILE_LINES for name in LONG), "no longer long: take it out of LONG"


def test_functions_are_short() -> None:
    long = {
        f"{relative(path)}:{f.lineno} {f.name}": (f.end_lineno or f.lineno) - f.lineno + 1
        for _, path in sources()
        for f in functions(path)
    }
    assert not {name: n for name, n in long.items() if n > FUNCTION_STOP}


def test_names_say_what_a_module_is() -> None:
    for module, _ in sources():
        assert not FORBIDDEN_NAMES & set(module.split(".")), module


@pytest.mark.parametrize(("module", "path"), list(sources()), ids=lambda v: v if isinstance(v, str) else "")
def test_a_module_says_what_it_owns(module: str, path: Path) -> None:
    text = path.read_text()
    if not text.strip():
        assert path.name == "__init__.py", f"{module} is empty"
        return
    assert ast.get_docstring(ast.parse(text)), f"{module} has no docstring"


def test_what_is_public_is_described() -> None:
    bare: list[str] = []
    for _, path in sources():
        for node in ast.parse(path.read_text()).body:
            named = isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")
            if named and not ast.get_docstring(node):
                bare.append(f"{relative(path)}:{node.lineno} {node.name}")
    assert not bare, "\n".join(bare)
