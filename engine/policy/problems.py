"""Problems found in a policy: where, which rule of the checker, what is wrong, what to do.

A `Problem` is data; the command line renders it (text, JSON, GitHub, SARIF, JUnit). Positions count from 1, columns in
characters, `end` is exclusive. Problems are collected, never raised one by one: a user sees all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from engine.llm.errors import GatewayError

Level = Literal["error", "warning", "note"]


@dataclass(slots=True, frozen=True, order=True)
class Span:
    """A stretch of one file."""

    file: str
    line: int = 1
    column: int = 1
    end_line: int = 1
    end_column: int = 2


@dataclass(slots=True, frozen=True)
class Problem:
    span: Span
    rule: str
    """Stable id of the check: `yaml-duplicate`, `schema-unknown-key`, `cel-field`, `graph-exit` …"""
    message: str
    level: Level = "error"
    hint: str = ""
    """What to do, as a sentence; empty when the message says it."""
    excerpt: str = ""
    """The source line, for the caret."""


class PolicyInvalid(GatewayError):
    """A policy that can't be used; `problems` is not empty and sorted by place."""

    code = "policy_invalid"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.span, p.rule)))
        first = next((p for p in self.problems if p.level == "error"), self.problems[0])
        where = f"{first.span.file}:{first.span.line}:{first.span.column}"
        more = len(self.problems) - 1
        super().__init__(f"{where}: {first.message}" + (f" (and {more} more)" if more else ""))
