"""Suites from text, on a small policy whose rows no shipped row can change."""

from __future__ import annotations

from pathlib import Path

from engine.policy.problems import Problem
from engine.policy.testing import Report, Suite, read_suite, run_suite

FOLDER = Path(__file__).parent / "golden"
SHARED = """
policy: small.yaml
given:
  request: {protocol: anthropic-messages, model: big}
  estimate: {input_tokens: 5000, output_tokens: 100}
  now: {hour: 12}
tests:
"""


def read(text: str) -> tuple[Suite | None, list[Problem]]:
    """A file of tests as it stands."""
    return read_suite(text.encode(), FOLDER / "some.test.yaml")


def suite(tests: str) -> Suite:
    """A sound suite of `tests`, list items in YAML, on golden/small.yaml."""
    found, problems = read(SHARED + tests)
    assert problems == []
    assert found is not None
    return found


def run(tests: str, *, covering: bool = False) -> Report:
    """What became of them."""
    return run_suite(suite(tests), covering=covering)


def differs(given: str, expect: str) -> list[tuple[str, str, str]]:
    """(key, expected, actual) of everything that one test's expectations miss."""
    [outcome] = run(f"  - {{name: it, given: {given}, expect: {expect}}}").outcomes
    return [(m.key, m.expected, m.actual) for m in outcome.mismatches]
