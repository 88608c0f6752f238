"""SECURITY.md and the tests say the same: each row has its tests, and each test that is named exists."""

from __future__ import annotations

import ast
import re

import pytest

from tests.security.rows import ROWS
from tests.support.gates import ROOT

PAGE = (ROOT / "SECURITY.md").read_text()
TABLE = {found[1]: found[0] for found in re.finditer(r"^\| (A\d+) \|.*\|$", PAGE, re.MULTILINE)}


def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_row_has_its_tests() -> None:
    assert list(ROWS) == list(TABLE) == [f"A{number}" for number in range(1, 28)]
    assert all(names for tests in ROWS.values() for names in tests.values())


@pytest.mark.parametrize("row", ROWS)
def test_every_test_of_a_row_exists(row: str) -> None:
    for file, names in ROWS[row].items():
        assert not set(names) - names_in(file), file


@pytest.mark.parametrize("row", ROWS)
def test_the_page_names_the_files_of_a_row(row: str) -> None:
    named = set(re.findall(r"`([a-z_/]+\.py)`", TABLE[row]))
    assert named == {file.removeprefix("tests/") for file in ROWS[row]}


def test_every_test_of_a_defence_stands_in_a_row() -> None:
    """A file that no row names would be looked for by nobody."""
    there = {f"tests/security/{path.name}" for path in (ROOT / "tests" / "security").glob("test_*.py")}
    named = {file for tests in ROWS.values() for file in tests}
    assert there - named == {"tests/security/test_rows.py"}


def test_the_threat_model_stands_in_one_place() -> None:
    pointer = (ROOT / "docs" / "threat-model.md").read_text()
    assert "SECURITY.md" in pointer
    assert len(pointer.splitlines()) < 6


def test_links_of_the_page_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert target.startswith("https://") or (ROOT / target).exists(), target
