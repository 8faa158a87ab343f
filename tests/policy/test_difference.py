"""How decisions differ."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.policy.availability import availability_of
from engine.policy.decide import begin, classify, finish, gate
from engine.policy.difference import KINDS, Outcome, differences
from engine.policy.facts import complete, schema
from engine.policy.load import load_policy
from engine.policy.shipped import shipped_policies
from engine.store.event import decision_json

SERVED = Outcome("a", "", ("p/m", "p/n"), "openai-chat", preserve=True)


def changed(**fields: Any) -> Outcome:
    base = {
        "route_class": "a", "refused": "", "chain": ("p/m", "p/n"), "protocol": "openai-chat", "preserve": True, "losses": ()
    }  # fmt: skip
    return Outcome(**(base | fields))


DENIED = Outcome("a", "rule")
UNSERVED = Outcome("a", "no_candidate")


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        (SERVED, SERVED, ()),
        (SERVED, DENIED, ("denied",)),
        (SERVED, UNSERVED, ("unserved",)),
        (DENIED, SERVED, ("allowed",)),
        (UNSERVED, SERVED, ("allowed",)),
        (DENIED, UNSERVED, ("refusal",)),
        (DENIED, Outcome("a", "other"), ("refusal",)),
        (DENIED, Outcome("b", "rule"), ("class",)),
        (SERVED, changed(chain=("p/n", "p/m")), ("model",)),
        (SERVED, changed(chain=("p/n", "p/m"), route_class="b"), ("model", "class")),
        (SERVED, changed(protocol="openai-responses", preserve=False), ("protocol",)),
        (SERVED, changed(preserve=False, losses=("top_k",)), ("protocol", "losses")),
        (SERVED, changed(losses=("top_k",)), ("losses",)),
        (SERVED, changed(route_class="b"), ("class",)),
        (SERVED, changed(chain=("p/m",)), ("fallback",)),
        (SERVED, Outcome("b", "rule"), ("denied", "class")),
    ],
)
def test_kinds(old: Outcome, new: Outcome, kinds: tuple[str, ...]) -> None:
    """Every way to differ has a name; the weightiest comes first."""
    assert differences(old, new) == kinds
    assert list(kinds) == [kind for kind in KINDS if kind in kinds]


POLICIES = {name: load_policy(name) for name in shipped_policies()}

FACTS = st.fixed_dictionaries(
    {
        "request": st.fixed_dictionaries(
            {
                "protocol": st.sampled_from(["anthropic-messages", "openai-responses", "openai-chat"]),
                "model": st.sampled_from(["claude-opus-5-5", "gpt-6-sol", "nobody", "groq/openai/gpt-oss-120b"]),
                "tools": st.sampled_from([0, 4]),
                "tool_calls": st.sampled_from([0, 4]),
                "requires": st.sampled_from([[], ["cache_control"], ["document", "image"]]),
                "purpose": st.sampled_from(["", "title"]),
                "secrets": st.sampled_from([0, 1]),
                "pinned_model": st.sampled_from(["", "openai/gpt-6-sol"]),
                "pinned_class": st.sampled_from(["", "deep_reasoning", "nonsense"]),
            }
        ),
        "client": st.fixed_dictionaries({"name": st.sampled_from(["claude-code", "codex", "unknown"])}),
        "estimate": st.fixed_dictionaries({"input_tokens": st.sampled_from([100, 20_000, 190_000, 2_000_000])}),
        "budget": st.fixed_dictionaries({"day_usd": st.sampled_from([0.0, 500.0])}),
        "signals": st.fixed_dictionaries({"design": st.booleans(), "debugging": st.booleans()}),
    }
)  # fmt: skip
STATES = st.sampled_from(
    [{}, {"noKey": ["anthropic"]}, {"noKey": ["openai", "groq", "cerebras", "cloudflare"]}, {"cooling": ["anthropic", "ollama"]}]
)  # fmt: skip


@given(name=st.sampled_from(sorted(POLICIES)), given=FACTS, states=STATES)
@settings(deadline=None, max_examples=150)
def test_outcomes_agree(name: str, given: dict[str, Any], states: dict[str, Any]) -> None:
    """A decided case, its decision and the decision's record mean the same."""
    case = begin(POLICIES[name], complete(given, schema()), availability_of(states))
    classify(case)
    gate(case)
    decision = finish(case)
    assert Outcome.of_case(case) == Outcome.of(decision) == Outcome.of_json(decision_json(decision))


@pytest.mark.parametrize("damaged", [{}, {"routeClass": "a"}, {"routeClass": "a", "candidates": [3]}, {"denial": 3}])
def test_a_damaged_record_means_nothing(damaged: dict[str, Any]) -> None:
    """A recorded decision that can't be read is None, not a guess."""
    assert Outcome.of_json(damaged) is None
