"""Which facts an expression reads, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.policy.cel.nodes import Macro, Node, children, fact_path


@dataclass(slots=True, frozen=True)
class Use:
    """A fact read at a place of the source: `path` is dotted, `request.tools`."""

    path: str
    start: int
    end: int


def facts_used(node: Node) -> tuple[Use, ...]:
    """Every longest path of fixed words, in source order; macro variables are no facts."""
    return tuple(_uses(node, ""))


def _uses(node: Node, variable: str) -> Iterator[Use]:
    path = fact_path(node, variable)
    if path is not None:
        yield Use(".".join(path), node.start, node.end)
        return
    if isinstance(node, Macro):
        yield from _uses(node.source, variable)
        yield from _uses(node.body, node.variable)
        return
    for child in children(node):
        yield from _uses(child, variable)
