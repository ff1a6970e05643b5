"""Tables as plain text: aligned, wrapped inside their columns, never wider than asked."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcrit.cli import _console as console
from segcrit.core.widths import columns_of

WORD = st.text(alphabet="abc é∂", min_size=0, max_size=30)


def test_plain_table_snapshot() -> None:
    rows = [
        ["ce", "1.5", "every pixel counts the same and the gradients are stable"],
        ["dice", "-12.25", "small regions"],
    ]
    assert console.plain_table(["name", "value", "use when"], rows, [False, True, False], 44) == [
        "  name   value  use when",
        "  ----  ------  ----------------------------",
        "  ce       1.5  every pixel counts the same",
        "                and the gradients are stable",
        "  dice  -12.25  small regions",
    ]


def test_titles_of_numbers_are_wrapped_before_names_are_broken() -> None:
    rows = [["ce(unlabelled=True)", "0.125"], ["dice", "0.5"]]
    assert console.plain_table(["name", "foreground IoU"], rows, [False, True], 33) == [
        "  name                 foreground",
        "                              IoU",
        "  -------------------  ----------",
        "  ce(unlabelled=True)       0.125",
        "  dice                        0.5",
    ]


@given(st.lists(st.lists(WORD, min_size=3, max_size=3), min_size=1, max_size=5), st.integers(50, 120))
def test_no_word_is_lost_and_no_line_is_too_long(rows: list[list[str]], width: int) -> None:
    lines = console.plain_table(["a", "b", "c"], rows, [False, False, False], width)
    assert all(len(line) <= width for line in lines)
    shown = "".join("".join(lines[2:]).split())
    assert sorted(shown) == sorted("".join("".join("".join(row).split()) for row in rows))


@pytest.mark.parametrize(
    ("cells", "numeric"),
    [
        (["1", "-2.5", "3e-7"], True),
        (["(0.5)", "0.25*", "–", ""], True),
        (["12 %", "5%"], True),
        (["1", "one"], False),
        (["", "-"], False),
    ],
)
def test_columns_of_numbers(cells: list[str], numeric: bool) -> None:
    assert console._is_numeric(cells) is numeric


def test_a_pipe_gets_plain_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    console.heading("Title")
    console.table(["a", "empty", "n"], [["x", "", "1"]])
    assert capsys.readouterr().out == "\nTitle\n=====\n  a  n\n  -  -\n  x  1\n"


def test_a_terminal_gets_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    console.heading("Title [bold]")
    console.table(["name", "value"], [["[ce]", "1.5"]])
    text = stream.getvalue()
    for word in ("Title [bold]", "[ce]", "1.5", "name"):
        assert word in text


def test_an_option_is_not_broken_at_its_hyphens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for width in range(40, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        console.text(
            "Predictions seem to count from 1: pass --map-predictions '1:0,2:1,3:2', which is copied as it stands."
        )
        assert "--map-predictions" in capsys.readouterr().out


def test_columns_of_wide_characters_line_up() -> None:
    rows = [["道路", "0.5"], ["植生と低木", "12.25"], ["sky", "1"]]
    lines = console.plain_table(["クラス", "IoU"], rows, [False, True], 40, 0)
    assert len({columns_of(line) for line in lines}) == 1
    narrow = console.plain_table(["c", "text"], [["1", "非常に長い名前のクラスです" * 3]], [True, False], 30, 0)
    assert max(columns_of(line) for line in narrow) <= 30
    assert "".join(line.split()[-1] for line in narrow[2:]) == "非常に長い名前のクラスです" * 3
