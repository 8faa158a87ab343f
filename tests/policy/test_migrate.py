"""Formats of policies: older ones are brought up by pure steps, newer ones refused."""

from __future__ import annotations

from typing import Any

import pytest

from engine.policy import load, migrate
from engine.policy.document import Loaded, load_document
from engine.policy.load import check_text, load_text
from engine.policy.migrate import FORMATS, STEPS, VERSION, Formats, brought_up, migrated_text, newer
from engine.policy.shipped import find_shipped
from tests.policy.policies import ROWS

OLD = """\
# Mine since the first day.
version: -1
lanes:                       # in order
  fallback_safe: [requested] # keep
classify:
  - {id: a, lane: fallback_safe, when: request.stream}   # streams
"""


def _lanes(document: dict[str, Any]) -> dict[str, Any]:
    """-1 → 0: `lanes` are called `routes`."""
    return {("routes" if key == "lanes" else key): value for key, value in document.items()}


def _classes(document: dict[str, Any]) -> dict[str, Any]:
    """0 → 1: a rule names a class, not a lane."""
    for rule in document["classify"]:
        rule["class"] = rule.pop("lane")
    return document


PAST = Formats(1, {-1: _lanes, 0: _classes})


def read(text: str) -> Loaded:
    return load_document(text.encode(), "mine.yaml")


def test_version_1_is_the_only_one_so_far() -> None:
    """There is nothing to migrate from, and the schema says so too."""
    assert (VERSION, dict(STEPS), FORMATS.current) == (1, {}, 1)
    assert '"enum": [1]' in find_shipped("schemas", "policy.schema.json").read_text("utf-8")


def test_steps_are_taken_one_after_the_other_and_change_nothing_given() -> None:
    """A document goes through every version between its own and the newest; the one handed in stays as it was."""
    root = read(OLD).root
    assert root is not None
    document = root.plain()
    made = PAST.migrated(document)
    assert made == {
        "version": 1,
        "routes": {"fallback_safe": ["requested"]},
        "classify": [{"id": "a", "when": "request.stream", "class": "fallback_safe"}],
    }
    assert document == root.plain()
    assert PAST.migrated(made) == made


def test_a_file_is_migrated_with_its_comments() -> None:
    """Only the words that change are touched."""
    root = read(OLD).root
    assert root is not None
    assert migrated_text(root, PAST) == (
        "# Mine since the first day.\n"
        "version: 1\n"
        "routes:                       # in order\n"
        "  fallback_safe: [requested] # keep\n"
        "classify:\n"
        "  - {id: a, when: request.stream, class: fallback_safe}   # streams\n"
    )


def test_an_old_file_is_read_as_if_it_were_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a warning that says how to change it; its mistakes are told as usual."""
    monkeypatch.setattr(load, "brought_up", lambda loaded: brought_up(loaded, PAST))
    monkeypatch.setattr(load, "newer", lambda root: newer(root, PAST))
    policy = load_text(OLD, file="mine.yaml")
    assert policy.classify[0].route_class == "fallback_safe"
    assert [(p.rule, p.level, p.message) for p in policy.warnings] == [
        ("policy-version", "warning", "this file is of version -1; it is read as version 1")
    ]
    told = check_text(OLD.replace("request.stream", "request.strem"), file="mine.yaml")
    assert [p.rule for p in told] == ["policy-version", "cel-field"]


@pytest.mark.parametrize("version", ["0", "-5", "one", "true", "null", "'1'"])
def test_a_version_that_never_was_is_a_wrong_value(version: str) -> None:
    """Not an old one, not a new one."""
    told = check_text(
        ROWS.replace("version: 1", f"version: {version}") + "routes: {fallback_safe: [alpha]}", file="p.yaml"
    )
    assert [(p.rule, p.message) for p in told] == [("schema-value", "this gateway reads policies of version 1")]


def test_a_newer_file_is_refused_whole() -> None:
    """Nothing else is said about it: nothing in it need mean what it seems to."""
    [problem] = check_text("version: 2\nlanes: {}\nclassify: 7\n", file="p.yaml")
    assert (problem.rule, problem.message) == ("policy-version", "this file needs a newer sbgw")
    assert problem.hint == "it is of version 2; this one reads up to version 1"
    assert (problem.span.line, problem.span.column) == (1, 10)


def test_a_way_with_a_gap_is_none() -> None:
    """A version is read only if every step from it is known."""
    gap = Formats(3, {0: _lanes, 2: _classes})
    assert [gap.reads(version) for version in (0, 1, 2, 3, 4, "3", True, None)] == [
        False, False, True, True, False, False, False, False,
    ]  # fmt: skip
    with pytest.raises(KeyError):
        gap.migrated({"version": 1})
    assert migrate.brought_up(read("version: 0\n"), gap).root is not None
