"""Rules that no linter knows: providers are data, keys leave their Secret in one place, nothing is left open."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

from config.catalogue import load
from tests.support.gates import ROOT, imports, sources

# Where a provider may be named in code.
ABOUT_PROVIDERS = ("config.catalogue", "proxy.upstream.adapters")
DIALECTS = {"openai", "anthropic"}  # these ids name wire languages too
# Other meanings of the same word, by module.
OTHER_MEANINGS: dict[str, set[str]] = {
    "proxy.upstream.aws": {"bedrock"},  # AWS's name of the service it signs for
    "proxy.dialects.converse.params": {
        "ai21",
        "cohere",
        "mistral",
    },  # makers, as the names of Amazon's models have them
    "proxy.dialects.chat.request_in": {"google"},  # a field beside calls in Chat Completions
}
REVEALS = {"proxy.upstream.sign"}


def strings(path: Path) -> list[tuple[int, str]]:
    """Every string literal of a file with its line, docstrings left out."""
    tree = ast.parse(path.read_text())
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare
    ]


def test_no_code_knows_a_provider_by_name() -> None:
    ids = set(load()) - DIALECTS
    wrong: list[str] = []
    for module, path in sources():
        if module.startswith(ABOUT_PROVIDERS):
            continue
        allowed = OTHER_MEANINGS.get(module, set())
        wrong += [f"{path}:{line}: {text!r}" for line, text in strings(path) if text in ids - allowed]
    assert not wrong, "\n".join(wrong)


def test_a_provider_is_not_asked_for_by_its_dialects_name() -> None:
    """`openai` and `anthropic` are dialects in the code; compared with a provider's id they would be providers."""
    for module, path in sources():
        if module.startswith(ABOUT_PROVIDERS):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                text = ast.unparse(node)
                named = any(f"'{name}'" in text for name in DIALECTS)
                assert not (named and re.search(r"\b(provider|spec\.id|connection\.provider)\b", text)), (
                    f"{path}:{node.lineno}: {text}"
                )


def test_keys_leave_their_secret_in_one_place() -> None:
    found = {
        module
        for module, path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "reveal"
    }
    assert found == REVEALS


def test_nothing_is_left_open() -> None:
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError")
    silenced = re.compile(r"#\s*(type: ignore|noqa)(?P<rest>.*)")
    for _, path in sources():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert not words.search(line), f"{path}:{number}: {line.strip()}"
            found = silenced.search(line)
            assert found is None or re.search(r"[#-]\s*\w+ \w+", found["rest"]), f"{path}:{number}: without a reason"


def test_no_place_of_a_machine_stands_in_the_tree() -> None:
    pattern = re.compile(r"/(?:root|home/\w+|work)/|/opt/wheels")
    for _, path in sources():
        for line, text in strings(path):
            assert not pattern.search(text), f"{path}:{line}"


def test_every_dependency_is_accounted_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs" / "dependencies.md").read_text()
    runtime, _, development = page.partition("## For tests and development")
    assert development
    for requirements, part in (
        (project["dependencies"], runtime),
        (project["optional-dependencies"]["test"], development),
    ):
        for requirement in requirements:
            name, floor = re.match(r"([\w.-]+)>=([\w.]+)", requirement).groups()  # type: ignore[union-attr]  # every requirement has a floor, or this fails
            assert f"| `{name}` | {floor} |" in part, f"docs/dependencies.md does not say why {name} >= {floor}"


def test_every_dependency_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    modules = {"PyYAML": "yaml", "ruamel.yaml": "ruamel", "prometheus-client": "prometheus_client"}
    used = {name.partition(".")[0] for _, path in sources() for name, _, _ in imports(path)}
    for requirement in project["dependencies"]:
        name = re.split(r"[<>=;\s]", requirement)[0]
        assert modules.get(name, name) in used, name
