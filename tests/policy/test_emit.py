"""Plain data as YAML, and YAML changed in place: both say exactly what they must."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.policy.document import load_document
from engine.policy.emit import emit, flow, scalar
from engine.policy.nodes import Node
from engine.policy.rewrite import rewrite

TEXT = st.text(st.sampled_from("ab1e_.:-#'\"\\,[]{}&*!|>%@` \n\t?~=<é\x85\x07"), max_size=12) | st.sampled_from(
    ["yes", "NO", "on", "12:30", "1e3", "0x1f", "2024-01-01", "1_000", "=", "<<", "null", "~", "", "request.tools > 0 && x"]
)  # fmt: skip
SCALAR = (
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
VALUE = st.recursive(
    SCALAR, lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXT, below, max_size=4), max_leaves=12
)
DOCUMENT = st.dictionaries(TEXT, VALUE, min_size=1, max_size=5)


def read(text: str) -> Node:
    loaded = load_document(text.encode(), "p.yaml")
    assert loaded.problems == [], text
    assert loaded.root is not None
    return loaded.root


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)


@settings(max_examples=100, deadline=None)
@given(DOCUMENT)
def test_what_is_written_reads_back(value: dict[str, Any]) -> None:
    """Any data, in the same order, with the same types."""
    assert same(read(emit(value)).plain(), value), emit(value)


@settings(max_examples=100, deadline=None)
@given(TEXT)
def test_no_reader_takes_text_for_something_else(text: str) -> None:
    """A YAML 1.1 reader, which other tools have, sees text as well."""
    assert yaml.safe_load(f"a: {scalar(text)}") == {"a": text}


def test_documents_look_as_people_write_them() -> None:
    """Sections stand open, short rules on one line, text with line breaks in a block, comments in a column."""
    value = {
        "version": 1,
        "vars": {"small": "estimate.input_tokens < 2000", "odd": "!request.stream"},
        "classify": [{"id": "a", "class": "fast_code", "when": "request.stream\n&& request.tools > 0\n"}],
        "routes": {"fallback_safe": ["requested", "alpha/al-*"]},
    }
    assert emit(value, lambda path: "here" if path[:1] == ("routes",) else "") == (
        "version: 1\n"
        "\n"
        "vars:\n"
        "  small: estimate.input_tokens < 2000\n"
        "  odd: '!request.stream'\n"
        "\n"
        "classify:\n"
        "  - id: a\n"
        "    class: fast_code\n"
        "    when: |\n"
        "      request.stream\n"
        "      && request.tools > 0\n"
        "\n"
        "routes:                                   # here\n"
        "  fallback_safe: [requested, alpha/al-*]  # here\n"
    )
    assert flow({"a": [1, 2.5, None, True, "no"]}) == "{a: [1, 2.5, null, true, 'no']}"


@settings(max_examples=100, deadline=None)
@given(DOCUMENT, DOCUMENT)
def test_a_file_can_be_changed_into_any_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Whatever the two have in common."""
    mixed = {**old, **new}
    for value in (new, mixed, {"first": 1, **old}):
        assert same(_sorted(read(rewrite(read(emit(old)), value)).plain()), _sorted(value))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return list(map(_sorted, value)) if isinstance(value, list) else value


FILE = """\
# My policy.
version: 0     # the format

colour: red    # a favourite
routes:
  # in order
  fast_code: [a, b]   # keep
  old: [c]
rules:
  - {id: one, when: 'x'}   # first
  - id: two
    when: |
      y
"""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": 1}, FILE.replace("version: 0", "version: 1")),
        ({"colour": "no"}, FILE.replace("red ", "'no' ")),
        ({"routes": {"fast_code": ["a", "b"]}}, FILE.replace("  old: [c]\n", "")),
        ({"routes": {"fast_code": ["a", "b"], "new": ["c"]}}, FILE.replace("  old:", "  new:")),
        ({"routes": {"fast_code": ["a", "b"], "old": ["c"], "z": ["d"]}}, FILE.replace("[c]\n", "[c]\n  z: [d]\n")),
        ({"extra": {"a": 1}}, FILE + "\nextra: {a: 1}\n"),
    ],
    ids=["scalar", "quoted", "removed", "renamed", "added", "section"],
)  # fmt: skip
def test_comments_stay_where_the_value_stays(change: dict[str, Any], expected: str) -> None:
    """Only the words that change are touched."""
    root = read(FILE)
    made = rewrite(root, {**root.plain(), **change})
    assert made.split() == expected.split()
    assert read(made).plain() == {**root.plain(), **change}


def test_inside_rules_too() -> None:
    """One rule of several changes; the others keep their layout."""
    root = read(FILE)
    value = root.plain()
    value["rules"][1] = {"id": "two", "require": "y\n"}
    value["rules"][0]["when"] = "z"
    made = rewrite(root, value)
    assert "- {id: one, when: z}   # first\n  - id: two\n    require: |\n      y\n" in made
