"""A policy written out as one file: it says the same, and knows where each line comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.policy.compose import Layer, compose
from engine.policy.document import load_document
from engine.policy.emit import emit
from engine.policy.load import check_text, load_policy, load_text
from engine.policy.shipped import shipped_policies
from engine.policy.show import difference, show
from tests.policy.policies import ROWS

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("rows", [False, True], ids=["changed", "rows"])
@pytest.mark.parametrize("name", shipped_policies())
def test_a_shipped_policy_written_out_is_the_same_policy(name: str, rows: bool) -> None:
    """It extends nothing and has the same digest, with and without the shipped rows."""
    policy = load_policy(name)
    text = show(policy, rows=rows)
    assert "extends" not in text
    again = load_text(text, file=f"{name}.yaml")
    assert (again.name, again.digest) == (policy.name, policy.digest)


def test_rows_that_were_changed_or_taken_away_are_written_as_changes() -> None:
    """Fields that differ from the shipped row, null for what is gone."""
    text = """version: 1
extends: [default]
providers:
  mine: {protocol: openai-chat, base_url: "http://127.0.0.1:1/v1"}
  groq: {protocol: openai-chat}
models:
  groq/qwen/qwen3.8-27b: null
  mine/one: {tools: true}
  anthropic/claude-opus-5-5: {max_output: 5}
routes: {cheap_edit: null}
"""
    policy = load_text(text)
    shown = show(policy)
    assert "  groq/qwen/qwen3.8-27b: null\n" in shown
    assert "  mine/one: {tools: true}\n" in shown
    assert "  anthropic/claude-opus-5-5: {max_output: 5}\n" in shown
    assert load_text(shown).digest == policy.digest


def test_origins_name_the_file_and_line_of_each_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that was replaced comes from the file that replaced it, one that was inherited from its own."""
    monkeypatch.chdir(GOLDEN)
    shown = show(load_policy("good.yaml"), origin=True)
    lines = {line.split("  # ")[0].strip(): line.split("  # ")[1] for line in shown.splitlines() if "  # " in line}
    assert lines["small: estimate.input_tokens < 2000"] == "good.yaml:12"
    assert lines["- {id: design, class: deep_reasoning, when: signals.design}"] == "good.yaml:15"
    [inherited] = [where for text, where in lines.items() if "id: inherited" in text]
    assert inherited.startswith("parents/ground.yaml:")


def test_places_that_a_rule_asked_for_are_kept_as_places() -> None:
    """`before` and `after` are gone, the rule stands there."""
    policy = load_text(ROWS + "routes: {fallback_safe: [alpha]}\nclassify:\n" + """\
  - {id: a, class: fallback_safe, when: request.stream}
  - {id: b, class: fallback_safe, when: request.tools > 0, before: a}
""")  # fmt: skip
    shown = show(policy)
    assert "before" not in shown
    assert shown.index("id: b") < shown.index("id: a")
    assert [p for p in check_text(shown, file="p.yaml") if p.level == "error"] == []


VALUE = st.recursive(
    st.integers(0, 3) | st.booleans() | st.sampled_from(["a", "b"]),
    lambda below: st.dictionaries(st.sampled_from("wxyz"), below, min_size=1, max_size=3),
    max_leaves=8,
)
ROW_MAP = st.dictionaries(st.sampled_from("wxyz"), VALUE, max_size=4)


@settings(max_examples=100, deadline=None)
@given(ROW_MAP, ROW_MAP)
def test_a_difference_laid_over_gives_the_whole(below: dict[str, Any], value: dict[str, Any]) -> None:
    """Whatever the two are, by the rules of composition."""
    layers = []
    for number, part in enumerate((below, difference(below, value))):
        root = load_document(emit({"settings": part}).encode(), f"{number}.yaml").root
        assert root is not None
        layers.append(Layer(root))
    merged = compose(layers)[0].plain()["settings"]
    assert repr(merged) == repr({key: merged[key] for key in merged})
    assert merged == value
