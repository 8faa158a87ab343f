"""Which rules and which sides of their conditions the tests have seen true and false.

Only what stands in the tested policy's own file counts: what it inherits is covered by the tests of where it is written.
A rule is covered when each of its conditions has been true and false, as far as it can be both; a route's order, which gives
numbers, when it has been asked for one. Sides are the operands of
`&&` and `||`, the conditions of `?:`, and variables that are conditions themselves; those inside macros are not counted, since
an evaluation keeps only the item that decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from engine.policy.cel.nodes import And, Choice, Macro, Or, children
from engine.policy.cel.nodes import Node as Syntax
from engine.policy.cel.trace import Step
from engine.policy.conditions import Condition, Section, nodes, rewrite
from engine.policy.decision import Decision
from engine.policy.expression import Expression
from engine.policy.model import Policy, Rule
from engine.policy.nodes import Node
from engine.policy.problems import Span

_LONGEST = 60

_NOT_RULES = frozenset({"var", "step"})
"""Sections whose expressions are no rules; their sides count all the same."""


@dataclass(slots=True)
class Tally:
    """How often something was true, false, or without a value."""

    true: int = 0
    false: int = 0
    error: int = 0
    other: int = 0
    """Values that are neither: numbers of an order."""
    possible: frozenset[bool] = frozenset({True, False})
    """What it can be: a constant is always the same, a rule without a condition always true."""

    def add(self, value: Any) -> None:
        """Count `value`; None stands for an error."""
        if value is None:
            self.error += 1
        elif value is True:
            self.true += 1
        elif value is False:
            self.false += 1
        else:
            self.other += 1

    @property
    def reached(self) -> bool:
        return bool(self.true or self.false or self.error or self.other)

    @property
    def missing(self) -> str:
        """What has not been seen, in words; empty when nothing is missing."""
        lacks = [
            word for value, word in ((True, "true"), (False, "false")) if value in self.possible and not self._of(value)
        ]
        if not lacks:
            return "" if self.possible or self.reached else "never reached"
        return f"never {' or '.join(lacks)}" if self.reached else "never reached"

    def _of(self, value: bool) -> int:
        return self.true if value else self.false


@dataclass(slots=True, frozen=True)
class SideCoverage:
    """One side of a condition. `text` is its source on one line."""

    rule: str
    text: str
    span: Span
    tally: Tally


@dataclass(slots=True, frozen=True)
class RuleCoverage:
    """One rule: the tally of each of its conditions by the key it stands under (`when`, `require`)."""

    section: Section
    id: str
    span: Span
    conditions: Mapping[str, Tally]

    @property
    def reached(self) -> bool:
        return any(tally.reached for tally in self.conditions.values())

    @property
    def missing(self) -> str:
        """What has not been seen of it, empty when it is covered."""
        if not self.reached:
            return "never reached"
        said = [(key, tally.missing) for key, tally in self.conditions.items() if tally.missing]
        return ", ".join(f"{key} {words}" if len(self.conditions) > 1 else words for key, words in said)


@dataclass(slots=True, frozen=True)
class Coverage:
    """What the tests of one policy have seen of its file."""

    file: str
    rules: tuple[RuleCoverage, ...]
    sides: tuple[SideCoverage, ...]

    @property
    def percent(self) -> float:
        """Share of rules that are covered, 0 to 100; 100 for a file without rules."""
        return 100.0 * sum(not rule.missing for rule in self.rules) / len(self.rules) if self.rules else 100.0


@dataclass(slots=True, eq=False)
class _Watched:
    """A condition and what has been seen of it."""

    condition: Condition
    expression: Expression
    tally: Tally = field(default_factory=Tally)
    sides: dict[tuple[int, int], Tally] = field(default_factory=dict)

    def note(self, root: Step) -> None:
        self.tally.add(_value(root))
        for step in root.walk():
            side = self.sides.get((step.start, step.end))
            if side is not None and step.outcome != "skipped":
                side.add(_value(step))


class Watch:
    """Listens to decisions of `policy` and counts what its own file's conditions gave."""

    def __init__(self, policy: Policy) -> None:
        self._file = policy.sources[-1]
        self._original = policy
        self._watched: list[_Watched] = []
        self._plain: dict[tuple[str, str], tuple[Section, Rule, Tally]] = {
            (section, rule.id): (section, rule, Tally(possible=frozenset({True})))
            for section, rule in _unconditional(policy)
            if rule.span.file == self._file
        }
        self.policy = rewrite(policy, self._watch)
        """Decides as the original does; ask this one."""

    def decided(self, decision: Decision) -> None:
        """Count rules without a condition: only the record of the decision shows that they were reached."""
        for hit in decision.hits:
            found = self._plain.get((hit.section, hit.id))
            if found is not None:
                found[2].add(_OUTCOMES[hit.outcome])

    def coverage(self) -> Coverage:
        """What has been seen until now."""
        places = nodes(self._original)
        rules = sorted(self._rules(), key=lambda rule: rule.span)
        sides = sorted(self._sides(places), key=lambda side: side.span)
        return Coverage(self._file, tuple(rules), tuple(sides))

    def _watch(self, condition: Condition, expression: Expression) -> Expression:
        span = expression.span
        if span is None or span.file != self._file:
            return expression
        watched = _Watched(condition, expression)
        constant = expression.checked.constant
        if expression.checked.type.kind != "bool":
            watched.tally.possible = frozenset()
        elif isinstance(constant, bool):
            watched.tally.possible = frozenset({constant})
        for node in _sides(expression, alone=condition.section == "var"):
            fixed = expression.checked.constants.get(node)
            possible = frozenset({fixed}) if isinstance(fixed, bool) else frozenset({True, False})
            watched.sides[node.start, node.end] = Tally(possible=possible)
        self._watched.append(watched)

        def listening(facts: Mapping[str, Any]) -> Any:
            watched.note(expression.checked.trace(facts).root)
            return expression.eval(facts)

        return replace(expression, eval=listening)

    def _rules(self) -> Iterator[RuleCoverage]:
        found: dict[tuple[Section, str, Span], dict[str, Tally]] = {}
        for watched in self._watched:
            condition = watched.condition
            if condition.section not in _NOT_RULES:
                found.setdefault((condition.section, condition.id, condition.span), {})[condition.key] = watched.tally
        for (section, name, span), tallies in found.items():
            yield RuleCoverage(section, name, span, tallies)
        for section, rule, tally in self._plain.values():
            yield RuleCoverage(section, rule.id, rule.span, {"when": tally})

    def _sides(self, places: Mapping[Span, Node]) -> Iterator[SideCoverage]:
        for watched in self._watched:
            expression, span = watched.expression, watched.expression.span
            assert span is not None
            node = places.get(span)
            for (start, end), tally in watched.sides.items():
                text = " ".join(expression.source[start:end].split())
                place = node.source.span(*node.at(start, end)) if node is not None else span
                shown = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
                yield SideCoverage(watched.condition.label, shown, place, tally)


def _unconditional(policy: Policy) -> Iterator[tuple[Section, Rule]]:
    sections: tuple[tuple[Section, Iterable[Any]], ...] = (
        ("override", policy.overrides), ("classify", policy.classify), ("deny", policy.deny)
    )  # fmt: skip
    for section, rules in sections:
        yield from ((section, rule) for rule in rules if rule.when is None)


_OUTCOMES: Mapping[str, bool | None] = {"true": True, "false": False, "error": None}


def _value(step: Step) -> Any:
    return step.value if step.outcome == "value" else None


def _sides(expression: Expression, *, alone: bool) -> Iterator[Syntax]:
    """The sides in an expression; with `alone`, one that is a condition without sides is its own."""
    found = list(_operands(expression.checked.node))
    if not found and alone and expression.checked.type.kind == "bool":
        found = [expression.checked.node]
    yield from found


def _operands(node: Syntax) -> Iterator[Syntax]:
    match node:
        case And(operands=operands) | Or(operands=operands):
            yield from operands
        case Choice(condition=condition):
            yield condition
        case Macro(source=source):
            yield from _operands(source)
            return
    for child in children(node):
        yield from _operands(child)
