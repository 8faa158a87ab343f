"""Who steps back, for how long, and who is none the worse."""

from __future__ import annotations

from typing import get_args

import pytest

from engine.llm.errors import ProviderError
from engine.llm.meanings import EFFECTS, Meaning
from engine.policy.case import READY
from engine.policy.load import load_text
from engine.policy.model import Policy
from engine.providers.breaker import IN_A_ROW, OPEN_SECONDS, WINDOW
from engine.providers.credentials import Credentials
from engine.providers.health import MAX_PLACES, Health
from engine.providers.ward import Place

POLICY: Policy = load_text(
    """version: 1
providers:
  one: {protocol: openai-chat, base_url: "http://127.0.0.1:1", api_key_env: ONE_KEY}
  two: {protocol: openai-chat, base_url: "http://127.0.0.1:2", api_key_env: [TWO_KEY, OTHER_KEY]}
models:
  one/m: {}
  two/m: {}
routes: {fallback_safe: [one, two]}
"""
)
KEYS = Credentials(POLICY.providers.values(), {"ONE_KEY": "j", "TWO_KEY": "k"})


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


def place(name: str = "one", model: str = "m", key: str | None = None) -> Place:
    ours = KEYS.keys(POLICY.providers[name])[0].digest if name in POLICY.providers else ""
    return Place(name, ours if key is None else key, model)


def fail(health: Health, meaning: Meaning, wait: float | None = None, at: Place | None = None) -> None:
    trial = health.begin(at or place())
    health.failed(trial, failure(meaning, wait))


def answer(health: Health, latency: float = 100.0, at: Place | None = None) -> None:
    trial = health.begin(at or place())
    health.answered(trial, latency)


@pytest.mark.parametrize("meaning", get_args(Meaning))
def test_what_a_failure_does(health: Health, clock: Clock, meaning: Meaning) -> None:
    """As the table says: nothing, at once for its time, or after three in a row; to the model, the key or the provider."""
    effect = EFFECTS[meaning]
    answer(health, at=place(model="other"))
    answer(health, at=place(key="another"))
    failures = 0
    while health.availability(POLICY, KEYS).get("one/m", READY).healthy and failures < 10:
        fail(health, meaning)
        failures += 1
    assert failures == (10 if not effect.scope else 1 if effect.cool_down else IN_A_ROW)
    states = health.availability(POLICY, KEYS)
    if not effect.scope:
        assert states.get("one/m", READY).error_rate == 0
        return
    assert states["one"].healthy == (effect.scope == "model")
    assert states["one/other"].healthy == (effect.scope == "model")
    assert (not health.admits(place(key="another"))) == (effect.scope == "provider")
    assert states["two"].healthy
    clock.now += (effect.cool_down or OPEN_SECONDS) - 0.1
    assert not health.admits(place())
    clock.now += 0.2
    assert health.admits(place())


def test_a_callers_mistake_says_nothing_of_anybody(health: Health) -> None:
    """Ten thousand bad requests leave every provider as it was."""
    for _ in range(10_000):
        fail(health, "invalid_request")
    assert health.availability(POLICY, KEYS)["one"] == READY


def test_the_providers_own_time_counts(health: Health, clock: Clock) -> None:
    """As long as it said, a day at most; a shorter later word does not shorten it."""
    fail(health, "rate_limit", 50)
    fail(health, "rate_limit", 5)
    clock.now += 49
    assert not health.admits(place())
    clock.now += 2
    assert health.admits(place())
    fail(health, "rate_limit", 10**9)
    clock.now += 24 * 3600 + 1
    assert health.admits(place())


def test_the_longer_of_breaker_and_cool_down_holds(health: Health, clock: Clock) -> None:
    """Neither shortens the other, whichever came first."""
    for wait, expected in ((10.0, OPEN_SECONDS), (100.0, 100.0)):
        name = f"m{wait:g}"
        fail(health, "rate_limit", wait, place(model=name))
        for _ in range(3):
            fail(health, "server_error", at=place(model=name))
        began = clock.now
        clock.now = began + expected - 0.1
        assert not health.admits(place(model=name))
        clock.now = began + expected
        assert health.admits(place(model=name))


def test_an_answer_ends_a_cool_down_it_was_asked_in(health: Health, clock: Clock) -> None:
    """One that was under way when the provider said to wait tells nothing of the time after."""
    early = health.begin(place())
    clock.now += 1
    fail(health, "rate_limit", 50)
    clock.now += 1
    health.answered(early, 100)
    assert not health.admits(place())
    answer(health)
    assert health.admits(place())


def test_a_login_is_not_blamed_for_another(health: Health) -> None:
    """Of a row that takes the caller's own credential, every login has its own state."""
    policy = load_text(
        'version: 1\nproviders: {v: {protocol: openai-chat, base_url: "http://127.0.0.1:1", auth: client}}\n'
        "models: {v/m: {}}\nroutes: {fallback_safe: [v]}\n"
    )
    keys = Credentials(policy.providers.values(), {})
    fail(health, "quota", at=Place("v", "aaaa", "m"))
    assert not health.availability(policy, keys, "aaaa")["v"].healthy
    assert health.availability(policy, keys, "bbbb")["v"].healthy
    answer(health, at=Place("v", "aaaa", "m"))
    assert health.availability(policy, keys, "aaaa")["v"].healthy


def test_a_mid_stream_failure_counts(health: Health) -> None:
    """Its beginning looked well; three such streams open the breaker."""
    trials = [health.begin(place()) for _ in range(3)]
    for trial in trials:
        health.answered(trial, 100)
    assert health.availability(POLICY, KEYS)["one/m"].error_rate == 0
    for trial in trials:
        health.failed(trial, failure("broken"))
    state = health.availability(POLICY, KEYS)["one/m"]
    assert (state.state, state.healthy, state.error_rate) == ("open", False, 1.0)


def test_latency_is_a_median_and_the_rate_a_share(health: Health, clock: Clock) -> None:
    """Per model and over all of a provider; the rate forgets after the window, the latency does not."""
    for latency in (100, 5000, 120):
        answer(health, latency)
    answer(health, 900, place(model="other"))
    fail(health, "overloaded")
    states = health.availability(POLICY, KEYS)
    assert (states["one/m"].latency_p50_ms, states["one/other"].latency_p50_ms) == (120, 900)
    assert (states["one"].latency_p50_ms, states["one/m"].error_rate, states["one"].error_rate) == (510, 0.25, 0.2)
    clock.now += WINDOW + 1
    later = health.availability(POLICY, KEYS)["one/m"]
    assert (later.latency_p50_ms, later.error_rate, later.state) == (120, 0.0, "closed")


def test_few_at_a_time_while_it_recovers(health: Health, clock: Clock) -> None:
    """The state that a decision sees says so: with a probe under way it is not healthy."""
    for _ in range(3):
        fail(health, "server_error")
    clock.now += OPEN_SECONDS
    assert health.availability(POLICY, KEYS)["one/m"].healthy
    probe = health.begin(place())
    state = health.availability(POLICY, KEYS)["one/m"]
    assert (state.state, state.healthy) == ("recovering", False)
    assert not health.admits(place())
    health.answered(probe, 100)
    assert health.availability(POLICY, KEYS)["one/m"].healthy


def test_it_heals_under_constant_traffic(health: Health, clock: Clock) -> None:
    """A request every second: it is asked again as soon as its time is over, and closed three answers later."""
    for _ in range(3):
        fail(health, "server_error")
    served = 0
    for _ in range(40):
        clock.now += 1
        if health.admits(place()):
            served += 1
            answer(health)
    assert served == 11
    assert health.availability(POLICY, KEYS)["one/m"].state == "closed"


def test_a_snapshot_does_not_change(health: Health) -> None:
    """A request under way keeps the states it was decided with."""
    before = health.availability(POLICY, KEYS)
    fail(health, "quota")
    after = health.availability(POLICY, KEYS)
    assert (before["one"].healthy, after["one"].healthy) == (True, False)
    assert before["two"] is after["two"]
    assert after is health.availability(POLICY, KEYS)


def test_names_of_clients_are_bounded(health: Health) -> None:
    """A client that asks for ever new models does not fill the memory."""
    for number in range(MAX_PLACES + 50):
        fail(health, "not_found", at=place(model=f"m{number}"))
    assert sum(1 for _ in health.wards()) <= MAX_PLACES + 2


def test_missing_keys_are_told(health: Health) -> None:
    """By the first of the variables that would do."""
    states = health.availability(POLICY, Credentials(POLICY.providers.values(), {}))
    assert (states["two"].key, states["two"].missing) == (False, ("TWO_KEY",))


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
    fail(health, "rate_limit", at=place("gone"))
    answer(health, at=place("gone"))
    assert "gone" not in health.availability(POLICY, KEYS)


def test_the_rows_for_people(health: Health) -> None:
    """State, reason and time left, of the provider and of each model that was asked."""
    fail(health, "quota", 20)
    for _ in range(3):
        fail(health, "timeout", at=place("two"))
    rows = {row["provider"]: row for row in health.snapshot(POLICY, KEYS)}
    one, two = rows["one"], rows["two"]
    assert (one["healthy"], one["reason"], one["retryInSeconds"], one["state"]) == (False, "quota", 20.0, "closed")
    assert (two["healthy"], two["key"], two["state"]) == (True, True, "closed")
    model = two["models"][0]
    assert (model["model"], model["state"], model["reason"], model["retryInSeconds"]) == ("m", "open", "timeout", 30.0)
