"""What a row allows per minute and day, on clocks that only the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Provider, RateLimits
from engine.providers.limits import MINUTE, Limits
from engine.store.event import AttemptEvent, Event

BEGIN = datetime(2026, 11, 26, 20, 0, tzinfo=UTC)


class Clocks:
    """A monotonic and a local clock that go together."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return 500.0 + self.passed

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.passed)


@pytest.fixture
def clocks() -> Clocks:
    """20:00, standing still."""
    return Clocks()


@pytest.fixture
def limits(clocks: Clocks) -> Limits:
    return Limits(clocks.monotonic, clocks.now)


def row(**limits: int) -> Provider:
    return Provider("p", {"openai-chat": "http://127.0.0.1:1"}, limits=RateLimits(**limits))


def test_requests_per_minute(limits: Limits, clocks: Clocks) -> None:
    """The eleventh waits until the first is a minute old."""
    provider = row(requests_per_minute=10)
    for _ in range(10):
        assert limits.wait(provider) == 0
        limits.take(provider, 100)
        clocks.passed += 1
    assert limits.wait(provider) == MINUTE - 10
    clocks.passed += MINUTE - 10
    assert limits.wait(provider) == 0


def test_tokens_per_minute_wait_for_as_many_as_are_needed(limits: Limits, clocks: Clocks) -> None:
    """A larger request waits for more of the earlier ones to grow old; the largest goes when all have."""
    provider = row(tokens_per_minute=1000)
    for _ in range(4):
        limits.take(provider, 250)
        clocks.passed += 10
    assert [limits.wait(provider, tokens) for tokens in (1, 250, 251, 1000, 9999)] == [20, 20, 30, 50, 50]
    clocks.passed += 50
    assert limits.wait(provider, 9999) == 0


def test_tokens_are_settled(limits: Limits) -> None:
    """The answer's own usage replaces the estimate, both ways, once or twice."""
    provider = row(tokens_per_minute=1000, tokens_per_day=5000)
    taken = limits.take(provider, 900)
    assert limits.wait(provider, 200) > 0
    limits.settle(taken, 100)
    assert limits.wait(provider, 200) == 0
    limits.settle(taken, 4900)
    assert limits.report(provider) == {
        "tokensPerMinute": {"used": 4900, "limit": 1000},
        "tokensPerDay": {"used": 4900, "limit": 5000},
    }


def test_a_day_ends_at_midnight(limits: Limits, clocks: Clocks) -> None:
    """Four hours to go, then everything is new; what is settled after midnight belongs to the day before."""
    provider = row(requests_per_day=2, tokens_per_day=1000)
    taken = [limits.take(provider, 10) for _ in range(2)]
    assert limits.wait(provider) == 4 * 3600
    clocks.passed += 4 * 3600
    assert limits.wait(provider) == 0
    limits.settle(taken[0], 900)
    assert limits.report(provider)["tokensPerDay"]["used"] == 0


def test_a_row_without_limits_counts_nothing(limits: Limits) -> None:
    """Not even memory is used."""
    assert limits.take(row(), 10) is None
    limits.settle(None, 5)
    assert (limits.wait(row(), 10**9), limits.changed) == (0.0, set())


def test_the_day_so_far_is_read_from_the_ledger(limits: Limits) -> None:
    """Attempts count as requests, failed ones too; tokens are those of the provider that answered."""
    asked: list[datetime] = []

    def events(since: datetime) -> list[Event]:
        asked.append(since)
        tried = (AttemptEvent("p", "m", "openai-chat", meaning="overloaded"), AttemptEvent("q", "m", "openai-chat"))
        other = Event("1", "t", "c", "openai-chat", selected_provider="q", input_tokens=7, attempts=tried)
        ours = Event(
            "2", "t", "c", "openai-chat", selected_provider="p", input_tokens=50, output_tokens=20, attempts=tried[:1]
        )
        return [other, ours]

    provider = row(requests_per_day=3, tokens_per_day=100)
    limits.begin([provider], events)
    assert asked == [BEGIN.replace(hour=0)]
    assert limits.report(provider)["requestsPerDay"]["used"] == 2
    assert limits.report(provider)["tokensPerDay"]["used"] == 70
    limits.begin([row(requests_per_minute=1)], events)
    assert len(asked) == 1


@given(
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 400)), max_size=60),
    requests=st.integers(1, 6),
    tokens=st.integers(100, 1000),
)
@settings(deadline=None, max_examples=200)
def test_no_minute_ever_holds_more(steps: list[tuple[float, int]], requests: int, tokens: int) -> None:
    """Whoever asks first and waits as told stays within the limits in every window of sixty seconds."""
    clocks = Clocks()
    limits = Limits(clocks.monotonic, clocks.now)
    provider = row(requests_per_minute=requests, tokens_per_minute=tokens)
    sent: list[tuple[float, int]] = []
    for pause, size in steps:
        clocks.passed += pause
        wait = limits.wait(provider, size)
        if wait:
            clocks.passed += wait + 1e-6
            assert limits.wait(provider, size) == 0
        limits.take(provider, size)
        sent.append((clocks.passed, size))
    for end, _ in sent:
        window = [size for at, size in sent if end - MINUTE < at <= end]
        assert len(window) <= requests
        assert sum(window) <= tokens or len(window) == 1
