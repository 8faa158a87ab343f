"""The tree of an expression: what evaluators and the checker work on, free of any parser's types.

Every node knows its exact place in the source (`start`, `end` exclusive; parentheses belong to no node). Nodes compare by
identity, so that a plain dict can carry what the checker learned about each. A chain of `&&` or `||` is one node with all
its operands: that is how people read it and how an explanation names the operand that decided.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Scalar = int | float | str | bool | None


@dataclass(slots=True, frozen=True, eq=False)
class Node:
    start: int
    end: int


@dataclass(slots=True, frozen=True, eq=False)
class Literal(Node):
    value: Scalar


@dataclass(slots=True, frozen=True, eq=False)
class Name(Node):
    """A fact's first word, or the variable of the macro around it."""

    name: str


@dataclass(slots=True, frozen=True, eq=False)
class Field(Node):
    """`target.name`."""

    target: Node
    name: str
    name_start: int


@dataclass(slots=True, frozen=True, eq=False)
class Item(Node):
    """`target[key]`."""

    target: Node
    key: Node


@dataclass(slots=True, frozen=True, eq=False)
class ListLiteral(Node):
    items: tuple[Node, ...]


@dataclass(slots=True, frozen=True, eq=False)
class MapLiteral(Node):
    """Keys and values alternate in `parts`."""

    parts: tuple[Node, ...]


@dataclass(slots=True, frozen=True, eq=False)
class Not(Node):
    operand: Node


@dataclass(slots=True, frozen=True, eq=False)
class Negate(Node):
    operand: Node


@dataclass(slots=True, frozen=True, eq=False)
class And(Node):
    operands: tuple[Node, ...]


@dataclass(slots=True, frozen=True, eq=False)
class Or(Node):
    operands: tuple[Node, ...]


@dataclass(slots=True, frozen=True, eq=False)
class Binary(Node):
    """`left op right` for `== != < <= > >= in + - * / %`; `op_start` is where the operator stands."""

    op: str
    op_start: int
    left: Node
    right: Node


@dataclass(slots=True, frozen=True, eq=False)
class Choice(Node):
    """`condition ? yes : no`."""

    condition: Node
    yes: Node
    no: Node


@dataclass(slots=True, frozen=True, eq=False)
class Call(Node):
    """`name(args)`, or `receiver.name(rest)` with the receiver as the first of `args`."""

    name: str
    name_start: int
    method: bool
    args: tuple[Node, ...]


@dataclass(slots=True, frozen=True, eq=False)
class Has(Node):
    """`has(target)`: is the last field of the path there?"""

    target: Field


@dataclass(slots=True, frozen=True, eq=False)
class Default(Node):
    """`default(target, fallback)`: the path's value, or the fallback where a field or key of the path is missing."""

    target: Field | Item
    fallback: Node


@dataclass(slots=True, frozen=True, eq=False)
class Macro(Node):
    """`source.name(variable, body)` for `all exists exists_one map filter`."""

    name: str
    name_start: int
    source: Node
    variable: str
    variable_start: int
    body: Node


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below, in the order in which they stand."""
    match node:
        case Field(target=target) | Has(target=target):
            return (target,)
        case Item(target=target, key=key):
            return (target, key)
        case ListLiteral(items=nodes) | MapLiteral(parts=nodes) | And(operands=nodes) | Or(operands=nodes):
            return nodes
        case Not(operand=operand) | Negate(operand=operand):
            return (operand,)
        case Binary(left=left, right=right):
            return (left, right)
        case Choice(condition=condition, yes=yes, no=no):
            return (condition, yes, no)
        case Call(args=args):
            return args
        case Default(target=path, fallback=fallback):
            return (path, fallback)
        case Macro(source=source, body=body):
            return (source, body)
    return ()


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, parents first."""
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(reversed(children(node)))


def fact_path(node: Node, variable: str = "") -> tuple[str, ...] | None:
    """The words of `a.b["c"]` when the node is such a path of fixed words; None for anything else.

    A path that starts at `variable` (the macro's own) is no fact.
    """
    words: list[str] = []
    while True:
        match node:
            case Field(target=target, name=name):
                words.append(name)
                node = target
            case Item(target=target, key=Literal(value=str() as name)):
                words.append(name)
                node = target
            case Name(name=name) if name != variable:
                words.append(name)
                return tuple(reversed(words))
            case _:
                return None
