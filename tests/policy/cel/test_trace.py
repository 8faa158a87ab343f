"""Traces: every step with its outcome, and the parts that decided."""

from __future__ import annotations

import pytest

from engine.policy import cel


def trace(source, environment, facts, expect="any"):
    return cel.check(cel.parse(source), environment, expect).trace(facts)


@pytest.mark.parametrize(
    ("source", "deciding"),
    [
        ("b.yes && n.one == 2", ["n.one == 2"]),
        ("b.yes && n.one == 1", ["b.yes", "n.one == 1"]),
        ("b.no && n.one == 2", ["b.no"]),
        ("b.no || n.one == 1", ["n.one == 1"]),
        ("b.no || n.one == 2", ["b.no", "n.one == 2"]),
        ("!(b.yes && n.one == 2)", ["n.one == 2"]),
        ("b.yes ? n.one == 1 : b.no", ["b.yes", "n.one == 1"]),
        ("b.no || (b.yes && size(s.gpt) > 99)", ["b.no", "size(s.gpt) > 99"]),
        ("v.nope == 1 || b.no", ["v.nope == 1"]),
        ("v.nope == 1 || b.yes", ["b.yes"]),
        ("b.yes && true", ["b.yes"]),
        ("l.nums.exists(x, x > 1)", ["l.nums.exists(x, x > 1)"]),
    ],
)
def test_the_parts_that_decided_are_named(source, deciding, environment, facts) -> None:
    """The false side of a false `&&`, every side of a true one; constants decide nothing."""
    assert deciding == [step.text for step in trace(source, environment, facts).deciding]


def test_what_was_not_needed_is_marked(environment, facts) -> None:
    """Skipped operands stay in the tree, for coverage."""
    root = trace("b.no && n.one == 1 && b.yes", environment, facts).root
    assert [(c.text, c.outcome) for c in root.children] == [
        ("b.no", "value"),
        ("n.one == 1", "skipped"),
        ("b.yes", "skipped"),
    ]
    choice = trace("b.no ? n.one : n.seven", environment, facts).root
    assert [c.outcome for c in choice.children] == ["value", "skipped", "value"]


def test_facts_read_come_with_their_values(environment, facts) -> None:
    """What `explain` prints beside an expression."""
    step = trace('size(l.tools) > 2 && s.gpt.startsWith("gpt")', environment, facts).root
    assert step.facts() == (("l.tools", '["Bash", "Read", "mcp__x"]'), ("s.gpt", '"gpt-4o"'))


def test_long_values_are_shown_by_size_only(environment, facts) -> None:
    """No long text ever stands in an explanation."""
    context = facts | {"s": facts["s"] | {"gpt": "secret " * 100}, "l": facts["l"] | {"tools": ["secret"] * 64}}
    steps = trace("size(s.gpt) + size(l.tools) + size(v)", environment, context).root
    assert steps.facts() == (("s.gpt", "string(700 characters)"), ("l.tools", "list(64 items)"), ("v", "map(6 fields)"))


@pytest.mark.parametrize(
    ("source", "note"),
    [
        ('l.tools.exists(w, w.startsWith("R"))', 'w = "Read" (2 of 3)'),
        ("l.nums.all(x, x < 3)", "x = 3 (3 of 3)"),
        ("l.nums.exists(x, 1 / (x - 2) == 7)", "x = 2 (2 of 3)"),
    ],
)
def test_a_macro_names_the_item_that_decided(source, note, environment, facts) -> None:
    """The item at which it stopped, or the first that failed."""
    root = trace(source, environment, facts).root
    assert note == root.children[-1].note


def test_steps_lie_inside_the_source(environment, facts) -> None:
    """Text and place of every step agree."""
    source = 'l.tools.filter(w, w != "Bash").size() == 2 && (n.one + 1) * 2 > 3 && {"a": [1, 2]}.a[0] == 1'
    for step in trace(source, environment, facts).root.walk():
        assert step.text == source[step.start : step.end]
        assert step.outcome == "value"


def test_values_in_short() -> None:
    """Numbers with thousands, quoted strings, sizes, times."""
    from datetime import UTC, datetime, timedelta

    from engine.policy.cel.values import short

    shown = {
        "18,420": 18420, "0.5": 0.5, "true": True, "null": None, '"a\\"b"': 'a"b', "[1, 2]": [1, 2], "{}": {}, "map(1 fields)": {"a": 1},
        "2026-01-05T12:00:00Z": datetime(2026, 1, 5, 12, tzinfo=UTC), "90s": timedelta(seconds=90), "-0.5s": timedelta(seconds=-0.5),
        "string(3 characters)": "a\x1bb",
    }  # fmt: skip
    assert list(shown) == [short(value) for value in shown.values()]
