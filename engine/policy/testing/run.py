"""Runs the tests of a file, one by one, and says what differs and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from engine.policy.decide import decide
from engine.policy.model import Policy
from engine.policy.testing.coverage import Coverage, Watch
from engine.policy.testing.expect import compare
from engine.policy.testing.given import world
from engine.policy.testing.suite import Decide, Mismatch, Scenario, Suite
from engine.policy.testing.why import Witness

Decider = Callable[[Policy], Decide]
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


def bound(policy: Policy) -> Decide:
    """How a policy decides with all its rules asked once, whatever its stage graph."""
    return partial(decide, policy)


def run_suite(
    suite: Suite,
    *,
    decider: Decider = bound,
    select: Callable[[str], bool] = lambda _: True,
    covering: bool = False,
) -> Report:
    """Run the tests whose names `select` takes. With `covering`, what they have seen of the policy is counted."""
    watch = Watch(suite.policy) if covering else None
    policy = watch.policy if watch is not None else suite.policy
    deciding = decider(policy)
    outcomes: list[Outcome] = []
    for scenario in suite.scenarios:
        if not select(scenario.name):
            continue
        around = world(policy, scenario.given)
        # Prices make another policy of it, which needs a decider of its own.
        ask = deciding if around.policy is policy else decider(around.policy)
        decision = ask(around.facts, around.availability)
        if watch is not None:
            watch.decided(decision)
        mismatches = compare(scenario, decision, around.facts, policy)
        why = _why(scenario, suite.policy, decider, mismatches) if mismatches else ()
        outcomes.append(Outcome(scenario, mismatches, why))
    return Report(suite, tuple(outcomes), watch.coverage() if watch is not None else None)


def _why(scenario: Scenario, policy: Policy, decider: Decider, mismatches: tuple[Mismatch, ...]) -> tuple[str, ...]:
    around = world(policy, scenario.given)
    witness = Witness.of(around.policy)
    decision = decider(witness.policy)(around.facts, around.availability)
    return witness.why(scenario, decision, mismatches)
