"""Tests of policies: what must be decided for given facts, checked before the policy serves a request.

A `*.test.yaml` (schemas/policy-test.schema.json) holds scenarios: facts, the state of providers, prices, and what is expected.
Everything is pure but for `load_suite`, which reads the file and its policy. Nothing here knows the stage graph; whoever runs
a suite hands in how a policy decides, so that the command line can hand in the whole graph.
"""

from __future__ import annotations

from engine.policy.testing.coverage import Coverage, RuleCoverage
from engine.policy.testing.load import load_suite, read_suite
from engine.policy.testing.recorded import Recording, write_test
from engine.policy.testing.run import Outcome, Report, run_suite
from engine.policy.testing.suite import Mismatch, Scenario, Suite

__all__ = [
    "Coverage", "Mismatch", "Outcome", "Recording", "Report", "RuleCoverage", "Scenario", "Suite", "load_suite", "read_suite",
    "run_suite", "write_test",
]  # fmt: skip
