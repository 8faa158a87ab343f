"""Problems for people and programs: plain text with a caret, JSON, and the annotations of a CI."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.policy.problems import Problem

_WIDEST = 100


def render(problem: Problem, source: str = "") -> str:
    """`file:line:col: error[rule]: message`, then the excerpt and the hint, without a line end.

    `source` is the file's text, needed only for a problem without an excerpt.
    """
    span = problem.span
    head = f"{span.file}:{span.line}:{span.column}: {problem.level}[{problem.rule}]: {problem.message}"
    line = problem.excerpt or _line(source, span.line)
    width = (span.end_column if span.end_line == span.line else len(line) + 1) - span.column
    shown = _excerpt(line, span.line, span.column, max(1, width)) if line.strip() else []
    hint = [f"       hint: {problem.hint}"] if problem.hint else []
    return "\n".join([head, *shown, *hint])


def render_all(problems: Iterable[Problem]) -> str:
    """All of them, sorted by place, with a count at the end."""
    ordered = sorted(problems, key=lambda p: (p.span, p.rule))
    counts = [(sum(p.level == level for p in ordered), level) for level in ("error", "warning", "note")]
    words = [f"{count} {level}{'s' if count != 1 else ''}" for count, level in counts if count]
    return "\n".join([*map(render, ordered), ", ".join(words) or "no problems"])


def in_one_line(problem: Problem) -> str:
    """The message and what to do about it."""
    end = " " if problem.message.endswith(("?", "!", ".")) else ". "
    return f"{problem.message}{end}{problem.hint}" if problem.hint else problem.message


def problem_json(problem: Problem) -> dict[str, Any]:
    """A problem as plain data; positions count from 1, the end is exclusive. Fields may be added, never taken away."""
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


def render_github(problems: Iterable[Problem]) -> str:
    """Workflow commands that GitHub shows beside the lines of a change."""
    return "\n".join(_annotation(problem) for problem in sorted(problems, key=lambda p: (p.span, p.rule)))


def _annotation(problem: Problem) -> str:
    span = problem.span
    level = "notice" if problem.level == "note" else problem.level
    message = in_one_line(problem)
    place = f"file={_property(span.file)},line={span.line},col={span.column},endLine={span.end_line}"
    return f"::{level} {place},title={_property(problem.rule)}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def _excerpt(line: str, number: int, column: int, width: int) -> list[str]:
    """The line and its carets; of a long line, the part around the place."""
    start = 0 if len(line) <= _WIDEST else max(0, column - 1 - _WIDEST // 3)
    part = line[start : start + _WIDEST].replace("\t", " ")
    left, right = "…" if start else "", "…" if start + _WIDEST < len(line) else ""
    at = column - 1 - start + len(left)
    carets = "^" * max(1, min(width, len(left) + len(part) - at))
    return [f"{number:>5} | {left}{part}{right}", f"      | {' ' * at}{carets}"]


def _line(source: str, number: int) -> str:
    lines = source.splitlines()
    return lines[number - 1] if 0 < number <= len(lines) else ""
