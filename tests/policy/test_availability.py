"""The recorded state of the providers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.policy.availability import availability_json, availability_of
from engine.policy.case import READY, ProviderState

STATES = st.dictionaries(
    st.sampled_from(["a", "b", "a/m"]),
    st.builds(
        ProviderState,
        key=st.booleans(),
        healthy=st.booleans(),
        state=st.sampled_from(["closed", "open"]),
        limited=st.booleans(),
        latency_p50_ms=st.sampled_from([0.0, 12.5]),
        error_rate=st.sampled_from([0.0, 0.25]),
    ),
)


@given(states=STATES)
@settings(deadline=None, max_examples=100)
def test_what_was_recorded_comes_back(states: dict[str, ProviderState]) -> None:
    """Every state is the same after recording; a provider that was ready is not written at all."""
    found = availability_of(availability_json(states))
    assert {name: found.get(name, READY) for name in states} == states
    assert [name for name, state in found.items() if state == READY] == []


def test_nothing_special_is_nothing() -> None:
    """With all providers ready, the record is empty."""
    assert availability_json({"a": READY}) == {}
