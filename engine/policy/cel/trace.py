"""The careful evaluator: every subexpression's outcome with its place, and which of them decided.

It is what `explain` shows, and what a compiled program falls back to when something goes wrong, so it is the one place that
knows which error an expression has and which errors logic swallows: `&&` is false when any side is false, `||` true when
any is true, whatever the others are; otherwise the first error stands. Left to right, what is not needed is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engine.policy.cel import nodes, values
from engine.policy.cel.operate import operate
from engine.policy.cel.problems import ExprError, Fault
from engine.policy.cel.types import DOUBLE, Type

STEPS = 50_000
"""Nodes that the macros of one evaluation may visit: far more than lists of 64 need, a few milliseconds at most."""

Role = Literal["and", "or", "not", "choice", "macro", "fact", "literal", "other"]


@dataclass(slots=True)
class Step:
    """What became of one subexpression: a value, an error, or neither because it was not needed."""

    start: int
    end: int
    text: str
    role: Role
    outcome: Literal["value", "error", "skipped"] = "skipped"
    value: Any = None
    error: ExprError | None = None
    children: tuple[Step, ...] = ()
    """The operands in source order; of a macro its list and, for `all` and `exists`, the item that decided."""
    note: str = ""
    """For the body of a macro: which item it was asked of, like `t = "Bash" (2 of 12)`."""

    @property
    def shown(self) -> str:
        """The outcome in a few words for people; long values only by their size."""
        match self.outcome:
            case "value":
                return values.short(self.value)
            case "error":
                return f"error: {self.error.detail}" if self.error else "error"
        return "not needed"

    def walk(self) -> Iterator[Step]:
        """The step itself and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def facts(self) -> tuple[tuple[str, str], ...]:
        """Every fact read below, as (path, shown value), each once, in source order."""
        return tuple({s.text: s.shown for s in self.walk() if s.role == "fact" and s.outcome != "skipped"}.items())


@dataclass(slots=True, frozen=True)
class Trace:
    """One evaluation: its steps, and in `deciding` the smallest parts that made the outcome what it is."""

    root: Step
    deciding: tuple[Step, ...]

    @property
    def value(self) -> Any:
        """The result; None when there was an error."""
        return self.root.value

    @property
    def error(self) -> ExprError | None:
        return self.root.error


def trace(
    source: str, node: nodes.Node, types: Mapping[nodes.Node, Type], activation: Mapping[str, Any], budget: int = STEPS
) -> Trace:
    """Evaluate with a record of every step; errors are in the trace, nothing is raised."""
    tracer = _Tracer(source, types, activation, budget)
    root = tracer.visit(node)
    return Trace(root, tuple(_deciding(root)))


def _deciding(step: Step) -> Iterator[Step]:
    """Down through logic to the parts that made its outcome: the false side of a false `&&`, all sides of a true one."""
    match step.role:
        case "and" | "or":
            stop = step.role == "or"
            wanted = [c for c in step.children if c.outcome == "value" and c.value is stop]
            if step.outcome == "error" or (not wanted and step.outcome == "value"):
                wanted = [c for c in step.children if c.outcome == ("error" if step.outcome == "error" else "value")]
            for child in wanted:
                yield from _deciding(child)
        case "not":
            yield from _deciding(step.children[0])
        case "choice":
            for child in step.children:
                if child.outcome != "skipped":
                    yield from _deciding(child)
        case "literal":
            return
        case _:
            yield step


class _Tracer:
    def __init__(
        self, source: str, types: Mapping[nodes.Node, Type], activation: Mapping[str, Any], budget: int
    ) -> None:
        self._source = source
        self._types = types
        self._activation = activation
        self._left = budget
        self._scope: tuple[str, Any] | None = None

    def visit(self, node: nodes.Node) -> Step:
        """Evaluate a node; never raises."""
        step = Step(node.start, node.end, self._source[node.start : node.end], _ROLES.get(type(node), "other"))
        try:
            value = self._value(node, step)
            if type(value) is int and self._types.get(node) == DOUBLE:
                value = float(value)
            step.value, step.outcome = value, "value"
        except ExprError as error:
            # An error with a place of its own keeps it; one that a lazy fact raised belongs to another source.
            inside = node.start <= error.span[0] and error.span[1] <= node.end and step.role != "fact"
            step.error = error if inside else ExprError(error.kind, (node.start, node.end), error.detail)
            step.outcome = "error"
        except Fault as fault:
            step.error = ExprError(fault.kind, _place(node), fault.detail)
            step.outcome = "error"
        except Exception as error:  # noqa: BLE001 - the CEL boundary: facts may be any Python
            step.error = ExprError("type", (node.start, node.end), f"could not be evaluated ({type(error).__name__})")
            step.outcome = "error"
        return step

    def _value(self, node: nodes.Node, step: Step) -> Any:
        if step.role == "fact" or isinstance(node, nodes.Name):
            path = nodes.fact_path(node, self._scope[0] if self._scope else "")
            if path is not None:
                step.role = "fact"
                return self._fact(path)
            step.role = "other"
        match node:
            case nodes.Name():
                return self._scope[1] if self._scope else None
            case nodes.And() | nodes.Or():
                return self._logic(node, step)
            case nodes.Choice(condition=condition, yes=yes, no=no):
                chosen = values.truth(self._need(step, condition))
                value = self._need(step, yes if chosen else no)
                if not chosen:
                    step.children = (step.children[0], self._skip(yes), step.children[1])
                else:
                    step.children += (self._skip(no),)
                return value
            case nodes.Has(target=target):
                return self._has(target)
            case nodes.Default(target=target, fallback=fallback):
                found = self.visit(target)
                step.children = (found,)
                if found.error is None:
                    return found.value
                if found.error.kind not in {"missing", "index"}:
                    raise found.error
                return self._need(step, fallback)
            case nodes.Macro():
                return self._macro(node, step)
        return operate(node, [self._need(step, child) for child in nodes.children(node)])

    def _need(self, step: Step, node: nodes.Node) -> Any:
        """The value of a part without which there is none."""
        part = self.visit(node)
        step.children += (part,)
        if part.error is not None:
            raise part.error
        return part.value

    def _skip(self, node: nodes.Node) -> Step:
        return Step(node.start, node.end, self._source[node.start : node.end], _ROLES.get(type(node), "other"))

    def _fact(self, path: Sequence[str]) -> Any:
        value: Any = self._activation
        for depth, word in enumerate(path):
            if depth and values.kind_of(value) != "map":
                raise Fault("type", f"no field {word!r} in {values.kind_of(value)}")
            try:
                value = value[word]
            except KeyError:
                where = f" in {'.'.join(path[:depth])}" if depth else " among the facts"
                raise Fault("missing", f"no {word!r}{where}") from None
        return value

    def _logic(self, node: nodes.And | nodes.Or, step: Step) -> bool:
        stop = isinstance(node, nodes.Or)
        failed: ExprError | None = None
        for place, operand in enumerate(node.operands):
            part = self.visit(operand)
            step.children += (part,)
            if part.error is None and not isinstance(part.value, bool):
                part.error = ExprError(
                    "type", (part.start, part.end), f"needs true or false, not {values.kind_of(part.value)}"
                )
                part.outcome = "error"
            if part.error is not None and part.error.kind == "steps":
                raise part.error
            failed = failed or part.error
            if part.error is None and part.value is stop:
                step.children += tuple(map(self._skip, node.operands[place + 1 :]))
                return bool(stop)
        if failed is not None:
            raise failed
        return not stop

    def _has(self, target: nodes.Field) -> bool:
        part = self.visit(target.target)
        if part.error is not None:
            if part.error.kind == "missing":
                return False
            raise part.error
        if values.kind_of(part.value) != "map":
            raise Fault("type", f"has() needs a map, not {values.kind_of(part.value)}")
        return bool(target.name in part.value)

    def _macro(self, node: nodes.Macro, step: Step) -> Any:
        items = values.elements(self._need(step, node.source))
        cost = sum(1 for _ in nodes.walk(node.body))
        run = self._first if node.name in {"all", "exists"} else self._each
        return run(node, step, items, cost)

    def _ask(self, node: nodes.Macro, items: Sequence[Any], index: int, cost: int) -> Step:
        self._left -= cost
        if self._left < 0:
            raise ExprError("steps", _place(node), "a macro took more steps than an expression may")
        self._scope = (node.variable, items[index])
        part = self.visit(node.body)
        self._scope = None
        part.note = f"{node.variable} = {values.short(items[index])} ({index + 1} of {len(items)})"
        return part

    def _first(self, node: nodes.Macro, step: Step, items: Sequence[Any], cost: int) -> bool:
        """`exists` stops at the first true, `all` at the first false; only without one does an error count."""
        stop = node.name == "exists"
        failed: ExprError | None = None
        for index in range(len(items)):
            part = self._ask(node, items, index, cost)
            if part.error is None and not isinstance(part.value, bool):
                part.error = ExprError(
                    "type", (part.start, part.end), f"needs true or false, not {values.kind_of(part.value)}"
                )
                part.outcome = "error"
            if part.error is None and part.value is stop:
                step.children = (step.children[0], part)
                return bool(stop)
            if part.error is not None and failed is None:
                failed = part.error
                step.children = (step.children[0], part)
        if failed is not None:
            raise failed
        return not stop

    def _each(self, node: nodes.Macro, step: Step, items: Sequence[Any], cost: int) -> Any:
        made: list[Any] = []
        for index in range(len(items)):
            part = self._ask(node, items, index, cost)
            if part.error is not None:
                step.children = (step.children[0], part)
                raise part.error
            made.append(part.value if node.name == "map" else values.truth(part.value))
        if node.name == "exists_one":
            return made.count(True) == 1
        return made if node.name == "map" else [item for item, kept in zip(items, made, strict=True) if kept]


def _place(node: nodes.Node) -> tuple[int, int]:
    """Where an error of this very node is shown: the macro's name on, the field's name, else all of it."""
    match node:
        case nodes.Macro(name_start=start, end=end):
            return start, end
        case nodes.Field(name=name, name_start=start):
            return start, start + len(name)
    return node.start, node.end


_ROLES: dict[type[nodes.Node], Role] = {
    nodes.And: "and", nodes.Or: "or", nodes.Not: "not", nodes.Choice: "choice", nodes.Macro: "macro", nodes.Field: "fact", nodes.Item: "fact", nodes.Name: "fact", nodes.Literal: "literal",
}  # fmt: skip
