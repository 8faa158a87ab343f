"""What a test gives becomes the facts and the world of a decision; what it leaves out has the documented default."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Rate
from engine.policy import facts
from engine.policy.case import READY
from engine.policy.decide import decide
from engine.policy.shipped import find_shipped
from engine.policy.testing.given import DERIVED, clock, merged, request_schema, world
from tests.policy.testing.builders import differs, read, suite

POLICY = suite("  - {name: it, expect: {denied: false}}").policy


def test_nothing_given_is_the_defaults() -> None:
    """Facts of the schema's defaults without a candidate's, every provider with a key and healthy, no signal found."""
    around = world(POLICY, {})
    assert around.facts == facts.complete({}, request_schema()) | {"signals": {"urgent": False}}
    assert set(around.availability.values()) == {READY}
    assert around.policy is POLICY
    assert facts.validate(around.facts) == []


def test_keys_are_the_only_ones() -> None:
    """With `keys`, other providers that need one have none; `providers` still says more."""
    states = world(POLICY, {"keys": ["beta"], "providers": {"alpha": {"key": True, "healthy": False}}}).availability
    assert (states["alpha"].key, states["alpha"].healthy, states["beta"].key) == (True, False, True)
    assert {name: s.key for name, s in states.items() if POLICY.providers[name].auth == "none"} == {
        name: True for name, row in POLICY.providers.items() if row.auth == "none"
    }


def test_prices_decide_the_order() -> None:
    """A price that is given counts, also over that of a row; without one it is unknown."""
    cheap_beta = "{alpha/big: {input: 9, output: 9}, beta/little: {input: 1, output: 1}}"
    cheap_alpha = "{alpha/big: {input: 1, output: 1}}"
    night = "now: {hour: 23}"
    assert differs(f"{{{night}, prices: {cheap_beta}}}", "{candidates: [beta, alpha]}") == []
    assert differs(f"{{{night}, prices: {cheap_alpha}}}", "{candidates: [alpha, beta]}") == []
    own = world(POLICY, {"prices": {"simulated/small": {"input": 7, "output": 8}}}).policy
    assert POLICY.rates["simulated/small"] == Rate.of(0.1, 0.4, 0.01)
    assert own.rates["simulated/small"] == Rate.of(7.0, 8.0)


def test_tests_do_not_see_each_other() -> None:
    """The same facts decide the same before and after another test."""
    tests = suite(
        "  - {name: a, given: {request: {effort: max}}, expect: {denied: false}}\n"
        "  - {name: b, expect: {denied: false}}\n"
    ).scenarios
    first = [world(POLICY, t.given) for t in tests]
    again = [world(POLICY, t.given) for t in reversed(tests)]
    for one, other in zip(first, reversed(again), strict=True):
        assert decide(one.policy, one.facts, one.availability) == decide(other.policy, other.facts, other.availability)


def test_shared_facts_lie_under_each_test() -> None:
    """Maps merge key by key, lists and values are replaced; a time in one piece is taken apart first."""
    found, problems = read(
        "policy: small.yaml\n"
        "given: {request: {tools: 1, tool_names: [a]}, now: 2026-01-05T12:30:00+02:00}\n"
        "tests:\n"
        "  - name: it\n"
        "    given: {request: {tool_names: [b, c], stream: true}, now: {hour: 3}}\n"
        "    expect: {denied: false}\n"
    )
    assert (found is not None, problems) == (True, [])
    assert found is not None
    assert found.scenarios[0].given == {
        "request": {"tools": 1, "tool_names": ["b", "c"], "stream": True},
        "now": {"unix": 1767609000, "hour": 3, "weekday": 1, "date": "2026-01-05"},
    }


@pytest.mark.parametrize(
    ("text", "unix", "hour"),
    [("2026-01-05T12:00:00Z", 1767614400, 12), ("2026-01-05 12:00", 1767614400, 12), ("2026-01-05T12:00:00-01:00", 1767618000, 12)],
)  # fmt: skip
def test_a_clock_is_local_time(text: str, unix: int, hour: int) -> None:
    """Hour, weekday and date are those written; only the seconds since 1970 know the zone."""
    assert clock(text) == {"unix": unix, "hour": hour, "weekday": 1, "date": "2026-01-05"}


def test_text_changes_signals_only() -> None:
    """The text is searched for the policy's signals, which a test may overrule; it stands in no fact."""
    around = world(POLICY, {"text": "URGENT xyzzy"})
    assert around.facts == world(POLICY, {}).facts | {"signals": {"urgent": True}}
    assert world(POLICY, {"text": "URGENT", "signals": {"urgent": False}}).facts["signals"] == {"urgent": False}


def test_every_fact_can_be_given_or_is_derived() -> None:
    """The tests' schema takes each part of the facts' schema; what it does not take is listed with the reason."""
    given = orjson.loads(find_shipped("schemas", "policy-test.schema.json").read_bytes())["definitions"]["given"]
    assert set(facts.schema()["properties"]) - set(given["properties"]) == {p for p in DERIVED if "." not in p}


TREES = st.recursive(
    st.integers(0, 3) | st.lists(st.integers(0, 2), max_size=2),
    lambda below: st.dictionaries(st.sampled_from("abc"), below, max_size=3),
    max_leaves=8,
)
MAPS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)


@settings(deadline=None, max_examples=150)
@given(MAPS, MAPS)
def test_merging_replaces_what_is_said_again(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Nothing given is neutral, what is not a map on both sides is the newer, and inputs stay as they are."""
    before = orjson.dumps([a, b])
    made = merged(a, b)
    assert merged(a, {}) == a == merged({}, a) == merged(a, a)
    for key in set(a) | set(b):
        if isinstance(a.get(key), dict) and isinstance(b.get(key), dict):
            assert made[key] == merged(a[key], b[key])
        else:
            assert made[key] == b.get(key, a.get(key))
    assert orjson.dumps([a, b]) == before
