"""Violations and tags: what governance is told of a decision."""

from __future__ import annotations

from typing import Any

import pytest

from engine.policy.load import check_text
from engine.policy.violations import Violation, tags, violations
from tests.policy.policies import ROUTE, ROWS, asked, policy

RULES = """
classify:
  - {id: night, class: cheap_edit, when: now.hour < 6, tags: [hours]}
gate:
  require:
    - {id: at-home, when: client.project == "secret", require: model.local, tags: [residency, eu]}
    - {id: fits, require: request.max_output_tokens <= 1000}
    - {id: no-beta, require: provider.name != "beta", mode: shadow, since: 2026-11-01, tags: [vendors]}
  deny:
    - {id: no-secrets, when: request.secrets > 0, message: hush, tags: [secrets]}
    - {id: watched, when: request.tools > 3, mode: shadow, since: 2026-11-01}
"""


def told(**fields: Any) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    made, decision = policy(RULES), asked(policy(RULES), **fields)
    found = violations(made, decision)
    assert all(isinstance(one, Violation) for one in found)
    return [(one.kind, one.section, one.rule, one.reason, *one.tags) for one in found], tags(made, decision)


BETA = ("would_drop", "require", "no-beta", "SHADOW_DENY", "vendors")


@pytest.mark.parametrize(
    ("fields", "found", "tagged"),
    [
        ({"now__hour": 9}, [BETA], ("vendors",)),
        ({"now__hour": 3}, [BETA], ("hours", "vendors")),
        ({"now__hour": 9, "secrets": 1}, [("denied", "deny", "no-secrets", "GATE_DENY", "secrets")], ("secrets",)),
        ({"now__hour": 9, "tools": 4}, [("would_deny", "deny", "watched", "SHADOW_DENY")], ()),
        (
            {"now__hour": 9, "client__project": "secret"},
            [("denied", "", "", "INCOMPATIBLE"), ("dropped", "require", "at-home", "INCOMPATIBLE", "residency", "eu")],
            ("eu", "residency"),
        ),
        ({"now__hour": 9, "max_output_tokens": 2000}, [("denied", "", "", "INCOMPATIBLE")], ()),
    ],
)
def test_what_broke_a_rule(fields: dict[str, Any], found: list[tuple[str, ...]], tagged: tuple[str, ...]) -> None:
    """Refusals, shadows that would refuse or drop, and drops by tagged rules; tags of all that took part."""
    kinds, names = told(**fields)
    assert {one for one in kinds if one != BETA} == {one for one in found if one != BETA}
    if BETA in found:
        assert BETA in kinds
    assert set(names) - {"vendors"} == set(tagged) - {"vendors"}


def test_nothing_to_tell() -> None:
    """A policy without tags and shadows says nothing of a request it serves."""
    assert (violations(policy(), asked(policy())), tags(policy(), asked(policy()))) == ((), ())


def test_the_models_a_rule_is_about() -> None:
    """A dropped candidate is named, never what the request said."""
    made = policy(RULES)
    [dropped] = [one for one in violations(made, asked(made, client__project="secret")) if one.kind == "dropped"]
    assert "alpha/al-big" in dropped.detail


@pytest.mark.parametrize("tag", ["Two Words", "-x", "", "é"])
def test_a_tag_is_a_word(tag: str) -> None:
    """What is no tag is a mistake with its place."""
    text = f"{ROWS}{ROUTE}classify:\n  - {{id: a, class: fast_code, when: request.stream, tags: ['{tag}']}}\n"
    [problem] = [p for p in check_text(text, file="mine.yaml") if p.level == "error"]
    assert ("a tag is lower-case words" in problem.message, problem.span.line) == (True, text.count("\n"))
