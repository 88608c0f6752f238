"""Places in a text, which Gemini counts in bytes and the others in characters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.gemini.parts import in_bytes, in_text

TEXTS = st.text(st.sampled_from("ab \u00e9\u20ac\U0001f600"), max_size=12)
PLACES = st.lists(st.integers(0, 60), max_size=6)


@given(TEXTS, PLACES)
def test_places_are_as_each_alone_would_be(text: str, places: list[int]) -> None:
    data = text.encode()
    assert in_bytes(text, places) == {n: len(text[:n].encode()) for n in places}
    assert in_text(data, places) == {n: len(data[:n].decode(errors="ignore")) for n in places}


def test_a_place_before_the_text_is_its_beginning() -> None:
    assert in_bytes("abc", [-2, 1]) == {-2: 0, 1: 1}


def test_half_a_surrogate_pair_is_one_character() -> None:
    data = "a\ud83db".encode("utf-8", "surrogatepass")
    assert in_text(data, [0, 1, 2, 4, 5]) == {0: 0, 1: 1, 2: 1, 4: 2, 5: 3}
