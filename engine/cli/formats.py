"""Problems in the formats that tools read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.policy.problems import Problem


def as_json(problem: Problem) -> dict[str, Any]:
    """One problem as plain data; lines and columns count from 1, the end is exclusive."""
    span = problem.span
    return {
        "file": span.file,
        "line": span.line,
        "column": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
        "level": problem.level,
        "rule": problem.rule,
        "message": problem.message,
        "hint": problem.hint,
    }


def as_github(problems: Iterable[Problem]) -> str:
    """Workflow commands that mark the lines of a pull request."""
    kinds = {"error": "error", "warning": "warning", "note": "notice"}
    return "\n".join(
        f"::{kinds[p.level]} file={_property(p.span.file)},line={p.span.line},col={p.span.column},"
        f"endLine={p.span.end_line},endColumn={p.span.end_column},title={_property(p.rule)}::"
        + _escaped(p.message + (f" ({p.hint})" if p.hint else ""))
        for p in problems
    )


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
