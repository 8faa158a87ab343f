"""Runs the tests of a file, one by one, and says what differs and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.policy.case import Case, ProviderState
from engine.policy.decide import begin, classify, finish, gate
from engine.policy.decision import Facts
from engine.policy.explain import explain
from engine.policy.model import Policy
from engine.policy.testing.coverage import Coverage, Watch
from engine.policy.testing.expect import compare
from engine.policy.testing.given import world
from engine.policy.testing.suite import Mismatch, Scenario, Suite, Walk
from engine.policy.testing.why import why

Walker = Callable[[Policy], Walk]
"""Makes of a policy what decides by it."""


@dataclass(slots=True, frozen=True)
class Outcome:
    """What became of one test. It passed when nothing differs."""

    scenario: Scenario
    mismatches: tuple[Mismatch, ...] = ()
    why: tuple[str, ...] = ()
    """The rules behind what differs, in lines for people."""

    @property
    def passed(self) -> bool:
        return not self.mismatches


@dataclass(slots=True, frozen=True)
class Report:
    """What became of a file's tests. `coverage` is None unless it was asked for."""

    suite: Suite
    outcomes: tuple[Outcome, ...]
    coverage: Coverage | None = None

    @property
    def failed(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if not outcome.passed)


def usual(policy: Policy) -> Walk:
    """Decides with all rules of `policy` asked once, in their order, whatever its stage graph."""

    def walk(facts: Facts, availability: Mapping[str, ProviderState]) -> tuple[Case, tuple[str, ...]]:
        case = begin(policy, facts, availability)
        classify(case)
        gate(case)
        return case, ()

    return walk


def run_suite(
    suite: Suite,
    *,
    walker: Walker = usual,
    select: Callable[[str], bool] = lambda _: True,
    covering: bool = False,
) -> Report:
    """Run the tests whose names `select` takes. With `covering`, what they have seen of the policy is counted."""
    watch = Watch(suite.policy) if covering else None
    policy = watch.policy if watch is not None else suite.policy
    walk = walker(policy)
    outcomes: list[Outcome] = []
    for scenario in suite.scenarios:
        if not select(scenario.name):
            continue
        around = world(policy, scenario.given)
        # Prices make another policy of it, which needs a walk of its own.
        case, _ = (walk if around.policy is policy else walker(around.policy))(around.facts, around.availability)
        decision = finish(case)
        if watch is not None:
            watch.decided(decision)
            _ask_keepers(case)
        mismatches = compare(scenario, decision, case)
        told = _why(scenario, suite.policy, walker, mismatches) if mismatches else ()
        outcomes.append(Outcome(scenario, mismatches, told))
    return Report(suite, tuple(outcomes), watch.coverage() if watch is not None else None)


def _ask_keepers(case: Case) -> None:
    """Ask what is kept of the request, as the stages do that no test runs; whoever listens to the policy hears it."""
    if case.denial is None:
        case.policy.cache.keeps(case.facts)
    case.policy.traces(case.facts)
    for rule in (*case.policy.cache.rules, *case.policy.trace):
        if rule.shadow:  # which decides nothing, so that nobody else asks it
            rule.when.holds(case.facts)


def _why(scenario: Scenario, policy: Policy, walker: Walker, mismatches: tuple[Mismatch, ...]) -> tuple[str, ...]:
    around = world(policy, scenario.given)
    found = explain(
        around.policy, around.facts, around.availability, lambda heard, facts, states: walker(heard)(facts, states)
    )
    return why(found, scenario, mismatches)
