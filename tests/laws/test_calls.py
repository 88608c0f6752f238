"""A call is over when its arguments are a complete JSON object, wherever its fragments were cut."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from proxy.dialects.calls import Calls
from proxy.dialects.events import BlockEnd, Kind, Ledger

FRAGMENTS = st.lists(st.text('{}[]"\\:, \na1u', max_size=6), max_size=12)
VALUES = st.recursive(
    st.text('{}"\\a\n\u00e9', max_size=5) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('{}"\\a', max_size=3), inner, max_size=3),
    max_leaves=8,
)


def is_whole(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def must_end_when_whole(fragments: list[str]) -> None:
    calls = Calls(Ledger(), 0)
    calls.fragment("first", Kind.TOOL_CALL, "a", "write", "")
    calls.fragment("second", Kind.TOOL_CALL, "b", "write", "")
    text = ""
    for fragment in fragments:
        text += fragment
        calls.fragment("first", Kind.TOOL_CALL, "", "", fragment)
        ended = BlockEnd(0) in calls.fragment("second", Kind.TOOL_CALL, "", "", "{")
        assert ended == is_whole(text)
        if ended:
            return


@given(FRAGMENTS)
@example(['{"a":"\\', '"}', '"}'])
@example(['{"a":"\\\\', '"}'])
@example(["{}", " ", "x"])
@example(["{}x", "{}"])
@example(["{ ", "}  "])
def test_of_any_fragments(fragments: list[str]) -> None:
    must_end_when_whole(fragments)


@given(st.dictionaries(st.text('{}"\\a', max_size=3), VALUES, max_size=3), st.data())
def test_of_any_arguments_in_any_split(value: dict[str, object], data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=False)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    must_end_when_whole([text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)])
