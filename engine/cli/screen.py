"""What every command prints through: text made safe for a terminal, tables, and errors with what to do next."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn
from unicodedata import category

import click
import orjson

from engine.policy.problems import PolicyInvalid

OK, PROBLEMS, USAGE, CANNOT_RUN = 0, 1, 2, 3
"""Exit codes."""

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of Unicode that drive a terminal, turn the direction of writing, end a line, or are not seen at all."""

_JOINERS = "\u00ad\u200c\u200d"
"""Of them, what words and emoji are written with."""


def safe(text: str) -> str:
    """`text` without control, direction and unseen characters: recorded names may come from anyone (CWE-150)."""
    if text.isprintable():
        return text
    return "".join(c if c in _JOINERS or category(c) not in _UNSEEN else "\ufffd" for c in text)


def safe_lines(text: str) -> str:
    """The same for a text of several lines, which stay apart, and indented as they are."""
    return "".join(c if c in "\n\t" else safe(c) for c in text)


def json_text(value: Any, *, indent: bool = False) -> str:
    """JSON for a terminal: what `safe` would replace is escaped, so it reads the same and does nothing."""
    text = orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 if indent else None).decode()
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(c if c == "\n" or safe(c) == c else json.dumps(c)[1:-1] for c in text)


def lines(rows: Sequence[Any], limit: int) -> None:
    """One JSON object a line, at most `limit` of `rows`; that there are more is said beside them, where no reader of lines looks."""
    for row in rows[:limit]:
        click.echo(json_text(row))
    if len(rows) > limit:
        click.echo(f"the newest {limit:,}; --limit shows more", err=True)


def fail(message: str, hint: str = "", code: int = CANNOT_RUN) -> NoReturn:
    """Print one clear line, what to do about it, and stop."""
    click.echo(click.style("error: ", fg="red", bold=True) + safe(message), err=True)
    if hint:
        click.echo("  " + safe(hint), err=True)
    sys.exit(code)


def invalid_policy(error: PolicyInvalid) -> NoReturn:
    """Print every problem of a policy and stop."""
    from engine.policy.render import render_all

    click.echo(safe_lines(render_all(error.problems)), err=True)
    sys.exit(PROBLEMS)


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Iterable[int] = (),
    whole: Iterable[int] = (),
    spare: Sequence[int] = (),
) -> None:
    """A plain table; columns in `right` are aligned right. On a narrow terminal they and those in `whole` stay as they are,
    columns in `spare` are left out, the first one first, and named below, and texts go on in a further line.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from engine.cli.layout import cells, kept

    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = 400  # a pipe has no width: nothing is wrapped
    shown = [[safe(cell) for cell in row] for row in rows]
    widths = [max(map(cells, column)) for column in zip(headings, *shown, strict=True)]
    numbers = set(right)
    fixed = numbers | set(whole)
    columns = kept(widths, console.width, fixed=fixed, spare=spare, between=_BETWEEN)
    view = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for at in columns:
        view.add_column(
            headings[at],
            justify="right" if at in numbers else "left",
            overflow="fold" if at not in numbers else "ellipsis",
            no_wrap=at in fixed,
            min_width=widths[at] if at in fixed else None,
        )
    for row in shown:
        view.add_row(*(Text(row[at]) for at in columns))
    console.print(view)
    if gone := [heading for at, heading in enumerate(headings) if at not in columns]:
        console.print(f"no room for: {', '.join(gone)}", style="dim")


_BETWEEN = 3
"""Columns between two of a table."""


def money(usd: float | None) -> str:
    """A cost for people: unknown is `?`, never 0."""
    if usd is None:
        return "?"
    if 0 < usd < 0.001:
        return f"${usd:.6f}"
    return f"${usd:.4f}" if usd < 1 else f"${usd:.2f}"
