"""Tool arguments between text and object."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.protocols.arguments import to_object, to_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("  ", {}),
        ("{}", {}),
        ('{"a":1}', {"a": 1}),
        ('{"a":', {"raw_arguments": '{"a":'}),
        ("[1]", {"raw_arguments": "[1]"}),
        ("null", {"raw_arguments": "null"}),
        ('"\\ud800"', {"raw_arguments": '"\\ud800"'}),
    ],
)
def test_to_object(text: str, expected: dict[str, Any]) -> None:
    """Nothing is lost and nothing invented for text that is no object."""
    assert expected == to_object(text)


@given(st.text(max_size=30))
@settings(deadline=None, max_examples=100)
def test_any_text_makes_an_object(text: str) -> None:
    """Never raises, and the object can be sent."""
    orjson.dumps(to_object(text))


def test_to_text() -> None:
    """Objects become JSON, text passes, nothing is an empty object."""
    assert [to_text(value) for value in (None, "", {"a": 1}, "x", [1])] == ["{}", "{}", '{"a":1}', "x", "[1]"]
