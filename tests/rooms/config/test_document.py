"""YAML as the daemon takes it: what every reader reads the same way; all else is a fault with its line."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from config.document import MAX_BYTES, Node, parse
from config.errors import ConfigError
from tests.support.canary import Canaries

TEXTS = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]) | st.sampled_from("\n\t"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS.filter(lambda key: key != "<<"), inner),
    max_leaves=20,
)
# What YAML files are made of, so that chance makes some.
PIECES = st.sampled_from(
    [
        *("a", "b", "key", "connections", "openai", "api_key", "providers", "models", "sk-x", "12", "0x1f", "1.5", "é"),
        *(": ", ":", "- ", "-", "? ", ", ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", "'", '"', "|\n", ">\n", "#"),
        *("&a ", "*a", "!t ", "<<: ", "---\n", "...\n", "%YAML 1.1\n", "\t", "\r\n", "\\", "\0", "\x85", "\u2028"),
        *("null", "~", "true", "yes", ".inf", ".nan", "2020-01-01", "1:30", "1_0", "`", "@", "=", "\x7f"),
        *("\ufeff", "\U0001f600"),
    ]
)  # fmt: skip
FILES = st.lists(PIECES, max_size=40).map("".join)


def plain(node: Node | None) -> Any:
    """What the nodes say, without their lines."""
    value = None if node is None else node.value
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, (_, item) in value.items()}
    return value


def faults(text: str | bytes) -> list[tuple[int, str]]:
    """Line and message of every fault; none where it is taken."""
    try:
        parse(text.encode() if isinstance(text, str) else text, "the file")
    except ConfigError as exc:
        found, said = exc.faults, str(exc)
    else:
        return []
    assert found
    assert said == "\n".join(f"the file:{fault.line}: {fault.message}" for fault in found)
    return [(fault.line, fault.message) for fault in found]


# --- what is taken


@given(VALUES)
def test_json_is_read_as_what_it_says(value: Any) -> None:
    assert plain(parse(json.dumps(value, ensure_ascii=False).encode(), "f")) == value


@given(VALUES)
def test_what_yaml_writes_is_read_as_what_it_says_or_refused(value: Any) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    if not faults(text):
        assert plain(parse(text.encode(), "f")) == value


@pytest.mark.parametrize(
    "text", ["", "\n", "# only a comment\n", "---\n", "---\n...\n", "~", "null", "\ufeff", "\ufeff# x"]
)
def test_an_empty_file_says_nothing(text: str) -> None:
    assert plain(parse(text.encode(), "f")) is None


def test_values_know_their_lines() -> None:
    root = parse(b"# first\na: 1\n\nb:\n  - x\n  -\n    c: [1,\n      2]\n", "f")
    assert root is not None
    (a, one), (b, items) = root.value["a"], root.value["b"]
    assert (root.line, a, one.line, b) == (2, 2, 2, 4)
    assert [item.line for item in items.value] == [5, 7]
    assert [n.line for n in items.value[1].value["c"][1].value] == [7, 8]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("-12", -12), ("+3", 3), ("1.50", 1.5), ("-0.5", -0.5), ("true", True), ("false", False), ("~", None),
        ("", None), ("'012'", "012"), ('"yes"', "yes"), ("'null'", "null"), ("''", ""), ("1.2.3", "1.2.3"),
        ("v1", "v1"), ("|-\n  12", "12"), (">-\n  a\n  b", "a b"), ('"\\u00e9"', "é"), ("10.0.0.1:80", "10.0.0.1:80"),
        ("https://a.example/v1?x=1", "https://a.example/v1?x=1"), ("${env:KEY}", "${env:KEY}"), ("nope", "nope"),
    ],
)  # fmt: skip
def test_scalars(text: str, value: object) -> None:
    found = plain(parse(f"a: {text}\n".encode(), "f"))["a"]
    assert found == value
    assert type(found) is type(value)


# --- what readers disagree about

ODD = st.text(st.sampled_from("0123456789abcdefox_.:+-eE~=<,"), min_size=1, max_size=8) | st.sampled_from(
    ["True", "TRUE", "Null", "NULL", "Yes", "NO", "On", "oFF", "y", "N", ".inf", "-.INF", ".NaN", "2026-01-01"]
)


@given(ODD)
@example("08")
@example("1e3")
@example("0o17")
@example("1_000")
@example("08_")
@example("._")
@example("0o_")
@example("12:30:45")
@example("2026-04-10T12:00:00Z")
def test_what_is_taken_reads_the_same_in_yaml_1_1_and_1_2(text: str) -> None:
    source = f"a: {text}\n"
    if faults(source):
        return
    mine = plain(parse(source.encode(), "f"))
    for theirs in (yaml.safe_load(source), YAML(typ="safe", pure=True).load(source)):
        assert theirs == mine
        assert repr(theirs) == repr(mine)


@pytest.mark.parametrize(
    "text",
    [
        "012", "0o17", "0x1f", "0b11", "1_000", "12:30", "12:30:45", "1e3", "1.5e+3", ".5", "1.", "08", "yes", "No",
        "on", "OFF", "y", "N", "True", "NULL", "Null", ".inf", "-.inf", ".nan", ".NaN", "2026-04-10",
        "2026-04-10T12:00:00Z", "9" * 20, "=", "2026-04-10 12:00:00",
    ],
)  # fmt: skip
def test_surprises_are_refused_and_quotes_advised(text: str) -> None:
    [(line, message)] = faults(f"x: 1\na: {text}\n")
    assert line == 2
    assert "reads differently to different programs; " in message
    assert message.endswith("put it in quotes")
    assert faults(f"x: 1\na: '{text}'\n") == []


@pytest.mark.parametrize(("text", "meant"), [("yes", "true"), ("On", "true"), ("no", "false"), ("OFF", "false")])
def test_a_switch_in_another_word_is_told_which_word_to_take(text: str, meant: str) -> None:
    [(_, message)] = faults(f"a: {text}\n")
    assert f"write {meant}, or, where it is a text, put it in quotes" in message


@pytest.mark.parametrize("key", ["1", "true", "~", "1.5", "012", "yes", "2026-04-10"])
def test_keys_are_texts(key: str) -> None:
    line, said = faults(f"x: 1\n{key}: 1\n")[0]
    assert line == 2
    assert said.endswith("put it in quotes")
    assert faults(f"x: 1\n'{key}': 1\n") == []


@pytest.mark.parametrize("key", ["[a, b]", "{a: b}", "? [a]\n", "? - a\n", "<<", "'<<'"])
def test_keys_are_plain(key: str) -> None:
    assert "keys must be plain text (merge keys are not taken)" in faults(f"x: 1\n{key}: {{}}\n")[0][1]


# --- what is never taken


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "`a` stands twice; the first is in line 1"),
        ("x:\n  a: 1\n  'a': 3\n", 3, "`a` stands twice; the first is in line 2"),
        ("x: {a: 1,\n  a: 3}\n", 2, "`a` stands twice; the first is in line 1"),
        ("a: 1\nb: &x 2\n", 2, "anchors and aliases are not taken; write the value out"),
        ("a: 1\n\nb: *x\n", 3, "anchors and aliases are not taken; write the value out"),
        ("a: &x {b: 1}\nc: {<<: *x}\n", 1, "anchors and aliases are not taken; write the value out"),
        ("a: 1\n&x b: 2\n", 2, "anchors and aliases are not taken; write the value out"),
        ("a: &x [*x]\n", 1, "anchors and aliases are not taken; write the value out"),
        ("a: 1\nb: !!str 1\n", 2, "tags (words after `!`) are not taken; put the value in quotes"),
        ("a: !secret x\n", 1, "tags (words after `!`) are not taken; put the value in quotes"),
        ("a: ! x\n", 1, "tags (words after `!`) are not taken; put the value in quotes"),
        ("!!python/object/apply:os.system [id]\n", 1, "tags (words after `!`) are not taken; put the value in quotes"),
        ("!!map {a: 1}\n", 1, "tags (words after `!`) are not taken; put the value in quotes"),
        ("a: 1\n---\nb: 2\n", 2, "not YAML: but found another document"),
        ("a: 1\nb: [\n", 3, "not YAML: did not find expected node content"),
        ("a: 1\n b: 2\n", 2, "not YAML: mapping values are not allowed in this context"),
        ("a: 1\nb: 'x\n", 3, "not YAML: found unexpected end of stream"),
        ("a:\n\tb: 1\n", 2, "not YAML: found character that cannot start any token"),
        ("a: 1\nb: x\0\n", 2, "not YAML: control characters are not allowed"),
        ("a: 1 # x\u2028b: 2\n", 1, "U+2028 reads differently to different programs; write an escape or take it out"),
        ("a: 1\nb: 'x\x85y'\n", 2, "U+0085 reads differently to different programs; write an escape or take it out"),
        ("a: 1\n\ufeffb: 2\n", 2, "U+FEFF reads differently to different programs; write an escape or take it out"),
        ("a: 1\nb: \x1b[2J\n", 2, "not YAML: control characters are not allowed"),
        ("%YAML 9.9\n---\na: 1\n", 1, "not YAML: found incompatible YAML document"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, line: int, said: str) -> None:
    assert faults(text) == [(line, said)]


@pytest.mark.parametrize("text", [b"a: \xff\n", "a: é\n".encode("latin-1"), "a: 1\n".encode("utf-16"), b"\xed\xa0\x80"])
def test_what_is_not_utf_8_is_refused(text: bytes) -> None:
    assert faults(text) == [(1, "not UTF-8 text")]


def test_every_fault_is_told_at_once() -> None:
    text = "a: yes\nb:\n  - 012\n  - c: 1\n    c: 2\n? [x]\n: 1\n"
    assert [line for line, _ in faults(text)] == [1, 3, 5, 6]


def test_bombs_do_not_go_off() -> None:
    """Of 371 bytes of nested merges, other readers make seconds of work; of aliases, gigabytes."""
    merges = "a0: &a0 {x: 1}\n" + "".join(f"a{n + 1}: &a{n + 1} {{<<: [{f'*a{n}, ' * 8}]}}\n" for n in range(12))
    laughs = "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{f'*a{n}, ' * 9}]\n" for n in range(12))
    for text in (merges, laughs):
        assert faults(text) == [(1, "anchors and aliases are not taken; write the value out")]


@pytest.mark.parametrize("opened", ["[", "{a: ", "- ", "? ", "[{b: "])
def test_depth_ends_at_32(opened: str) -> None:
    assert faults(opened * (MAX_BYTES // len(opened)))[0][1] == "nested more than 32 deep"


def test_the_depth_that_is_taken() -> None:
    assert faults("[" * 32 + "]" * 32) == []
    assert faults("[" * 33 + "]" * 33) == [(1, "nested more than 32 deep")]
    assert faults("[" + "[], " * 100 + "]") == [], "beside one another is not inside one another"


def test_size_ends_at_64_kib() -> None:
    text = "a: '" + "x" * (MAX_BYTES - 6) + "'\n"
    assert len(text) == MAX_BYTES
    assert faults(text) == []
    assert faults(text + "\n") == [(1, f"larger than {MAX_BYTES} bytes")]
    assert faults(b"\xff" * (MAX_BYTES + 1)) == [(1, f"larger than {MAX_BYTES} bytes")]


# --- and nothing else ever happens


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_parse_or_fault(text: bytes) -> None:
    faults(text)


@given(FILES)
def test_no_text_does_anything_but_parse_or_fault(text: str) -> None:
    for line, said in faults(text):
        assert 1 <= line <= len(text) + 1
        assert said.isprintable() or "`" in said


@given(text=FILES, at=st.integers(0, 100))
def test_no_message_holds_a_key(canaries: Canaries, text: str, at: int) -> None:
    """Wherever in a broken file it stands: as a name, a value, twice, in a comment."""
    key = canaries.key("openai")
    for _, said in faults(text[:at] + key + text[at:] + key):
        canaries.add("log fault", said)
        assert key[12:20] not in said


@given(FILES)
def test_what_is_taken_is_finite_and_plain(text: str) -> None:
    def look(node: Node) -> None:
        if isinstance(node.value, list):
            for item in node.value:
                look(item)
        elif isinstance(node.value, dict):
            for key, (_, item) in node.value.items():
                assert type(key) is str
                look(item)
        else:
            assert type(node.value) in (str, int, float, bool, type(None))
            assert not isinstance(node.value, float) or math.isfinite(node.value)

    if not faults(text) and (root := parse(text.encode(), "f")) is not None:
        look(root)
