"""Which requests a hedged route may have with two providers at once, and how it is told."""

from __future__ import annotations

from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cli.explain_text import render
from engine.explained import walk
from engine.llm.losses import LOSSES
from engine.pipeline import compile_pipeline
from engine.policy.availability import availability_of
from engine.policy.decide import decide
from engine.policy.explain import explain
from engine.policy.facts import complete, schema
from engine.policy.hedging import _BOUND, bound
from tests.policy.policies import policy, request
from tests.policy.test_difference import FACTS, STATES

HEDGED = policy("routes: {fallback_safe: {use: [requested, alpha, beta], hedge: {after_ms: 1500}}}\n")
PLAIN = policy("routes: {fallback_safe: [requested, alpha, beta]}\n")
READY = availability_of({})


def test_the_codes_are_codes() -> None:
    """A code that is renamed is renamed here too."""
    assert set(LOSSES) >= _BOUND


@given(facts=FACTS, states=STATES, tied=st.sampled_from(["", *sorted(_BOUND), "stored"]))
@settings(deadline=None, max_examples=100)
def test_what_one_provider_keeps_is_never_hedged(facts: dict[str, Any], states: dict[str, Any], tied: str) -> None:
    """Whatever else holds; and a hedge changes nothing else about a decision, live or explained."""
    whole, availability = complete(facts, schema()), availability_of(states)
    if tied == "stored":
        whole["request"]["stored"] = True
    elif tied:
        whole["request"]["requires"] = sorted({*whole["request"]["requires"], tied})
    made, plain = decide(HEDGED, whole, availability), decide(PLAIN, whole, availability)
    assert made.candidates == plain.candidates
    assert plain.hedge_ms == 0
    assert made == compile_pipeline(HEDGED).decide(whole, availability)
    if tied or bound(whole["request"]):
        assert made.hedge_ms == 0
    elif made.denial is None:
        assert made.hedge_ms == 1500


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "hedged after 1,500 ms"),
        ({"stored": True}, "not hedged, for one provider must have it all: stored"),
        ({"requires": ["previous_response"]}, "not hedged, for one provider must have it all: previous_response"),
    ],
)
def test_an_explanation_says_whether_and_why_not(more: dict[str, Any], said: str) -> None:
    """Beside the route's name."""
    made = explain(HEDGED, request(**more), READY, walk)
    assert said in made.route_detail
    assert said in " ".join(click.unstyle(" ".join(render(made, width=100))).split())
    assert "hedged" not in explain(PLAIN, request(**more), READY, walk).route_detail
