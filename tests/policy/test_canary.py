"""Canaries: a share of the sessions tries other candidates first, and stays with them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.policy.decision import Decision
from engine.policy.explain import explain
from engine.policy.facts import BUCKETS, bucket
from engine.policy.load import check_text
from engine.store.event import decision_json
from tests.policy.policies import ROWS, asked, policy, refs, request

TRIAL = """
routes:
  fallback_safe:
    use: [requested, beta/be-blind]
    canary: {percent: %s, use: [gamma/plain, {use: beta/be-big, when: request.stream}], id: small-trial}
"""


def drawn(percent: str, number: int, **fields: object) -> Decision:
    return asked(policy(TRIAL % percent), session__bucket=number, **fields)


def test_drawn_sessions_try_the_canary_first() -> None:
    """Its candidates stand in front, those of the route behind, and the decision names it."""
    decision = drawn("10", 999)
    assert refs(decision) == ["gamma/plain", "alpha/al-big", "beta/be-blind"]
    assert (decision.canary, decision.candidates[0].rule) == ("small-trial", "small-trial")
    [hit] = decision.hits
    assert (hit.section, hit.id, hit.outcome) == ("route", "small-trial", "true")
    assert hit.detail == "CANARY 10 %: session.bucket 999 < 1000"
    assert decision_json(decision)["canary"] == "small-trial"


def test_other_sessions_see_nothing_of_it() -> None:
    """The first bucket behind the share has the route as it is written, and no trace of the canary."""
    decision = drawn("10", 1000)
    assert refs(decision) == ["alpha/al-big", "beta/be-blind"]
    assert (decision.canary, decision.hits) == ("", ())
    assert "canary" not in decision_json(decision)


@pytest.mark.parametrize(
    ("percent", "buckets"), [("0", 0), ("0.01", 1), ("12.34", 1234), ("0.29", 29), ("100", BUCKETS)]
)
def test_shares_are_exact_to_a_hundredth_of_a_percent(percent: str, buckets: int) -> None:
    """Two decimals of a percent are whole buckets, whatever binary fractions do."""
    near = {0, 1, buckets - 1, buckets, buckets + 1, BUCKETS - 1} & set(range(BUCKETS))
    assert {number for number in near if drawn(percent, number).canary} == {n for n in near if n < buckets}


def test_a_canary_s_own_conditions_are_asked_of_drawn_sessions_only() -> None:
    """An entry with `when` joins when it holds."""
    assert refs(drawn("10", 0, stream=True)) == ["gamma/plain", "beta/be-big", "alpha/al-big", "beta/be-blind"]
    assert refs(drawn("10", 5000, stream=True)) == ["alpha/al-big", "beta/be-blind"]


def test_the_gate_s_rules_hold_for_a_canary_too() -> None:
    """A request with tools does not go to a model without them, trial or not; the route answers."""
    decision = drawn("100", 0, tools=1)
    assert refs(decision) == ["alpha/al-big", "beta/be-blind"]
    assert decision.candidates[0].rule == "floor.tools"


def test_an_order_does_not_push_a_canary_back() -> None:
    """The route's `order` sorts the canary's among themselves, then the others."""
    text = """
routes:
  fallback_safe:
    use: [beta/be-big, alpha/al-small]
    order: double(model.context)
    canary: {percent: 100, use: [alpha/al-big, beta/be-blind], id: other-way}
"""
    assert refs(asked(policy(text))) == ["beta/be-blind", "alpha/al-big", "alpha/al-small", "beta/be-big"]


def test_a_model_of_both_stands_once_and_first() -> None:
    """What the canary names needs no second place in the route."""
    text = "routes: {fallback_safe: {use: [alpha/al-big, gamma/plain], canary: {percent: 50, use: [gamma/plain], id: swap}}}"
    assert refs(asked(policy(text))) == ["gamma/plain", "alpha/al-big"]
    assert refs(asked(policy(text), session__bucket=5000)) == ["alpha/al-big", "gamma/plain"]


def test_an_override_s_candidates_have_no_canary() -> None:
    """Who pins a model gets it."""
    text = TRIAL % "100" + "overrides: [{id: pin, when: request.pinned_model != '', use: [pinned]}]"
    decision = asked(policy(text), pinned_model="alpha/al-small")
    assert (refs(decision), decision.canary) == (["alpha/al-small"], "")


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1, max_size=40), st.integers(0, BUCKETS), st.integers(0, BUCKETS))
def test_a_session_stays_drawn_when_the_share_grows(session: str, one: int, other: int) -> None:
    """Widening a canary never takes it away from a session that has it."""
    small, large = sorted((one, other))
    number = bucket(session)
    if drawn(f"{small / 100:g}", number).canary:
        assert drawn(f"{large / 100:g}", number).canary == "small-trial"


@pytest.mark.parametrize(
    ("canary", "rule", "message"),
    [
        ("{percent: 0.125, use: [requested], id: a}", "canary-percent", "0.125 is drawn no finer than a hundredth of a percent"),
        ("{percent: 101, use: [requested], id: a}", "schema-value", "101 is out of range: at most 100"),
        ("{percent: ten, use: [requested], id: a}", "schema-type", "this must be a number, not the text 'ten'"),
        ("{percent: 10, use: [requested]}", "schema-missing", "`id` is missing"),
        ("{percent: 10, use: [], id: a}", "schema-value", "this list must not be empty"),
        ("{percent: 10, use: [beta/nobody], id: a}", "unknown-model", "'beta' has no model 'nobody'"),
        ("{percent: 10, use: [requested], id: a, by: x}", "schema-unknown-key", "unknown key 'by'"),
    ],
)  # fmt: skip
def test_mistakes_in_a_canary_are_told(canary: str, rule: str, message: str) -> None:
    """Each once, and nothing else is blamed for it."""
    told = check_text(ROWS + f"routes: {{fallback_safe: {{use: [requested], canary: {canary}}}}}\n", file="p.yaml")
    assert [(p.rule, p.message) for p in told] == [(rule, message)]


def test_an_explanation_says_who_is_drawn() -> None:
    """The route's line tells the canary's share and the session's bucket; a drawn model stands first for that reason."""
    compiled = policy(TRIAL % "10")
    drawn_one = explain(compiled, request(session__bucket=12), {})
    assert drawn_one.route_detail == "canary small-trial goes first: 10 %, session.bucket < 1000 (12)"
    assert [(choice.ref, choice.reason) for choice in drawn_one.candidates][:2] == [
        ("gamma/plain", "CANARY"),
        ("alpha/al-big", "FALLBACK"),
    ]
    other = explain(compiled, request(session__bucket=1652), {})
    assert other.route_detail == "canary small-trial passes this session by: 10 %, session.bucket < 1000 (1652)"
    assert [(entry.outcome, entry.detail) for entry in other.entries[:2]] == [("false", "canary small-trial")] * 2
    assert [choice.reason for choice in other.candidates] == [None, "FALLBACK"]
