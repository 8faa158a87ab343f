"""How much an outage may be asked again, on a clock that only the test moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.llm.catalogue import Provider, Retries
from engine.providers.retries import RetryBudgets


def row(**retries: float) -> Provider:
    return Provider("p", {"openai-chat": "http://127.0.0.1:1"}, retries=Retries(**retries))  # type: ignore[arg-type]


def test_a_few_at_first_then_a_share() -> None:
    """Ten at once; then one for each five requests."""
    budgets, provider, now = RetryBudgets(), row(share=0.2, per_minute=10), 100.0
    assert [budgets.take(provider, now) for _ in range(11)] == [True] * 10 + [False]
    taken = 0
    for _ in range(100):
        budgets.asked(provider, now)
        taken += budgets.take(provider, now)
    assert taken == 20


def test_time_brings_some_back_and_no_more_than_there_were() -> None:
    """Six seconds one, an hour ten."""
    budgets, provider = RetryBudgets(), row(share=0.0, per_minute=10)
    assert sum(budgets.take(provider, 0.0) for _ in range(20)) == 10
    assert [budgets.take(provider, now) for now in (5.9, 6.0, 6.1)] == [False, True, False]
    assert sum(budgets.take(provider, 3606.0) for _ in range(20)) == 10


def test_none_where_the_row_allows_none() -> None:
    """Whatever is asked, and however long."""
    budgets, provider = RetryBudgets(), row(share=1.0, per_minute=0)
    for now in range(100):
        budgets.asked(provider, float(now))
        assert not budgets.take(provider, float(now))


def test_an_edited_row_holds_at_once() -> None:
    """A smaller budget cuts off what is there, a larger one fills up with time."""
    budgets = RetryBudgets()
    budgets.asked(row(per_minute=10), 0.0)
    assert sum(budgets.take(row(per_minute=3), 0.0) for _ in range(10)) == 3


def test_providers_are_apart() -> None:
    """One's outage costs another nothing."""
    budgets, one = RetryBudgets(), row(per_minute=1)
    other = Provider("q", {"openai-chat": "http://127.0.0.1:2"}, retries=Retries(per_minute=1))
    assert (budgets.take(one, 0.0), budgets.take(one, 0.0), budgets.take(other, 0.0)) == (True, False, True)


@given(
    st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=200), st.floats(0, 1), st.integers(0, 20), st.data()
)
def test_over_any_time_the_bound_holds(
    moves: list[tuple[float, bool]], share: float, least: int, data: st.DataObject
) -> None:
    """From any move to any later one: the share of the requests, and so many a minute, and as many to begin with."""
    budgets, provider, now = RetryBudgets(), row(share=share, per_minute=least), 0.0
    told: list[tuple[float, bool, bool]] = []
    for pause, ask in moves:
        now += pause
        if ask:
            budgets.asked(provider, now)
        told.append((now, ask, not ask and budgets.take(provider, now)))
    first = data.draw(st.integers(0, len(told)))
    window = told[first:]
    if window:
        span = window[-1][0] - window[0][0]
        retried, asked = sum(taken for _, _, taken in window), sum(ask for _, ask, _ in window)
        assert retried <= least + share * asked + span * least / 60 + 1e-6
