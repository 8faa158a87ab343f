"""Random well-typed expressions: the program, the tracer and cel-python's interpreter must give the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.policy import cel

INTS = st.sampled_from(["0", "1", "7", "(-3)", "0x10", "n.zero", "n.one", "n.seven", "n.neg", "n.big", "n.small"])
SMALL = st.sampled_from(["0", "1", "7", "(-3)", "n.zero", "n.one", "n.seven", "n.neg"])
DOUBLES = st.sampled_from(["0.0", "0.5", "1e3", "(-2.5)", "f.half", "f.one", "f.neg", "f.huge"])
STRINGS = st.sampled_from(['""', '"gpt"', "'4'", r'r"\d"', '"é"', "s.gpt", "s.empty", "s.umlaut", "s.digits"])
BOOLS = st.sampled_from(
    ["true", "false", "b.yes", "b.no", "m.design", 'm["k v"]', "has(m.nope)", "has(m.design)", "m.nope"]
)
LISTS = st.sampled_from(["l.tools", '["a", "Bash"]', "l.tools + ['x']"])
NUMBERS = st.sampled_from(["l.nums", "l.none", "[1, 7]", "[n.one, n.neg]"])


def join(shape: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Fill a shape's {} with drawn expressions."""
    return st.tuples(*parts).map(lambda drawn: shape.format(*drawn))


def either(shapes: list[str], *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of([join(shape, *parts) for shape in shapes])


def integers(depth: int, leaf: st.SearchStrategy[str] = INTS) -> st.SearchStrategy[str]:
    if not depth:
        return leaf
    a, b = integers(depth - 1, leaf), integers(depth - 1, leaf)
    return st.one_of(
        leaf,
        either(["({} + {})", "({} - {})", "({} * {})", "({} / {})", "({} % {})"], a, b),
        join("(-{})", a), join("size({})", strings(depth - 1)), join("int({})", doubles(depth - 1)), join("{}.size()", lists(depth - 1)),
        join("({} ? {} : {})", booleans(depth - 1), a, b), join("{}[{}]", NUMBERS, SMALL.filter(lambda t: "-" not in t and "neg" not in t)),
    )  # fmt: skip


def doubles(depth: int) -> st.SearchStrategy[str]:
    if not depth:
        return DOUBLES
    a, b = doubles(depth - 1), doubles(depth - 1)
    return st.one_of(
        DOUBLES, either(["({} + {})", "({} - {})", "({} * {})"], a, b), join("({} / 0.5)", a), join("(-{})", a),
        join("double({})", integers(depth - 1)), join("({} ? {} : {})", booleans(depth - 1), a, b),
    )  # fmt: skip


def strings(depth: int) -> st.SearchStrategy[str]:
    if not depth:
        return STRINGS
    a, b = strings(depth - 1), strings(depth - 1)
    return st.one_of(
        STRINGS, join("({} + {})", a, b), join("string({})", integers(depth - 1)), join("({} ? {} : {})", booleans(depth - 1), a, b),
        join("{}[{}]", LISTS.filter(lambda t: "+" not in t), st.sampled_from(["0", "1", "2", "n.seven"])),
    )  # fmt: skip


def lists(depth: int) -> st.SearchStrategy[str]:
    """Bodies of map and filter cannot fail: an error there escapes cel-python's logic (deviation macro-errors)."""
    if not depth:
        return LISTS.map(lambda t: f"({t})")
    inner = lists(depth - 1)
    body = st.sampled_from(
        ['w != "Bash"', "w.startsWith('R')", "size(w) > 4", "b.yes", 'w in ["a", "Read"]', "w.matches('[a-z]_')"]
    )
    value = st.sampled_from(["w", 'w + "!"', "string(size(w))", 'b.no ? "x" : w'])
    return st.one_of(
        LISTS.map(lambda t: f"({t})"), join("{}.filter(w, {})", inner, body), join("{}.map(w, {})", inner, value)
    )


def booleans(depth: int) -> st.SearchStrategy[str]:
    if not depth:
        return BOOLS
    a, b = booleans(depth - 1), booleans(depth - 1)
    compare = ["({} == {})", "({} != {})", "({} < {})", "({} <= {})", "({} > {})", "({} >= {})"]
    return st.one_of(
        BOOLS, either(["({} && {})", "({} || {})"], a, b), join("!{}", a), join("({} ? {} : {})", a, b, booleans(depth - 1)),
        either(compare, integers(depth - 1), integers(depth - 1)), either(compare, doubles(depth - 1), doubles(depth - 1)),
        either(compare, strings(depth - 1), strings(depth - 1)), join("({} in {})", strings(depth - 1), lists(depth - 1)),
        join("({} in {})", integers(depth - 1), NUMBERS),
        either(["({}).startsWith({})", "({}).endsWith({})", "({}).contains({})"], strings(depth - 1), strings(depth - 1)),
        join("({}).matches({})", strings(depth - 1), st.sampled_from(['"^g"', "r'\\d+'", "'(?i)GR'"])),
        either(["{}.exists(x, x {} {})", "{}.all(x, x {} {})"], NUMBERS, st.sampled_from(["<", "==", ">="]), integers(depth - 1)),
        either(["{}.exists(x, 7 / x {} {})", "{}.all(x, 7 % x {} {})"], NUMBERS, st.sampled_from(["<", "=="]), SMALL),
        join("{}.exists_one(x, x == {})", NUMBERS, SMALL), join("({} == {})", lists(depth - 1), lists(depth - 1)),
    )  # fmt: skip


EXPRESSIONS = st.one_of(booleans(3), integers(3), doubles(3), strings(3), lists(2))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_nan or (type(one) is type(other) and one == other)


# Other facts of the same types: the two extremes of an int often, doubles finite (cel-python divides by zero in its own way).
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "n": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("one", "seven", "neg"), st.integers(-(2**63), 2**63 - 1))
        ),
        "f": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("half", "neg"), st.floats(allow_nan=False, allow_infinity=False))
        ),
        "s": st.fixed_dictionaries({}, optional=dict.fromkeys(("gpt", "umlaut", "digits"), st.text(max_size=6))),
        "b": st.fixed_dictionaries({}, optional=dict.fromkeys(("yes", "no"), st.booleans())),
        "l": st.fixed_dictionaries(
            {}, optional={"tools": st.lists(st.text(max_size=3), max_size=4), "nums": st.lists(st.integers(-9, 9))}
        ),
    },
)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(source=EXPRESSIONS, changes=CHANGES)
def test_random_expressions_agree_with_the_reference(source: str, changes, environment, facts, reference) -> None:
    """Same value or an error on all three; a constant part that always fails is refused at load and fails there too."""
    facts = facts | {name: facts[name] | change for name, change in changes.items()}
    expected = reference(source, facts)
    failed = type(expected).__name__ == "Failed"
    checked, refused = attempt(lambda: cel.check(cel.parse(source), environment, "any"), cel.CelProblems)
    if refused:
        # Refused at load: a part without facts that always fails, or one of the limits.
        assert all("always fails" in p.message or p.kind == "cel-limit" for p in refused.problems), refused
        return
    trace = checked.trace(facts)
    value, error = attempt(lambda: checked.program().eval(facts), cel.ExprError)
    assert failed == (error is not None), f"{source}: ours gives {error or value!r}, the reference {expected!r}"
    if error:
        assert trace.error is not None
        assert (error.kind, error.span) == (trace.error.kind, trace.error.span)
    else:
        assert same(value, expected), f"{source}: {value!r} against {expected!r}"
        assert same(value, trace.value)


def attempt(call: Callable[[], Any], kind: type[Exception]) -> tuple[Any, Any]:
    """(value, None) or (None, the error)."""
    try:
        return call(), None
    except kind as error:
        return None, error
