"""The shipped policies' tests hold every condition: bend any one of them, and some test fails.

Mutants of each condition that a shipped policy's own file writes: the whole of it negated; each operand of `&&`, `||` and `?:`
negated, and taken out; each bound moved by one (`<` for `<=`); each item of a list replaced. Of an order, which gives numbers:
turned round, each sum a difference and each product a quotient, each number twice as large. The policy's own tests must notice.
Exceptions are listed with their reasons, and must be needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import pytest

from engine.policy import facts
from engine.policy.cel import check, parse
from engine.policy.cel.nodes import And, Binary, Choice, ListLiteral, Literal, Node, Or, walk
from engine.policy.conditions import Condition, conditions, rewrite
from engine.policy.decide import finish
from engine.policy.expression import Expression, Scope
from engine.policy.model import Policy
from engine.policy.shipped import shipped_folder, shipped_policies
from engine.policy.testing import Suite, load_suite, run_suite
from engine.policy.testing.expect import compare
from engine.policy.testing.given import world
from engine.policy.testing.run import usual

NAMES = shipped_policies()

BOUNDS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
SUMS = {"+": "-", "-": "+", "*": "/", "/": "*"}

EXPERIMENTAL = 'model.claude_code_safe == "experimental" || model.codex_safe == "experimental"'

ELSEWHERE = {
    ("default", f"agent-safe require: {what}"): "thrifty"
    for what in (
        f"settings.experimental && ({EXPERIMENTAL}) taken out",
        f"{EXPERIMENTAL} negated",
        f"{EXPERIMENTAL} taken out",
        'model.claude_code_safe == "experimental" negated',
        'model.codex_safe == "experimental" negated',
    )
}
"""(policy, mutant) → the shipped policy whose tests must notice it: default.yaml allows no experimental models, thrifty.yaml
inherits the rule and does."""

_FLOOR = "floor.client-safe already asks more of the models of these two clients than the rule does"
_BOTH = "no shipped row marks a model otherwise for Claude Code than for Codex"
_FAR = "no cost of a session comes near it"
_LOGIN = "the rows of the callers' own logins are off until a policy switches them on"

IDLE = (
    {
        ("default", 'agent-safe when: !(client.name in ["claude-code", "codex"]) taken out'): _FLOOR,
        ("default", 'agent-safe when: "claude-code" replaced'): _FLOOR,
        ("default", 'agent-safe when: "codex" replaced'): _FLOOR,
        ("default", 'agent-safe require: model.claude_code_safe == "yes" taken out'): _BOTH,
        ("default", 'agent-safe require: model.codex_safe == "yes" taken out'): _BOTH,
        ("default", 'agent-safe require: model.claude_code_safe == "experimental" taken out'): _BOTH,
        ("default", 'agent-safe require: model.codex_safe == "experimental" taken out'): _BOTH,
        ("strict", 'no-experiments require: model.claude_code_safe == "yes" taken out'): _BOTH,
        ("strict", 'no-experiments require: model.codex_safe == "yes" taken out'): _BOTH,
        ("strict", "no-secrets-out when: !model.local taken out"): "first-party leaves no local model",
        ("strict", 'first-party require: "anthropic-login" replaced'): _LOGIN,
        ("strict", 'first-party require: "openai-login" replaced'): _LOGIN,
    }
    | {
        ("default", f"{name} order order: 1000.0 doubled"): _FAR
        for name in ("tool_heavy", "long_context", "deep_reasoning")
    }
    | {("thrifty", "fast_code order order: 1000.0 doubled"): _FAR}
)
"""(policy, mutant) → why no request can tell it from the condition as it is, with the rows and settings that are shipped."""


@dataclass(frozen=True)
class Mutant:
    """A condition with one thing changed."""

    condition: Condition
    what: str
    source: str

    def __str__(self) -> str:
        return f"{self.condition.label} {self.condition.key}: {self.what}"


@lru_cache
def suite(name: str) -> Suite:
    found, problems = load_suite(shipped_folder("policies") / f"{name}.test.yaml")
    assert found is not None, problems
    return found


def mutants(name: str) -> list[Mutant]:
    """Of every condition that the policy's own file writes."""
    policy = suite(name).policy
    return [
        mutant
        for condition, expression in conditions(policy)
        if condition.span.file == policy.sources[-1] and expression.checked.type.kind in ("bool", "double")
        for mutant in bent(condition, expression)
    ]


def bent(condition: Condition, expression: Expression) -> Iterator[Mutant]:
    """All mutants of one condition."""
    source = expression.source

    def put(node: Node, text: str, what: str) -> Mutant:
        written = " ".join(source[node.start : node.end].split())
        return Mutant(condition, f"{written} {what}", source[: node.start] + text + source[node.end :])

    ordering = expression.checked.type.kind == "double"
    yield (
        Mutant(condition, "turned round", f"-({source})") if ordering else Mutant(condition, "negated", f"!({source})")
    )
    for node in walk(expression.checked.node):
        match node:
            case And(operands=sides) | Or(operands=sides):
                neutral = "true" if isinstance(node, And) else "false"
                for side in sides:
                    yield put(side, f"!({source[side.start : side.end]})", "negated")
                    yield put(side, neutral, "taken out")
            case Choice(condition=side):
                yield put(side, f"!({source[side.start : side.end]})", "negated")
            case Binary(op=op, op_start=at) if op in BOUNDS:
                moved = source[node.start : at] + BOUNDS[op] + source[at + len(op) : node.end]
                yield put(node, moved, "moved by one")
            case Binary(op=op, op_start=at) if ordering and op in SUMS:
                yield put(
                    node, source[node.start : at] + SUMS[op] + source[at + len(op) : node.end], f"{SUMS[op]} for {op}"
                )
            case Literal(value=float(number)) if ordering and number:
                yield put(node, f"{2.0 * number}", "doubled")
            case ListLiteral(items=items):
                yield from (put(item, '"-"', "replaced") for item in items)


def mutated(policy: Policy, mutant: Mutant) -> Policy:
    """`policy` with the mutant in the place of its condition."""
    scope = Scope.of(facts.schema(), policy.signals, [])
    for name, expression in policy.vars:
        scope.define(name, expression.checked.type)

    def change(condition: Condition, expression: Expression) -> Expression:
        if condition != mutant.condition:
            return expression
        checked = check(parse(mutant.source), scope.environment, expression.checked.expect)
        program = checked.program()
        return replace(expression, source=mutant.source, checked=checked, program=program, eval=program.eval)

    return rewrite(policy, change)


def noticed(name: str, mutant: Mutant) -> bool:
    """Whether a test of the policy fails with the mutant in it."""
    tests = suite(name)
    policy = mutated(tests.policy, mutant)
    for scenario in tests.scenarios:
        around = world(policy, scenario.given)
        case, _ = usual(around.policy)(around.facts, around.availability)
        if compare(scenario, finish(case), case):
            return True
    return False


@pytest.mark.parametrize("name", NAMES)
def test_every_bent_condition_is_noticed(name: str) -> None:
    """Nothing in a shipped policy's conditions can be turned round, taken out or moved without a test that fails."""
    survivors = [
        str(mutant)
        for mutant in mutants(name)
        if (name, str(mutant)) not in IDLE and not noticed(ELSEWHERE.get((name, str(mutant)), name), mutant)
    ]
    assert survivors == []


@pytest.mark.parametrize("name", NAMES)
def test_exceptions_are_needed(name: str) -> None:
    """Each exception is a mutant that exists, and that the policy's own tests can't notice."""
    needed = {(name, str(mutant)) for mutant in mutants(name) if not noticed(name, mutant)}
    assert {key for key in (*IDLE, *ELSEWHERE) if key[0] == name} == needed


def test_nothing_is_idle_for_negation() -> None:
    """Turning a condition or an operand round is always noticed; only what is taken out or replaced may be idle."""
    assert [what for _, what in IDLE if what.endswith("negated")] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_is_seen_true_and_false(name: str) -> None:
    """The tests of a shipped policy pass, and cover all of its rules."""
    report = run_suite(suite(name), covering=True)
    assert report.failed == ()
    assert report.coverage is not None
    assert {rule.id: rule.missing for rule in report.coverage.rules if rule.missing} == {}
    assert report.coverage.percent == 100


def test_mutants_are_many() -> None:
    """A check that makes no mutants would pass as well."""
    assert len(mutants("default")) > 100
