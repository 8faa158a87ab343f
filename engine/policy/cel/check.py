"""The type checker: finds before the first request what would otherwise fail, or silently never match, at run time.

Every node gets a type from the environment (the facts' schema). All problems are collected; a node with a problem is `dyn`
from then on, so that one mistake is told once. An int that is constant becomes a double where one is needed; an int from
facts beside a double is an error, because CEL would refuse it at run time. Facts are complete, so null is never needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.policy.cel import nodes
from engine.policy.cel.calls import check_call
from engine.policy.cel.fold import UNKNOWN, fold
from engine.policy.cel.functions import FUNCTIONS
from engine.policy.cel.problems import CelProblem, Fault, ProblemKind
from engine.policy.cel.suggest import closest, listing, meant
from engine.policy.cel.types import (
    BOOL,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    Choices,
    ListOf,
    MapOf,
    Struct,
    Type,
    list_of,
    map_of,
    plain,
    unify,
)  # fmt: skip
from engine.policy.cel.values import kind_of

_ORDERED = (INT, DOUBLE, STRING, BOOL, TIMESTAMP, DURATION)
_RELATIONS = frozenset({"<", "<=", ">", ">="})
_SUMS: dict[str, tuple[tuple[Type, Type, Type], ...]] = {
    "+": ((STRING, STRING, STRING), (DURATION, DURATION, DURATION), (TIMESTAMP, DURATION, TIMESTAMP), (DURATION, TIMESTAMP, TIMESTAMP)),
    "-": ((DURATION, DURATION, DURATION), (TIMESTAMP, TIMESTAMP, DURATION), (TIMESTAMP, DURATION, TIMESTAMP)),
}  # fmt: skip
_NUMBERS = {"+": (INT, DOUBLE), "-": (INT, DOUBLE), "*": (INT, DOUBLE), "/": (INT, DOUBLE), "%": (INT,)}
_SCALAR_KINDS = {t.kind: t for t in (INT, DOUBLE, STRING, BOOL, NULL)}
_BOOL_HINTS = {
    "int": "write {} != 0",
    "double": "write {} != 0.0",
    "string": 'write {} != ""',
    "list": "write size({}) > 0",
}


class Checker:
    """Types, constants and problems of one expression; make one per expression and call `visit` on its root."""

    def __init__(self, source: str, environment: Struct) -> None:
        self.source = source
        self.environment = environment
        self.types: dict[nodes.Node, Type] = {}
        self.constants: dict[nodes.Node, Any] = {}
        self.problems: list[CelProblem] = []
        self._scope: tuple[str, Type] | None = None

    def visit(self, node: nodes.Node) -> Type:
        """The node's type, with everything below it checked."""
        before = len(self.problems)
        kind = self._rule(node)
        self.types[node] = kind
        if len(self.problems) > before:
            return kind
        try:
            value = fold(node, self.constants)
        except Fault as fault:
            if fault.kind != "type":
                self.problem("cel-type", node, f"this always fails: {fault.detail}")
            return kind
        if value is not UNKNOWN:
            self.constants[node] = float(value) if kind == DOUBLE and kind_of(value) == "int" else value
        return kind

    def problem(self, kind: ProblemKind, at: nodes.Node | tuple[int, int], message: str, hint: str = "") -> Type:
        """Note a problem and go on with `dyn`."""
        start, end = (at.start, at.end) if isinstance(at, nodes.Node) else at
        self.problems.append(CelProblem(kind, start, end, message, hint))
        return DYN

    def text(self, node: nodes.Node) -> str:
        """The node's source on one line, shortened, for a hint."""
        words = " ".join(self.source[node.start : node.end].split())
        return words if len(words) <= 60 else words[:59] + "…"

    def settle(self, parts: Sequence[nodes.Node], between: str) -> Type | None:
        """One type for several nodes; constant ints turn into doubles beside a double. None when there is no such type."""
        kinds = [plain(self.types[part]) for part in parts]
        if DOUBLE in kinds and INT in kinds:
            for part in parts:
                if self.types[part] == INT and not self.promote(part):
                    self.problem(
                        "cel-type", part, f"cannot {between} int and double", f"write double({self.text(part)})"
                    )
            return DOUBLE
        made: Type | None = kinds[0] if kinds else DYN
        for kind in kinds[1:]:
            made = unify(made, kind) if made is not None else None
        return made

    def promote(self, node: nodes.Node) -> bool:
        """Turn a constant int, or a list of constant ints, into doubles; False when it isn't one."""
        value = self.constants.get(node, UNKNOWN)
        if value is UNKNOWN or self.types[node] not in (INT, list_of(INT)):
            return False
        if isinstance(node, nodes.ListLiteral):
            for item in node.items:
                self.promote(item)
        listed = isinstance(value, list)
        self.types[node] = list_of(DOUBLE) if listed else DOUBLE
        self.constants[node] = [float(v) for v in value] if listed else float(value)
        return True

    def want_bool(self, node: nodes.Node, what: str) -> None:
        """A problem unless the node is true or false."""
        kind = plain(self.types[node])
        if kind not in (BOOL, DYN):
            hint = _BOOL_HINTS.get(kind.kind, "").format(self.text(node))
            self.problem("cel-type", node, f"{what} must be true or false; this is {kind}", hint)

    def _rule(self, node: nodes.Node) -> Type:
        match node:
            case nodes.Literal():
                return _SCALAR_KINDS[kind_of(node.value)]
            case nodes.Name():
                return self._name(node)
            case nodes.Field():
                return self._field(node)
            case nodes.Item():
                return self._item(node)
            case nodes.ListLiteral():
                return self._list(node)
            case nodes.MapLiteral():
                return self._map(node)
            case nodes.And() | nodes.Or():
                return self._logic(node)
            case nodes.Not():
                return self._not(node)
            case nodes.Negate():
                return self._negate(node)
            case nodes.Binary():
                return self._binary(node)
            case nodes.Choice():
                return self._choice(node)
            case nodes.Call():
                for arg in node.args:
                    self.visit(arg)
                return check_call(self, node)
            case nodes.Has():
                self.visit(node.target)
                return BOOL
            case nodes.Default():
                return self._default(node)
            case nodes.Macro():
                return self._macro(node)
        raise TypeError(type(node).__name__)

    def _name(self, node: nodes.Name) -> Type:
        if self._scope and node.name == self._scope[0]:
            return self._scope[1]
        fields = self.environment.fields
        if node.name in fields:
            return fields[node.name]
        if node.name in FUNCTIONS:
            return self.problem("cel-call", node, f"{node.name} is a function", f"write {FUNCTIONS[node.name].example}")
        have = [*fields, *([self._scope[0]] if self._scope else [])]
        guess = meant(node.name, have, self.environment)
        also = f"; did you mean {guess!r}?" if guess else ""
        return self.problem("cel-unknown", node, f"no {node.name!r} among the facts{also}", listing(have))

    def _field(self, node: nodes.Field) -> Type:
        return self._member(
            node, self.visit(node.target), node.name, (node.name_start, node.name_start + len(node.name))
        )

    def _member(self, node: nodes.Field | nodes.Item, kind: Type, name: str, span: tuple[int, int]) -> Type:
        match kind:
            case Struct(fields=fields, rest=rest):
                found = fields.get(name, rest)
                if found is not None:
                    return found
                guess = meant(name, fields, self.environment)
                if not fields and name in FUNCTIONS:
                    guess = ""
                also = f"; did you mean {guess!r}?" if guess else ""
                return self.problem(
                    "cel-field", span, f"no field {name!r} in {self.text(node.target)}{also}", listing(fields)
                )
            case MapOf(value=value):
                return value
            case Type(kind="dyn"):
                return DYN
        function = FUNCTIONS.get(name) or FUNCTIONS.get(closest(name, FUNCTIONS, 0.9))
        hint = ""
        if name == "length" or (function and function.name == "size"):
            hint = f"write size({self.text(node.target)})"
        elif function and function.method:
            hint = f"{function.name} is a function: write {function.example}"
        return self.problem("cel-field", span, f"no field {name!r}: {self.text(node.target)} is {plain(kind)}", hint)

    def _item(self, node: nodes.Item) -> Type:
        target, key = self.visit(node.target), plain(self.visit(node.key))
        if isinstance(target, Struct) and isinstance(node.key, nodes.Literal) and isinstance(node.key.value, str):
            return self._member(node, target, node.key.value, (node.key.start, node.key.end))
        wanted = {"list": INT, "map": STRING}.get(target.kind)
        if target == DYN:
            return DYN
        if wanted is None:
            return self.problem("cel-type", node, f"{self.text(node.target)} is {plain(target)} and has no items")
        if key not in (wanted, DYN):
            return self.problem("cel-type", node.key, f"an item of a {target.kind} is found by {wanted}, not by {key}")
        return target.item if isinstance(target, ListOf) else target.value if isinstance(target, MapOf) else DYN

    def _list(self, node: nodes.ListLiteral) -> Type:
        for item in node.items:
            self.visit(item)
        kind = self.settle(node.items, "mix")
        if kind is None:
            names = " and ".join(sorted({str(plain(self.types[i])) for i in node.items}))
            return list_of(self.problem("cel-type", node, f"a list of {names}", "its items must have one type"))
        return list_of(kind)

    def _map(self, node: nodes.MapLiteral) -> Type:
        for part in node.parts:
            self.visit(part)
        for key in node.parts[::2]:
            if plain(self.types[key]) not in (STRING, DYN):
                self.problem("cel-type", key, f"a map's key must be a string, not {self.types[key]}")
        return map_of(self.settle(node.parts[1::2], "mix") or DYN)

    def _not(self, node: nodes.Not) -> Type:
        self.visit(node.operand)
        self.want_bool(node.operand, "what ! turns round")
        return BOOL

    def _negate(self, node: nodes.Negate) -> Type:
        kind = self.visit(node.operand)
        if kind not in (INT, DOUBLE, DYN):
            return self.problem("cel-type", node, f"no - of {plain(kind)}")
        return kind

    def _logic(self, node: nodes.And | nodes.Or) -> Type:
        sign = "&&" if isinstance(node, nodes.And) else "||"
        for operand in node.operands:
            self.visit(operand)
            self.want_bool(operand, f"each side of {sign}")
        return BOOL

    def _choice(self, node: nodes.Choice) -> Type:
        self.visit(node.condition)
        self.want_bool(node.condition, "what stands before ?")
        yes, no = self.visit(node.yes), self.visit(node.no)
        kind = self.settle((node.yes, node.no), "choose between")
        if kind is None:
            return self.problem("cel-type", node, f"? : must give one type, not {plain(yes)} or {plain(no)}")
        return kind

    def _default(self, node: nodes.Default) -> Type:
        target, fallback = self.visit(node.target), self.visit(node.fallback)
        kind = self.settle((node.target, node.fallback), "mix")
        if kind is None:
            return self.problem(
                "cel-type", node.fallback, f"the fallback is {plain(fallback)}, the field {plain(target)}"
            )
        return kind

    def _macro(self, node: nodes.Macro) -> Type:
        source = self.visit(node.source)
        item = source.item if isinstance(source, ListOf) else {"map": STRING, "dyn": DYN}.get(source.kind)
        if item is None:
            item = self.problem("cel-type", node.source, f"{node.name}() walks a list or a map, not {plain(source)}")
        if node.variable in self.environment.fields:
            place = (node.variable_start, node.variable_start + len(node.variable))
            self.problem("cel-call", place, f"{node.variable!r} is a fact already", "give the items another name")
        self._scope = (node.variable, item)
        body = self.visit(node.body)
        self._scope = None
        if node.name == "map":
            return list_of(body)
        self.want_bool(node.body, f"what {node.name}() asks of each item")
        return list_of(item) if node.name == "filter" else BOOL

    def _binary(self, node: nodes.Binary) -> Type:
        left, right = plain(self.visit(node.left)), plain(self.visit(node.right))
        if node.op == "in":
            return self._membership(node, left, right)
        if NULL in (left, right):
            return self.problem("cel-type", node, "facts are never null", "has(a.b) asks whether a field is there")
        if node.op in _RELATIONS or node.op in {"==", "!="}:
            return self._comparison(node, left, right)
        if DYN in (left, right):
            return DYN
        if left in _NUMBERS[node.op] and right in _NUMBERS[node.op]:
            return self.settle((node.left, node.right), _VERBS[node.op]) or DYN
        if node.op == "+" and isinstance(left, ListOf) and (kind := unify(left, right)):
            return kind
        for a, b, made in _SUMS.get(node.op, ()):
            if (left, right) == (a, b):
                return made
        hint = ""
        if node.op == "+" and STRING in (left, right):
            hint = f"write string({self.text(node.right if left == STRING else node.left)})"
        place = (node.op_start, node.op_start + 1)
        return self.problem("cel-type", place, f"no {node.op} between {left} and {right}", hint)

    def _comparison(self, node: nodes.Binary, left: Type, right: Type) -> Type:
        kind = self.settle((node.left, node.right), "compare")
        place = (node.op_start, node.op_start + len(node.op))
        if kind is None:
            hint = ""
            if isinstance(node.left, nodes.Binary) and node.left.op in _RELATIONS:
                hint = "a range is written low < x && x < high"
            elif "list" in (left.kind, right.kind) and STRING in (left, right):
                hint = "membership is written x in list"
            self.problem("cel-type", place, f"cannot compare {left} {node.op} {right}", hint)
        elif node.op in _RELATIONS and kind not in _ORDERED and kind != DYN:
            self.problem("cel-type", place, f"{kind} has no order; {node.op} needs numbers, strings or times")
        else:
            self._closed_set(node.left, [node.right])
            self._closed_set(node.right, [node.left])
        return BOOL

    def _membership(self, node: nodes.Binary, left: Type, right: Type) -> Type:
        if isinstance(right, ListOf):
            if left == DOUBLE and right.item == INT:
                self.promote(node.right)
                right = plain(self.types[node.right])
            if left == INT and right == list_of(DOUBLE):
                self.promote(node.left)
                left = self.types[node.left]
            if not isinstance(right, ListOf) or unify(left, right.item) is None:
                self.problem("cel-type", node, f"no {left} can be in {right}")
            elif isinstance(node.right, nodes.ListLiteral):
                self._closed_set(node.left, node.right.items)
        elif right == STRING:
            hint = f"write {self.text(node.right)}.contains({self.text(node.left)})"
            self.problem("cel-type", node, "in looks into lists and maps, not into strings", hint)
        elif right.kind == "map":
            if left not in (STRING, DYN):
                self.problem("cel-type", node.left, f"a map's keys are strings; this is {left}")
        elif right != DYN:
            self.problem("cel-type", node.right, f"in looks into lists and maps, not into {right}")
        return BOOL

    def _closed_set(self, node: nodes.Node, others: Sequence[nodes.Node]) -> None:
        """A text that a closed set of values does not hold is a misspelling: the comparison could never be true."""
        kind = self.types[node]
        if not isinstance(kind, Choices):
            return
        for other in others:
            value = self.constants.get(other, UNKNOWN)
            if isinstance(value, str) and value not in kind.values:
                guess = closest(value, kind.values)
                also = f"; did you mean {guess!r}?" if guess else ""
                values = ", ".join(f'"{v}"' for v in kind.values)
                self.problem("cel-type", other, f"{self.text(node)} is never {value!r}{also}", f"one of {values}")


_VERBS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "divide"}
