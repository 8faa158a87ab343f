"""A compiled expression as one Python function instead of a tree of closures: a call per expression, not per operator.

Only what Python says with the same meaning is written out: facts, `&& || !`, a choice, comparisons and arithmetic of values
whose types the checker knows, membership, functions. Everything else is called, as the closure that `compile` made of it. Nothing
of a policy's text gets into the code but the names of facts, quoted; values are handed over by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from engine.policy.cel import nodes, values
from engine.policy.cel.fold import UNKNOWN
from engine.policy.cel.functions import FUNCTIONS
from engine.policy.cel.patterns import matcher
from engine.policy.cel.types import BOOL, DYN, INT, STRING, ListOf, Type, plain

Run = Callable[[Mapping[str, Any], list[Any]], Any]

DIRECT = frozenset({"int", "double", "string", "bool"})
"""Types whose values Python compares as CEL does, among their own."""

PLAIN = frozenset({("double", "+"), ("double", "-"), ("double", "*"), ("double", "/"), ("string", "+")})
"""Arithmetic that can't leave its type."""

TESTS = frozenset({"==", "!=", "<", "<=", ">", ">="})
WHOLE = frozenset({"+", "-", "*"})


class Closures(Protocol):
    """What is known of the expression's nodes."""

    def build(self, node: nodes.Node) -> Run:
        """The node as a closure."""

    def test(self, node: nodes.Node) -> Run:
        """The node as a closure that gives a bool or raises."""

    def kind(self, node: nodes.Node) -> Type:
        """Its type, `DYN` when that is not known."""

    def constant(self, node: nodes.Node) -> Any:
        """Its value if that is known, else UNKNOWN."""


def fused(closures: Closures, node: nodes.Node, *, variable: str = "", test: bool = False) -> Run:
    """The node as one function, a `test` for one that gives a bool or raises; as its closure where it is nested too deeply for Python.

    `variable`: the macro's whose body it is.
    """
    writer = _Writer(closures, variable)
    try:
        said = writer.truth(node) if test else writer.say(node)
        code = compile(f"lambda a, x: {said}", "<policy>", "eval")
    except (SyntaxError, RecursionError, MemoryError):
        return closures.test(node) if test else closures.build(node)
    run: Run = eval(code, {"__builtins__": {}, **writer.names})  # noqa: S307 (written here, of the parts named above)
    return run


class _Writer:
    def __init__(self, closures: Closures, variable: str) -> None:
        self._of = closures
        self._variable = variable
        self.names: dict[str, Any] = {}

    def say(self, node: nodes.Node) -> str:
        """The node in Python; `a` are the facts, `x` the frame of the evaluation."""
        value = self._of.constant(node)
        if value is not UNKNOWN:
            return self._named(value)
        path = nodes.fact_path(node, self._variable)
        if path is not None:
            return "a" + "".join(f"[{word!r}]" for word in path)
        match node:
            case nodes.Name():
                return "x[0]"
            case nodes.Field(target=target, name=name):
                return f"{self.say(target)}[{name!r}]"
            case nodes.Not(operand=operand):
                return f"(not {self.truth(operand)})"
            case nodes.And(operands=operands):
                return f"({' and '.join(map(self.truth, operands))})"
            case nodes.Or(operands=operands):
                return f"({' or '.join(map(self.truth, operands))})"
            case nodes.Choice(condition=condition, yes=yes, no=no):
                return f"({self.say(yes)} if {self.truth(condition)} else {self.say(no)})"
            case nodes.Binary():
                return self._binary(node)
            case nodes.Call():
                return self._call(node)
        return self._called(node)

    def _named(self, value: Any) -> str:
        name = f"v{len(self.names)}"
        self.names[name] = value
        return name

    def _called(self, node: nodes.Node) -> str:
        return f"{self._named(self._of.build(node))}(a, x)"

    def truth(self, node: nodes.Node) -> str:
        """The same for one that must give a bool."""
        said = self.say(node)
        return said if self._of.kind(node) == BOOL else f"{self._named(values.truth)}({said})"

    def _binary(self, node: nodes.Binary) -> str:
        left, right = self._of.kind(node.left), self._of.kind(node.right)
        if node.op == "in":
            return self._membership(node, left, right)
        if left == right and left.kind in DIRECT:
            said = f"({self.say(node.left)} {node.op} {self.say(node.right)})"
            if node.op in TESTS or (left.kind, node.op) in PLAIN:
                return said
            if left.kind == "int" and node.op in WHOLE:
                return f"{self._named(whole)}{said}"
        return self._called(node)

    def _membership(self, node: nodes.Binary, kind: Type, container: Type) -> str:
        known = self._of.constant(node.right)
        if kind in (STRING, INT) and isinstance(known, list):
            return f"({self.say(node.left)} in {self._named(frozenset(known))})"
        listed = isinstance(container, ListOf) and plain(container.item) == kind and kind in (STRING, INT, BOOL)
        if listed or (container.kind == "map" and kind == STRING):
            return f"({self.say(node.left)} in {self.say(node.right)})"
        return self._called(node)

    def _call(self, node: nodes.Call) -> str:
        if node.name in {"min", "max"} or any(self._of.kind(arg) == DYN for arg in node.args):
            return self._called(node)
        first, *rest = node.args
        pattern = self._of.constant(rest[0]) if rest else UNKNOWN
        if node.name == "matches" and isinstance(pattern, str):
            return f"{self._named(matcher(pattern))}({self.say(first)})"
        return f"{self._named(FUNCTIONS[node.name].apply)}({', '.join(map(self.say, node.args))})"


def whole(value: int) -> int:
    """`value`, which CEL's int holds. Raises OverflowError."""
    if values.INT_MIN <= value <= values.INT_MAX:
        return value
    raise OverflowError
