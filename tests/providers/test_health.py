"""Who steps back, for how long, and who is none the worse."""

from __future__ import annotations

from typing import get_args

import pytest

from engine.llm.errors import Meaning, ProviderError
from engine.policy.load import load_text
from engine.policy.model import Policy
from engine.providers.credentials import Credentials
from engine.providers.health import Health

POLICY: Policy = load_text(
    """version: 1
providers:
  one: {protocol: openai-chat, base_url: "http://127.0.0.1:1", auth: none}
  two: {protocol: openai-chat, base_url: "http://127.0.0.1:2", api_key_env: [TWO_KEY, OTHER_KEY]}
models:
  one/m: {}
  two/m: {}
routes: {fallback_safe: [one, two]}
"""
)
KEYS = Credentials(POLICY.providers.values(), {"TWO_KEY": "k"})


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Stands still until moved."""
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock)


def healthy(health: Health, name: str = "one") -> bool:
    return health.availability(POLICY, KEYS)[name].healthy


def failure(meaning: Meaning, wait: float | None = None) -> ProviderError:
    return ProviderError("x", meaning=meaning, retry_after=wait)


FAULTLESS = {"invalid_request", "context_length", "content_policy", "incompatible", "not_found", "permission"}
AT_ONCE = {"rate_limit": 10, "quota": 600, "authentication": 300}


@pytest.mark.parametrize("meaning", get_args(Meaning))
def test_what_a_failure_does(health: Health, clock: Clock, meaning: Meaning) -> None:
    """The request's own faults change nothing; waits step back at once; the rest only after three in a row, for 30 s."""
    failures = 0
    while healthy(health) and failures < 10:
        health.failed("one", failure(meaning))
        failures += 1
    expected = 10 if meaning in FAULTLESS else 1 if meaning in AT_ONCE else 3
    assert failures == expected
    if meaning not in FAULTLESS:
        wait = AT_ONCE.get(meaning, 30)
        clock.now += wait - 0.1
        assert not healthy(health)
        clock.now += 0.2
        assert healthy(health)
    assert healthy(health, "two")


def test_the_providers_own_time_counts(health: Health, clock: Clock) -> None:
    """As long as it said, a day at most; a shorter later word does not shorten it."""
    health.failed("one", failure("rate_limit", 50))
    health.failed("one", failure("rate_limit", 5))
    clock.now += 49
    assert not healthy(health)
    clock.now += 2
    assert healthy(health)
    health.failed("one", failure("rate_limit", 10**9))
    clock.now += 24 * 3600 + 1
    assert healthy(health)


def test_success_heals(health: Health) -> None:
    """One answer ends the cool-down and the count."""
    for _ in range(3):
        health.failed("one", failure("server_error"))
    assert not healthy(health)
    health.succeeded("one", 100)
    assert healthy(health)
    health.failed("one", failure("server_error"))
    health.failed("one", failure("server_error"))
    assert healthy(health)


def test_latency_and_error_rate_follow_the_attempts(health: Health) -> None:
    """Latency towards the newest answers; the error rate up with failures, down with answers."""
    health.succeeded("one", 100)
    health.succeeded("one", 200)
    state = health.availability(POLICY, KEYS)["one"]
    assert state.latency_ms == 120
    for _ in range(5):
        health.failed("one", failure("overloaded"))
    worse = health.availability(POLICY, KEYS)["one"].error_rate
    health.succeeded("one", 100)
    assert 0 < health.availability(POLICY, KEYS)["one"].error_rate < worse < 1


def test_a_snapshot_does_not_change(health: Health) -> None:
    """A request under way keeps the states it was decided with."""
    before = health.availability(POLICY, KEYS)
    health.failed("one", failure("rate_limit"))
    after = health.availability(POLICY, KEYS)
    assert (before["one"].healthy, after["one"].healthy) == (True, False)
    assert before["two"] is after["two"]
    assert after is health.availability(POLICY, KEYS)


def test_missing_keys_are_told(health: Health) -> None:
    """By the first of the variables that would do."""
    states = health.availability(POLICY, Credentials(POLICY.providers.values(), {}))
    assert (states["two"].key, states["two"].missing, states["one"].key) == (False, ("TWO_KEY",), True)


def test_another_policy_is_seen_at_once(health: Health) -> None:
    """After a reload the states are those of its providers."""
    health.availability(POLICY, KEYS)
    other = load_text(
        'version: 1\nproviders:\n  three: {protocol: openai-chat, base_url: "http://127.0.0.1:3", auth: none}\n'
        "models:\n  three/m: {}\nroutes: {fallback_safe: [three]}\n"
    )
    assert "three" in health.availability(other, Credentials(other.providers.values(), {}))


def test_a_failure_of_an_unknown_provider_is_no_matter(health: Health) -> None:
    """A request under way may speak of a row that a reload took away."""
    health.availability(POLICY, KEYS)
    health.failed("gone", failure("rate_limit"))
    health.succeeded("gone", 1)
    assert "gone" not in health.availability(POLICY, KEYS)


def test_the_snapshot_for_people(health: Health) -> None:
    """One row per provider, with the time left."""
    health.failed("one", failure("rate_limit", 20))
    rows = {row["provider"]: row for row in health.snapshot(POLICY, KEYS)}
    assert (rows["one"]["healthy"], rows["one"]["retryInSeconds"]) == (False, 20.0)
    assert (rows["two"]["healthy"], rows["two"]["key"]) == (True, True)
