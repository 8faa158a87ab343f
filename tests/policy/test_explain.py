"""Explanations: what they say, that they say all of it, and how they read.

`SBGW_GOLDEN=write pytest tests/policy/test_explain.py` writes the golden texts anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, get_args

import click
import orjson
import pytest
from hypothesis import given, settings

from engine.cli.explain_text import compared, render
from engine.cli.layout import cells
from engine.explained import walk
from engine.pipeline import compile_pipeline
from engine.policy.availability import availability_of
from engine.policy.decide import decide
from engine.policy.decision import Reason
from engine.policy.difference import Outcome, deciding_line
from engine.policy.explain import explain
from engine.policy.explanation import Explanation
from engine.policy.facts import complete, schema
from tests.policy.policies import policy, request
from tests.policy.test_difference import FACTS, POLICIES, STATES

GOLDEN = Path(__file__).parent / "golden/explain"

MINE = """
vars:
  agent: client.name in ["claude-code", "codex"]
  side_work: vars.agent && request.tools == 0
overrides:
  - {id: pinned-model, when: request.pinned_model != "", use: [pinned]}
  - {id: pinned-class, when: request.pinned_class != "", class: pinned}
classify:
  - {id: title, class: cheap_edit, when: request.purpose == "title" || vars.side_work && request.turns == 0}
  - {id: watched, class: cheap_edit, when: request.tools < 20, mode: shadow}
  - {id: tools-in-play, class: tool_heavy, when: request.tool_results > 0 || request.tool_calls > 0}
  - {id: coding, class: fast_code, when: request.tools > 0}
routes:
  cheap_edit: [{use: gamma, when: vars.side_work}, requested]
  tool_heavy: {use: [requested, beta, gamma/plain, off/there, alpha/al-small], order: "estimate.cost_usd"}
  fallback_safe: [requested, alpha, beta]
gate:
  require:
    - {id: fits, require: estimate.input_tokens + estimate.output_tokens <= model.context}
    - {id: careful, when: request.tools > 0, require: model.vision, mode: shadow}
  deny:
    - {id: night, when: now.hour < 6 && budget.day_usd > 1.0, status: 429, message: "${budget.day_usd} USD are spent"}
    - {id: dear, when: estimate.cost_usd > 1.0, message: "${model.ref} would cost ${estimate.cost_usd}"}
    - {id: dear-soon, when: estimate.cost_usd > 0.05, mode: shadow}
"""

WORK = {
    "tools": 18,
    "tool_calls": 4,
    "tool_results": 1,
    "turns": 3,
    "estimate__input_tokens": 30_000,
    "client__name": "codex",
}
READY = availability_of({})
NO_BETA = availability_of({"noKey": ["beta"], "cooling": ["alpha"]})

SCENES: dict[str, tuple[dict[str, Any], Any]] = {
    "work": (WORK | {"requires": ["cache_control", "document"]}, READY),
    "keys-and-health": (WORK, NO_BETA),
    "side-work": ({"client__name": "claude-code", "purpose": ""}, READY),
    "pinned": ({"pinned_model": "beta/be-blind", "requires": ["image"]}, READY),
    "pinned-in-vain": ({"pinned_class": "nonsense"}, READY),
    "refused-early": ({"now__hour": 3, "budget__day_usd": 2.5}, READY),
    "refused-late": (WORK | {"estimate__input_tokens": 190_000, "estimate__output_tokens": 100_000, "model": "be-big"}, READY),
    "nobody": ({"tools": 1, "model": "unheard", "client__name": "claude-code"}, availability_of({"noKey": ["alpha", "beta"]})),
}  # fmt: skip


def explained(scene: str, text: str = MINE) -> Explanation:
    facts, states = SCENES[scene]
    return explain(policy(text), request(**facts), states, walk)


def held(name: str, lines: list[str]) -> None:
    """The lines, digests apart, are those of the golden text."""
    told = re.sub(r"@[0-9a-f]{12}", "@digest", click.unstyle("\n".join(lines))) + "\n"
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("SBGW_GOLDEN") == "write":
        path.write_text(told, "utf-8")
    assert told == path.read_text("utf-8")


@pytest.mark.parametrize("scene", SCENES)
def test_reads_as_recorded(scene: str) -> None:
    """What people see of a decision is the golden text."""
    held(scene, render(explained(scene), width=100))


def test_full_reads_as_recorded() -> None:
    """With every subexpression, every variable and every rule asked."""
    held("work-full", render(explained("work"), width=100, full=True))


OTHER = MINE.replace("vars.side_work}, requested]", "vars.side_work}, alpha/al-small]").replace(
    "classify:\n", "classify:\n  - {id: early, class: cheap_edit, when: request.turns < 9}\n"
)


@pytest.mark.parametrize("scene", ["work", "side-work", "refused-early"])
def test_two_policies_read_as_recorded(scene: str) -> None:
    """Both decisions, what differs and the two deciding lines."""
    held(f"{scene}-against", compared(explained(scene), explained(scene, OTHER), width=100))


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("scene", SCENES)
def test_fits_the_terminal(scene: str, width: int) -> None:
    """No line is wider than asked, whatever is in it."""
    first, second = explained(scene), explained(scene, OTHER)
    lines = [*render(first, width=width, full=True), *compared(first, second, width=width)]
    assert [line for line in map(click.unstyle, lines) if cells(line) > width] == []


def test_wide_characters_count_twice() -> None:
    """A model's name in another script does not break the layout."""
    made = explain(policy(MINE), request(model="模型" * 30), READY, walk)
    assert [line for line in render(made, width=72) if cells(click.unstyle(line)) > 72] == []


@given(facts=FACTS, states=STATES)
@settings(deadline=None, max_examples=60)
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_it_explains_what_is_decided(name: str, facts: dict[str, Any], states: dict[str, Any]) -> None:
    """Listening changes nothing: the explained decision is the decision, each candidate and each refusal accounted for."""
    whole, availability = complete(facts, schema()), availability_of(states)
    made = explain(POLICIES[name], whole, availability, walk)
    decision = decide(POLICIES[name], whole, availability)
    assert made.decision == decision == compile_pipeline(POLICIES[name]).decide(whole, availability)
    assert [c.ref for c in made.candidates] == [c.ref for c in decision.candidates]
    assert [c.reason for c in made.candidates if not c.place] == [c.dropped for c in decision.candidates if c.dropped]
    assert [c.ref for c in sorted(made.candidates, key=lambda c: c.place) if c.place] == [c.ref for c in decision.chain]
    decides = [
        r.id for r in (*made.overrides, *made.classify) if r.reason in ("OVERRIDE", "RULE_MATCH") and not r.shadow
    ]
    assert decides[-1:] == (
        [decision.class_rule] if decision.class_rule else [r.id for r in made.overrides if r.reason]
    )
    dropped = [c for c in made.candidates if not c.place and c.reason != "DISABLED"]
    assert [c.ref for c in dropped if not c.conditions or not c.conditions[-1].parts] == []


@given(facts=FACTS, states=STATES)
@settings(deadline=None, max_examples=40)
def test_its_json_is_plain_and_closed(facts: dict[str, Any], states: dict[str, Any]) -> None:
    """The JSON survives the trip, and every reason in it is of the closed set."""
    made = explain(POLICIES["strict"], complete(facts, schema()), availability_of(states), walk).to_json()
    assert orjson.loads(orjson.dumps(made)) == made
    assert made["format_version"] == 1
    assert set(_reasons(made)) <= set(get_args(Reason))


def _reasons(value: Any) -> list[str]:
    if isinstance(value, list):
        return [reason for part in value for reason in _reasons(part)]
    if not isinstance(value, dict):
        return []
    own = [value["reason"]] if "reason" in value else []
    return own + [reason for part in value.values() for reason in _reasons(part)]


def test_rules_behind_the_deciding_one_were_not_asked() -> None:
    """What came too late is told as such, but for shadow rules, which are always asked."""
    made = explained("side-work")
    assert {rule.id: rule.outcome for rule in made.classify} == {
        "title": "true", "watched": "true", "tools-in-play": "not asked", "coding": "not asked"
    }  # fmt: skip


def test_values_of_deciding_leaves() -> None:
    """Only what decided is named, with the value it had."""
    made = explained("side-work")
    title = next(rule for rule in made.classify if rule.id == "title")
    assert [(part.text, part.reads) for part in title.conditions[0].parts] == [
        ("vars.side_work", (("vars.side_work", "true"),)),
        ("request.turns == 0", (("request.turns", "0"),)),
    ]


def test_shadow_rules_say_what_they_would_have_done() -> None:
    """A watching deny rule that holds is SHADOW_DENY, a watching require rule names whom it would have dropped."""
    made = explained("work")
    assert [(r.id, r.reason) for r in made.deny if r.shadow] == [("dear-soon", "SHADOW_DENY")]
    assert [(r.id, r.does) for r in made.require] == [("careful", "drops nobody")]
    shadowed = explain(
        policy(MINE),
        request(**WORK | {"client__name": "aider", "model": "shared", "estimate__input_tokens": 100}),
        READY,
        walk,
    )
    assert [(r.reason, r.does) for r in shadowed.require] == [("INCOMPATIBLE", "drops beta/shared, gamma/shared")]


def test_a_rule_without_a_value_is_told() -> None:
    """A condition that fails says why, and that the rule was an error."""
    text = "classify: [{id: broken, class: x, when: 10 / request.turns > 1, on_error: next}]\n"
    made = explain(policy(text), request(turns=0), READY)
    (rule,) = made.classify
    assert (rule.outcome, rule.reason, rule.conditions[0].outcome) == ("error", "RULE_ERROR", "error: division by zero")


def test_two_gates_are_told_as_one() -> None:
    """With two gates of different rules, each rule is told as it was asked, and the exit is in the path."""
    text = (
        'gate: {deny: [{id: a, when: request.tools > 5}, {id: b, when: "request.stream"}]}\n'
        "pipeline: [decode, classify, {id: one, use: gate, with: {deny: [b]}}, {id: two, use: gate, with: {deny: [a]}}, "
        "dispatch, encode, record]\n"
    )
    made = explain(policy(text), request(tools=9), READY, walk)
    assert [(rule.id, rule.outcome, rule.reason) for rule in made.deny] == [
        ("a", "true", "GATE_DENY"),
        ("b", "false", None),
    ]
    assert made.path == ("decode", "classify", "one", "two.deny", "encode", "record")


def test_the_deciding_lines() -> None:
    """For each way to differ, the line that is named is the one to look at."""
    first, second = explained("work"), explained("work", OTHER)
    old, new = Outcome.of(first.decision), Outcome.of(second.decision)
    assert [deciding_line(first, new).name, deciding_line(second, old).name] == ["tools-in-play", "early"]
    denied = explained("refused-early")
    assert deciding_line(denied, old).to_json()["why"] == "now.hour < 6 (3), budget.day_usd > 1.0 (2.5)"
    nobody = explained("nobody")
    served = Outcome(nobody.decision.route_class, "", ("alpha/al-small",))
    assert deciding_line(nobody, served).why.startswith("drops alpha/al-big: provider.key = false")
