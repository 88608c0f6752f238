"""What is printed, and how."""

from __future__ import annotations

import io

import pytest

from proxy.cli import output


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_columns_line_up_and_the_last_is_not_padded(capsys: pytest.CaptureFixture[str]) -> None:
    output.say_table(("NAME", "N"), [("a", "1"), ("long name", "22")])
    assert capsys.readouterr().out == "NAME       N\na          1\nlong name  22\n"


def test_no_cell_drives_the_terminal_or_breaks_the_line() -> None:
    assert output.cell("a\nb\x1b[31m\tc\x00") == "a b\ufffd[31m c\ufffd"
    assert output.cell(None) == ""
    assert output.cell(True) == "yes"


@pytest.mark.parametrize(
    ("stream", "environ", "painted"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(stream: io.StringIO, environ: dict[str, str], painted: bool) -> None:
    assert (output.paint("x", "red", stream, environ) != "x") is painted
