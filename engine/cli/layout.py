"""Text that fits its terminal: widths in cells, cutting, and rows whose second column wraps under itself."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from engine.cli.screen import safe

NARROWEST, PLAIN, WIDEST = 60, 100, 140
"""Columns: the least that is laid out for, what is taken when nobody says, and beyond which lines are hard to read."""


def columns() -> int:
    """Columns of the terminal; 100 when there is none."""
    return max(NARROWEST, min(shutil.get_terminal_size((PLAIN, 24)).columns, WIDEST))


def cells(text: str) -> int:
    """Columns that `text` takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns, with … where something is gone."""
    if cells(text) <= width:
        return text
    kept, used = [], 0
    for char in text:
        used += cells(char)
        if used > width - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


def pad(text: str, width: int) -> str:
    """`text` filled up to `width` columns."""
    return text + " " * max(0, width - cells(text))


def row(head: str, parts: Iterable[str], *, indent: int, width: int) -> list[str]:
    """`head`, then `parts` from column `indent` with dots between them, broken between words and under themselves."""
    lines: list[str] = []
    line = pad(safe(head), indent)
    if cells(line) > indent:
        lines.append(cut(line.rstrip(), width))
        line = " " * indent
    used = False
    for part in filter(None, parts):
        between = " · " if used else ""
        for word in safe(part).split(" "):
            word = cut(word, width - indent - 2)  # a dot may have to stand before it
            if used and cells(line) + cells(between) + cells(word) > width:
                lines.append(line.rstrip())
                line, between = " " * indent, between.lstrip()
            line += between + word
            between, used = " ", True
    return [*lines, line.rstrip()]


SHORTEST = 16
"""Columns that a name is cut down to at most, before others of its row are left out."""


def kept(widths: Sequence[int], width: int, *, fixed: Collection[int], spare: Iterable[int], between: int) -> list[int]:
    """Which columns of a table, by their full widths, have room in `width`: those in `spare` are left out first, in that order.

    Columns in `fixed` need all of their width, others `SHORTEST`; `between` stands between two.
    """
    needed = {at: full if at in fixed else min(full, SHORTEST) for at, full in enumerate(widths)}
    for at in spare:
        if sum(needed.values()) + between * (len(needed) - 1) <= width:
            break
        del needed[at]
    return list(needed)


class Columns:
    """Lines of a table whose end nobody knows yet: a column is as wide as the widest cell it has held so far.

    `right` names the columns aligned right. Cells are made safe for a terminal.
    """

    def __init__(self, headings: Iterable[str], *, right: Iterable[int] = ()) -> None:
        self._widths = [cells(heading) for heading in headings]
        self._right = frozenset(right)

    def widen(self, rows: Iterable[Iterable[str]]) -> None:
        """Make room for `rows` at once, so that lines printed before them stand over them."""
        for row in rows:
            for at, cell in enumerate(row):
                self._widths[at] = max(self._widths[at], cells(safe(cell)))

    def line(self, row: Iterable[str]) -> str:
        """One line, without the spaces at its end."""
        row = list(row)
        self.widen([row])
        told = []
        for at, (cell, width) in enumerate(zip(map(safe, row), self._widths, strict=True)):
            space = " " * (width - cells(cell))
            told.append(space + cell if at in self._right else cell + space)
        return "  ".join(told).rstrip()
