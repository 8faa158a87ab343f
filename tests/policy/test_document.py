"""What the YAML reader takes, what it refuses, and that it knows where everything stands."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.policy.document import MAX_BYTES, load_document
from engine.policy.nodes import Node
from engine.policy.scalars import positions, resolve


def read(text: str) -> Node:
    loaded = load_document(text.encode(), "p.yaml")
    assert loaded.problems == []
    assert loaded.root is not None
    return loaded.root


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("12", 12), ("-7", -7), ("012", 12),
        ("0o17", 15), ("0x1F", 31), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("3.10", 3.1),
        ("yes", "yes"), ("NO", "NO"), ("on", "on"), ("1_000", "1_000"), ("12:30:45", "12:30:45"), ("2024-01-01", "2024-01-01"),
        ("=", "="), ("0b11", "0b11"), (".inf", ".inf"), ("1e999", "1e999"), ("<<", "<<"),
    ],
)  # fmt: skip
def test_plain_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    """Null, booleans and finite numbers have types; everything else is text, whatever YAML 1.1 made of it."""
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_quoted_scalars_are_text() -> None:
    """Quotes make text of anything."""
    assert read("""{a: "1", b: 'true', c: "null"}""").plain() == {"a": "1", "b": "true", "c": "null"}


def test_json_is_read_as_yaml() -> None:
    """JSON means the same here."""
    value = {"a": [1, 2.5, None, True, "x"], "b": {"c": []}}
    assert read(orjson.dumps(value).decode()).plain() == value


STYLES = [
    "a: request.tools > 0 && {}",
    "a: 'it''s > 0 && {}'",
    'a: "\\"x\\" \\u00e9\\x41 > 0 && {}"',
    "a: |\n  first\n    second && {}\n",
    "a: >-\n  first\n  second\n\n  third && {}\n",
    "a: first\n  second\n  third && {}",
    'a: "first\n  second \\\n  third && {}"',
    "a: 'first\n\n  second && {}'",
    "a: |2+\n   indented && {}\n\n",
    "{a: first && {}}",
    "é😀: {}\nb: 1",
    "a: |\r\n  first\r\n  second && {}\r\n",
]


@pytest.mark.parametrize("text", STYLES)
def test_every_character_of_a_scalar_is_found_in_the_file(text: str) -> None:
    """A word inside a scalar of any style is found exactly where it stands."""
    text = text.replace("{}", "request.toolz", 1)
    root = read(text)
    node = next(iter(root.map.values()))
    assert isinstance(node.value, str)
    at = node.text.index("request.toolz")
    start, end = node.at(at, at + len("request.toolz"))
    assert text[start:end] == "request.toolz"
    span = node.source.span(start, end)
    assert (
        text.replace("\r\n", "\n").split("\n")[span.line - 1][span.column - 1 : span.end_column - 1] == "request.toolz"
    )


WORDS = st.text(st.sampled_from("ab'\"\\é😀&|.=\t #:{}[],!*"), min_size=1, max_size=12).map(str.strip).filter(bool)


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=4), st.sampled_from(["'", '"', "|", ">"]), st.integers(10, 40))
def test_positions_hold_for_any_text_and_style(words: list[str], style: str, width: int) -> None:
    """Whatever YAML's own writer folds or escapes, each plain letter of the value maps to the same letter of the file."""
    text = " ".join(words)
    written = yaml.dump({"k": text}, default_style=style, width=width, allow_unicode=True)
    loaded = load_document(written.encode(), "p.yaml")
    if loaded.root is None or "k" not in loaded.root.map:
        return  # the writer's quoted key, or a text that the reader refuses
    node = loaded.root.map["k"]
    assert node.text == text
    raw = written[node.start : node.end]
    places = positions(raw, node.style, node.text)
    assert len(places) == len(node.text)
    assert places == sorted(places)
    for char, place in zip(node.text, places, strict=True):
        assert raw[place] == char or raw[place] in "\\ \n", (char, raw[place])


def test_lines_are_counted_as_editors_do() -> None:
    """Windows line ends count once, a byte order mark not at all."""
    loaded = load_document("\ufeffa: 1\r\nb: 2\r\na: 3\r\n".encode(), "p.yaml")
    (problem,) = loaded.problems
    assert (problem.rule, problem.span.line, problem.span.column) == ("yaml-duplicate", 3, 1)
    assert "line 1, column 1" in problem.message
    assert problem.excerpt == "a: 3"


def test_other_encodings_and_large_files_are_refused() -> None:
    """UTF-8 up to 256 KiB; the place of the first wrong byte is told."""
    (problem,) = load_document("a: 1\nb: \xe9".encode("latin-1"), "p.yaml").problems
    assert (problem.rule, problem.span.line, problem.span.column) == ("yaml-encoding", 2, 4)
    (problem,) = load_document(b"#" * (MAX_BYTES + 1), "p.yaml").problems
    assert problem.rule == "yaml-size"


def test_an_alias_bomb_costs_nothing() -> None:
    """Aliases are refused where they stand, so nothing multiplies."""
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))]
    loaded = load_document("\n".join(lines).encode(), "p.yaml")
    assert {problem.rule for problem in loaded.problems} == {"yaml-alias"}
    assert len(loaded.problems) == 9 + 8 * 9


def test_what_is_refused_keeps_its_place() -> None:
    """A tagged value is told once and stays in the tree as broken, so nothing calls it missing."""
    loaded = load_document(b"a: !x y\nb: 1\n", "p.yaml")
    assert [problem.rule for problem in loaded.problems] == ["yaml-tag"]
    assert loaded.root is not None
    assert loaded.root.map["a"].broken
    assert not loaded.root.map["b"].broken


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab:- \n'\"[]{}&*!|>#?,%@`\t\\01.~<=é\x07"), max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Any text gives a tree or problems, with places inside the file; nothing is raised."""
    loaded = load_document(text.encode(), "p.yaml")
    assert loaded.root is not None or loaded.problems
    for problem in loaded.problems:
        assert 1 <= problem.span.line <= text.count("\n") + 1 + text.count("\r")
        assert problem.span.column >= 1
        assert problem.message


def test_keys_in_wrong_places_are_not_shown() -> None:
    """Text that begins like an API key is masked in an excerpt."""
    loaded = load_document(b"a: sk-ant-12345678\na: gsk_1234567890 && b\n", "p.yaml")
    assert [problem.excerpt for problem in loaded.problems] == ["a: •••••••••••••• && b"]
