"""Where two halves of a text meet, piece by piece."""

from __future__ import annotations

import pytest

from proxy.dialects.joint import Joint, NotMore

SENT = "Once upon a"


def said(*pieces: str, cut: str = "", echoes: bool = True) -> str:
    joint = Joint(SENT, cut, echoes=echoes)
    return "".join([*map(joint.take, pieces), joint.rest()])


@pytest.mark.parametrize("pieces", [("Once ", "upon"), ("Once ", "more"), ("O",)], ids=str)
def test_an_echo_that_is_left_halfway_is_no_second_half(pieces: tuple[str, ...]) -> None:
    with pytest.raises(NotMore):
        said(*pieces)


@pytest.mark.parametrize(
    ("pieces", "rest"),
    [
        (("Once ", "upon", " a time"), " time"),
        (("Once upon a time",), " time"),
        (("Once ", "upon a"), ""),
        ((" time",), " time"),
        (("time",), "time"),
    ],
    ids=str,
)
def test_an_echo_is_left_out_and_need_not_come(pieces: tuple[str, ...], rest: str) -> None:
    assert said(*pieces) == rest


def test_a_short_beginning_may_come_by_chance_where_no_echo_is_expected() -> None:
    assert said("Once ", "more", echoes=False) == "Once more"


def test_white_space_that_was_cut_off_comes_back_once() -> None:
    assert said(SENT, " time", cut=" ") == "time"
    assert said(" time", cut=" ", echoes=False) == "time"
