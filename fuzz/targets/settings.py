"""What a person writes: YAML that is the same to every reader, and the two files of a daemon."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import yaml

from config import connections, schema
from config.document import MAX_BYTES, Node, parse
from config.errors import ConfigError

SECONDS = 2.0  # the specification's bound for one document is 0.2; the machine may be busy


def _plain(node: Node | None) -> Any:
    if node is None:
        return None
    if isinstance(node.value, dict):
        return {key: _plain(inner) for key, (_, inner) in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(inner) for inner in node.value]
    return node.value


def strict_yaml(data: bytes) -> None:
    """A document or ConfigError, in time; what is taken is what PyYAML, in Python, reads of it."""
    began = time.monotonic()
    try:
        node = parse(data, "f")
    except ConfigError as exc:
        assert time.monotonic() - began < SECONDS
        assert exc.faults
        assert all(fault.line >= 1 for fault in exc.faults)
        return
    assert time.monotonic() - began < SECONDS
    assert len(data) <= MAX_BYTES
    try:
        value = yaml.load(data.decode(), Loader=yaml.SafeLoader)
    except yaml.YAMLError:  # libyaml takes a tab in places where this one does not
        return
    assert value == _plain(node)


def files(data: bytes) -> None:
    """As redeo.yaml and as connections.yaml any bytes are read or refused; an edit of them can be read again."""
    with contextlib.suppress(ConfigError):
        schema.read(parse(data, "redeo.yaml"), "redeo.yaml")
    try:
        records = connections.read_records(data, "connections.yaml")
    except ConfigError:
        return
    before = {record.provider: record for record in records}
    try:
        text = connections.edited(data, "openai", {"priority": 7, "label": "x: #y"}, "connections.yaml")
    except ConfigError:
        return
    try:
        after = {record.provider: record for record in connections.read_records(text, "connections.yaml")}
    except ConfigError:
        assert "openai" not in before  # a new entry has no key yet: it is refused, not put down
        return
    assert after.pop("openai").priority == 7
    before.pop("openai", None)
    assert {name: (r.api_key, r.priority, r.label, r.endpoint) for name, r in before.items()} == {
        name: (r.api_key, r.priority, r.label, r.endpoint) for name, r in after.items()
    }
