"""Text that fits its terminal."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cli.layout import Columns, cells, columns, cut, pad, row


@given(head=st.text(max_size=40), parts=st.lists(st.text(max_size=120), max_size=5), width=st.integers(40, 140))
@settings(deadline=None, max_examples=200)
def test_rows_are_never_wider(head: str, parts: list[str], width: int) -> None:
    """Whatever stands in a row, no line passes the width, and nothing controls the terminal."""
    lines = row(head, parts, indent=12, width=width)
    assert [line for line in lines if cells(line) > width] == []
    assert "\x1b" not in "".join(lines)


def test_rows_wrap_under_themselves() -> None:
    """Further lines start where the first one's text did."""
    assert row("label", ["one two", "three"], indent=8, width=18) == ["label   one two", "        · three"]


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("模型名", 5, "模型…"), ("e\u0301a", 2, "e\u0301a")],
)
def test_cut(text: str, width: int, shown: str) -> None:
    """Wide characters take two columns, combining ones none."""
    assert cut(text, width) == shown
    assert cells(pad(shown, 9)) == 9


@pytest.mark.parametrize(("set_to", "found"), [("80", 80), ("20", 60), ("400", 140)])
def test_columns(monkeypatch: pytest.MonkeyPatch, set_to: str, found: int) -> None:
    """The terminal's width, within what can be read."""
    monkeypatch.setenv("COLUMNS", set_to)
    assert columns() == found


def test_columns_of_a_table_that_goes_on() -> None:
    """Numbers stand under each other, a wider cell widens its column from then on, and no line ends in spaces."""
    columns = Columns(["name", "n"], right=[1])
    columns.widen([["opencode", "100"]])
    lines = [
        columns.line(row) for row in (["name", "n"], ["aider", "7"], ["claude-code", "12345"], ["x", "1"], ["語", ""])
    ]
    assert lines == [
        "name        n",
        "aider       7",
        "claude-code  12345",
        "x                1",
        "語",
    ]
