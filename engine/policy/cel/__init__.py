"""The expression language of policies: CEL, profile sbgw-cel/1, in three steps.

`parse` takes text to a tree (grammar and profile), `check` takes the tree and the types of the facts to a checked expression
(types, facts it reads, warnings), and `Checked.program()` compiles that to closures. Both of the first two raise CelProblems
with everything they found; evaluation raises ExprError. Plain Python values go in and come out. See `PROFILE` for what the
language has, and `DEVIATIONS` for where it differs from cel-python's evaluator and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine.policy.cel.check import Checker
from engine.policy.cel.compile import Program, compile_program
from engine.policy.cel.facts import Use, facts_used
from engine.policy.cel.fold import UNKNOWN
from engine.policy.cel.nodes import And, Node, Or, walk
from engine.policy.cel.nodes import Literal as LiteralNode
from engine.policy.cel.problems import CelProblem, CelProblems, ErrorKind, ExprError, ProblemKind
from engine.policy.cel.profile import DEVIATIONS, PROFILE
from engine.policy.cel.syntax import Parsed, parse
from engine.policy.cel.trace import STEPS, Step, Trace, trace
from engine.policy.cel.types import Struct, Type, environment_from_schema, plain, struct

__all__ = [
    "DEVIATIONS", "PROFILE", "CelProblem", "CelProblems", "Checked", "ErrorKind", "Expect", "ExprError", "Parsed", "ProblemKind",
    "Program", "Step", "Struct", "Trace", "Type", "Use", "check", "environment_from_schema", "parse", "struct",
]  # fmt: skip

Expect = Literal["bool", "string", "double", "int", "any"]
"""What the place in the policy needs: a condition is `bool`, a number `double` (a constant int will do), `any` takes all."""

_RESULTS = {"bool": "true or false", "string": "a string", "double": "a double", "int": "an int"}


@dataclass(slots=True, frozen=True, eq=False)
class Checked:
    """An expression that fits the facts."""

    source: str
    node: Node
    type: Type
    expect: Expect
    uses: tuple[Use, ...]
    """Every place where a fact is read, in source order: for checks of phases and unused names."""
    constant: bool | int | float | str | None
    """The value when it is the same for all facts, else None."""
    warnings: tuple[CelProblem, ...]
    """`cond-constant`: the condition, or a side of its `&&` or `||`, is always true or always false."""
    types: Mapping[Node, Type]
    constants: Mapping[Node, Any]

    @property
    def refs(self) -> frozenset[str]:
        """Dotted paths of the facts that are read, like `request.tools`; an index that is not fixed ends a path."""
        return frozenset(use.path for use in self.uses)

    def program(self) -> Program:
        """Compile it: do that once, at load."""
        return compile_program(self.source, self.node, types=self.types, constants=self.constants, expect=self.expect)

    def trace(self, activation: Mapping[str, Any], budget: int = STEPS) -> Trace:
        """Evaluate it step by step, for explanations; raises nothing."""
        return trace(self.source, self.node, self.types, activation, budget)


def check(parsed: Parsed, environment: Struct, expect: Expect = "bool") -> Checked:
    """Check the types of a parsed expression against the facts; raises CelProblems with all that is wrong."""
    checker = Checker(parsed.source, environment)
    node = parsed.node
    kind = checker.visit(node)
    if not checker.problems:
        kind = _result(checker, node, expect)
    if checker.problems:
        raise CelProblems(checker.problems)
    constant = checker.constants.get(node)
    return Checked(
        source=parsed.source,
        node=node,
        type=kind,
        expect=expect,
        uses=facts_used(node),
        constant=constant if isinstance(constant, bool | int | float | str) else None,
        warnings=_constant_parts(checker, node) if expect == "bool" else (),
        types=checker.types,
        constants=checker.constants,
    )


def _result(checker: Checker, node: Node, expect: Expect) -> Type:
    if expect == "bool":
        checker.want_bool(node, "a condition")
        return checker.types[node]
    kind = plain(checker.types[node]).kind
    fits = expect == "any" or kind in {expect, "dyn"} or (expect == "double" and checker.promote(node))
    if not fits:
        hint = f"write {expect}({checker.text(node)})" if expect in {"double", "string"} else ""
        checker.problem("cel-type", node, f"this must be {_RESULTS[expect]}; it is {kind}", hint)
    return checker.types[node]


def _constant_parts(checker: Checker, root: Node) -> tuple[CelProblem, ...]:
    """A literal `true` or `false` is meant; anything else that never changes is a mistake."""

    def told(node: Node, what: str) -> list[CelProblem]:
        value = checker.constants.get(node, UNKNOWN)
        if isinstance(node, LiteralNode) or not isinstance(value, bool):
            return []
        word = "true" if value else "false"
        return [
            CelProblem(
                "cond-constant", node.start, node.end, f"{what} is always {word}", "it reads no fact that matters"
            )
        ]

    if checker.constants.get(root, UNKNOWN) is not UNKNOWN:
        return tuple(told(root, "this condition"))
    sides = [side for n in walk(root) if isinstance(n, And | Or) for side in n.operands]
    return tuple(p for side in sides for p in told(side, "this side"))
