"""Routes that put their candidates in order by an expression: stable, checked, explained."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.policy.availability import availability_of
from engine.policy.decide import decide
from engine.policy.explain import explain
from engine.policy.load import check_text
from tests.policy.policies import ROWS, asked, policy, refs, request

USE = ["alpha/al-big", "alpha/al-small", "beta/be-big", "gamma/shared", "toy/one"]
"""Only the first two have a price."""
CHEAP = "estimate.cost_usd < 0.0 ? 1000.0 : estimate.cost_usd"


def ordered(by: str) -> str:
    return f"routes: {{fallback_safe: {{use: [{', '.join(USE)}], order: '{by}'}}}}\n"


def test_by_cost() -> None:
    """The cheapest first; those without a price keep the order written, where the expression puts them."""
    found = refs(asked(policy(ordered(CHEAP)), estimate__input_tokens=1000))
    assert found == ["alpha/al-small", "alpha/al-big", "beta/be-big", "gamma/shared", "toy/one"]


def test_by_latency_and_weights() -> None:
    """Facts of providers and models, weighed against each other."""
    states = availability_of({"latencyMs": {"alpha": 900.0, "beta": 100.0, "gamma": 400.0, "toy": 100.0}})
    by = policy(ordered("provider.latency_p50_ms"))
    found = refs(decide(by, request(), states))
    assert found == ["beta/be-big", "toy/one", "gamma/shared", "alpha/al-big", "alpha/al-small"]
    by = policy(ordered("provider.latency_p50_ms / 1000.0 + (model.local ? 0.0 : 0.5) + provider.error_rate * 10.0"))
    assert refs(decide(by, request(), states))[:2] == ["gamma/shared", "beta/be-big"]


@settings(max_examples=50, deadline=None)
@given(st.permutations(USE), st.sampled_from(["1.0", CHEAP, "provider.latency_p50_ms", "1.0 / estimate.cost_usd"]))
def test_ties_keep_the_order_written(use: list[str], by: str) -> None:
    """Equal numbers leave the written order alone; a candidate for which there is no number goes last."""
    text = f"routes: {{fallback_safe: {{use: [{', '.join(use)}], order: '{by}'}}}}\n"
    found = refs(asked(policy(text), estimate__input_tokens=1000))
    unpriced = [ref for ref in use if not ref.startswith("alpha/")]
    assert sorted(found) == sorted(use)
    assert [ref for ref in found if ref in unpriced] == unpriced


def test_the_numbers_are_explained() -> None:
    """Each candidate with its number and the facts that it was made of."""
    told = explain(policy(ordered(CHEAP)), request(estimate__input_tokens=1000), {})
    numbers = {choice.ref: choice.order[0].outcome for choice in told.candidates if choice.order}
    assert numbers["alpha/al-small"] == "0.001"
    assert numbers["beta/be-big"] == "1000.0"


@pytest.mark.parametrize(
    ("by", "said"),
    [("model.local", "bool"), ("provider.latency", "did you mean"), ('"cheap"', "string"), ("estimate.cost_usd +", "")],
)
def test_mistakes_are_told_at_load(by: str, said: str) -> None:
    """An order is a number over facts that there are."""
    text = ROWS + "routes: {fallback_safe: {use: [alpha], order: " + repr(by) + "}}"
    problems: list[Any] = [p for p in check_text(text, file="p.yaml") if p.level == "error"]
    assert problems
    assert said in problems[0].message
