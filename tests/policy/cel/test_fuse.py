"""What is written out as Python says the same as the closures it stands for, and is given up where Python would not read it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.policy.cel import Struct, check, parse
from engine.policy.cel.compile import _Compiler
from engine.policy.cel.fuse import fused
from engine.policy.cel.nodes import Name, Node, Not
from engine.policy.cel.trace import STEPS

EXPRESSIONS = (
    "n.one == 0",
    "!(b.yes) || n.one + 1 > 2 && n.seven < 3",
    "n.one > 0 ? s.gpt : s.empty",
    's.gpt in ["a", "b"] || "Bash" in l.tools',
    's.gpt.matches("^gpt") && s.gpt.startsWith("g")',
    "l.tools.exists(name, name == s.gpt)",
    "size(l.tools) + n.one - 2",
    "f.half * 2.0 + f.huge / f.zero",
    "min(n.one, n.seven)",
    "n.big + n.one",
    "v.missing.deeper == 1",
)


@pytest.mark.parametrize("source", EXPRESSIONS)
def test_it_says_what_the_closures_say(source: str, environment: Struct, facts: dict[str, Any]) -> None:
    """The same value, or an error from both."""
    checked = check(parse(source), environment, "any")
    compiler = _Compiler(checked.types, checked.constants)
    for one in (0, 1, 7):
        given = {**facts, "n": {**facts["n"], "one": one}}
        assert _outcome(fused(compiler, checked.node), given) == _outcome(compiler.build(checked.node), given)


def test_what_is_nested_too_deeply_stays_closures() -> None:
    """Python reads a few hundred brackets at most."""
    node: Node = Name(0, 1, "yes")
    for _ in range(401):
        node = Not(0, 1, node)
    assert fused(_Compiler({}, {}), node)({"yes": False}, [None, STEPS]) is True


def _outcome(run: Any, given: dict[str, Any]) -> Any:
    try:
        return run(given, [None, STEPS])
    except Exception as error:  # noqa: BLE001 - the CEL boundary
        return type(error)
