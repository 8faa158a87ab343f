"""The conformance corpus on our two evaluators and on cel-python's interpreter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.policy import cel


@dataclass(frozen=True)
class Row:
    line: int
    source: str
    outcome: str
    deviation: str


def rows() -> list[Row]:
    """Every row of corpus.txt; a row that can't be read is an error, not skipped."""
    found = []
    for number, line in enumerate(Path(__file__).with_name("corpus.txt").read_text("utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        source, separator, rest = line.partition(" ==> ")
        assert separator, f"line {number} has no ==>"
        outcome, _, deviation = rest.partition(" ~ ")
        found.append(Row(number, source, outcome.strip(), deviation.strip()))
    return found


ROWS = rows()
EVALUATED = [r for r in ROWS if not r.outcome.startswith("refused")]
REFUSED = [r for r in ROWS if r.outcome.startswith("refused")]


def name(row: Row) -> str:
    return f"{row.line}:{row.source}"[:60]


def same(one: Any, other: Any) -> bool:
    """Equal with equal types, deep; NaN is itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


def wanted(row: Row) -> Any:
    """The value of a row; big integers and doubles keep their types through JSON."""
    return int(row.outcome) if row.outcome.lstrip("-").isdigit() else orjson.loads(row.outcome)


@pytest.mark.parametrize("row", EVALUATED, ids=name)
def test_program_and_tracer_give_the_row_s_outcome(row: Row, environment: cel.Struct, facts: dict[str, Any]) -> None:
    """The compiled program and the tracer agree with the corpus, and so with each other."""
    checked = cel.check(cel.parse(row.source), environment, "any")
    trace = checked.trace(facts)
    if row.outcome.startswith("error "):
        with pytest.raises(cel.ExprError) as raised:
            checked.program().eval(facts)
        assert raised.value.kind == row.outcome.removeprefix("error ")
        assert trace.error is not None
        assert (trace.error.kind, trace.error.span, trace.error.detail) == (
            raised.value.kind, raised.value.span, raised.value.detail,
        )  # fmt: skip
        start, end = raised.value.span
        assert 0 <= start < end <= len(row.source)
    else:
        value = checked.program().eval(facts)
        assert trace.error is None
        assert same(wanted(row), value), value
        assert same(value, trace.value), trace.value


@pytest.mark.parametrize("row", EVALUATED, ids=name)
def test_the_reference_agrees_or_the_deviation_is_listed(row: Row, facts: dict[str, Any], reference: Any) -> None:
    """cel-python's interpreter gives the same, except where a row names a deviation: then it really differs."""
    found = reference(row.source, facts)
    failed = type(found).__name__ == "Failed"
    agrees = failed if row.outcome.startswith("error ") else not failed and same(wanted(row), found)
    if row.deviation in {"", "short-circuit", "dyn-numbers", "promotion"}:
        # Skipping work changes no value; numbers of two kinds depend on the side in cel-python.
        assert agrees or row.deviation, found
    else:
        assert not agrees, f"{row.deviation} is no deviation here"


@pytest.mark.parametrize("row", REFUSED, ids=name)
def test_what_the_profile_refuses_is_refused_at_load(row: Row, environment: cel.Struct) -> None:
    """A refused row raises CelProblems with the row's kind and a place inside the source."""
    with pytest.raises(cel.CelProblems) as raised:
        cel.check(cel.parse(row.source), environment, "any")
    assert row.outcome.removeprefix("refused ") in [p.kind for p in raised.value.problems]
    assert all(0 <= p.start < p.end <= len(row.source) and p.message for p in raised.value.problems)


def test_every_deviation_named_is_documented() -> None:
    """Rows name only deviations of the profile, and nearly every deviation has a row."""
    named = {r.deviation for r in ROWS if r.deviation}
    assert named <= set(cel.DEVIATIONS)
    assert set(cel.DEVIATIONS) - named <= {"long-strings", "nan"}


def test_the_corpus_is_large() -> None:
    """At least two hundred rows are run on the reference."""
    assert len(EVALUATED) >= 200
