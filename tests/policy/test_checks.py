"""The list of checks is closed: every id in the code is explained, and nothing else is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.policy.checks import CHECKS

ROOT = Path(__file__).resolve().parents[2]
ID = re.compile(
    r"(yaml|schema|policy|extends|rule|route|class|cond|cel|graph|unknown|provider|signal|shadow|compat|var|cache|canary|test|config)"
    r"(-[a-z]+)+"
)
FOLDERS = ("engine/policy", "engine/pipeline.py")
NOT_IDS = {"policy-test"}
"""Words of another kind that look like an id."""


def words() -> Iterator[str]:
    """Every text in the code of the checks that looks like an id, docstrings and the list itself apart."""
    for name in FOLDERS:
        path = ROOT / name
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            if file.name != "checks.py":
                yield from (
                    node.value
                    for node in ast.walk(ast.parse(file.read_text("utf-8")))
                    if isinstance(node, ast.Constant) and isinstance(node.value, str) and ID.fullmatch(node.value)
                )


def test_every_id_in_the_code_is_explained_and_no_other() -> None:
    """A check that is added must be explained; an explanation of none is taken out."""
    assert set(words()) - NOT_IDS == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_an_explanation_is_one_paragraph_that_begins_with_what_is_wrong(name: str) -> None:
    """One line of sentences; the first is short enough for a list, and levels are known ones."""
    check = CHECKS[name]
    assert ID.fullmatch(name)
    assert "\n" not in check.about
    assert check.about.endswith(".")
    assert 10 < len(check.title) < 100
    assert set(check.levels) <= {"error", "warning", "note"}
    assert 60 < len(check.about) < 600 or name.startswith("config-") or len(check.about) > 40


ELSEWHERE = {
    "yaml-size", "yaml-encoding", "policy-missing", "extends-depth", "graph-unreachable", "test-name", "test-derived", "config-file",
    "config-json", "config-key", "config-type", "config-value", "config-class", "config-untrusted",
}  # fmt: skip
"""Checks of other files than policies, or that a small file can't show; their own tests show them."""


def test_every_check_has_a_golden_text() -> None:
    """What a user reads is on record for each."""
    golden = (ROOT / "tests/policy/golden").glob("*.txt")
    shown = {
        rule for path in golden for rule in re.findall(r": (?:error|warning)\[([a-z-]+)\]", path.read_text("utf-8"))
    }
    assert set(CHECKS) - shown == ELSEWHERE


def test_levels_are_those_that_are_told() -> None:
    """A golden text has no check at a level that its explanation does not know."""
    told = [
        found
        for path in (ROOT / "tests/policy/golden").glob("*.txt")
        for found in re.findall(r": (error|warning|note)\[([a-z-]+)\]", path.read_text("utf-8"))
    ]
    assert [(level, name) for level, name in told if level not in CHECKS[name].levels] == []
