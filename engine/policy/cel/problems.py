"""What can be wrong with an expression: problems found at load, faults found while evaluating.

A `CelProblem` points into the expression's source by character offsets (`end` is exclusive); whoever loaded the policy maps
them to a file. An `ExprError` names the place and the kind of a failure. Its text is made of the expression's own words,
type names and lengths, never of strings that came with a request, so that it may be logged, recorded and sent to a client.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

ProblemKind = Literal[
    "cel-syntax", "cel-unknown", "cel-field", "cel-type", "cel-call", "cel-limit", "cel-regex", "cond-constant"
]  # fmt: skip
"""Stable ids of the checks, the same words that `sbgw check` prints and a user may look up."""

ErrorKind = Literal["missing", "type", "overflow", "zero", "index", "value", "steps"]
"""`missing` no such field or key · `type` an operand of the wrong type · `overflow` outside 64 bits or the calendar · `zero`
division by zero · `index` outside a list · `value` text that is no number, time, duration or pattern · `steps` the budget."""


@dataclass(slots=True, frozen=True)
class CelProblem:
    """One finding. `message` says what is wrong there, `hint` what to write or what exists instead (may be empty)."""

    kind: ProblemKind
    start: int
    end: int
    message: str
    hint: str = ""


class CelProblems(Exception):
    """An expression that can't be used. `problems` is not empty and sorted by place."""

    def __init__(self, problems: Iterable[CelProblem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.start, p.end, p.kind)))
        super().__init__("; ".join(p.message for p in self.problems))


class Fault(Exception):
    """An operation that has no value for these operands; the evaluator that knows the place turns it into an ExprError."""

    def __init__(self, kind: ErrorKind, detail: str) -> None:
        self.kind: ErrorKind = kind
        self.detail = detail
        super().__init__(detail)


class ExprError(Exception):
    """An expression that has no value for these facts: `span` is (start, end) in its source, `detail` one short sentence."""

    def __init__(self, kind: ErrorKind, span: tuple[int, int], detail: str) -> None:
        self.kind: ErrorKind = kind
        self.span = span
        self.detail = detail
        super().__init__(detail)
