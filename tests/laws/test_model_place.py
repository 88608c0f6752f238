"""Where the model's name stands: what is said of it is true, or nothing is said, in small bodies and large."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.dialects.splice import BadBody, peek, with_model
from tests.laws.test_splice import MODELS, bodies

FILLER = b'"filler":"' + b"x" * 5_000 + b'"'
# Texts that msgspec refuses or that stand there twice, in front of the model or behind it.
ODD = st.sampled_from(
    [
        b'"a":NaN',
        b'"a":[1.50,-Infinity]',
        b'"\\ud800":1',
        b'"b":1,"b":1',
        b'"b":"one","b":2',
        b'"b":1,"\\ud800":2,"b":1',
        b'"x":{"model":"inner"}',
        b'"x":{"a":NaN,"model":"inner"}',
        b'"model\\u0000":1',
        b'"x":"\\"model\\":1"',
        b'"x":1e5,"y":1.0,"z":"\\/"',
    ]
)


def among(body: tuple[bytes, bytes, bytes], first: list[bytes], last: list[bytes]) -> tuple[bytes, bytes, bytes]:
    """The body with further fields at its beginning and its end."""
    before, old, after = body
    at = before.index(b"{") + 1
    end = after.rindex(b"}")
    return (
        before[:at] + b"".join(field + b"," for field in first) + before[at:],
        old,
        after[:end] + b"".join(b"," + field for field in last) + after[end:],
    )


@given(bodies(), st.lists(ODD, max_size=2), st.lists(ODD, max_size=2), st.sampled_from(["", "first", "last"]), MODELS)
@example((b'{"model":', b'"a"', b"}"), [b'"b":1'], [b'"b":1,"\\ud800":2'], "first", "m")
def test_the_place_is_the_models_own(
    body: tuple[bytes, bytes, bytes], first: list[bytes], last: list[bytes], filled: str, model: str
) -> None:
    first = [FILLER, *first] if filled == "first" else first
    last = [*last, FILLER] if filled == "last" else last
    before, old, after = among(body, first, last)
    head = peek(before + old + after)
    assert head.model == json.loads(old)
    assert head.model_at in (None, (len(before), len(before) + len(old)))
    if not first and not last:
        assert head.model_at is not None or b"\\u00" in before + old + after or (before + after).count(b'"model"') > 1
    assert with_model(before + old + after, model, head.model_at)[: len(before)] == before
    assert json.loads(with_model(before + old + after, model, head.model_at))["model"] == model


@pytest.mark.parametrize("size", [0, 5_000])
def test_a_name_said_twice_in_the_same_words_is_refused(size: int) -> None:
    filler = b"x" * size
    for twice in (b'{"model":"a","f":"%b","model":"a"}', b'{"f":"%b","model":"a","model":"a"}'):
        with pytest.raises(BadBody) as found:
            peek(twice % filler)
        assert found.value.code == "duplicate_model"
