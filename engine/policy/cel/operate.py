"""One node's value from the values below it, for every node that needs all of them: the careful evaluators' common step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.policy.cel import values
from engine.policy.cel.functions import FUNCTIONS, call
from engine.policy.cel.nodes import Binary, Call, Field, Item, ListLiteral, Literal, MapLiteral, Negate, Node, Not


def operate(node: Node, operands: Sequence[Any]) -> Any:
    """The value of a node whose `children` have these values, all types tested; Fault when there is none.

    Nodes that choose what to evaluate (`&& || ?:`, `has`, `default`, macros) and names are not for this function.
    """
    match node:
        case Literal(value=value):
            return value
        case Field(name=name):
            return values.field(operands[0], name)
        case Item():
            return values.item(operands[0], operands[1])
        case Binary(op=op):
            return values.BINARY[op](operands[0], operands[1])
        case Call(name=name):
            return call(FUNCTIONS[name], operands)
        case Not():
            return not values.truth(operands[0])
        case Negate():
            return values.negate(operands[0])
        case ListLiteral():
            return list(operands)
        case MapLiteral():
            return values.mapping(operands)
    raise TypeError(f"{type(node).__name__} is not evaluated from its operands")
