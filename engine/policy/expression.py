"""CEL where a policy uses it: an expression or a message with expressions in it, bound to its place in a file.

Whether an expression may read the facts of a candidate is decided by where it stands. Which facts those are, the facts'
schema says (`x-phase: candidate`); a request's own phase knows no model yet, so reading one there is an error at load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.policy.cel import (
    CelProblem,
    CelProblems,
    Checked,
    ExprError,
    Program,
    Struct,
    check,
    environment_from_schema,
    parse,
)
from engine.policy.cel.types import BOOL, DYN, Type, struct
from engine.policy.decision import Facts
from engine.policy.mangled import CUT, QUOTE_IT, comment_after, empty_block, looks_cut
from engine.policy.nodes import Node
from engine.policy.problems import Level, Problem, Span

Phase = Literal["request", "candidate"]
Expect = Literal["bool", "string", "double", "int", "any"]


@dataclass(slots=True, frozen=True, eq=False)
class Expression:
    """A checked and compiled expression."""

    source: str
    checked: Checked
    program: Program
    eval: Callable[[Mapping[str, Any]], Any]
    """Its value for these facts. Raises ExprError."""
    candidate: bool
    """It reads facts of a candidate."""
    span: Span | None = None
    """Where it stands; None for one of the gateway's own."""

    @property
    def refs(self) -> frozenset[str]:
        """Dotted paths of the facts it reads."""
        return self.checked.refs

    def holds(self, facts: Mapping[str, Any]) -> bool:
        """Whether it is true; a condition without a value is not."""
        try:
            return self.eval(facts) is True
        except ExprError:
            return False


@dataclass(slots=True, frozen=True, eq=False)
class Template:
    """A message with `${expression}` parts."""

    parts: tuple[str | Expression, ...]

    @property
    def candidate(self) -> bool:
        return any(isinstance(part, Expression) and part.candidate for part in self.parts)

    def text(self, facts: Mapping[str, Any]) -> str:
        """The message; a part without a value is a question mark."""
        return "".join(part if isinstance(part, str) else _said(part, facts) for part in self.parts)


def _said(part: Expression, facts: Mapping[str, Any]) -> str:
    try:
        value = part.eval(facts)
    except ExprError:
        return "?"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@dataclass(slots=True)
class Scope:
    """The facts that expressions of one policy may read, and what was found wrong with them."""

    environment: Struct
    candidate_paths: tuple[str, ...]
    problems: list[Problem] = field(default_factory=list)
    variables: Struct = field(default_factory=lambda: struct({}))
    later: set[str] = field(default_factory=set)
    """Variables of the policy that are not defined yet."""
    read: set[str] = field(default_factory=set)
    """Dotted paths of the facts that its expressions read."""
    budget: Type | None = None
    """What is known of each budget."""

    @classmethod
    def of(
        cls, schema: Mapping[str, Any], signals: Mapping[str, Any], problems: list[Problem], *, partial: bool = False
    ) -> Scope:
        """`schema` is that of the facts; `signals` are the policy's own. No variable is known yet.

        Of a policy that is there in part only, any signal and variable may exist.
        """
        environment = environment_from_schema(schema)
        environment = environment.with_field("signals", struct(dict.fromkeys(signals, BOOL), BOOL if partial else None))
        variables = struct({}, DYN if partial else None)
        environment = environment.with_field("vars", variables)
        return cls(environment, tuple(_candidate_paths(schema, "")), problems, variables)

    def define(self, name: str, kind: Type) -> None:
        """From now on expressions may read `vars.NAME`."""
        self.later.discard(name)
        self.variables = self.variables.with_field(name, kind)
        self.environment = self.environment.with_field("vars", self.variables)

    def define_unknown(self, name: str) -> None:
        """A variable whose expression is wrong: what reads it is not told of it again."""
        self.define(name, DYN)

    def expression(self, node: Node, *, expect: Expect = "bool", phase: Phase = "candidate") -> Expression | None:
        """The expression that `node` holds; None when it is wrong, which `problems` then tells."""
        return self._compile(node, _text(node), 0, expect, phase)

    def template(self, node: Node, *, phase: Phase = "candidate") -> Template | None:
        """The message that `node` holds; None when one of its expressions is wrong."""
        text = str(node.value)
        parts: list[str | Expression] = []
        sound = True
        for start, end, inside in _pieces(text):
            if not inside:
                parts.append(text[start:end])
                continue
            part = self._compile(node, text[start:end], start, "any", phase)
            sound = sound and part is not None
            parts += [part] if part is not None else []
        return Template(tuple(parts)) if sound else None

    def own(self, source: str, *, span: Span | None = None) -> Expression:
        """A condition that the gateway words, for `span` if it stands for something there.

        Raises CelProblems, which would be a defect of ours.
        """
        checked = check(parse(source), self.environment, "bool")
        return _bound(source, checked, candidate=True, span=span)

    def own_template(self, text: str) -> Template:
        """A message that the gateway words. Raises CelProblems."""
        parts = (
            _bound(piece, check(parse(piece), self.environment, "any"), candidate=True, span=None) if inside else piece
            for piece, inside in ((text[start:end], inside) for start, end, inside in _pieces(text))
        )
        return Template(tuple(parts))

    def budgets(self, names: Iterable[str], *, partial: bool = False) -> None:
        """The policy's budgets: expressions may read `budget.NAME` of these and, unless `partial`, of no others."""
        have = self.environment.fields["budget"]
        assert isinstance(have, Struct)
        kind = self.budget = self.budget or have.rest
        assert kind is not None, "the schema says what a budget is"
        known = struct({**have.fields, **dict.fromkeys(names, kind)}, kind if partial else None)
        self.environment = self.environment.with_field("budget", known)

    def _compile(self, node: Node, source: str, offset: int, expect: Expect, phase: Phase) -> Expression | None:
        def tell(problem: CelProblem, *, warning: bool = False) -> None:
            start, end = node.at(problem.start + offset, problem.end + offset)
            message, hint = problem.message, problem.hint
            if problem.kind == "cel-syntax" and comment_after(node):
                hint = f"YAML ends the text at ' #': {QUOTE_IT}"
            if problem.kind == "cel-field" and (name := source[problem.start : problem.end]) in self.later:
                message, hint = f"vars.{name} is not known yet", "a variable may read those above it"
            level: Level = "warning" if warning else "error"
            self.problems.append(node.source.problem(start, end, problem.kind, message, hint=hint, level=level))

        if empty_block(node):
            return None
        try:
            checked = check(parse(source), self.environment, expect)
        except CelProblems as error:
            for problem in error.problems:
                tell(problem)
            return None
        self.read |= checked.refs
        for problem in checked.warnings:
            tell(problem, warning=True)
        if looks_cut(node):
            self.problems.append(node.problem("yaml-unquoted-cel", CUT, hint=QUOTE_IT, level="warning"))
        early = [use for use in checked.uses if self._of_candidate(use.path)]
        if early and phase == "request":
            for use in early:
                message = f"{use.path} belongs to a candidate, and none is known here yet"
                hint = "ask in gate.require or gate.deny, which see every candidate"
                start, end = node.at(use.start + offset, use.end + offset)
                self.problems.append(node.source.problem(start, end, "cel-phase", message, hint=hint))
            return None
        return _bound(source, checked, candidate=bool(early), span=node.span)

    def _of_candidate(self, path: str) -> bool:
        return any(path == late or path.startswith(late + ".") for late in self.candidate_paths)


def _bound(source: str, checked: Checked, *, candidate: bool, span: Span | None) -> Expression:
    program = checked.program()
    return Expression(source, checked, program, program.evaluator(), candidate, span)


def evaluate(expression: Expression, facts: Facts) -> tuple[bool | None, str]:
    """(value, why there is none) of a condition."""
    try:
        return expression.eval(facts), ""
    except ExprError as error:
        return None, error.detail


def _candidate_paths(schema: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, below in schema.get("properties", {}).items():
        if below.get("x-phase") == "candidate":
            yield prefix + name
        else:
            yield from _candidate_paths(below, f"{prefix}{name}.")


def _text(node: Node) -> str:
    if isinstance(node.value, bool):
        return "true" if node.value else "false"
    return str(node.value) if isinstance(node.value, str) else node.text


def _pieces(text: str) -> Iterator[tuple[int, int, bool]]:
    """(start, end, is an expression) of a message; an expression that is not closed goes to the end."""
    at = 0
    while (opened := text.find("${", at)) >= 0:
        yield at, opened, False
        closed = _closing(text, opened + 2)
        yield opened + 2, closed, True
        at = min(closed + 1, len(text))
    yield at, len(text), False


def _closing(text: str, at: int) -> int:
    """Where the brace that closes the expression from `at` stands; braces in quotes and maps do not count."""
    depth, quote = 0, ""
    while at < len(text):
        char = text[at]
        if quote:
            at += char == "\\"
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "{":
            depth += 1
        elif char == "}":
            if not depth:
                return at
            depth -= 1
        at += 1
    return len(text)
