"""What is kept of a request (`cache.rules`, `trace`) and a route's order, wherever rules are tested, explained and replayed."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from engine.cli.explain_text import render
from engine.explained import walk
from engine.policy.availability import availability_of
from engine.policy.difference import deciding_line, explained_outcome
from engine.policy.explain import explain
from engine.policy.load import load_text
from engine.policy.model import Policy
from engine.policy.testing import Report, read_suite, run_suite
from tests.policy.policies import ROWS, policy, request
from tests.policy.test_replay import record, replay

MINE = """
cache:
  response: on
  rules:
    - {id: whole, when: request.turns == 0 && !request.stream}
    - {id: watched, when: request.tools > 0, mode: shadow}
trace:
  - {id: failing, when: session.tool_errors > 0}
routes:
  fallback_safe: {use: [requested, alpha/al-small], order: "request.turns > 5 ? -double(candidate.position) : 0.0"}
"""
NIGHT = "gate: {deny: [{id: night, when: now.hour < 6}]}\n"

TESTS = """
policy: mine.yaml
given: {request: {protocol: anthropic-messages, model: al-big}, now: {hour: 12}}
tests:
"""


@pytest.fixture
def tested(tmp_path: Path):  # type: ignore[no-untyped-def]
    (tmp_path / "mine.yaml").write_text("name: mine\n" + ROWS.lstrip() + MINE + NIGHT, "utf-8")

    def run(*tests: str) -> Report:
        text = TESTS + "".join(f"  - {{name: test {n}, {test}}}\n" for n, test in enumerate(tests))
        suite, problems = read_suite(text.encode(), tmp_path / "mine.test.yaml")
        assert suite is not None, problems
        return run_suite(suite, covering=True)

    return run


KEPT = "expect: {kept: whole, traced: false}"
NOT_KEPT = "given: {request: {turns: 2, tools: 3}}, expect: {kept: false, candidates: [alpha/al-big, alpha/al-small]}"
TRACED = "given: {session: {tool_errors: 1}}, expect: {kept: true, traced: failing}"
ORDERED = "given: {request: {turns: 9}}, expect: {candidates: [alpha/al-small, alpha/al-big]}"
REFUSED = "given: {now: {hour: 3}}, expect: {kept: false, denied: night}"


def test_tests_can_expect_what_is_kept(tested) -> None:  # type: ignore[no-untyped-def]
    """By the rule's id, or whether there is one; of a refused request nothing is."""
    assert tested(KEPT, NOT_KEPT, TRACED, ORDERED, REFUSED).failed == ()
    wrong = tested("expect: {kept: false, traced: failing}", "expect: {traced: true}")
    told = [(m.key, m.expected, m.actual) for outcome in wrong.outcomes for m in outcome.mismatches]
    assert told == [("kept", "false", "true"), ("traced", "failing", "false"), ("traced", "true", "false")]
    assert any("whole" in line for line in wrong.outcomes[0].why)


def test_a_rule_that_does_not_exist_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\n" + ROWS.lstrip() + MINE, "utf-8")
    text = TESTS + "  - {name: it, expect: {kept: hole, traced: nothing}}\n"
    _, problems = read_suite(text.encode(), tmp_path / "mine.test.yaml")
    assert [problem.message for problem in problems] == [
        "there is no rule 'hole'; did you mean 'whole'?",
        "there is no rule 'nothing'",
    ]


def test_they_are_covered_as_other_rules_are(tested) -> None:  # type: ignore[no-untyped-def]
    """True and false, shadow rules too; an order when it was asked, with the sides of its conditions."""

    def missing(*tests: str) -> dict[str, str]:
        coverage = tested(*tests).coverage
        assert coverage is not None
        return {rule.id: rule.missing for rule in coverage.rules} | {s.text: s.tally.missing for s in coverage.sides}

    one = missing(KEPT)
    assert (one["whole"], one["failing"], one["watched"]) == ("never false", "never true", "never true")
    assert (one["fallback_safe"], one["request.turns > 5"]) == ("", "never true")
    assert missing(REFUSED)["whole"] == "never reached"
    assert missing(REFUSED)["fallback_safe"] == "never reached"
    whole = missing(KEPT, NOT_KEPT, TRACED, ORDERED, REFUSED)
    assert {name: said for name, said in whole.items() if said} == {"!request.stream": "never false"}


def explained(compiled: Policy, **fields: object):  # type: ignore[no-untyped-def]
    return explain(compiled, request(**fields), availability_of({}), walk)


def test_an_explanation_tells_what_is_kept() -> None:
    """The rule that decides, in shadow what it would have said, and why nothing is kept."""
    told = explained(policy(MINE), tools=2)
    assert [(r.id, r.outcome, r.reason) for r in (*told.cache, *told.trace)] == [
        ("whole", "true", "RULE_MATCH"), ("watched", "true", None), ("failing", "false", None)
    ]  # fmt: skip
    text = click.unstyle("\n".join(render(told, width=100)))
    assert "keeps the answer" in text
    assert "no trace is kept" in text
    made = told.to_json()
    assert [rule["id"] for rule in made["cache"]] == ["whole", "watched"]
    off = explained(policy(MINE.replace("response: on", "response: off")))
    assert off.cache[0].outcome == "not asked"
    assert "off" in off.cache[0].detail
    assert explained(policy(MINE + NIGHT), now__hour=3).cache[0].outcome == "not asked"


def test_two_policies_differ_by_what_they_keep() -> None:
    """The deciding line is the rule's, or that there is none."""
    old, new = explained(policy("")), explained(policy(MINE.split("routes", maxsplit=1)[0]))
    first, second = deciding_line(old, explained_outcome(new)), deciding_line(new, explained_outcome(old))
    assert (first.why, second.name) == ("no rule keeps it", "whole")


def test_an_order_that_decides_is_told_with_its_numbers() -> None:
    plain = explained(policy("routes: {fallback_safe: [requested, alpha/al-small]}\n"), turns=9)
    ordered = explained(policy(MINE), turns=9)
    line = deciding_line(ordered, explained_outcome(plain))
    assert line.name == "fallback_safe order"
    assert line.why == "alpha/al-small -1.0, alpha/al-big -0.0"


def test_a_dry_run_counts_what_is_kept() -> None:
    """As a change of its own, told by the rules; those that never kept anything are listed."""
    base = policy("routes: {fallback_safe: [requested, alpha/al-small]}\n")
    new = load_text(ROWS + MINE, file="new.yaml")
    found = replay(base, new, [record(base, n, turns=n % 2) for n in range(4)])
    assert {kind: tally.count for kind, tally in found.tallies.items()} == {"kept": 2}
    assert list(found.tallies["kept"].moves) == [("not kept", "kept by whole")]
    assert [rule.id for section, rule in found.never() if section in ("cache", "trace")] == ["watched", "failing"]
    assert found.drift == 0
