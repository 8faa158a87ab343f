"""Broken arguments are brought to the one object they can mean, or left alone; never to another object."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.protocols.argument_repair import LONGEST, repaired

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", {}),
        ("null", {}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('```{"a": 1}```', {"a": 1}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('{"a": "x\ny"}', {"a": "x\ny"}),
        ('{"a": [1, 2,], }', {"a": [1, 2]}),
        ('{"a": 1}}', {"a": 1}),
        ('{"a": ["x"', {"a": ["x"]}),
        ('{"a": "comma, brace} and \\"quote\\""', {"a": 'comma, brace} and "quote"'}),
        ('{"a": 1}{"a": 1}', {"a": 1}),
        ('{}{"a": 1}', {"a": 1}),
        ("{'a': True, 'b': None, 'c': 'x\\ny'}", {"a": True, "b": None, "c": "x\ny"}),
    ],
)
def test_what_can_mean_one_thing(text: str, meant: dict[str, Any]) -> None:
    """Each slip of models that leaves no doubt."""
    assert repaired(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "[1]",
        "7",
        '{"a": 12',  # 12, or the beginning of 123
        '{"a": "b',
        '{"a": "x",',
        '{"a": 1, "b"',
        '{"a": 1}{"a": 2}',
        '{"path": "C:\\dir"}',  # two backslashes, or none
        '{"a": 1]',
        '{"a": NaN}',
        '{"a": "\\ud800"}',
        "{'a': {1, 2}}",
        "{'a': 1 + 2}",
        '"' * 3,
        "[" * 5000,
        '{"a":' * 5000,
        "{" + " " * LONGEST,
    ],
)
def test_what_might_mean_another(text: str) -> None:
    """Lost ends, two answers, unknown escapes and what is no object stay as they are."""
    assert repaired(text) is None


@given(OBJECTS, st.sampled_from(["fence", "string", "twice", "closer", "empty-first", "comma", "breaks"]))
def test_a_mangled_object_is_found_again(value: dict[str, Any], how: str) -> None:
    """Any object, mangled in a known way, comes back as itself."""
    text = orjson.dumps(value).decode()
    mangled = {
        "fence": f"```json\n{text}\n```",
        "string": orjson.dumps(text).decode(),
        "twice": text + "\n" + text,
        "closer": text + "}",
        "empty-first": "{}" + text,
        "comma": text[:-1] + ",}",
        "breaks": text.replace("\\n", "\n").replace("\\t", "\t"),
    }[how]
    if how == "breaks" and "\\\\" in text:
        return  # the backslash of an escaped backslash is not that of a line break
    assert repaired(mangled) == value


@given(OBJECTS, st.integers(1, 200))
def test_a_cut_object_is_never_another(value: dict[str, Any], cut: int) -> None:
    """What breaks off is either given up or completed to a part of what was there; nothing is invented."""
    text = orjson.dumps(value).decode()
    found = repaired(text[:-cut]) if cut < len(text) else None
    assert found is None or _part(found, value)


def _part(found: Any, whole: Any) -> bool:
    if isinstance(found, dict):
        return isinstance(whole, dict) and all(key in whole and _part(found[key], whole[key]) for key in found)
    if isinstance(found, list):
        return isinstance(whole, list) and all(_part(a, b) for a, b in zip(found, whole, strict=False))
    return bool(found == whole)


@given(st.text(max_size=200))
def test_it_never_raises(text: str) -> None:
    """Whatever a model writes."""
    assert repaired(text) is None or isinstance(repaired(text), dict)
