"""From a checked tree to closures over plain dicts: fractions of a microsecond instead of hundreds.

The closures are the optimistic half of evaluation. Where the checker knows the types they use Python's own operators;
anything less usual goes through the careful operations of `values`. They may raise anything: then the program evaluates
once more with the tracer, which alone says what the error is and whether `&&` or `||` swallow it. So a closure has to be
right only when it returns, and errors, being rare, may cost fifty microseconds.

What means the same in Python is then written out as one function (`fuse`), which calls closures for the rest.

A closure takes (activation, frame). The frame is a two-item list made for one evaluation: the macro variable's value (one is
enough, macros don't nest) and the steps that are left. Nothing is shared between evaluations, so programs may be used by
any number of threads.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.policy.cel import nodes, values
from engine.policy.cel.fold import UNKNOWN
from engine.policy.cel.functions import FUNCTIONS
from engine.policy.cel.fuse import DIRECT, PLAIN, TESTS, WHOLE, fused, whole
from engine.policy.cel.operate import operate
from engine.policy.cel.patterns import matcher
from engine.policy.cel.problems import ExprError, Fault
from engine.policy.cel.trace import STEPS, Trace, trace
from engine.policy.cel.types import BOOL, DYN, INT, STRING, ListOf, Type, plain

Run = Callable[[Mapping[str, Any], list[Any]], Any]
Test = Callable[[Any, Any], Any]

_RESULTS: dict[str, type] = {"bool": bool, "string": str, "double": float, "int": int}
_FAILED = object()


@dataclass(slots=True, frozen=True, eq=False)
class Program:
    """A compiled expression. Immutable and free of side effects: one for all threads and requests."""

    source: str
    node: nodes.Node
    types: Mapping[nodes.Node, Type]
    wanted: type | None
    """The exact type a result must have (bool, str, float, int), None for any."""
    run: Run

    def eval(self, activation: Mapping[str, Any], budget: int = STEPS) -> Any:
        """The value for these facts; raises ExprError. `budget` bounds the nodes that macros may visit."""
        try:
            value = self.run(activation, [None, budget])
        except _Spent as spent:
            raise ExprError("steps", spent.span, "a macro took more steps than an expression may") from None
        except Exception:  # noqa: BLE001 - the CEL boundary: what went wrong is told by the careful evaluator
            value = _FAILED
        if type(value) is self.wanted or (self.wanted is None and value is not _FAILED):
            return value
        # Outside the handler, so that no error carries an exception that quotes facts as its context.
        found = self.trace(activation, budget)
        if found.error is not None:
            raise found.error
        value = found.value
        if self.wanted is None or type(value) is self.wanted:
            return value
        detail = f"must give {values.kind_of(self.wanted())}, gave {values.kind_of(value)}"
        raise ExprError("type", (self.node.start, self.node.end), detail)

    def evaluator(self) -> Callable[[Mapping[str, Any]], Any]:
        """`eval` for those who ask often: what goes well costs one call, what doesn't is evaluated by `eval` once more."""
        run, wanted, careful = self.run, self.wanted, self.eval

        def evaluate(activation: Mapping[str, Any]) -> Any:
            try:
                value = run(activation, [None, STEPS])
            except Exception:  # noqa: BLE001 - the CEL boundary, as in `eval`
                return careful(activation)
            return value if type(value) is wanted else careful(activation)

        return evaluate

    def trace(self, activation: Mapping[str, Any], budget: int = STEPS) -> Trace:
        """The same evaluation with every step on record; raises nothing."""
        return trace(self.source, self.node, self.types, activation, budget)


def compile_program(
    source: str,
    node: nodes.Node,
    *,
    types: Mapping[nodes.Node, Type],
    constants: Mapping[nodes.Node, Any],
    expect: str = "any",
) -> Program:
    """Compile a node that the checker has passed, with the types and constants it found."""
    return Program(source, node, types, _RESULTS.get(expect), fused(_Compiler(types, constants), node))


class _Compiler:
    def __init__(self, types: Mapping[nodes.Node, Type], constants: Mapping[nodes.Node, Any]) -> None:
        self._types = types
        self._constants = constants
        self._variable = ""

    def build(self, node: nodes.Node) -> Run:
        value = self._constants.get(node, UNKNOWN)
        if value is not UNKNOWN:
            return lambda _a, _x: value
        path = nodes.fact_path(node, self._variable)
        if path is not None:
            return _path(path)
        match node:
            case nodes.Name():
                return lambda _a, x: x[0]
            case nodes.Field(target=target, name=name):
                inner = self.build(target)
                return lambda a, x: inner(a, x)[name]
            case nodes.Not(operand=operand):
                inner = self.test(operand)
                return lambda a, x: not inner(a, x)
            case nodes.And(operands=operands):
                return _every([self.test(o) for o in operands])
            case nodes.Or(operands=operands):
                return _any([self.test(o) for o in operands])
            case nodes.Choice(condition=condition, yes=yes, no=no):
                test, left, right = self.test(condition), self.build(yes), self.build(no)
                return lambda a, x: left(a, x) if test(a, x) else right(a, x)
            case nodes.Binary():
                return self._binary(node)
            case nodes.Call():
                return self._call(node)
            case nodes.Has(target=target):
                return self._has(target)
            case nodes.Default(target=target, fallback=fallback):
                return _default(self.build(target), self.build(fallback))
            case nodes.Macro():
                return self._macro(node)
        return self._careful(node)

    def kind(self, node: nodes.Node) -> Type:
        return plain(self._types.get(node, DYN))

    def constant(self, node: nodes.Node) -> Any:
        return self._constants.get(node, UNKNOWN)

    def _careful(self, node: nodes.Node) -> Run:
        """Any node that needs all its operands, with every type tested."""
        parts = [self.build(child) for child in nodes.children(node)]
        return lambda a, x: operate(node, [part(a, x) for part in parts])

    def test(self, node: nodes.Node) -> Run:
        """The node's closure, with a test where its type is not known."""
        inner = self.build(node)
        if self.kind(node) == BOOL:
            return inner

        def checked(a: Mapping[str, Any], x: list[Any]) -> bool:
            return values.truth(inner(a, x))

        return checked

    def _binary(self, node: nodes.Binary) -> Run:
        left, right = self.kind(node.left), self.kind(node.right)
        if node.op == "in":
            return self._membership(node, right)
        if left == right and left.kind in DIRECT:
            one, other = self.build(node.left), self.build(node.right)
            if left.kind == "int" and node.op in WHOLE:
                op = _OPERATORS[node.op]
                return lambda a, x: whole(op(one(a, x), other(a, x)))
            if node.op in TESTS or (left.kind, node.op) in PLAIN:
                op = _OPERATORS[node.op]
                return lambda a, x: op(one(a, x), other(a, x))
        return self._careful(node)

    def _membership(self, node: nodes.Binary, container: Type) -> Run:
        item = self.build(node.left)
        kind = self.kind(node.left)
        known = self.constant(node.right)
        if kind in (STRING, INT) and isinstance(known, list):
            among = frozenset(known)
            return lambda a, x: item(a, x) in among
        inner = self.build(node.right)
        listed = isinstance(container, ListOf) and plain(container.item) == kind and kind in (STRING, INT, BOOL)
        if listed or (container.kind == "map" and kind == STRING):
            return lambda a, x: item(a, x) in inner(a, x)
        return self._careful(node)

    def _call(self, node: nodes.Call) -> Run:
        kinds = [self.kind(arg) for arg in node.args]
        if DYN in kinds or node.name in {"min", "max"}:
            return self._careful(node)
        parts = [self.build(arg) for arg in node.args]
        pattern = self.constant(node.args[-1])
        if node.name == "matches" and isinstance(pattern, str):
            found, text = matcher(pattern), parts[0]
            return lambda a, x: found(text(a, x))
        apply = FUNCTIONS[node.name].apply
        return lambda a, x: apply(*[part(a, x) for part in parts])

    def _has(self, target: nodes.Field) -> Run:
        inner, name = self.build(target.target), target.name

        def has(a: Mapping[str, Any], x: list[Any]) -> bool:
            holder = inner(a, x)
            if isinstance(holder, Mapping):
                return name in holder
            raise Fault("type", "has() needs a map")

        return has

    def _macro(self, node: nodes.Macro) -> Run:
        source = self.build(node.source)
        outer, self._variable = self._variable, node.variable
        body = fused(self, node.body, variable=node.variable, test=node.name != "map")
        self._variable = outer
        cost = sum(1 for _ in nodes.walk(node.body))
        return _MACROS[node.name](source, body, cost, (node.name_start, node.end))


def _path(words: Sequence[str]) -> Run:
    def follow(a: Mapping[str, Any], _x: list[Any]) -> Any:
        value: Any = a
        for word in words:
            value = value[word]
        return value

    return follow


def _every(tests: list[Run]) -> Run:
    def every(a: Mapping[str, Any], x: list[Any]) -> bool:
        for test in tests:  # noqa: SIM110 - all() would make a generator per evaluation
            if not test(a, x):
                return False
        return True

    return every


def _any(tests: list[Run]) -> Run:
    def some(a: Mapping[str, Any], x: list[Any]) -> bool:
        for test in tests:  # noqa: SIM110 - any() would make a generator per evaluation
            if test(a, x):
                return True
        return False

    return some


def _default(target: Run, fallback: Run) -> Run:
    def default(a: Mapping[str, Any], x: list[Any]) -> Any:
        try:
            return target(a, x)
        except KeyError:
            return fallback(a, x)

    return default


class _Spent(Exception):
    """The budget is used up; nothing swallows that, and it is not worth a second evaluation."""

    def __init__(self, span: tuple[int, int]) -> None:
        self.span = span
        super().__init__()


def _find(*, stop: bool) -> Callable[[Run, Run, int, tuple[int, int]], Run]:
    """`exists` (stops at the first true) or `all` (stops at the first false)."""

    def make(source: Run, body: Run, cost: int, span: tuple[int, int]) -> Run:
        def find(a: Mapping[str, Any], x: list[Any]) -> bool:
            items, left = values.elements(source(a, x)), x[1]
            for x[0] in items:
                left -= cost
                if left < 0:
                    raise _Spent(span)
                if body(a, x) is stop:
                    x[1] = left
                    return bool(stop)
            x[1] = left
            return not stop

        return find

    return make


def _gather(keep: Callable[[Sequence[Any], list[Any]], Any]) -> Callable[[Run, Run, int, tuple[int, int]], Run]:
    """Macros that ask every item: the items and the answers go to `keep`."""

    def make(source: Run, body: Run, cost: int, span: tuple[int, int]) -> Run:
        def gather(a: Mapping[str, Any], x: list[Any]) -> Any:
            items = values.elements(source(a, x))
            left = x[1] - cost * len(items)
            if left < 0:
                raise _Spent(span)
            answers = []
            for x[0] in items:
                answers.append(body(a, x))
            x[1] = left
            return keep(items, answers)

        return gather

    return make


_MACROS: dict[str, Callable[[Run, Run, int, tuple[int, int]], Run]] = {
    "exists": _find(stop=True),
    "all": _find(stop=False),
    "exists_one": _gather(lambda _, answers: answers.count(True) == 1),
    "map": _gather(lambda _, answers: answers),
    "filter": _gather(lambda items, answers: [i for i, kept in zip(items, answers, strict=True) if kept]),
}
_OPERATORS: dict[str, Test] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
