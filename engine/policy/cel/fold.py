"""What an expression is worth before any facts are known: constants, and conditions that are always true or false."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engine.policy.cel.nodes import And, Choice, Default, Has, Macro, Name, Node, Or, children
from engine.policy.cel.operate import operate


class _Unknown:
    """The value of whatever depends on facts."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()


def fold(node: Node, known: Mapping[Node, Any]) -> Any:
    """The node's value when its children's `known` values settle it, else UNKNOWN; Fault when it can have none.

    Logic settles early, as it does at run time: one false side makes `&&` false, whatever the others are.
    """
    match node:
        case Name() | Has() | Default() | Macro():
            return UNKNOWN
        case And(operands=operands) | Or(operands=operands):
            stop = isinstance(node, Or)
            parts = [known.get(o, UNKNOWN) for o in operands]
            if any(p is stop for p in parts):
                return stop
            return not stop if all(p is (not stop) for p in parts) else UNKNOWN
        case Choice(condition=condition, yes=yes, no=no):
            chosen = known.get(condition, UNKNOWN)
            return UNKNOWN if chosen is UNKNOWN else known.get(yes if chosen else no, UNKNOWN)
    operands_known = [known.get(child, UNKNOWN) for child in children(node)]
    return UNKNOWN if any(v is UNKNOWN for v in operands_known) else operate(node, operands_known)
