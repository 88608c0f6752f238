"""YAML without surprises: nodes with their lines, and a fault for whatever readers disagree about.

Refused: anchors, aliases, merge keys, tags, duplicate keys, depth beyond 32, more than 64 KiB; plain scalars that
YAML 1.1 turns into something else than they look (`012`, `12:30`, `yes`), and its own ends of lines. Source: YAML 1.1
and PyYAML's resolver.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
import yaml

from config.errors import ConfigError, FileFault, shown

MAX_BYTES: Final = 64 * 1024
_MAX_DEPTH: Final = 32
_TOO_DEEP: Final = f"nested more than {_MAX_DEPTH} deep"
_INT: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)\.[0-9]+")
# Numbers of YAML 1.2 that are not written in one of the two ways above.
_NUMBER: Final = re.compile(r"[-+]?(0o[0-7]+|(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?)")
# What some take for a number with its digits apart, and some then cannot read.
_APART: Final = re.compile(r"[-+]?(0[box])?[0-9a-fA-F.:+-]*_[0-9a-fA-F.:+_-]*")
# Ends of lines in YAML 1.1 and not in 1.2: what follows one in a comment is a line to some. And a mark that is no text.
_BREAKS: Final = re.compile("[\x85\u2028\u2029]|(?<!^)\ufeff")
_SWITCHES: Final = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


class Node(msgspec.Struct, frozen=True):
    """A value with the line it stands at: a scalar, a list of nodes, or a mapping of key to (line, node).

    Never printed: it may be a key.
    """

    value: Any
    line: int

    def __repr__(self) -> str:
        return f"Node({type(self.value).__name__}, line {self.line})"


Mapping = dict[str, tuple[int, Node]]


def parse(text: bytes, name: str) -> Node | None:
    """The document, or None where it is empty. Raises ConfigError with every fault that was found."""
    if len(text) > MAX_BYTES:
        raise ConfigError([FileFault(name, 1, f"larger than {MAX_BYTES} bytes")])
    faults: list[FileFault] = []
    try:
        decoded = text.decode("utf-8")
        _refuse_breaks(decoded, name)
        _refuse_references(decoded, name)
        root = yaml.compose(decoded, Loader=yaml.CSafeLoader)
    except UnicodeDecodeError:
        raise ConfigError([FileFault(name, 1, "not UTF-8 text")]) from None
    except yaml.YAMLError as exc:
        raise ConfigError([_syntax(exc, text, name)]) from None
    if root is None:
        return None
    node = _convert(root, name, 1, faults)
    if faults:
        raise ConfigError(faults)
    return node


def _refuse_breaks(text: str, name: str) -> None:
    found = _BREAKS.search(text)
    if found is not None:
        what = f"U+{ord(found[0]):04X} reads differently to different programs; write an escape or take it out"
        raise ConfigError([FileFault(name, text.count("\n", 0, found.start()) + 1, what)])


def _refuse_references(text: str, name: str) -> None:
    """Before anything is composed: aliases are what makes a small file large."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1 if event.start_mark is not None else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ConfigError([FileFault(name, line, "anchors and aliases are not taken; write the value out")])
        if getattr(event, "tag", None) is not None:
            raise ConfigError([FileFault(name, line, "tags (words after `!`) are not taken; put the value in quotes")])
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            depth += 1
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise ConfigError([FileFault(name, line, _TOO_DEEP)])


def _syntax(exc: yaml.YAMLError, text: bytes, name: str) -> FileFault:
    if isinstance(exc, yaml.reader.ReaderError):
        return FileFault(name, text[: exc.position].count(b"\n") + 1, f"not YAML: {exc.reason}")
    mark = getattr(exc, "problem_mark", None)
    problem = getattr(exc, "problem", None) or "not YAML"
    what = _TOO_DEEP if "nesting depth" in problem else f"not YAML: {problem}"  # libyaml has a limit of its own
    return FileFault(name, mark.line + 1 if mark is not None else 1, what)


def _convert(node: yaml.Node, name: str, depth: int, faults: list[FileFault]) -> Node:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        return Node(_scalar(node, name, faults), line)
    if isinstance(node, yaml.SequenceNode):
        return Node([_convert(item, name, depth + 1, faults) for item in node.value], line)
    assert isinstance(node, yaml.MappingNode)
    found: Mapping = {}
    for key, value in node.value:
        at = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
            faults.append(FileFault(name, at, "keys must be plain text (merge keys are not taken)"))
        elif key.value in found:
            first = found[key.value][0]
            faults.append(FileFault(name, at, f"`{shown(key.value)}` stands twice; the first is in line {first}"))
        else:
            if not isinstance(_scalar(key, name, faults), str):
                faults.append(FileFault(name, at, "this key is not read as text by every program; put it in quotes"))
            found[key.value] = (at, _convert(value, name, depth + 1, faults))
    return Node(found, line)


def _scalar(node: yaml.ScalarNode, name: str, faults: list[FileFault]) -> Any:
    text, line = str(node.value), node.start_mark.line + 1
    if node.style:  # quoted or block: text, whatever it looks like
        return text
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INT.fullmatch(text) and len(text) < 20:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    switch = _SWITCHES.get(text.lower())
    if switch is not None or node.tag != "tag:yaml.org,2002:str" or _odd_number(text):
        what = f"`{text}`" if len(text) < 8 else "this value"  # which could be a key
        instead = "" if switch is None else f"write {switch}, or, where it is a text, "
        advice = f"{what} reads differently to different programs; {instead}put it in quotes"
        faults.append(FileFault(name, line, advice))
    return text


def _odd_number(text: str) -> bool:
    """Whether somebody reads a number here that is not written plainly."""
    return _NUMBER.fullmatch(text) is not None or (text[0] in "-+.0123456789" and _APART.fullmatch(text) is not None)
