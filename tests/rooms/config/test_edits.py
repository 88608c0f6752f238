"""An edit of connections.yaml changes what it says and nothing else, however people have laid the file out."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.connections import edited, read_records
from config.errors import ConfigError

NAMES = ["openai", "groq", "mistral", "xai"]
FIELDS = ("label", "priority", "api_key", "endpoint", "updated_at")
VALUES = {
    "api_key": [
        "sk-aaaaaaaa",
        "'sk-bbbbbbbb'",
        '"sk-\\u0041aaaaaa"',
        "sk-aa:bb#cc",
        "|-\n      sk-eeeeeeee",
        "${env:X}",
    ],
    "label": [
        "My key",
        "'a: b # c'",
        "é \U0001f600",
        "'a\n      b'",
        '"a \\\n      b"',
        "a#z",
        ">-\n      x\n      y",
    ],
    "priority": ["5", "0", "1000", "+3"],
    "endpoint": ["null", "~", "", "https://a.example/v1"],
    "updated_at": ["'2026'", '"x"', "null", "|-\n      2026"],
}
CHANGES: list[dict[str, Any] | None] = [
    {"api_key": "sealed:v1:x", "updated_at": "now"},
    {"priority": 3},
    {"label": 'it\'s "new": # é \U0001f600', "endpoint": None, "updated_at": "now"},
    None,
]


def said(text: str) -> dict[str, list[object]]:
    """What the records say, in their order."""
    return {r.provider: [getattr(r, f) for f in FIELDS] for r in read_records(text.encode(), "f")}


@st.composite
def files(draw: st.DrawFn) -> str:
    """A file that people may have written, every comment of it numbered."""
    number = itertools.count()

    def end(value: str = "") -> str:
        if value[:1] in ("|", ">"):  # a comment there would belong to the text
            return "\n"
        form = draw(
            st.sampled_from(["\n"] * 5 + [" # {}\n", "  # {}\n\n", "\n# {}\n", "\n  # {}\n", "\n      # {}\n", "\r\n"])
        )
        return form.format(f"c{next(number)};")

    def entry(name: str) -> str:
        name = draw(st.sampled_from(["{}", "{}", "'{}'", '"{}"'])).format(name)
        taken = draw(st.lists(st.sampled_from(FIELDS), unique=True))
        pairs = [(field, draw(st.sampled_from(VALUES[field]))) for field in taken]
        if not pairs:
            return f"  {name}:{draw(st.sampled_from(['', ' ~', ' {}']))}{end()}"
        if draw(st.integers(0, 4)) == 0:
            inner = ", ".join(f"{field}: {value}" for field, value in pairs if not set("\n#{") & set(value))
            return f"  {name}: {{{inner}}}{end()}"
        return f"  {name}:{end()}" + "".join(f"    {field}: {value}{end(value)}" for field, value in pairs)

    head = draw(st.sampled_from(["", "", "# top\n", "---\n", "\ufeff", "# a\n\n# b\n"]))
    listed = draw(st.lists(st.sampled_from(NAMES), unique=True))
    if not listed:
        return head + draw(st.sampled_from(["", "connections:", "connections: {}", "connections: null"])) + end()
    tail = draw(st.sampled_from(["", "", "# end"]))
    return f"{head}connections:{end()}" + "".join(map(entry, listed)) + tail


@given(text=files(), provider=st.sampled_from(NAMES), change=st.sampled_from(CHANGES))
def test_an_edit_changes_what_it_says_and_nothing_else(text: str, provider: str, change: dict[str, Any] | None) -> None:
    before = said(text)
    if change is None and provider not in before:
        return
    after = edited(text.encode(), provider, change, "f").decode()
    wanted = dict(before)
    if change is None:
        del wanted[provider]
    else:
        fields = wanted.get(provider, [None, 500, None, None, ""])
        wanted[provider] = [change.get(name, value) for name, value in zip(FIELDS, fields, strict=True)]
    assert said(after) == wanted
    assert list(said(after)) == list(wanted), "order is age"
    if change is not None:
        assert re.findall(r"# *(c\d+;|top|a\b|b\b|end)", after) == re.findall(r"# *(c\d+;|top|a\b|b\b|end)", text)


@given(text=files(), provider=st.sampled_from(NAMES))
def test_lines_of_others_stay_as_they_are(text: str, provider: str) -> None:
    """With one entry gone, every line that is left stood there before, in the same order."""
    if provider not in said(text) or "{" in text:
        return
    after = edited(text.encode(), provider, None, "f").decode().splitlines()
    there = iter(text.removeprefix("\ufeff").splitlines())
    assert all(line.removeprefix("\ufeff") in there for line in after)


LAID_OUT = f"""\
# mine
connections:
  openai:
    label: 'Single'   # quotes stay
    api_key: "sealed:v1:00000000:{"A" * 400}"

  # about groq,
  # and more about it
  groq:   # here
    label: "Double"
    priority: 7
    # about nothing in particular

  # about mistral
  mistral: {{label: plain, priority: 9}}
# the end
"""


@pytest.mark.parametrize("change", [{"priority": 8}, {"label": "New", "updated_at": "now"}, None])
def test_an_edit_of_one_leaves_every_other_line_as_it_is(change: dict[str, Any] | None) -> None:
    """Quotes, long lines, comments beside, before and behind, blank lines."""
    before = LAID_OUT.splitlines()
    after = edited(LAID_OUT.encode(), "groq", change, "f").decode().splitlines()
    gone = {'    label: "Double"', "    priority: 7"} | ({"  groq:   # here"} if change is None else set())
    gone |= {"    # about nothing in particular"} if change is None else set()
    assert [line for line in before if line not in gone and line in after] == [x for x in before if x not in gone]
    there = iter(after)
    assert all(line in there for line in before if line not in gone)


def test_what_is_written_about_the_next_entry_stays_when_one_goes() -> None:
    assert "  # about mistral\n" in edited(LAID_OUT.encode(), "groq", None, "f").decode()
    assert "# the end\n" in edited(LAID_OUT.encode(), "mistral", None, "f").decode()
    assert "  # about groq,\n" in edited(LAID_OUT.encode(), "openai", None, "f").decode()


def test_what_could_not_be_read_again_is_refused_and_told() -> None:
    text = b"connections:\n  openai: {api_key: sk-k}\n  ? groq  # a comment\n  mistral:\n"
    assert len(read_records(text, "c")) == 3
    with pytest.raises(ConfigError) as caught:
        edited(text, "openai", {"priority": 7}, "c")
    assert "without `? ` in front of a key" in str(caught.value)
