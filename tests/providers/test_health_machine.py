"""Health as a whole against a plain model: breakers and cool-downs of models, keys and providers, on a clock the test moves."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.llm.errors import ProviderError
from engine.llm.meanings import EFFECTS, Meaning
from engine.policy.load import load_text
from engine.providers.breaker import Breaker, Outcome
from engine.providers.credentials import Credentials
from engine.providers.health import MAX_COOL_DOWN, Health
from engine.providers.ward import Place, Trial

POLICY = load_text(
    """version: 1
providers:
  one: {protocol: openai-chat, base_url: "http://127.0.0.1:1", api_key_env: ONE_KEY}
  two: {protocol: openai-chat, base_url: "http://127.0.0.1:2", auth: client}
models: {one/m: {}, one/n: {}, two/m: {}}
routes: {fallback_safe: [one/m, one/n, two/m]}
"""
)
KEYS = Credentials(POLICY.providers.values(), {"ONE_KEY": "j"})
OURS = KEYS.keys(POLICY.providers["one"])[0].digest
LOGINS = ("aaaa", "bbbb")
PLACES = [Place("one", OURS, "m"), Place("one", OURS, "n"), *(Place("two", login, "m") for login in LOGINS)]
MEANINGS: list[Meaning] = list(EFFECTS)


class Machine(RuleBasedStateMachine):
    """The model keeps a breaker for each model's place and each provider, and a moment of the end for each cool-down."""

    @initialize()
    def begin(self) -> None:
        self.now = 1000.0
        self.health = Health(lambda: self.now)
        self.breakers: dict[Place, Breaker] = {}
        self.cool: dict[Place, tuple[float, float]] = {}
        """Place → (since, until)."""
        self.trials: list[tuple[Trial, list[tuple[Place, Outcome]]]] = []

    def breaker(self, place: Place) -> Breaker:
        return self.breakers.setdefault(place, Breaker())

    def ready(self, place: Place) -> bool:
        return all(
            self.cool.get(where, (0.0, 0.0))[1] <= self.now
            and (where not in self.breakers or self.breakers[where].admits(self.now))
            for where in place.wider()
        )

    @rule(seconds=st.sampled_from([0.5, 9.0, 11.0, 31.0, 61.0, 301.0, 601.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(place=st.sampled_from(PLACES))
    def ask(self, place: Place) -> None:
        counted = [place, Place(place.provider)]
        self.trials.append((self.health.begin(place), [(at, self.breaker(at).begin(self.now)) for at in counted]))

    @precondition(lambda self: self.trials)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        trial, told = self.trials[data.draw(st.integers(0, len(self.trials) - 1))]
        if trial.ok is not None:
            return
        self.health.answered(trial, 100.0)
        for place, outcome in told:
            self.breaker(place).succeeded(outcome, self.now)
        for where in trial.place.wider():
            since, until = self.cool.get(where, (0.0, 0.0))
            if until > self.now and since <= trial.began:
                self.cool[where] = (since, self.now)

    @precondition(lambda self: self.trials)
    @rule(
        data=st.data(), meaning=st.sampled_from(MEANINGS), wait=st.sampled_from([None, None, 0.0, 5.0, 40.0, 10.0**9])
    )
    def fail(self, data: st.DataObject, meaning: Meaning, wait: float | None) -> None:
        trial, told = self.trials.pop(data.draw(st.integers(0, len(self.trials) - 1)))
        before = self.health.availability(POLICY, KEYS, "aaaa")
        self.health.failed(trial, ProviderError("x", meaning=meaning, retry_after=wait))
        effect = EFFECTS[meaning]
        if not effect.scope:
            for place, outcome in told:
                self.breaker(place).released(outcome)
            after = self.health.availability(POLICY, KEYS, "aaaa")
            assert [name for name, state in before.items() if state.error_rate != after[name].error_rate] == []
            return
        place = trial.place
        at = {"model": place, "key": Place(place.provider, place.key), "provider": Place(place.provider)}[effect.scope]
        for where, outcome in told:
            if effect.breaks and where == at:
                self.breaker(where).failed(outcome, self.now, meaning)
            else:
                self.breaker(where).released(outcome)
        seconds = effect.cool_down if wait is None else wait
        if seconds > 0:
            until = self.now + min(seconds, MAX_COOL_DOWN)
            self.cool[at] = (self.now, max(until, self.cool.get(at, (0.0, 0.0))[1]))

    @invariant()
    def who_may_be_asked(self) -> None:
        for place in PLACES:
            assert self.health.admits(place) == self.ready(place), place

    @invariant()
    def what_decisions_see(self) -> None:
        for login in LOGINS:
            states = self.health.availability(POLICY, KEYS, login)
            for place in PLACES:
                if place.key in (OURS, login):
                    state = states.get(f"{place.provider}/{place.model}") or states[place.provider]
                    assert state.healthy == self.ready(place), place

    @invariant()
    def nobody_is_shut_out_for_good(self) -> None:
        for place in PLACES:
            for where in place.wider():
                ward = dict(self.health.wards()).get(where)
                assert ward is None or ward.until(self.now) <= self.now + MAX_COOL_DOWN


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestMachine = Machine.TestCase
