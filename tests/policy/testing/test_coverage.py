"""Coverage counts what the tests have seen of the policy's own rules and operands, and names what they have not."""

from __future__ import annotations

from pathlib import Path

from engine.policy.testing import Coverage, load_suite, run_suite
from tests.policy.testing.builders import run

NIGHT = "  - {name: night, given: {now: {hour: 23}}, expect: {rule: at-night}}\n"
QUIET = "  - {name: quiet, given: {estimate: {input_tokens: 10}}, expect: {rule: small-work}}\n"
PLAIN = "  - {name: plain, expect: {rule: null}}\n"


def covered(tests: str) -> Coverage:
    report = run(tests, covering=True)
    assert report.failed == ()
    assert report.coverage is not None
    return report.coverage


def rule(coverage: Coverage, name: str) -> tuple[bool, str]:
    [found] = [r for r in coverage.rules if r.id == name]
    return found.reached, found.missing


def side(coverage: Coverage, text: str) -> tuple[int, int, int, str]:
    [found] = [s for s in coverage.sides if s.text == text]
    return found.tally.true, found.tally.false, found.tally.error, found.tally.missing


def test_rules_true_false_and_never_reached() -> None:
    """What an earlier rule decides never reaches the later ones."""
    first = covered(QUIET)
    assert rule(first, "small-work") == (True, "never false")
    assert rule(first, "at-night") == (False, "never reached")
    both = covered(QUIET + NIGHT)
    assert rule(both, "small-work") == (True, "")
    assert rule(both, "at-night") == (True, "never false")
    assert rule(both, "deep") == (False, "never reached")


def test_percent_is_the_share_of_covered_rules() -> None:
    """Nine rules and an order; two rules are seen true and false, the order is asked."""
    found = covered(QUIET + NIGHT + PLAIN)
    assert [r.id for r in found.rules if not r.missing] == ["small-work", "at-night", "cheap_edit"]
    assert (len(found.rules), round(found.percent, 2)) == (10, 30.0)


def test_operands_are_counted_by_what_they_gave() -> None:
    """Each evaluation counts once; what `||` does not need is not counted."""
    found = covered(QUIET + NIGHT + PLAIN)
    assert side(found, "now.hour >= 22") == (1, 1, 0, "")
    assert side(found, "now.hour < 6") == (0, 1, 0, "never true")
    assert side(found, "request.tools == 0") == (3, 0, 0, "never false")
    assert side(found, "estimate.input_tokens < vars.limit") == (1, 2, 0, "")


def test_places_are_those_of_the_operand() -> None:
    """A rule's line is where its id stands, an operand's where it is written."""
    found = covered(PLAIN)
    [hour] = [s for s in found.sides if s.text == "now.hour < 6"]
    text = (Path(__file__).parent / "golden/small.yaml").read_text("utf-8").splitlines()
    assert text[hour.span.line - 1][hour.span.column - 1 :].startswith("now.hour < 6")
    assert [r.id for r in found.rules if r.id not in text[r.span.line - 1]] == []


def test_inherited_rules_do_not_count(tmp_path: Path) -> None:
    """Only what stands in the tested policy's own file does; one without rules is covered."""
    (tmp_path / "mine.yaml").write_text("version: 1\nname: mine\nextends: [default]\n")
    (tmp_path / "mine.test.yaml").write_text("tests: [{name: it, expect: {denied: false}}]\n")
    suite, problems = load_suite(tmp_path / "mine.test.yaml")
    assert (suite is not None, problems) == (True, [])
    assert suite is not None
    found = run_suite(suite, covering=True).coverage
    assert found is not None
    assert (found.rules, found.sides, found.percent) == ((), (), 100.0)


def test_rules_that_can_be_only_one_thing(tmp_path: Path) -> None:
    """A rule without a condition is covered when it is reached; a constant when it has been what it is."""
    (tmp_path / "mine.yaml").write_text(
        "version: 1\nname: mine\nextends: [default]\n"
        "classify:\n"
        "  - {id: always, class: fast_code, after: coding}\n"
        "gate:\n  deny:\n    - {id: never, when: 'false', status: 403}\n    - {id: broken, when: 'request.tool_names[3] == \"x\"'}\n"
    )
    (tmp_path / "mine.test.yaml").write_text(
        "tests: [{name: it, given: {request: {turns: 1}}, expect: {rule: always, denied: RULE_ERROR}}]\n"
    )
    suite, problems = load_suite(tmp_path / "mine.test.yaml")
    assert [p for p in problems if p.level == "error"] == []
    assert suite is not None
    report = run_suite(suite, covering=True)
    assert report.failed == ()
    assert report.coverage is not None
    assert rule(report.coverage, "always") == (True, "")
    assert rule(report.coverage, "never") == (True, "")
    assert rule(report.coverage, "broken") == (True, "never true or false")
    [broken] = [r for r in report.coverage.rules if r.id == "broken"]
    assert broken.conditions["when"].error == 1


def test_watching_changes_no_decision() -> None:
    """Tests pass with coverage as without."""
    tests = QUIET + NIGHT + PLAIN
    assert [o.passed for o in run(tests, covering=True).outcomes] == [o.passed for o in run(tests).outcomes]
